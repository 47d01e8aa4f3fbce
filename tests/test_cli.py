"""The command line, in a process of its own, as a user meets it."""

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, TEXT, charlstm, error_line

from charlstm import Config, load, save, start
from charlstm.cli.display import Display
from charlstm.cli.main import run as run_cli
from charlstm.cli.training import run_training
from charlstm.cli.words import conclude
from charlstm.config import ADVISED, presets
from charlstm.optim import Optimizer

QUICK = ("--hidden-size", "12", "--batch-size", "4", "--seq-len", "10", "--evals", "4", "--threads", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory, trained):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    save(trained, path)
    return path


def train(*arguments, **options):
    return charlstm("train", *arguments, *QUICK, **options)


# ---- the main job


def test_train_sample_score_and_info_work_together(text_file, tmp_path):
    done = train("corpus.txt", "--steps", 60, "--log", "log.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "\r" not in done.stderr
    assert done.stderr.splitlines()[-1].strip() == "charlstm sample --ckpt model.npz"
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "log.jsonl", "model.npz"]

    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [15, 30, 45, 60]
    assert set(log[0]) == {
        "step", "epoch", "chars", "elapsed_s", "train_loss", "val_loss", "val_bpc", "learning_rate", "chars_per_s",
    }  # fmt: skip
    assert log[-1]["val_loss"] < log[0]["val_loss"]

    sample = charlstm("sample", "-n", 100, "--seed", 1, cwd=tmp_path)
    assert (sample.returncode, len(sample.stdout), sample.stderr) == (0, 100, "")

    (tmp_path / "val.txt").write_text(TEXT[len(TEXT) - int(len(TEXT) * 0.1) :])
    score = json.loads(charlstm("score", "--ckpt", "model.npz", "--json", "val.txt", cwd=tmp_path).stdout)
    assert score["nats_per_char"] == pytest.approx(min(entry["val_loss"] for entry in log), abs=1e-3)
    assert score["bpc"] == pytest.approx(score["nats_per_char"] / np.log(2))
    assert score["perplexity"] == pytest.approx(np.exp(score["nats_per_char"]))
    assert (score["chars"], score["unknown_chars"]) == (int(len(TEXT) * 0.1) - 1, 0)

    info = json.loads(charlstm("info", "--json", "model.npz", cwd=tmp_path).stdout)
    assert (info["finished"], info["step"], info["config"]["model"]["hidden_size"]) == (True, 60, 12)
    assert "12 units" in charlstm("info", "model.npz", cwd=tmp_path).stdout


def test_a_run_says_what_to_hold_its_loss_against_and_how_much_it_copies(text_file, tmp_path):
    command = ["train", text_file, "--hidden-size", 16, "--steps", 60]
    said = charlstm(*command, cwd=tmp_path).stderr
    assert re.search(r"bits per character: uniform 4\.\d+, frequencies \d\.\d+, 6-gram \d\.\d+, xz -9 \d\.\d+\n", said)
    assert re.search(
        r"\nAt the best step, \d+ of 60: training loss \d\.\d+ \(with dropout\), validation loss \d\.\d+", said
    )
    assert re.search(
        r"\nOf a sample of 2,000 characters, \d+\.\d% of the runs of 20 .*the longest run has \d+: '", said
    )
    assert "Of as much" not in said  # the validation text is shorter
    with_resume = charlstm(*command, "--resume", cwd=tmp_path).stderr
    assert "At the best" not in with_resume


def test_a_model_that_is_too_broken_to_write_is_still_told_and_saved(corpus, capsys):
    run = start(Config().replace(hidden_size=4), corpus)
    run.model.params["w_out"][...] = np.float32(3e38)
    run.model.params["layer0.w_x"][...] = 1
    conclude(Display(quiet=False), run, corpus)
    assert capsys.readouterr().err == ""  # no validation text is long enough, no sample can be written


