"""The kinds of values a setting takes: one parser and one check, for flags, YAML and Python alike."""

import codecs
import dataclasses
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from charlstm.errors import UsageError, shorten

AUTO = "auto"  # the encoding that stands for the one found in each file
_UNITS = {
    86400: "d(?:ays?)?",
    3600: "h(?:(?:ou)?rs?)?",
    60: "m(?:in(?:ute)?s?)?",
    1: "s(?:ec(?:ond)?s?)?",
}  # in seconds
_DURATION = "".join(rf"(?:([0-9]+(?:\.[0-9]*)?|\.[0-9]+) *{unit} *)?" for unit in _UNITS.values())


@dataclass(frozen=True)
class Kind:
    """The values a setting takes."""

    expects: str  # in words, for error messages: "an integer from 1 to 64"
    convert: Callable[[str], Any]  # text to a value, or ValueError
    holds: Callable[[Any], bool]  # whether a value is one of them
    format: Callable[[Any], str] = str  # a value to text that `convert` reads back
    range: str = ""  # the bounds or the names, for help
    metavar: str = ""  # placeholder for a value in help; empty for a pair of flags, --x and --no-x
    quotable: bool = False  # whether YAML may quote a value

    def check(self, value: Any) -> Any:
        """Return `value`, or raise ValueError saying what was expected."""
        if not self.holds(value):
            raise ValueError(f"{_quote(value)} is not {self.expects}")
        return value

    def parse(self, text: str) -> Any:
        """Return the value of `text`, or raise ValueError saying what was expected."""
        try:
            return self.check(self.convert(text))
        except ValueError:
            raise ValueError(f"{_quote(text)} is not {self.expects}") from None

    def coerce(self, value: Any) -> Any:
        """Return the value that `value` is, or stands for where it is text."""
        return self.parse(value) if isinstance(value, str) else self.check(value)


def integer(low: int, high: int) -> Kind:
    """Accept whole numbers from `low` to `high`; never 1.5, never true."""
    return Kind(
        expects=f"an integer from {low:,} to {high:,}",
        convert=lambda text: int(_matching(r"[+-]?[0-9]+", text)),
        holds=lambda value: type(value) is int and low <= value <= high,
        range=_range(low, high),
        metavar="N",
    )


def number(low: float, high: float, *, above: bool = False) -> Kind:
    """Accept finite numbers from `low` (excluded with `above`) to `high`: 1e-3, .001, 5."""
    return Kind(
        expects=_expected_number(low, high, above=above),
        convert=lambda text: float(_matching(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text)),
        holds=lambda value: type(value) in (int, float) and (low < value if above else low <= value) and value <= high,
        format=lambda value: f"{value:.12g}",
        range=_range(low, high, above=above),
        metavar="X",
    )


def duration() -> Kind:
    """Accept a duration in seconds, written with its unit: 90s, 10 min, 1h30m, 2 days."""
    return Kind(
        expects="a duration with a unit, such as 90s, 10m or 1h30m, from 0.1s to 115d",
        convert=_seconds,
        holds=lambda value: type(value) in (int, float) and 0.1 <= value <= 1e7,
        format=lambda seconds: f"{seconds / 60:.12g}m" if seconds % 60 == 0 else f"{seconds:.12g}s",
        metavar="TIME",
    )


def one_of(*names: str) -> Kind:
    """Accept one of a few words."""
    return Kind(
        expects="one of " + ", ".join(names),
        convert=str,
        holds=lambda value: value in names,
        range=f"{', '.join(names[:-1])} or {names[-1]}",
        metavar="NAME",
        quotable=True,
    )


def boolean() -> Kind:
    """Accept true or false, spelled that way."""
    return Kind(
        expects="true or false",
        convert=lambda text: _matching("true|false", text) == "true",
        holds=lambda value: type(value) is bool,
        format=lambda value: str(value).lower(),
    )


def encoding() -> Kind:
    """Accept the name of a text encoding that Python knows, or auto."""
    return Kind(
        expects="the name of a text encoding, such as utf-8, cp1252 or utf-16",
        convert=str,
        holds=lambda value: value == AUTO or _is_text_encoding(value),
        metavar="NAME",
        quotable=True,
    )


