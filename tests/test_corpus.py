"""Texts in, ids out: exactly, or with a reason."""

import bz2
import gzip
import lzma
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import Vocab, corpus_from_text, read_corpus
from charlstm.batches import Batches, fitted
from charlstm.corpus import unix_newlines
from charlstm.errors import CharlstmError, UsageError
from charlstm.vocab import UnknownCharactersError


def read(tmp_path: Path, data: bytes, encoding: str = "utf-8", name: str = "text.txt"):
    path = tmp_path / name
    path.write_bytes(data)
    return read_corpus([path], encoding)


def text_of(corpus) -> str:
    return corpus.vocab.decode(corpus.ids)


@given(st.text(min_size=1))
def test_every_text_comes_back_with_unix_line_ends(text):
    corpus = corpus_from_text(text)
    assert text_of(corpus) == unix_newlines(text)
    assert corpus.vocab.code_points.tolist() == sorted(set(map(ord, unix_newlines(text))))
    assert corpus.vocab.counts.sum() == len(corpus.ids)


@pytest.mark.parametrize(
    "text", ["\0\1\x7f\x1b", "e\u0301 \u2028 \u2029 \x85", "👩\u200d🔬🙂", "\U0010ffff", "a\ufeffb", "𝔘"]
)
def test_odd_characters_round_trip(text, tmp_path):
    assert text_of(read(tmp_path, text.encode())) == text


@pytest.mark.parametrize("data", [b"a\r\nb\rc\n", b"\xef\xbb\xbfa\nb\r\nc\r\n"[:-2] + b"\r"])
def test_line_ends_become_lf_and_a_byte_order_mark_goes(data, tmp_path):
    assert text_of(read(tmp_path, data)) == "a\nb\nc\n"


def test_the_kinds_of_line_ends_are_kept_in_mind(tmp_path):
    for name, data, ends in (("a", b"a\r\nb\n", {"\r\n", "\n"}), ("b", b"a\rb", {"\r"}), ("c", b"a", set())):
        assert read(tmp_path, data, name=name).line_ends == ends
    assert read_corpus([tmp_path / "a", tmp_path / "b"]).line_ends == {"\n", "\r\n", "\r"}


def test_crlf_across_the_pieces_of_a_large_file_is_one_line_end(tmp_path):
    data = b"x" * ((1 << 20) - 1) + b"\r\n" + "é".encode() * 10
    assert text_of(read(tmp_path, data)) == "x" * ((1 << 20) - 1) + "\n" + "é" * 10


def test_a_character_across_the_pieces_of_a_large_file_is_read(tmp_path):
    text = "x" * ((1 << 20) - 1) + "☃" * 5
    assert text_of(read(tmp_path, text.encode())) == text


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"ab\ncd\xff\n", "byte 5, line 2"), (b"ab\n\xe2\x98", "byte 3, line 2"), (b"x\n" * 600_000 + b"\xff", "byte 1200000, line 600001")],
)  # fmt: skip
def test_what_is_not_utf8_is_refused_with_its_place(data, place, tmp_path):
    with pytest.raises(CharlstmError, match=rf"not utf-8: .* at {place}; .*--encoding"):
        read(tmp_path, data)


def test_places_in_other_encodings_are_right(tmp_path):
    with pytest.raises(CharlstmError, match="at byte 6, line 1"):
        read(tmp_path, b"\xef\xbb\xbfabc\xff", "utf-8-sig")
    with pytest.raises(CharlstmError, match="at byte 10, line 3"):
        read(tmp_path, "\ufeffĊ\nĊ\n".encode("utf-16-le") + b"\x00\xd8\x20\x00", "utf-16")
    with pytest.raises(CharlstmError, match="--encoding utf-16-le or -be"):
        read(tmp_path, b"no mark here", "utf-16")


