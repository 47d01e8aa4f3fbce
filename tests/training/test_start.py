"""`start` reads the corpus, chooses the settings that are not given, and names the argument at fault."""

import re

import numpy as np
import pytest
from helpers import ROOT, SMALL, TEXT, assert_same_run, begin

from charlstm import Config, corpus_from_text, load_config, read_corpus, start, train
from charlstm.config.settings import ADVISED
from charlstm.errors import CharlstmError, UsageError
from charlstm.training.advice import advise

KNOWN_SPEED = 300.0  # characters per second; low, so that the models stay small


def config_with_advice(text, **given):
    """Return the defaults with these settings, and the rest as advised for a machine of known speed."""
    dataset = corpus_from_text(text).split(given.get("val_fraction", 0.1))
    return Config().replace(**given, **advise(dataset, given, lambda *_: KNOWN_SPEED))


@pytest.fixture
def known_speed(monkeypatch):
    monkeypatch.setattr("charlstm.training.advice.measure_speed", lambda *_: KNOWN_SPEED)


@pytest.fixture
def unmeasured_speed(monkeypatch):
    monkeypatch.setattr("charlstm.training.advice.measure_speed", lambda *_: pytest.fail("the speed was measured"))


# ---- settings


@pytest.mark.parametrize(("text", "seconds"), [("2m", 120.0), ("90s", 90.0), ("10h", 36_000.0)])
def test_time_as_text_gets_the_advice_for_that_time(text, seconds, text_file, known_speed):
    assert start(text_file, time=text).config.replace(kernel="auto") == config_with_advice(TEXT, time=seconds)


def test_advice_depends_on_the_time(text_file, known_speed):
    short, long = (start(text_file, time=time).config.model for time in ("2m", "10h"))
    assert short.hidden_size < long.hidden_size


def test_run_without_a_limit_gets_the_advice_for_the_default_time(text_file, known_speed):
    config = start(text_file).config
    assert config.replace(kernel="auto") == config_with_advice(TEXT)
    assert config.train.time_s == 120


def test_speed_of_this_machine_is_measured_for_a_time_limit(text_file, monkeypatch):
    measured = []

    def record(config, dataset):
        measured.append(len(dataset.train_ids))
        return KNOWN_SPEED

    monkeypatch.setattr("charlstm.training.advice.measure_speed", record)
    run = start(text_file, time="2m")
    assert run.dataset is not None
    assert measured == [len(run.dataset.train_ids)]


@pytest.mark.parametrize("limit", [{"steps": 100}, {"epochs": 3.0}])
def test_speed_is_not_measured_for_steps_or_epochs(limit, text_file, unmeasured_speed):
    assert start(text_file, **limit).config.replace(kernel="auto") == config_with_advice(TEXT, **limit)


def test_given_settings_take_precedence_over_advice(text_file):
    config = start(text_file, steps=100, hidden_size=20, dropout=0.25).config
    assert config.replace(kernel="auto") == config_with_advice(TEXT, steps=100, hidden_size=20, dropout=0.25)
    assert (config.train.steps, config.model.hidden_size, config.model.dropout) == (100, 20, 0.25)


def test_settings_as_text_get_the_same_advice_as_their_values(text_file):
    config = start(text_file, steps="100", batch_size="8", hidden_size="20").config
    assert config.replace(kernel="auto") == config_with_advice(TEXT, steps=100, batch_size=8, hidden_size=20)


def test_setting_given_at_its_default_is_not_advised(text_file):
    defaults = {name: Config().values()[name] for name in ADVISED}
    assert start(text_file, steps=100, **defaults).config.replace(kernel="auto") == Config().replace(steps=100)


def test_configuration_is_used_without_advice(text_file, unmeasured_speed):
    assert start(text_file, SMALL).config.replace(kernel="auto") == SMALL


def test_settings_override_a_configuration(text_file):
    assert start(text_file, SMALL, steps=7).config.replace(kernel="auto") == SMALL.replace(steps=7)


def test_preset_is_used_without_advice(text_file, unmeasured_speed):
    assert start(text_file, "classic", time="2m").config.replace(kernel="auto") == load_config("classic").replace(
        time=120.0
    )


def test_configuration_file_is_used_without_advice(text_file, tmp_path, unmeasured_speed):
    path = tmp_path / "my.yaml"
    path.write_text("model:\n  hidden_size: 33\n")
    assert start(text_file, str(path)).config.replace(kernel="auto") == Config().replace(hidden_size=33)


# ---- the corpus


