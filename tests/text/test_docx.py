"""Word documents to text."""

import zipfile
from pathlib import Path

import pytest

from charlstm import CharlstmError, UsageError, read_corpus
from charlstm.text import archives

docx = pytest.importorskip("docx", reason="needs python-docx, which is among the development tools")
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def package(path: Path, body: str, head: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "word/document.xml", f"<?xml version='1.0'?>{head}<w:document {W}><w:body>{body}</w:body></w:document>"
        )
    return path


@pytest.fixture
def letter(tmp_path):
    """A document written by python-docx."""
    document = docx.Document()
    document.add_heading("Chère Zoë", 1)
    paragraph = document.add_paragraph("The first paragraph, ")
    paragraph.add_run("in bold").bold = True
    paragraph.add_run("\tand a tab\nand a line.")
    document.add_table(1, 2).rows[0].cells[0].text = "cell"
    document.save(tmp_path / "letter.docx")
    return tmp_path / "letter.docx"


def test_document_of_python_docx_is_read(letter, tmp_path):
    text = "Chère Zoë\nThe first paragraph, in bold\tand a tab\nand a line.\ncell\n\n"
    assert read_corpus(letter).text == text
    with zipfile.ZipFile(tmp_path / "letters.zip", "w") as archive:
        archive.write(letter, "letter.docx")
    assert read_corpus(tmp_path / "letters.zip").text == text


def test_word_document_has_no_rows(letter):
    with pytest.raises(UsageError, match=r"documents: .*letter\.docx has no rows; choose line, blank-line or file$"):
        read_corpus(letter, documents="row")


def test_deleted_text_and_copies_for_old_programs_are_left_out(tmp_path):
    body = "<w:p><w:r><w:t>kept</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    body += "<w:p><mc:AlternateContent><mc:Choice><w:t>box</w:t></mc:Choice><mc:Fallback><w:t>box</w:t></mc:Fallback></mc:AlternateContent></w:p>"
    assert read_corpus(package(tmp_path / "a.docx", body)).text == "kept\nbox\n"


@pytest.mark.parametrize("content", [b"text, not a document", b"\xd0\xcf\x11\xe0 an old one", b"PK\x03\x04 cut"])
def test_file_that_is_no_document_is_refused(content, tmp_path):
    (tmp_path / "a.docx").write_bytes(content)
    with pytest.raises(
        CharlstmError, match=r"a\.docx is not a Word document, or is damaged \(.*\); convert it to text$"
    ):
        read_corpus(tmp_path / "a.docx")


def test_other_zip_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("content.xml", "<text/>")
    with pytest.raises(CharlstmError, match=r"a\.docx is not a Word document"):
        read_corpus(tmp_path / "a.docx")


def test_entities_are_refused(tmp_path):
    bomb = '<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    package(tmp_path / "a.docx", "<w:p><w:t>&b;</w:t></w:p>", bomb)
    with pytest.raises(CharlstmError, match=r"a\.docx is not .* \(it declares a document type\)"):
        read_corpus(tmp_path / "a.docx")


def test_document_that_is_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALLOWED", 1 << 16)
    package(tmp_path / "a.docx", "<w:p><w:t>ha</w:t></w:p>" * 100_000)
    with pytest.raises(CharlstmError, match=r"a\.docx expands to more than 200 times its size"):
        read_corpus(tmp_path / "a.docx")


def test_cut_document_is_refused_at_any_length(letter):
    data = letter.read_bytes()
    for length in range(1, len(data), 1999):
        letter.write_bytes(data[:length])
        with pytest.raises(CharlstmError, match=r"letter\.docx"):
            read_corpus(letter)


def test_large_document_in_an_archive_is_refused(letter, tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.text.docx._MAX_SIZE", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(letter, "letter.docx")
    with pytest.raises(CharlstmError, match=r"a\.zip/letter\.docx is larger than 1,000 bytes"):
        read_corpus(tmp_path / "a.zip")
