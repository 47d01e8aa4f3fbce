"""Tables, JSON and exports of posts -> the text in one field of each record."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from charlstm.errors import CharlstmError, UsageError, counted, quote, suggest
from charlstm.text.builder import convert_newlines
from charlstm.text.json_stream import MAX_RECORD, JsonStream, describe_error
from charlstm.text.stream import Findings

EXPORTS = {  # the field with the text, by the name of a file
    r"tweets?(-part\d+)?\.js": "tweet.full_text",  # X, formerly Twitter
    r"outbox\.json": "orderedItems.object.content",  # Mastodon, in HTML
}
_SHOWN_NAMES = 20
_LISTED_FROM = 100  # records whose fields an error lists
_DELIMITERS = ",;\t"
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_table(pieces: Iterable[str], name: str, field: str | None) -> Iterator[str]:
    """Yield the text in a field of each row of a table: CSV with a header, delimited by commas, semicolons or tabs.

    Raises:
        UsageError: there is no such field, or none is given; lists the fields.
        CharlstmError: a quote is never closed, or a row has more or fewer fields than the header; names the line.
    """
    lines = _Lines(pieces, name)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    spaced = first.count(f"{delimiter} ") == first.count(delimiter)  # a space after each
    rows = _split_rows(chain([first], lines), delimiter, spaced, name)
    _, header = next(rows, (1, []))
    if not header:
        return
    if field is None or field not in header:
        raise _unknown_field(name, field, header)
    if header.count(field) > 1:
        raise UsageError(f"{name} has {header.count(field)} fields named {quote(field)}; rename all but one", "field")
    column = header.index(field)
    for line, row in rows:
        if row and len(row) != len(header):
            hint = (
                f"quote any field that contains {quote(delimiter)}"
                if len(row) > len(header)
                else "is the row truncated?"
            )
            fields = counted(len(row), "field")
            raise CharlstmError(f"{name}: the row at line {line:,} has {fields}, and the header {len(header)}; {hint}")
        if row:
            yield row[column]


def read_json_lines(pieces: Iterable[str], name: str, field: str | None, findings: Findings) -> Iterator[str]:
    """Yield the text in a field of each line of JSON.

    Raises:
        UsageError: no line has such a field, or none is given; lists the fields.
        CharlstmError: a line is not JSON; names it.
    """
    picker = _Picker(name, field, findings)
    lines = _Lines(pieces, name)
    for line in lines:
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CharlstmError(
                f"{name}: line {lines.number:,} is not JSON ({describe_error(error)}); is it truncated?"
            ) from None
        yield from picker.pick(value)
    picker.check()


def read_json(pieces: Iterable[str], name: str, field: str | None, findings: Findings) -> Iterator[str]:
    """Yield the text in a field of each item of a JSON array, read one at a time, or of another value, read as a whole.

    Raises:
        UsageError: no item has such a field, or none is given; lists the fields.
        CharlstmError: it is not JSON, or a value is too long; names the line.
    """
    picker = _Picker(name, field, findings)
    for value in JsonStream(pieces, name).values():
        yield from picker.pick(value)
    picker.check()


def read_any(pieces: Iterable[str], name: str, field: str, findings: Findings) -> Iterator[str]:
    """Yield the text in a field of records of an unknown format, JSON or a table."""
    pieces = iter(pieces)
    start = ""
    while not start.strip() and (piece := next(pieces, None)) is not None:
        start += piece
    whole = chain([start], pieces)
    return read_json(whole, name, field, findings) if start.lstrip()[:1] in "[{" else read_table(whole, name, field)


def find_export(file_name: str) -> str | None:
    """Return the field with the text in an export of posts, by the name of the file; None for any other file."""
    return next((field for pattern, field in EXPORTS.items() if re.fullmatch(pattern, file_name.lower())), None)


def skip_assignment(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the JSON in a JavaScript file that assigns it to a variable."""
    found = False
    for piece in pieces:
        found = found or piece.lstrip()[:1] in ("[", "{")  # JSON alone
        yield piece if found else piece.partition("=")[2]
        found = found or "=" in piece


