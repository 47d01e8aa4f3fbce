"""JSON in pieces -> its values, one at a time."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from charlstm.errors import CharlstmError

MAX_RECORD = 1 << 26  # characters of a record, or of a JSON file that is not an array
_SPACE = re.compile("[ \t\n\r]*")


class JsonStream:
    """The values in a JSON text: the items of an array, or values one after the other. One is in memory at a time.

    Args:
        pieces: the text.
        name: of the file, for messages.
    """

    def __init__(self, pieces: Iterable[str], name: str) -> None:
        self._pieces = iter(pieces)
        self._name = name
        self._text, self._at = "", 0
        self._lines = 0  # before the text
        self._decoder = json.JSONDecoder()

    def values(self) -> Iterator[Any]:
        """Yield the values. Raises CharlstmError where the text is not JSON, or a value too long; names the line."""
        while character := self._peek():
            if character == "[":
                yield from self._items()
            else:
                yield self._decode()

    def _items(self) -> Iterator[Any]:
        """Yield the items of the array that starts here."""
        self._at += 1
        while self._peek() != "]":
            yield self._decode()
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != "]":
                cut = "" if self._peek() else "; is it truncated?"
                raise self._error(f"expecting a comma or the end of the array{cut}", self._at)
        self._at += 1

    def _peek(self) -> str:
        """Return the next character that is no space; "" at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text) or not self._read():
                return self._text[self._at : self._at + 1]

    def _decode(self) -> Any:
        """Return the value that starts here."""
        failed_at = -1
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                at = getattr(error, "pos", self._at) - self._at  # the same again: not for lack of text
                goes_on = describe_error(error).startswith("Unterminated") or at != failed_at
                if not (goes_on and self._read()):
                    reason = describe_error(error)
                    is_cut = reason.startswith("Unterminated") or not self._text[self._at + at :].strip()
                    raise self._error(reason + "; is it truncated?" * is_cut, self._at + at) from None
                failed_at = at
                continue
            if end == len(self._text) and isinstance(value, int | float) and self._read():
                continue  # the number may have more digits
            self._at = end
            return value

    def _read(self) -> bool:
        """Read at least as much as there is left; return whether there was any more."""
        left = self._text[self._at :]
        if len(left) > MAX_RECORD:
            raise self._error(f"a value of over {MAX_RECORD:,} characters; convert the file to JSON lines", self._at)
        added, length = [], 0
        while length <= len(left) and (piece := next(self._pieces, None)) is not None:
            added.append(piece)
            length += len(piece)
        self._lines += self._text.count("\n", 0, self._at)
        self._text, self._at = "".join([left, *added]), 0
        return length > 0

    def _error(self, reason: str, at: int) -> CharlstmError:
        line = self._lines + self._text.count("\n", 0, at) + 1
        return CharlstmError(f"{self._name}: not valid JSON at line {line:,} ({reason})")


def describe_error(error: Exception) -> str:
    """Return why a text is not JSON, by the error of the standard library."""
    return error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply, or a number is too long"
