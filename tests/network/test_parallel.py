"""Processes that share a batch change the speed, not the result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import init_network
from charlstm.network.cores import available_cores
from charlstm.network.parallel import DataParallel
from charlstm.text.batches import Window

needs_processes = pytest.mark.skipif(os.name != "posix", reason="processes inherit memory on POSIX systems only")


def random_case(dropout=0.0, B=13):
    rng = np.random.default_rng(4)
    rates = {"dropout": dropout, "input_dropout": dropout / 2, "dropconnect": dropout}
    network = init_network(ModelConfig(hidden_size=24, num_layers=2, **rates), 17, rng)
    ids = rng.integers(0, 17, (13, B))
    return network, Window(ids[:-1], ids[1:]), network.zero_state(B)


def two_updates(network, model, window, state):
    """Compute twice, with updated weights the second time; return all results of both."""
    results = []
    for seed in (1, 2):
        masks = network.draw_masks(window.x.shape[1], np.random.default_rng(seed))
        loss, grads, after = model.loss_and_grads(window, state, masks)
        results.append({"loss": loss, "h": after.h, "c": after.c} | {name: grad.copy() for name, grad in grads.items()})
        for name, grad in grads.items():
            network.params[name] -= 0.5 * grad
        results[-1]["loss without gradients"], _ = model.loss(window, after)
        state = after
    return results


def record_processes(patch):
    """Return a list of the Python processes that will be started, in order."""
    started = []

    class RecordedProcess(subprocess.Popen[bytes]):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            if arguments[0][0] == sys.executable:  # an old threadpoolctl starts ldconfig
                started.append(self)

    patch.setattr(subprocess, "Popen", RecordedProcess)
    return started


@pytest.fixture
def processes(monkeypatch):
    return record_processes(monkeypatch)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("cores", [2, 3, 8])
def test_results_agree_to_rounding_for_any_number_of_cores(cores, dropout):
    network, window, state = random_case(dropout)
    alone = two_updates(network, network, window, state)
    network, window, state = random_case(dropout)
    with DataParallel(network, cores) as parallel:
        together = two_updates(network, parallel, window, state)
    for ours, theirs in zip(together, alone, strict=True):
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-3, atol=1e-6 * np.abs(value).max(), err_msg=name)


def assert_same_bytes(first, second):
    for ours, theirs in zip(first, second, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            assert np.array_equal(ours[name], value), name


def test_same_number_of_cores_gives_the_same_bytes():
    runs = []
    for _ in range(3):
        network, window, state = random_case()
        with DataParallel(network, 3) as parallel:
            runs.append(two_updates(network, parallel, window, state))
    for run in runs[1:]:
        assert_same_bytes(run, runs[0])


@needs_processes
def test_no_more_processes_are_started_than_the_streams_need(processes):
    network, window, state = random_case(B=13)
    with DataParallel(network, 50) as parallel:
        parallel.loss(window, state)
    assert len(processes) == 13 // 4 - 1


# ---- faults


def assert_undisturbed(disturb):
    """Check that two updates give the same bytes after something has been done to the processes."""
    network, window, state = random_case()
    with DataParallel(network, 2) as parallel:
        undisturbed = two_updates(network, parallel, window, state)
    network, window, state = random_case()
    with DataParallel(network, 2) as parallel:
        disturb(parallel, window, state)
        assert_same_bytes(two_updates(network, parallel, window, state), undisturbed)


@needs_processes
def test_killed_process_is_replaced_without_changing_the_bytes(processes):
    def kill(parallel, window, state):
        parallel.loss(window, state)
        os.kill(processes[-1].pid, signal.SIGKILL)

    with pytest.warns(UserWarning, match=r"a process has died \(exit code -9\)"):
        assert_undisturbed(kill)


@needs_processes
@pytest.mark.parametrize(
    ("function", "message"),
    [("subprocess.Popen", "cannot start another process"), ("os.truncate", "cannot share memory")],
)
def test_bytes_are_the_same_where_no_process_can_be_started(function, message, monkeypatch):
    def fail(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    with pytest.warns(UserWarning, match=rf"{message}.*\(Resource temporarily unavailable\)"):
        assert_undisturbed(lambda *_: monkeypatch.setattr(function, fail))


def test_interrupted_call_leaves_no_stale_reply():
    def interrupt(parallel, window, state):
        parallel.loss(window, state)
        real, parallel.network.loss = parallel.network.loss, lambda *_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            parallel.loss(Window(window.y, window.x), state)
        parallel.network.loss = real

    assert_undisturbed(interrupt)


def test_output_of_start_up_code_does_no_harm(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('hello')\n")
    assert_undisturbed(lambda *_: monkeypatch.setenv("PYTHONPATH", str(tmp_path)))


# ---- the life of the processes


@needs_processes
def test_processes_exit_when_the_model_is_closed(processes):
    network, window, state = random_case()
    with DataParallel(network, 2) as parallel:
        parallel.loss(window, state)
    assert [process.returncode for process in processes] == [0]


@needs_processes
def test_suspended_process_is_killed_when_the_model_is_closed(processes):
    network, window, state = random_case()
    with DataParallel(network, 2) as parallel:
        parallel.loss(window, state)
        os.kill(processes[0].pid, signal.SIGSTOP)
    assert [process.returncode for process in processes] == [-signal.SIGKILL]


@needs_processes
def test_processes_have_a_session_of_their_own_out_of_reach_of_the_terminal(processes):
    network, window, state = random_case()
    with DataParallel(network, 2) as parallel:
        parallel.loss(window, state)
        assert os.getsid(processes[0].pid) != os.getsid(0)


def test_weights_survive_closing():
    network, window, state = random_case()
    with DataParallel(network, 2) as parallel:
        two_updates(network, parallel, window, state)
        weights = {name: param.copy() for name, param in network.params.items()}
    assert all(np.array_equal(param, weights[name]) for name, param in network.params.items())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list open files")
def test_closing_leaves_no_file_open():
    network, window, state = random_case()
    before = len(os.listdir("/proc/self/fd"))
    with DataParallel(network, 2) as parallel:
        parallel.loss(window, state)
    assert len(os.listdir("/proc/self/fd")) == before


# ---- programs of their own

SETUP = """\
import os, time
import pytest
from test_parallel import DataParallel, random_case, record_processes
processes = record_processes(pytest.MonkeyPatch())
network, window, state = random_case()
"""
COMPUTE = """\
with DataParallel(network, 2) as parallel:
    parallel.loss(window, state)
    assert len(processes) == 1
"""


def run_program(code, closed=""):
    """Run code in a new process, where a warning is an error, with some of the standard streams closed."""
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-W", "error", "-c", code]
    return subprocess.run(shell, cwd=Path(__file__).parent, stderr=subprocess.PIPE, text=True, timeout=60)


@needs_processes
@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "0<&- 1>&-"])
def test_processes_start_with_standard_streams_closed(closed):
    done = run_program(SETUP + COMPUTE, closed)
    assert (done.returncode, done.stderr) == (0, "")


@needs_processes
def test_processes_import_the_same_modules_after_a_change_of_directory(tmp_path):
    (tmp_path / "pickle.py").write_text("raise SystemExit('this is another pickle')\n")
    done = run_program(f"{SETUP}os.chdir({str(tmp_path)!r})\n{COMPUTE}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@needs_processes
def test_processes_exit_when_the_main_process_is_killed():
    code = f"{SETUP}{COMPUTE}    print(processes[0].pid, flush=True)\n    time.sleep(60)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the process outlived the main process")


# ---- cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_available_cores_are_those_of_the_affinity():
    before = os.sched_getaffinity(0)
    assert 1 <= available_cores() <= len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
