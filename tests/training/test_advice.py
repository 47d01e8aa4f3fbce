"""Settings advised for a corpus and a time limit, the predicted cost of a run, and its assessment."""

import math
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from helpers import SMALL, TEXT, begin

from charlstm import Config, Dataset, Evaluation, Run, corpus_from_text, load, read_corpus
from charlstm.config.settings import ADVISED
from charlstm.training.advice import (
    advise,
    assess,
    file_bytes,
    measure_speed,
    memory_bytes,
    repeated_line_fraction,
    suggest_data_settings,
    unfinished_file_bytes,
)


def dataset_of(text: str) -> Dataset:
    return corpus_from_text(text).split(0.1)


def constant_speed(config: Config, dataset: Dataset) -> float:
    return 50_000.0


def random_text(length: int) -> str:
    return "".join(random.Random(1).choices("etaoin shrdlu\n", k=length))


def must_not_be_measured(config: Config, dataset: Dataset) -> float:
    pytest.fail("the speed was measured")


# ---- advice


@pytest.mark.parametrize(("name", "falls"), [("hidden_size", False), ("learning_rate", True)])
def test_more_time_gets_a_larger_model_and_a_lower_rate(name, falls):
    dataset = dataset_of(TEXT)
    values = [advise(dataset, {"time": minutes * 60.0}, constant_speed)[name] for minutes in (1, 20, 600)]
    assert values == sorted(values, reverse=falls)
    assert values[0] != values[-1]


@pytest.mark.parametrize("layers", [2, 3])
def test_several_layers_get_the_rate_of_one_divided_by_their_number(layers):
    one, several = (advise(dataset_of(TEXT), {"steps": 100, "num_layers": n})["learning_rate"] for n in (1, layers))
    assert several == pytest.approx(one / layers, rel=0.01)


def test_corpus_read_more_often_gets_more_regularization():
    of_long, of_short = (advise(dataset_of(text), {"time": 60.0}, constant_speed) for text in (TEXT * 200, TEXT))
    assert of_long["dropconnect"] < of_short["dropconnect"]


def test_corpus_that_repeats_itself_gets_less_dropconnect():
    varied = random_text(9_000)
    of_varied, of_repeating = (
        advise(dataset_of(text), {"epochs": 20.0, "hidden_size": 64}) for text in (varied, varied[:2_250] * 4)
    )
    assert of_varied["dropconnect"] > 0.3
    assert of_repeating["dropconnect"] < 0.1 * of_varied["dropconnect"]


@pytest.mark.parametrize(
    ("text", "rate", "dropconnect"),
    [("English", pytest.approx(0.2, rel=0.5), 0.5), ("żółć gęślą jaźń\n" * 200, pytest.approx(0.5, rel=0.01), 0)],
)
def test_pretrained_weights_get_a_lower_rate_and_less_dropconnect(text, rate, dropconnect):
    dataset = dataset_of(read_corpus("@tweets").text if text == "English" else text)
    given = {"epochs": 12, "hidden_size": 512, "num_layers": 1}
    fresh, pretrained = advise(dataset, given), advise(dataset, given, base=load("@english"))
    assert pretrained["dropconnect"] == pytest.approx(dropconnect * fresh["dropconnect"], abs=0.001)
    assert pretrained["learning_rate"] / fresh["learning_rate"] == rate


