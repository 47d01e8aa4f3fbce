"""Texts of a model trained on documents: they begin and end as documents do, and are scored with their ends."""

import math
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, TEXT, train_fully

from charlstm import CharlstmError, LanguageModel, Run, SamplingParams, UsageError, corpus_from_text
from charlstm.sampling.beam import beam_search
from charlstm.sampling.generate import StopDetector

LINES = corpus_from_text("".join(f"the {n % 7} cats\nno dogs\n" for n in range(200)), "line")


@pytest.fixture(scope="module")
def run() -> Run:
    config = SMALL.replace(hidden_size=24, steps=200, documents="line", learning_rate=0.02, eval_chars=100)
    return train_fully(config, LINES)[0]


@pytest.fixture(scope="module")
def model(run: Run) -> LanguageModel:
    return run.model


def is_whole(text: str) -> bool:
    return text == "no dogs" or (text.startswith("the ") and text.endswith(" cats"))


def generate_all(model: LanguageModel, prime: str = "", count: int = 20, **params: Any) -> list[Any]:
    sampler = model.sampler(SamplingParams(**params))
    return sampler.generate_batch(model.read(prime), [np.random.default_rng(n) for n in range(count)])


def test_texts_are_whole_documents(model):
    samples = generate_all(model)
    assert sum(is_whole(sample.text) for sample in samples) >= 17
    assert all(sample.stopped for sample in samples)
    assert len({sample.text for sample in samples}) > 3


def test_stream_and_batch_give_the_same_document(model):
    for seed, sample in enumerate(generate_all(model, count=4)):
        assert model.generate(seed=seed) == sample.text


def test_prime_begins_a_document(model):
    for sample in generate_all(model, "no"):
        assert sample.text == " dogs"


def test_length_is_an_upper_limit(model):
    for limited, free in zip(generate_all(model, length=4), generate_all(model), strict=True):
        assert limited.text == free.text[:4]
        assert not limited.stopped


def test_boundary_counts_in_the_probability_of_a_text(model):
    sample = generate_all(model, count=1)[0]
    assert sample.chars == len(sample.text) + 1
    expected = model.score(sample.text, exact=True)
    assert sample.log_probability == pytest.approx(-np.sum(expected.losses), rel=1e-4)


def test_beam_search_finds_a_whole_document(model):
    best = beam_search(model.sampler(SamplingParams()), model.read(), 4)
    assert is_whole(best.text)
    assert best.stopped


def test_stop_string_at_the_end_of_a_document_is_kept_unless_complete(model):
    whole = [sample.text for sample in generate_all(model)]
    assert [sample.text for sample in generate_all(model, stop=("so",))] == whole
    assert {sample.text for sample in generate_all(model, "no", stop=("gs",))} == {" do"}


def test_pattern_is_matched_whatever_the_model_would_end(model):
    for sample in generate_all(model, pattern="no [dogs]{9,12}", length=20):
        assert 12 <= len(sample.text) <= 15


def test_document_may_end_where_one_of_the_corpus_does(model):
    sampler = model.sampler(SamplingParams(no_copy=5), corpus_from_text("no dogs\n", "line"))
    logits = np.zeros((1, len(model.vocab)))
    constraints, _ = sampler.constrain(model.read("no dogs").ids, 1)
    for constraint in constraints:
        constraint.mask_logits(logits)
    assert np.isfinite(logits).all()
    constraints, _ = sampler.constrain(model.read("no d").ids, 1)
    constraints[0].mask_logits(logits)
    assert np.flatnonzero(np.isneginf(logits[0])).tolist() == model.vocab.encode("o").tolist()


def test_detector_tells_a_boundary_from_a_stop_string():
    for symbols, at_boundary in ((["a", ""], True), (["a", "b"], False)):
        detector = StopDetector(SamplingParams(stop=("b",), documents=True))
        assert "".join(map(detector.feed, symbols)) == "a"
        assert (detector.stopped, detector.at_boundary) == (True, at_boundary)


# ---- scores


def test_score_is_the_mean_over_characters_and_boundaries(model):
    corpus = corpus_from_text("no dogs\nthe 3 cats\n", "line")
    score = model.score(corpus, exact=True)
    alone = [model.score(text) for text in ("no dogs", "the 3 cats")]
    assert score.text == "no dogs\nthe 3 cats\n"
    assert score.chars == len(score.text)
    np.testing.assert_allclose(score.losses, np.concatenate([each.losses for each in alone]), rtol=1e-5)
    assert [piece.text for piece in model.score_documents(corpus)] == ["no dogs\n", "the 3 cats\n"]
    assert score.document_lengths == [8, 11]


def test_unknown_characters_of_documents_are_skipped(model):
    score = model.score("no ☃dogs")
    assert score.unknown_chars == 1
    assert np.isnan(score.losses).tolist() == [character == "☃" for character in "no ☃dogs\n"]
    assert math.isclose(score.nats_per_char, model.score("no dogs").nats_per_char, rel_tol=1e-5)


def test_empty_document_cannot_be_scored(model):
    with pytest.raises(CharlstmError, match="need at least 1 known character to score, got 0"):
        model.score("")


def test_model_of_one_text_takes_no_documents(trained):
    with pytest.raises(CharlstmError, match="trained without"):
        trained.model.score(corpus_from_text(TEXT, "line"))
    with pytest.raises(CharlstmError, match="not trained on documents"):
        trained.model.score_documents(TEXT)


def test_newline_is_unknown_to_a_model_of_lines(model):
    with pytest.raises(UsageError, match=r"can never match: not in the model's vocabulary: '\\n'"):
        model.sampler(SamplingParams(stop=("\n",)))
