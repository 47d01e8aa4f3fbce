"""What each command is asked for: one frozen dataclass from the flags to the module that carries it out."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charlstm.config.kinds import (
    boolean,
    check_settings,
    flag_of,
    integer,
    name,
    number,
    one_of,
    setting,
    settings_of,
    switch,
    text,
)
from charlstm.config.presets import bundled_models
from charlstm.config.settings import ENCODINGS, SEEDS
from charlstm.errors import UsageError
from charlstm.sampling.params import DEFAULT_TEMPERATURE, SamplingParams

_CHECKPOINT = setting("model.npz", name(), "Model file to load.", flag="--ckpt", group="Model")
_COMPILED = (
    "numba is compiled and up to 2.4 times as fast, and needs charlstm[fast]; its results differ in the last digits"
)
_JSON = switch("Print JSON.", flag="--json", group="Output")
_SAMPLE_NEEDS = {
    "cite": ("corpus",),
    "corpus": ("no_copy", "cite"),
    "each_line": ("prime_file",),
    "encoding": ("corpus", "prime_file"),
    "field": ("corpus", "prime_file"),
    "hide_prime": ("prime", "prime_file"),
    "keep_stop": ("stop",),
    "no_copy": ("corpus",),
    "probs": ("as_json",),
    "raw": ("corpus", "prime_file"),
    "repetition_free": ("repetition_penalty",),
    "separator": ("num", "each_line"),
}
_SCORE_NEEDS = {"color": ("highlight",), "min_chars": ("by",), "sort": ("by",)}
_EXCLUDES = {
    "beam": (
        "num",
        "best_of",
        "max_chars",
        "probs",
        "temperature",
        "temperature_at_start",
        "top_k",
        "typical",
        "top_p",
        "min_p",
    ),
    "max_chars": ("length",),
    "pattern": ("stop", "lines"),
    "prime": ("prime_file",),
    "separator": ("as_json",),
}
_REASONS = {
    "beam": ": beam search finds only the most likely text",
    "max_chars": ": a longer text is generated again, not cut",
    "pattern": ": the pattern determines where the text ends",
    "separator": ": each text is one line of JSON",
}


@dataclass(frozen=True)
class TrainRequest:
    """`charlstm train`, without the settings of the run."""

    corpus: tuple[str, ...]
    output: str = setting(
        "model.npz", name(), "Model file to write. Also stores the state needed to resume.", short="-o", group="Output"
    )
    resume: bool = switch("Resume the run saved in --output.", group="Output")
    init_from: str | None = setting(
        None,
        name(),
        "Start from the weights of this model instead of random ones: a file, or @english, the bundled model. It "
        "determines the size; the corpus determines the vocabulary.",
        group="Model",
    )
    force: bool = switch(
        "Overwrite --output. With --resume, accept a different corpus for an unfinished run.", group="Output"
    )
    log: str | None = setting(None, name(), "Append one line of JSON per evaluation to this file.", group="Output")
    keep_ids: bool = switch(
        "Keep the ids file of a large text (--output plus .ids) after the run. Training can then continue without "
        "reading the text again.",
        group="Output",
    )
    quiet: bool = switch("Print nothing but errors.", short="-q", group="Output")


@dataclass(frozen=True)
class SampleRequest:
    """`charlstm sample`."""

    params: SamplingParams = field(default_factory=SamplingParams)
    seed: int | None = setting(
        None,
        SEEDS,
        "Random seed. The same seed gives the same text; by default, the text differs every time.",
        group="Reproducibility",
    )
    num: int = setting(1, integer(1, 10**9), "Generate N texts, each from its own seed.", group="Output")
    best_of: int = setting(
        1, integer(1, 10**6), "Generate N candidates for each text and keep the most likely.", group="Search"
    )
    max_chars: int = setting(
        0,
        integer(0, 10**9),
        "Generate a text again, up to 100 times, if it is longer than N characters. 0 turns it off.",
        group="Length",
    )
    beam: int = setting(
        0, integer(0, 10**4), "Search for the most likely text with beam width N. 0 turns it off.", group="Search"
    )
    prime: str = setting("", text(), "Text to continue; - reads it from standard input.", group="Prime")
    prime_file: str | None = setting(None, name(), "Read the text to continue from this file.", group="Prime")
    each_line: bool = switch("Continue each line of --prime-file on its own.", group="Prime")
    hide_prime: bool = switch("Leave the prime out of the output.", group="Prime")
    unknown: str = setting(
        "error",
        one_of("error", "skip", "nearest"),
        "How to handle prime characters outside the vocabulary. nearest replaces é with e.",
        group="Prime",
    )
    corpus: str | None = setting(None, name(), "The training text, for --no-copy and --cite.", group="Constraints")
    cite: bool = switch("Report the longest substring that each text shares with --corpus.", group="Constraints")
    encoding: str | None = setting(
        None,
        ENCODINGS,
        "Encoding of --corpus and --prime-file. Defaults to the encoding used in training.",
        group="Prime",
    )
    field: str | None = setting(
        None,
        name("NAME"),
        "Field with the text in --corpus and --prime-file. Defaults to that used in training.",
        group="Prime",
    )
    raw: bool | None = setting(None, boolean(), "Read tables, JSON and HTML unchanged.", group="Prime")
    output: str | None = setting(
        None, name(), "Write to this file instead of standard output.", short="-o", group="Output"
    )
    force: bool = switch("Overwrite --output.", group="Output")
    separator: str | None = setting(
        None,
        text(),
        "Write this between texts (\\n is a newline). Defaults to a newline for texts of one line, a blank line if the "
        "documents of the corpus were separated by blank lines, and otherwise a heading with the seed.",
        group="Output",
    )
    kernel: str = setting(
        "numpy",
        one_of("numpy", "numba"),
        f"Backend for the network. {_COMPILED}, so the same seed can give a different text.",
        group="Reproducibility",
    )
    checkpoint: str = _CHECKPOINT
    as_json: bool = _JSON
    probs: bool = switch("With --json, add the probability, rank and entropy of each character.", group="Output")

    @property
    def several(self) -> bool:
        """Whether there may be more than one text."""
        return self.num > 1 or self.each_line

    @property
    def live(self) -> bool:
        """Whether there is one text, which can be written while it is generated."""
        needs_all_of_it = self.beam or self.max_chars or self.as_json or self.cite
        return not (self.several or self.best_of > 1 or needs_all_of_it)

    def __post_init__(self) -> None:
        """Reject flags that would have no effect or contradict each other."""
        check_settings(self)
        given = _given(self.params) | _given(self)
        _check_needs(given, _SAMPLE_NEEDS)
        for each in sorted(given):
            for other in sorted(given & set(_EXCLUDES.get(each, ()))):
                raise UsageError(f"{_flag(each)} cannot be used with {_flag(other)}{_REASONS.get(each, '')}")


@dataclass(frozen=True)
class PlayRequest:
    """`charlstm play`."""

    length: int = setting(200, integer(1, 10**9), "Characters per turn.", short="-n", group="Length")
    temperature: float = setting(
        DEFAULT_TEMPERATURE,
        number(0, sys.float_info.max),
        "Lower is safer, higher is wilder.",
        short="-t",
        group="Sampling",
    )
    seed: int | None = setting(
        None, SEEDS, "Random seed. The same seed and input give the same story.", group="Reproducibility"
    )
    checkpoint: str = _CHECKPOINT


@dataclass(frozen=True)
class ConvertRequest:
    """`charlstm convert`."""

    output: str | None = setting(None, name(), "Model file to write. Required.", short="-o", group="Output")
    force: bool = switch("Overwrite --output.", group="Output")
    half: bool = switch("Store the weights as float16: half the size.", group="Output")
    int8: bool = switch("Store the weights as int8: a quarter of the size.", group="Output")
    checkpoint: str = _CHECKPOINT

    def __post_init__(self) -> None:
        _check_output(self.output, "convert needs --output, the model file to write")
        if self.half and self.int8:
            raise UsageError("--half and --int8 are mutually exclusive; give only one of them")


@dataclass(frozen=True)
class ExportRequest:
    """`charlstm export`."""

    output: str | None = setting(None, name(), "File to write. Required.", short="-o", group="Output")
    to: str = setting(
        "html",
        one_of("html", "safetensors"),
        "Format. html is a web page. safetensors stores the weights under PyTorch's parameter names, in its gate order "
        "(needs charlstm[interop]).",
        group="Output",
    )
    force: bool = switch("Overwrite --output.", group="Output")
    half: bool = switch("Store a page's weights as float16 instead of int8, which doubles its size.", group="Output")
    title: str | None = setting(
        None, text(), "Title of the page. Defaults to the model's file name without .npz.", group="Output"
    )
    prime: str = setting("", text(), "Opening text in the page, for the model to continue.", group="Prime")
    checkpoint: str = _CHECKPOINT

    def __post_init__(self) -> None:
        _check_output(self.output, f"export needs --output, the file to write, such as model.{self.to}")
        if self.to != "html" and (given := _given(self) & {"half", "title", "prime"}):
            raise UsageError(f"{_flag(min(given))} needs --to html")


@dataclass(frozen=True)
class ReportRequest:
    """`charlstm report`."""

    files: tuple[str, ...]
    output: str | None = setting(None, name(), "HTML file to write. Required.", short="-o", group="Output")
    force: bool = switch("Overwrite --output.", group="Output")
    title: str | None = setting(
        None, text(), "Title of the page. Defaults to the model's file name without .npz.", group="Output"
    )
    checkpoint: str = _CHECKPOINT

    def __post_init__(self) -> None:
        _check_output(self.output, "report needs --output, the HTML file to write, such as report.html")


@dataclass(frozen=True)
class PlotRequest:
    """`charlstm plot`."""

    runs: tuple[str, ...]
    output: str | None = setting(None, name(), "SVG file to write. Required.", short="-o", group="Output")
    force: bool = switch("Overwrite --output.", group="Output")
    axis: str = setting(
        "chars",
        one_of("chars", "epochs", "steps", "time"),
        "Unit of the horizontal axis. Only the files that train --log writes record time.",
        flag="--x",
        group="Output",
    )

    def __post_init__(self) -> None:
        _check_output(self.output, "plot needs --output, the SVG file to write, such as curves.svg")


@dataclass(frozen=True)
class ScoreRequest:
    """`charlstm score`."""

    files: tuple[str, ...]
    encoding: str | None = setting(
        None, ENCODINGS, "Encoding of the files. Defaults to that used in training.", group="Corpus"
    )
    include: str | None = setting(
        None,
        name("PATTERN"),
        "In directories and archives, read only the files that match this pattern. Can be repeated.",
        group="Corpus",
        joined=True,
    )
    field: str | None = setting(
        None, name("NAME"), "Field with the text in tables and JSON. Defaults to that used in training.", group="Corpus"
    )
    raw: bool | None = setting(None, boolean(), "Read tables, JSON and HTML unchanged.", group="Corpus")
    baselines: str | None = setting(
        None,
        name("CORPUS"),
        "Also print the losses of baselines trained on this corpus: character frequencies, n-grams and xz.",
        group="Evaluation",
    )
    by: str | None = setting(
        None,
        one_of("file", "line", "document"),
        "Also score the parts individually. Documents are delimited as in training, or by blank lines if the model was "
        "trained without --documents.",
        group="Evaluation",
    )
    sort: bool = switch("With --by, list the worst-predicted parts first.", group="Evaluation")
    min_chars: int = setting(
        2,
        integer(0, 10**12),
        "With --by, leave out parts with fewer than N scored characters. The default leaves out blank lines.",
        group="Evaluation",
    )
    highlight: bool = switch(
        "Print the text, not the scores, with poorly predicted characters in colour.", group="Output"
    )
    color: str = setting(
        "auto",
        one_of("auto", "always", "never"),
        "When --highlight uses colour. auto: on a terminal, unless NO_COLOR is set.",
        group="Output",
    )
    exact: bool = switch("Read the text in a single stream instead of up to 64. Slower, but exact.", group="Evaluation")
    adapt: bool = switch(
        "Adapt the weights to the text while scoring: one gradient step every 32 characters (dynamic evaluation). Use "
        "it for text unlike the training text. Slower; the model file is not changed.",
        group="Evaluation",
    )
    kernel: str = setting(
        "numpy", one_of("numpy", "numba"), f"Backend for the network. {_COMPILED}.", group="Reproducibility"
    )
    checkpoint: str = _CHECKPOINT
    as_json: bool = _JSON

    def __post_init__(self) -> None:
        _check_needs(_given(self), _SCORE_NEEDS)
        if self.adapt and self.exact:
            raise UsageError("--exact has no effect with --adapt, which always reads in a single stream")
        if self.highlight and (self.by or self.baselines is not None or self.as_json):
            raise UsageError("--highlight cannot be used with --by, --baselines or --json: it prints the text only")


def _check_output(output: str | None, message: str) -> None:
    if output is None:
        raise UsageError(message)


def is_model(path: str) -> bool:
    """Return whether an argument is a model file rather than a text, by its name."""
    return path.lower().endswith(".npz") or path in bundled_models()


def _given(section: Any) -> set[str]:
    """Return the names of the settings that differ from their defaults."""
    return {each.name for each in settings_of(section) if getattr(section, each.name) != each.default}


def _check_needs(given: set[str], needs: Mapping[str, tuple[str, ...]]) -> None:
    """Reject a flag without one of the flags that it needs."""
    for each in sorted(given & needs.keys()):
        if not given & set(needs[each]):
            raise UsageError(f"{_flag(each)} needs {' or '.join(map(_flag, needs[each]))}")


def _flag(name: str) -> str:
    return flag_of(name.removeprefix("as_"))
