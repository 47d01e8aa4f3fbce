"""The likeliest text, as far as a beam search finds it."""

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from charlstm.errors import CharlstmError
from charlstm.filters import log_softmax
from charlstm.model import CharLSTM
from charlstm.sampling import NO_WAY_ON, Ending, Rules, Start, Text, guides_of, narrowed
from charlstm.stepper import Stepper
from charlstm.vocab import Vocab

_NO_RULES = Rules()


def beam_search(model: CharLSTM, vocab: Vocab, start: Start, length: int, width: int, rules: Rules = _NO_RULES) -> Text:
    """Return the text of the highest mean log-probability among those that a beam search meets.

    Of all that the `width` best beginnings can go on with, the best `width` are kept, step by step. A text is complete
    where a rule ends it, or after `length` characters.

    Args:
        model: predicts.
        vocab: its characters.
        start: where the text goes on.
        length: characters at most.
        width: beginnings that are kept; with 1, each character is the likeliest.
        rules: what the text may be, and where it ends.
    """
    characters = vocab.decode(range(len(vocab)))
    stepper, state, logits = Stepper(model, width), start.state, start.logits
    guides, matching = guides_of(rules, start.ids, 1, len(vocab), length)
    beams, best = [_Beam(Text(), Ending(rules), 0.0)], Text()
    for _ in range(length):
        if matching:
            best = max([best, *(beams[b].whole() for b in np.flatnonzero(matching.matched))], key=_mean)
        log_p = log_softmax(logits)  # [B, V]
        scores = np.array([beam.score for beam in beams])[:, None] + narrowed(log_p, guides)
        likeliest = np.argsort(-scores, axis=None, kind="stable")[:width]
        parents, ids = np.divmod(likeliest[np.isfinite(scores.ravel()[likeliest])], len(vocab))
        grown = [
            beams[b].grown(characters[id], float(log_p[b, id]), float(scores[b, id]))
            for b, id in zip(parents, ids, strict=True)
        ]
        best = max([best, *(beam.whole() for beam in grown if beam.ending.over)], key=_mean)
        alive = [n for n, beam in enumerate(grown) if not beam.ending.over]
        beams, parents, ids = [grown[n] for n in alive], parents[alive], ids[alive]
        if not beams:
            break
        for guide in guides:
            guide.select(parents)
            guide.read(ids)
        logits, state = stepper.step(ids, state.of(parents))
    complete = [beam for b, beam in enumerate(beams) if matching is None or matching.matched[b]] if beams else []
    best = max([best, *(beam.whole() for beam in complete)], key=_mean)
    if length and not best.chars and not (matching and rules.pattern and rules.pattern.missing(0) == 0):
        raise CharlstmError(NO_WAY_ON)
    return best


def _mean(text: Text) -> float:
    return text.mean


@dataclass(frozen=True)
class _Beam:
    """A beginning, what is held back of it, and what it is kept for: its log-probability, less penalties."""

    text: Text
    ending: Ending
    score: float

    def grown(self, character: str, log_probability: float, score: float) -> "_Beam":
        ending, text = copy(self.ending), self.text
        whole = text.text + ending.feed(character)
        return _Beam(Text(whole, text.chars + 1, text.log_probability + log_probability), ending, score)

    def whole(self) -> Text:
        return replace(self.text, text=self.text.text + copy(self.ending).rest())
