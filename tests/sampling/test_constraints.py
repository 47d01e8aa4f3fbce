"""Constraints: texts match their pattern, complete no n-gram of the corpus, and pay for repeats as defined."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from helpers import ROOT, begin, train_fully
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import Config, SamplingParams, corpus_from_text
from charlstm.errors import CharlstmError, UsageError
from charlstm.sampling.constraints import Constraint, MatchPattern, NoCopy, RepetitionPenalty
from charlstm.sampling.regex import Automaton
from charlstm.text.overlap import NgramIndex, measure_overlap

LETTERS = corpus_from_text("abc").vocab


def masked(constraint, batch_size):
    """Return equal logits of three characters with a constraint applied."""
    logits = np.zeros((batch_size, 3))
    constraint.mask_logits(logits)
    return logits


CONSTRAINTS: dict[str, Callable[[int], Constraint]] = {
    "repetition penalty": lambda batch_size: RepetitionPenalty(LETTERS.encode("abca"), batch_size, 0.5, 2),
    "no copy": lambda batch_size: NoCopy(NgramIndex(LETTERS.encode("abcabbca"), 3), LETTERS.encode("a"), batch_size),
    "pattern": lambda batch_size: MatchPattern(Automaton("caabb|abaac|bcaba", LETTERS), batch_size, 5),
}


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_selected_texts_continue_as_if_alone(name):
    texts = ["aba", "bca", "caa"]
    together = CONSTRAINTS[name](3)
    for ids in zip(*map(LETTERS.encode, texts), strict=True):
        together.read(np.array(ids, np.intp))
    together.select(np.array([2, 0, 2, 1]))
    together.read(LETTERS.encode("babb").astype(np.intp))
    rows = masked(together, 4)
    assert len({tuple(row) for row in rows}) > 1
    for row, text in zip(rows, ["caab", "abaa", "caab", "bcab"], strict=True):
        alone = CONSTRAINTS[name](1)
        for id in LETTERS.encode(text):
            alone.read(np.array([id], np.intp))
        np.testing.assert_array_equal(row, masked(alone, 1)[0])


# ---- patterns


def test_text_ends_where_model_would_leave_pattern(trained):
    lengths = {len(trained.model.generate(length=60, temperature=1, pattern="[0-9]+", seed=seed)) for seed in range(30)}
    assert max(lengths) < 12  # numbers in the corpus have six digits at most
    assert len(lengths) > 1


@pytest.mark.parametrize("length", [2, 3, 7])
def test_length_never_cuts_a_match(length, trained):
    text = trained.model.generate(length=length, temperature=1, pattern=r"[a-z ]+\.", seed=0)
    assert re.fullmatch(r"[a-z ]+\.", text)
    assert len(text) <= length


def test_length_below_shortest_match_is_rejected(trained):
    message = "pattern: the shortest match has 70 characters, but length is 60"
    with pytest.raises(UsageError, match=message):
        trained.model.generate(length=60, pattern="s{70}")


def test_matched_tells_complete_texts():
    match = MatchPattern(Automaton("ab?|c", LETTERS), 3, 5)
    assert not match.matched.any()
    match.read(LETTERS.encode("aca").astype(np.intp))
    assert match.matched.all()
    assert match.allowed().tolist() == [[False, True, False], [False] * 3, [False, True, False]]


# ---- copies


@given(
    text=st.text("abc", max_size=40),
    n=st.integers(1, 6),
    prefix=st.text("abc", max_size=8),
    sample=st.text("abc", max_size=8),
)
@settings(max_examples=200)
def test_no_copy_forbids_exactly_what_completes_an_ngram(text, n, prefix, sample):
    constraint = NoCopy(NgramIndex(LETTERS.encode(text), n), LETTERS.encode(prefix), 1)
    for id in LETTERS.encode(sample):
        constraint.read(np.array([id], np.intp))
    last = (prefix + sample)[max(len(prefix + sample) - n + 1, 0) :]
    expected = [len(last) == n - 1 and last + character in text for character in "abc"]
    np.testing.assert_array_equal(np.isneginf(masked(constraint, 1)[0]), expected)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_no_copy_completes_no_ngram_of_the_corpus(trained, n):
    text = "".join(f"{k} times {k + 1} is {k * (k + 1)}.\n" for k in range(400))[: 2000 if n > 2 else 3]
    sampler = trained.model.sampler(SamplingParams(length=300, temperature=0.5, no_copy=n), text)
    rngs = [np.random.default_rng(seed) for seed in range(5)]
    for sample in sampler.generate_batch(trained.model.read("7 times "), rngs):
        whole = "\n7 times " + sample.text
        ngrams = [whole[k : k + n] for k in range(max(9 - n + 1, 0), len(whole) - n + 1)]
        assert len(ngrams) >= 300 - n
        assert not any(ngram in text for ngram in ngrams)


@pytest.mark.slow
def test_no_copy_keeps_overfit_model_from_reciting():
    """100,000 characters of a model that would generate nothing but its corpus."""
    text = (ROOT / "data" / "tweets.txt").read_text(encoding="utf-8")[:3000]
    config = Config().replace(hidden_size=128, epochs=300.0, batch_size=8, val_fraction=0, evals=1)
    model = train_fully(config, text)[0].model
    prefix, rngs = model.read(), [np.random.default_rng(seed) for seed in range(64)]
    plain = model.sampler(SamplingParams(length=300, temperature=0.5)).generate_batch(prefix, rngs[:8])
    ids = model.vocab.encode(text)
    assert np.mean([measure_overlap(model.vocab.encode(sample.text), ids) for sample in plain]) > 0.5
    params = SamplingParams(length=1563, temperature=0.5, no_copy=20)
    samples = model.sampler(params, text).generate_batch(prefix, rngs)
    assert sum(len(sample.text) for sample in samples) > 100_000
    assert not any(sample.text[k : k + 20] in text for sample in samples for k in range(len(sample.text) - 19))


def test_text_without_allowed_continuation_is_an_error():
    model = begin(Config().replace(hidden_size=3), "ab" * 100).model
    with pytest.raises(CharlstmError, match="no character is allowed next; relax the pattern, or allow longer copies"):
        model.generate(no_copy=1, corpus="abab", seed=0)


def test_text_that_gets_stuck_keeps_what_might_have_begun_a_stop_string():
    model = begin(Config().replace(hidden_size=3), "ab" * 100).model
    pieces: list[str] = []
    with pytest.raises(CharlstmError, match="no character is allowed next"):
        pieces.extend(model.stream(no_copy=2, corpus="aabba", stop=("aaa", "bbb"), seed=0))
    assert pieces in (["a"], ["b"])


def test_no_copy_without_corpus_is_rejected(trained):
    with pytest.raises(UsageError, match="no_copy: needs the corpus"):
        trained.model.generate(no_copy=20)


# ---- repeats


def naive_penalties(text, V, penalty, free):
    """By definition: for each c, the longest n for which the last n characters occur earlier, followed by c."""
    costs = np.zeros(V)
    for place, id in enumerate(text):
        n = 0
        while n < place and text[place - 1 - n] == text[len(text) - 1 - n]:
            n += 1
        costs[id] = max(costs[id], penalty * (n + 1 - free))
    return costs


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 6))
def test_repetition_penalty_equals_its_definition(text, free):
    constraint = RepetitionPenalty(np.array(text[:10], np.uint8), 2, 0.5, free)
    for id in text[10:]:
        constraint.read(np.array([id, id]))
    np.testing.assert_allclose(masked(constraint, 2), [-naive_penalties(text, 3, 0.5, free)] * 2)


def test_repetition_penalty_ends_loops(trained):
    looping = trained.model.generate(length=400, temperature=0)
    penalised = trained.model.generate(length=400, temperature=0, repetition_penalty=2.0)
    assert looping[-100:] in looping[:-1]
    assert penalised[-40:] not in penalised[:-1]
