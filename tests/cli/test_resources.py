"""Runs that cannot fit into memory or onto the disk are rejected before anything large is allocated."""

import os
from collections import namedtuple

import pytest
from helpers import begin, error_line

from charlstm import Config, corpus_from_text
from charlstm.cli.resources import check_resources
from charlstm.errors import CharlstmError
from charlstm.network.ranks import Ranks
from charlstm.training.advice import unfinished_file_bytes

Usage = namedtuple("Usage", "total used free")
DATASET = corpus_from_text("some text\n" * 100).split(0.1)
SMALL = Config().replace(hidden_size=8)


@pytest.fixture
def limits(monkeypatch):
    """Set the memory of the machine and the free space of every disk, in bytes."""

    def set_limits(memory=10**10, free=10**10):
        monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": memory // 1000}[name])
        monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10**12, 0, free))

    return set_limits


@pytest.mark.skipif(os.name != "posix", reason="the memory is known on POSIX systems")
def test_model_larger_than_the_memory_is_rejected_with_the_numbers(limits):
    limits(memory=10**10)
    message = r"^not enough memory: training needs about [\d,]+\.\d GB, and this machine has 10\.0 GB; try a smaller"
    with pytest.raises(CharlstmError, match=message):
        check_resources(Config().replace(hidden_size=16384, num_layers=16), DATASET, "model.npz")


@pytest.mark.skipif(os.name != "posix", reason="the memory is known on POSIX systems")
def test_ranks_on_one_machine_need_memory_each(limits):
    limits(memory=10**9)
    config = Config().replace(hidden_size=1024, batch_size=256, kernel="numpy", threads=1)
    ranks = object.__new__(Ranks)
    ranks.size, ranks.cores = 16, 1
    ranks.on_machine = 1
    check_resources(config, DATASET, "model.npz", ranks)
    ranks.on_machine = 16
    with pytest.raises(CharlstmError, match="not enough memory"):
        check_resources(config, DATASET, "model.npz", ranks)


@pytest.mark.skipif(os.name != "posix", reason="the memory is known on POSIX systems")
def test_ranks_that_use_fewer_cores_than_they_may_need_less_memory(limits, monkeypatch):
    monkeypatch.setattr("charlstm.training.advice.available_cores", lambda: 64)
    limits(memory=10**9)
    config = Config().replace(hidden_size=1024, kernel="numpy")
    ranks = object.__new__(Ranks)
    ranks.size, ranks.cores, ranks.on_machine = 2, 64, 1
    check_resources(config.replace(threads=1), DATASET, "model.npz", ranks)
    with pytest.raises(CharlstmError, match="not enough memory"):
        check_resources(config, DATASET, "model.npz", ranks)


def test_file_larger_than_the_free_space_is_rejected_with_the_numbers(limits, tmp_path):
    limits(free=10_000)
    message = (
        rf"not enough disk space: saving .*m\.npz needs about 0\.\d MB, and {tmp_path} has 0\.0 MB free; free some"
    )
    with pytest.raises(CharlstmError, match=message):
        check_resources(SMALL, DATASET, str(tmp_path / "m.npz"))


def test_space_of_the_file_that_is_replaced_counts_as_free(limits, tmp_path):
    needed = unfinished_file_bytes(SMALL, DATASET)
    limits(free=needed + 10)
    with pytest.raises(CharlstmError, match="not enough disk space"):
        check_resources(SMALL, DATASET, str(tmp_path / "m.npz"))
    (tmp_path / "m.npz").write_bytes(bytes(needed))
    check_resources(SMALL, DATASET, str(tmp_path / "m.npz"))


def test_model_that_fits_is_accepted(limits):
    limits()
    check_resources(SMALL, DATASET, "model.npz")


def test_short_text_does_not_need_the_memory_of_long_windows(limits):
    limits()
    check_resources(SMALL.replace(batch_size=65536, seq_len=65536), DATASET, "model.npz")


def test_unknown_memory_is_no_obstacle(limits, monkeypatch):
    limits()
    monkeypatch.delattr("os.sysconf")
    check_resources(SMALL, DATASET, "model.npz")


@pytest.mark.parametrize("resume", [False, True])
def test_train_checks_the_disk_before_it_starts(resume, text_file, limits, here, tmp_path):
    if resume:
        begin().save(tmp_path / "model.npz")
    before = sorted(os.listdir(tmp_path))
    limits(free=1000)
    done = here("train", "corpus.txt", "--steps", 40, "-q", *(["--resume"] if resume else []))
    assert "not enough disk space" in error_line(done, 1)
    assert sorted(os.listdir(tmp_path)) == before
