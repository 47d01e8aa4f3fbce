"""The command line: the only package that prints, draws progress or exits."""

import signal


def main() -> None:
    """Run the command line."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends at once, also while importing; training catches it
    from charlstm.cli.main import run

    run()
