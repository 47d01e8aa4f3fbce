"""Sampling: the right distribution at every temperature, from any start."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import Config, corpus_from_text, generate, start
from charlstm.sampling import choose
from charlstm.stepper import Stepper
from charlstm.vocab import UnknownCharactersError

LOGITS = np.array([1.0, 0.0, -1.0, 3.0], np.float32)


def written(run, length=50, seed=1, **options):
    return "".join(generate(run.model, run.vocab, length, rng=np.random.default_rng(seed), **options))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_choices_follow_the_softmax(temperature, rng):
    draws = 20_000
    counts = np.bincount([choose(LOGITS, temperature, rng) for _ in range(draws)], minlength=4)
    p = np.exp(LOGITS.astype(float) / temperature)
    expected = draws * p / p.sum()
    large = expected > 5
    chi_squared = ((counts - expected)[large] ** 2 / expected[large]).sum()
    assert chi_squared < 16.3  # 3 degrees of freedom, one in a thousand


def test_temperature_zero_takes_the_likeliest(rng):
    assert {choose(LOGITS, 0, rng) for _ in range(20)} == {3}


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=9),
    st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.5, 1.0, 1e9, 1e300, 1.7e308]),
    st.integers(0, 99),
)
def test_every_temperature_gives_a_character(logits, temperature, seed):
    id = choose(np.array(logits, np.float32), temperature, np.random.default_rng(seed))
    assert 0 <= id < len(logits)


def test_tiny_temperatures_are_greedy_and_huge_ones_uniform(rng):
    assert {choose(LOGITS, 1e-300, rng) for _ in range(50)} == {3}
    counts = np.bincount([choose(LOGITS, 1e300, rng) for _ in range(8000)], minlength=4)
    assert counts.min() > 1800


def test_the_last_character_is_never_overrun():
    class Highest:
        def random(self):
            return np.nextafter(1.0, 0.0)

    for logits in (LOGITS, np.zeros(7, np.float32), np.array([0.0, -200.0], np.float32)):
        assert choose(logits, 1.0, Highest()) < len(logits)


def test_the_same_seed_writes_the_same_text(trained):
    assert written(trained) == written(trained) != written(trained, seed=2)


def test_length_counts_what_is_written_after_the_prime(trained):
    assert len(written(trained, 7, prime="1 times")) == 7
    assert written(trained, 0, prime="1 times") == ""


def test_text_comes_character_by_character(trained):
    pieces = list(generate(trained.model, trained.vocab, 9, rng=np.random.default_rng(1)))
    assert [len(piece) for piece in pieces] == [1] * 9


def test_a_prime_is_read_like_written_text(trained):
    whole = written(trained, 400, temperature=0, prime="3 times ")
    again = written(trained, 100, temperature=0, prime="3 times " + whole[:300])
    assert again == whole[300:]


def frequencies(texts, characters):
    return np.array([texts.count(character) for character in characters]) / len(texts)


def test_a_text_begins_like_a_line(trained):
    state = trained.model.read(trained.vocab.encode("\n").astype(np.intp)[:, None], trained.model.zero_state(1))
    logits = Stepper(trained.model).logits(state.of(0)).astype(float)
    p = np.exp(logits - logits.max())
    first = [written(trained, 1, seed=seed) for seed in range(2000)]
    characters = trained.vocab.decode(range(len(trained.vocab)))
    np.testing.assert_allclose(frequencies(first, characters), p / p.sum(), atol=4 * (0.25 / 2000) ** 0.5)


def test_where_there_are_no_line_ends_the_first_character_is_drawn_by_frequency():
    corpus = corpus_from_text("abacabadabacabae" * 20)
    run = start(Config().replace(hidden_size=4), corpus)
    first = [written(run, 1, seed=seed) for seed in range(2000)]
    np.testing.assert_allclose(frequencies(first, "abcde"), corpus.vocab.counts / 320, atol=4 * (0.25 / 2000) ** 0.5)


def test_unknown_characters_in_the_prime_are_named(trained):
    with pytest.raises(UnknownCharactersError, match="SNOWMAN"):
        written(trained, prime="☃")
