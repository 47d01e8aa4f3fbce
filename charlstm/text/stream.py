"""What flows from the files of a corpus to its ids: pieces of text, and findings to tell the user."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from charlstm.errors import counted, quote

_SHOWN_FILES = 3


class End(Enum):
    """What ends with a piece of text."""

    NOTHING = 0
    RECORD = 1  # a row, a line of JSON, a post
    FILE = 2


class Piece(NamedTuple):
    """Some text of a corpus, with LF line endings. A record can have several pieces, and a file several records."""

    text: str
    end: End = End.NOTHING


@dataclass
class Findings:
    """What was found while a corpus was read."""

    line_endings: set[str] = field(default_factory=set)
    detected: dict[str, list[str]] = field(default_factory=dict)  # names of files by encoding, if not UTF-8
    examples: dict[str, str] = field(default_factory=dict)  # text by detected encoding
    files: dict[str, Counter[str]] = field(default_factory=dict)  # by directory or archive, and reason to skip them
    shown: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # names of skipped files, likewise
    replaced: int = 0  # unpaired surrogates
    bytes_read: int = 0  # of files as they are on the disk

    def count(self, container: str, skipped: str = "", name: str = "") -> None:
        """Count a file of a directory or an archive, skipped if there is a reason; with a name, that is shown."""
        self.files.setdefault(container, Counter())[skipped] += 1
        names = self.shown.setdefault((container, skipped), [])
        if name and len(names) <= _SHOWN_FILES:
            names.append(name)

    def describe_skipped(self, container: str) -> str:
        """Return how many files were skipped, by reason; "" for none."""
        counts = {reason: count for reason, count in sorted(self.files.get(container, Counter()).items()) if reason}
        listed = ", ".join(f"{count:,} {reason}{self._names(container, reason)}" for reason, count in counts.items())
        return listed and f"{counted(sum(counts.values()), 'file')}: {listed}"

    def _names(self, container: str, reason: str) -> str:
        names = self.shown.get((container, reason), [])
        more = ", ..." if len(names) > _SHOWN_FILES else ""
        return f" ({', '.join(names[:_SHOWN_FILES])}{more})" if names else ""

    def notes(self) -> Iterator[str]:
        """Yield lines for the user."""
        for container, counts in self.files.items():
            if skipped := self.describe_skipped(container):
                yield f"{container}: read {counted(counts[''], 'file')}; skipped {skipped}"
        for encoding, names in self.detected.items():
            example = f", for example {quote(text)}" if (text := self.examples.get(encoding)) else ""
            more = f" and {len(names) - _SHOWN_FILES:,} more" if len(names) > _SHOWN_FILES else ""
            yield f"Decoded as {encoding}{example}: {', '.join(names[:_SHOWN_FILES])}{more}"
        if self.replaced:
            yield f"Unpaired surrogates replaced by U+FFFD: {self.replaced:,}"
