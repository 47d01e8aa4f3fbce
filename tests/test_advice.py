"""What is said about a run and about a text."""

import dataclasses
import re

import pytest

from charlstm import Config, corpus_from_text, save, start
from charlstm.advice import advised, file_bytes, measured_speed, memory_bytes, repeated_lines, verdict
from charlstm.config import ADVISED


def run_with(losses, **settings):
    """A run whose evaluations gave these training and validation losses."""
    run = start(Config().replace(hidden_size=4, **settings), corpus_from_text("abc" * 100))
    for k, (train_loss, val_loss) in enumerate(losses, 1):
        entry = {"step": k * 10, "epoch": 0.1 * k, "chars": k * 100, "train_loss": train_loss, "val_loss": val_loss}
        run.history.append(entry | {"learning_rate": 0.1})
    run.best = {"step": 10, "val_loss": 1.0}
    return run


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (
            [(2.0, 2.1), (1.5, 1.6), (1.2, 1.7)],
            r"20 of 30.*1\.500.*1\.600.*risen by 0\.100.*by heart.*more --dropconnect or --dropout",
        ),
        ([(2.0, 2.1), (1.6, 1.61)], r"20 of 20.*close.*larger model"),
        ([(2.0, 2.1), (1.2, 1.6)], r"20 of 20.*still falling"),
        ([(1.2, 1.6), (1.2, 1.601)], r"10 of 20.*falls no more"),
        ([(2.0, 2.1), (3.0, 3.1)], r"10 of 20.*both have risen.*lower --learning-rate"),
    ],
)
def test_a_verdict_names_what_it_rests_on_and_what_would_help(losses, expected):
    assert re.search(expected, verdict(run_with(losses)))


def test_with_much_dropout_more_of_it_is_no_advice():
    for silenced in ("dropout", "dropconnect"):
        words = verdict(run_with([(1.5, 1.6), (1.2, 1.7)], **{silenced: 0.5}))
        assert "by heart" in words
        assert "(with dropout)" in words
        assert "more --drop" not in words


@pytest.mark.parametrize("losses", [[], [(1.0, None)], [(None, 1.0)]])
def test_there_is_no_verdict_without_losses(losses):
    assert verdict(run_with(losses)) == ""
    assert verdict(run_with([(1.2, 1.6)])) == ""  # nor with one, of which nobody can say where it goes
    assert verdict(dataclasses.replace(run_with([(1.0, 1.0)] * 2), best=None)) == ""


# ---- what suits a text

TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}.\n" for n in range(400))


def never(config, corpus):
    pytest.fail("the speed was measured")


def test_more_time_gets_a_larger_model_and_a_lower_rate():
    corpus = corpus_from_text(TEXT)
    advice = [advised(corpus, {"time": float(minutes * 60)}, lambda *_: 50_000.0) for minutes in (1, 20, 600)]
    for name, descends in (("hidden_size", False), ("learning_rate", True)):
        values = [settings[name] for settings in advice]
        assert values == sorted(values, reverse=descends)
        assert values[0] != values[-1]


def test_a_text_that_is_read_often_gets_more_regularisation():
    long, short = corpus_from_text(TEXT * 200), corpus_from_text(TEXT)
    of_long, of_short = (advised(corpus, {"time": 60.0}, lambda *_: 50_000.0) for corpus in (long, short))
    assert of_long["dropout"] <= of_short["dropout"] > 0
    assert of_long["dropconnect"] < of_short["dropconnect"]
    assert of_long["weight_decay"] < of_short["weight_decay"]


def test_what_is_given_stands():
    given = {"time": 60.0, "hidden_size": 100, "dropout": 0.1}
    advice = advised(corpus_from_text(TEXT), given, lambda *_: 50_000.0)
    assert not advice.keys() & given.keys()
    assert advice.keys() | given.keys() == {*ADVISED, "time"}
    Config().replace(**given, **advice)


@pytest.mark.parametrize("limit", [{"steps": 100}, {"epochs": 3.0}])
def test_an_exact_run_gets_advice_that_does_not_depend_on_the_clock(limit):
    assert advised(corpus_from_text(TEXT), limit, never) == advised(corpus_from_text(TEXT), limit, never)


def test_steps_count_the_windows_that_are_advised_or_given():
    corpus = corpus_from_text(TEXT * 40)  # some 350,000 characters
    few, many = (advised(corpus, {"steps": 1000, "batch_size": B, "seq_len": 50}, never) for B in (2, 200))
    assert many["dropconnect"] > few["dropconnect"]
    wide, narrow = (advised(corpus, {"steps": 700, "hidden_size": H}, never) for H in (512, 256))
    assert wide["batch_size"] * wide["seq_len"] > narrow["batch_size"] * narrow["seq_len"]
    assert wide["dropconnect"] > narrow["dropconnect"]  # since as many larger windows read more


def test_sgd_gets_a_rate_of_its_own_and_more_layers_are_measured():
    corpus, measured = corpus_from_text(TEXT), []

    def speed(config, _):
        measured.append(config.model.num_layers)
        return 10_000.0

    plain, with_momentum = (
        advised(corpus, {"time": 60.0, "optimizer": "sgd", "momentum": m}, speed) for m in (0.0, 0.9)
    )
    assert plain["learning_rate"] == pytest.approx(10 * with_momentum["learning_rate"])
    assert with_momentum["learning_rate"] > advised(corpus, {"time": 60.0, "num_layers": 3}, speed)["learning_rate"]
    assert measured == [1, 1, 3]


def test_the_measured_speed_is_that_of_training():
    corpus = corpus_from_text(TEXT)
    slow, fast = (Config().replace(hidden_size=H, threads=1) for H in (256, 16))
    assert 0 < measured_speed(slow, corpus) < measured_speed(fast, corpus)


def test_the_size_of_the_file_is_foreseen(trained, tmp_path):
    save(trained, tmp_path / "model.npz")
    foreseen = file_bytes(trained.config, len(trained.vocab))
    assert foreseen == pytest.approx((tmp_path / "model.npz").stat().st_size, rel=0.5)


@pytest.mark.parametrize(("size", "measured"), [((256, 16, 48), 165e6), ((640, 32, 64), 291e6)])
def test_the_memory_of_a_run_is_foreseen(size, measured, monkeypatch):
    """Measured with two processes on tiny shakespeare: what they have in common is counted once (PSS)."""
    monkeypatch.setattr("charlstm.advice.available_cores", lambda: 2)
    H, B, T = size
    corpus = corpus_from_text(TEXT * 120)  # 1.1 million characters, as there
    config = Config().replace(hidden_size=H, batch_size=B, seq_len=T)
    assert memory_bytes(config, corpus) == pytest.approx(measured, rel=0.1)


def test_repeated_lines_are_counted():
    assert repeated_lines(corpus_from_text("a\nb\na\n\n\nc\na\n")) == pytest.approx(2 / 5)
    assert repeated_lines(corpus_from_text("\n\n")) == 0
