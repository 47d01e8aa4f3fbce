"""Files, directories, archives and standard input -> a corpus, in one pass.

An argument becomes open files (`sources`, `archives`), a file becomes text (`decoding`, `docx`), a text becomes records
(`fields`, `markup`), and the pieces of all of them, changed if asked to (`cleaning`), become ids (`corpus`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from charlstm.config.settings import DataConfig
from charlstm.errors import CharlstmError, UsageError, printable
from charlstm.text.archives import Source, errors_of, suffix_of
from charlstm.text.builder import CorpusBuilder
from charlstm.text.cleaning import Cleaning, clean_pieces
from charlstm.text.corpus import Corpus
from charlstm.text.decoding import decode
from charlstm.text.documents import END, split_documents
from charlstm.text.docx import read_docx
from charlstm.text.fields import find_export, read_any, read_json, read_json_lines, read_table, skip_assignment
from charlstm.text.markup import strip_tags
from charlstm.text.sources import STDIN, expand, open_sources
from charlstm.text.spool import OpenFile
from charlstm.text.stream import End, Findings, Piece
from charlstm.text.vocab import UNKNOWN

_BLOCK = 1 << 18  # characters that are added to a corpus at a time
_TABLES = (".csv", ".tsv")
_LINES_OF_JSON = (".jsonl", ".ndjson")
_HTML = (".html", ".htm", ".xhtml")


def read_corpus(
    paths: str | Path | Iterable[str | Path],
    encoding: str = "auto",
    normalize: str = "none",
    documents: str = "none",
    *,
    include: str | None = None,
    field: str | None = None,
    raw: bool = False,
    unescape_html: bool = False,
    strip_urls: bool = False,
    lowercase: bool = False,
    scratch: OpenFile | None = None,
    ids_file: OpenFile | None = None,
    progress: Callable[[int], None] | None = None,
) -> Corpus:
    """Read texts, in the order given, as one corpus. A newline follows each file but the last, unless it ends with one.

    Args:
        paths: a file, or several. A directory stands for the files in and below it in natural order, without hidden
            and binary ones, and `*.txt` for those that match; `-` is standard input, `@name` a bundled corpus. Files
            are decompressed, and archives read, by their extensions.
        encoding: of all files, or auto to find that of each. Bytes that are invalid in it are an error.
        normalize: the Unicode normalisation form to convert the text to, NFC or NFKC, or none.
        documents: what separates documents: line, row, file or blank-line; none for a single text.
        include: patterns, separated by commas, that files of directories and archives must match.
        field: the field with the text in tables and JSON. Each row or item becomes a line, or several.
        raw: read tables, JSON, HTML and exports of posts as they are.
        unescape_html: replace HTML character references.
        strip_urls: remove web addresses.
        lowercase: convert the text to lower case.
        scratch: opens a file for arrays that are too large for memory, such as `tempfile.TemporaryFile`. Without it,
            everything is in memory.
        ids_file: opens the file for the ids, if it is to be another kind of file.
        progress: called with the number of bytes read so far.

    Raises:
        UsageError: a file is missing or unreadable, a setting is invalid, or a field is missing or not given.
        CharlstmError: a file is empty or damaged, or is not text in that encoding; names the line.
    """
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    data = DataConfig(  # checks them
        encoding=encoding,
        include=include,
        field=field,
        raw=raw,
        unescape_html=unescape_html,
        strip_urls=strip_urls,
        lowercase=lowercase,
        normalize=normalize,
        documents=documents,
    )
    cleaning, findings = Cleaning(unescape_html, strip_urls, lowercase), Findings()
    builder = CorpusBuilder(normalize, documents, scratch, ids_file)
    pieces = iter(clean_pieces(read_pieces(names, data, findings, progress), cleaning, normalize))
    if documents == "none":
        text = _join(pieces)
    else:
        files = (_text_of_file(chain([first], pieces)) for first in pieces)
        text = chain.from_iterable(split_documents(file, documents) for file in files)
    for piece in text:
        builder.add(piece)
    if not builder.length:
        raise CharlstmError(f"{', '.join(names)}: no text is left")
    builder.line_endings |= findings.line_endings
    return replace(builder.corpus(), cleaning=cleaning, notes=tuple(map(printable, findings.notes())))


def read_pieces(
    paths: Sequence[str], data: DataConfig, findings: Findings, progress: Callable[[int], None] | None = None
) -> Iterator[Piece]:
    """Yield the text of files in pieces, which show where each record and each file ends, before it is cleaned.

    Raises:
        UsageError, CharlstmError: as `read_corpus`.
    """
    for argument in expand(paths):
        found = False
        for source in open_sources(argument, data.include, findings):
            chars, bytes_before = 0, findings.bytes_read
            with errors_of(source.name):
                for piece in _read(source, data, findings):
                    chars += len(piece.text)
                    if progress:
                        progress(findings.bytes_read)
                    yield piece
            yield Piece("", End.FILE)
            if source.listed:
                findings.count(argument, "" if chars else "empty")
            elif not chars:
                what = "contains no text" if findings.bytes_read > bytes_before else "is empty"
                raise CharlstmError(f"{source.name} {what}")
            found = found or chars > 0
        if not found:
            raise _nothing_found(argument, data.include, findings)


def _read(source: Source, data: DataConfig, findings: Findings) -> Iterator[Piece]:
    """Yield the text of a file in the format that its name tells."""
    name, inner, kind = source.name, source.inner, suffix_of(source.inner)
    records = None
    if kind == ".docx" and not data.raw:
        text = read_docx(source.file, name)
    else:
        text = decode(source.file, name, data.encoding, findings)
        records = None if data.raw else _read_records(text, name, inner, data.field, findings)
        if kind in _HTML and not data.raw:
            text = strip_tags(text, name)
    if records is not None:
        yield from (Piece(record, End.RECORD) for record in records)
        return
    if data.documents == "row":
        raise UsageError(f"{name} has no rows; choose line, blank-line or file", "documents")
    yield from map(Piece, text)


def _read_records(
    text: Iterator[str], name: str, inner: str, field: str | None, findings: Findings
) -> Iterator[str] | None:
    """Return the records of a file; None if it has none."""
    kind = suffix_of(inner)
    export = find_export(inner)
    if kind in _TABLES:
        return read_table(text, name, field)
    if kind in _LINES_OF_JSON:
        return read_json_lines(text, name, field, findings)
    if export is not None:
        text = skip_assignment(text) if kind == ".js" else text
        records = read_json(text, name, field or export, findings)
        return records if field or kind == ".js" else map(_text_of_post, records)
    if kind == ".json":
        return read_json(text, name, field, findings)
    return read_any(text, name, field, findings) if name == STDIN and field is not None else None


def _text_of_post(html: str) -> str:
    return "".join(strip_tags([html])).removesuffix("\n")


def _nothing_found(argument: str, include: str | None, findings: Findings) -> CharlstmError:
    """Return the error for a directory or an archive without text."""
    skipped = findings.files.get(argument, Counter())
    if include is not None and not (skipped["binary"] or skipped["empty"]):  # which match
        return UsageError(f"no file in {argument} matches {include}", "include")
    if skipped:
        return CharlstmError(f"{argument} contains no text; skipped {findings.describe_skipped(argument)}")
    return CharlstmError(f"{argument} contains no files")


def _text_of_file(pieces: Iterable[Piece]) -> Iterator[str]:
    """Yield the text of pieces up to the end of a file, and `END` after each record."""
    for text, end in pieces:
        yield text.replace(END, chr(UNKNOWN))
        if end is End.RECORD:
            yield END
        if end is End.FILE:
            return


def _join(pieces: Iterable[Piece]) -> Iterator[str]:
    """Yield the text of pieces in blocks. A record ends with a newline, and so does a file that another one follows."""
    block: list[str] = []
    length, ended, file_ended = 0, True, False  # whether the text so far ends with a newline; whether a file has ended
    for text, end in pieces:
        if text:
            if file_ended and not ended:
                block.append("\n")
            block.append(text)
            length += len(text)
            ended, file_ended = text.endswith("\n"), False
        if end is End.RECORD and not ended:
            block.append("\n")
            ended = True
        file_ended = file_ended or end is End.FILE
        if length >= _BLOCK:
            yield "".join(block)
            block, length = [], 0
    yield "".join(block)
