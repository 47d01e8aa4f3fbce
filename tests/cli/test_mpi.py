"""`mpiexec -n 2 charlstm train corpus.txt`: as one process would, and all ranks end together."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import CHARLSTM, TEXT, charlstm, error_line, pids_of_ranks, run_ranks, start_ranks, wait_for_end

import charlstm as package
from charlstm import load_run
from charlstm.cli.mpi import launched_ranks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="MPICH has no package for Windows")
linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
TRAIN = (*CHARLSTM, "train", "corpus.txt")
QUICK = ("--hidden-size", 12, "--batch-size", 4, "--seq-len", 10, "--learning-rate", 0.01, "--evals", 4, "--threads", 1)
SHORT = (*QUICK, "--steps", 40)
ENDLESS = (*QUICK, "--steps", 100_000, "--evals", 1000)
LONG = (*QUICK, "--steps", 600, "--evals", 15, "--dropout", "0.1", "--log", "log.jsonl")


def ours(stderr: str) -> list[str]:
    """Return the lines that mpiexec and MPI have not written."""
    theirs = ("[mpiexec@", "Abort(", "=", "YOUR APPLICATION", "This typically", "Please see")
    return [line for line in stderr.splitlines() if line.strip() and not line.startswith(theirs)]


def train_on_ranks(count: int, folder: Path, *arguments: object) -> bytes:
    """Train; return the bytes of the model."""
    done = run_ranks(count, *TRAIN, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "model.npz").read_bytes()


def start_and_evaluate(count: int, folder: Path, *arguments: object) -> "subprocess.Popen[str]":
    """Start a run; return its process after the first evaluation."""
    log = folder / "log.jsonl"
    process = start_ranks(count, *TRAIN, *arguments, cwd=folder)
    until = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size):
        assert time.monotonic() < until
        time.sleep(0.02)
    return process


# ---- whole runs


def test_same_number_of_ranks_gives_the_same_bytes_and_only_the_first_writes(text_file, tmp_path):
    first = run_ranks(2, *TRAIN, *SHORT, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("Training on 2 ranks") == first.stderr.count("is finished") == 1
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]
    model = (tmp_path / "model.npz").read_bytes()
    assert train_on_ranks(2, tmp_path, *SHORT, "--force", "-q") == model


def test_one_rank_is_a_plain_run_byte_for_byte(text_file, tmp_path):
    model = train_on_ranks(1, tmp_path, *SHORT, "-q")
    assert charlstm("train", "corpus.txt", *SHORT, "-o", "plain.npz", "-q", cwd=tmp_path).returncode == 0
    assert model == (tmp_path / "plain.npz").read_bytes()


def test_without_mpiexec_mpi4py_is_not_imported(text_file, tmp_path):
    program = f"""if True:
        import sys
        from charlstm.cli import main
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT), "-q"]}
        try:
            main()
        except SystemExit as ended:
            assert not ended.code
        assert "charlstm.network.ranks" in sys.modules
        assert "mpi4py" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_advice_and_time_limit_are_those_of_rank_0(text_file, tmp_path):
    done = run_ranks(2, *TRAIN, "--time", "1s", "--kernel", "numpy", "--hidden-size", 16, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--batch-size 32 " in done.stderr  # two times 16
    run = load_run(tmp_path / "model.npz")
    assert len(run.history) == run.config.train.evals


def test_documents_are_trained_on(text_file, tmp_path):
    train_on_ranks(3, tmp_path, *SHORT, "--documents", "line", "--num-layers", 2, "-q")
    assert load_run(tmp_path / "model.npz").config.data.documents == "line"


@pytest.mark.parametrize("where", ["same", "other"])
def test_large_text_is_read_from_the_ids_of_rank_0_or_from_a_copy(where, text_file, tmp_path):
    """As on a machine that sees the directory of the output, and on one that does not."""
    program = f"""if True:
        import os, sys
        from charlstm.cli import main
        from charlstm.text import spool
        spool._IN_MEMORY = 1000
        if os.environ["PMI_RANK"] == "1" and {where == "other"}:
            os.chdir("elsewhere")
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT), "-q"]}
        main()
    """
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "corpus.txt").write_text(TEXT, encoding="utf-8")
    done = run_ranks(2, sys.executable, "-c", program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "elsewhere", "model.npz"]
    assert os.listdir(tmp_path / "elsewhere") == ["corpus.txt"]


