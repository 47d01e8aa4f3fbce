"""Flags made from settings, whose names, checks, defaults and help stand in `config`, once; which flags go together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from charlstm.config import ADVISED, SETTINGS, Config, Setting, load_values, presets
from charlstm.errors import UsageError
from charlstm.settings import Kind, name

_CONFIG = "charlstm.config"  # where the click context keeps the settings of --config

_NEEDED = {  # by options of sample
    "cite": ("corpus",),
    "corpus": ("no_copy", "cite"),
    "encoding": ("corpus", "prime_file"),
    "hide_prime": ("prime", "prime_file"),
    "keep_stop": ("stop",),
    "probs": ("as_json",),
    "repetition_free": ("repetition_penalty",),
}
_EXCLUDED = {
    "beam": ("num", "best_of", "probs", "temperature", "temperature_at_start", "top_k", "typical", "top_p", "min_p"),
    "pattern": ("stop", "lines"),
    "prime": ("prime_file",),
}
_REASONS = {"beam": ": it finds one text, the likeliest", "pattern": ": it says where a text ends"}


class KindType(click.ParamType):  # type: ignore[type-arg]  # generic from Click 8.5 on
    """A click type that takes what a `Kind` takes, and nothing else."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.parse(value) if isinstance(value, str) else self.kind.check(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.kind.metavar


class SettingOption(click.Option):
    """The flag of a setting: None unless it is given. Its help shows the value that holds where it is not."""

    def __init__(self, flags: Sequence[str], setting: Setting, **attributes: Any) -> None:
        super().__init__(flags, default=None, help=_with_range(setting.help, setting.kind), **attributes)
        self.setting = setting

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if self.setting.name in ADVISED and _CONFIG not in ctx.meta and record is not None:
            return record[0], f"{record[1]}  [default: what suits the text]"
        config = ctx.meta.get(_CONFIG, Config())
        value = config.train.time_s if self.setting.name == "time" else config.values()[self.setting.name]
        if record is None or value is None:
            return record
        return record[0], f"{record[1]}  [default: {self.setting.kind.show(value)}]"


def some_setting_options(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what gives a command the flags of some settings."""

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        for setting in [SETTINGS[each] for each in reversed(names)]:
            flag = setting.name.replace("_", "-")
            pair = not setting.kind.metavar
            command = click.option(
                f"--{flag}/--no-{flag}" if pair else f"--{flag}",
                cls=SettingOption,
                setting=setting,
                type=None if pair else KindType(setting.kind),
            )(command)
        return command

    return give


def setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one flag per setting, by its name, and `-c`, which gives it the values read as `config`."""
    command = some_setting_options(*SETTINGS)(command)
    return click.option(
        "-c",
        "--config",
        type=KindType(name()),
        metavar="FILE|PRESET",
        is_eager=True,
        callback=_load,
        help=f"Settings: a YAML file, or a preset: {', '.join(presets())}. With --help, shows what holds then.",
    )(command)


def kind_option(*names: str, kind: Kind, help: str, **attributes: Any) -> Callable[..., Any]:
    """Return an option that takes what a `Kind` takes."""
    return click.option(*names, type=KindType(kind), help=_with_range(help, kind), **attributes)


def _with_range(help: str, kind: Kind) -> str:
    return f"{help}  [{kind.range}]" if kind.range else help


def _load(ctx: click.Context, param: click.Parameter, given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    values = load_values(given)
    ctx.meta[_CONFIG] = Config().replace(**values)
    return values


def refuse_combinations(flags: Mapping[str, Any]) -> None:
    """Refuse options of sample that would have no effect, or contradict one another."""
    ctx = click.get_current_context()
    defaults = {param.name: param.default for param in ctx.command.params}
    given = [flag for flag in flags if ctx.get_parameter_source(flag) is ParameterSource.COMMANDLINE]
    changed = [flag for flag in given if flags[flag] != defaults[flag]]
    for flag in changed:
        needed = _NEEDED.get(flag, ())
        if needed and not set(needed) & set(given):
            raise UsageError(f"{_written(flag)} needs {' or '.join(map(_written, needed))}")
        for other in _EXCLUDED.get(flag, ()):
            if other in changed:
                raise UsageError(f"{_written(flag)} does not go with {_written(other)}{_REASONS.get(flag, '')}")


def _written(flag: str) -> str:
    return f"--{flag.removeprefix('as_').replace('_', '-')}"
