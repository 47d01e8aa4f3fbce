"""Documents: how a text is split, which documents are copies, and which are held out."""

import math
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

import numpy as np

from charlstm.arrays import Bools, CodePoints, Hashes, Ids, Int64s, IntArray
from charlstm.text.spool import OpenFile, Spool

END: Final = "\udfff"  # the end of a document, or of a row, in text; texts with documents have no such character
_SEPARATOR = re.compile(r"\n(?:[ \t]*\n)+")
_CHUNK = 1 << 20  # characters, or documents, at a time
_SORTED = 1 << 22  # documents sorted at a time
_MAX_ONLY = 0.5  # the largest fraction of the text that a single held-out document may have
_BINS, _SHIFT = 1 << 12, np.uint64(52)  # hashes with the same first bits are in the same bin
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BASES = (0x9E3779B97F4A7C15, pow(0x9E3779B97F4A7C15, -1, 1 << 64))  # odd, and its inverse


def end_of(documents: str) -> str:
    """Return what ends a document in text: `END`, but a newline for lines, which keeps ASCII strings narrow."""
    return "\n" if documents == "line" else END


def split_documents(pieces: Iterable[str], documents: str) -> Iterator[str]:
    """Yield the text of a file with `end_of(documents)` in place of each separator of documents, and at its end.

    Args:
        pieces: of the text with LF line endings, and `END` after each row, if the file has rows.
        documents: "line", "blank-line", "file", or "row", which splits at each `END` in `pieces`. For the others, the
            end of a row is a newline.
    """
    if documents == "row":
        return iter(pieces)
    text = (piece.replace(END, "\n") for piece in pieces)
    if documents == "line":
        return chain(text, "\n")
    return _split_at_blank_lines(text) if documents == "blank-line" else _strip_last_newline(text)


def _split_at_blank_lines(pieces: Iterable[str]) -> Iterator[str]:
    """Split at lines that contain only spaces and tabs."""
    held = "\n\n"  # blank text that may belong to a separator; the start of a file counts as one
    for piece in pieces:
        text = held + piece
        cut = text.find("\n", len(text.rstrip(" \t\n")))
        text, held = (text[:cut], text[cut:]) if cut >= 0 else (text, "")
        if held.count("\n") > 1:
            held = "\n\n" + held[held.rfind("\n") + 1 :]  # equivalent, but short
        yield _SEPARATOR.sub(END, text)
    yield END


def _strip_last_newline(pieces: Iterable[str]) -> Iterator[str]:
    held = ""
    for piece in filter(None, pieces):
        text = held + piece
        held = "\n" * text.endswith("\n")
        yield text.removesuffix("\n")
    yield END


def find_boundaries(ids: Ids, boundary_id: int, scratch: OpenFile | None = None) -> Int64s:
    """Return the indices of the boundaries in a text [D + 1]."""
    starts = Spool(np.int64, scratch)
    for first in range(0, len(ids), _CHUNK):
        starts.append(first + np.flatnonzero(ids[first : first + _CHUNK] == boundary_id))
    return starts.array()


def hash_documents(ids: Ids, starts: Int64s, code_points: CodePoints, scratch: OpenFile | None = None) -> Hashes:
    """Return a hash of each document [D]: equal for equal documents, regardless of the others.

    The hash is a polynomial over pseudorandom numbers for the characters, modulo 2^64 (Karp and Rabin, 1987).

    Args:
        ids: the documents, with the boundary before each and after the last.
        starts: indices of the boundaries [D + 1].
        code_points: by id.
        scratch: opens a file for the hashes, if they are too large for memory.
    """
    numbers = _mix(np.append(code_points + np.uint32(1), np.uint32(0)).astype(np.uint64))  # the boundary comes last
    powers, inverses = (_powers(base, min(_CHUNK, len(ids))) for base in _BASES)
    hashes, begun = Spool(np.uint64, scratch), np.zeros(1, np.uint64)  # the sum for a document so far
    for chunk, documents, counts in document_chunks(starts):
        firsts = np.cumsum(counts) - counts
        terms = numbers[ids[chunk]] * powers[: chunk.stop - chunk.start]
        sums = np.add.reduceat(terms, firsts) * inverses[firsts]
        place = chunk.start - int(starts[documents.start])
        sums[:1] = begun[:1] + sums[:1] * np.uint64(pow(_BASES[0], place, 1 << 64))
        complete = len(sums) - (starts[documents.stop] > chunk.stop)
        hashes.append(_mix(sums[:complete]))
        begun = np.append(sums[complete:], np.uint64(0))
    return hashes.array()


def select_documents(ids: Ids, starts: Int64s, which: Bools, scratch: OpenFile | None = None) -> Ids:
    """Return the ids of some documents [D], with the boundary before each and after the last; empty for none."""
    selected = Spool(ids.dtype, scratch)
    for chunk, documents, counts in document_chunks(starts):
        selected.append(ids[chunk][np.repeat(which[documents], counts)])
    if which.any():
        selected.append(ids[-1:])
    return selected.array()


def document_chunks(starts: Int64s) -> Iterator[tuple[slice, slice, Int64s]]:
    """Yield chunks of a text, the documents that overlap each, and the number of its characters in each of them."""
    for first in range(0, int(starts[-1]), _CHUNK):
        last = min(first + _CHUNK, int(starts[-1]))
        documents = slice(int(np.searchsorted(starts, first, "right")) - 1, int(np.searchsorted(starts, last)))
        edges = np.append(np.maximum(starts[documents], first), last)
        yield slice(first, last), documents, np.diff(edges)


