"""Unicode normalisation of a text, whole or piece by piece."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Literal, cast

_UP_TO_ASCII = re.compile(r".*(?=[\0-\x7f])", re.DOTALL)  # the text before its last ASCII character


def normalize_text(text: str, form: str) -> str:
    """Return a text in a normalisation form, NFC or NFKC, or unchanged for the form "none"."""
    return text if form == "none" else unicodedata.normalize(cast(Literal["NFC", "NFKC"], form), text)


def normalize_pieces(pieces: Iterable[str], form: str) -> Iterator[str]:
    """Yield the normalised text of some pieces, as if they were normalised as one.

    The text is cut before ASCII characters, which never combine with what precedes them.
    """
    if form == "none":
        yield from pieces
        return
    held: list[str] = []
    for piece in pieces:
        match = _UP_TO_ASCII.match(piece)
        cut = match.end() if match else 0
        if match:
            yield normalize_text("".join([*held, piece[:cut]]), form)
            held.clear()
        held.append(piece[cut:])
    yield normalize_text("".join(held), form)


def find_mixed_forms(characters: str) -> tuple[str, str] | None:
    """Return a composed character and a combining mark of its decomposition, both among some characters, if any are."""
    marks = {character for character in characters if unicodedata.combining(character)}
    for character in characters:
        decomposed = unicodedata.normalize("NFD", character)
        if len(decomposed) > 1 and (found := [mark for mark in decomposed[1:] if mark in marks]):
            return character, found[0]
    return None
