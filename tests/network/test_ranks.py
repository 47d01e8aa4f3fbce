"""The ranks of an MPI run compute what one process does, and agree on everything."""

import json
import os
import sys
from pathlib import Path

import pytest
from helpers import ROOT, run_ranks
from ranks_program import start_run

from charlstm import UsageError, train
from charlstm.network import ranks as ranks_module
from charlstm.network.ranks import Ranks, _share_of_cores

pytestmark = pytest.mark.skipif(os.name != "posix", reason="MPICH has no package for Windows")
COMPILED = {"kernel": "numba", "hidden_size": 32}
DOCUMENTS = {"documents": "line", "state_reset_prob": 0.0}


def train_on_ranks(count: int, folder: Path, dtype: str = "float32", **settings: object) -> dict[str, list[float]]:
    """Return the results of ranks_program.py on several ranks."""
    program = ROOT / "tests" / "ranks_program.py"
    done = run_ranks(count, sys.executable, program, "out.json", dtype, json.dumps(settings), cwd=folder)
    assert done.returncode == 0, done.stderr
    results: dict[str, list[float]] = json.loads((folder / "out.json").read_text())
    return results


def train_alone(dtype: str = "float32", **settings: object) -> dict[str, list[float]]:
    """Return the same results of this process."""
    reports = list(train(start_run(dtype, **settings)))
    return {
        "losses": [report.loss for report in reports],
        "norms": [report.grad_norm for report in reports],
        "validation": [report.evaluation.val_loss or 0 for report in reports if report.evaluation],
    }


@pytest.mark.parametrize(
    ("count", "settings"),
    [
        (2, {}),
        (4, {}),
        (2, COMPILED),
        pytest.param(4, DOCUMENTS, marks=pytest.mark.slow),
        pytest.param(2, {"batch_size": 7}, marks=pytest.mark.slow),
        pytest.param(3, {"batch_size": 16, "threads": 2, "optimizer": "sgd"}, marks=pytest.mark.slow),
        pytest.param(2, {"num_layers": 1, "clip_error": 0.01, "ema_decay": 0.9}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_losses_of_twenty_steps_are_those_of_one_process(count, settings, tmp_path):
    together, alone = train_on_ranks(count, tmp_path, **settings), train_alone(**settings)
    assert len(together["losses"]) == 20
    for name in ("losses", "norms", "validation"):
        assert together[name] == pytest.approx(alone[name], abs=1e-5), name


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_validation_after_200_steps_is_that_of_one_process(count, tmp_path):
    together, alone = train_on_ranks(count, tmp_path, steps=200), train_alone(steps=200)
    assert together["validation"] == pytest.approx(alone["validation"], abs=2e-3)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_float64_agrees_to_nine_digits_over_200_steps(count, tmp_path):
    together, alone = train_on_ranks(count, tmp_path, "float64", steps=200), train_alone("float64", steps=200)
    assert together["losses"] == pytest.approx(alone["losses"], abs=1e-9)
    assert together["validation"] == pytest.approx(alone["validation"], abs=1e-9)


def test_too_few_streams_are_refused_with_the_numbers():
    run = start_run("float32", batch_size=3)
    ranks = object.__new__(Ranks)
    ranks.size = 4
    with pytest.raises(UsageError, match=r"4 ranks need a batch_size of at least 4 streams, but it is 3"):
        next(train(run, ranks=ranks))


# ---- cores


@pytest.mark.parametrize(
    ("allowed", "shares"),
    [
        ([{0, 1, 2, 3}] * 2, [2, 2]),
        ([{0, 1}] * 3, [1, 1, 1]),
        ([{0, 1}, {2, 3}], [2, 2]),  # bound by mpiexec
        ([{0, 1, 2, 3}, {3}], [3, 1]),
        ([{0, 1, 2, 3, 4, 5, 6, 7}] * 4, [2] * 4),
    ],
    ids=str,
)
def test_ranks_on_a_machine_divide_its_cores(allowed, shares, monkeypatch):
    def share(rank: int) -> int:
        monkeypatch.setattr(ranks_module, "available_cores", lambda: len(allowed[rank]))
        return _share_of_cores(allowed, rank)

    assert [share(rank) for rank in range(len(allowed))] == shares


def test_ranks_share_the_quota_of_a_container(monkeypatch):
    monkeypatch.setattr(ranks_module, "available_cores", lambda: 4)  # of 16
    assert _share_of_cores([set(range(16))] * 2, 0) == 2
