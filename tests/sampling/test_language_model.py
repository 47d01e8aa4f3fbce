"""LanguageModel: generate, stream, score, and what they return."""

import itertools
import math

import numpy as np
import pytest
import reference
from helpers import TEXT, begin
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info, threadpool_limits

from charlstm import CharlstmError, Config, LanguageModel, SamplingParams, corpus_from_text
from charlstm.errors import UsageError
from charlstm.network.evaluation import evaluate
from charlstm.sampling.language_model import Score
from charlstm.text.vocab import UnknownCharactersError, Vocab

OTHER = "5 is smaller than 6, etc.\n3 times 4 is 12.\n"  # "h", "l", "n", "c" and "," are unknown


# ---- generate


def test_same_seed_gives_same_text(trained):
    assert trained.model.generate(length=50, seed=1) == trained.model.generate(length=50, seed=1)


def test_different_seeds_give_different_texts(trained):
    assert trained.model.generate(length=50, seed=1) != trained.model.generate(length=50, seed=2)


def test_without_seed_texts_differ(trained):
    assert len({trained.model.generate(length=60, temperature=2) for _ in range(3)}) == 3


def test_stream_yields_generated_text(trained):
    arguments = {"length": 200, "seed": 1, "stop": (".\n",)}
    assert "".join(trained.model.stream("3 times ", **arguments)) == trained.model.generate("3 times ", **arguments)


def test_prefix_gives_same_text_as_its_prime(trained):
    prefix = trained.model.read("3 times ")
    for seed in range(3):
        assert trained.model.generate(prefix, length=50, seed=seed) == trained.model.generate(
            "3 times ", length=50, seed=seed
        )


def test_arguments_are_those_of_sampling_params(trained):
    sampler = trained.model.sampler(SamplingParams(length=50, temperature=2.0, top_k=5, lines=2))
    expected = "".join(sampler.stream(trained.model.read("3 times "), np.random.default_rng(1)))
    assert trained.model.generate("3 times ", seed=1, length=50, temperature=2.0, top_k=5, lines=2) == expected


def test_default_params_generate_500_characters(trained):
    assert len(trained.model.generate(seed=1)) == 500


@pytest.mark.parametrize("method", ["generate", "stream"])
def test_unknown_sampling_argument_is_named_at_once(method, trained):
    with pytest.raises(TypeError, match="unexpected keyword argument 'temprature'"):
        getattr(trained.model, method)(temprature=0.5)


@pytest.mark.parametrize("method", ["generate", "stream"])
def test_invalid_sampling_argument_is_named_at_once(method, trained):
    with pytest.raises(UsageError, match="top_p: 2 is not a number"):
        getattr(trained.model, method)(top_p=2)


def test_stream_names_unknown_characters_of_prime_at_once(trained):
    with pytest.raises(UnknownCharactersError, match="SNOWMAN"):
        trained.model.stream("☃")


def test_no_copy_uses_characters_of_corpus_with_another_vocabulary(trained):
    corpus = corpus_from_text(OTHER * 3 + "times 34567")
    assert corpus.vocab != trained.model.vocab
    text = trained.model.generate(length=300, temperature=1, no_copy=2, corpus=corpus, seed=1)
    known = set(trained.model.vocab.characters)
    forbidden = {a + b for a, b in itertools.pairwise(corpus.vocab.decode(corpus.ids)) if {a, b} <= known}
    assert not forbidden & set(map("".join, itertools.pairwise(text)))
    plain = trained.model.generate(length=300, temperature=1, seed=1)
    assert forbidden & set(map("".join, itertools.pairwise(plain)))


def test_overflowed_weights_are_reported_by_generate():
    with pytest.raises(CharlstmError, match="predictions are not finite"), np.errstate(all="ignore"):
        overflowed().generate(length=5, seed=1)


def test_copy_has_its_own_weights(trained):
    copy = trained.model.copy()
    copy.network.params["w_out"][...] = 0
    assert trained.model.network.params["w_out"].any()


# ---- score


def test_score_equals_naive_computation():
    model = begin(Config().replace(hidden_size=5, num_layers=2), TEXT).model
    text = TEXT[:60]
    ids, zeros = model.vocab.encode(text), np.zeros((2, 5))
    params = {name: array.astype(np.float64) for name, array in model.network.params.items()}
    expected, _, _ = reference.losses(params, 2, ids.tolist(), zeros, zeros)
    score = model.score(text)
    np.testing.assert_allclose(score.losses[1:], expected, rtol=1e-4)
    assert score.nats_per_char == pytest.approx(np.mean(expected), rel=1e-5)


def test_exact_score_equals_evaluate(trained):
    nats = evaluate(trained.model.network, trained.model.vocab.encode(TEXT))
    assert trained.model.score(TEXT, exact=True).nats_per_char == pytest.approx(nats, rel=1e-6)


def test_score_of_many_streams_equals_exact_score(trained):
    score, exact = trained.model.score(TEXT), trained.model.score(TEXT, exact=True)
    assert not np.array_equal(score.losses[1:], exact.losses[1:])  # several streams were used
    assert score.nats_per_char == pytest.approx(exact.nats_per_char, abs=1e-3)