def test_a_score_is_held_against_what_simpler_models_reach(text_file, model, tmp_path):
    plain = charlstm("score", "--ckpt", model, text_file).stdout
    with_yardsticks = charlstm("score", "--ckpt", model, text_file, "--yardsticks", text_file).stdout
    assert with_yardsticks.startswith(plain)
    assert re.search(r"simpler models, in bits per character: uniform 4.*6-gram 1", with_yardsticks)
    done = charlstm("score", "--ckpt", model, text_file, "--yardsticks", text_file, "--json")
    values = json.loads(done.stdout)["yardsticks_nats_per_char"]
    assert values["uniform"] > values["frequencies"] > values["6-gram"]
    assert "missing.txt" in error_line(charlstm("score", "--ckpt", model, text_file, "--yardsticks", "missing.txt"), 2)
    (tmp_path / "strange.txt").write_text("ÄÖÜ")
    refused = charlstm("score", "--ckpt", model, text_file, "--yardsticks", tmp_path / "strange.txt")
    assert "the model knows none of its characters" in error_line(refused, 1)


def test_a_plan_says_what_a_text_is_like_and_train_does_what_it_says(text_file, tmp_path):
    planned = charlstm("plan", "corpus.txt", "--steps", 20, cwd=tmp_path).stdout
    assert "9,321 characters, 18 different ones" in planned
    assert "lines       end in LF; 0.0% repeat another" in planned
    settings = re.search(r"^settings    (.*)$", planned, re.MULTILINE)[1]
    assert "    charlstm train corpus.txt --steps 20\n" in planned
    said = charlstm("train", "corpus.txt", "--steps", 20, cwd=tmp_path).stderr
    assert f"Settings that suit the text and the time: {settings}\n" in said
    config = load(tmp_path / "model.npz").config
    assert all(f"--{k.replace('_', '-')} {config.shown()[k]}" in settings for k in ADVISED)


def test_a_plan_is_json_on_demand(text_file):
    values = json.loads(charlstm("plan", text_file, "--epochs", 1, "--json").stdout)
    assert values["chars"] == 9321
    assert values["epochs"] == pytest.approx(1)
    assert values["seconds"] * values["chars_per_s"] == pytest.approx(values["epochs"] * 8389, rel=0.2)
    assert values["memory_mb"] > 50
    assert values["settings"].keys() == set(ADVISED)


def test_nothing_is_chosen_for_who_gives_a_configuration(text_file, tmp_path):
    (tmp_path / "my.yaml").write_text("train:\n  steps: 3\n")
    said = charlstm("train", "corpus.txt", "-c", "my.yaml", "--hidden-size", 8, cwd=tmp_path).stderr
    assert "Settings that suit" not in said
    assert load(tmp_path / "model.npz").config == Config().replace(steps=3, hidden_size=8)


def test_quiet_says_nothing(text_file, tmp_path):
    done = train("corpus.txt", "--steps", 3, "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=pytest.mark.slow if name.endswith("best") else ()) for name in presets()]
)
def test_every_preset_trains_the_bundled_corpus(preset, tmp_path):
    done = charlstm(
        "train", "@tweets", "-c", preset, "--steps", 2, "--evals", 1, "--eval-chars", 2000, "-q", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "model.npz").progress is None


