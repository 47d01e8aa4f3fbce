"""Write what follows from the help of the commands: docs/cli.md, or man pages."""

import re
from pathlib import Path

import click
from click.testing import CliRunner

import charlstm
from charlstm.cli.main import cli

CLI_PAGE = Path(__file__).parent / "cli.md"


def help_of(name: str, width: int = 100) -> str:
    """Return the help of a command, or of charlstm itself for ""."""
    arguments = [name, "--help"] if name else ["--help"]
    result = CliRunner().invoke(cli, arguments, "charlstm", terminal_width=width)
    return result.output.replace("Usage: cli", "Usage: charlstm").strip()


def cli_page() -> str:
    """Return docs/cli.md."""
    lines = ["# Command-line reference", "", "Generated from `--help` by `make docs`.", ""]
    for name in ("", *sorted(cli.commands)):
        lines += [f"## charlstm {name}".strip(), "", "```", help_of(name), "```", ""]
    return "\n".join(lines)


def man_page(name: str) -> str:
    """Return the man page of a command, or of charlstm itself for "", in roff."""
    title = f"charlstm-{name}" if name else "charlstm"
    usage, _, rest = help_of(name, 74).partition("\n\n")
    summary, _, _ = rest.strip().partition("\n")
    body = re.sub(r"^([.'])", r"\\&\1", rest.replace("\\", "\\e"), flags=re.MULTILINE)
    return "\n".join(
        [
            f'.TH "{title.upper()}" "1" "" "charlstm {charlstm.__version__}" "charlstm manual"',
            ".SH NAME",
            f"{title} \\- {summary.strip()}",
            ".SH SYNOPSIS",
            usage.removeprefix("Usage: ").strip(),
            ".SH DESCRIPTION",
            ".nf",
            body.replace("-", "\\-"),
            ".fi",
            "",
        ]
    )


@click.command()
@click.option("--man", "directory", type=click.Path(path_type=Path), help="Write man pages into this directory.")
def main(directory: Path | None) -> None:
    """Write docs/cli.md, or man pages."""
    if directory is None:
        CLI_PAGE.write_text(cli_page(), encoding="utf-8")
        return
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("", *cli.commands):
        title = f"charlstm-{name}" if name else "charlstm"
        (directory / f"{title}.1").write_text(man_page(name), encoding="utf-8")


if __name__ == "__main__":
    main()
