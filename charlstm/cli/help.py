"""Commands whose help is divided into sections, and which suggest names for misspelt ones."""

import inspect
import re
from collections.abc import Iterable

import click

from charlstm.errors import suggest

GROUPS = (  # the sections of options in their order, each named by `Setting.group`
    "Length",
    "Sampling",
    "Prime",
    "Output",
    "Limits",
    "Presets",
    "Model",
    "Constraints",
    "Search",
    "Regularisation",
    "Batches",
    "Learning rate",
    "Optimiser",
    "Corpus",
    "Evaluation",
    "Reproducibility",
    "Other",
)
_EXAMPLES = "Examples:"  # starts the last paragraph of a docstring
_FEW = 10  # options that need no sections
_NARROW = 46  # characters of a bracket that fits in one line of 80 columns, after the flag
_HYPHEN, _SPACE = "\u2011", "\u00a0"  # unbreakable, in place of - and a space until the text is wrapped


class HelpFormatter(click.HelpFormatter):
    """Wraps text between words only, not at a hyphen and not within a short pair of brackets."""

    def write_text(self, text: str) -> None:
        super().write_text(_glue(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(term, _glue(text)) for term, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        text = super().getvalue().translate(str.maketrans(_HYPHEN + _SPACE, "- "))
        return re.sub(" +$", "", text, flags=re.MULTILINE)


class HelpContext(click.Context):
    """A context whose help is wrapped by `HelpFormatter`."""

    formatter_class = HelpFormatter


class HelpCommand(click.Command):
    """A command whose options are grouped, and whose examples have a heading."""

    context_class = HelpContext

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
            flags = [flag for option in options for flag in (*option.opts, *option.secondary_opts)]
            hint = suggest(error.option_name, flags)
            raise click.UsageError(f"No such option {error.option_name}{hint}", ctx) from None

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        text, _, examples = inspect.cleandoc(self.help or "").partition(f"\n{_EXAMPLES}\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
        if examples:
            with formatter.section(_EXAMPLES.removesuffix(":")):
                for line in examples.splitlines():
                    formatter.write(f"  {line}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows.append((getattr(param, "group", GROUPS[-1]), *record))
        width = max(len(flag) for _, flag, _ in rows)
        sections = GROUPS if len(rows) > _FEW else ("Options",)
        for section in sections:
            records = [(flag.ljust(width), text) for group, flag, text in rows if section in (group, "Options")]
            if records:
                with formatter.section(section):
                    formatter.write_dl(records)


class HelpGroup(HelpCommand, click.Group):
    """A group of such commands."""

    command_class = HelpCommand

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command '{name}'{suggest(name, self.commands)}", ctx)
        return super().resolve_command(ctx, args)


def _glue(text: str) -> str:
    """Return a text in which a line can be broken neither at a hyphen nor within short brackets."""
    text = re.sub(rf"\[[^]\n]{{,{_NARROW}}}\]", lambda bracket: bracket[0].replace(" ", _SPACE), text)
    return text.replace("-", _HYPHEN)