def test_flags_go_before_yaml_and_yaml_before_defaults(text_file, tmp_path):
    (tmp_path / "my.yaml").write_text("model:\n  hidden_size: 5\n  num_layers: 2\ntrain:\n  time: 9m\n")
    done = charlstm("train", "corpus.txt", "-c", "my.yaml", "--hidden-size", 6, "--steps", 2, "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = load(tmp_path / "model.npz").config
    assert (config.model.hidden_size, config.model.num_layers, config.train.batch_size) == (6, 2, 16)
    assert (config.train.steps, config.train.time) == (2, None)


def test_help_shows_the_values_that_hold(tmp_path):
    def flat(*arguments):
        return " ".join(charlstm("train", *arguments).stdout.split())

    assert "[1 to 16384] [default: what suits the text]" in flat("--help")
    assert "[default: 2m]" in flat("--help")
    assert "[1 to 16384] [default: 100]" in flat("-c", "classic", "--help")
    assert "[default: 10000]" in flat("-c", "classic", "--help")


def test_help_and_version_need_no_numpy():
    for arguments in (["--help"], ["--version"], ["train", "--help"], ["sample", "--help"]):
        program = f"import sys; sys.argv = ['charlstm', *{arguments!r}]\nfrom charlstm.cli import main\n"
        program += "try: main()\nexcept SystemExit as e: assert not e.code\nassert 'numpy' not in sys.modules\n"
        assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_several_files_and_standard_input_are_read(text_file, tmp_path):
    (tmp_path / "b.txt").write_text("more\n")
    done = train("b.txt", "-", "--steps", 2, cwd=tmp_path, input=TEXT)
    assert done.returncode == 0, done.stderr
    assert load(tmp_path / "model.npz").corpus["sha256"] == hashlib.sha256(("more\n" + TEXT).encode()).hexdigest()


def test_a_short_text_says_which_sizes_it_gets(tmp_path):
    (tmp_path / "short.txt").write_text("to be or not to be, that is the question\n")
    done = charlstm("train", "short.txt", "--steps", 2, cwd=tmp_path)
    assert done.returncode == 0
    assert "The text is short: 1 streams of 36 characters at a time, instead of 24 of 40" in done.stderr


# ---- sampling


def test_the_prime_is_printed_first_and_may_come_from_standard_input(model):
    by_flag = charlstm("sample", "--ckpt", model, "--prime", "7 times ", "-n", 20, "--seed", 5)
    by_pipe = charlstm("sample", "--ckpt", model, "--prime", "-", "-n", 20, "--seed", 5, input="7 times ")
    assert by_flag.stdout.startswith("7 times ")
    assert len(by_flag.stdout) == 28
    assert by_flag.stdout == by_pipe.stdout


def test_length_zero_prints_the_prime_alone(model):
    assert charlstm("sample", "--ckpt", model, "-n", 0, "--prime", "7 times").stdout == "7 times"
    assert charlstm("sample", "--ckpt", model, "-n", 0).stdout == ""


def test_without_a_seed_each_text_is_another(model):
    assert len({charlstm("sample", "--ckpt", model, "-n", 60, "-t", 2).stdout for _ in range(3)}) == 3


@pytest.mark.parametrize("temperature", ["0", "1e-300", "1e300"])
def test_extreme_temperatures_write(temperature, model):
    done = charlstm("sample", "--ckpt", model, "-t", temperature, "-n", 30)
    assert (done.returncode, len(done.stdout)) == (0, 30)


def test_a_prime_that_the_model_cannot_read_is_named(model):
    line = error_line(charlstm("sample", "--ckpt", model, "--prime", "naïve ☃"), 2)
    assert "'ï' U+00EF LATIN SMALL LETTER I WITH DIAERESIS, '☃' U+2603 SNOWMAN" in line


def test_crlf_in_a_prime_is_a_line_end_like_any_other(model):
    done = charlstm("sample", "--ckpt", model, "-n", 0, "--prime", "1\r\n2\r3")
    assert done.stdout == "1\n2\n3"


def test_head_ends_a_sample_quietly(model):
    command = f"set -o pipefail; {sys.executable} -m charlstm sample --ckpt {model} -n 100000000 | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 10, "")


# ---- stopping and going on


def running(tmp_path, *arguments):
    """Start a long training; return the process once it has taken some steps."""
    log = tmp_path / "running.jsonl"
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *QUICK, "--evals", "60", "--log", log.name]
    process = subprocess.Popen([*command, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8")
    wait_for(lambda: log.exists() and log.stat().st_size > 0)
    return process


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "corpus.txt").write_text(TEXT)
    done = charlstm("train", "corpus.txt", *QUICK, "--evals", "60", "--steps", "900", "--dropout", "0.1", cwd=folder)
    assert done.returncode == 0, done.stderr
    return (folder / "model.npz").read_bytes()


def resumed(tmp_path):
    done = charlstm("train", "corpus.txt", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*.tmp"))
    assert not list(tmp_path.glob(".*"))
    return (tmp_path / "model.npz").read_bytes()


def test_kill_9_and_resume_end_in_the_same_file(text_file, tmp_path, uninterrupted):
    process = running(tmp_path, "--steps", "900", "--dropout", "0.1")
    process.kill()
    process.communicate()
    (tmp_path / ".model.npz.99999.tmp").write_text("left by a killed run")
    assert load(tmp_path / "model.npz").progress.step < 900
    assert resumed(tmp_path) == uninterrupted


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGINT", 130),
        pytest.param("SIGTERM", 143, marks=pytest.mark.slow),
        pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(name, code, text_file, tmp_path, uninterrupted):
    process = running(tmp_path, "--steps", "900", "--dropout", "0.1")
    process.send_signal(getattr(signal, name))
    said = process.communicate()[1]
    assert process.returncode == code
    assert said.splitlines()[-1].strip() == "charlstm train corpus.txt -o model.npz --log running.jsonl --resume"
    assert "Traceback" not in said
    assert resumed(tmp_path) == uninterrupted


def test_resume_of_a_finished_run_is_fine_but_takes_it_no_further(text_file, tmp_path):
    train("corpus.txt", "--steps", 3, cwd=tmp_path)
    before = (tmp_path / "model.npz").read_bytes()
    done = charlstm("train", "corpus.txt", "--resume", cwd=tmp_path)
    assert done.returncode == 0
    assert "model.npz is finished already" in done.stderr
    for steps in (2, 9):
        done = charlstm("train", "corpus.txt", "--resume", "--steps", steps, cwd=tmp_path)
        assert "is finished, and cannot be taken further" in error_line(done, 2)
    assert "No such file" in error_line(charlstm("train", "none.txt", "--resume", cwd=tmp_path), 2)
    assert (tmp_path / "model.npz").read_bytes() == before


def test_a_failed_start_leaves_the_old_file_even_with_force(text_file, tmp_path):
    train("corpus.txt", "--steps", 3, cwd=tmp_path)
    before = (tmp_path / "model.npz").read_bytes()
    (tmp_path / "corpus.txt").write_text("")
    error_line(train("corpus.txt", "--force", "--log", "log.jsonl", cwd=tmp_path), 1)
    assert (tmp_path / "model.npz").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


def test_a_run_that_is_killed_before_its_first_save_leaves_the_old_file(text_file, tmp_path):
    train("corpus.txt", "--steps", 3, cwd=tmp_path)
    before = (tmp_path / "model.npz").read_bytes()
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *QUICK, "--evals", "1", "--force"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8")
    assert "characters to train on" in process.stderr.readline()
    process.kill()
    process.communicate()
    assert (tmp_path / "model.npz").read_bytes() == before


def test_the_same_command_with_resume_goes_on_under_a_preset_with_a_limit(text_file, tmp_path):
    process = running(tmp_path, "-c", "tiny", "--steps", "100000")
    process.send_signal(signal.SIGINT)
    process.communicate()
    again = ("train", "corpus.txt", *QUICK, "--evals", "60", "-c", "tiny")
    step = load(tmp_path / "model.npz").progress.step
    assert charlstm(*again, "--steps", step + 1, "--resume", cwd=tmp_path).returncode == 0


def test_a_full_log_ends_the_run_with_its_name_and_keeps_the_model(text_file, tmp_path):
    done = train("corpus.txt", "--steps", 9, "--log", "/dev/full", "-q", cwd=tmp_path)
    assert error_line(done, 1) == "Error: --log /dev/full: No space left on device; the run is saved"
    assert load(tmp_path / "model.npz").progress.step == 3


@pytest.mark.parametrize("module", ["click", "charlstm.config", "numpy", "charlstm.layers"])
def test_ctrl_c_while_starting_is_quiet(module, model):
    program = f"""if True:
        import os, signal, sys

        class Interrupt:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), signal.SIGINT)

        from charlstm.cli import main
        sys.meta_path.insert(0, Interrupt())
        sys.argv = ["charlstm", "sample", "--ckpt", {str(model)!r}]
        main()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.fixture
def stopped(text_file, tmp_path):
    process = running(tmp_path, "--steps", "100000")
    process.send_signal(signal.SIGINT)
    process.communicate()
    return tmp_path


def test_resume_refuses_other_settings_but_another_end(stopped):
    line = error_line(charlstm("train", "corpus.txt", "--resume", "--hidden-size", 13, cwd=stopped), 2)
    assert "was started with hidden_size 12, not 13" in line
    step = load(stopped / "model.npz").progress.step
    line = error_line(charlstm("train", "corpus.txt", "--resume", "--steps", step, cwd=stopped), 2)
    assert f"is at step {step:,}, after " in line
    assert f"past --steps {step}: give a larger one" in line
    more = "--steps", step + 1, "--threads", 1
    assert charlstm("train", "corpus.txt", "--resume", *more, cwd=stopped).returncode == 0


@pytest.mark.parametrize("quiet", [False, True])
def test_what_goes_wrong_with_the_workers_is_told_in_a_line(quiet, text_file, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", fail)
    monkeypatch.setattr("charlstm.training.available_cores", lambda: 2)
    flags = {"hidden_size": 8, "batch_size": 8, "steps": 3}
    options = {"resume": False, "force": False, "log": None, "quiet": quiet}
    assert run_training([str(text_file)], str(tmp_path / "m.npz"), {}, flags, **options) == 0
    told = "no further process can be started (Resource temporarily unavailable): the work goes on with fewer"
    lines = [line for line in capsys.readouterr().err.splitlines() if "process" in line or "Warning" in line]
    assert lines == [] if quiet else [line.startswith(told) for line in lines] == [True]


def test_a_run_that_goes_back_says_so_and_so_does_one_whose_loss_leaps(text_file, tmp_path, monkeypatch, capsys):
    real, updates = Optimizer.update, []

    def overflowing(self, params, *arguments):
        real(self, params, *arguments)
        updates.append(1)
        if len(updates) == 15:
            params["w_out"][0] = np.inf
        if len(updates) == 25:
            params["w_out"][:] *= 100

    monkeypatch.setattr(Optimizer, "update", overflowing)
    flags = {"hidden_size": 8, "batch_size": 4, "seq_len": 10, "steps": 30, "evals": 3}
    out = str(tmp_path / "model.npz")
    assert run_training([str(text_file)], out, {}, flags, resume=False, force=False, log=None, quiet=False) == 0
    said = capsys.readouterr().err
    assert "not finite any more at step 15: going on from the weights of step 10 at half the learning rate\n" in said
    assert re.search(r"\d losses were far above the usual, the highest \d+\.\d\d nats at step 2[6-9], gradient", said)


def test_a_run_that_lost_its_patience_says_so(text_file, tmp_path):
    small = ("--hidden-size", 12, "--batch-size", 4, "--seq-len", 10, "--threads", 1)
    rash = ("--learning-rate", 1, "--schedule", "constant", "--steps", 4000, "--evals", 400, "--patience", 2)
    said = charlstm("train", text_file, *small, *rash, "-o", tmp_path / "m.npz").stderr
    assert "Ended early: no evaluation in the last 2 was better (--patience)\n" in said
    calm = ("--steps", 40, "--evals", 4, "--patience", 9)
    assert "Ended early" not in charlstm("train", text_file, *small, *calm, "-o", tmp_path / "n.npz").stderr


def test_a_preview_is_not_longer_than_ten_lines(text_file, tmp_path):
    text_file.write_text("a\n\n\n\n" * 400)
    done = charlstm("train", text_file, "--steps", 20, "--evals", 1, "--hidden-size", 8, "-o", tmp_path / "m.npz")
    assert 1 <= done.stderr.count("    | ") <= 10


def test_resume_refuses_another_text_unless_forced(stopped):
    (stopped / "corpus.txt").write_text(TEXT[50:])
    before = (stopped / "model.npz").read_bytes()
    line = error_line(charlstm("train", "corpus.txt", "--resume", cwd=stopped), 1)
    assert "another one than the run was started with" in line
    assert (stopped / "model.npz").read_bytes() == before
    step = load(stopped / "model.npz").progress.step
    (stopped / "corpus.txt").write_text("ÄÖÜ" * 2000)
    line = error_line(charlstm("train", "corpus.txt", "--resume", "--force", cwd=stopped), 1)
    assert "6,000 characters that the model does not know" in line
    (stopped / "corpus.txt").write_text(TEXT[50:])
    done = charlstm("train", "corpus.txt", "--resume", "--force", "--steps", step + 5, "-q", cwd=stopped)
    assert (done.returncode, done.stderr) == (0, "")
    run = load(stopped / "model.npz")
    assert run.best["step"] > step
    assert all(entry["step"] > step for entry in run.history)  # losses on another text do not count as plateaus


def test_a_checkpoint_in_training_can_be_sampled_and_scored(stopped):
    assert len(charlstm("sample", "-n", 30, cwd=stopped).stdout) == 30
    assert charlstm("score", "corpus.txt", cwd=stopped).returncode == 0
    assert "not finished" in charlstm("info", "model.npz", cwd=stopped).stdout


# ---- mistakes


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run the command line in this process, which is quicker."""

    def charlstm_here(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["charlstm", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_cli()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())

    return charlstm_here


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["none.txt"], 2, "none.txt: No such file"),
        (["."], 2, ".: Is a directory"),
        (["empty.txt"], 1, "empty.txt is empty"),
        (["one.txt"], 1, "there is nothing to learn"),
        (["aaaa.txt"], 1, "one character, again and again"),
        (["latin.txt"], 1, "latin.txt: not utf-8"),
        (["corpus.txt", "-o", "nowhere/m.npz"], 2, "there is no folder"),
        (["corpus.txt", "-o", "."], 2, ". is a folder"),
        (["corpus.txt", "-o", "corpus.txt", "--force"], 2, "is corpus.txt itself, which would be overwritten"),
        (["corpus.txt", "--log", "corpus.txt"], 2, "is corpus.txt itself, which would be overwritten"),
        (["corpus.txt", "-o", "n" * 255], 2, "File name too long"),
        (["corpus.txt", "-o", ""], 2, "an empty value is not a name"),
        (["-", "-"], 2, "can be read only once"),
        (["corpus.txt", "-o", "corpus.txt/m.npz"], 2, "there is no folder"),
        (["corpus.txt", "-o", "old.npz"], 2, "old.npz exists: --resume goes on with it, --force overwrites it"),
        (["corpus.txt", "--resume"], 2, "there is no model.npz to go on with"),
        (["corpus.txt", "--resume", "-o", "old.npz"], 1, "old.npz is not a charlstm checkpoint"),
        (["corpus.txt", "-c", "none.yaml"], 2, "none.yaml: No such file"),
        (["corpus.txt", "-c", "tini"], 2, "neither a file nor a preset"),
        (["corpus.txt", "--log", "nowhere/log"], 2, "--log nowhere/log: No such file"),
        (["corpus.txt", "--steps", "1", "--time", "1m"], 2, "only one"),
        (["corpus.txt", "--encoding", "utf-99"], 2, "utf-99 is not the name of a text encoding"),
        (["corpus.txt", "--hidden-size", "1.5"], 2, "'--hidden-size': 1.5 is not an integer from 1 to 16384"),
        (["corpus.txt", "--hidden-size", "0"], 2, "'--hidden-size'"),
        (["corpus.txt", "--hidden-size", "1" + "0" * 30], 2, "'--hidden-size'"),
        (["corpus.txt", "--learning-rate", "nan"], 2, "'--learning-rate': nan is not a number"),
        (["corpus.txt", "--learning-rate", "inf"], 2, "'--learning-rate'"),
        (["corpus.txt", "--learning-rate=-1"], 2, "'--learning-rate'"),
        (["corpus.txt", "--seed=-1"], 2, "'--seed'"),
        (["corpus.txt", "--time", "10"], 2, "'--time': 10 is not a length of time such as 90s, 10m or 1.5h"),
        (["corpus.txt", "--hiden-size", "3"], 2, "No such option"),
        ([], 2, "Missing argument"),
    ],
)
def test_mistakes_in_training_get_one_line(arguments, code, expected, text_file, tmp_path, here):
    for name, data in (
        ("empty.txt", b""),
        ("one.txt", b"x"),
        ("aaaa.txt", b"aaaa"),
        ("latin.txt", b"caf\xe9"),
        ("old.npz", b"old"),
    ):
        (tmp_path / name).write_bytes(data)
    before = sorted(os.listdir(tmp_path))
    assert expected in error_line(here("train", *arguments), code)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "old.npz").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["sample"], 2, "model.npz: No such file or directory; --ckpt names the model"),
        (["sample", "--ckpt", "."], 2, ".: Is a directory"),
        (["sample", "--ckpt", "text"], 1, "text is not a charlstm checkpoint"),
        (["sample", "--length=-1"], 2, "'-n' / '--length': -1 is not an integer from 0"),
        (["sample", "--length", "1e3"], 2, "1e3 is not an integer"),
        (["sample", "--temperature", "nan"], 2, "nan is not a number"),
        (["sample", "--temperature", "inf"], 2, "inf is not a number"),
        (["sample", "--temperature=-0.1"], 2, "'--temperature'"),
        (["sample", "--seed=-1"], 2, "'--seed'"),
        (["score", "--ckpt", "text", "text"], 1, "text is not a charlstm checkpoint"),
        (["info", "none"], 2, "none: No such file"),
        (["trian"], 2, "No such command 'trian'"),
    ],
)
def test_mistakes_in_using_a_model_get_one_line(arguments, code, expected, tmp_path, here):
    (tmp_path / "text").write_text("some text")
    assert expected in error_line(here(*arguments), code)


