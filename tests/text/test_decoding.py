"""The encoding of each file, found on its own."""

import io
import sys

import pytest

from charlstm import CharlstmError, read_corpus
from charlstm.text import decoding
from charlstm.text.decoding import decode
from charlstm.text.stream import Findings

TEXTS = {
    "cp1252": "L’été dernier, j’ai mangé des crêpes à Nîmes ; c’était délicieux. Die Straße führt über die Brücke.\n",
    "cp1250": "Zażółć gęślą jaźń. Wszyscy ludzie rodzą się wolni i równi.\n",
    "cp1251": "Все счастливые семьи похожи друг на друга.\n",
    "koi8-r": "Все счастливые семьи похожи друг на друга.\n",
    "cp1253": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι.\n",
    "mac-roman": "L’été dernier, j’ai mangé des crêpes à Nîmes; ça c’était délicieux.\n",
    "gb18030": "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？\n",
    "big5": "學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？\n",
    "cp932": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n",
}


def read(data, findings=None):
    return "".join(decode(io.BytesIO(data), "a.txt", "auto", findings or Findings()))


def undetectable(monkeypatch):
    monkeypatch.setitem(sys.modules, "charset_normalizer", None)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_mark_tells_the_encoding(encoding):
    findings = Findings()
    assert read("naïve\r\n".encode(encoding), findings) == "naïve\n"
    notes = [] if encoding == "utf-8-sig" else [f"Decoded as {encoding}-le: a.txt"]
    assert [note.replace("-be", "-le") for note in findings.notes()] == notes


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("repeat", [1, 40])
def test_encodings_are_detected_and_told_with_an_example(encoding, repeat):
    findings = Findings()
    assert read((TEXTS[encoding] * repeat).encode(encoding), findings) == TEXTS[encoding] * repeat
    (note,) = findings.notes()
    assert note.startswith(f"Decoded as {encoding}, for example '")
    assert note.endswith("': a.txt")


@pytest.mark.parametrize("lines", [1, 10, 1361])
def test_english_with_curly_quotes_is_read_as_western(lines, monkeypatch):
    undetectable(monkeypatch)
    text = "“I can’t,” she said. “I’m busy.”\n" + "\n".join(read_corpus("@tweets").text.splitlines()[:lines])
    data = text.encode("cp1252", "ignore")
    assert read(data) == data.decode("cp1252")


@pytest.mark.parametrize(
    ("declaration", "encoding"),
    [
        ('<html><head><meta charset="windows-1251">', "cp1251"),
        ("<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
        ('<?xml version="1.0" encoding="iso-8859-5"?>', "iso8859-5"),
    ],
)
def test_declared_encoding_is_used(declaration, encoding, monkeypatch):
    undetectable(monkeypatch)
    findings = Findings()
    text = f"{declaration}<p>Привет, мир</p>"
    assert read(text.encode(encoding), findings) == text
    assert list(findings.notes()) == [f"Decoded as {encoding}: a.txt"]


def test_pages_that_declare_latin_1_are_read_as_browsers_do():
    text = "<meta charset=iso-8859-1>“50 €”"
    assert read(text.encode("cp1252")) == text


@pytest.mark.parametrize("declared", ["utf-8", "utf-16", "hex", "unknown", "cp932"])
def test_declared_encoding_that_cannot_be_right_is_ignored(declared):
    text = f"<meta charset={declared}>" + TEXTS["cp1251"] * 40
    assert read(text.encode("cp1251")) == text


def test_few_accents_in_a_long_text_are_read_as_western(monkeypatch):
    text = "A line of plain text.\n" * 200
    assert read((text + "Un café.\n" + text + "“Quoted” – naïve.\n").encode("cp1252")).count("café") == 1
    monkeypatch.setattr(decoding, "_CHUNK", 64)
    assert read((text + "Un café.\n" + text).encode("cp1252")) == text + "Un café.\n" + text
    assert read((text + "Un café").encode("cp1252")) == text + "Un café"


@pytest.mark.parametrize("chunk", [10, 1 << 20])
def test_damaged_utf8_is_not_taken_for_another_encoding(chunk, monkeypatch):
    monkeypatch.setattr(decoding, "_CHUNK", chunk)
    with pytest.raises(CharlstmError, match=r"^a\.txt: not utf-8: .* at byte 20, line 2; try another encoding"):
        read("Ein Café für\nalle ".encode() + b"\xfc\n")


def test_without_the_detector_the_error_names_the_extra(monkeypatch):
    undetectable(monkeypatch)
    with pytest.raises(CharlstmError, match=r"not utf-8: .*, or install charlstm\[encodings\] to have it detected$"):
        read("café\n".encode("cp1252"))
    assert read("café\n".encode()) == "café\n"


def test_given_encoding_is_not_detected(tmp_path):
    (tmp_path / "a.txt").write_bytes("café\n".encode("cp1252"))
    with pytest.raises(CharlstmError, match=r"a\.txt: not utf-8: .*shift_jis \(Japanese\)$"):
        read_corpus(tmp_path / "a.txt", encoding="utf-8")
    assert read_corpus(tmp_path / "a.txt").notes == (f"Decoded as cp1252, for example 'café': {tmp_path / 'a.txt'}",)


def test_files_of_one_encoding_are_told_in_one_line(tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.txt").write_bytes("café\n".encode("cp1252"))
    (note,) = read_corpus(tmp_path).notes
    assert note.endswith("2.txt and 2 more")


def test_bytes_of_no_encoding_are_refused():
    with pytest.raises(CharlstmError, match=r"^a\.txt: not utf-8: .* is this a text file\?$"):
        read(b"a\0\xff")
