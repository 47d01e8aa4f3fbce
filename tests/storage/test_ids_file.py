"""The ids of a large text in a file beside the model: used again only for the same text, and if it is intact."""

import os
from typing import Any

import numpy as np
import pytest

from charlstm import CharlstmError, Corpus, read_corpus
from charlstm.config.settings import DataConfig
from charlstm.storage.ids_file import discard, ids_path, read_with_ids_file
from charlstm.text import spool
from charlstm.text.spool import is_mapped

TEXT = "".join(f"{n} is a number, and so is {n + 1}.\n" for n in range(500))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_IN_MEMORY", 1000)
    (tmp_path / "a.txt").write_text(TEXT)
    return tmp_path


def read(folder, *names: str, **data: Any) -> tuple[Corpus, int]:
    """Return the corpus, and how many bytes of the texts were read for it."""
    counts = [0]
    paths = [str(folder / name) for name in names or ("a.txt",)]
    corpus = read_with_ids_file(str(folder / "model.npz"), paths, DataConfig(**data).reading, counts.append)
    return corpus, counts[-1]


def check_same(a: Corpus, b: Corpus) -> None:
    assert a.fingerprint == b.fingerprint
    assert a.vocab == b.vocab
    assert (a.vocab.counts == b.vocab.counts).all()
    assert np.array_equal(a.ids, b.ids)
    assert (a.line_endings, a.documents, a.cleaning, a.notes) == (b.line_endings, b.documents, b.cleaning, b.notes)


@pytest.mark.parametrize("documents", ["none", "line"])
def test_second_reading_takes_the_ids_from_the_file(folder, documents):
    first, count = read(folder, documents=documents)
    second, again = read(folder, documents=documents)
    assert (count, again) == (len(TEXT), 0)
    assert is_mapped(second.ids)
    check_same(first, second)
    check_same(second, read_corpus(folder / "a.txt", documents=documents))
    assert sorted(os.listdir(folder)) == ["a.txt", "model.npz.ids"]
    discard(str(folder / "model.npz"))
    assert os.listdir(folder) == ["a.txt"]


def test_process_that_may_not_write_uses_the_file_or_reads_the_text(folder):
    def follow() -> tuple[Corpus, int]:
        counts = [0]
        output, reading = str(folder / "model.npz"), DataConfig().reading
        corpus = read_with_ids_file(output, [str(folder / "a.txt")], reading, counts.append, may_write=False)
        return corpus, counts[-1]

    alone, count = follow()
    assert (count, os.listdir(folder)) == (len(TEXT), ["a.txt"])
    check_same(alone, read(folder)[0])
    together, count = follow()
    assert count == 0
    check_same(together, alone)
    (folder / "a.txt").write_text(TEXT.replace("7", "8"))
    assert follow()[1] == len(TEXT)
    assert sorted(os.listdir(folder)) == ["a.txt", "model.npz.ids"]


def test_text_that_changed_is_read_again(folder):
    read(folder)
    (folder / "a.txt").write_text(TEXT.replace("7", "8"))
    corpus, count = read(folder)
    assert count == len(TEXT)
    assert "7" not in corpus.text
    status = os.stat(folder / "a.txt")
    (folder / "a.txt").write_text(TEXT.replace("7", "9"))
    os.utime(folder / "a.txt", ns=(status.st_atime_ns, status.st_mtime_ns))  # as `cp -p` does
    assert read(folder)[0].text == TEXT.replace("7", "9")


def test_other_settings_read_the_text_again(folder):
    read(folder)
    assert read(folder, lowercase=True)[1] == len(TEXT)
    assert read(folder, documents="line")[1] == len(TEXT)


def test_another_file_in_a_directory_is_read_too(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text(TEXT)
    read(folder, "texts")
    assert read(folder, "texts")[1] == 0
    (folder / "texts" / "b.txt").write_text("new")
    assert read(folder, "texts")[0].text == TEXT + "new"


def test_the_model_in_a_directory_that_is_read_does_not_count(folder):
    read(folder, "")
    (folder / "model.npz").write_bytes(b"\0\1\2\3" * 100)
    assert read(folder, "")[1] == 0


def test_small_text_leaves_no_file_and_removes_an_old_one(folder):
    read(folder)
    (folder / "small.txt").write_text("small")
    read(folder, "small.txt")
    assert not ids_path(str(folder / "model.npz")).exists()


def test_file_with_any_byte_changed_is_not_used(folder):
    path = ids_path(str(folder / "model.npz"))
    expected = read_corpus(folder / "a.txt")  # in memory, since the file is changed
    read(folder)
    whole = path.read_bytes()
    for at in [*range(0, len(whole), 997), *range(len(whole) - 1500, len(whole), 31), len(whole) - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        check_same(read(folder)[0], expected)


@pytest.mark.parametrize("size", [0, 5, 24, 100, -1, -30])
def test_file_that_was_cut_is_not_used(folder, size):
    path = ids_path(str(folder / "model.npz"))
    read(folder)
    path.write_bytes(path.read_bytes()[:size])
    corpus, count = read(folder)
    assert count == len(TEXT)
    check_same(corpus, read_corpus(folder / "a.txt"))


def test_failed_reading_leaves_nothing(folder):
    (folder / "a.txt").write_bytes(TEXT.encode() * 100 + b"\xff\xfe cut \x80")
    with pytest.raises(CharlstmError):
        read(folder, encoding="utf-8")
    assert os.listdir(folder) == ["a.txt"]


def test_what_a_killed_process_left_is_removed(folder):
    (folder / ".model.npz.ids.4242.tmp").write_bytes(b"part of a text")
    read(folder)
    assert sorted(os.listdir(folder)) == ["a.txt", "model.npz.ids"]


def test_directory_in_the_place_of_the_file_is_reported(folder):
    ids_path(str(folder / "model.npz")).mkdir()
    with pytest.raises(CharlstmError, match="could not be written to disk"):
        read(folder)
    assert sorted(os.listdir(folder)) == ["a.txt", "model.npz.ids"]
