"""Sampler: texts start and end where they should, and each is the same alone and in a batch."""

import math
from typing import Any

import numpy as np
import pytest
from helpers import begin
from hypothesis import given
from hypothesis import strategies as st

from charlstm import Config, LanguageModel, SamplingParams, corpus_from_text
from charlstm.config.settings import ModelConfig
from charlstm.errors import UsageError
from charlstm.network import matmul
from charlstm.network.char_lstm import init_network
from charlstm.network.dispatch import make_stepper
from charlstm.network.evaluation import evaluate
from charlstm.sampling.filters import softmax
from charlstm.sampling.generate import Sample, StopDetector
from charlstm.text.vocab import UnknownCharactersError


def generate(model: LanguageModel, seed: int = 1, prime: str = "", **params: Any) -> str:
    """Return one text, by default of 50 characters at temperature 1."""
    return model.generate(prime, seed=seed, **{"length": 50, "temperature": 1, **params})


def generate_batch(
    model: LanguageModel, seeds: range | list[int], prime: str = "", *, detailed: bool = False, **params: Any
) -> list[Sample]:
    """Return a text for each seed, generated side by side; `params` as for `generate`."""
    sampler = model.sampler(SamplingParams(**{"length": 50, "temperature": 1, **params}))
    rngs = [np.random.default_rng(seed) for seed in seeds]
    return sampler.generate_batch(model.read(prime), rngs, detailed=detailed)


# ---- where texts start


def test_length_excludes_prime(trained):
    assert len(generate(trained.model, prime="1 times", length=7)) == 7


def test_length_zero_generates_nothing(trained):
    assert generate(trained.model, prime="1 times", length=0) == ""


def test_stream_yields_one_character_at_a_time(trained):
    pieces = list(trained.model.stream(length=9, seed=1))
    assert [len(piece) for piece in pieces] == [1] * 9


def test_prime_is_read_like_generated_text(trained):
    whole = generate(trained.model, prime="3 times ", length=400, temperature=0)
    rest = generate(trained.model, prime="3 times " + whole[:300], length=100, temperature=0)
    assert rest == whole[300:]


def test_prefix_can_be_extended_in_pieces(trained):
    whole = trained.model.read("3 times 4 is 12.\n" * 40)
    pieces = trained.model.read("3 ").extend("").extend("times 4 is 12.\n" + "3 times 4 is 12.\n" * 39)
    np.testing.assert_array_equal(pieces.ids, whole.ids)
    np.testing.assert_allclose(pieces.logits, whole.logits, rtol=1e-4, atol=1e-5)


def test_prefix_is_not_changed_by_extending_it(trained):
    prefix = trained.model.read("3 times ")
    ids, h, logits = prefix.ids.copy(), prefix.state.h.copy(), prefix.logits.copy()
    prefix.extend("4 is")
    for before, now in ((ids, prefix.ids), (h, prefix.state.h), (logits, prefix.logits)):
        np.testing.assert_array_equal(before, now)


def assert_frequencies(texts, characters, p):
    """Check how often each character occurs among 2,000 texts of one character."""
    frequencies = [texts.count(character) / len(texts) for character in characters]
    np.testing.assert_allclose(frequencies, p, atol=4 * (0.25 / 2000) ** 0.5)


def test_text_starts_like_a_line(trained):
    network, vocab = trained.model.network, trained.model.vocab
    state = network.read(vocab.encode("\n").astype(np.intp)[:, None], network.zero_state(1))
    first = [sample.text for sample in generate_batch(trained.model, range(2000), length=1, top_p=1)]
    assert_frequencies(first, vocab.characters, softmax(make_stepper(network).logits(state)[0]))


def test_without_newlines_first_character_is_drawn_by_frequency():
    corpus = corpus_from_text("abacabadabacabae" * 20)
    model = begin(Config().replace(hidden_size=4), corpus).model
    first = [sample.text for sample in generate_batch(model, range(2000), length=1, top_p=1)]
    assert_frequencies(first, "abcde", corpus.vocab.counts / 320)


def test_temperature_at_start_applies_after_spaces_only(trained):
    text = generate(trained.model, length=100, temperature=0, temperature_at_start=5.0)
    assert text != generate(trained.model, length=100, temperature=0)
    for n in range(1, 100):
        if not text[n - 1].isspace():
            assert text[n] == generate(trained.model, prime=text[:n], length=1, temperature=0), n


def test_unknown_characters_in_prime_are_named(trained):
    with pytest.raises(UnknownCharactersError, match="not in the model's vocabulary: '☃' U\\+2603 SNOWMAN"):
        generate(trained.model, prime="☃")


# ---- several at once


