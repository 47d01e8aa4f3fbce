"""`charlstm plan`: a description of the corpus, settings, and the cost."""

import json
import re

import pytest
from helpers import TEXT, charlstm, error_line

from charlstm import Config, corpus_from_text, load_run
from charlstm.cli.output import format_settings
from charlstm.config.settings import ADVISED
from charlstm.training.advice import memory_bytes, reference_of

LIMIT = ("--steps", 20)
CORPUS = TEXT + "mist\nmist\n☃\x07\n"
COMPILING = "Compiling the Numba kernel (only the first time) ...\n"  # the first time, or on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory with a corpus that has CRLF, a repeated line, and a snowman and a bell that occur once."""
    path = tmp_path_factory.mktemp("plan")
    (path / "corpus.txt").write_text(CORPUS, encoding="utf-8", newline="\r\n")
    return path


def plan(folder, *arguments):
    """Return the output of a plan. It measures the speed, so tests share it."""
    done = charlstm("plan", "corpus.txt", *arguments, cwd=folder)
    assert (done.returncode, done.stderr.removeprefix(COMPILING)) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def planned(folder):
    return plan(folder, *LIMIT)


@pytest.fixture(scope="module")
def values(folder):
    return json.loads(plan(folder, "--epochs", 1, "--json"))


def planned_settings(planned):
    (settings,) = re.findall(r"^settings    (.*)$", planned, re.MULTILINE)
    return settings


def test_plan_describes_the_corpus(planned):
    assert "corpus      9,334 characters, 20 distinct\n" in planned


def test_plan_reports_line_endings_and_repeated_lines(planned):
    assert f"lines       CRLF; {1 / 403:.1%} repeat an earlier line\n" in planned


def test_plan_lists_rare_characters(planned):
    assert "rare        2 occurring fewer than 10 times: " in planned
    assert "'☃' 1\n" in planned


def test_plan_escapes_control_characters(planned):
    assert "x07' 1" in planned
    assert "\x07" not in planned


def test_plan_prints_the_command_that_trains(planned):
    assert planned.endswith("\nTo train with these settings:\n    charlstm train corpus.txt --steps 20\n")


def test_plan_passes_the_cores_on_to_the_command_that_trains(folder):
    assert plan(folder, *LIMIT, "--threads", 1).endswith("    charlstm train corpus.txt --steps 20 --threads 1\n")


def test_plan_keeps_the_settings_given_and_suits_the_others_to_them(planned, folder):
    given = ("--hidden-size", 64, "--num-layers", 2, "--dropconnect", 0)
    output = plan(folder, *LIMIT, *given)
    chosen, before = (re.findall(r"--learning-rate (\S+)", planned_settings(each)) for each in (output, planned))
    assert chosen != before
    assert not re.search("--hidden-size|--dropconnect", planned_settings(output))
    assert output.endswith("    charlstm train corpus.txt --steps 20 --hidden-size 64 --num-layers 2 --dropconnect 0\n")


def test_plan_estimates_the_memory_of_the_kernel_that_trains(folder):
    of_auto, of_numba = (
        json.loads(plan(folder, *LIMIT, "--json", "--kernel", kernel))["memory_mb"] for kernel in ("auto", "numba")
    )
    assert of_auto == of_numba


def test_train_uses_the_planned_settings(planned, folder, here, tmp_path):
    corpus = folder / "corpus.txt"
    done = here("train", corpus, *LIMIT, "--evals", 1, "--threads", 1)
    assert f"Settings chosen to suit the corpus: {planned_settings(planned)}\n" in done.stderr
    config = load_run(tmp_path / "model.npz").config
    assert format_settings({name: config.values()[name] for name in ADVISED}) == planned_settings(planned)


def test_json_counts_characters(values):
    assert values["chars"] == len(CORPUS)


def test_json_has_every_advised_setting(values):
    assert values["settings"].keys() == set(ADVISED)


def test_json_has_the_epochs_asked_for(values):
    assert values["epochs"] == pytest.approx(1)


def test_time_follows_from_the_speed(values):
    training_chars = len(CORPUS) - int(len(CORPUS) * 0.1)
    assert values["seconds"] * values["chars_per_s"] == pytest.approx(values["epochs"] * training_chars, rel=0.2)


def test_json_estimates_memory(values):
    assert values["memory_mb"] > 50


def test_plan_refuses_a_missing_corpus(here):
    assert "none.txt: No such file" in error_line(here("plan", "none.txt"), 2)


def test_plan_refuses_two_limits(text_file, here):
    assert "mutually exclusive" in error_line(here("plan", "corpus.txt", *LIMIT, "--epochs", 1), 2)


@pytest.mark.slow
def test_memory_includes_that_of_the_model_whose_speed_is_measured(tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 3000))) * 2
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    memory_mb = json.loads(plan(tmp_path, "--time", "1s", "--threads", 1, "--kernel", "numpy", "--json"))["memory_mb"]
    timed = reference_of(Config().replace(threads=1, kernel="numpy"))
    assert memory_mb >= memory_bytes(timed, corpus_from_text(text).split(0.1)) / 1e6


@pytest.mark.slow
def test_newlines_in_the_fields_of_json_are_newlines(tmp_path):
    (tmp_path / "corpus.json").write_text(json.dumps([{"text": f"one {n}\ntwo"} for n in range(200)]))
    done = charlstm("plan", "corpus.json", "--field", "text", "--steps", 3, cwd=tmp_path)
    assert "lines       LF; " in done.stdout