def test_units_of_score_agree(trained):
    score = trained.model.score(TEXT)
    assert score.nats_per_char == pytest.approx(score.losses[1:].mean(dtype=np.float64))
    assert score.bpc == pytest.approx(score.nats_per_char / math.log(2))
    assert score.perplexity == pytest.approx(math.exp(score.nats_per_char))


def test_huge_loss_has_infinite_perplexity():
    assert Score("12", np.array([np.nan, 1e5], np.float32), np.ones(2, bool), (2,)).perplexity == math.inf


def test_first_character_is_not_predicted(trained):
    score = trained.model.score("1 times 2")
    assert score.chars == 8
    assert np.isnan(score.losses).tolist() == [True] + [False] * 8


def test_unknown_characters_are_skipped_and_counted_and_kept_in_the_text(trained):
    text = "☃1 ☃times é2☃\n"
    score = trained.model.score(text)
    assert score.unknown_chars == 4
    assert (score.text, score.lengths, len(score.losses)) == (text, (14,), 14)
    known = [character not in "☃é" for character in text]
    assert score.known.tolist() == known
    np.testing.assert_array_equal(score.losses[known], trained.model.score("1 times 2\n").losses)
    assert np.isnan(score.losses[np.logical_not(known)]).all()


def test_blas_has_one_thread_while_scoring_and_generating(trained, monkeypatch):
    def threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    def note(*arguments):
        seen.append(threads())
        raise InterruptedError

    seen: list[set[int]] = []
    monkeypatch.setattr("charlstm.sampling.language_model.char_losses", note)
    monkeypatch.setattr(LanguageModel, "stream", lambda *arguments, **params: (note() for _ in range(1)))
    with threadpool_limits(2, "blas"):
        for use in (trained.model.score, trained.model.generate):
            with pytest.raises(InterruptedError):
                use(TEXT)
            assert threads() == {2}
    assert seen == [{1}, {1}]


def test_corpus_of_another_vocabulary_is_scored_by_its_characters(trained):
    """The ids of another vocabulary, taken for the model's own, would give a plausible but wrong loss."""
    vocab, corpus = trained.model.vocab, corpus_from_text(OTHER)
    known = "".join(character for character in OTHER if character in vocab.characters)
    assert not np.array_equal(corpus.ids[: len(known)], vocab.encode(known))
    score = trained.model.score(corpus)
    assert score.text == OTHER
    assert score.unknown_chars == len(OTHER) - len(known) > 0
    assert score.nats_per_char == pytest.approx(evaluate(trained.model.network, vocab.encode(known)))


def test_subset_of_vocabulary_is_scored_by_its_characters(trained):
    corpus = corpus_from_text("9 times 9 is 99.\n" * 5)
    assert corpus.vocab != trained.model.vocab
    expected = evaluate(trained.model.network, trained.model.vocab.encode("9 times 9 is 99.\n" * 5))
    assert trained.model.score(corpus).nats_per_char == pytest.approx(expected)


def test_string_and_corpus_have_same_score(trained):
    np.testing.assert_array_equal(
        trained.model.score(OTHER).losses, trained.model.score(corpus_from_text(OTHER)).losses
    )


def test_newlines_are_converted_before_scoring(trained):
    score = trained.model.score("1 times 2\r\n3 times 4\r5\n")
    assert (score.text, score.unknown_chars) == ("1 times 2\n3 times 4\n5\n", 0)


def test_several_texts_are_scored_as_one_with_newlines_between_them(trained):
    together = trained.model.score("1 times ☃", "2\n", "", corpus_from_text("3 times"), "4")
    assert together.text == "1 times ☃\n2\n3 times\n4"
    assert together.lengths == (10, 2, 0, 8, 1)
    assert together.unknown_chars == 1
    np.testing.assert_array_equal(together.losses, trained.model.score(together.text).losses)


def test_unknown_newline_is_not_added_between_texts():
    model = begin(Config().replace(hidden_size=3), "1 times 2 is 2. " * 20).model
    score = model.score("1 times", "2")
    assert (score.text, score.unknown_chars) == ("1 times2", 0)


@pytest.mark.parametrize(("text", "known"), [("", 0), ("☃", 0), ("1☃", 1)])
def test_too_short_text_is_rejected(text, known, trained):
    with pytest.raises(CharlstmError, match=f"need at least 2 known characters to score, got {known}"):
        trained.model.score(text)


def overflowed() -> LanguageModel:
    """Return a model whose logits are infinite."""
    model = begin(Config().replace(hidden_size=4), TEXT).model
    model.network.params["w_out"][...] = np.float32(3e38)
    model.network.params["layer0.w_x"][...] = 1
    return model


def test_overflowed_weights_are_reported_by_score():
    with pytest.raises(CharlstmError, match="the weights have overflowed; predictions are not finite"):
        overflowed().score(TEXT[:100])


# ---- parts of a score


