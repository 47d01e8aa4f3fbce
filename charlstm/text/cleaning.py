"""Changes to the text of a corpus: HTML character references, web addresses, case, Unicode normalisation."""

import html
import re
import string
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from charlstm.text.normalize import normalize_text
from charlstm.text.stream import End, Piece

_UP_TO_SPACE = re.compile(r".*(?=[\t\n\v\f\r ])", re.DOTALL)  # the text before its last ASCII white space
_MAX_HELD = 1 << 24  # characters without white space that are kept together
_ADDRESS = re.escape(string.ascii_letters + string.digits + "-._~:/?#[]@!$&'*+,;=%")
_ADDRESS_END = re.escape(string.ascii_letters + string.digits + "/_~=&#%+-$@*")  # punctuation belongs to the sentence
_PARENTHESES = rf"\([{_ADDRESS}]*\)"  # others belong to the sentence
_URL = re.compile(
    rf"[ \t]?(?:https?://|(?<!\w)www\.)(?:[{_ADDRESS}]|{_PARENTHESES})*(?:[{_ADDRESS_END}]|{_PARENTHESES})",
    re.IGNORECASE,
)

_Change = Callable[[str], str]


@dataclass(frozen=True)
class Cleaning:
    """What is changed in a text before it is normalised."""

    unescape_html: bool = False
    strip_urls: bool = False
    lowercase: bool = False


UNCHANGED = Cleaning()


def clean_text(text: str, cleaning: Cleaning, form: str = "none") -> str:
    """Return a text with all changes, and in a normalisation form."""
    for change in _list_changes(cleaning, form):
        text = change(text)
    return text


def clean_pieces(pieces: Iterable[Piece], cleaning: Cleaning, form: str = "none") -> Iterable[Piece]:
    """Return pieces with all changes. Each record is changed as if it were in one piece."""
    for change in _list_changes(cleaning, form):
        pieces = _change_pieces(pieces, change)
    return pieces


def _list_changes(cleaning: Cleaning, form: str) -> list[_Change]:
    """Return the changes in their order."""
    changes: list[_Change] = []
    if cleaning.unescape_html:
        changes.append(lambda text: html.unescape(text).replace("\r\n", "\n").replace("\r", "\n"))
    if cleaning.strip_urls:
        changes.append(lambda text: _URL.sub("", text))
    if cleaning.lowercase:
        changes.append(str.lower)
    if form != "none":
        changes.append(lambda text: normalize_text(text, form))
    return changes


def _change_pieces(pieces: Iterable[Piece], change: _Change) -> Iterator[Piece]:
    """Yield pieces with a change.

    They are cut before white space: no address and no character reference contains any, no character before it is
    composed with it, and lower case does not depend on what follows it.
    """
    held: list[str] = []
    length = 0
    for text, end in pieces:
        held.append(text)
        length += len(text)
        if end is not End.NOTHING:
            yield Piece(change("".join(held)), end)
            held, length = [], 0
        elif match := _UP_TO_SPACE.match(text):
            held[-1] = text[: match.end()]
            yield Piece(change("".join(held)))
            held = [text[match.end() :]]
            length = len(held[0])
        elif length > _MAX_HELD:
            yield Piece(change("".join(held)))
            held, length = [], 0
    yield Piece(change("".join(held)))
