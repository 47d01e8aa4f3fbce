"""The files that commands write: what must not be overwritten, and how they are replaced."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from charlstm.cli.signals import as_exits
from charlstm.errors import UsageError
from charlstm.storage.atomic import replace_file, temporary_path


def check_output(output: str, *, force: bool, inputs: Iterable[str | None] = ()) -> None:
    """Reject an output that is an input, exists without `force`, is a directory, or is in a missing one."""
    target = Path(os.path.realpath(output))
    for path in inputs:
        if path is not None and target == Path(os.path.realpath(path)):
            raise UsageError(f"--output {output} would overwrite {path}; choose another file")
    if target.is_dir():
        raise UsageError(f"--output {output} is a directory; name a file in it")
    if not target.parent.is_dir():
        raise UsageError(f"--output {output}: directory {target.parent} does not exist")
    if target.is_file() and not force:
        raise UsageError(f"{output} already exists; use --force to overwrite it, or another --output")


@contextmanager
def open_output(output: str, *, force: bool, inputs: Iterable[str | None] = ()) -> Iterator[BinaryIO]:
    """Open an output file, which replaces an old one when it is complete; `-` is standard output.

    Anything but a regular file, such as a pipe or a device, is written to directly.

    Raises:
        UsageError: the output is rejected by `check_output`, or cannot be written.
    """
    if output == "-":
        yield sys.stdout.buffer
        return
    check_output(output, force=force, inputs=inputs)
    target = Path(os.path.realpath(output))
    try:
        with as_exits():
            if target.is_file() or not target.exists():
                temporary_path(target).unlink(missing_ok=True)  # left by a killed process with the same id
                with replace_file(output) as file:
                    yield file
            else:
                with open(output, "wb") as file:
                    yield file
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror or error}") from None


def model_name(path: str) -> str:
    """Return the name of a model, from that of its file."""
    return Path(path.removeprefix("@")).stem