def test_no_rank_keeps_the_corpus_beside_what_it_trains_on(text_file, tmp_path):
    program = f"""if True:
        import gc, sys
        from charlstm import Corpus
        from charlstm.cli import main
        from charlstm.optim import Optimizer
        update = Optimizer.update

        def check(self, *arguments):
            gc.collect()
            assert not any(isinstance(each, Corpus) for each in gc.get_objects())
            update(self, *arguments)

        Optimizer.update = check
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, QUICK), "--steps", "2", "--documents", "line", "-q"]}
        main()
    """
    done = run_ranks(2, sys.executable, "-c", program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


# ---- interruptions


@pytest.mark.parametrize(
    ("name", "code"), [("SIGINT", 130), pytest.param("SIGTERM", 143, marks=pytest.mark.slow)], ids=str
)
def test_signal_to_mpiexec_saves_after_the_same_step_and_resumes_bit_for_bit(name, code, text_file, tmp_path):
    process = start_and_evaluate(2, tmp_path, *LONG)
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert ours(said)[-1].strip() == "mpiexec -n 2 charlstm train corpus.txt -o model.npz --log log.jsonl --resume"
    resumed = train_on_ranks(2, tmp_path, "--resume", "-q")
    assert train_on_ranks(2, tmp_path, *LONG, "--force", "-q") == resumed


def test_ctrl_c_while_another_rank_reads_its_text_leaves_no_files(text_file, tmp_path):
    program = f"""if True:
        import os, sys, time
        from pathlib import Path
        from charlstm.cli import main, train_ranks
        from charlstm.text import spool
        spool._IN_MEMORY = 1000

        def read_slowly(*_, **__):
            Path("reading").touch()
            time.sleep(60)

        if os.environ["PMI_RANK"] == "1":
            train_ranks.read_texts = read_slowly
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT), "-q"]}
        main()
    """
    process = start_ranks(2, sys.executable, "-c", program, cwd=tmp_path)
    until = time.monotonic() + 30
    while not (tmp_path / "reading").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert (process.returncode, ours(said)) == (130, [])
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "reading"]


@pytest.mark.slow
@linux
def test_signal_to_one_rank_stops_all_of_them(text_file, tmp_path):
    process = start_and_evaluate(2, tmp_path, *LONG)
    os.kill(pids_of_ranks(process)[1], signal.SIGHUP)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 129
    assert "Stopped after step" in said
    training = load_run(tmp_path / "model.npz").training
    assert training is not None
    assert f"Stopped after step {training.step:,} " in said


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
def test_run_stopped_on_two_ranks_resumes_on_another_number(count, text_file, tmp_path):
    process = start_and_evaluate(2, tmp_path, *LONG)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert load_run(tmp_path / "model.npz").training is not None
    train_on_ranks(count, tmp_path, "--resume", "-q")
    resumed = load_run(tmp_path / "model.npz")
    train_on_ranks(2, tmp_path, *LONG, "--force", "-q")
    whole = load_run(tmp_path / "model.npz")
    assert resumed.training is None
    for ours_, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours_.step == theirs.step
        assert ours_.val_loss == pytest.approx(theirs.val_loss, abs=2e-3)


@pytest.mark.slow
def test_finished_run_is_trained_further(text_file, tmp_path):
    train_on_ranks(2, tmp_path, *SHORT, "-q")
    train_on_ranks(2, tmp_path, "--resume", "--steps", "+10", "-q")
    assert load_run(tmp_path / "model.npz").history[-1].step == 50
    done = run_ranks(2, *TRAIN, "--resume", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("already finished")) == (0, 1)


