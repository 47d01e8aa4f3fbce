"""Changes to the text of a corpus: HTML character references, web addresses, case, Unicode normalisation."""

import html
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from charlstm.text.normalize import normalize_text
from charlstm.text.stream import End, Piece

_UP_TO_SPACE = re.compile(r".*(?=[\t\n\v\f\r ])", re.DOTALL)  # the text before its last ASCII white space
_MAX_HELD = 1 << 24  # characters without white space that are kept together
_ADDRESS = re.escape(string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%")
_ADDRESS_END = re.escape(string.ascii_letters + string.digits + "/_~=&#%+-$@*")  # punctuation belongs to the sentence
_URL = re.compile(rf"[ \t]?(?:https?://|(?<!\w)www\.)[{_ADDRESS}]*[{_ADDRESS_END}]", re.IGNORECASE)


@dataclass(frozen=True)
class Cleaning:
    """What is changed in a text before it is normalised."""

    unescape_html: bool = False
    strip_urls: bool = False
    lowercase: bool = False


UNCHANGED = Cleaning()


def clean_text(text: str, cleaning: Cleaning, form: str = "none") -> str:
    """Return a text with all changes, and in a normalisation form."""
    if cleaning.unescape_html:
        text = html.unescape(text).replace("\r\n", "\n").replace("\r", "\n")
    if cleaning.strip_urls:
        text = _URL.sub("", text)
    return normalize_text(text.lower() if cleaning.lowercase else text, form)


def clean_pieces(pieces: Iterable[Piece], cleaning: Cleaning, form: str = "none") -> Iterator[Piece]:
    """Yield pieces with all changes. Each record is changed as if it were in one piece.

    It is cut before white space: no address and no character reference contains any, no character before it is
    composed with it, and lower case does not depend on what follows it.
    """
    if cleaning == UNCHANGED and form == "none":
        yield from pieces
        return
    held: list[str] = []
    length = 0
    for text, end in pieces:
        held.append(text)
        length += len(text)
        if end is not End.NOTHING:
            yield Piece(clean_text("".join(held), cleaning, form), end)
            held, length = [], 0
        elif match := _UP_TO_SPACE.match(text):
            held[-1] = text[: match.end()]
            yield Piece(clean_text("".join(held), cleaning, form))
            held = [text[match.end() :]]
            length = len(held[0])
        elif length > _MAX_HELD:
            yield Piece(clean_text("".join(held), cleaning, form))
            held, length = [], 0
    yield Piece(clean_text("".join(held), cleaning, form))
