"""Click options made from settings, so that names, checks, defaults and help are defined once."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import click

from charlstm.config.kinds import Kind, Setting, flag_of, name, settings_of
from charlstm.config.presets import load_values, summarize_presets
from charlstm.config.settings import ADVISED, LIMITS, SETTINGS, Config

_CONFIG = "charlstm.config"  # the key of the settings of --config in the click context
_CONFIG_SETTING = Setting(
    "config",
    name("FILE|PRESET"),
    None,
    "Read settings from a YAML file or a preset. Flags override them. Add --help to see the resulting values.",
    short="-c",
    group="Presets",
)

Command = Callable[..., Any]


class KindType(click.ParamType):  # type: ignore[type-arg]  # generic from Click 8.5 on
    """A click type that accepts the values of a `Kind`."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.kind.coerce(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.kind.metavar


@dataclasses.dataclass(frozen=True)
class More:
    """A limit given with a plus sign: what to add to a run that is resumed."""

    value: Any


class LimitType(KindType):
    """A click type that accepts a limit of a run, or `More`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith("+"):
            return More(super().convert(value.removeprefix("+"), param, ctx))
        return super().convert(value, param, ctx)


class SettingOption(click.Option):
    """The flag of a setting. Its help ends with the range and the default, in one pair of brackets."""

    def __init__(self, flags: list[str], setting: Setting, **attributes: Any) -> None:
        super().__init__(flags, help=setting.help, **attributes)
        self.setting = setting
        self.group = setting.group

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        flags = ", ".join(filter(None, (self.setting.short, self.opts[-1])))
        off = "".join(f" {flag} turns it off." for flag in self.secondary_opts)
        default = self.shown_default(ctx)
        notes = "; ".join(filter(None, (self.setting.kind.range, default and f"default {default}")))
        metavar = "" if self.setting.switch else self.setting.kind.metavar
        return f"{flags} {metavar}".strip(), f"{self.setting.help}{off}{f'  [{notes}]' if notes else ''}"

    def shown_default(self, ctx: click.Context) -> str:
        """Return the default as the help shows it."""
        value = self.setting.default
        return "" if self.setting.switch or value in (None, "", ()) else self.setting.kind.format(value)


class RunOption(SettingOption):
    """The flag of a setting of a run: None unless given. Its help shows the value that applies otherwise."""

    def __init__(self, flags: list[str], setting: Setting, **attributes: Any) -> None:
        super().__init__(flags, setting, **attributes | {"default": None})

    def shown_default(self, ctx: click.Context) -> str:
        if self.setting.name in ADVISED and _CONFIG not in ctx.meta:
            return "auto"
        config = ctx.meta.get(_CONFIG, Config())
        value = config.train.time_s if self.setting.name == "time" else config.values()[self.setting.name]
        return "" if value is None else self.setting.kind.format(value)


class ConfigOption(SettingOption):
    """The flag of a configuration. Its help lists the presets."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        flags, text = super().get_help_record(ctx)
        summaries = summarize_presets()
        width = max(map(len, summaries))
        listed = "\n".join(f"{name:<{width}}  {summary}" for name, summary in summaries.items())
        return flags, f"{text}\n\n\b\n{listed}"  # \b keeps the lines


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the flags of some settings, or of all of them and `-c`.

    The command receives the flags by name, and the values of the configuration as `config`.
    """

    def decorate(command: Command) -> Command:
        for each in reversed(names or tuple(SETTINGS)):
            type_ = None if names or each not in LIMITS else LimitType(SETTINGS[each].kind)
            command = _option(SETTINGS[each], RunOption, type_)(command)
        return command if names else _config_option(command)

    return decorate


def request_options(request: type) -> Callable[[Command], Command]:
    """Return a decorator that gives a command one flag per setting of a dataclass, and passes it an instance."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def build_and_call(**values: Any) -> Any:
            built = _build(request, values)
            return command(built, **values)

        result: Command = build_and_call
        for each in reversed(list(_all_settings(request))):
            attributes: dict[str, Any] = {"is_flag": True} if each.switch else {"multiple": each.multiple}
            result = _option(each, default=each.default, **attributes)(result)
        return result

    return decorate


def _option(
    setting: Setting, cls: type[SettingOption] = SettingOption, type_: KindType | None = None, **attributes: Any
) -> Callable[[Command], Command]:
    flag, kind = setting.flag or flag_of(setting.name), setting.kind
    if not kind.metavar and not setting.switch:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    type_ = type_ or (KindType(kind) if kind.metavar else None)
    if setting.joined:
        attributes |= {"multiple": True, "callback": lambda ctx, param, values: ",".join(values) or None}
    names = [*([setting.short] if setting.short else []), flag, setting.name]
    return click.option(*names, type=type_, cls=cls, setting=setting, **attributes)


def _config_option(command: Command) -> Command:
    return _option(_CONFIG_SETTING, ConfigOption, is_eager=True, callback=_load_config)(command)


def _load_config(ctx: click.Context, param: click.Parameter, given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    values = load_values(given)
    ctx.meta[_CONFIG] = Config().replace(**values)
    return values


def _all_settings(request: type) -> Iterator[Setting]:
    """Yield the settings of a dataclass and of the dataclasses in it."""
    for field in dataclasses.fields(request):
        if dataclasses.is_dataclass(field.type):
            yield from settings_of(field.type)
    yield from settings_of(request)


def _build(request: type, values: dict[str, Any]) -> Any:
    """Return an instance of a dataclass, and of the dataclasses in it, from `values`, which loses these items."""
    own = {}
    for field in dataclasses.fields(request):
        if dataclasses.is_dataclass(field.type):
            own[field.name] = _build(field.type, values)  # type: ignore[arg-type]
        elif field.name in values:
            own[field.name] = values.pop(field.name)
    return request(**own)