@pytest.mark.parametrize("small_kernels", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("hidden_size", [5, 128, 320, pytest.param(512, marks=pytest.mark.slow)])
def test_step_is_bit_identical_for_any_number_of_streams(hidden_size, num_layers, small_kernels, rng, monkeypatch):
    if not small_kernels or not matmul.has_small_kernels():
        monkeypatch.setattr(matmul, "has_small_kernels", lambda: False)
    network = init_network(ModelConfig(hidden_size=hidden_size, num_layers=num_layers), 65, rng)
    ids = rng.integers(0, 65, (5, 64))

    def logits_of(streams):
        stepper, state, logits = make_stepper(network, len(streams)), network.zero_state(len(streams)), []
        for row in ids[:, streams]:
            after, state = stepper.step(row, state)
            logits.append(after)
        return np.array(logits)

    together = logits_of(range(64))
    for streams in ([0], [63], [3, 7], range(5), range(10, 27), range(1, 64)):
        np.testing.assert_array_equal(logits_of(streams), together[:, streams])


@pytest.mark.parametrize("params", [{}, {"repetition_penalty": 0.5, "lines": 2}, {"pattern": ".*"}], ids=str)
def test_text_is_the_same_alone_and_in_a_batch(params, trained):
    params |= {"temperature": 0.9, "top_p": 0.9}
    samples = generate_batch(trained.model, range(20), **params)
    for seed in range(20):
        assert generate_batch(trained.model, [seed], **params)[0] == samples[seed]


def test_stream_generates_the_text_of_a_batch(trained):
    samples = generate_batch(trained.model, range(3))
    assert [generate(trained.model, seed) for seed in range(3)] == [sample.text for sample in samples]


@pytest.mark.slow
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("hidden_size", [128, 512])
def test_each_of_64_texts_is_the_same_alone(hidden_size, num_layers):
    config = Config().replace(hidden_size=hidden_size, num_layers=num_layers, steps=1)
    model = begin(config, "".join(map(chr, range(32, 127))) * 2).model
    for array in model.network.params.values():
        array *= 4  # so that texts depend on everything generated before
    samples = generate_batch(model, range(64), length=200)
    assert len({sample.text for sample in samples}) == 64
    for seed, sample in enumerate(samples):
        assert generate_batch(model, [seed], length=200)[0] == sample
        assert generate(model, seed, length=200) == sample.text


# ---- log-probabilities


def samples_with_details(model: LanguageModel) -> list[Sample]:
    """Return three texts of filtered distributions after a prime of eight characters."""
    return generate_batch(model, range(3), "3 times ", length=40, temperature=0.7, top_k=3, detailed=True)


def test_log_probability_is_that_of_the_network_alone(trained):
    network, vocab = trained.model.network, trained.model.vocab
    for sample in samples_with_details(trained.model):
        ids = vocab.encode("\n3 times " + sample.text)
        nats = evaluate(network, ids) * (len(ids) - 1) - evaluate(network, ids[:9]) * 8
        assert sample.log_probability == pytest.approx(-nats, rel=1e-4)
        assert sample.mean_log_probability == pytest.approx(-nats / 40, rel=1e-4)


def test_details_describe_each_character(trained):
    for sample in samples_with_details(trained.model):
        assert "".join(character for character, *_ in sample.details) == sample.text
        assert sum(math.log(p) for _, p, _, _ in sample.details) == pytest.approx(sample.log_probability)
        assert all(rank < 3 and 0 <= entropy <= math.log(18) for _, _, rank, entropy in sample.details)


def test_batch_has_details_on_request_only(trained):
    assert all(sample.details == [] for sample in generate_batch(trained.model, range(2)))


def test_empty_sample_is_never_the_most_likely():
    assert Sample().mean_log_probability == -math.inf


# ---- where texts end


@given(
    text=st.text("ab\n", max_size=30),
    stops=st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3).map(tuple),
    lines=st.integers(0, 3),
    keep=st.booleans(),
)
def test_text_ends_at_first_stop_or_last_line(text, stops, lines, keep):
    detector = StopDetector(SamplingParams(stop=stops, lines=lines, keep_stop=keep))
    found = ""
    for n, character in enumerate(text, 1):
        found += detector.feed(character)
        so_far = text[:n]
        ended = [stop for stop in stops if so_far.endswith(stop)]
        assert detector.stopped == bool(ended or 0 < lines <= so_far.count("\n"))
        if detector.stopped:
            longest = max(ended, key=len, default="")
            assert found == (so_far if keep else so_far.removesuffix(longest))
            return
        assert so_far.startswith(found)
    assert found + detector.flush() == text


def test_stop_is_excluded(trained):
    whole = generate(trained.model, length=300)
    assert "is" in whole
    assert generate(trained.model, length=300, stop=("is",)) == whole.partition("is")[0]
    assert generate_batch(trained.model, [1], length=300, stop=("is",))[0].text == whole.partition("is")[0]


def test_keep_stop_includes_stop(trained):
    whole = generate(trained.model, length=300)
    assert generate(trained.model, length=300, stop=("is",), keep_stop=True) == whole.partition("is")[0] + "is"


@pytest.mark.parametrize("params", [{"stop": ("is",)}, {"lines": 1}, {"stop": ("is",), "keep_stop": True}], ids=str)
def test_sample_tells_whether_it_stopped(params, trained):
    samples = generate_batch(trained.model, range(12), length=10, **params)
    end = params.get("stop", ("\n",))[0]
    assert [sample.stopped for sample in samples] == [
        end in generate(trained.model, seed, length=10) for seed in range(12)
    ]
    assert {sample.stopped for sample in samples} == {True, False}


def test_detector_tells_whether_a_streamed_text_stopped(trained):
    for length, stopped in ((300, True), (1, False)):
        params = SamplingParams(length=length, temperature=1, stop=("is",))
        detector = StopDetector(params)
        list(trained.model.sampler(params).stream(trained.model.read(), np.random.default_rng(1), detector))
        assert detector.stopped == stopped


def test_lines_limits_lines(trained):
    whole = generate(trained.model, length=300)
    assert generate(trained.model, length=300, lines=3) == "".join(whole.splitlines(keepends=True)[:3])


def test_stop_with_unknown_characters_is_rejected(trained):
    with pytest.raises(UsageError, match=r"stop: '☃' can never match: not in the model's vocabulary: .* SNOWMAN"):
        trained.model.sampler(SamplingParams(stop=("s", "☃")))
