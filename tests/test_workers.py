"""Processes that share a batch change the speed, not the result."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from charlstm.batches import Window
from charlstm.config import ModelConfig
from charlstm.model import new_model
from charlstm.workers import Workers, available_cores

pytestmark = pytest.mark.skipif(
    os.name != "posix", reason="memory is handed on between processes on POSIX systems only"
)


def setting(dropout=0.0, B=13):
    rng = np.random.default_rng(4)
    shares = {"dropout": dropout, "input_dropout": dropout / 2, "dropconnect": dropout}
    model = new_model(ModelConfig(hidden_size=24, num_layers=2, **shares), 17, rng)
    ids = rng.integers(0, 17, (13, B))
    return model, Window(ids[:-1], ids[1:]), model.zero_state(B)


def two_updates(model, computes, window, state):
    """Compute twice, with other weights the second time; return everything that comes out."""
    results = []
    for seed in (1, 2):
        masks = model.draw_masks(window.x.shape[1], np.random.default_rng(seed))
        loss, grads, state = computes.loss_and_grads(window, state, masks)
        results.append({"loss": loss, "h": state.h, "c": state.c, **{k: grad.copy() for k, grad in grads.items()}})
        for name, grad in grads.items():
            model.params[name] -= 0.5 * grad
        results[-1]["loss alone"], _ = computes.loss(window, state)
    return results


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("cores", [2, 3, 8])
def test_everything_is_the_same_to_rounding_for_every_number_of_cores(cores, dropout):
    model, window, state = setting(dropout)
    alone = two_updates(model, model, window, state)
    model, window, state = setting(dropout)
    with Workers(model, cores) as workers:
        together = two_updates(model, workers, window, state)
    for ours, theirs in zip(together, alone, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-3, atol=1e-6 * np.abs(value).max(), err_msg=name)


def test_the_same_number_of_cores_gives_the_same_bytes():
    runs = []
    for _ in range(3):
        model, window, state = setting()
        with Workers(model, 3) as workers:
            runs.append(two_updates(model, workers, window, state))
    for run in runs[1:]:
        for ours, theirs in zip(run, runs[0], strict=True):
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def undisturbed_and(disturb):
    """What comes out of two updates, and what comes out after something has been done to the workers."""
    model, window, state = setting()
    with Workers(model, 2) as workers:
        undisturbed = two_updates(model, workers, window, state)
    model, window, state = setting()
    with Workers(model, 2) as workers:
        disturb(workers, window, state)
        disturbed = two_updates(model, workers, window, state)
    return undisturbed, disturbed


def assert_same_bytes(runs):
    for ours, theirs in zip(*runs, strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_a_worker_that_is_killed_is_stood_in_for_with_the_same_bytes():
    def kill(workers, window, state):
        workers.loss(window, state)
        os.kill(workers._workers[0]._process.pid, signal.SIGKILL)

    with pytest.warns(UserWarning, match=r"a process has ended too early \(exit code -9\)"):
        assert_same_bytes(undisturbed_and(kill))


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("subprocess.Popen", "no further process can be started"),
        ("os.truncate", "there is no memory to have in common"),
    ],
)
def test_where_no_worker_can_be_started_the_bytes_are_the_same(where, what, monkeypatch):
    def fail(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    with pytest.warns(UserWarning, match=what):
        assert_same_bytes(undisturbed_and(lambda *_: monkeypatch.setattr(where, fail)))


def test_an_interrupted_call_leaves_no_answer_behind():
    def interrupt(workers, window, state):
        workers.loss(window, state)
        real, workers.model.loss = workers.model.loss, lambda *_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            workers.loss(Window(window.y, window.x), state)
        workers.model.loss = real

    assert_same_bytes(undisturbed_and(interrupt))


def test_what_python_prints_when_it_starts_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    assert_same_bytes(undisturbed_and(lambda *_: monkeypatch.setenv("PYTHONPATH", str(tmp_path))))


def test_only_as_many_workers_are_started_as_have_streams():
    model, window, state = setting(B=13)
    with Workers(model, 50) as workers:
        workers.loss(window, state)
        assert len(workers._workers) == 13 // 4 - 1


def test_workers_end_when_they_are_closed_also_when_they_are_stopped():
    model, window, state = setting()
    for stopped in (False, True):
        with Workers(model, 2) as workers:
            workers.loss(window, state)
            process = workers._workers[0]._process
            assert os.getsid(process.pid) != os.getsid(0)  # out of reach of the terminal
            if stopped:
                os.kill(process.pid, signal.SIGSTOP)
        assert process.returncode == (-signal.SIGKILL if stopped else 0)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="this system does not list open files")
def test_nothing_stays_open_and_the_weights_stay_as_they_are():
    model, window, state = setting()
    before = len(os.listdir("/proc/self/fd"))
    with Workers(model, 2) as workers:
        two_updates(model, workers, window, state)
        weights = {name: param.copy() for name, param in model.params.items()}
    assert all(np.array_equal(param, weights[name]) for name, param in model.params.items())
    assert len(os.listdir("/proc/self/fd")) == before


def program(*lines, closed=""):
    """Run lines in a process of its own, where a warning is an error, with some of the standard streams closed."""
    code = "from test_workers import *\nmodel, window, state = setting()\n" + "\n".join(lines)
    code += "\nwith Workers(model, 2) as workers:\n    workers.loss(window, state)\n"
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-W", "error", "-c", code]
    return subprocess.run(shell, cwd=os.path.dirname(__file__), stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "0<&- 1>&-"])
def test_closed_standard_streams_do_not_get_in_the_way(closed):
    assert program(closed=closed).returncode == 0


def test_workers_import_what_the_process_has_imported_also_after_a_change_of_folder(tmp_path):
    (tmp_path / "pickle.py").write_text("raise SystemExit('this is another pickle')\n")
    done = program(f"os.chdir({str(tmp_path)!r})")
    assert (done.returncode, done.stderr) == (0, "")


def test_workers_end_with_the_process_that_started_them():
    code = (
        "from test_workers import *\n"
        "model, window, state = setting()\n"
        "workers = Workers(model, 2)\n"
        "workers.loss(window, state)\n"
        "print(workers._workers[0]._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=os.path.dirname(__file__)
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker has outlived the process that started it")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_the_cores_are_those_that_the_process_may_use():
    before = os.sched_getaffinity(0)
    assert 1 <= available_cores() <= len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