@pytest.mark.slow
def test_resume_with_force_accepts_another_corpus_on_all_ranks(text_file, tmp_path):
    process = start_and_evaluate(2, tmp_path, *LONG)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    text_file.write_text(TEXT[: len(TEXT) // 2], encoding="utf-8")
    done = run_ranks(2, *TRAIN, "--resume", "-q", cwd=tmp_path)
    assert done.returncode == 1
    assert [line.startswith("Error: the corpus differs") for line in ours(done.stderr)] == [True]
    train_on_ranks(2, tmp_path, "--resume", "--force", "-q")
    assert load_run(tmp_path / "model.npz").training is None


# ---- faults


@pytest.mark.slow
@linux
def test_killed_rank_ends_all_and_the_last_save_resumes(text_file, tmp_path):
    process = start_and_evaluate(2, tmp_path, *LONG, "--steps", 100_000, "--evals", 1000)
    pids = pids_of_ranks(process)
    assert len(pids) == 2
    os.kill(pids[1], signal.SIGKILL)
    wait_for_end(pids, 10)
    said = process.communicate(timeout=10)[1]
    assert process.returncode not in (0, 1, 2)
    (line,) = [line for line in ours(said) if "one of its ranks" in line]
    assert line.endswith("mpiexec -n 2 charlstm train corpus.txt -o model.npz --log log.jsonl --resume")
    step = load_run(tmp_path / "model.npz").history[-1].step
    train_on_ranks(2, tmp_path, "--resume", "--steps", step + 5, "-q")


@pytest.mark.slow
@linux
def test_rank_killed_before_the_first_save_is_reported_without_a_command(text_file, tmp_path):
    process = start_ranks(2, *TRAIN, *QUICK, "--steps", 10_000_000, "--evals", 1, cwd=tmp_path)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("Baselines"):
        pass
    time.sleep(1)
    pids = pids_of_ranks(process)
    os.kill(pids[1], signal.SIGKILL)
    wait_for_end(pids, 10)
    said = process.communicate(timeout=10)[1]
    (line,) = [line for line in ours(said) if "one of its ranks" in line]
    assert line == "The run was killed, or one of its ranks died, before it was first saved"
    assert not (tmp_path / "model.npz").exists()


@pytest.mark.slow
@linux
def test_rank_killed_at_a_random_moment_leaves_a_run_that_resumes(text_file, tmp_path):
    moments = random.Random(5)
    for _ in range(5):
        again = ("--resume",) if (tmp_path / "model.npz").exists() else ()
        process = start_ranks(3, *TRAIN, *(again or ENDLESS), "-q", cwd=tmp_path)
        time.sleep(moments.uniform(0.5, 4))
        pids = pids_of_ranks(process)
        if pids:
            os.kill(moments.choice(pids), signal.SIGKILL)
            wait_for_end(pids, 10)
        process.communicate(timeout=10)
        if (tmp_path / "model.npz").exists():
            assert load_run(tmp_path / "model.npz").training is not None


@pytest.mark.slow
def test_failing_rank_ends_all_with_its_message(text_file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    one = (*TRAIN, *SHORT, "-q")
    started = time.monotonic()
    done = run_ranks(1, *one, ":", "-n", 1, "-wdir", tmp_path / "elsewhere", *one, cwd=tmp_path)
    assert time.monotonic() - started < 10
    assert done.returncode == 2
    (line,) = ours(done.stderr)
    assert line.startswith("Error: rank 1 on ")
    assert line.endswith(": corpus.txt: No such file or directory")


@pytest.mark.slow
@linux
def test_failed_save_of_rank_0_ends_all(text_file, tmp_path):
    program = f"""if True:
        import sys
        from charlstm import CharlstmError
        from charlstm.cli import main
        from charlstm.storage.run import Run

        def fail(*_):
            raise CharlstmError("model.npz could not be saved: No space left on device")

        Run.save = fail
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT), "-q"]}
        main()
    """
    done = run_ranks(3, sys.executable, "-c", program, cwd=tmp_path)
    assert done.returncode == 1
    assert ours(done.stderr) == ["Error: model.npz could not be saved: No space left on device"]


@pytest.mark.slow
def test_bug_in_one_rank_ends_all(text_file, tmp_path):
    program = f"""if True:
        import os, sys
        from charlstm.cli import main
        from charlstm.optim import Optimizer
        if os.environ["PMI_RANK"] == "1":
            Optimizer.update = lambda *_: 1 / 0
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT), "-q"]}
        main()
    """
    done = run_ranks(2, sys.executable, "-c", program, cwd=tmp_path)
    assert done.returncode == 1
    assert ours(done.stderr)[-1].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "missing.txt"], 2, "missing.txt: No such file or directory"),
        (["train", "corpus.txt", "--bad"], 2, "No such option --bad"),
        (["train", "-"], 2, "standard input (-) reaches only one rank"),
        (["train", "corpus.txt", *SHORT, "--batch-size", 1], 2, "2 ranks need a batch_size of at least 2 streams"),
        (["sample"], 2, "only train runs under mpiexec; start sample without it"),
    ],
    ids=str,
)
def test_error_of_all_ranks_is_printed_once(arguments, code, message, text_file, tmp_path):
    done = run_ranks(2, *CHARLSTM, *arguments, cwd=tmp_path)
    assert message in error_line(done, code)
    assert os.listdir(tmp_path) == ["corpus.txt"]


