"""The subset of YAML that a configuration needs: sections of `key: value`, each value a word or a number.

PyYAML parses; this module rejects the rest. Values stay text until their setting parses them: YAML 1.1 would turn
`1:30` into 90, `yes` into true and `2e-3` into a string. Nothing is ever constructed, so a tag cannot run code and an
alias cannot multiply.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import yaml

from charlstm.errors import UsageError, quote, shorten, suggest

_MAX_BYTES = 20_000  # a configuration is a page, and PyYAML is slow


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a section, and its place in the file."""

    section: str
    key: str
    text: str
    quoted: bool
    where: str  # "file.yaml, line 3, column 5"


def read_sections(path: Traversable, sections: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of a YAML file that consists of sections of scalars.

    Args:
        path: the file. An empty one, or one of comments, yields nothing.
        sections: the names of the sections.

    Raises:
        UsageError: the file cannot be read, is not YAML, or holds anything else; names line and column.
    """
    try:
        yield from _entries(_text(path), str(path), tuple(sections))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise UsageError(f"{where}: {error.problem}{hint}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML does not catch invalid escapes itself
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from None


def _text(path: Traversable) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{path}: larger than {_MAX_BYTES:,} bytes, so not a configuration. Is it the corpus?")
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
                f"{_where(file, section)}: unknown section {quote(section.value)}"
                f"; settings belong under one of {', '.join(name + ':' for name in sections)}"
                f"{suggest(section.value, sections)}"
            )
        if _is_empty(settings):
            continue
        for key, value in _pairs(settings, file, f"settings under {section.value}:"):
            if not isinstance(value, yaml.ScalarNode):
                raise UsageError(f"{_where(file, value)}: {_show(key)}: expected one value, but got a {_shape(value)}")
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
        raise UsageError(f"{_where(file, node)}: expected {wanted}, but got a {_shape(node)}")
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{_where(file, key)}: expected a name, but got a {_shape(key)}")
        if key.value in seen:
            raise UsageError(f"{_where(file, key)}: duplicate key {_show(key)}")
        seen.add(key.value)
        yield key, value


def _show(key: yaml.ScalarNode) -> str:
    return shorten(key.value) if key.value.isidentifier() else quote(key.value)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == "" and node.style is None


def _where(file: str, node: yaml.Node | yaml.Event) -> str:
    mark = node.start_mark
    return f"{file}, line {mark.line + 1}, column {mark.column + 1}" if mark else file


def _shape(node: yaml.Node) -> str:
    return {"sequence": "list", "mapping": "mapping"}.get(node.id, "single value")  # type: ignore[attr-defined]
