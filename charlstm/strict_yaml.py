"""The part of YAML that a configuration needs: sections of `key: value`, each value one word or number.

PyYAML parses; this module decides what is let through. Values stay text, because what they mean is the setting's
business: YAML 1.1 would turn `1:30` into 90, `yes` into true and `2e-3` into a string. Nothing is ever constructed,
so a tag cannot run anything, and an alias cannot multiply.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from charlstm.errors import UsageError

_MOST_BYTES = 20_000  # a configuration is a page, and PyYAML is slow


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a section, and where it stands."""

    section: str
    key: str
    text: str
    quoted: bool
    where: str  # "file.yaml, line 3, column 5"


def read_sections(path: Path, sections: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of a YAML file that consists of sections of scalars.

    Args:
        path: the file; empty, or only comments, yields nothing.
        sections: the sections there may be.

    Raises:
        UsageError: the file cannot be read, is not YAML, or holds anything else; names the line and the column.
    """
    try:
        yield from _entries(_text(path), str(path), tuple(sections))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise UsageError(f"{where}: {error.problem}{hint}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # odd escapes are not caught by PyYAML itself
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" where one of `names` is like `name`, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: larger than {_MOST_BYTES:,} bytes, so not a configuration; is it the corpus?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _entries(text: str, file: str, sections: tuple[str, ...]) -> Iterator[Entry]:
    _refuse_extras(text, file)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None or _is_empty(root):
        return
    for section, settings in _pairs(root, file, f"the sections {', '.join(sections)}"):
        if section.value not in sections:
            raise UsageError(
                f"{_where(file, section)}: there is no section {section.value!r}{nearest(section.value, sections)}; "
                f"settings stand under {', '.join(name + ':' for name in sections)}"
            )
        if _is_empty(settings):
            continue
        for key, value in _pairs(settings, file, f"the settings of {section.value}:"):
            if not isinstance(value, yaml.ScalarNode):
                raise UsageError(
                    f"{_where(file, value)}: {key.value}: a {_shape(value)} stands where one value belongs"
                )
            yield Entry(section.value, key.value, value.value, value.style is not None, _where(file, key))


def _refuse_extras(text: str, file: str) -> None:
    # Before anything is composed: composing recurses, and follows aliases.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UsageError(
                f"{_where(file, event)}: anchors and aliases (& and *) are not allowed; write the value out"
            )
        if getattr(event, "tag", None):
            raise UsageError(f"{_where(file, event)}: tags (!) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > 3:
            raise UsageError(f"{_where(file, event)}: nested too deeply; settings are `key: value` under a section")


def _pairs(node: yaml.Node, file: str, wanted: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{_where(file, node)}: a {_shape(node)} stands where {wanted} belong")
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{_where(file, key)}: a {_shape(key)} stands where a name belongs")
        if key.value in seen:
            raise UsageError(f"{_where(file, key)}: {key.value} stands here a second time")
        seen.add(key.value)
        yield key, value


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _where(file: str, node: yaml.Node | yaml.Event) -> str:
    mark = node.start_mark
    return f"{file}, line {mark.line + 1}, column {mark.column + 1}" if mark else file


def _shape(node: yaml.Node) -> str:
    return {"sequence": "list", "mapping": "mapping"}.get(node.id, "single value")  # type: ignore[attr-defined]