def name(metavar: str = "FILE") -> Kind:
    """Accept any text but the empty one, such as the name of a file."""
    return Kind("allowed", str, _is_filled, metavar=metavar, quotable=True)


def text(metavar: str = "TEXT") -> Kind:
    """Accept any text."""
    return Kind(expects="a string", convert=str, holds=lambda value: isinstance(value, str), metavar=metavar)


@dataclass(frozen=True)
class Setting:
    """A field of a dataclass that is also a flag."""

    name: str
    kind: Kind
    default: Any
    help: str  # what it does, then when to use it
    group: str = "Other"  # the section of the help that lists it
    short: str = ""  # a second flag, such as -n
    flag: str = ""  # the flag, if it does not follow from the name
    multiple: bool = False  # whether the flag may be repeated; the value is a tuple
    joined: bool = False  # whether the flag may be repeated; the value is text, with commas in between
    switch: bool = False  # whether the flag takes no value and has no --no- form


def setting(default: Any, kind: Kind, help: str, **options: Any) -> Any:
    """Return a dataclass field that is a setting; `options` are fields of `Setting`."""
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help, **options})


def switch(help: str, **options: Any) -> Any:
    """Return a field for a flag that takes no value; False unless given."""
    return setting(False, boolean(), help, switch=True, **options)


def settings_of(section: Any) -> Iterator[Setting]:
    """Yield the settings among the fields of a dataclass, in their order."""
    for field in dataclasses.fields(section):
        if "kind" in field.metadata:
            yield Setting(field.name, default=field.default, **field.metadata)


def check_settings(section: Any) -> None:
    """Raise UsageError unless each setting of a dataclass instance has a value of its kind, or its default of None."""
    for each in settings_of(section):
        value = getattr(section, each.name)
        if value is None and each.default is None:
            continue
        try:
            if each.multiple and not isinstance(value, tuple | list):
                raise ValueError(f"{_quote(value)} is not a list of values")
            for item in value if each.multiple else (value,):
                each.kind.check(item)
        except ValueError as error:
            raise UsageError(str(error), each.name) from None


def flag_of(name: str) -> str:
    """Return the flag of a setting or an argument: --batch-size for batch_size."""
    return f"--{name.replace('_', '-')}"


def as_flag(setting: Setting, text: str) -> list[str]:
    """Return the words that set a setting to a value on the command line, by the text of the value."""
    flag = setting.flag or flag_of(setting.name)
    if setting.kind.metavar:
        return [flag, text]
    return [flag if text == "true" else f"--no-{flag.removeprefix('--')}"]


def _is_text_encoding(value: Any) -> bool:
    try:
        _matching(r"[\w.:-]+", value)
        "".encode(value)  # refuses the codecs that are not text, such as hex
        codecs.getincrementaldecoder(value)
    except (LookupError, TypeError, ValueError):
        return False
    return True


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _expected_number(low: float, high: float, *, above: bool) -> str:
    if high == sys.float_info.max:
        return f"a finite number {'>' if above else '>='} {low:g}"
    limits = f"above {low:.12g} and at most" if above else f"from {low:.12g} to"
    return f"a number {limits} {high:,.12g}"


def _range(low: float, high: float, *, above: bool = False) -> str:
    if high >= 1e6:
        return f"above {low:.12g}" if above else f"{low:.12g} or more"
    return f"above {low:.12g}, at most {high:.12g}" if above else f"{low:.12g} to {high:.12g}"


def _seconds(text: str) -> float:
    amounts = re.fullmatch(_DURATION, text.lower())
    if not amounts:
        raise ValueError(text)
    return sum(float(amount or 0) * seconds for amount, seconds in zip(amounts.groups(), _UNITS, strict=True))


def _matching(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError(text)
    return text


def _quote(value: object) -> str:
    text = shorten(value if isinstance(value, str) else repr(value), 40)
    return text if text.strip() else "an empty value"
