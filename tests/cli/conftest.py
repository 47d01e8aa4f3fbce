"""Fixtures for tests of the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from charlstm import Run
from charlstm.cli.main import run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, trained: Run) -> Path:
    """The file of a finished run. Tests must not change it."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    trained.save(path)
    return path


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in this process and in `tmp_path`: faster than `helpers.charlstm`, with the same result."""

    def charlstm_here(*arguments: object, input: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["charlstm", *map(str, arguments)])
        monkeypatch.setattr(sys.modules["__main__"], "__package__", "")  # else the program is "python -m pytest"
        stdin = tmp_path.parent / f"{tmp_path.name}-stdin"  # a file, since a corpus is read from the descriptor
        stdin.write_text(input, encoding="utf-8", newline="")
        with stdin.open(encoding="utf-8") as file:
            monkeypatch.setattr(sys, "stdin", file)
            with pytest.raises(SystemExit) as ended:
                run()
        return subprocess.CompletedProcess([*map(str, arguments)], int(ended.value.code or 0), *capsys.readouterr())

    return charlstm_here
