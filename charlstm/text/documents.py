"""Documents: where a text is cut into them, which are copies of others, and which are held out."""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from charlstm.arrays import Bools, CodePoints, Hashes, Ids, Int64s

END: Final = None  # the end of a document, or of a row, among pieces of text
_SEPARATOR = re.compile(r"\n(?:[ \t]*\n)+")
_CHUNK = 1 << 20  # characters hashed at a time
_MAX_ONLY = 0.5  # fraction of the text that a document may be and still be the only one held out
_PLACE, _MIX_1, _MIX_2 = (np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def split_documents(pieces: Iterable[str | None], documents: str) -> Iterator[str | None]:
    """Yield the text of a file without what separates its documents, and `END` after each of them.

    Args:
        pieces: of the text with LF line endings, and `END` after each row, where the reader knows rows.
        documents: "line", "blank-line", "file", or "row", for which the ends in `pieces` count. For the others, and for
            "none", which has no documents, the end of a row is a newline.
    """
    if documents == "row":
        return iter(pieces)
    text = ("\n" if piece is END else piece for piece in pieces)
    if documents == "line":
        return _split_lines(text)
    if documents == "blank-line":
        return _split_at_blank_lines(text)
    return _strip_last_newline(text) if documents == "file" else text


def _split_lines(pieces: Iterable[str]) -> Iterator[str | None]:
    for piece in pieces:
        *lines, rest = piece.split("\n")
        for line in lines:
            yield line
            yield END
        yield rest
    yield END


def _split_at_blank_lines(pieces: Iterable[str]) -> Iterator[str | None]:
    """Cut at lines that have nothing but spaces and tabs."""
    held = "\n\n"  # blank text that may belong to a separator; the start of a file counts as one
    for piece in pieces:
        text = held + piece
        cut = text.find("\n", len(text.rstrip(" \t\n")))
        text, held = (text[:cut], text[cut:]) if cut >= 0 else (text, "")
        if held.count("\n") > 1:
            held = "\n\n" + held[held.rfind("\n") + 1 :]  # as good, and short
        first, *others = _SEPARATOR.split(text)
        yield first
        for document in others:
            yield END
            yield document
    yield END


def _strip_last_newline(pieces: Iterable[str]) -> Iterator[str | None]:
    held = ""
    for piece in filter(None, pieces):
        text = held + piece
        held = "\n" * text.endswith("\n")
        yield text.removesuffix("\n")
    yield END


def hash_documents(ids: Ids, starts: Int64s, code_points: CodePoints) -> Hashes:
    """Return a hash of each document [D]: equal for equal documents, whatever the other documents are.

    The hash is the sum of a pseudorandom number for each character and its place, modulo 2^64.

    Args:
        ids: the documents, with the boundary before each and after the last.
        starts: indices of the boundaries [D + 1].
        code_points: by id.
    """
    numbers = np.append(code_points, np.uint32(0)).astype(np.uint64)  # the boundary comes last
    hashes = np.zeros(len(starts) - 1, np.uint64)
    for first in range(0, len(ids) - 1, _CHUNK):
        last = min(first + _CHUNK, len(ids) - 1)
        d = int(np.searchsorted(starts, first, "right")) - 1
        cuts = np.append(first, starts[d + 1 : np.searchsorted(starts, last)])  # in this chunk
        places = np.arange(first, last) - np.repeat(starts[d : d + len(cuts)], np.diff(cuts, append=last))
        values = _mix(numbers[ids[first:last]] + places.astype(np.uint64) * _PLACE)
        hashes[d : d + len(cuts)] += np.add.reduceat(values, cuts - first)
    return _mix(hashes)


def _mix(x: Hashes) -> Hashes:
    """Return pseudorandom numbers, a permutation of all uint64 (Steele, Lea and Flood: SplitMix, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def find_copies(hashes: Hashes) -> Bools:
    """Return which documents equal an earlier one [D]."""
    copies = np.ones(len(hashes), bool)
    copies[np.unique(hashes, return_index=True)[1]] = False
    return copies


def choose_held_out(hashes: Hashes, lengths: Int64s, fraction: float) -> Bools:
    """Return which documents to hold out [D]: those with the lowest hashes, with about a fraction of the text.

    The choice depends on nothing but the documents, equal ones stay together, and a few more documents change it
    little. Those that exceed the fraction by themselves are not held out. If all do, the shortest is, unless it is more
    than half of the text.
    """
    groups, group_of = np.unique(hashes, return_inverse=True)  # of equal documents
    chars = np.bincount(group_of, lengths, minlength=len(groups))
    wanted = math.ceil(fraction * chars.sum())
    short = np.flatnonzero((chars <= wanted) & (wanted > 0))[: len(groups) - 1]  # one is left to train on
    total = np.append(0, np.cumsum(chars[short]))
    chosen = short[: int(np.argmin(np.abs(total - wanted)))]
    if wanted and not len(chosen) and chars.min() <= _MAX_ONLY * chars.sum():
        chosen = np.array([np.argmin(chars)])
    held_out: Bools = np.isin(group_of, chosen)
    return held_out
