"""Fixtures of several tests."""

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported; tests share the cores

import numpy as np
import pytest
from helpers import TEXT, train_fully

from charlstm import Corpus, Run, corpus_from_text


@pytest.fixture
def corpus() -> Corpus:
    return corpus_from_text(TEXT)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained() -> Run:
    """A finished run. Tests must not change it."""
    return train_fully()[0]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
