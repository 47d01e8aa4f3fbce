"""Beam search: beam search finds only the most likely text, obeys the constraints, and reports the network's probabilities."""

import itertools
from typing import Any

import numpy as np
import pytest

from charlstm import CharlstmError, LanguageModel, Run, SamplingParams
from charlstm.network.evaluation import evaluate
from charlstm.sampling.beam import beam_search
from charlstm.sampling.generate import Sample
from charlstm.sampling.regex import Automaton

PRIME = "3 times "


def search(model: LanguageModel, width: int, prime: str = "", corpus: str | None = None, **params: Any) -> Sample:
    """Return the text that a beam search finds."""
    return beam_search(model.sampler(SamplingParams(**params), corpus), model.read(prime), width)


def nats_after_prime(model: LanguageModel, text: str) -> float:
    """Return the total loss of a text after PRIME."""
    ids = model.vocab.encode(f"\n{PRIME}{text}")
    read = len(PRIME) + 1
    return evaluate(model.network, ids) * (len(ids) - 1) - evaluate(model.network, ids[:read]) * (read - 1)


@pytest.fixture
def varied(trained: Run) -> LanguageModel:
    """A model whose most likely texts are not just repeats of one character."""
    model = trained.model.copy()
    rng = np.random.default_rng(0)
    for array in model.network.params.values():
        array += rng.normal(0, 1, array.shape)
    return model


@pytest.mark.parametrize("prime", [PRIME, "is "])
def test_full_beam_finds_most_likely_of_all_texts(prime, trained):
    model = trained.model

    def nats(text: str) -> float:
        ids = model.vocab.encode(f"\n{prime}{text}")
        return evaluate(model.network, ids) * (len(ids) - 1)

    best = search(model, 18, prime, length=2)
    assert best.text == min(map("".join, itertools.product(model.vocab.characters, repeat=2)), key=nats)
    assert best.chars == 2


def test_beam_of_one_is_greedy(varied):
    greedy = varied.generate(PRIME, length=40, temperature=0)
    assert len(set(greedy)) > 1
    assert search(varied, 1, PRIME, length=40).text == greedy


def test_wider_beam_finds_more_likely_text(varied):
    narrow, wide = (search(varied, width, PRIME, length=30) for width in (1, 30))
    assert wide.log_probability > narrow.log_probability


def test_log_probability_is_that_of_the_text(varied):
    best = search(varied, 30, PRIME, length=30)
    assert len(set(best.text)) > 1
    assert best.log_probability == pytest.approx(-nats_after_prime(varied, best.text), rel=1e-4)


def test_log_probability_excludes_penalties(trained):
    best = search(trained.model, 2, PRIME, length=60, repetition_penalty=0.1, repetition_free=2)
    assert best.text[-4:] in best.text[:-1]  # a repeat that costs something
    assert best.log_probability == pytest.approx(-nats_after_prime(trained.model, best.text), rel=1e-4)


def test_temperature_and_filters_do_not_apply(trained):
    plain = search(trained.model, 3, PRIME, length=20)
    assert search(trained.model, 3, PRIME, length=20, temperature=2.0, temperature_at_start=0.0, top_k=1) == plain


def test_length_zero_finds_empty_text(trained):
    assert search(trained.model, 3, PRIME, length=0) == Sample()


def test_search_leaves_branches_without_continuation(trained):
    assert search(trained.model, 5, corpus="0123", length=9, pattern="012|times", no_copy=3).text == "times"


def test_no_allowed_text_is_an_error(trained):
    with pytest.raises(CharlstmError, match="no character is allowed next"):
        search(trained.model, 5, corpus="0123", length=9, pattern="012", no_copy=3)


def test_text_is_preferred_to_empty_match(trained):
    assert search(trained.model, 5, length=9, pattern="[0-9]*").chars > 0


def test_result_matches_pattern(trained):
    pattern = r"[0-9]+ times [0-9]{3}"
    assert Automaton(pattern, trained.model.vocab).distance(0) == 11
    text = search(trained.model, 6, length=40, pattern=pattern).text
    assert text[-3:].isdigit()
    assert " times " in text


def test_result_excludes_stop(trained):
    best = search(trained.model, 6, length=40, stop=("  ",))
    assert "  " not in best.text
    assert best.chars == len(best.text) + 2
    assert best.stopped
    assert not search(trained.model, 6, length=1, stop=("  ",)).stopped


def test_search_does_not_change_prefix(trained):
    prefix = trained.model.read(PRIME)
    h, logits = prefix.state.h.copy(), prefix.logits.copy()
    beam_search(trained.model.sampler(SamplingParams(length=5)), prefix, 3)
    np.testing.assert_array_equal(prefix.state.h, h)
    np.testing.assert_array_equal(prefix.logits, logits)