def test_a_text_of_unknown_characters_cannot_be_scored(model, tmp_path):
    (tmp_path / "snow.txt").write_text("☃☃☃1☃")
    assert "too few characters to score: the model knows 1 of the text's" in error_line(
        charlstm("score", "--ckpt", model, tmp_path / "snow.txt"), 1
    )


def test_unknown_characters_are_left_out_of_a_score_and_counted(model, tmp_path):
    (tmp_path / "plain.txt").write_text("1 times 2 is 2.")
    (tmp_path / "snow.txt").write_text("1 times☃ 2 is☃ 2.")
    plain, snow = (
        json.loads(charlstm("score", "--ckpt", model, "--json", tmp_path / name).stdout)
        for name in ("plain.txt", "snow.txt")
    )
    assert (plain.pop("unknown_chars"), snow.pop("unknown_chars")) == (0, 2)
    assert plain == snow


def test_a_folder_that_cannot_be_written_to_is_refused(text_file, tmp_path):
    line = error_line(charlstm("train", "corpus.txt", "-o", "/proc/model.npz", cwd=tmp_path), 2)
    assert "nothing can be written there" in line


def test_a_full_disk_ends_the_run_and_leaves_the_old_file(text_file, tmp_path):
    import resource

    train("corpus.txt", "--steps", 3, cwd=tmp_path)
    before = (tmp_path / "model.npz").read_bytes()

    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = train("corpus.txt", "--steps", 3, "--force", "-q", cwd=tmp_path, preexec_fn=small_files)
    assert "could not be saved: File too large" in error_line(done, 1)
    assert (tmp_path / "model.npz").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["corpus.txt", "model.npz"]


