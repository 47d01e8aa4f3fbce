"""How `charlstm sample` separates its texts, ends lines, and reports texts that did not end."""

import re
import subprocess

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from charlstm import load_run
from charlstm.sampling import params
from charlstm.sampling.generate import Sampler


@pytest.fixture
def sample(model, here):
    """Return the finished `charlstm sample` with the model and seed 1."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = here("sample", "--ckpt", model, "--seed", 1, *arguments)
        return done

    return run


@pytest.fixture
def endless(model, tmp_path, monkeypatch):
    """A model that never writes a newline, whose texts are cut earlier to save time."""
    run = load_run(model)
    run.model.network.params["b_out"][run.model.vocab.encode("\n")] = -1e9
    run.save(tmp_path / "endless.npz")
    monkeypatch.setattr(params, "_ENDLESS_LENGTH", 600)
    monkeypatch.setattr(params, "_ENDLESS_LINE", 60)
    return ("--ckpt", "endless.npz")


# ---- between texts


@pytest.mark.parametrize("flags", [["--stop", r"\n"], ["--lines", 1], ["--stop", r"\n", "--keep-stop"]], ids=str)
def test_texts_of_one_line_are_written_one_per_line(flags, sample):
    lines = sample("--num", 4, *flags).stdout.split("\n")
    assert len(lines) == 5
    assert all(lines[:4])
    assert lines[4] == ""
    assert lines[0] == sample("--stop", r"\n").stdout


def test_longer_texts_have_headings(sample):
    text = sample("--num", 2, "--lines", 2).stdout
    assert re.fullmatch(r"----- seed 1\n(.*\n){2}----- seed 2\n(.*\n){2}", text)


def test_separator_is_written_between_texts_only(sample):
    alone = [sample("--seed", seed, "-n", 20).stdout for seed in (1, 2, 3)]
    text = sample("--num", 3, "-n", 20, "--separator", r"\t\\\n").stdout
    assert text.removesuffix("\n") == "\t\\\n".join(alone).removesuffix("\n")
    assert text.endswith("\n")


def test_separator_may_be_empty(sample):
    alone = [sample("--seed", seed, "-n", 20).stdout for seed in (1, 2)]
    assert sample("--num", 2, "-n", 20, "--separator", "").stdout.removesuffix("\n") == "".join(alone).removesuffix(
        "\n"
    )


# ---- reports


@pytest.mark.parametrize("flags", [[], ["--num", 2], ["--num", 2, "--separator", "#"]], ids=str)
def test_report_of_a_copy_starts_a_line_of_its_own(flags, sample, text_file, monkeypatch):
    written: list[str] = []
    monkeypatch.setattr("sys.stderr.write", written.append)
    monkeypatch.setattr("sys.stdout.write", written.append)
    assert sample("-n", 21, "--cite", "--corpus", text_file, *flags).returncode == 0
    output = "".join(written)
    reports = re.findall("^(?:seed \\d: )?longest substring", output, re.MULTILINE)
    assert len(reports) == output.count("longest substring") == (2 if flags else 1)


def test_error_in_a_text_starts_a_line_of_its_own(sample, tmp_path):
    (tmp_path / "digits.txt").write_text("0123456789")
    flags = ("--pattern", "times 0123", "--no-copy", 4, "--corpus", "digits.txt", "-n", 20)
    done = sample(*flags)
    assert done.returncode == 1
    assert done.stdout == "times 012\n"


# ---- texts that should end by themselves


def test_lines_given_without_length_are_all_written(sample):
    done = sample("--lines", 60)
    assert (done.stdout.count("\n"), done.stderr) == (60, "")
    assert len(done.stdout) > 600


def test_text_is_not_cut_before_its_stop_string(sample, endless):
    text = sample(*endless, "--stop", "times times", "-n", 550).stdout
    assert len(text) > 500
    assert sample(*endless, "--stop", "times times").stdout.startswith(text)


@pytest.mark.parametrize(
    ("flags", "length"), [(["--lines", 2], 600), (["--lines", 11], 660), (["--stop", r"\n"], 600)], ids=str
)
def test_text_that_never_ends_is_cut_with_a_report(flags, length, sample, endless):
    done = sample(*endless, *flags)
    assert len(done.stdout) == length + 1
    assert done.stdout.endswith("\n")
    assert done.stderr == f"the text did not end within {length} characters; use --length to change the limit\n"


def test_cut_texts_are_listed_by_their_seeds(sample, endless):
    done = sample(*endless, "--lines", 1, "--num", 2)
    assert (
        done.stderr == "the texts with seeds 1, 2 did not end within 600 characters; use --length to change the limit\n"
    )


@pytest.mark.parametrize("flags", [["-n", 50, "--lines", 1], ["-n", 50, "--stop", r"\n"], []], ids=str)
def test_length_that_was_given_cuts_silently(flags, sample, endless):
    done = sample(*endless, *flags)
    assert (len(done.stdout), done.stderr) == (50 if flags else 500, "")


def test_beam_search_is_cut_after_500_characters(sample, endless):
    done = sample(*endless, "--beam", 1, "--lines", 1)
    assert len(done.stdout) == 501
    assert "the text did not end within 500 characters" in done.stderr


# ---- speed


@pytest.mark.parametrize("flags", [[], ["--num", 2]], ids=str)
def test_blas_has_one_thread_while_sampling(flags, sample, monkeypatch):
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    def note(sampler, *arguments):
        seen.append(threads())
        return steps(sampler, *arguments)

    seen: list[set[int]] = []
    steps = Sampler._steps
    monkeypatch.setattr(Sampler, "_steps", note)
    with threadpool_limits(2, "blas"):
        sample("-n", 5, *flags)
        assert threads() == {2}
    assert seen == [{1}]
