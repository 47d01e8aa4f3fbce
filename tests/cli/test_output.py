"""What commands write to standard error, to logs and as JSON."""

import io
import json
import math
import os
import sys

import numpy as np
import pytest
from helpers import begin

from charlstm import CharlstmError, Config, Evaluation, Report
from charlstm.cli.display import Display, SpikeDetector, sparkline
from charlstm.cli.log import Log
from charlstm.cli.output import as_json, format_bits, format_settings, say
from charlstm.cli.summary import conclude
from charlstm.errors import UsageError

EVALUATION = Evaluation(10, epoch=0.5, chars=400, train_loss=2.0, val_loss=1.5, learning_rate=0.01, val_chars=100)


def report(step=10, loss=1.0, *, skipped=False, is_best=True):
    return Report(step, 0.5, 40 * step, 0.25, 2.0, loss, 3.0, 0.01, skipped, evaluation=EVALUATION, is_best=is_best)


# ---- text


def test_settings_are_formatted_as_flags():
    assert format_settings({"batch_size": 24, "time": 120.0, "weight_decay": 0.02}) == (
        "--batch-size 24 --time 2m --weight-decay 0.02"
    )


def test_losses_are_formatted_in_bits():
    assert format_bits({"a": math.log(2), "b": math.log(4)}) == "a 1.000, b 2.000"


def test_json_has_null_for_what_is_not_finite():
    assert json.loads(as_json({"a": math.inf, "b": math.nan, "c": 1.5})) == {"a": None, "b": None, "c": 1.5}
    assert json.loads(as_json({"a": [{"b": math.nan}, 1]})) == {"a": [{"b": None}, 1]}


def test_messages_are_escaped_line_by_line(capsys):
    say("a\x07\nb")
    assert capsys.readouterr().err == "a\\x07\nb\n"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_missing_or_closed_standard_error_is_ignored(stream, monkeypatch):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    say("nobody reads this")


# ---- progress


def test_evaluation_shows_both_losses_in_bits(capsys):
    Display(quiet=False).evaluation(report(), EVALUATION, 12_345, "one\ntwo")
    assert capsys.readouterr().err == (
        " 25%  step 10  epoch 0.50  training 2.885, validation 2.164 bits  12,345 chars/s  best\n    | one\n    | two\n"
    )


def test_evaluation_that_is_not_the_best_does_not_say_so(capsys):
    Display(quiet=False).evaluation(report(is_best=False), EVALUATION, 12_345, "")
    assert "best" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("losses", "baseline", "expected"),
    [
        ([], 0, ""),
        ([2.0], 0, ""),
        ([2.0, 2.0], 0, "▁▁"),
        ([2.0, 1.75, 1.5], 0, "█▅▁"),
        ([9.0, 1.6, 1.5, 1.4], 0, "█▃▂▁"),
        ([2.0, 1.75, 1.5], 1.6, "█▅|▁"),
        ([2.0, 1.75, 1.5], 1.75, "█▅|▁"),
        ([1.6, 1.5], 1.7, "█▁"),
    ],
)
def test_sparkline_shows_losses_and_where_they_pass_the_baseline(losses, baseline, expected):
    assert sparkline(losses, baseline) == expected


def test_sparkline_has_the_last_losses(capsys):
    assert len(sparkline(np.linspace(2, 1, 100).tolist())) == 20


def test_control_characters_of_a_sample_are_escaped(capsys):
    Display(quiet=False).evaluation(report(), EVALUATION, 12_345, "\x1b[31m")
    assert "    | \\x1b[31m\n" in capsys.readouterr().err


def test_quiet_display_shows_nothing(capsys):
    display = Display(quiet=True)
    display.say("a line")
    display.step(report(), 12_345)
    display.evaluation(report(), EVALUATION, 12_345, "a sample")
    display.close()
    assert capsys.readouterr() == ("", "")


def test_training_on_control_characters_does_not_print_them(here, tmp_path):
    (tmp_path / "esc.txt").write_text("\x1b[31m" * 300 + "\x07")
    done = here("train", "esc.txt", "--hidden-size", 12, "--steps", 3, "--evals", 1, "--threads", 1)
    assert done.returncode == 0
    assert "\\x1b" in done.stderr
    assert "\x1b" not in done.stderr


def test_overflowed_model_is_reported_without_its_overlap(capsys):
    run = begin(Config().replace(hidden_size=4))
    run.model.network.params["w_out"][...] = np.float32(3e38)
    run.model.network.params["layer0.w_x"][...] = 1
    assert run.dataset is not None
    conclude(Display(quiet=False), run, run.dataset, {})
    assert capsys.readouterr().err == ""  # no sample can be generated, and the validation text is short


# ---- spikes


def read_losses(*losses):
    spikes = SpikeDetector()
    for step, loss in enumerate(losses, 1):
        spikes.read(report(step, loss))
    return spikes


def test_losses_near_the_smoothed_loss_are_no_spikes():
    assert read_losses(3.0, 3.9, 2.0, 3.9).message() == ""


def test_spike_is_described():
    assert read_losses(3.0, 2.9, 4.5, 3.0).message() == (
        "1 loss spike, up to 6.49 bits at step 3, where the gradient norm was 3"
    )


def test_spikes_are_counted_and_the_highest_is_described():
    assert read_losses(3.0, 5.0, 6.0, 5.5).message() == (
        "3 loss spikes, up to 8.66 bits at step 3, where the gradient norm was 3"
    )


def test_spike_is_reported_once():
    spikes = read_losses(3.0, 5.0)
    assert spikes.message()
    assert spikes.message() == ""


def test_the_loss_of_a_skipped_update_is_no_spike():
    spikes = read_losses(3.0)
    spikes.read(report(2, 1000.0, skipped=True))
    assert spikes.message() == ""


# ---- logs


def test_log_is_appended_to(tmp_path):
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        log = Log(str(path))
        log.write(EVALUATION, 2.0, 200.0)
        log.close()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert (
        entries
        == [
            {
                "step": 10,
                "epoch": 0.5,
                "chars": 400,
                "elapsed_s": 2.0,
                "train_loss": 2.0,
                "val_loss": 1.5,
                "val_chars": 100,
                "val_bpc": pytest.approx(1.5 / math.log(2)),
                "learning_rate": 0.01,
                "chars_per_s": 200.0,
            }
        ]
        * 2
    )


def test_log_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"--log .*nowhere.log: No such file or directory"):
        Log(str(tmp_path / "nowhere" / "log"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_log_is_named():
    log = Log("/dev/full")
    with pytest.raises(CharlstmError, match="--log /dev/full: No space left on device; the run is saved"):
        log.write(EVALUATION, 2.0, 200.0)
    log.close()


def test_without_a_path_nothing_is_logged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = Log(None)
    log.write(EVALUATION, 2.0, 200.0)
    log.close()
    assert list(tmp_path.iterdir()) == []