# ---- streams, terminals, environments


def test_a_full_standard_output_is_told_in_one_line(model):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "charlstm", "sample", "--ckpt", model],
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "Error: standard output: No space left on device\n")


@pytest.mark.parametrize("command", ["sample --ckpt {} -n 10", "score --ckpt {} {}", "info {}"])
def test_a_closed_standard_output_is_an_error(command, model):
    shell = f"{sys.executable} -m charlstm {command.format(model, ROOT / 'setup.cfg')} >&-"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard output: ")


def test_a_closed_standard_error_does_not_stop_the_work(text_file, tmp_path):
    shell = f"{sys.executable} -m charlstm train corpus.txt {' '.join(QUICK)} --steps 5 2>&-"
    assert subprocess.run(["bash", "-c", shell], cwd=tmp_path, check=False).returncode == 0
    load(tmp_path / "model.npz")


def test_a_closed_standard_input_is_no_text(tmp_path):
    shell = f"{sys.executable} -m charlstm train - <&-"
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("Error: -")


@pytest.mark.parametrize(
    "env",
    [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "cp1252"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_text_is_utf8_whatever_the_locale(env, tmp_path):
    (tmp_path / "snow.txt").write_text("☃é" * 200, encoding="utf-8")
    assert train("snow.txt", "--steps", 3, cwd=tmp_path, env=env).returncode == 0
    done = charlstm("sample", "--prime", "-", "-n", 5, cwd=tmp_path, env=env, input="☃é")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("☃é")


def on_a_terminal(command, cwd, **environment):
    """Run a command with a terminal for its standard error; return what it wrote there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen(command, cwd=cwd, stderr=theirs, env={**os.environ, **environment})
    os.close(theirs)
    written = bytearray()

    def collect():
        try:
            while data := os.read(ours, 4096):
                written.extend(data)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=collect)
    reader.start()
    process.wait(60)
    reader.join(60)
    os.close(ours)
    return process.returncode, written.decode()


def test_a_terminal_gets_a_bar_and_a_dumb_one_does_not(text_file, tmp_path):
    command = [sys.executable, "-m", "charlstm", "train", "corpus.txt", *QUICK, "--steps", "400", "--force"]
    code, said = on_a_terminal(command, tmp_path, TERM="xterm")
    assert code == 0
    assert "100%|" in said
    assert "bits (validation" in said
    code, said = on_a_terminal(command, tmp_path, TERM="dumb")
    assert code == 0
    assert "%|" not in said
    assert "\r" not in said.replace("\r\n", "\n")


def test_dash_on_a_terminal_is_refused(tmp_path):
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, "-m", "charlstm", "train", "-"], stdin=theirs, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)  # fmt: skip
    os.close(ours), os.close(theirs)
    assert "that is a terminal" in error_line(done, 2)


def test_home_and_tmpdir_are_not_needed(text_file, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "HOME"} | {"TMPDIR": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "charlstm", "train", "corpus.txt", *QUICK, "--steps", "3"],
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert done.returncode == 0


def test_control_characters_of_a_text_do_not_reach_the_terminal(tmp_path):
    (tmp_path / "esc.txt").write_text("\x1b[31m\x07" * 300)
    done = train("esc.txt", "--steps", 3, cwd=tmp_path)
    assert done.returncode == 0
    assert "\x1b" not in done.stderr
    charlstm("info", "model.npz", cwd=tmp_path)
    assert "\x1b" not in charlstm("info", "model.npz", cwd=tmp_path).stdout


def test_json_is_one_document_even_where_a_loss_is_not_finite(model, tmp_path):
    def refuse(name):
        raise AssertionError(name)

    run = load(model)
    run.model.params["b_out"] *= np.float32(1e30)
    save(run, tmp_path / "wild.npz")
    (tmp_path / "text").write_text("1 times 2")
    score = charlstm("score", "--ckpt", "wild.npz", "--json", "text", cwd=tmp_path)
    assert json.loads(score.stdout, parse_constant=refuse)["perplexity"] is None


def test_weights_that_are_finite_and_far_too_large_are_told(model, tmp_path):
    run = load(model)
    run.model.params["w_out"][...] = np.float32(3e38)
    save(run, tmp_path / "wild.npz")
    (tmp_path / "text").write_text("1 times 2")
    sample = charlstm("sample", "--ckpt", "wild.npz", "--prime", "1", cwd=tmp_path)
    assert (sample.returncode, sample.stderr.count("\n")) == (1, 1)
    assert "the model is broken" in sample.stderr
    assert "the model is broken" in error_line(charlstm("score", "--ckpt", "wild.npz", "text", cwd=tmp_path), 1)


@pytest.mark.slow
def test_help_and_sample_start_quickly(model):
    def best_of(count, *arguments):
        times = []
        for _ in range(count):
            start = time.perf_counter()
            assert charlstm(*arguments).returncode == 0
            times.append(time.perf_counter() - start)
        return min(times)

    assert best_of(5, "--help") < 0.5  # a bound that holds on a busy machine; benchmarks/startup.py measures
    assert best_of(5, "sample", "--ckpt", model, "-n", 200) < 1.5


def test_the_model_file_is_where_out_says(text_file, tmp_path):
    assert train("corpus.txt", "--steps", 2, "-o", "mein Modell ☃", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mein Modell ☃").is_file()
    assert Path(tmp_path / "mein Modell ☃.npz").exists() is False
