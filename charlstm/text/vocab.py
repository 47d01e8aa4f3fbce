"""Characters <-> ids."""

import unicodedata
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from charlstm.arrays import Bools, CodePoints, Ids
from charlstm.errors import CharlstmError, quote, shorten

UNKNOWN = 0xFFFD  # the code point of the unknown character, U+FFFD REPLACEMENT CHARACTER


class Vocab:
    """The characters a model knows, in the order of their code points. The index of a character is its id.

    One of them may be the unknown character. It stands for every character outside the vocabulary, so that any text
    can be encoded, and it is never generated.

    With documents, the last id is the boundary between them. It is no character: no text contains it.

    Args:
        has_unknown: whether U+FFFD, if it is among the characters, is the unknown character.
        has_boundary: whether there is a boundary.

    Attributes:
        code_points: of the characters, ascending, distinct, uint32 [V, or V - 1 with a boundary].
        counts: how often each id occurs in the corpus, int64 [V]; of the boundary, the number of documents. Equality
            ignores them.
        unknown_id: the id of the unknown character; None without one.
        boundary_id: the id of the boundary; None without documents.
    """

    def __init__(
        self,
        code_points: npt.ArrayLike,
        counts: npt.ArrayLike,
        *,
        has_unknown: bool = False,
        has_boundary: bool = False,
    ) -> None:
        self.code_points = np.asarray(code_points, np.uint32)
        self.counts = np.asarray(counts, np.int64)
        at = np.flatnonzero(self.code_points == UNKNOWN)
        self.unknown_id = int(at[0]) if has_unknown and len(at) else None
        self.boundary_id = len(self.code_points) if has_boundary else None

    def __len__(self) -> int:
        return len(self.code_points) + (self.boundary_id is not None)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Vocab)
            and (self.unknown_id, self.boundary_id) == (other.unknown_id, other.boundary_id)
            and np.array_equal(self.code_points, other.code_points)
        )

    def __hash__(self) -> int:
        return hash(self.code_points.tobytes())

    def __repr__(self) -> str:
        return f"Vocab({shorten(self.characters)!r})"

    @cached_property
    def characters(self) -> str:
        """All characters, in the order of their ids."""
        return self.decode(range(len(self.code_points)))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The text of each id [V]: a character, or nothing for the boundary."""
        return (*self.characters, *[""] * (self.boundary_id is not None))

    @cached_property
    def known(self) -> set[str]:
        """All characters but the unknown one."""
        return set(self.characters) - ({chr(UNKNOWN)} if self.unknown_id is not None else set())

    @property
    def id_type(self) -> np.dtype[np.unsignedinteger]:
        """The narrowest type that holds every id: 1 byte up to 256 characters, 2 up to 65,536."""
        return np.min_scalar_type(max(len(self) - 1, 0))

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`.

        Raises:
            UnknownCharactersError: `text` has characters that are not in the vocabulary, which has no unknown
                character.
        """
        if self.unknown_id is None:
            self.check_known(text)
        return self.find(code_points(text))[0]

    def check_known(self, text: str) -> None:
        """Raise UnknownCharactersError if `text` has characters that are not in the vocabulary."""
        wanted = code_points(text)
        _, known = self.find(wanted)
        if not known.all():
            raise UnknownCharactersError(np.unique(wanted[~known]), self)

    def find(self, wanted: CodePoints) -> tuple[Ids, Bools]:
        """Return the ids of code points, and which of them are known.

        The ids of the others are that of the unknown character. Without one, they mean nothing.
        """
        last = len(self.code_points) - 1
        ids = np.minimum(np.searchsorted(self.code_points, wanted), max(last, 0))
        known = self.code_points[ids] == wanted if last >= 0 else np.zeros(len(wanted), bool)
        if self.unknown_id is not None:
            known &= ids != self.unknown_id
            ids[~known] = self.unknown_id
        return ids.astype(self.id_type), known

    def adapt(self, text: str, unknown: str = "error") -> str:
        """Return a text with its unknown characters replaced or removed.

        Args:
            text: with any characters.
            unknown: what to do with unknown characters. "error" raises an exception; "skip" removes them; "nearest"
                decomposes them (Unicode NFKD), drops the marks and swaps the case if necessary: é becomes e.

        Raises:
            UnknownCharactersError: the vocabulary has no unknown character, and some characters are unknown, with
                "error", or have no substitute, with "nearest".
        """
        known = self.known
        if unknown == "skip":
            return "".join(character for character in text if character in known)
        if unknown == "nearest":
            text = unicodedata.normalize("NFC", text)
            text = "".join(c if c in known else _nearest(c, known) for c in text)
        self.encode(text)
        return text

    def decode(self, ids: npt.ArrayLike, boundary: str = "") -> str:
        """Return the text of `ids`, with a character for each boundary, or without them."""
        ids, points = np.asarray(ids, np.intp), self.code_points
        if self.boundary_id is not None:
            ids = ids if boundary else ids[ids != self.boundary_id]
            points = np.append(points, code_points(boundary))
        return str(points[ids].astype("<u4").tobytes(), "utf-32-le", "surrogatepass")


class UnknownCharactersError(CharlstmError):
    """A text has characters that are not in the vocabulary. The message names them."""

    def __init__(self, unknown: Iterable[int], vocab: Vocab) -> None:
        characters = [chr(point) for point in unknown]
        listed = ", ".join(describe(character) for character in characters[:8])
        more = f" and {len(characters) - 8} more" if len(characters) > 8 else ""
        super().__init__(f"not in the model's vocabulary: {listed}{more}{_normalisation_hint(characters, vocab)}")


def code_points(text: str) -> CodePoints:
    """Return the code points of `text`, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


def describe(character: str) -> str:
    """Return a character as error messages show it: 'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE."""
    official = unicodedata.name(character, "")
    return f"{quote(character)} U+{ord(character):04X}{' ' * bool(official)}{official}"


def _nearest(character: str, known: set[str]) -> str:
    """Return the known characters nearest to an unknown one, or the character itself if there are none."""
    parts = unicodedata.normalize("NFKD", character)
    bare = "".join(part for part in parts if not unicodedata.combining(part))
    candidates = (unicodedata.normalize("NFKC", character), parts, character.swapcase(), bare, bare.swapcase())
    return next((each for each in candidates if set(each) <= known), character)


def _normalisation_hint(characters: list[str], vocab: Vocab) -> str:
    known = vocab.known
    letters = [character for character in characters if character.isalpha()]
    for form in ("NFC", "NFD"):
        if letters and all(set(unicodedata.normalize(form, letter)) <= known for letter in letters):
            return f"; the vocabulary has these letters in {form}: convert the text to {form}"
    if any(unicodedata.combining(character) for character in characters):
        return "; the text may be in NFD: convert it to NFC"
    return ""