@pytest.mark.parametrize(
    ("data", "look"),
    [
        ("hello".encode("utf-16"), "UTF-16"),
        ("hello there, this is some text without a mark".encode("utf-16-le"), "UTF-16 without"),
        ("hello there, this is some text without a mark".encode("utf-16-be"), "UTF-16 without"),
        (gzip.compress(b"hello"), "gzip"),
        (bz2.compress(b"hello"), "bzip2"),
        (lzma.compress(b"hello"), "xz"),
        (b"\x7fELF\x02\x01", "ELF"),
        (b"PK\x03\x04", "zip"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_other_formats_are_recognised(data, look, tmp_path):
    with pytest.raises(CharlstmError, match=f"looks like .*{look}"):
        read(tmp_path, data)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "latin-1", "shift_jis", "utf-8-sig"])
def test_other_encodings_are_read(encoding, tmp_path):
    text = "ab\nc" if encoding == "shift_jis" else "äb\nc"
    assert text_of(read(tmp_path, text.encode(encoding), encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-99", "hex", "rot13", "zlib", "undefined"])
def test_what_is_no_encoding_is_refused(encoding, tmp_path):
    with pytest.raises(UsageError, match="is not the name of a text encoding"):
        read(tmp_path, b"abc", encoding)


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(data, tmp_path):
    with pytest.raises(CharlstmError, match=r"text\.txt is empty"):
        read(tmp_path, data)


def test_an_empty_file_among_others_is_refused(tmp_path):
    (tmp_path / "a").write_text("full")
    (tmp_path / "b").write_text("")
    with pytest.raises(CharlstmError, match="b is empty"):
        read_corpus([tmp_path / "a", tmp_path / "b"])


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_corpus([tmp_path / "none"])
    with pytest.raises(UsageError, match="Is a directory"):
        read_corpus([tmp_path])
    with pytest.raises(UsageError, match="@poems: no such corpus comes with charlstm; there is @tweets"):
        read_corpus(["@poems"])


def test_several_files_are_one_text_in_their_order(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\n")
    (tmp_path / "b").write_bytes(b"\xef\xbb\xbftwo\r\n")
    assert text_of(read_corpus([tmp_path / "b", tmp_path / "a"])) == "two\none\n"


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files_are_unpacked_and_damage_is_told(suffix, compress, tmp_path):
    assert text_of(read(tmp_path, compress(b"hello\r\n"), name=f"a{suffix}")) == "hello\n"
    for data in (compress(b"hello" * 999)[:-9], b"no such thing"):
        with pytest.raises((CharlstmError, UsageError), match=f"a{suffix}: "):
            read(tmp_path, data, name=f"a{suffix}")


def test_a_fifo_is_read_once(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=("through a pipe",))
    writer.start()
    assert text_of(read_corpus([fifo])) == "through a pipe"
    writer.join()


@pytest.mark.parametrize(("size", "itemsize"), [(1, 1), (256, 1), (257, 2), (65536, 2), (65537, 4)])
def test_ids_take_the_least_memory(size, itemsize):
    text = "".join(chr(0x1000 + k) for k in range(size + 2048) if not 0xD800 <= 0x1000 + k < 0xE000)[:size] * 2
    corpus = corpus_from_text(text)
    assert len(corpus.vocab) == size
    assert corpus.ids.itemsize == itemsize
    assert text_of(corpus) == text


def test_reading_costs_about_a_byte_per_character(tmp_path):
    path = tmp_path / "large.txt"
    path.write_bytes(b"The quick brown fox.\n" * 2_000_000)  # 42 MB
    tracemalloc.start()
    corpus = read_corpus([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert corpus.ids.nbytes == path.stat().st_size
    assert peak < 1.3 * path.stat().st_size + 32e6


def test_the_last_part_validates():
    train, val = corpus_from_text("abcdefghij").split(0.3)
    assert (train.tolist(), val.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])
    assert len(corpus_from_text("abc").split(0)[1]) == 0


def test_the_same_text_has_the_same_fingerprint_whatever_its_line_ends(tmp_path):
    assert read(tmp_path, b"a\r\nb").sha256 == corpus_from_text("a\nb").sha256 != corpus_from_text("a\n b").sha256


def test_a_text_in_another_vocabulary_leaves_out_what_is_unknown():
    vocab = corpus_from_text("abc").vocab
    ids, unknown = corpus_from_text("cab!c?").with_vocab(vocab)
    assert (ids.tolist(), unknown) == ([2, 0, 1, 2], 2)


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        ("naive ", "naïve ☃", "'ï' U+00EF LATIN SMALL LETTER I WITH DIAERESIS, '☃' U+2603 SNOWMAN"),
        ("café", "cafe\u0301", "U+0301 COMBINING ACUTE ACCENT; .*NFC"),
        ("cafe\u0301", "café", "'é' U\\+00E9 .*NFD"),
        ("a", "\0", r"'\\x00' U\+0000"),
        ("a", "bcdefghijkl", "and 3 more"),
    ],
)
def test_unknown_characters_are_named(known, text, expected):
    with pytest.raises(UnknownCharactersError) as caught:
        corpus_from_text(known).vocab.encode(text)
    import re

    assert re.search(
        expected.replace("U+00EF", r"U\+00EF").replace("U+2603", r"U\+2603").replace("U+0301", r"U\+0301"),
        str(caught.value),
    )


def test_encode_and_decode_of_nothing():
    vocab = corpus_from_text("ab").vocab
    assert vocab.decode(vocab.encode("")) == ""
    with pytest.raises(UnknownCharactersError):
        Vocab([], []).encode("a")


# ---- batches


def test_streams_go_on_across_windows_and_y_is_one_later():
    ids = np.arange(1 + 3 * 20, dtype=np.uint8)  # a corpus that counts: the id is the place
    batches = Batches(ids, batch_size=3, seq_len=6)
    assert len(batches) == 3
    expected = np.array([0, 20, 40])
    for index in range(2 * len(batches)):
        x, y = batches[index]
        assert x.shape == y.shape == (6, 3)
        assert np.array_equal(y, x + 1)
        assert np.array_equal(x[0], expected if index % 3 else [0, 20, 40])
        expected = x[-1] + 1


def test_the_least_length_is_one_window_and_one_character():
    assert len(fitted(np.zeros(4 * 5 + 1, np.uint8), 4, 5)) == 1
    assert fitted(np.zeros(4 * 5 + 1, np.uint8), 4, 5).batch_size == 4


@pytest.mark.parametrize(
    ("length", "size"), [(21, (4, 5)), (20, (2, 4)), (11, (2, 5)), (10, (1, 4)), (6, (1, 5)), (5, (1, 4)), (2, (1, 1))]
)
def test_a_short_text_gets_smaller_batches(length, size):
    batches = fitted(np.arange(length, dtype=np.uint8), 4, 5)
    assert (batches.batch_size, batches.seq_len) == size
    x, y = batches[0]
    assert np.array_equal(y, x + 1)


def test_one_character_is_too_few():
    with pytest.raises(CharlstmError, match="two are the least"):
        fitted(np.zeros(1, np.uint8), 4, 5)


def test_one_path_is_as_good_as_a_list_of_one(text_file):
    assert read_corpus(str(text_file)).sha256 == read_corpus(text_file).sha256 == read_corpus([text_file]).sha256
