"""Sampling: the right start, the right end, the same text alone and among others."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import CharlstmError, Choice, Config, corpus_from_text, evaluate, generate, products, start
from charlstm.beam import beam_search
from charlstm.config import ModelConfig
from charlstm.copying import index_of
from charlstm.model import new_model
from charlstm.patterns import Automaton
from charlstm.sampling import Ending, Rules, begin, write_texts
from charlstm.stepper import Stepper
from charlstm.vocab import UnknownCharactersError


def written(run, length=50, seed=1, temperature=1.0, prime="", rules=None):
    rng = np.random.default_rng(seed)
    return "".join(generate(run.model, run.vocab, length, prime, rng, Choice(temperature), rules or Rules()))


def several(run, seeds, length=50, choice=None, rules=None, prime="", **options):
    rngs = [np.random.default_rng(seed) for seed in seeds]
    place = begin(run.model, run.vocab, prime)
    return write_texts(run.model, run.vocab, place, length, rngs, choice or Choice(), rules or Rules(), **options)


def test_the_same_seed_writes_the_same_text(trained):
    assert written(trained) == written(trained) != written(trained, seed=2)


def test_length_counts_what_is_written_after_the_prime(trained):
    assert len(written(trained, 7, prime="1 times")) == 7
    assert written(trained, 0, prime="1 times") == ""


def test_text_comes_character_by_character(trained):
    pieces = list(generate(trained.model, trained.vocab, 9, "", np.random.default_rng(1)))
    assert [len(piece) for piece in pieces] == [1] * 9


def test_a_prime_is_read_like_written_text(trained):
    whole = written(trained, 400, temperature=0.0, prime="3 times ")
    again = written(trained, 100, temperature=0.0, prime="3 times " + whole[:300])
    assert again == whole[300:]


def frequencies(texts, characters):
    return np.array([texts.count(character) for character in characters]) / len(texts)


def test_a_text_begins_like_a_line(trained):
    state = trained.model.read(trained.vocab.encode("\n").astype(np.intp)[:, None], trained.model.zero_state(1))
    logits = Stepper(trained.model).logits(state)[0].astype(float)
    p = np.exp(logits - logits.max())
    first = [text.text for text in several(trained, range(2000), 1)]
    characters = trained.vocab.decode(range(len(trained.vocab)))
    np.testing.assert_allclose(frequencies(first, characters), p / p.sum(), atol=4 * (0.25 / 2000) ** 0.5)


def test_where_there_are_no_line_ends_the_first_character_is_drawn_by_frequency():
    corpus = corpus_from_text("abacabadabacabae" * 20)
    run = start(Config().replace(hidden_size=4), corpus)
    first = [text.text for text in several(run, range(2000), 1)]
    np.testing.assert_allclose(frequencies(first, "abcde"), corpus.vocab.counts / 320, atol=4 * (0.25 / 2000) ** 0.5)


def test_unknown_characters_in_the_prime_are_named(trained):
    with pytest.raises(UnknownCharactersError, match="SNOWMAN"):
        written(trained, prime="☃")


# ---- several at once


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("hidden_size", [5, 128, 512])
def test_a_step_is_the_same_to_the_bit_however_many_streams_there_are(
    hidden_size, num_layers, small_kernels, rng, monkeypatch
):
    if not small_kernels or not products._has_small_kernels():
        monkeypatch.setattr(products, "_has_small_kernels", lambda: False)
    model = new_model(ModelConfig(hidden_size=hidden_size, num_layers=num_layers), 65, rng)
    ids = rng.integers(0, 65, (12, 64))

    def logits_of(streams):
        stepper, state, logits = Stepper(model, len(streams)), model.zero_state(len(streams)), []
        for row in ids[:, streams]:
            after, state = stepper.step(row, state)
            logits.append(after)
        return np.array(logits)

    together = logits_of(range(64))
    for streams in ([0], [63], [3, 7], range(5), range(10, 27), range(1, 64)):
        np.testing.assert_array_equal(logits_of(streams), together[:, streams])


def test_a_text_is_the_same_alone_and_among_others(trained):
    for rules in (Rules(), Rules(repetition_penalty=0.5, lines=2), Rules(pattern=Automaton(".*", trained.vocab))):
        texts = several(trained, range(20), rules=rules, choice=Choice(0.9, top_p=0.9))
        for seed in range(20):
            assert several(trained, [seed], rules=rules, choice=Choice(0.9, top_p=0.9))[0] == texts[seed]


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("hidden_size", [128, 512])
def test_each_of_64_texts_is_the_same_alone(hidden_size, num_layers):
    config = Config().replace(hidden_size=hidden_size, num_layers=num_layers, steps=1)
    run = start(config, corpus_from_text("".join(map(chr, range(32, 127))) * 2))
    for array in run.model.params.values():
        array *= 4  # so that texts depend on all that was written
    texts = several(run, range(64), 200)
    assert len({text.text for text in texts}) == 64
    for seed, text in enumerate(texts):
        assert several(run, [seed], 200)[0] == text
        assert written(run, 200, seed) == text.text


def test_the_log_probability_is_that_of_the_text(trained):
    for text in several(trained, range(3), 40, Choice(0.7, top_k=3), prime="3 times ", detailed=True):
        ids = trained.vocab.encode("\n3 times " + text.text)
        nats = evaluate(trained.model, ids) * (len(ids) - 1) - evaluate(trained.model, ids[:9]) * 8
        assert text.log_probability == pytest.approx(-nats, rel=1e-4)
        assert sum(math.log(p) for _, p, _, _ in text.details) == pytest.approx(text.log_probability)
        assert "".join(character for character, *_ in text.details) == text.text
        assert all(rank < 3 and 0 <= entropy <= math.log(18) for _, _, rank, entropy in text.details)


# ---- where texts end

letters = st.text("ab\n", max_size=30)


@given(
    letters, st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3).map(tuple), st.integers(0, 3), st.booleans()
)
def test_a_text_ends_before_the_first_stop_or_after_so_many_lines(text, stops, lines, keep):
    ending = Ending(Rules(stop=stops, lines=lines, keep_stop=keep))
    found = ""
    for n, character in enumerate(text, 1):
        found += ending.feed(character)
        so_far = text[:n]
        ended = [stop for stop in stops if so_far.endswith(stop)]
        assert ending.over == bool(ended or 0 < lines <= so_far.count("\n"))
        if ending.over:
            longest = max(ended, key=len, default="")
            assert found == (so_far if keep else so_far.removesuffix(longest))
            return
        assert so_far.startswith(found)
    assert found + ending.rest() == text


def test_stops_and_lines_end_what_is_generated(trained):
    whole = written(trained, 300)
    assert written(trained, 300, rules=Rules(stop=("is",))) == whole.partition("is")[0]
    assert written(trained, 300, rules=Rules(stop=("is",), keep_stop=True)) == whole.partition("is")[0] + "is"
    assert written(trained, 300, rules=Rules(lines=3)) == "".join(whole.splitlines(keepends=True)[:3])
    assert several(trained, [1], 300, rules=Rules(stop=("is",)))[0].text == whole.partition("is")[0]


# ---- the likeliest


def all_texts(run, prime, length):
    characters = run.vocab.decode(range(len(run.vocab)))
    texts = [""]
    for _ in range(length):
        texts = [text + character for text in texts for character in characters]
    before = "\n" * ("\n" in characters) + prime

    def nats(text):
        ids = run.vocab.encode(before + text)
        return evaluate(run.model, ids) * (len(ids) - 1)

    return min(texts, key=nats)


def test_a_wide_beam_finds_the_likeliest_of_all_texts(trained):
    for prime in ("3 times ", "is "):
        place = begin(trained.model, trained.vocab, prime)
        best = beam_search(trained.model, trained.vocab, place, 2, 18)
        assert best.text == all_texts(trained, prime, 2)
        assert best.chars == 2


def test_a_beam_of_one_is_greedy(trained):
    place = begin(trained.model, trained.vocab, "3 times ")
    greedy = written(trained, 40, temperature=0.0, prime="3 times ")
    assert beam_search(trained.model, trained.vocab, place, 40, 1).text == greedy


def test_a_wider_beam_finds_what_is_likelier(trained):
    place = begin(trained.model, trained.vocab, "3 times ")
    narrow, wide = (beam_search(trained.model, trained.vocab, place, 30, width) for width in (1, 30))
    assert wide.log_probability >= narrow.log_probability
    ids = trained.vocab.encode("\n3 times " + wide.text)
    nats = evaluate(trained.model, ids) * (len(ids) - 1) - evaluate(trained.model, ids[:9]) * 8
    assert wide.log_probability == pytest.approx(-nats, rel=1e-4)


def test_a_beam_leaves_penalties_out_of_the_log_probability(trained):
    place = begin(trained.model, trained.vocab, "3 times ")
    text = beam_search(trained.model, trained.vocab, place, 60, 2, Rules(repetition_penalty=3.0, repetition_free=2))
    ids = trained.vocab.encode("\n3 times " + text.text)
    nats = evaluate(trained.model, ids) * (len(ids) - 1) - evaluate(trained.model, ids[:9]) * 8
    assert text.log_probability == pytest.approx(-nats, rel=1e-4)


def test_a_beam_goes_on_where_it_can_and_says_where_it_cannot(trained):
    place, vocab = begin(trained.model, trained.vocab), trained.vocab
    copies = index_of(vocab.encode("0123"), 3)
    either = Rules(pattern=Automaton("012|times", vocab), no_copy=copies)
    assert beam_search(trained.model, vocab, place, 9, 5, either).text == "times"
    with pytest.raises(CharlstmError, match="nothing can come next"):
        beam_search(trained.model, vocab, place, 9, 5, Rules(pattern=Automaton("012", vocab), no_copy=copies))
    assert beam_search(trained.model, vocab, place, 9, 5, Rules(pattern=Automaton("[0-9]*", vocab))).chars > 0


def test_a_beam_obeys_the_rules(trained):
    place = begin(trained.model, trained.vocab)
    pattern = Automaton(r"[0-9]+ times [0-9]{3}", trained.vocab)
    assert pattern.missing(0) == 11
    text = beam_search(trained.model, trained.vocab, place, 40, 6, Rules(pattern=pattern)).text
    assert text[-3:].isdigit()
    assert " times " in text
    ended = beam_search(trained.model, trained.vocab, place, 40, 6, Rules(stop=("  ",)))
    assert "  " not in ended.text
    assert ended.chars == len(ended.text) + 2
