"""The most likely text, as far as a beam search finds it."""

from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from charlstm.errors import CharlstmError
from charlstm.sampling.filters import log_softmax
from charlstm.sampling.generate import NO_CONTINUATION, Prefix, Sample, Sampler, StopDetector, apply_constraints


def beam_search(sampler: Sampler, prefix: Prefix, width: int) -> Sample:
    """Return the text with the highest mean log-probability among those that a beam search visits.

    Of all continuations by one character of the `width` best beginnings, the `width` best are kept, step by step. A
    text is complete where it stops, where it matches its pattern, or after `max_length` characters.

    Args:
        sampler: its constraints and stops apply; temperature and filters do not.
        prefix: read before the text.
        width: beginnings that are kept; with 1, each character is the most likely one.

    Raises:
        CharlstmError: no text is allowed.
    """
    params, symbols = sampler.params, sampler.vocab.symbols
    stepper, state, logits = sampler.stepper(width), prefix.state, prefix.logits
    constraints, match = sampler.constrain(prefix.ids, 1)
    beams, best = [_Beam(Sample(), StopDetector(params), 0.0)], Sample()
    for _ in range(params.max_length):
        if match:
            best = max([best, *(beams[b].finish() for b in np.flatnonzero(match.matched))], key=_mean)
        log_p = log_softmax(logits)  # [B, V]
        scores = np.array([beam.score for beam in beams])[:, None] + apply_constraints(log_p, constraints)
        order = np.argsort(-scores, axis=None, kind="stable")[:width]
        parents, ids = np.divmod(order[np.isfinite(scores.ravel()[order])], len(symbols))
        grown = [
            beams[b].grow(symbols[id], float(log_p[b, id]), float(scores[b, id]))
            for b, id in zip(parents, ids, strict=True)
        ]
        best = max([best, *(beam.finish() for beam in grown if beam.detector.stopped)], key=_mean)
        alive = [n for n, beam in enumerate(grown) if not beam.detector.stopped]
        beams, parents, ids = [grown[n] for n in alive], parents[alive], ids[alive]
        if not beams:
            break
        for constraint in constraints:
            constraint.select(parents)
            constraint.read(ids)
        logits, state = stepper.step(ids, state.streams(parents))
    complete = [beam for b, beam in enumerate(beams) if match is None or match.matched[b]] if beams else []
    best = max([best, *(beam.finish() for beam in complete)], key=_mean)
    if params.max_length and not best.chars and not sampler.may_be_empty():
        raise CharlstmError(NO_CONTINUATION)
    return best


def _mean(sample: Sample) -> float:
    return sample.mean_log_probability


@dataclass(frozen=True)
class _Beam:
    """A beginning, its stop detector, and the score it is kept for: its log-probability less penalties."""

    sample: Sample
    detector: StopDetector
    score: float

    def grow(self, character: str, log_probability: float, score: float) -> "_Beam":
        detector, sample = copy(self.detector), self.sample
        text = sample.text + detector.feed(character)
        return _Beam(Sample(text, sample.chars + 1, sample.log_probability + log_probability), detector, score)

    def finish(self) -> Sample:
        text = self.sample.text + copy(self.detector).flush()
        return replace(self.sample, text=text, stopped=self.detector.stopped)