def test_several_files_are_read_in_order(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text("The end. " * 10)
    paths = [tmp_path / "a.txt", str(tmp_path / "b.txt")]
    run = start(paths, SMALL)
    assert run.fingerprint == read_corpus(paths).fingerprint == corpus_from_text(TEXT + "The end. " * 10).fingerprint


def test_files_may_come_from_a_generator(text_file):
    run = start((path for path in [text_file, text_file]), SMALL)
    assert run.fingerprint == corpus_from_text(TEXT * 2).fingerprint


def test_bundled_corpus_is_read_by_name():
    run = start("@tweets", "tiny")
    assert run.fingerprint == read_corpus(ROOT / "data" / "tweets.txt").fingerprint


def test_file_is_read_in_the_given_encoding(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("café ".encode("latin-1") * 20)
    assert "é" in start(path, SMALL, encoding="latin-1").model.vocab.characters


@pytest.mark.parametrize("convert", [corpus_from_text, lambda text: corpus_from_text(text).split(0.1)])
def test_corpus_or_dataset_starts_the_same_run_as_its_file(convert, text_file):
    assert_same_run(start(convert(TEXT), SMALL), start(text_file, SMALL))


def test_val_fraction_splits_the_corpus(text_file):
    dataset = start(text_file, SMALL, val_fraction=0.25).dataset
    assert dataset is not None
    assert len(dataset.val_ids) == len(TEXT) // 4


def test_dataset_keeps_its_split():
    dataset = corpus_from_text(TEXT).split(0.2)
    run = start(dataset, SMALL)
    assert run.dataset is dataset
    assert run.config.replace(kernel="auto") == SMALL.replace(val_fraction=0.2)


def test_run_is_ready_for_training(text_file):
    run = start(text_file, SMALL, steps=5)
    reports = list(train(run))
    expected = list(train(begin(SMALL.replace(steps=5), TEXT)))
    np.testing.assert_array_equal([report.loss for report in reports], [report.loss for report in expected])


# ---- errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 0}, r"hidden_size: .*integer from 1"),
        ({"hidden_size": "many"}, r"hidden_size: .*integer from 1"),
        ({"time": "soon"}, r"time: .*soon"),
        ({"encoding": "klingon"}, r"encoding: .*klingon"),
        ({"val_fraction": 0.9}, r"val_fraction: .*0\.5"),
        ({"hiden_size": 20}, r"unknown setting 'hiden_size'.*hidden_size"),
        ({"steps": 10, "epochs": 1.0}, r"steps, epochs and time are mutually exclusive"),
    ],
)
def test_error_names_the_argument(settings, message, text_file):
    with pytest.raises(UsageError, match=message):
        start(text_file, **settings)


def test_val_fraction_other_than_the_dataset_s_is_refused():
    with pytest.raises(UsageError, match=r"^val_fraction: the dataset was made with 0\.2$"):
        start(corpus_from_text(TEXT).split(0.2), SMALL, val_fraction=0.1)


def test_rare_characters_are_merged_in_the_whole_corpus_before_it_is_split():
    text = "é" + "ab\n" * 40 + "é"  # once in each part
    run = start(corpus_from_text(text), SMALL, min_count=3)
    assert run.dataset is not None
    assert run.model.vocab.characters == "\nab\ufffd"
    assert run.dataset.train_ids[0] == run.dataset.val_ids[-1] == run.model.vocab.unknown_id


def test_merged_corpus_keeps_its_min_count():
    corpus = corpus_from_text(TEXT + "☃").merge_rare(5)
    assert start(corpus, SMALL).config.data.min_count == 5
    assert start(corpus.split(0.2), SMALL).config.replace(kernel="auto") == SMALL.replace(min_count=5, val_fraction=0.2)
    with pytest.raises(UsageError, match=r"^min_count: the corpus was made with 5$"):
        start(corpus, SMALL, min_count=3)


def test_normalised_corpus_keeps_its_form(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT + "cafe\u0301", encoding="utf-8")
    run = start(read_corpus(path, normalize="NFC"), SMALL)
    assert run.config.data.normalize == "NFC"
    assert_same_run(run, start(path, SMALL, normalize="NFC"))
    with pytest.raises(CharlstmError, match="read it with normalize NFC, or use --force"):
        run.use_corpus(read_corpus(path))
    with pytest.raises(UsageError, match=r"^normalize: the corpus was made with none$"):
        start(read_corpus(path), SMALL, normalize="NFC")


def test_min_count_that_leaves_fewer_than_two_characters_is_refused():
    with pytest.raises(CharlstmError, match=r"fewer than two characters in the corpus occur 1,000 times or more; "):
        start(corpus_from_text("ab" * 50), SMALL, min_count=1000)


def test_val_fraction_equal_to_the_dataset_s_is_accepted():
    assert start(corpus_from_text(TEXT).split(0.2), SMALL, val_fraction=0.2).config.data.val_fraction == 0.2


def test_unknown_preset_is_refused_with_the_known_ones(text_file):
    with pytest.raises(UsageError, match=r"large is neither a file nor a preset; the presets are .*tiny"):
        start(text_file, "large")


def test_missing_file_is_named(tmp_path):
    missing = tmp_path / "missing.txt"
    with pytest.raises(UsageError, match=f"{re.escape(str(missing))}: No such file"):
        start(missing, SMALL)


def test_corpus_of_one_distinct_character_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("aaaa")
    with pytest.raises(CharlstmError, match="only one distinct character"):
        start(path, time="2m")


def test_val_fraction_as_text_equal_to_the_dataset_s_is_accepted():
    dataset = corpus_from_text(TEXT).split(0.2)
    assert start(dataset, SMALL, val_fraction="0.2").config.data.val_fraction == 0.2


def test_configuration_may_be_a_path(text_file, tmp_path):
    (tmp_path / "my.yaml").write_text("model:\n  hidden_size: 9\n")
    assert start(text_file, tmp_path / "my.yaml").config.model.hidden_size == 9


def test_empty_corpus_is_called_empty():
    with pytest.raises(CharlstmError, match="the corpus is empty"):
        start(corpus_from_text(""), SMALL)
