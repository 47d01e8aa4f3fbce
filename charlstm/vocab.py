"""Characters <-> ids."""

import unicodedata
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from charlstm.errors import CharlstmError

Ids = npt.NDArray[np.unsignedinteger]


class Vocab:
    """The characters a model knows, in the order of their code points; a character's place is its id.

    Attributes:
        code_points: ascending, without repeats, uint32 [V].
        counts: how often each stands in the text, int64 [V]. Two vocabularies may differ in that and be equal.
    """

    def __init__(self, code_points: npt.ArrayLike, counts: npt.ArrayLike) -> None:
        self.code_points = np.asarray(code_points, np.uint32)
        self.counts = np.asarray(counts, np.int64)

    def __len__(self) -> int:
        return len(self.code_points)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocab) and np.array_equal(self.code_points, other.code_points)

    def __hash__(self) -> int:
        return hash(self.code_points.tobytes())

    @property
    def id_type(self) -> np.dtype[np.unsignedinteger]:
        """The narrowest type that holds every id: 1 byte up to 256 characters, 2 up to 65,536."""
        return np.min_scalar_type(max(len(self) - 1, 0))

    def encode(self, text: str) -> Ids:
        """Return the ids of `text`.

        Raises:
            UnknownCharactersError: `text` has characters that are not in the vocabulary.
        """
        wanted = code_points(text)
        ids, known = self.find(wanted)
        if not known.all():
            raise UnknownCharactersError(np.unique(wanted[~known]), self)
        return ids

    def find(self, wanted: npt.NDArray[np.uint32]) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """Return the ids of code points, and which of them are known at all (the other ids mean nothing)."""
        ids = np.minimum(np.searchsorted(self.code_points, wanted), max(len(self) - 1, 0))
        known = self.code_points[ids] == wanted if len(self) else np.zeros(len(wanted), bool)
        return ids.astype(self.id_type), known

    def adapt(self, text: str, unknown: str = "error") -> str:
        """Return a text in known characters.

        Args:
            text: with any characters.
            unknown: what becomes of the others: "error" for an exception; "skip" leaves them out; "nearest" takes what
                they are made of in Unicode, without marks, in the other case if need be: é becomes e.

        Raises:
            UnknownCharactersError: there are others, and "error" stands, or "nearest" finds nothing.
        """
        known = set(self.decode(range(len(self))))
        if unknown == "skip":
            return "".join(character for character in text if character in known)
        if unknown == "nearest":
            text = unicodedata.normalize("NFC", text)
            text = "".join(c if c in known else _nearest(c, known) for c in text)
        self.encode(text)
        return text

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text that `ids` stand for."""
        return str(self.code_points[np.asarray(ids, np.intp)].astype("<u4").tobytes(), "utf-32-le", "surrogatepass")


class UnknownCharactersError(CharlstmError):
    """A text has characters that the model has never seen; the message names them."""

    def __init__(self, unknown: Iterable[int], vocab: Vocab) -> None:
        characters = [chr(point) for point in unknown]
        shown = ", ".join(name(character) for character in characters[:8])
        more = f" and {len(characters) - 8} more" if len(characters) > 8 else ""
        hint = _normalisation_hint(characters, vocab) or "; `charlstm info` shows the characters that it knows"
        super().__init__(f"the model does not know {shown}{more}{hint}")


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of `text`, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


def name(character: str) -> str:
    """Return a character as an error message shows it: 'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE."""
    official = unicodedata.name(character, "")
    return f"{ascii(character) if not character.isprintable() else repr(character)} U+{ord(character):04X}" + (
        f" {official}" if official else ""
    )


def _nearest(character: str, known: set[str]) -> str:
    """Return known characters that come nearest to an unknown one; itself, if none do."""
    parts = unicodedata.normalize("NFKD", character)
    bare = "".join(part for part in parts if not unicodedata.combining(part))
    candidates = (unicodedata.normalize("NFKC", character), parts, character.swapcase(), bare, bare.swapcase())
    return next((each for each in candidates if set(each) <= known), character)


def _normalisation_hint(characters: list[str], vocab: Vocab) -> str:
    known = {chr(point) for point in vocab.code_points}
    letters = [character for character in characters if character.isalpha()]
    for form in ("NFC", "NFD"):
        if letters and all(set(unicodedata.normalize(form, letter)) <= known for letter in letters):
            return f"; it knows the same letters in the other normal form: convert the text to {form}"
    if any(unicodedata.combining(character) for character in characters):
        return "; combining marks: the text may be in the normal form NFD, convert it to NFC"
    return ""
