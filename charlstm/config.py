"""Every setting, once: its default, its range and its help; from here come the flags, the YAML keys and the docs.

A configuration is frozen. Whatever stands in one has been checked, wherever it came from.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm.errors import UsageError
from charlstm.settings import Kind, boolean, choice, duration, encoding, integer, number
from charlstm.strict_yaml import Entry, nearest, read_sections

DEFAULT_TIME_S = 120.0
LIMITS = ("steps", "epochs", "time")  # a run ends by one of them
SEEDS = integer(0, 2**63 - 1)
ENCODINGS = encoding()


def _setting(default: Any, kind: Kind, help: str) -> Any:
    return dataclasses.field(default=default, metadata={"kind": kind, "help": help})


def _check(section: Any) -> None:
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if value is None and field.default is None:
            continue
        try:
            field.metadata["kind"].check(value)
        except ValueError as error:
            raise UsageError(f"{field.name}: {error}") from None


@dataclass(frozen=True)
class DataConfig:
    """How a text becomes characters, and which of them validate."""

    encoding: str = _setting("utf-8", ENCODINGS, "Encoding of the corpus.")
    val_fraction: float = _setting(
        0.1,
        number(0, 0.5),
        "Share of the text, at its end, that validates and is not trained on. 0 trains on all of it.",
    )
    no_copy_index: int = _setting(
        0,
        integer(0, 10**6),
        "Keep an index of the text's runs of N characters (3 bytes each), for sample --no-copy N. Try 20.",
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of the network."""

    hidden_size: int = _setting(
        256, integer(1, 16384), "Units per layer. 128 suits a minute, 256 a few, 512 wants an hour."
    )
    num_layers: int = _setting(1, integer(1, 16), "Layers, one upon another. A second one pays in runs of hours.")
    dropout: float = _setting(
        0.0,
        number(0, 0.95),
        "Share of the units silenced while training, between layers and before the output, anew for every window. "
        "Try 0.2 to 0.5 where the validation loss rises again.",
    )
    input_dropout: float = _setting(
        0.0,
        number(0, 0.95),
        "Share of the different characters that a stream does not see in a window.",
    )
    dropconnect: float = _setting(
        0.0,
        number(0, 0.95),
        "Share of the recurrent weights silenced while training, anew for every window. Try 0.2 to 0.5 in long runs.",
    )
    init: str = _setting(
        "orthogonal",
        choice("orthogonal", "uniform"),
        "Fresh weights: recurrent ones orthogonal, others within 1/sqrt(width); or all uniform within 0.5/width.",
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class TrainConfig:
    """The recipe."""

    batch_size: int = _setting(
        16, integer(1, 65536), "Places in the text that are read at the same time (streams). Multiples of 8 are fast."
    )
    seq_len: int = _setting(
        48, integer(1, 65536), "Characters per window: how far back an error is traced. The state reaches further."
    )
    steps: int | None = _setting(None, integer(1, 10**12), "End after this many updates.")
    epochs: float | None = _setting(None, number(0, 1e9, above=True), "End after this many passes over the text.")
    time: float | None = _setting(
        None, duration(), "End after this long: 90s, 10m, 1.5h. Holds where neither steps nor epochs are given."
    )
    learning_rate: float = _setting(0.01, number(0, 1000, above=True), "Highest rate of the run.")
    schedule: str = _setting(
        "cosine",
        choice("cosine", "linear", "constant", "step", "plateau"),
        "How the rate goes on after the warm-up: down to 0 by a cosine or straight; flat; down by --decay-factor after "
        "each --decay-every of the run; or down by it after each evaluation that is no better than one before.",
    )
    decay_factor: float = _setting(0.5, number(0, 1, above=True), "What step and plateau multiply the rate with.")
    decay_every: float = _setting(0.2, number(0, 1, above=True), "Share of the run between two decays by step.")
    warmup_fraction: float = _setting(0.05, number(0, 1), "Share of the run in which the rate rises from 0.")
    optimizer: str = _setting(
        "adam", choice("adam", "rmsprop", "sgd"), "Rule of the updates. Adam with a weight decay is also called AdamW."
    )
    momentum: float = _setting(0.0, number(0, 0.9999999), "Momentum of SGD, for which 0.9 is usual.")
    nesterov: bool = _setting(False, boolean(), "Use Nesterov's momentum with SGD.")
    beta1: float = _setting(0.9, number(0, 0.9999999), "Adam's decay of the mean gradient.")
    beta2: float = _setting(0.99, number(0, 0.9999999), "Decay of the mean squared gradient, of Adam and RMSProp.")
    epsilon: float = _setting(1e-8, number(1e-12, 1), "Their guard against division by zero.")
    l2: float = _setting(0.0, number(0, 1000), "L2 penalty: this much of each weight is added to its gradient.")
    weight_decay: float = _setting(
        0.0, number(0, 1000), "Share of each weight that an update takes off, times the rate. Try 0.05 in long runs."
    )
    average: float = _setting(
        0.0,
        number(0, 0.9999999),
        "Decay of a running average of the weights, such as 0.999; it is evaluated too, the better are kept. 0 is off.",
    )
    clip_norm: float = _setting(1.0, number(0, 1e9), "Scale gradients down to this global norm. 0 is off.")
    clip_error: float = _setting(
        0.0, number(0, 1e9), "Clip each element of the error that flows back through h and c, at every step. 0 is off."
    )
    carry_around: bool = _setting(
        False, boolean(), "Carry the state around the end of the text too, instead of starting each epoch from zero."
    )
    reset: float = _setting(
        0.0,
        number(0, 1),
        "Share of the streams whose state is set to zero before a window, by chance: so the model learns to begin. "
        "Try 0.05 where samples have no context, as answers to a prime.",
    )
    evals: int = _setting(10, integer(1, 10000), "Evaluations in a run, evenly spread; the best weights are kept.")
    eval_chars: int = _setting(
        200_000, integer(0, 10**12), "Validate on this many characters at most while training. 0 is all."
    )
    patience: int = _setting(
        0, integer(0, 10000), "End early after this many evaluations in a row without a better one. 0 is off."
    )
    seed: int = _setting(1, SEEDS, "Seed of all randomness: the same seed gives the same bytes.")
    threads: int = _setting(
        0, integer(0, 1024), "Cores to use, of those there are; 0 is all. The same number gives the same bytes."
    )

    def __post_init__(self) -> None:
        _check(self)
        if sum(getattr(self, name) is not None for name in LIMITS) > 1:
            raise UsageError("a run ends by one of steps, epochs and time: give only one of them")

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

    def values(self) -> dict[str, Any]:
        """Return every setting by its name."""
        return {name: value for section in self.sections().values() for name, value in section.items()}

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return the settings as plain values, section by section, as a checkpoint keeps them."""
        return dataclasses.asdict(self)

    def shown(self) -> dict[str, str]:
        """Return every setting that has a value as text, as a flag or a YAML file would give it."""
        return {name: SETTINGS[name].kind.show(value) for name, value in self.values().items() if value is not None}

    def replace(self, **values: Any) -> "Config":
        """Return a copy with some settings changed; a limit that is given displaces the ones that stood.

        Raises:
            UsageError: an unknown name, a value out of range, two limits.
        """
        if any(values.get(limit) is not None for limit in LIMITS):
            values = dict.fromkeys(LIMITS) | values
        sections: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in SETTINGS:
                raise UsageError(f"there is no setting {name!r}" + nearest(name, SETTINGS))
            sections.setdefault(SETTINGS[name].section, {})[name] = value
        changed = {name: dataclasses.replace(getattr(self, name), **section) for name, section in sections.items()}
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True)
class Setting:
    """One setting as the command line and the docs need it."""

    name: str
    section: str
    kind: Kind
    default: Any
    help: str


def _settings() -> Iterator[Setting]:
    for section in dataclasses.fields(Config):
        for field in dataclasses.fields(section.default):  # type: ignore[arg-type]
            yield Setting(field.name, section.name, field.metadata["kind"], field.default, field.metadata["help"])


SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in _settings()}
ADVISED = (  # what `advice` chooses where neither a flag nor a configuration does
    "hidden_size",
    "dropout",
    "dropconnect",
    "batch_size",
    "seq_len",
    "learning_rate",
    "weight_decay",
    "reset",
)
SECTIONS = tuple(field.name for field in dataclasses.fields(Config))


def config_from_sections(sections: object) -> Config:
    """Rebuild a configuration from what `Config.sections` gave; what an older version did not have is at its default.

    Raises:
        UsageError: a section is missing, a setting is unknown, or a value is out of range.
    """
    expected = {section: {s.name for s in SETTINGS.values() if s.section == section} for section in SECTIONS}
    if not (isinstance(sections, dict) and all(isinstance(section, dict) for section in sections.values())):
        raise UsageError("the settings are not sections of names and values")
    if sections.keys() != expected.keys() or any(not values.keys() <= expected[k] for k, values in sections.items()):
        raise UsageError("the settings are not the ones that this version knows")
    return Config(DataConfig(**sections["data"]), ModelConfig(**sections["model"]), TrainConfig(**sections["train"]))


# ---- files and presets


def presets() -> dict[str, Path]:
    """Return the presets that come with the package, by name."""
    return {path.stem: path for path in sorted(bundled("configs").glob("*.yaml"))}


def bundled(folder: str) -> Path:
    """Return the path of `configs` or `data`: inside an installed package, beside the package in a checkout."""
    package = Path(__file__).parent
    return package / folder if (package / folder).is_dir() else package.parent / folder


def load_values(name: str) -> dict[str, Any]:
    """Read the settings that a YAML file or a preset gives.

    Args:
        name: a path, or the name of a preset.

    Raises:
        UsageError: no such file or preset, or something in it that is not a setting; names file and line.
    """
    path = Path(name)
    if name in presets() and not os.path.isfile(path):
        path = presets()[name]
    elif not os.path.exists(path) and path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{name} is neither a file nor a preset; the presets are {', '.join(presets())}")
    values: dict[str, Any] = {}
    for entry in read_sections(path, SECTIONS):
        values[entry.key] = _value(entry)
    given = [limit for limit in LIMITS if limit in values]
    if len(given) > 1:
        raise UsageError(f"{path}: a run ends by one of steps, epochs and time: give only one of {' and '.join(given)}")
    return values


def load_config(name: str) -> Config:
    """Return the configuration of a YAML file or a preset, defaults where it says nothing."""
    return Config().replace(**load_values(name))


def _value(entry: Entry) -> Any:
    setting = SETTINGS.get(entry.key)
    if setting is None:
        raise UsageError(f"{entry.where}: there is no setting {entry.key!r}" + nearest(entry.key, SETTINGS))
    if setting.section != entry.section:
        raise UsageError(f"{entry.where}: {entry.key} belongs under {setting.section}:, not {entry.section}:")
    if entry.quoted and not setting.kind.quotable:
        raise UsageError(f"{entry.where}: {entry.key}: a quoted text is not {setting.kind.expects}")
    try:
        return setting.kind.parse(entry.text)
    except ValueError as error:
        raise UsageError(f"{entry.where}: {entry.key}: {error}") from None
