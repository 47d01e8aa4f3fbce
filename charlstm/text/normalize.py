"""Unicode normalisation of a text."""

import unicodedata
from typing import Literal, cast


def normalize_text(text: str, form: str) -> str:
    """Return a text in a normalisation form, NFC or NFKC, or unchanged for the form "none"."""
    return text if form == "none" else unicodedata.normalize(cast(Literal["NFC", "NFKC"], form), text)


def find_mixed_forms(characters: str) -> tuple[str, str] | None:
    """Return a composed character and a combining mark of its decomposition, both among some characters, if any are."""
    marks = {character for character in characters if unicodedata.combining(character)}
    for character in characters:
        decomposed = unicodedata.normalize("NFD", character)
        if len(decomposed) > 1 and (found := [mark for mark in decomposed[1:] if mark in marks]):
            return character, found[0]
    return None
