"""Presets and YAML files: settings by name, and where the bundled files are."""

import os
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from charlstm.config.settings import LIMITS, SECTION_OF, SECTIONS, SETTINGS, Config
from charlstm.config.strict_yaml import Entry, read_sections
from charlstm.errors import UsageError, quote, suggest


def find_bundled(directory: str, suffix: str) -> dict[str, Traversable]:
    """Return the bundled files of a directory by name: in an installed package, or beside the package in a checkout."""
    package = files("charlstm")
    folder = package / directory
    if not folder.is_dir():
        folder = Path(str(package)).parent / directory
    found = {entry.name.removesuffix(suffix): entry for entry in folder.iterdir() if entry.name.endswith(suffix)}
    return dict(sorted(found.items()))


def bundled_models() -> dict[str, Traversable]:
    """Return the bundled models by name, as arguments name them: with an @ sign."""
    return {f"@{name}": path for name, path in find_bundled("data", ".npz").items()}


def presets() -> dict[str, Traversable]:
    """Return the bundled presets by name."""
    return find_bundled("configs", ".yaml")


def summarize_presets() -> dict[str, str]:
    """Return what each preset is for, by name: the comment in its first line."""
    return {name: path.read_text("utf-8").partition("\n")[0].lstrip("# ") for name, path in presets().items()}


def load_values(name: str) -> dict[str, Any]:
    """Read the settings that a YAML file or a preset gives.

    Args:
        name: a path, or the name of a preset.

    Raises:
        UsageError: there is no such file or preset, or it holds something that is not a setting; names file and line.
    """
    path: Traversable = Path(name)
    if name in presets() and not os.path.isfile(name):
        path = presets()[name]
    elif not os.path.exists(name) and Path(name).suffix not in (".yaml", ".yml"):
        raise UsageError(f"{name} is neither a file nor a preset; the presets are {', '.join(presets())}")
    values: dict[str, Any] = {}
    for entry in read_sections(path, SECTIONS):
        values[entry.key] = _parse(entry)
    given = [limit for limit in LIMITS if limit in values]
    if len(given) > 1:
        raise UsageError(f"{path}: {' and '.join(given)} are mutually exclusive; give only one of them")
    return values


def load_config(name: str) -> Config:
    """Return the configuration of a YAML file or a preset, with defaults for the rest."""
    return Config().replace(**load_values(name))


def _parse(entry: Entry) -> Any:
    setting = SETTINGS.get(entry.key)
    if setting is None:
        raise UsageError(f"{entry.where}: unknown setting {quote(entry.key)}{suggest(entry.key, SETTINGS)}")
    if SECTION_OF[entry.key] != entry.section:
        raise UsageError(f"{entry.where}: {entry.key} belongs under {SECTION_OF[entry.key]}:, not {entry.section}:")
    if entry.quoted and not setting.kind.quotable:
        raise UsageError(f"{entry.where}: {entry.key}: a quoted string is not {setting.kind.expects}")
    try:
        return setting.kind.parse(entry.text)
    except ValueError as error:
        raise UsageError(f"{entry.where}: {entry.key}: {error}") from None
