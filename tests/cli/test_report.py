"""`charlstm report` and `charlstm plot`: what they write, and invalid requests."""

import re

import pytest
from helpers import TEXT, error_line
from storage_helpers import train_until

from charlstm import Run


@pytest.fixture
def models(tmp_path, trained: Run):
    trained.save(tmp_path / "model.npz")
    train_until(3).save(tmp_path / "new.npz")
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "other.txt").write_text("1 times 2 is 2.\n" * 30)
    (tmp_path / "wrong.jsonl").write_text('{"step": -1}\n')
    (tmp_path / "long.jsonl").write_text("{" * 20_000)
    (tmp_path / "cut.jsonl").write_text('{"step"')
    (tmp_path / "foreign.txt").write_text("ж" * 30, encoding="utf-8")
    return tmp_path


def test_report_of_the_corpus_has_baselines_and_the_validation_part(models, here):
    done = here("report", "model.npz", "corpus.txt", "-o", "report.html")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"Wrote report\.html \(\d+ kB\)\n", done.stderr)
    page = (models / "report.html").read_text(encoding="utf-8")
    assert "Dotted: baselines (uniform" in page


@pytest.mark.parametrize("text", [(), ("other.txt",)])
def test_report_of_another_text_or_none_has_no_baselines(text, models, here):
    assert here("report", "model.npz", *text, "-o", "report.html", "--title", "A & B").returncode == 0
    page = (models / "report.html").read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    assert "Dotted" not in page


@pytest.mark.parametrize("axis", ["chars", "epochs", "steps"])
def test_curves_of_several_models_are_drawn(axis, models, here):
    train_until(12).save(models / "half.npz")
    assert here("plot", "model.npz", "half.npz", "--x", axis, "-o", "curves.svg").returncode == 0
    svg = (models / "curves.svg").read_text()
    assert svg.count('class="validation"') == 2
    assert ">model<" in svg


def test_logs_are_drawn_against_time(models, here):
    entry = '{"step": %d, "epoch": 0.5, "chars": 90, "train_loss": 2, "val_loss": %f, "learning_rate": 0.01, '
    entry += '"val_chars": 9, "elapsed_s": %d, "chars_per_s": 30.0, "val_bpc": null}\n'
    (models / "run.jsonl").write_text("".join(entry % (step, 4 - step, step) for step in (1, 2, 3, 2)) + entry[:20])
    assert here("plot", "run.jsonl", "--x", "time", "-o", "curves.svg").returncode == 0
    svg = (models / "curves.svg").read_text()
    assert "seconds of training" in svg
    path = re.search(r'class="validation"[^>]* d="([^"]*)"', svg)
    assert path
    assert path[1].count("L") == 1  # the repeated step replaces what had followed it


def test_log_of_a_run_can_be_plotted(models, here):
    assert (
        here("train", "corpus.txt", "--steps", "4", "--hidden-size", "8", "--log", "run.jsonl", "--force").returncode
        == 0
    )
    assert here("plot", "run.jsonl", "model.npz", "-o", "curves.svg").returncode == 0
    assert (models / "curves.svg").read_text().count('class="validation"') == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("report",), 2, "report needs --output, the HTML file to write, such as report.html"),
        (("report", "none.npz", "-o", "a.html"), 2, "none.npz: No such file or directory"),
        (("report", "model.npz", "none.txt", "-o", "a.html"), 2, "none.txt: No such file or directory"),
        (("report", "-o", "model.npz", "--force"), 2, "--output model.npz would overwrite model.npz"),
        (("report", "model.npz", "corpus.txt", "-o", "corpus.txt", "--force"), 2, "would overwrite corpus.txt"),
        (("report", "corpus.txt", "model.npz", "-o", "a.html"), 2, "name one model, before the texts"),
        (("report", "model.npz", "foreign.txt", "-o", "a.html"), 1, "none of the characters of the text are in the"),
        (("plot", "model.npz", "-o", "model.npz", "--force"), 2, "--output model.npz would overwrite model.npz"),
        (("report", "model.npz", "-o", "corpus.txt"), 2, "corpus.txt already exists; use --force to overwrite it"),
        (("plot", "model.npz"), 2, "plot needs --output, the SVG file to write, such as curves.svg"),
        (("plot", "new.npz", "-o", "a.svg"), 1, "new.npz has no evaluations to plot"),
        (("plot", "corpus.txt", "-o", "a.svg"), 1, "corpus.txt is not a charlstm checkpoint"),
        (("plot", "model.npz", "-o", "a.svg", "--x", "days"), 2, "days is not one of chars, epochs, steps"),
        (("plot", "model.npz", "-o", "a.svg", "--x", "time"), 2, "model.npz does not record time; name a file that"),
        (("plot", "wrong.jsonl", "-o", "a.svg"), 1, "line 1 of wrong.jsonl is not an evaluation that train --log"),
        (("plot", "long.jsonl", "-o", "a.svg"), 1, "line 1 of long.jsonl is not an evaluation that train --log"),
        (("plot", "cut.jsonl", "-o", "a.svg"), 1, "cut.jsonl has no evaluations to plot"),
    ],
)
def test_invalid_report_and_plot_requests_are_refused(arguments, code, message, models, here):
    before = {path: path.read_bytes() for path in models.iterdir()}
    assert message in error_line(here(*arguments), code)
    assert {path: path.read_bytes() for path in models.iterdir()} == before
