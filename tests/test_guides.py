"""Guides: expressions are matched, copies are not completed, loops cost what they should."""

import re

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import Choice, Config, corpus_from_text, generate, start, train
from charlstm.copying import Runs, index_of, share_copied
from charlstm.errors import CharlstmError, UsageError
from charlstm.guides import LessRepetition, NoCopies
from charlstm.patterns import Automaton
from charlstm.sampling import Rules, begin, write_texts

VOCAB = corpus_from_text("abcABC012 .,\n-").vocab
UNTRAINED = start(Config().replace(hidden_size=6), corpus_from_text("abcABC012 .,\n-" * 20))


AS_LEARNT = Choice()


def written(run, rules, length=60, seed=0, choice=AS_LEARNT):
    return "".join(generate(run.model, run.vocab, length, "", np.random.default_rng(seed), choice, rules))


# ---- expressions

atoms = st.sampled_from(
    ["a", "b", "0", r"\.", "[a-c]", "[^a]", r"\d", r"\w", r"\s", ".", "[A-C0-2]", r"\n", "-", ",", " "]
)
repeats = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "{0,2}", "*?", "{1,2}?"])
expressions = st.recursive(
    st.builds("{}{}".format, atoms, repeats),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=4).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})")
        | st.builds("(?:{}){}".format, inner, repeats)
    ),
    max_leaves=8,
)


@given(expression=expressions, seed=st.integers(0, 99), temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]))
@settings(max_examples=200, deadline=None)
def test_what_is_written_matches_the_expression(trained, expression, seed, temperature):
    matched_by_what_is_written(trained, expression, seed, temperature)


def matched_by_what_is_written(trained, expression, seed, temperature):
    for run in (UNTRAINED, trained):
        try:
            pattern = Automaton(expression, run.vocab)
        except UsageError as error:
            assert "no text of the model's characters" in str(error)
            continue
        if pattern.missing(0) > 60:
            continue
        text = written(run, Rules(pattern=pattern), seed=seed, choice=Choice(temperature))
        assert re.fullmatch(expression, text), (expression, text)


@pytest.mark.slow
@given(expression=expressions, seed=st.integers(0, 9999))
@settings(max_examples=1000, deadline=None)
def test_a_thousand_expressions_are_matched(trained, expression, seed):
    matched_by_what_is_written(trained, expression, seed, 1.0)


def test_literals_are_written_and_classes_sampled(trained):
    pattern = Automaton(r"[0-9]+ times [0-9]+ is [0-9]{2,4}\.\n", trained.vocab)
    texts = {written(trained, Rules(pattern=pattern), seed=seed) for seed in range(20)}
    assert len(texts) > 10
    assert all(re.fullmatch(r"[0-9]+ times [0-9]+ is [0-9]{2,4}\.\n", text) for text in texts)


def test_a_text_ends_where_the_model_would_leave_the_expression(trained):
    lengths = [
        len(written(trained, Rules(pattern=Automaton("[0-9]+", trained.vocab)), seed=seed)) for seed in range(30)
    ]
    assert max(lengths) < 12  # in the text, numbers have six digits at most
    assert len(set(lengths)) > 1


def test_what_matches_is_never_cut_by_the_length(trained):
    pattern = Automaton(r"[a-z ]+\.", trained.vocab)
    for length in (2, 3, 7):
        text = written(trained, Rules(pattern=pattern), length)
        assert re.fullmatch(r"[a-z ]+\.", text)
        assert len(text) <= length


def test_an_expression_that_can_be_met_in_too_many_ways_is_given_up(trained, monkeypatch):
    monkeypatch.setattr("charlstm.patterns._MOST_CELLS", 10_000)
    run = start(Config().replace(hidden_size=3), corpus_from_text("ab" * 100))
    with pytest.raises(CharlstmError, match="too many ways"):
        written(run, Rules(pattern=Automaton("[ab]*a[ab]{90}", run.vocab)), 500)


def test_empty_parts_may_be_repeated_as_often_as_one_likes(trained):
    for expression in ("(){1000000000}s", "(?:){9999999,99999999}s", "(){0,1000000000}s"):
        automaton = Automaton(expression, trained.vocab)
        assert automaton.missing(0) == 1


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("é+", "no text of the model's characters"),
        ("(", "unterminated subpattern"),
        ("(a)\\1", "references are not supported"),
        ("^a", "anchors"),
        ("b(?=a)", "looks ahead"),
        ("a*+", "possessive"),
        ("(?>a)", "atomic"),
        ("(?i)a", "flags"),
        ("(?i:a)", "flags"),
        ("a{3,2}", "min repeat greater"),
        ("a{100000}", "too long"),
        ("(|){1000000000}", "too long"),
        ("(a{1000}){1000}", "too long"),
        ("a{" + "9" * 5000 + "}", "digits"),
        ("[", "unterminated"),
        ("a{70}", "70 characters at least, but --length is 60"),
    ],
)
def test_expressions_that_cannot_be_are_refused_with_a_reason(expression, reason):
    with pytest.raises(UsageError, match=reason):
        written(UNTRAINED, Rules(pattern=Automaton(expression, VOCAB)))


# ---- copies


