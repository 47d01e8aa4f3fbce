"""The rules of ARCHITECTURE.md hold: the order of packages, no cycles, no I/O in the core."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
from helpers import ROOT

import charlstm

PACKAGE = ROOT / "charlstm"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
ORDER = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.stem.startswith("__"))
CORE = [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in ("text", "network", "sampling", "training")]


def name_of(path: Path) -> str:
    """Return `text.vocab` for charlstm/text/vocab.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports anywhere, even inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("charlstm."):
            yield str(node.module).removeprefix("charlstm.")
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("charlstm.") for alias in node.names if "charlstm." in alias.name)


def test_map_has_one_row_per_package():
    packages = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert sorted(ORDER) == sorted(packages)


def test_map_names_every_module():
    table = PAGE.partition("## The map")[2].partition("\n## ")[0]
    for path in MODULES:
        if path.parent != PACKAGE and path.parent.name != "cli":
            assert f"`{path.stem}`" in table, path


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_packages_import_only_what_precedes_them(path):
    package = name_of(path).split(".")[0]
    for imported in imports_of(path):
        other = imported.split(".")[0]
        assert other == package or ORDER.index(other) < ORDER.index(package), f"{path} imports {imported}"


def test_modules_have_no_import_cycles():
    graph = {name_of(path): set(imports_of(path)) for path in MODULES}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_core_does_no_io(path):
    if name_of(path) in ("text.sources", "network.shared_memory"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"print", "open", "input", "exit"}
    assert not {"np.random.seed(", "sys.std", "logging"} & set(
        re.findall(r"np\.random\.seed\(|sys\.std|logging", ast.unparse(tree))
    )


def test_ten_steps_name_existing_functions():
    section = PAGE.partition("## One character, from file to sample")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. (.*?)$", section, re.MULTILINE)
    assert len(steps) == 10
    found = re.findall(r"`((?:text|network|sampling|training|storage|optim)(?:\.\w+)+)`", "\n".join(steps))
    assert len(found) >= 10
    for dotted in found:
        module = next(m for m in map(name_of, MODULES) if dotted.startswith(f"{m}."))
        value = import_module(f"charlstm.{module}")
        for part in dotted.removeprefix(f"{module}.").split("."):
            value = getattr(value, part)


def test_public_names_exist_and_are_documented():
    assert set(charlstm.__all__) <= set(dir(charlstm))
    for name in charlstm.__all__:
        assert getattr(charlstm, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = charlstm.nothing


def test_package_inits_import_no_numpy():
    for path in PACKAGE.rglob("__init__.py"):
        assert "numpy" not in path.read_text(encoding="utf-8")
