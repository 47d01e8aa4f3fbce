"""What values a setting takes: one parser and one check, for flags, YAML and Python alike."""

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Kind:
    """The values a setting takes.

    Attributes:
        expects: the values in words, as an error message needs them: "an integer from 1 to 64".
        convert: text to a value, or ValueError.
        holds: whether a value, from whatever source, is one of them.
        show: a value as text that `convert` reads back.
        range: the bounds in short, as help shows them.
        metavar: what stands for a value in help; empty for a pair of flags, --x and --no-x.
        quotable: whether a quoted text in YAML may be one.
    """

    expects: str
    convert: Callable[[str], Any]
    holds: Callable[[Any], bool]
    show: Callable[[Any], str] = str
    range: str = ""
    metavar: str = ""
    quotable: bool = False

    def check(self, value: Any) -> Any:
        """Return `value`, or raise ValueError saying what was expected."""
        if not self.holds(value):
            raise ValueError(f"{_shortened(value)} is not {self.expects}")
        return value

    def parse(self, text: str) -> Any:
        """Return the value that `text` stands for, or raise ValueError saying what was expected."""
        try:
            value = self.convert(text)
        except ValueError:
            raise ValueError(f"{_shortened(text)} is not {self.expects}") from None
        if not self.holds(value):
            raise ValueError(f"{_shortened(text)} is not {self.expects}")
        return value


def integer(low: int, high: int) -> Kind:
    """Take whole numbers from `low` to `high`; never a rounded 1.5, never true."""
    return Kind(
        expects=f"an integer from {low} to {high}",
        convert=lambda text: int(_matching(r"[+-]?[0-9]+", text)),
        holds=lambda value: type(value) is int and low <= value <= high,
        range=_range(low, high),
        metavar="N",
    )


def number(low: float, high: float, *, above: bool = False) -> Kind:
    """Take finite numbers from `low` (excluded with `above`) to `high`, in Python's notation: 1e-3, .001, 5."""
    above_or_from = "above" if above else "from"
    return Kind(
        expects=f"a number {above_or_from} {low:g} to {high:g}",
        convert=lambda text: float(_matching(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text)),
        holds=lambda value: type(value) in (int, float) and (low < value if above else low <= value) and value <= high,
        show=lambda value: f"{value:.12g}",
        range=f"above {_range(low, high).removesuffix(' or more')}" if above else _range(low, high),
        metavar="X",
    )


def duration() -> Kind:
    """Take a span of time in seconds, written with its unit: 90s, 10m, 1.5h."""
    return Kind(
        expects="a length of time such as 90s, 10m or 1.5h (1e7s at most)",
        convert=_seconds,
        holds=lambda value: type(value) in (int, float) and 0.1 <= value <= 1e7,
        show=lambda seconds: f"{seconds / 60:.12g}m" if seconds % 60 == 0 else f"{seconds:.12g}s",
        metavar="TIME",
    )


def choice(*names: str) -> Kind:
    """Take one of a few words."""
    return Kind(
        expects="one of " + ", ".join(names),
        convert=str,
        holds=lambda value: value in names,
        metavar="|".join(names),
        quotable=True,
    )


def boolean() -> Kind:
    """Take true or false, spelled so."""
    return Kind(
        expects="true or false",
        convert=lambda text: _matching("true|false", text) == "true",
        holds=lambda value: type(value) is bool,
        show=lambda value: str(value).lower(),
    )


def encoding() -> Kind:
    """Take the name of an encoding that Python knows, and that is one of text."""
    return Kind(
        expects="the name of a text encoding, such as utf-8, cp1252 or utf-16",
        convert=str,
        holds=_is_text_encoding,
        metavar="NAME",
        quotable=True,
    )


def name() -> Kind:
    """Take the name of a file or the like: anything but nothing."""
    return Kind(expects="a name", convert=str, holds=bool, metavar="FILE")


def _is_text_encoding(value: Any) -> bool:
    try:
        _matching(r"[\w.:-]+", value)
        "".encode(value)  # refuses the codecs that are not text, such as hex
        codecs.getincrementaldecoder(value)
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _range(low: float, high: float) -> str:
    return f"{low:.12g} or more" if high >= 1e6 else f"{low:.12g} to {high:.12g}"


def _seconds(text: str) -> float:
    _matching(r"([0-9]+\.?[0-9]*|\.[0-9]+)[smh]", text)
    return float(text[:-1]) * _SECONDS[text[-1]]


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError(text)
    return text


def _shortened(value: object) -> str:
    shown = value if isinstance(value, str) else repr(value)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return shown if shown.strip() else "an empty value"
