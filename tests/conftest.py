"""What several tests need: small texts, a trained model, the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charlstm import Checkpoint, Config, Corpus, corpus_from_text, start, train

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(400))
SMALL = Config().replace(hidden_size=12, batch_size=4, seq_len=10, steps=40, evals=4, seed=3)


@pytest.fixture
def corpus() -> Corpus:
    return corpus_from_text(TEXT)


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained() -> Checkpoint:
    corpus = corpus_from_text(TEXT)
    run = start(SMALL, corpus)
    for _ in train(run, corpus):
        pass
    return run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def charlstm(*arguments: object, cwd: Path | None = None, **options) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; text in, text out."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-m", "charlstm", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        **options,
    )


def error_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line that a failed command says, once it is clear that it failed as it should."""
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    line = done.stderr.strip()
    assert line.startswith("Error: "), line
    assert "\n" not in line, line
    return line


def arrays_of(run: Checkpoint) -> dict[str, np.ndarray]:
    """Return every array of a run, its training included, by name."""
    arrays = dict(run.model.params)
    if run.progress:
        for prefix, params in (*run.progress.arrays().items(), ("state", run.progress.state._asdict())):
            arrays |= {f"{prefix}.{name}": array for name, array in params.items()}
    return arrays
