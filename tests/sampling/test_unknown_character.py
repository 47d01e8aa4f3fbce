"""A vocabulary with an unknown character: any text can be read and scored, and the character is never generated."""

import re

import numpy as np
import pytest
from helpers import SMALL, TEXT, begin

from charlstm import LanguageModel, SamplingParams, corpus_from_text
from charlstm.errors import UsageError
from charlstm.sampling.beam import beam_search

UNKNOWN = "\ufffd"


def eager(text: str = TEXT + "☃é\n") -> LanguageModel:
    """Return a model of a text with rare characters, which would generate nothing but the unknown one."""
    model = begin(SMALL.replace(min_count=5), text).model
    assert model.vocab.unknown_id is not None
    model.network.params["b_out"][model.vocab.unknown_id] = 50
    return model


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.0},
        {"temperature": 1e300},
        {"top_k": 3, "top_p": 0.9, "min_p": 0.01, "typical": 0.9},
        {"repetition_penalty": 1.0},
        {"lines": 3},
        {"stop": ("12",)},
        {"pattern": ".{50}"},
    ],
    ids=str,
)
def test_unknown_character_is_never_generated(params):
    text = eager().generate(seed=1, **{"length": 50, **params})
    assert text
    assert UNKNOWN not in text


def test_unknown_character_is_never_generated_side_by_side():
    model = eager()
    rngs = [np.random.default_rng(seed) for seed in range(20)]
    samples = model.sampler(SamplingParams(length=20)).generate_batch(model.read("☃"), rngs, detailed=True)
    for sample in samples:
        assert UNKNOWN not in sample.text
        assert len(sample.details) == 20
        assert np.isfinite([numbers for _, *numbers in sample.details]).all()
        assert np.isfinite(sample.log_probability)


def test_beam_search_never_finds_the_unknown_character():
    model = eager()
    best = beam_search(model.sampler(SamplingParams(length=10)), model.read(), 30)
    assert best.chars == 10
    assert UNKNOWN not in best.text


def test_text_without_newlines_never_starts_with_the_unknown_character():
    model = eager("ab" * 20 + "c☃defghijklmn")
    rngs = [np.random.default_rng(seed) for seed in range(50)]
    samples = model.sampler(SamplingParams(length=1)).generate_batch(model.read(), rngs)
    assert {sample.text for sample in samples} == {"a", "b"}


def test_probability_of_the_end_of_a_match_is_that_of_other_characters():
    model = eager("ab\n" * 50 + "☃")
    lengths = [len(model.generate(seed=seed, length=50, pattern="[ab]+", temperature=1)) for seed in range(50)]
    assert max(lengths) > 3  # it would always end if the unknown character counted


def test_stop_string_with_an_unknown_character_can_never_match():
    with pytest.raises(UsageError, match=r"^stop: '1☃' can never match: not in the model's vocabulary: '☃'"):
        eager().generate(stop="1☃")


def test_pattern_never_matches_the_unknown_character():
    with pytest.raises(UsageError, match="no text in the model's vocabulary can match it"):
        eager().generate(pattern=UNKNOWN)


def test_copies_that_start_with_an_unknown_character_are_prevented():
    corpus = corpus_from_text("☃a\n" + "ab\n" * 20)
    model = begin(SMALL.replace(min_count=5), corpus).model
    model.network.params["b_out"][model.vocab.encode("a")] = 50
    assert model.generate("☃", seed=1, length=1) == "a"
    assert model.generate("☃", seed=1, length=1, no_copy=2, corpus=corpus) != "a"


def test_prime_may_have_any_characters():
    model = eager()
    prefix = model.read("3 ☃")
    assert model.vocab.decode(prefix.ids) == f"\n3 {UNKNOWN}"


def test_unknown_characters_are_scored_as_one_symbol():
    model = eager()
    score = model.score("1 ☃ 2é龘")
    assert (score.text, score.chars, score.unknown_chars, score.unknown_scored) == ("1 ☃ 2é龘", 6, 3, True)
    assert score.known.tolist() == [True, True, False, True, True, False, False]
    assert score.losses[[2, 5, 6]].max() < 1e-6 < score.losses[[1, 3, 4]].min()  # the model expects nothing else
    assert [part.unknown_scored for part in score.split([3, 4])] == [True, True]
    assert score.nats_per_char == model.score(f"1 {UNKNOWN} 2{UNKNOWN}{UNKNOWN}").nats_per_char


def test_without_an_unknown_character_the_replacement_character_is_generated():
    model = begin(SMALL, "ab\n" * 50 + UNKNOWN).model
    model.network.params["b_out"][model.vocab.encode(UNKNOWN)] = 50
    assert re.fullmatch(f"{UNKNOWN}+", model.generate(seed=1, length=20))
