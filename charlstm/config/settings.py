"""Every setting of a run, with its default, range and help. The flags, the YAML keys and the docs come from here.

A configuration is frozen, and its values are checked on construction.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charlstm.config.kinds import (
    AUTO,
    Setting,
    boolean,
    check_settings,
    duration,
    encoding,
    integer,
    name,
    number,
    one_of,
    setting,
    settings_of,
)
from charlstm.errors import UsageError, quote, suggest

DEFAULT_TIME_S = 120.0
LIMITS = ("steps", "epochs", "time")  # a run has one of them
SEEDS = integer(0, 2**63 - 1)
ENCODINGS = encoding()
_AFTER_READING = ("min_count", "val_fraction", "deduplicate")  # settings of data that `read_corpus` does not need


@dataclass(frozen=True)
class DataConfig:
    """How the corpus is read, encoded and split."""

    encoding: str = setting(
        AUTO,
        ENCODINGS,
        "Encoding of the corpus. auto follows each file's byte-order mark, or else tries UTF-8, or else detects the "
        "encoding (needs charlstm[encodings]).",
        group="Corpus",
    )
    include: str | None = setting(
        None,
        name("PATTERN"),
        "In directories and archives, read only the files that match this pattern, such as '*.md'. Can be repeated.",
        group="Corpus",
        joined=True,
    )
    field: str | None = setting(
        None,
        name("NAME"),
        "Field with the text in .csv, .tsv, .jsonl and .json files. Dots reach into objects: user.name.",
        group="Corpus",
    )
    raw: bool = setting(
        False, boolean(), "Read tables, JSON, HTML and social-media exports unchanged, markup included.", group="Corpus"
    )
    unescape_html: bool = setting(
        False, boolean(), "Replace HTML character references: &amp; becomes &.", group="Corpus"
    )
    strip_urls: bool = setting(False, boolean(), "Remove web addresses.", group="Corpus")
    lowercase: bool = setting(
        False, boolean(), "Convert the corpus to lower case. Try it for small corpora.", group="Corpus"
    )
    normalize: str = setting(
        "none",
        one_of("none", "NFC", "NFKC"),
        "Convert the corpus to this Unicode normalisation form. Try NFC if é is written in two ways, as one character "
        "and as e with a combining accent.",
        group="Corpus",
    )
    min_count: int = setting(
        1,
        integer(1, 10**9),
        "Merge characters that occur fewer than N times into one unknown character, which is never generated. Try 10 "
        "for a corpus with thousands of distinct characters.",
        group="Corpus",
    )
    val_fraction: float = setting(
        0.1,
        number(0, 0.5),
        "Fraction held out for validation, from the end of the corpus; with --documents, whole documents spread over "
        "it. 0 trains on everything.",
        group="Corpus",
    )
    documents: str = setting(
        "none",
        one_of("none", "line", "row", "file", "blank-line"),
        "Train on separate documents, such as posts, in an order shuffled for each epoch: each line, row, file, or "
        "passage between blank lines. Samples then begin and end as documents do.",
        group="Corpus",
    )
    deduplicate: bool = setting(
        False, boolean(), "Drop copies of earlier documents. Needs --documents.", group="Corpus"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.raw and self.field is not None:
            raise UsageError("raw and field are mutually exclusive; give only one of them")

    @property
    def reading(self) -> dict[str, Any]:
        """The settings of `read_corpus`."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in _AFTER_READING}


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network."""

    hidden_size: int = setting(
        256,
        integer(1, 16384),
        "Units per layer. 128 suits a minute of training, 256 a few minutes, 512 an hour.",
        group="Model",
    )
    num_layers: int = setting(
        1,
        integer(1, 16),
        "Number of layers. A second layer pays off in runs of several hours; halve the learning rate of a preset.",
        group="Model",
    )
    dropout: float = setting(
        0.0,
        number(0, 0.95),
        "Dropout rate between layers and before the output. Try 0.2 to 0.5 if the model overfits.",
        group="Regularisation",
    )
    input_dropout: float = setting(0.0, number(0, 0.95), "Dropout rate on input characters.", group="Regularisation")
    dropconnect: float = setting(
        0.0, number(0, 0.95), "Dropout rate on recurrent weights. Try 0.2 to 0.5 for long runs.", group="Regularisation"
    )
    init: str = setting(
        "orthogonal",
        one_of("orthogonal", "uniform"),
        "Initial weights. orthogonal: orthogonal recurrent weights, all others uniform within ±1/sqrt(units); "
        "uniform: all weights uniform within ±0.5/units.",
        group="Model",
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class TrainConfig:
    """The training recipe."""

    batch_size: int = setting(
        16,
        integer(1, 65536),
        "Number of streams: parts of the corpus read in parallel. Multiples of 8 are fastest. Under mpiexec, the ranks "
        "divide them.",
        group="Batches",
    )
    seq_len: int = setting(
        48,
        integer(1, 65536),
        "Characters per window (truncated BPTT length). The state carries over between windows.",
        group="Batches",
    )
    time: float | None = setting(
        None,
        duration(),
        "Stop after this time: 90s, 10m, 1h30m. The default limit without --steps or --epochs.",
        group="Limits",
    )
    steps: int | None = setting(None, integer(1, 10**12), "Stop after N updates.", group="Limits")
    epochs: float | None = setting(
        None, number(0, 1e9, above=True), "Stop after X passes over the corpus.", group="Limits"
    )
    learning_rate: float = setting(0.01, number(0, 1000, above=True), "Peak learning rate.", group="Learning rate")
    schedule: str = setting(
        "cosine",
        one_of("cosine", "linear", "constant", "step", "plateau"),
        "Learning-rate schedule after warm-up. cosine and linear decay to 0; constant does not change; step multiplies "
        "the rate by --decay-factor at intervals of --decay-every; plateau does so after each evaluation without "
        "improvement.",
        group="Learning rate",
    )
    decay_factor: float = setting(
        0.5, number(0, 1, above=True), "Factor for the step and plateau schedules.", group="Learning rate"
    )
    decay_every: float = setting(
        0.2,
        number(0, 1, above=True),
        "Fraction of the run between decays, for the step schedule.",
        group="Learning rate",
    )
    warmup_fraction: float = setting(
        0.05,
        number(0, 1),
        "Warm-up: fraction of the run over which the learning rate rises from 0.",
        group="Learning rate",
    )
    optimizer: str = setting(
        "adam", one_of("adam", "rmsprop", "sgd"), "Update rule. Adam with --weight-decay is AdamW.", group="Optimiser"
    )
    momentum: float = setting(0.0, number(0, 0.9999999), "Momentum for SGD; 0.9 is typical.", group="Optimiser")
    nesterov: bool = setting(False, boolean(), "Use Nesterov momentum with SGD.", group="Optimiser")
    beta1: float = setting(
        0.0,
        number(0, 0.9999999),
        "Decay rate of the mean gradient (first moment), for Adam. The usual 0.9 learns more slowly here.",
        group="Optimiser",
    )
    beta2: float = setting(
        0.95,
        number(0, 0.9999999),
        "Decay rate of the mean squared gradient (second moment), for Adam and RMSProp. The usual value is 0.999.",
        group="Optimiser",
    )
    epsilon: float = setting(
        1e-8, number(1e-12, 1), "Term added to the denominator in Adam and RMSProp.", group="Optimiser"
    )
    l2: float = setting(0.0, number(0, 1000), "L2 penalty, added to the gradient.", group="Regularisation")
    weight_decay: float = setting(
        0.0,
        number(0, 1000),
        "Decoupled weight decay, scaled by the learning rate. Try 0.05 for long runs.",
        group="Regularisation",
    )
    ema_decay: float = setting(
        0.0,
        number(0, 0.9999999),
        "Decay rate of an exponential moving average of the weights; try 0.999. The better of the raw and averaged "
        "weights is kept. 0 turns it off.",
        group="Optimiser",
    )
    clip_norm: float = setting(
        1.0, number(0, 1e9), "Clip gradients to this global norm. 0 turns it off.", group="Optimiser"
    )
    clip_error: float = setting(
        0.0,
        number(0, 1e9),
        "Clip gradients of h and c elementwise to this value at each time step. 0 turns it off.",
        group="Optimiser",
    )
    carry_around: bool = setting(
        False,
        boolean(),
        "Carry the state from the end of the corpus to its start instead of resetting it each epoch.",
        group="Batches",
    )
    state_reset_prob: float = setting(
        0.0,
        number(0, 1),
        "Probability of resetting a stream's state before each window. Try 0.05 if you will generate short texts.",
        group="Batches",
    )
    evals: int = setting(
        10, integer(1, 10000), "Evaluations per run, evenly spaced. The best weights are kept.", group="Evaluation"
    )
    eval_chars: int | None = setting(
        None,
        integer(0, 10**12),
        "Validation characters per evaluation; 0 reads all. By default, all evaluations together read at most a tenth "
        "as many characters as training, but each at least 500.",
        group="Evaluation",
    )
    patience: int = setting(
        0,
        integer(0, 10000),
        "Stop early after N evaluations in a row without improvement. 0 turns it off.",
        group="Limits",
    )
    seed: int = setting(
        1, SEEDS, "Random seed. With --steps or --epochs, the same seed gives the same model.", group="Reproducibility"
    )
    threads: int = setting(
        0,
        integer(0, 1024),
        "CPU cores to use; 0 uses all. Results are reproducible only with the same number. Under mpiexec, the cores of "
        "each rank.",
        group="Reproducibility",
    )

    kernel: str = setting(
        "auto",
        one_of("auto", "numpy", "numba"),
        "Backend for the loops over time steps. numba is compiled and up to twice as fast, and needs charlstm[fast]; "
        "auto uses it where it works.",
        group="Reproducibility",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if sum(getattr(self, name) is not None for name in LIMITS) > 1:
            raise UsageError("steps, epochs and time are mutually exclusive; give only one of them")

    @property
    def time_s(self) -> float | None:
        """Seconds that the run may take, or None where steps or epochs limit it."""
        if self.steps is None and self.epochs is None:
            return DEFAULT_TIME_S if self.time is None else self.time
        return None


@dataclass(frozen=True)
class Config:
    """All settings of a run, in the sections that the YAML has."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        if self.train.carry_around and self.data.documents != "none":
            raise UsageError("cannot be used with documents: their order changes with each epoch", "carry_around")

    def __repr__(self) -> str:
        changed = {name: value for name, value in self.values().items() if value != SETTINGS[name].default}
        return f"Config().replace({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def values(self) -> dict[str, Any]:
        """Return every setting by name."""
        return {name: value for section in self.sections().values() for name, value in section.items()}

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the settings as plain values, section by section, as a checkpoint stores them."""
        return dataclasses.asdict(self)

    def format(self) -> dict[str, str]:
        """Return every setting that has a value as text, as a flag or a YAML file would give it."""
        return {name: SETTINGS[name].kind.format(value) for name, value in self.values().items() if value is not None}

    def replace(self, **values: Any) -> "Config":
        """Return a copy with some settings changed. A new limit (steps, epochs, time) replaces the old one.

        Args:
            values: by name; text stands for the value that a flag of that text would give, such as "10m".

        Raises:
            UsageError: an unknown name, a value out of range, two limits.
        """
        if any(values.get(limit) is not None for limit in LIMITS):
            values = dict.fromkeys(LIMITS) | values
        sections: dict[str, dict[str, Any]] = {}
        for key, value in values.items():
            if key not in SETTINGS:
                raise UsageError(f"unknown setting {quote(key)}{suggest(key, SETTINGS)}")
            try:
                new = SETTINGS[key].kind.parse(value) if isinstance(value, str) else value
            except ValueError as error:
                raise UsageError(str(error), key) from None
            sections.setdefault(SECTION_OF[key], {})[key] = new
        changed = {name: dataclasses.replace(getattr(self, name), **section) for name, section in sections.items()}
        return dataclasses.replace(self, **changed)


SECTIONS = tuple(field.name for field in dataclasses.fields(Config))
SECTION_OF: Mapping[str, str] = {
    each.name: section for section in SECTIONS for each in settings_of(getattr(Config(), section))
}
SETTINGS: Mapping[str, Setting] = {
    each.name: each for section in SECTIONS for each in settings_of(getattr(Config(), section))
}
DATA_SETTINGS = (*DataConfig().reading, "min_count", "deduplicate")  # those that change what is read
ADVISED = (  # chosen by `advise` where neither a flag nor a configuration gives them
    "hidden_size",
    "dropout",
    "dropconnect",
    "batch_size",
    "seq_len",
    "learning_rate",
    "weight_decay",
    "state_reset_prob",
)


def config_from_sections(sections: object) -> Config:
    """Rebuild a configuration from the result of `Config.sections`. Settings that are missing get their defaults.

    Raises:
        UsageError: a section is missing, a setting is unknown, or a value is out of range.
    """
    if not (isinstance(sections, dict) and all(isinstance(values, dict) for values in sections.values())):
        raise UsageError("the settings are not grouped into sections")
    if sections.keys() != set(SECTIONS) or any(
        SECTION_OF.get(name) != section for section, values in sections.items() for name in values
    ):
        raise UsageError("unknown settings, or a missing section")
    return Config(
        DataConfig(**sections["data"]),
        ModelConfig(**sections["model"]),
        TrainConfig(**{"kernel": "numpy"} | sections["train"]),  # files of 0.2 lack the kernel
    )
