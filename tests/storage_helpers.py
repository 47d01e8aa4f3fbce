"""Interrupted runs, and damaged or hostile `.npz` files: the members of an archive as bytes."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers import SMALL, begin

from charlstm import Run, train


def train_until(step: int, **settings: Any) -> Run:
    """Return a small run that was interrupted after a step. The first evaluation is after step 10."""
    run = begin(SMALL.replace(hidden_size=3, **settings))
    reports = train(run)
    for report in reports:
        if report.step == step:
            break
    reports.close()
    return run


def npy(array: np.ndarray, **options: Any) -> bytes:
    """Return the `.npy` form of an array."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def read_members(path: Path) -> dict[str, bytes]:
    """Return the members of an archive by name."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_members(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write an archive of these members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compression)


def replace_members(path: Path, **members: bytes) -> None:
    """Replace or add members of an archive, given without their suffix `.npy`."""
    write_members(path, read_members(path) | {f"{name}.npy": data for name, data in members.items()})


def change_header(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the header of a checkpoint."""
    with np.load(path) as npz:
        header = json.loads(npz["header"].tobytes())
    change(header)
    replace_members(path, header=npy(np.frombuffer(json.dumps(header).encode(), np.uint8)))


def npy_with_header(header: bytes) -> bytes:
    """Return the start of a `.npy` that has this header, whatever it is."""
    return np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header


_HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 48), }".ljust(117) + b"\n"
_DIGITS = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",), }\n"

# Instead of a float32 array of shape 18 x 12, by name: the member, and what the message says.
HOSTILE_MEMBERS = {
    "a huge shape": (npy_with_header(_HUGE), r"has shape \(999999999999, 48\), not \(18, 12\)"),
    "pickled objects": (npy(np.array([{}], dtype=object), allow_pickle=True), "is not an array of plain numbers in C order"),
    "structures": (npy(np.zeros(3, "f4,f4")), "is not an array of plain numbers in C order"),
    "another shape": (npy(np.zeros((2, 2), np.float32)), r"has shape \(2, 2\), not \(18, 12\)"),
    "no rows": (npy(np.zeros((0, 12), np.float32)), r"has shape \(0, 12\), not \(18, 12\)"),
    "fewer dimensions": (npy(np.zeros(18 * 12, np.float32)), r"has shape \(216,\), not \(18, 12\)"),
    "another type": (npy(np.zeros((18, 12))), "is of type float64, not float32"),
    "another byte order": (npy(np.zeros((18, 12), ">f4")), "is not an array of plain numbers in C order"),
    "text": (npy(np.array(["a"])), "is not an array of plain numbers in C order"),
    "a later version of .npy": (npy(np.zeros((18, 12), np.float32), version=(2, 0)), r"is not a version 1\.0 \.npy array"),
    "plain text": (b"hello", r"is not a version 1\.0 \.npy array"),
    "nothing": (b"", r"is not a version 1\.0 \.npy array"),
    "too little data": (npy(np.zeros((18, 12), np.float32))[:-1], "is truncated or too long"),
    "too much data": (npy(np.zeros((18, 12), np.float32)) + b"\0", "is truncated or too long"),
    "a shape of many digits": (npy_with_header(_DIGITS), "has an invalid type or shape"),
    "a type of another size": (npy_with_header(b"{'descr': '<q9', 'fortran_order': False, 'shape': (18, 12), }\n"), "has an invalid type or shape"),
    **{
        f"header {k}": (npy_with_header(header), "is not an array of plain numbers in C order")
        for k, header in enumerate(
            [b"(", b"{'a", b'"""', b"\n  x\n y", b"{[]:1}", b"{'descr': (), 'fortran_order': False, 'shape': (18, 12), }", b"-" * 9000 + b"1",
             b"{'descr': '<f4', 'fortran_order': False, 'shape': (18L, 12), }", b"{'descr': '<f4', 'fortran_order': True, 'shape': (18, 12), }\n"]
        )
    },
}  # fmt: skip
