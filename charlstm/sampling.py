"""Logits -> the next id -> text: a generator that writes as it goes."""

from collections.abc import Iterator

import numpy as np

from charlstm.errors import CharlstmError
from charlstm.model import CharLSTM
from charlstm.vocab import Vocab
from charlstm.workspace import Floats

_PRIME_WINDOW = 256


def generate(
    model: CharLSTM,
    vocab: Vocab,
    length: int,
    *,
    rng: np.random.Generator,
    temperature: float = 1.0,
    prime: str = "",
) -> Iterator[str]:
    """Write a text, character by character.

    Args:
        model: predicts.
        vocab: its characters.
        length: characters to write, after the prime.
        rng: source of the choices.
        temperature: below 1 keeps to what is likely, above 1 dares more; 0 always takes the likeliest.
        prime: what the text starts with; it is read, not written. Without one, the state starts at zero, and the first
            character is drawn by how often each stands in the training text: all that can be said of it there.

    Yields:
        One character at a time.

    Raises:
        UnknownCharactersError: the prime has characters that the model does not know.
    """
    state = model.zero_state(1)
    for start in range(0, len(prime), _PRIME_WINDOW):
        state = model.read(vocab.encode(prime[start : start + _PRIME_WINDOW]).astype(np.intp)[:, None], state)
    logits = model.logits(state)[0] if prime else np.log(vocab.counts)
    for _ in range(length):
        id = choose(logits, temperature, rng)
        yield vocab.decode([id])
        next_logits, state = model.step(np.array([id]), state)
        logits = next_logits[0]


def choose(logits: Floats, temperature: float, rng: np.random.Generator) -> int:
    """Draw the next id from `softmax(logits / temperature)`, in float64; at temperature 0, take the likeliest.

    Args:
        logits: [V].
        temperature: 0 or more; neither tiny nor huge ones overflow.
        rng: gives one number; at temperature 0, none.

    Raises:
        CharlstmError: the logits are not finite.
    """
    if not np.isfinite(logits).all():
        raise CharlstmError("the model is broken: its weights are so large that its predictions are not numbers")
    scores = logits.astype(np.float64) - logits.max()  # the likeliest has 0, whatever it is divided by
    if temperature == 0:
        return int(scores.argmax())
    with np.errstate(over="ignore"):
        cumulated = np.cumsum(np.exp(scores / temperature))
    return int(np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right"))
