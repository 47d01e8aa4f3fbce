"""`charlstm plan`: what a text is like, which settings suit it, and what they cost."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from charlstm.advice import RARE, advised, file_bytes, measured_speed, memory_bytes, repeated_lines
from charlstm.cli.display import as_json, printable
from charlstm.cli.words import shown_settings
from charlstm.config import Config
from charlstm.corpus import Corpus, read_corpus
from charlstm.training import batches_of, total_steps_of

_LINE_ENDS = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
_SHOWN_RARE = 20


def print_plan(paths: Sequence[str], flags: Mapping[str, Any], json: bool) -> None:
    """Print what a text is like, and what to do with it."""
    corpus = read_corpus(paths, Config().replace(**flags).data.encoding)
    settings = advised(corpus, flags)
    values = _text(corpus) | {"settings": settings} | _cost(corpus, Config().replace(**flags, **settings))
    if json:
        print(as_json(values, indent=2))
        return
    rare, ends = values["rare"], " and ".join(values["line_ends"]) or "nothing"
    shown = ", ".join(f"{printable(c)!r} {n}" for c, n in list(rare.items())[:_SHOWN_RARE])
    print(f"text        {values['chars']:,} characters, {values['vocabulary']} different ones")
    print(f"rare        {len(rare)} of them stand there less than {RARE} times{': ' * bool(rare)}{shown}")
    print(f"lines       end in {ends}; {values['repeated_lines']:.1%} repeat another")
    print(f"settings    {shown_settings(settings)}")
    print(f"speed       {values['chars_per_s']:,.0f} characters/s, measured just now")
    print(f"time        {values['seconds']:,.0f} s, {values['epochs']:.1f} epochs")
    print(f"memory      {values['memory_mb']:,.0f} MB; a file of {values['file_mb']:.1f} MB")
    given = Config().replace(**flags).shown()
    limits = [part for name in flags for part in (f"--{name.replace('_', '-')}", given[name])]
    print("This chooses these settings by itself:")
    print(f"    {printable(shlex.join(['charlstm', 'train', *paths, *limits]))}")


def _text(corpus: Corpus) -> dict[str, Any]:
    characters = corpus.vocab.decode(range(len(corpus.vocab)))
    counts = dict(zip(characters, corpus.vocab.counts.tolist(), strict=True))
    return {
        "chars": len(corpus.ids),
        "vocabulary": len(corpus.vocab),
        "rare": {character: count for character, count in counts.items() if count < RARE},
        "repeated_lines": repeated_lines(corpus),
        "line_ends": sorted(_LINE_ENDS[end] for end in corpus.line_ends),
    }


def _cost(corpus: Corpus, config: Config) -> dict[str, Any]:
    batches = batches_of(config, corpus.split(config.data.val_fraction)[0])
    chars_per_s = measured_speed(config, corpus)
    steps = total_steps_of(config.train, batches)
    seconds = (config.train.time_s or 0) if steps is None else steps * batches.chars / chars_per_s
    return {
        "chars_per_s": chars_per_s,
        "seconds": seconds,
        "epochs": seconds * chars_per_s / (len(batches) * batches.chars),
        "memory_mb": memory_bytes(config, corpus) / 1e6,
        "file_mb": file_bytes(config, len(corpus.vocab)) / 1e6,
    }
