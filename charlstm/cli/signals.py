"""How the program reacts to SIGINT (Ctrl-C), SIGTERM and SIGHUP."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ONE_REQUEST_S = 1.0  # `timeout` and shells send a signal twice, to a process and to its group
_RETRY_S = 0.05


class StoppedError(BaseException):
    """The program must exit at once. Not an `Exception`, so that nothing catches it by accident.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def as_exits() -> Iterator[None]:
    """Turn the first signal into an exception, so that temporary files are removed.

    Python ignores an exception that is raised inside a callback of C or a finaliser. The signal is then sent again.
    """
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise StoppedError(number)

    def repeat(ignored: Any) -> None:
        if isinstance(ignored.exc_value, StoppedError):
            received.clear()
            threading.Timer(_RETRY_S, signal.raise_signal, [ignored.exc_value.number]).start()
        else:
            hook(ignored)

    hook, sys.unraisablehook = sys.unraisablehook, repeat
    try:
        with _handled_by(end):
            yield
    finally:
        sys.unraisablehook = hook


@contextmanager
def collected() -> Iterator[list[int]]:
    """Collect the signals, so that the current step is finished. A second Ctrl-C or SIGTERM exits at once.

    Signals within a second of the first count as the same request.
    """
    received: list[int] = []
    first = 0.0

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
        elif number != getattr(signal, "SIGHUP", None) and time.monotonic() - first > _ONE_REQUEST_S:
            raise StoppedError(number)
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
