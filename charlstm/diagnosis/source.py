"""Where a program under test comes from: a file, a text, or a namespace."""

import linecache
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlstm.diagnosis.program import Finding, Program, describe_crash, isolated
from charlstm.errors import UsageError

_MAX_BYTES = 10**7
_NAME = "charlstm_program"  # not __main__, so that the program does not train
_EXITS = 'Put what trains or prints under `if __name__ == "__main__":`.'


def load_program(program: str | os.PathLike[str] | Mapping[str, Any] | types.ModuleType) -> Program:
    """Return the program in a file, a module or a mapping such as `globals()`.

    Raises:
        UsageError: the file cannot be read, or a name is missing.
        Finding: the program has crashed.
    """
    if isinstance(program, str | os.PathLike):
        path = os.fspath(program)
        return run_source(_read(path), path)
    if isinstance(program, types.ModuleType):
        return Program(vars(program), program.__name__, getattr(program, "__file__", None) or "")
    if isinstance(program, Mapping):
        return Program(program, "the program")
    raise UsageError(f"expected a path, a module or a dict of names, such as globals(); got {type(program).__name__}")


def run_source(source: bytes | str, path: str) -> Program:
    """Return the program with this source, run as a module that is imported.

    Args:
        source: text, or bytes with Python's declaration of their encoding.
        path: names the program in messages. Its directory is searched for imports.
    """
    module = types.ModuleType(_NAME)
    module.__file__ = path
    text = source if isinstance(source, str) else source.decode("utf-8", "replace")
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)  # for the lines of a crash
    arguments, search = sys.argv, list(sys.path)
    sys.modules[_NAME] = module  # dataclasses look there
    sys.argv = [path]
    sys.path.insert(0, str(Path(path).resolve().parent))
    try:
        with isolated():
            exec(compile(source, path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:
        raise Finding(describe_crash(error, path), _EXITS if isinstance(error, SystemExit) else "") from None
    finally:
        sys.argv, sys.path[:] = arguments, search
        del sys.modules[_NAME]
    return Program(vars(module), path, path)


def _read(path: str) -> bytes:
    if path.endswith(".ipynb"):
        raise UsageError(f"{path} is a notebook; export it as a .py file, or call charlstm.check(globals()) in a cell")
    try:
        with open(path, "rb") as file:
            source = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(source) > _MAX_BYTES or b"\0" in source:
        raise UsageError(f"{path} is not a Python program")
    return source
