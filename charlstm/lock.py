"""One writer for one file: a lock that ends with the process that holds it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charlstm.errors import CharlstmError


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the only right to write a file.

    An empty file beside it, `.NAME.lock`, is locked by the operating system, which lets go of it when the process ends,
    however that happens. One that stands there is therefore no lock, only a name. Where files cannot be locked, as on
    some network drives, nothing is.

    Raises:
        CharlstmError: another process holds it.
    """
    target = Path(os.path.realpath(path))
    name = target.with_name(f".{target.name}.lock")
    held, descriptor = _hold_signals(), None
    try:
        descriptor = _opened(name, path)
        _let_signals_through(held)  # now, what they leave behind is removed
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                name.unlink()  # before it is let go of, so that no other process can have locked it
            os.close(descriptor)
        _let_signals_through(held)


def _hold_signals() -> set[int]:
    """Let signals wait; return which waited before. Where there is no way to do so, nothing waits."""
    if not hasattr(signal, "pthread_sigmask"):
        return set()
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}))


def _let_signals_through(held: set[int]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _opened(name: Path, path: str | Path) -> int | None:
    """Return the descriptor of the locked file; None where nothing can be locked."""
    while True:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                return descriptor
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            raise CharlstmError(
                f"{path} is in use: another training writes it; wait for its end, or name another --out"
            ) from None
        except FileNotFoundError:
            pass  # who held it has just let go of it, and removed the name
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
