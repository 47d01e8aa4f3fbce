"""Regular expressions: the automaton accepts exactly what Python's `re` matches, and rejects what it cannot represent."""

import re

import pytest
from helpers import begin
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import Config, LanguageModel, Run, corpus_from_text
from charlstm.errors import CharlstmError, UsageError
from charlstm.sampling.regex import Automaton

CHARACTERS = "abcABC012 .,\n-"
VOCAB = corpus_from_text(CHARACTERS).vocab
UNTRAINED = begin(Config().replace(hidden_size=6), CHARACTERS * 20).model

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


# ---- the automaton


def state_after(automaton: Automaton, text: str) -> int:
    """Return the state after a text; -1 where no match is possible."""
    state = 0
    for id in VOCAB.encode(text):
        state = int(automaton.after(state)[id])
        if state < 0:
            break
    return state


@given(expression=expressions, text=st.text(CHARACTERS, max_size=6))
@settings(max_examples=200, deadline=None)
def test_automaton_accepts_exactly_what_re_matches(expression, text):
    automaton = Automaton(expression, VOCAB)
    state = state_after(automaton, text)
    assert (state >= 0 and automaton.distance(state) == 0) == bool(re.fullmatch(expression, text))


@given(expression=expressions, text=st.text(CHARACTERS, max_size=6))
@settings(max_examples=100, deadline=None)
def test_distance_decreases_by_one_along_shortest_continuation(expression, text):
    automaton = Automaton(expression, VOCAB)
    state = state_after(automaton, text)
    if state >= 0:
        distance, nearest = automaton.distance(state), automaton.distances_after(state).min()
        assert nearest == distance - 1 if distance else nearest >= 0


@pytest.mark.parametrize("expression", ["(){1000000000}s", "(?:){9999999,99999999}s", "(){0,1000000000}s"])
def test_empty_parts_may_repeat_any_number_of_times(expression, trained):
    assert Automaton(expression, trained.model.vocab).distance(0) == 1


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("é+", "no text in the model's vocabulary can match it"),
        ("(", "unterminated subpattern"),
        ("(a)\\1", "backreferences are not supported"),
        ("(a)?(?(1)b|c)", "backreferences are not supported"),
        ("^a", "anchors (^, $, \\b) are not supported"),
        ("b(?=a)", "lookahead and lookbehind are not supported"),
        ("b(?!a)", "lookahead and lookbehind are not supported"),
        ("a*+", "possessive quantifiers are not supported"),
        ("(?>a)", "atomic groups are not supported"),
        ("(?i)a", "flags other than a, s and x are not supported"),
        ("(?i:a)", "flags other than (?s:...) are not supported"),
        ("a{3,2}", "min repeat greater"),
        ("a{100000}", "too long"),
        ("(|){1000000000}", "too long"),
        ("(a{1000}){1000}", "too long"),
        ("a{" + "9" * 5000 + "}", "a repeat count is too large"),
        ("[", "unterminated"),
        ("(" * 5000 + ")" * 5000, "too deeply nested|recursion"),
    ],
    ids=lambda value: value[:20],
)
def test_unsupported_expression_is_rejected_with_reason(expression, reason):
    pattern = reason if "|" in reason else re.escape(reason)
    with pytest.raises(UsageError, match=f"^pattern: .*(?:{pattern})") as caught:
        Automaton(expression, VOCAB)
    assert len(str(caught.value)) < 300


def test_pattern_that_can_match_in_too_many_ways_is_rejected(monkeypatch):
    monkeypatch.setattr("charlstm.sampling.regex._MAX_CELLS", 10_000)
    model = begin(Config().replace(hidden_size=3), "ab" * 100).model
    with pytest.raises(CharlstmError, match="too many ways"):
        model.generate(length=500, pattern="[ab]*a[ab]{90}", seed=0)


# ---- generated texts


def assert_text_matches(run: Run, expression: str, seed: int, temperature: float) -> None:
    """Check that texts of an untrained and of a trained model match an expression."""
    models: list[LanguageModel] = [UNTRAINED, run.model]
    for model in models:
        try:
            shortest = Automaton(expression, model.vocab).distance(0)
        except UsageError as error:
            assert "no text in the model's vocabulary" in str(error)
            continue
        if shortest <= 60:
            text = model.generate(length=60, pattern=expression, seed=seed, temperature=temperature)
            assert re.fullmatch(expression, text), (expression, text)


@given(expression=expressions, seed=st.integers(0, 99), temperature=st.sampled_from([0.0, 0.3, 1.0, 5.0]))
@settings(max_examples=200, deadline=None)
def test_generated_text_matches_expression(trained, expression, seed, temperature):
    assert_text_matches(trained, expression, seed, temperature)


@pytest.mark.slow
@given(expression=expressions, seed=st.integers(0, 9999))
@settings(max_examples=1000, deadline=None)
def test_generated_text_matches_a_thousand_expressions(trained, expression, seed):
    assert_text_matches(trained, expression, seed, 1.0)


def test_character_classes_are_sampled(trained):
    expression = r"[0-9]+ times [0-9]+ is [0-9]{2,4}\.\n"
    texts = {trained.model.generate(length=60, temperature=1, pattern=expression, seed=seed) for seed in range(20)}
    assert len(texts) > 10
    assert all(re.fullmatch(expression, text) for text in texts)
