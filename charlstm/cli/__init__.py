"""The command line: the only package that prints, draws progress or exits."""

from charlstm.cli.main import main as main
