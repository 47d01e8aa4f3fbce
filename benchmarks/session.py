"""Draw a real terminal session as docs/session.svg, for the README."""

import io
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

CHARLSTM = str(Path(sys.executable).parent / "charlstm")
COMMANDS = [
    "charlstm train @tweets -o tweets.npz --time 30s --evals 3",
    "charlstm sample --ckpt tweets.npz -n 300 -t 0.6 --seed 5",
]
WIDTH = 108


def run(command: str, directory: str) -> str:
    """Return what a command prints, on standard output and standard error."""
    words = [CHARLSTM, *shlex.split(command)[1:]]
    done = subprocess.run(
        words, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", check=True
    )
    return done.stdout


def strip_fonts(svg: str) -> str:
    """Return an SVG by rich without fonts from elsewhere, and without spaces at the ends of lines."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


@click.command()
@click.argument("path", default="docs/session.svg")
def main(path: str) -> None:
    """Run the commands and write the picture to PATH."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as directory:
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            console.print(Text(run(command, directory).rstrip("\n")), soft_wrap=False)
    Path(path).write_text(strip_fonts(console.export_svg(title="charlstm")), encoding="utf-8")


if __name__ == "__main__":
    main()