def test_pretrained_weights_get_a_lower_rate_in_longer_runs():
    dataset, base, size = read_corpus("@tweets").split(0.1), load("@english"), {"hidden_size": 512, "num_layers": 1}
    rates = [advise(dataset, size | {"epochs": n}, base=base)["learning_rate"] for n in (0.1, 4.0, 12.0, 100.0, 1e9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == advise(dataset, size | {"epochs": 0.1})["learning_rate"] > 10 * rates[-1] > 0


def test_short_corpus_gets_windows_that_fit():
    advice = advise(dataset_of(TEXT[:200]), {"steps": 10})
    assert (advice["batch_size"], advice["seq_len"]) == (4, 22)
    assert 2 * advise(dataset_of(TEXT[:200]), {"steps": 10, "batch_size": 2})["seq_len"] < 180


def test_given_settings_are_not_advised():
    given = {"time": 60.0, "hidden_size": 100, "dropout": 0.1}
    advice = advise(dataset_of(TEXT), given, constant_speed)
    assert advice.keys() == set(ADVISED) - given.keys()


def test_given_and_advised_settings_are_valid_together():
    given: dict[str, Any] = {"time": 60.0, "hidden_size": 100, "dropout": 0.1}
    advice = advise(dataset_of(TEXT), given, constant_speed)
    values = Config().replace(**given, **advice).values()
    assert values.items() >= (given | advice).items()


def test_rate_of_momentum_near_one_is_not_rounded_to_zero():
    given = {"steps": 100, "optimizer": "sgd", "momentum": 0.99999}
    assert advise(dataset_of(TEXT), given)["learning_rate"] == pytest.approx(1e-5 * 30, rel=0.99)


@pytest.mark.parametrize("limit", [{"steps": 100}, {"epochs": 3.0}])
def test_advice_for_steps_or_epochs_does_not_depend_on_the_speed(limit):
    dataset = dataset_of(TEXT)
    assert advise(dataset, limit, must_not_be_measured) == advise(dataset, limit, must_not_be_measured)


def test_larger_given_windows_get_more_regularization_for_the_same_steps():
    dataset = dataset_of(random_text(350_000))
    few, many = (
        advise(dataset, {"steps": 1000, "batch_size": B, "seq_len": 50}, must_not_be_measured) for B in (2, 200)
    )
    assert many["dropconnect"] > few["dropconnect"]


def test_larger_advised_windows_get_more_regularization_for_the_same_steps():
    dataset = dataset_of(random_text(350_000))
    wide, narrow = (advise(dataset, {"steps": 700, "hidden_size": H}, must_not_be_measured) for H in (512, 256))
    assert wide["batch_size"] * wide["seq_len"] > narrow["batch_size"] * narrow["seq_len"]
    assert wide["dropconnect"] > narrow["dropconnect"]


def test_sgd_gets_a_higher_rate_which_momentum_divides():
    dataset = dataset_of(TEXT)
    plain, with_momentum = (
        advise(dataset, {"time": 60.0, "optimizer": "sgd", "momentum": m}, constant_speed) for m in (0.0, 0.9)
    )
    assert plain["learning_rate"] == pytest.approx(10 * with_momentum["learning_rate"])
    assert with_momentum["learning_rate"] > advise(dataset, {"time": 60.0}, constant_speed)["learning_rate"]


@pytest.mark.parametrize("limit", [{"steps": 100}, {"epochs": 3.0}, {"time": 60.0}])
def test_ranks_get_as_many_streams_as_one_alone_and_a_rate_for_their_batch(limit):
    dataset = dataset_of(TEXT * 40)
    given = {**limit, "hidden_size": 128}
    alone, together = (advise(dataset, given, constant_speed, ranks) for ranks in (1, 4))
    assert together["batch_size"] == 4 * alone["batch_size"]
    assert together["learning_rate"] == pytest.approx(2 * alone["learning_rate"])
    assert together["seq_len"] == alone["seq_len"]


def test_ranks_read_more_in_the_same_time():
    alone, together = (advise(dataset_of(TEXT * 40), {"time": 60.0}, constant_speed, ranks) for ranks in (1, 8))
    assert together["hidden_size"] > alone["hidden_size"]


def test_given_batch_keeps_its_rate_on_several_ranks():
    dataset = dataset_of(TEXT * 40)
    alone, together = (advise(dataset, {"steps": 100, "batch_size": 32}, ranks=ranks) for ranks in (1, 4))
    assert together == alone


@pytest.mark.parametrize(("given", "layers"), [({}, 1), ({"num_layers": 3}, 3)])
def test_speed_is_measured_once_with_the_given_layers(given, layers):
    measured = []

    def record(config, _):
        measured.append(config.model.num_layers)
        return 10_000.0

    advise(dataset_of(TEXT), {"time": 60.0, **given}, record)
    assert measured == [layers]


def test_measured_speed_is_lower_for_a_larger_model():
    dataset = dataset_of(TEXT)
    slow, fast = (Config().replace(hidden_size=H, threads=1) for H in (192, 8))
    assert 0 < measure_speed(slow, dataset) < measure_speed(fast, dataset)


@pytest.mark.parametrize("epochs", [1.3, 1.5, 2.0, 2.7, 2.9, 4.0, 6.2, 6.4, 17.0, 40.0, 150.0])
def test_advice_does_not_jump_with_the_length_of_the_run(epochs):
    dataset = dataset_of(TEXT)
    before, after = (advise(dataset, {"epochs": epochs * change}, must_not_be_measured) for change in (0.995, 1.005))
    for name in ("learning_rate", "dropconnect", "dropout", "weight_decay"):
        assert after[name] == pytest.approx(before[name], rel=0.05, abs=0.005)


@pytest.mark.parametrize("size", [64, 200, 1024])
def test_rate_falls_with_the_width_given(size):
    wide, narrow = (
        advise(dataset_of(TEXT), {"epochs": 10.0, "hidden_size": H}, must_not_be_measured)["learning_rate"]
        for H in (size * 11 // 10, size)
    )
    assert 0.9 * narrow < wide < narrow


# ---- cost


def test_predicted_file_size_is_about_right(trained, tmp_path):
    trained.save(tmp_path / "model.npz")
    predicted = file_bytes(trained.config, len(trained.model.vocab))
    assert predicted == pytest.approx((tmp_path / "model.npz").stat().st_size, rel=0.5)


@pytest.mark.parametrize("settings", [{}, {"optimizer": "sgd"}, {"optimizer": "rmsprop", "ema_decay": 0.9}], ids=str)
def test_predicted_size_of_an_unfinished_file_is_about_right(settings, tmp_path):
    run = begin(Config().replace(hidden_size=64, **settings))
    assert run.dataset is not None
    run.save(tmp_path / "model.npz")
    predicted = unfinished_file_bytes(run.config, run.dataset)
    assert predicted == pytest.approx((tmp_path / "model.npz").stat().st_size, rel=0.1)


def test_predicted_memory_is_that_of_the_windows_that_fit_the_corpus():
    fitting, too_long = (Config().replace(batch_size=B, seq_len=B) for B in (90, 60_000))
    dataset = dataset_of(TEXT)
    assert memory_bytes(too_long, dataset) < 1.1 * memory_bytes(fitting, dataset)


@pytest.mark.parametrize(("size", "measured"), [((256, 16, 48), 165e6), ((640, 32, 64), 291e6)])
def test_predicted_memory_is_within_a_tenth(size, measured, monkeypatch):
    """Measured with two processes on tiny shakespeare, counting shared memory once (PSS)."""
    monkeypatch.setattr("charlstm.training.advice.available_cores", lambda: 2)
    H, B, T = size
    dataset = dataset_of(TEXT * 120)  # 1.1 million characters, like tiny shakespeare
    config = Config().replace(hidden_size=H, batch_size=B, seq_len=T)
    assert memory_bytes(config, dataset) == pytest.approx(measured, rel=0.1)


# ---- repeated lines


def test_repeated_lines_are_counted_without_blank_ones():
    assert repeated_line_fraction(corpus_from_text("a\nb\na\n\n\nc\na\n")) == pytest.approx(2 / 5)


def test_min_count_is_suggested_where_rare_characters_own_most_weights():
    dataset = dataset_of("ab" * 20 + "".join(map(chr, range(0x4E00, 0x4E00 + 300))))
    (suggestion,) = suggest_data_settings(SMALL, dataset)
    share = 300 * (5 * 12 + 1) / (302 * (5 * 12 + 1) + 4 * 12 * 12 + 4 * 12)
    assert suggestion == (
        f"300 of the 302 distinct characters occur fewer than 10 times and account for {share:.0%} of the model's weights; "
        "try --min-count 10"
    )


@pytest.mark.parametrize("text", [TEXT + "☃é", "ab" * 20 + "".join(map(chr, range(0x4E00, 0x4E00 + 9))), "abc☃é", ""])
def test_min_count_is_not_suggested_otherwise(text):
    assert suggest_data_settings(SMALL, dataset_of(text)) == []


def test_min_count_is_not_suggested_again():
    corpus = corpus_from_text("ab" * 20 + "".join(map(chr, range(0x4E00, 0x4E00 + 300))))
    assert suggest_data_settings(SMALL.replace(hidden_size=1), corpus.merge_rare(10).split(0.1)) == []


def test_normalisation_is_suggested_for_mixed_forms_only():
    dataset = dataset_of("éue\u0301" * 20 + TEXT)
    (suggestion,) = suggest_data_settings(SMALL, dataset)
    assert suggestion.startswith("The corpus has both 'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE and '\u0301' U+0301 ")
    assert suggestion.endswith(": it mixes Unicode forms; try --normalize NFC")
    assert suggest_data_settings(SMALL.replace(normalize="NFC"), dataset) == []


def test_normalisation_is_not_suggested_where_it_would_change_nothing():
    assert (
        suggest_data_settings(SMALL, dataset_of("éu\u0430\u0301" * 20 + TEXT)) == []
    )  # an accent on a Cyrillic letter


def test_blank_text_has_no_repeated_lines():
    assert repeated_line_fraction(corpus_from_text("\n\n")) == 0


# ---- assessment


BITS = math.log(2)


def run_with(losses: list[tuple[float | None, float | None]], epochs: float = 2, **settings: float) -> Run:
    """Return a run over some epochs whose evaluations had these training and validation losses, in bits."""
    run = begin(Config().replace(hidden_size=4, **settings), "abc" * 100)
    run.history = [
        Evaluation(
            step=10 * k,
            epoch=epochs * k / len(losses),
            chars=100 * k,
            train_loss=train_loss and train_loss * BITS,
            val_loss=val_loss and val_loss * BITS,
            learning_rate=0.1,
        )
        for k, (train_loss, val_loss) in enumerate(losses, 1)
    ]
    run.best = min(
        (entry for entry in run.history if entry.val_loss), key=lambda entry: entry.val_loss or 0, default=None
    )
    return run


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (
            [(2.0, 2.1), (1.5, 1.6), (1.2, 1.7)],
            r"Best at step 20 of 30: training loss 1\.500, validation loss 1\.600 bits per character\. "
            r"Since then, the validation loss has risen by 0\.100 bits: the model is overfitting\. Try more dropconnect or dropout, a smaller model",
        ),
        (
            [(2.0, 2.1), (1.6, 1.61), (1.6, 1.609)],
            r"30 of 30.* close: the model is not overfitting\. Try a larger model",
        ),
        ([(2.0, 2.1), (1.2, 1.6)], r"20 of 20.* was still falling\. Train longer$"),
        ([(1.2, 1.6), (1.2, 1.601)], r"10 of 20.* has stopped falling\. Try more text, or train longer"),
        (
            [(2.0, 2.1), (3.0, 3.1)],
            r"10 of 20.* Since then, both have risen: training diverged\. Try a lower learning rate",
        ),
        ([(1.2, 1.6)], r"10 of 10.* has levelled off\. Try more text, or train longer"),
    ],
)
def test_assessment_gives_the_losses_and_what_to_try(losses, expected):
    assert re.search(expected, assess(run_with(losses), {}))


@pytest.mark.parametrize("last", [2.095, 2.4])
def test_run_of_less_than_an_epoch_is_only_advised_to_train_longer(last):
    baselines = {"frequencies": 4 * BITS, "6-gram": 1.5 * BITS}
    assessment = assess(run_with([(2.0, 2.1), (1.9, last)], epochs=0.13), baselines)
    assert assessment.endswith("The run has read only 13% of the training text. Train longer")


def test_validation_loss_alone_above_guessing_is_not_divergence():
    assessment = assess(run_with([(6.0, 8.0), (4.0, 7.5)]), {"uniform": 7 * BITS})
    assert assessment.endswith("worse than guessing: the end of the corpus, used for validation, differs from the rest")


def test_loss_above_guessing_is_divergence():
    assessment = assess(run_with([(7.0, 7.4), (7.1, 8.0)]), {"uniform": 7 * BITS})
    assert "diverged" in assessment
    assert "overfitting" not in assessment
    assessment = assess(run_with([(9.2, 7.4), (7.1, 7.41)]), {"uniform": 7 * BITS})
    assert assessment.endswith("That is worse than guessing: training diverged. Try a lower learning rate")


def test_overfitting_run_behind_the_ngrams_is_not_advised_to_train_longer():
    run = run_with([(1.8, 1.8), (1.6, 1.7), (1.3, 1.702)])
    baselines = {"frequencies": 4 * BITS, "6-gram": 1.5 * BITS}
    assert assess(run, baselines).endswith("A 6-gram model does better (1.500). Try more text, or --init-from")


def test_loss_of_guessing_is_named_before_anything_else():
    assessment = assess(run_with([(5.0, 5.0), (5.0, 4.99)], epochs=0.1), {"uniform": 5 * BITS})
    assert assessment.endswith("That is hardly better than guessing. Train longer, or try a lower learning rate")


def test_kinds_of_dropout_are_named():
    run = run_with([(2.0, 2.1), (1.9, 2.0)])
    assert "training loss 1.900, " in assess(run, {})
    run.config = run.config.replace(dropconnect=0.2)
    assert "training loss 1.900 (with dropconnect), " in assess(run, {})
    run.config = run.config.replace(dropout=0.1)
    assert "training loss 1.900 (with dropout and dropconnect), " in assess(run, {})


def test_loss_of_the_character_frequencies_is_named():
    assessment = assess(run_with([(3.34, 3.32)], epochs=1), {"frequencies": 3.35 * BITS})
    message = "That is hardly better than character frequencies. Train longer, or try a lower learning rate"
    assert assessment.endswith(message)


def test_rise_within_the_noise_of_a_short_evaluation_is_not_overfitting():
    run = run_with([(1.6, 1.7), (1.5, 1.74)])
    assert "overfitting" in assess(run, {})
    run.history = [replace(entry, val_chars=2000) for entry in run.history]
    assert "overfitting" not in assess(run, {})


def test_loss_above_that_of_the_ngrams_is_named():
    run = run_with([(1.6, 1.7), (1.6, 1.7)])
    baselines = {"frequencies": 4 * BITS, "6-gram": 1.5 * BITS}
    assert assess(run, baselines).endswith("A 6-gram model does better (1.500). Train longer, or try a larger model")
    assert "6-gram" not in assess(run, baselines | {"6-gram": 1.8 * BITS})


@pytest.mark.parametrize("kind", ["dropout", "dropconnect"])
def test_more_dropout_is_not_suggested_where_there_is_much(kind):
    assessment = assess(run_with([(1.5, 1.6), (1.2, 1.7)], **{kind: 0.5}), {})
    assert "overfitting. Try a smaller model" in assessment
    assert f"(with {kind})" in assessment


@pytest.mark.parametrize("losses", [[], [(1.0, None)], [(None, 1.0)]])
def test_run_without_evaluations_is_not_assessed(losses):
    assert assess(run_with(losses), {}) == ""


def test_run_without_a_best_evaluation_is_not_assessed():
    run = run_with([(1.0, 1.0)] * 2)
    run.best = None
    assert assess(run, {}) == ""