def _powers(base: int, count: int) -> Hashes:
    """Return the powers of a number, starting with the zeroth."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    powers: Hashes = np.multiply.accumulate(factors)
    return powers


def _mix(x: Hashes) -> Hashes:
    """Return pseudorandom numbers, a permutation of all uint64 (Steele, Lea and Flood: SplitMix, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def find_copies(hashes: Hashes) -> Bools:
    """Return which documents equal an earlier one [D]."""
    copies = np.zeros(len(hashes), bool)
    chunks = [slice(first, first + _CHUNK) for first in range(0, len(hashes), _CHUNK)]
    for chunk in chunks:  # first within each chunk, to limit memory however many copies there are
        copies[chunk.start + _find_repeated(hashes[chunk])] = True
    parts = 1 << (len(hashes) // _SORTED).bit_length()
    for part in range(parts):  # equal documents are in the same part
        mask = np.uint64(parts - 1)
        members = [chunk.start + np.flatnonzero(((hashes[chunk] & mask) == part) & ~copies[chunk]) for chunk in chunks]
        numbers = np.concatenate([np.zeros(0, np.intp), *members])
        copies[numbers[_find_repeated(hashes[numbers])]] = True
    return copies


def _find_repeated(hashes: Hashes) -> IntArray:
    """Return the indices of hashes that equal an earlier one."""
    order = np.argsort(hashes)
    begins = np.flatnonzero(np.diff(hashes[order], prepend=~hashes[order[:1]]))  # of equal hashes
    repeated = np.ones(len(hashes), bool)
    repeated[np.minimum.reduceat(order, begins) if len(begins) else begins] = False
    return np.flatnonzero(repeated)


def choose_held_out(hashes: Hashes, starts: Int64s, fraction: float) -> Bools:
    """Return which documents to hold out [D]: those with the lowest hashes, with about a fraction of the text.

    The choice depends only on the documents. Equal documents stay together, and adding a few changes the choice little.
    A document that exceeds the fraction by itself is not held out. If all do, the shortest one is, unless it is more
    than half of the text.

    Args:
        hashes: of the documents [D].
        starts: indices of the boundaries [D + 1].
        fraction: of the text.
    """
    wanted = math.ceil(fraction * starts[-1])
    if not wanted:
        return np.zeros(len(hashes), bool)
    chars = np.zeros(_BINS, np.int64)
    for part, lengths in _parts(hashes, starts):
        bins = (part >> _SHIFT).astype(np.intp)  # older NumPys cannot count uint64
        chars += np.bincount(bins, lengths, _BINS).astype(np.int64)
    groups, sizes = _count_groups(hashes, starts, chars > wanted)
    is_long = sizes > wanted
    np.subtract.at(chars, groups[is_long] >> _SHIFT, sizes[is_long])
    last = _find_last(hashes, starts, groups[is_long], chars, wanted)
    if last is not None:
        held_out = [(part <= last) & ~np.isin(part, groups[is_long], kind="sort") for part, _ in _parts(hashes, starts)]
        return np.concatenate(held_out)
    shortest = sizes.min(initial=starts[-1])
    only: Bools = np.isin(hashes, groups[sizes == shortest][:1], kind="sort")
    return only & bool(shortest <= _MAX_ONLY * starts[-1])


def _find_last(hashes: Hashes, starts: Int64s, long: Hashes, chars: Int64s, wanted: int) -> np.uint64 | None:
    """Return the highest hash of a document to hold out; None if there is none.

    Args:
        hashes: of the documents [D].
        starts: indices of the boundaries [D + 1].
        long: hashes of documents that are not held out.
        chars: in each bin, without those.
        wanted: characters.
    """
    sums = np.cumsum(chars)
    at = int(np.searchsorted(sums, wanted))  # the bin that reaches the wanted number
    if at == _BINS:
        return np.uint64(2**64 - 1) if sums[-1] else None
    groups, sizes = _count_groups(hashes, starts, np.arange(_BINS) == at)
    is_short = ~np.isin(groups, long, kind="sort")
    groups, sizes = groups[is_short], sizes[is_short]
    if sums[at] == starts[-1]:
        groups, sizes = groups[:-1], sizes[:-1]  # one is left to train on
    before = sums[at] - chars[at]
    count = int(np.argmin(np.abs(before + np.append(0, np.cumsum(sizes)) - wanted)))
    if count:
        last: np.uint64 = groups[count - 1]
        return last
    return (np.uint64(at) << _SHIFT) - np.uint64(1) if before else None


def _count_groups(hashes: Hashes, starts: Int64s, bins: Bools) -> tuple[Hashes, Int64s]:
    """Return the distinct hashes in some bins, ascending, and the number of characters in their documents."""
    groups, sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for part, lengths in _parts(hashes, starts):
        chosen = bins[part >> _SHIFT]
        distinct, chars = _sum_by(part[chosen], lengths[chosen])
        groups.append(distinct)
        sizes.append(chars)
    return _sum_by(np.concatenate(groups), np.concatenate(sizes))


def _sum_by(hashes: Hashes, chars: Int64s) -> tuple[Hashes, Int64s]:
    """Return the distinct hashes, ascending, and the sum of the characters of each."""
    distinct, group_of = np.unique(hashes, return_inverse=True)
    return distinct, np.bincount(group_of, chars, len(distinct)).astype(np.int64)


def _parts(hashes: Hashes, starts: Int64s) -> Iterator[tuple[Hashes, Int64s]]:
    """Yield the hashes and the lengths of documents, some at a time."""
    for first in range(0, len(hashes), _CHUNK):
        yield hashes[first : first + _CHUNK], np.diff(starts[first : first + _CHUNK + 1])
