"""What values a setting takes: one parser and one check, for flags, YAML and Python alike."""

import math
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
    range = _range(low, high)
    return Kind(
        expects=f"an integer: {range}",
        convert=lambda text: int(_matching(r"[+-]?[0-9]+", text)),
        holds=lambda value: type(value) is int and low <= value <= high,
        range=range,
        metavar="N",
    )


def number(low: float, high: float, *, above: bool = False) -> Kind:
    """Take finite numbers from `low` (excluded with `above`) to `high`, in Python's notation: 1e-3, .001, 5."""
    range = _range(low, high)
    if above:
        range = f"above {range.removesuffix(' or more')}"
    return Kind(
        expects=f"a number: {range}",
        convert=lambda text: float(_matching(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text)),
        holds=lambda value: (
            type(value) in (int, float)
            and math.isfinite(value)
            and (low < value if above else low <= value)
            and value <= high
        ),
        show=lambda value: f"{value:.12g}",
        range=range,
        metavar="X",
    )


def duration() -> Kind:
    """Take a span of time in seconds, written with its unit: 90s, 10m, 1.5h."""
    return Kind(
        expects="a length of time such as 90s, 10m or 1.5h",
        convert=_seconds,
        holds=lambda value: type(value) in (int, float) and 0 < value <= 1e7,
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


def word(expects: str) -> Kind:
    """Take a short text without white space."""
    return Kind(
        expects=expects,
        convert=lambda text: _matching(r"[!-~]{1,64}", text),
        holds=lambda value: type(value) is str and re.fullmatch(r"[!-~]{1,64}", value) is not None,
        metavar="NAME",
        quotable=True,
    )


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
