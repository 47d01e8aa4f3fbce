"""Files that are replaced as a whole, or not at all."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replace_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` once it is complete on the disk. An exception leaves the old file unchanged."""
    target = Path(os.path.realpath(path))  # through a link, not over it
    temporary = temporary_path(target)
    ours = not os.path.lexists(temporary)  # an existing file is not ours to remove
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        if ours:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
    _sync_directory(target.parent)


def temporary_path(target: Path) -> Path:
    """Return the name under which this process writes a file before renaming it to `target`."""
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def remove_stale(path: str | Path) -> None:
    """Remove the temporary files that killed processes have left beside a file."""
    target = Path(os.path.realpath(path))
    with contextlib.suppress(PermissionError):  # a directory that is writable, but not readable
        for leftover in target.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(target.name)}\.[0-9]+\.tmp", leftover.name):
                with contextlib.suppress(OSError):
                    leftover.unlink()


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":  # elsewhere, directories cannot be opened
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except PermissionError:  # writable, but not readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # not supported for directories here
            raise
    finally:
        os.close(descriptor)