def test_pipe_is_refused_for_which_the_other_ranks_would_wait_forever(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = run_ranks(2, *CHARLSTM, "train", "pipe", cwd=tmp_path)
    assert "data from pipe reaches only one rank" in error_line(done, 2)
    assert os.listdir(tmp_path) == ["pipe"]


def test_diverged_run_is_reported_once(text_file, tmp_path):
    done = run_ranks(
        2, *TRAIN, *SHORT, "--steps", 400, "--learning-rate", 900, "--optimizer", "sgd", "-q", cwd=tmp_path
    )
    assert error_line(done, 1).startswith("Error: training diverged")


def test_help_is_printed_once(tmp_path):
    done = run_ranks(2, *CHARLSTM, "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"charlstm {package.__version__}\n")


def test_different_settings_are_refused(text_file, tmp_path):
    one, other = (*TRAIN, *SHORT, "--seed", 1), (*TRAIN, *SHORT, "--seed", 2)
    done = run_ranks(1, *one, ":", "-n", 1, *other, cwd=tmp_path)
    assert " has seed 2, not 1 as on rank 0; all ranks need the same" in error_line(done, 1)


def test_different_corpora_are_refused(text_file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "corpus.txt").write_text(TEXT.replace("7", "8"))
    one = (*TRAIN, *SHORT, "-q")
    done = run_ranks(1, *one, ":", "-n", 1, "-wdir", tmp_path / "elsewhere", *one, cwd=tmp_path)
    assert " has a corpus of 9,321 characters (SHA-256 " in error_line(done, 1)


def test_different_versions_are_refused(text_file, tmp_path):
    program = f"""if True:
        import sys
        import charlstm
        from charlstm.cli import main
        charlstm.__version__ = "9.9"
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT)]}
        main()
    """
    done = run_ranks(1, *TRAIN, *SHORT, ":", "-n", 1, sys.executable, "-c", program, cwd=tmp_path)
    assert f" has charlstm 9.9, not {package.__version__} as on rank 0; " in error_line(done, 1)


def test_weights_that_drift_apart_end_the_run(text_file, tmp_path):
    """As on processors that round differently."""
    program = f"""if True:
        import os, sys
        from charlstm.cli import main
        from charlstm.optim import Optimizer
        update = Optimizer.update

        def round_differently(self, params, grads, rate):
            update(self, params, grads, rate)
            params["b_out"][0] += 1e-6 * int(os.environ["PMI_RANK"])

        Optimizer.update = round_differently
        sys.argv = {["charlstm", "train", "corpus.txt", *map(str, SHORT), "-q"]}
        main()
    """
    done = run_ranks(2, sys.executable, "-c", program, cwd=tmp_path)
    assert " has weights with checksum " in error_line(done, 1)


# ---- mpiexec and mpi4py


def test_missing_mpi4py_is_reported_once_with_the_command_that_installs_it(text_file, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "mpi4py.py").write_text("raise ModuleNotFoundError('No module named mpi4py')\n")
    done = run_ranks(2, *TRAIN, *SHORT, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "modules")})
    assert error_line(done, 2).endswith("under mpiexec, charlstm needs mpi4py: pip install mpi4py mpich")


def test_missing_mpi4py_on_one_machine_ends_the_others_at_once(text_file, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "mpi4py.py").write_text("raise ModuleNotFoundError('No module named mpi4py')\n")
    train, started = (*TRAIN, *SHORT), time.monotonic()
    done = run_ranks(1, "env", f"PYTHONPATH={tmp_path / 'modules'}", *train, ":", "-n", 1, *train, cwd=tmp_path)
    assert error_line(done, 2).endswith("under mpiexec, charlstm needs mpi4py: pip install mpi4py mpich")
    assert time.monotonic() - started < 10


def test_ctrl_c_while_the_ranks_join_ends_quietly(tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise KeyboardInterrupt\n")
    done = run_ranks(2, *CHARLSTM, "train", "corpus.txt", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, ours(done.stderr)) == (130, [])


def test_mpiexec_of_another_mpi_is_refused(text_file, tmp_path):
    env = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    done = charlstm("train", "corpus.txt", *SHORT, cwd=tmp_path, env=env)
    assert "mpiexec started 4 processes, but mpi4py finds 1: it uses a different MPI" in error_line(done, 2)


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 1),
        ({"PMI_SIZE": "8", "PMI_RANK": "7"}, 8),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}, 2),
        ({"SLURM_NTASKS": "16", "PMIX_RANK": "3"}, 16),
        ({"SLURM_NTASKS": "16"}, 1),  # in a batch script, outside srun
        ({"PMI_SIZE": "8"}, 1),
        ({"PMI_SIZE": "many", "PMI_RANK": "0"}, 1),
    ],
    ids=str,
)
def test_mpiexec_is_recognised_by_what_it_sets(variables, count, monkeypatch):
    for name in ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched_ranks() == count
