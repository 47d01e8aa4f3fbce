"""Logits -> the next id -> text: a generator that writes as it goes."""

import math
from collections.abc import Iterator

import numpy as np

from charlstm.errors import CharlstmError
from charlstm.model import CharLSTM
from charlstm.stepper import Stepper
from charlstm.vocab import Vocab
from charlstm.workspace import Floats

_PRIME_WINDOW = 256
_LEAST_TEMPERATURE = 1e-200  # at which no quotient overflows


def generate(
    model: CharLSTM,
    vocab: Vocab,
    length: int,
    *,
    rng: np.random.Generator,
    temperature: float = 1.0,
    prime: str = "",
) -> Iterator[str]:
    """Write a text, character by character; it begins like a line.

    Args:
        model: predicts.
        vocab: its characters.
        length: characters to write, after the prime.
        rng: source of the choices.
        temperature: below 1 keeps to what is likely, above 1 dares more; 0 always takes the likeliest.
        prime: what the text starts with; it is read, not written. A line end is read before it, where the model knows
            one. Without either, the first character is drawn by how often each stands in the training text.

    Yields:
        One character at a time.

    Raises:
        UnknownCharactersError: the prime has characters that the model does not know.
    """
    characters = vocab.decode(range(len(vocab)))
    state, stepper = model.zero_state(1), Stepper(model)
    prime = "\n" * ("\n" in characters) + prime
    for start in range(0, len(prime), _PRIME_WINDOW):
        state = model.read(vocab.encode(prime[start : start + _PRIME_WINDOW]).astype(np.intp)[:, None], state)
    state = state.of(0)
    logits = stepper.logits(state) if prime else np.log(vocab.counts)
    for _ in range(length):
        id = choose(logits, temperature, rng)
        yield characters[id]
        logits, state = stepper.step(id, state)


def choose(logits: Floats, temperature: float, rng: np.random.Generator) -> int:
    """Draw the next id from `softmax(logits / temperature)`, in float64; at temperature 0, take the likeliest.

    Args:
        logits: [V].
        temperature: 0 or more; neither tiny nor huge ones overflow.
        rng: gives one number; at temperature 0, none.

    Raises:
        CharlstmError: the logits are not finite.
    """
    likeliest = logits.argmax()
    if not math.isfinite(logits[likeliest]):
        raise CharlstmError("the model is broken: its weights are so large that its predictions are not numbers")
    if temperature == 0:
        return int(likeliest)
    scores = logits.astype(np.float64)
    scores -= scores[likeliest]  # so that the likeliest has 0, whatever it is divided by
    scores /= max(temperature, _LEAST_TEMPERATURE)
    cumulated = np.add.accumulate(np.exp(scores, out=scores))
    return int(cumulated[:-1].searchsorted(rng.random() * cumulated[-1], "right"))