def assert_add_up(parts: list[Score], whole: Score) -> None:
    """Check that the parts of a score cover it."""
    assert "".join(part.text for part in parts) == whole.text
    np.testing.assert_array_equal(np.concatenate([part.losses for part in parts]), whole.losses)
    total = sum(part.chars * part.nats_per_char for part in parts if part.chars)
    assert total == pytest.approx(whole.chars * whole.nats_per_char)


def test_score_lines_adds_up_to_score(trained):
    text = "1 times 2 is 2.\n\n5 ☃ 6 is 30.\n7 times 8"
    parts, whole = trained.model.score_lines(text), trained.model.score(text)
    assert [part.text for part in parts] == ["1 times 2 is 2.\n", "\n", "5 ☃ 6 is 30.\n", "7 times 8"]
    assert [part.chars for part in parts] == [15, 1, 12, 9]
    assert [part.unknown_chars for part in parts] == [0, 0, 1, 0]
    assert_add_up(parts, whole)


def test_lines_end_at_newlines_only():
    text = "a\x0bb\x0cc\x1cd\x85e\u2028f\n" * 20
    model = begin(Config().replace(hidden_size=3), text).model
    assert len(model.score_lines(text)) == 20


def test_line_depends_on_lines_before_it(trained):
    after_line, alone = trained.model.score_lines("3 times 4 is 12.\n5 times")[1], trained.model.score("5 times")
    assert not np.allclose(after_line.losses[1:], alone.losses[1:])


@given(cuts=st.lists(st.integers(0, 20), max_size=5), again=st.integers(0, 10))
def test_split_follows_lengths(cuts, again):
    edges = [0, *sorted(cuts), 20]
    lengths = [stop - start for start, stop in itertools.pairwise(edges)]
    losses = np.array([np.nan, *range(1, 20)], np.float32)
    whole = Score("abcdefghijklmnopqrst", losses, np.arange(20) % 3 > 0, (20,))
    parts = whole.split(lengths)
    assert [len(part.text) for part in parts] == lengths
    assert [part.lengths for part in parts] == [(length,) for length in lengths]
    assert_add_up(parts, whole)
    for part, start, stop in zip(parts, edges, edges[1:], strict=False):
        np.testing.assert_array_equal(part.losses, losses[start:stop])
        assert part.unknown_chars == len([n for n in range(start, stop) if n % 3 == 0])
        first = min(again, len(part.text))
        if part.chars:
            assert_add_up(part.split([first, len(part.text) - first]), part)


def test_part_without_predictions_has_no_loss(trained):
    first, second = trained.model.score("12").split([1, 1])
    assert (first.chars, second.chars) == (0, 1)
    assert math.isnan(first.nats_per_char)
    assert math.isnan(first.perplexity)


# ---- repr


@pytest.fixture
def huge() -> LanguageModel:
    """A model with a large vocabulary of control characters and the like."""
    vocab = Vocab(np.arange(60_000), np.ones(60_000))
    return LanguageModel(begin(Config().replace(hidden_size=16, num_layers=3), TEXT).model.network, vocab)


@pytest.mark.parametrize("kind", ["model", "prefix", "score", "large model"])
def test_repr_fits_one_line(kind, trained, huge):
    value = {
        "model": trained.model,
        "prefix": trained.model.read(TEXT),
        "score": trained.model.score(TEXT),
        "large model": huge,
    }[kind]
    assert repr(value).startswith(f"{type(value).__name__}(")
    assert "\n" not in repr(value)
    assert len(repr(value)) <= 100


def test_repr_tells_sizes_and_loss(trained):
    score = trained.model.score(TEXT)
    assert repr(trained.model) == "LanguageModel(1 x 12 units, 18 characters)"
    assert repr(trained.model.read("3 times ")) == "Prefix(9 characters)"
    assert repr(score) == f"Score({score.nats_per_char:.4f} nats per character over {len(TEXT) - 1:,} characters)"


# ---- mistakes


def test_score_without_texts_is_refused(trained):
    with pytest.raises(CharlstmError, match="need at least 2 known characters to score, got 0"):
        trained.model.score()


def test_lengths_that_do_not_add_up_are_refused(trained):
    with pytest.raises(ValueError, match="the lengths add up to 10, but the text has 2 characters"):
        trained.model.score("12").split([5, 5])


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_invalid_seed_is_refused_with_its_argument(seed, trained):
    with pytest.raises(UsageError, match=r"^seed: .* is not an integer from 0"):
        trained.model.generate(seed=seed)


def test_newlines_of_the_prime_are_converted(trained):
    assert trained.model.generate("1\r\n2", length=9, seed=1) == trained.model.generate("1\n2", length=9, seed=1)


def test_unknown_characters_of_the_corpus_separate_what_must_not_be_copied(trained):
    sampler = trained.model.sampler(SamplingParams(no_copy=2, length=1), "1☃2")
    (constraint,), _ = sampler.constrain(trained.model.vocab.encode("1"), 1)
    logits = np.zeros((1, len(trained.model.vocab)))
    constraint.mask_logits(logits)
    assert not logits.any()  # "12" does not occur in the corpus
