"""One writer per file: a lock that is released when its process ends."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charlstm.errors import CharlstmError


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold the lock of a file.

    The operating system locks an empty file beside it, `.NAME.lock`, and releases it when the process ends, however
    that happens. A leftover file is therefore harmless. Where files cannot be locked, as on some network drives, there
    is no lock.

    Raises:
        CharlstmError: another process holds the lock.
    """
    target = Path(os.path.realpath(path))
    name = target.with_name(f".{target.name}.lock")
    blocked, descriptor = _block_signals(), None
    try:
        descriptor = _open(name, path)
        _restore_signals(blocked)  # from here on, the file is removed
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                name.unlink()  # before the release, so that no other process can have locked it
            os.close(descriptor)
        _restore_signals(blocked)


def _block_signals() -> set[int]:
    """Block signals where the system supports it; return those that were blocked before."""
    if not hasattr(signal, "pthread_sigmask"):
        return set()
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}))


def _restore_signals(blocked: set[int]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _open(name: Path, path: str | Path) -> int | None:
    """Return the descriptor of the locked file; None where files cannot be locked."""
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
                f"{path} is in use: another run is writing to it; wait for it to finish, or choose another output"
            ) from None
        except FileNotFoundError:
            pass  # its holder has just released and removed it
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
