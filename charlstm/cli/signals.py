"""What becomes of signals that ask the program to end: SIGINT (Ctrl-C), SIGTERM, SIGHUP."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click


@contextmanager
def as_exits() -> Iterator[None]:
    """Let the program end by an exception, so that what it would leave behind is removed."""

    def end(number: int, frame: FrameType | None) -> None:
        raise click.exceptions.Exit(128 + number)

    with _handled_by(end):
        yield


@contextmanager
def collected() -> Iterator[list[int]]:
    """Collect the signals, so that a step is always finished; the second one ends at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    with _handled_by(receive):
        yield received


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    for number, old in before.items():
        if old != signal.SIG_IGN:  # as under nohup
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