def _unknown_field(name: str, field: str | None, names: Iterable[str]) -> UsageError:
    known = list(dict.fromkeys(names))
    shown = ", ".join(each if each and each == each.strip() else quote(each) for each in known[:_SHOWN_NAMES])
    shown += ", ..." * (len(known) > _SHOWN_NAMES)
    if field is not None:
        has = f"it has {shown}{suggest(field, known)}" if known else "it has no fields at all"
        return UsageError(f"{name} has no field {quote(field)}; {has}", "field")
    if not known:
        return UsageError(f"{name} has no fields to choose from; use --raw to read it unchanged", "field")
    return UsageError(f"{name} has the fields {shown}; name the one with the text, or use --raw", "field")


# ---- tables


class _Lines:
    """An iterator over the lines of a text, each with its newline, that counts them."""

    def __init__(self, pieces: Iterable[str], name: str) -> None:
        self.number = 0  # of the last line
        self._lines = self._split(pieces)
        self._name = name

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line

    def _split(self, pieces: Iterable[str]) -> Iterator[str]:
        held: list[str] = []
        length = 0
        for piece in pieces:
            *lines, rest = piece.split("\n")
            for line in lines:
                yield "".join([*held, line, "\n"]) if held else f"{line}\n"
                held, length = [], 0
            held.append(rest)
            length += len(rest)
            if length > MAX_RECORD:
                raise CharlstmError(f"{self._name}: line {self.number + 1:,} has over {MAX_RECORD:,} characters")
        if last := "".join(held):
            yield last


def _split_rows(lines: Iterable[str], delimiter: str, spaced: bool, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table, each with the number of its first line."""
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced, strict=True)
    while True:
        line = rows.line_num + 1
        limit = csv.field_size_limit(MAX_RECORD)
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise CharlstmError(
                f"{name}: the row at line {line:,} is not valid CSV ({error}); is a closing quote missing?"
            ) from None
        finally:
            csv.field_size_limit(limit)
        if row is None:
            return
        yield line, row


# ---- JSON


class _Picker:
    """Picks the text in a field of JSON values. Dots reach into objects, and into each item of an array."""

    def __init__(self, name: str, field: str | None, findings: Findings) -> None:
        self._name, self._field, self._findings = name, field, findings
        self._found = False
        self._values = 0
        self._names: dict[str, None] = {}  # of the first values

    def pick(self, value: Any) -> Iterator[str]:
        """Yield the texts in the field of a value; none if it lacks the field."""
        if isinstance(value, dict) and isinstance(text := value.get(self._field), str):  # by far the most frequent case
            self._found = True
            yield self._clean(text)
            return
        if self._field is None and isinstance(value, str):
            yield self._clean(value)
            return
        if self._field is None:
            raise _unknown_field(self._name, None, _list_fields(value))
        self._values += 1
        if not self._found and self._values <= _LISTED_FROM:
            self._names.update(dict.fromkeys(_list_fields(value)))
        for text in _reach(value, self._field):
            self._found = True
            if isinstance(text, dict):
                raise _unknown_field(self._name, self._field, _list_fields(value))
            if text is not None and not isinstance(text, bool):
                yield self._clean(text if isinstance(text, str) else str(text))

    def check(self) -> None:
        """Raise UsageError if no value had the field."""
        if self._values and not self._found:
            raise _unknown_field(self._name, self._field, self._names)

    def _clean(self, text: str) -> str:
        """Return a text with LF line endings and without unpaired surrogates, which no encoding has."""
        if not text.isascii():
            text, replaced = _SURROGATE.subn("\ufffd", text)
            self._findings.replaced += replaced
        return convert_newlines(text) if "\r" in text else text


def _reach(value: Any, path: str) -> Iterator[Any]:
    """Yield the values at a path within a value."""
    if isinstance(value, list):
        for item in value:
            yield from _reach(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        if path in value:
            yield from _reach(value[path], "")
        else:
            head, _, rest = path.partition(".")
            if rest and head in value:
                yield from _reach(value[head], rest)


def _list_fields(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the fields of a value."""
    if isinstance(value, list):
        for item in value[:_LISTED_FROM]:
            yield from _list_fields(item, prefix)
    elif isinstance(value, dict):
        for key, inner in value.items():
            nested = list(_list_fields(inner, f"{prefix}{key}."))
            yield from nested or [f"{prefix}{key}"]