@given(text=st.text("ab", max_size=80), n=st.integers(1, 9), sample=st.text("ab", max_size=30))
@settings(max_examples=200)
def test_an_index_finds_every_run_and_few_others(text, n, sample):
    vocab = corpus_from_text("ab").vocab
    found = index_of(vocab.encode(text), n).found(Runs(vocab.encode(sample)).hashes(n))
    there = [sample[k : k + n] in text for k in range(len(sample) - n + 1)]
    assert found[there].all() if there else not len(found)


def test_an_index_finds_few_runs_that_are_not_there(rng):
    index = index_of(rng.integers(0, 50, 100_000).astype(np.uint8), 12)
    assert index.found(Runs(rng.integers(0, 50, 100_000).astype(np.uint8)).hashes(12)).mean() < 0.005


def test_an_index_is_what_the_page_on_the_format_says(rng):
    ids, n, mix = rng.integers(0, 50, 300).astype(np.uint8), 7, 0xFF51AFD7ED558CCD
    index = index_of(ids, n)
    expected = [0] * len(index.words)
    for at in range(len(ids) - n + 1):
        h = sum((int(ids[at + k]) + 1) * pow(0x9E3779B97F4A7C15, -(k + 1), 1 << 64) for k in range(n)) % (1 << 64)
        m = (h ^ h >> 32) * mix % (1 << 64)
        spread = m % 4096 * mix % (1 << 64)
        for k in (58, 52, 46, 40):
            expected[(m >> 32) * len(expected) >> 32] |= 1 << (spread >> k & 63)
    assert index.words.tolist() == expected


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_no_run_of_a_text_is_completed(trained, n):
    text = "".join(f"{k} times {k + 1} is {k * (k + 1)}.\n" for k in range(400))[: 2000 if n > 2 else 3]
    rules = Rules(no_copy=index_of(trained.vocab.encode(text), n))
    place = begin(trained.model, trained.vocab, "7 times ")
    rngs = [np.random.default_rng(seed) for seed in range(5)]
    for written_text in write_texts(trained.model, trained.vocab, place, 300, rngs, Choice(0.5), rules):
        whole = "\n7 times " + written_text.text
        runs = [whole[k : k + n] for k in range(max(9 - n + 1, 0), len(whole) - n + 1)]
        assert len(runs) >= 300 - n
        assert not any(run in text for run in runs)


@pytest.mark.slow
def test_a_model_that_knows_a_text_by_heart_does_not_recite_it(rng):
    """100,000 characters of a model that would write nothing but its training text."""
    text = (ROOT / "data" / "tweets.txt").read_text(encoding="utf-8")[:3000]
    corpus = corpus_from_text(text)
    run = start(Config().replace(hidden_size=128, epochs=300.0, batch_size=8, val_fraction=0, evals=1), corpus)
    for _ in train(run, corpus):
        pass
    place = begin(run.model, run.vocab)
    rngs = [np.random.default_rng(seed) for seed in range(64)]
    plain = write_texts(run.model, run.vocab, place, 300, rngs[:8], Choice(0.5))
    assert np.mean([share_copied(run.vocab.encode(each.text), corpus.ids) for each in plain]) > 0.5
    rules = Rules(no_copy=index_of(corpus.ids, 20))
    texts = write_texts(run.model, run.vocab, place, 1563, rngs, Choice(0.5), rules)
    assert sum(len(each.text) for each in texts) > 100_000
    assert not any(each.text[k : k + 20] in text for each in texts for k in range(len(each.text) - 19))


def test_where_every_character_would_be_a_copy_it_is_said():
    run = start(Config().replace(hidden_size=3), corpus_from_text("ab" * 100))
    with pytest.raises(CharlstmError, match="nothing can come next"):
        written(run, Rules(no_copy=index_of(run.vocab.encode("abab"), 1)))


def test_hashes_that_roll_are_those_of_whole_runs(rng):
    from charlstm.copying import Runs

    ids = rng.integers(0, 30, (60, 3))  # of three texts
    guide = NoCopies(index_of(np.zeros(0, np.uint8), 7), np.zeros(0, np.uint8), 3, 30)
    for t in range(60):
        if t >= 6:
            expected = [Runs(ids[t - 6 : t, b].astype(np.uint8)).hashes(6)[0] for b in range(3)]
            assert guide._hashes.tolist() == expected
        guide.read(ids[t])


# ---- repetitions


def naive_penalties(text, V, penalty, free):
    """By definition: for each c, the longest n for which the last n characters stand before, followed by c."""
    costs = np.zeros(V)
    for place, id in enumerate(text):
        n = 0
        while n < place and text[place - 1 - n] == text[len(text) - 1 - n]:
            n += 1
        costs[id] = max(costs[id], penalty * (n + 1 - free))
    return costs


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 6))
def test_penalties_are_those_of_the_definition(text, free):
    guide = LessRepetition(np.array(text[:10], np.uint8), 2, 0.5, free)
    for id in text[10:]:
        guide.read(np.array([id, id]))
    logits = np.zeros((2, 3))
    guide.narrow(logits)
    np.testing.assert_allclose(logits, [-naive_penalties(text, 3, 0.5, free)] * 2)


def test_a_loop_is_left(trained):
    looping = written(trained, Rules(), 400, choice=Choice(0.0))
    going_on = written(trained, Rules(repetition_penalty=2.0), 400, choice=Choice(0.0))
    assert looping[-100:] in looping[:-1]
    assert going_on[-40:] not in going_on[:-1]
