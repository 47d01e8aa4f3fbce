"""Files to text: exactly, or refused with a reason."""

import bz2
import gzip
import lzma
import os
import random
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from charlstm import Corpus, corpus_from_text, read_corpus
from charlstm.errors import CharlstmError, UsageError

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def read(tmp_path: Path, data: bytes, encoding: str = "utf-8", name: str = "text.txt") -> Corpus:
    path = tmp_path / name
    path.write_bytes(data)
    return read_corpus([path], encoding)


def read_path(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    return path


def text_of(corpus: Corpus) -> str:
    return corpus.vocab.decode(corpus.ids)


@pytest.mark.parametrize(
    "text", ["\0\1\x7f\x1b", "e\u0301 \u2028 \u2029 \x85", "👩\u200d🔬🙂", "\U0010ffff", "a\ufeffb", "𝔘"]
)
def test_unusual_characters_are_kept(text, tmp_path):
    assert text_of(read(tmp_path, text.encode())) == text


# ---- line endings and byte-order marks


@pytest.mark.parametrize("data", [b"a\r\nb\rc\n", b"\xef\xbb\xbfa\nb\r\nc\r"])
def test_line_endings_become_lf_and_a_byte_order_mark_is_removed(data, tmp_path):
    assert text_of(read(tmp_path, data)) == "a\nb\nc\n"


@pytest.mark.parametrize(("data", "kinds"), [(b"a\r\nb\n", {"\r\n", "\n"}), (b"a\rb", {"\r"}), (b"a", set())])
def test_the_kinds_of_line_endings_are_recorded(data, kinds, tmp_path):
    assert read(tmp_path, data).line_endings == kinds


def test_the_kinds_of_line_endings_of_all_files_are_recorded(tmp_path):
    (tmp_path / "a").write_bytes(b"a\r\nb\n")
    (tmp_path / "b").write_bytes(b"a\rb")
    assert read_corpus([tmp_path / "a", tmp_path / "b"]).line_endings == {"\n", "\r\n", "\r"}


def test_same_text_has_the_same_fingerprint_as_a_file_with_crlf(tmp_path):
    assert read(tmp_path, b"a\r\nb").fingerprint == read(tmp_path, b"a\nb").fingerprint


# ---- large files, read in pieces of 1 MiB


def test_crlf_across_two_pieces_of_a_large_file_is_one_newline(tmp_path):
    data = b"x" * ((1 << 20) - 1) + b"\r\n" + "é".encode() * 10
    assert text_of(read(tmp_path, data)) == "x" * ((1 << 20) - 1) + "\n" + "é" * 10


def test_character_across_two_pieces_of_a_large_file_is_read(tmp_path):
    text = "x" * ((1 << 20) - 1) + "☃" * 5
    assert text_of(read(tmp_path, text.encode())) == text


def test_reading_takes_about_one_byte_per_character(tmp_path):
    path = tmp_path / "large.txt"
    path.write_bytes(b"The quick brown fox.\n" * 2_000_000)  # 42 MB
    tracemalloc.start()
    corpus = read_corpus([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert corpus.ids.nbytes == path.stat().st_size
    assert peak < 1.3 * path.stat().st_size + 32e6


# ---- encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252", "latin-1", "shift_jis", "utf-8-sig"])
def test_other_encodings_are_read(encoding, tmp_path):
    text = "ab\nc" if encoding == "shift_jis" else "äb\nc"
    assert text_of(read(tmp_path, text.encode(encoding), encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-99", "hex", "rot13", "zlib", "undefined"])
def test_unknown_encoding_is_refused(encoding, tmp_path):
    with pytest.raises(UsageError, match=f"^encoding: {encoding} is not the name of a text encoding"):
        read(tmp_path, b"abc", encoding)


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"ab\ncd\xff\n", "byte 5, line 2"), (b"ab\n\xe2\x98", "byte 3, line 2"), (b"x\n" * 600_000 + b"\xff", "byte 1200000, line 600001")],
)  # fmt: skip
def test_invalid_utf8_is_refused_with_its_place(data, place, tmp_path):
    with pytest.raises(
        CharlstmError, match=rf"text\.txt: not utf-8: .* at {place}; try another encoding, such as cp1252 "
    ):
        read(tmp_path, data)


def test_invalid_utf8_with_nul_bytes_may_not_be_text(tmp_path):
    with pytest.raises(CharlstmError, match=r"at byte 2, line 1; is this a text file\?$"):
        read(tmp_path, b"a\0\xff")


@pytest.mark.parametrize(
    ("data", "encoding", "place"),
    [
        (b"\xef\xbb\xbfabc\xff", "utf-8-sig", "at byte 6, line 1"),
        ("\ufeffĊ\nĊ\n".encode("utf-16-le") + b"\x00\xd8\x20\x00", "utf-16", "at byte 10, line 3"),
    ],
)
def test_invalid_bytes_in_other_encodings_are_refused_with_their_place(data, encoding, place, tmp_path):
    with pytest.raises(CharlstmError, match=place):
        read(tmp_path, data, encoding)


def test_utf16_without_a_byte_order_mark_is_refused_with_advice(tmp_path):
    with pytest.raises(CharlstmError, match=r"it has no byte-order mark; without one, use utf-16-le or utf-16-be$"):
        read(tmp_path, b"no mark here", "utf-16")


# ---- normalisation


def test_text_is_normalised_across_pieces_of_a_large_file(tmp_path):
    text = "x" * ((1 << 20) - 1) + "e\u0301" * 5 + "\r\n"
    corpus = read_corpus([read_path(tmp_path, text)], normalize="NFC")
    assert text_of(corpus) == "x" * ((1 << 20) - 1) + "é" * 5 + "\n"
    assert corpus.normalize == "NFC"


def test_fingerprint_is_that_of_the_normalised_text(tmp_path):
    corpus = read_corpus(read_path(tmp_path, "cafe\u0301"), normalize="NFC")
    assert corpus.fingerprint == corpus_from_text("café").fingerprint


def test_mark_at_the_start_of_a_file_is_not_joined_to_the_file_before(tmp_path):
    (tmp_path / "a").write_text("e", encoding="utf-8")
    (tmp_path / "b").write_text("\u0301", encoding="utf-8")
    assert text_of(read_corpus([tmp_path / "a", tmp_path / "b"], normalize="NFC")) == "e\n\u0301"


def test_unknown_form_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^normalize: NFX is not one of none, NFC, NFKC$"):
        read_corpus(read_path(tmp_path, "text"), normalize="NFX")


# ---- other formats


@pytest.mark.parametrize(
    ("data", "format"),
    [
        (gzip.compress(b"hello", mtime=0), "gzip data; add the extension .gz"),
        (bz2.compress(b"hello"), "bzip2 data; add the extension .bz2"),
        (lzma.compress(b"hello"), "xz data; add the extension .xz"),
        (b"\x7fELF\x02\x01", r"an executable \(ELF\)"),
        (b"PK\x03\x04", "a zip archive"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    ],
)
def test_other_formats_are_recognised(data, format, tmp_path):
    with pytest.raises(CharlstmError, match=rf"text\.txt looks like {format}"):
        read(tmp_path, data)


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "shift_jis", "utf-16-le"])
def test_other_formats_are_recognised_in_every_encoding(encoding, tmp_path):
    with pytest.raises(CharlstmError, match=r"text\.txt looks like a PDF"):
        read(tmp_path, b"%PDF-1.7 ...", encoding)


# ---- bytes that contradict the encoding


@pytest.mark.parametrize(
    ("written", "given", "look"),
    [
        ("utf-16", "utf-8", "UTF-16, not utf-8; set the encoding to utf-16, or convert the file"),
        ("utf-16", "cp1252", "UTF-16, not cp1252; set the encoding to utf-16, or convert the file"),
        ("utf-32", "utf-8", "UTF-32, not utf-8; set the encoding to utf-32, or convert the file"),
        ("utf-32", "utf-16", "UTF-32, not utf-16; set the encoding to utf-32, or convert the file"),
        ("utf-8-sig", "cp1252", "UTF-8, not cp1252; set the encoding to utf-8, or convert the file"),
        ("utf-8-sig", "utf-16-le", "UTF-8, not utf-16-le; set the encoding to utf-8, or convert the file"),
    ],
)
def test_byte_order_mark_of_another_encoding_is_refused(written, given, look, tmp_path):
    with pytest.raises(CharlstmError, match=rf"text\.txt looks like {look}$"):
        read(tmp_path, "hello".encode(written), given)


def test_mark_of_the_other_byte_order_is_refused(tmp_path):
    with pytest.raises(
        CharlstmError, match=r"looks like UTF-16, not utf-16-le; set the encoding to utf-16, or convert the file$"
    ):
        read(tmp_path, "\ufeffhello".encode("utf-16-be"), "utf-16-le")


@pytest.mark.parametrize("written", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("given", ["utf-8", "cp1252", "cp437"])
@pytest.mark.parametrize("text", ["plain text " * 9, "“Curly quotes” – and dashes… " * 9])
def test_nuls_in_every_second_place_are_recognised(written, given, text, tmp_path):
    look = f"looks like {written[:6].upper()} without a byte-order mark, not {given}; set the encoding to {written}, or convert the file$"
    with pytest.raises(CharlstmError, match=look):
        read(tmp_path, text.encode(written), given)


def test_wrong_byte_order_is_refused(tmp_path):
    with pytest.raises(CharlstmError, match=r"set the encoding to utf-16-be, or convert the file$"):
        read(tmp_path, ("plain text " * 9).encode("utf-16-be"), "utf-16-le")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["plain text " * 9, "по-русски " * 9, "漢字" * 40])
def test_text_in_wide_characters_is_read_in_its_encoding(encoding, text, tmp_path):
    assert text_of(read(tmp_path, text.encode(encoding), encoding)) == text


@pytest.mark.parametrize("encoding", ["latin-1", "cp437"])
def test_random_bytes_are_refused(encoding, tmp_path):
    with pytest.raises(CharlstmError, match=r"text\.txt looks like binary data: \d+% of its characters are control"):
        read(tmp_path, random.Random(1).randbytes(5000), encoding)


def test_later_file_that_contradicts_the_encoding_is_named(tmp_path):
    (tmp_path / "a").write_text("plain")
    (tmp_path / "b").write_text("wide", encoding="utf-16")
    with pytest.raises(CharlstmError, match=r"b looks like UTF-16, not cp1252"):
        read_corpus([tmp_path / "a", tmp_path / "b"], "cp1252")


@pytest.mark.parametrize(
    "text",
    ["\0" * 8, "a\x01\x02" * 4, "a record of a few words\0another such record\0" * 50, "\x1b[31mred\x1b[0m\n" * 50],
)
def test_text_with_a_few_control_characters_is_read(text, tmp_path):
    assert text_of(read(tmp_path, text.encode())) == text


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_are_decompressed(suffix, tmp_path):
    assert text_of(read(tmp_path, COMPRESSORS[suffix](b"hello\r\n"), name=f"a{suffix}")) == "hello\n"


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_damaged_compressed_data_is_refused(suffix, tmp_path):
    for data in (COMPRESSORS[suffix](b"hello" * 999)[:-9], b"no such thing"):
        with pytest.raises(CharlstmError, match=rf"a{suffix}: the compressed data is damaged \("):
            read(tmp_path, data, name=f"a{suffix}")


# ---- files


def test_several_files_are_one_text_in_the_order_given(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\n")
    (tmp_path / "b").write_bytes(b"\xef\xbb\xbftwo\r\n")
    assert text_of(read_corpus([tmp_path / "b", tmp_path / "a"])) == "two\none\n"


def test_file_without_a_final_newline_is_followed_by_one(tmp_path):
    for name, data in (("a", b"It ends here."), ("b", b"Chapter two\r\n"), ("c", b"The end")):
        (tmp_path / name).write_bytes(data)
    corpus = read_corpus([tmp_path / name for name in "abc"])
    assert text_of(corpus) == "It ends here.\nChapter two\nThe end"
    assert corpus.line_endings == {"\r\n"}


def test_one_path_equals_a_list_of_one(text_file):
    fingerprint = read_corpus([text_file]).fingerprint
    assert read_corpus(str(text_file)).fingerprint == read_corpus(text_file).fingerprint == fingerprint


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_named_pipe_is_read_once(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=("through a pipe",))
    writer.start()
    assert text_of(read_corpus([fifo])) == "through a pipe"
    writer.join()


def test_empty_file_is_refused(tmp_path):
    with pytest.raises(CharlstmError, match=r"text\.txt is empty$"):
        read(tmp_path, b"")
    with pytest.raises(CharlstmError, match=r"text\.txt contains no text$"):
        read(tmp_path, b"\xef\xbb\xbf")


def test_empty_file_among_others_is_refused(tmp_path):
    (tmp_path / "a").write_text("full")
    (tmp_path / "b").write_text("")
    with pytest.raises(CharlstmError, match="b is empty"):
        read_corpus([tmp_path / "a", tmp_path / "b"])


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="none: No such file"):
        read_corpus([tmp_path / "none"])


def test_standard_input_can_be_read_only_once():
    with pytest.raises(UsageError, match=r"^standard input \(-\) can be read only once$"):
        read_corpus(["-", "-"])


def test_bundled_corpus_is_read_by_name():
    assert read_corpus("@tweets").fingerprint.chars == 176_748


def test_unknown_bundled_corpus_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"^@poems: no such bundled corpus; choose from .*@tweets"):
        read_corpus(["@poems"])


def test_file_of_the_same_name_comes_before_a_bundled_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("@tweets").write_text("mine")
    assert text_of(read_corpus("@tweets")) == "mine"
