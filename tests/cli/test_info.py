"""`charlstm info`: the contents of a model file."""

import json

from helpers import SMALL, TEXT, begin

from charlstm import Config, corpus_from_text, load_run


def test_json_shows_the_settings(model, here):
    assert json.loads(here("info", "--json", model).stdout)["config"] == SMALL.replace(kernel="numpy").sections()


def test_json_shows_the_progress(model, here):
    values = json.loads(here("info", "--json", model).stdout)
    assert (values["finished"], values["step"]) == (True, 40)


def test_json_shows_every_evaluation(model, here):
    values, run = json.loads(here("info", "--json", model).stdout), load_run(model)
    assert [entry["val_loss"] for entry in values["history"]] == [entry.val_loss for entry in run.history]
    assert values["best"]["val_loss"] == run.best_loss


def test_json_shows_the_fingerprint_of_the_corpus(model, here):
    fingerprint = corpus_from_text(TEXT).fingerprint
    values = json.loads(here("info", "--json", model).stdout)
    assert values["corpus"] == {"chars": len(TEXT), "sha256": fingerprint.sha256}


def test_info_shows_the_size(model, here):
    size = load_run(model).model.network.size
    assert f"model       1 layer of 12 units, {size:,} parameters\n" in here("info", model).stdout


def test_info_shows_the_vocabulary(model, here):
    assert "vocabulary  18 characters: \\n .0123456789eimst\n" in here("info", model).stdout


def test_info_has_a_row_for_each_evaluation(model, here):
    table = here("info", model).stdout.partition("training  validation")[2].splitlines()[1:]
    assert [int(row.split()[0]) for row in table] == [10, 20, 30, 40]


def test_info_reads_model_npz_by_default(model, here, tmp_path):
    (tmp_path / "model.npz").write_bytes(model.read_bytes())
    assert here("info").stdout == here("info", model).stdout


def test_info_shows_that_a_run_is_finished(model, here):
    assert "training    finished, step 40\n" in here("info", model).stdout


def test_info_shows_that_a_run_is_not_finished(here, tmp_path):
    begin().save(tmp_path / "model.npz")
    assert "training    not finished, step 0\n" in here("info").stdout


def test_info_escapes_control_characters(here, tmp_path):
    begin(Config().replace(hidden_size=4), "\x1b[31m\x07" * 300).save(tmp_path / "model.npz")
    shown = here("info").stdout
    assert "\\x07\\x1b13[m" in shown
    assert "\x1b" not in shown


def test_combining_marks_are_shown_on_a_circle(here, tmp_path):
    begin(Config().replace(hidden_size=4), "e\u0301x" * 300).save(tmp_path / "model.npz")
    assert "vocabulary  3 characters: ex\u25cc\u0301\n" in here("info").stdout
