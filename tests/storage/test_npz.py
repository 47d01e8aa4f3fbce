"""The `.npz` reader: what `write_npz` writes comes back, and anything else is refused before memory is allocated."""

import io
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_helpers import HOSTILE_MEMBERS, npy, read_members, replace_members, write_members

from charlstm.storage.npz import DamagedError, NpzReader, write_npz

ARRAYS: dict[str, np.ndarray] = {
    "a": np.arange(18 * 12, dtype=np.float32).reshape(18, 12),
    "b": np.array([1, 2, 3], np.uint8),
    "layer0.w": np.array([[-1]], np.int64),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.npz"
    with path.open("wb") as file:
        write_npz(file, ARRAYS.items())
    return path


def read_all(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        reader = NpzReader(file)
        return {name: reader.read(name, array.dtype.str, array.shape) for name, array in ARRAYS.items()}


# ---- writing


def test_written_arrays_come_back(path):
    found = read_all(path)
    assert all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in ARRAYS.items()
    )


def test_archive_with_the_directory_of_one_above_2_gib_is_read(path, monkeypatch):
    small = path.stat().st_size
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    with path.open("wb") as file:
        write_npz(file, ARRAYS.items())
    assert b"PK\6\6" in path.read_bytes()[small - 22 :]
    assert all(np.array_equal(found, ARRAYS[name]) for name, found in read_all(path).items())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.sampled_from(["<f4", ">f4", "<i8", "<u4", "|u1"]))
def test_arrays_of_any_shape_are_written_as_numpy_reads_them(shape, dtype):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    little = array.dtype.newbyteorder("<")
    with tempfile.TemporaryFile() as file:
        write_npz(file, [("x", array), ("y", array.T)])
        reader, npz = NpzReader(file), np.load(file)
        assert reader.names == {"x", "y"}
        for name, expected in (("x", array), ("y", array.T)):
            assert npz[name].dtype == little
            assert np.array_equal(npz[name], expected)
            assert np.array_equal(reader.read(name, little.str, expected.shape), expected)


def test_same_arrays_give_the_same_bytes(path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2040, 1, 2, 3, 4, 5, 0, 0, 0))
    file = io.BytesIO()
    write_npz(file, ARRAYS.items())
    assert file.getvalue() == path.read_bytes()


# ---- members


@pytest.mark.parametrize("name", HOSTILE_MEMBERS)
def test_unexpected_members_are_refused(name, path):
    data, reason = HOSTILE_MEMBERS[name]
    replace_members(path, a=data)
    with pytest.raises(DamagedError, match=f"^a {reason}"):
        read_all(path)


def test_huge_shape_allocates_no_memory(path):
    replace_members(path, a=HOSTILE_MEMBERS["a huge shape"][0])
    with path.open("rb") as file:
        reader = NpzReader(file)
        tracemalloc.start()
        with pytest.raises(DamagedError, match=r"^a is truncated or too long$"):
            reader.read("a", "<f4", (None, 48))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000


def test_none_stands_for_any_length(path):
    with path.open("rb") as file:
        assert NpzReader(file).read("a", "<f4", (None, 12)).shape == (18, 12)


def test_none_stands_for_one_dimension_only(path):
    with path.open("rb") as file, pytest.raises(DamagedError, match=r"^a has shape \(18, 12\), not \(None,\)$"):
        NpzReader(file).read("a", "<f4", (None,))


def test_missing_member_is_refused(path):
    with path.open("rb") as file, pytest.raises(DamagedError, match=r"^c is missing$"):
        NpzReader(file).read("c", "<f4", (None,))


def test_member_above_the_largest_size_is_refused(path):
    size = len(read_members(path)["b.npy"])
    with path.open("rb") as file:
        reader = NpzReader(file)
        assert reader.read("b", "|u1", (None,), max_bytes=size).tolist() == [1, 2, 3]
        with pytest.raises(DamagedError, match=r"^b is too large$"):
            reader.read("b", "|u1", (None,), max_bytes=size - 1)


def test_wrong_checksum_is_refused(path):
    data = path.read_bytes()
    at = data.index(ARRAYS["a"].tobytes())
    path.write_bytes(data[: at + 8] + b"\1" + data[at + 9 :])
    with pytest.raises(DamagedError, match=r"^a: Bad CRC-32"):
        read_all(path)


# ---- archives


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(compression, path):
    write_members(path, read_members(path), compression)
    with pytest.raises(DamagedError, match=r"^a member is compressed$"):
        read_all(path)


def test_member_that_is_not_an_array_is_refused(path):
    write_members(path, read_members(path) | {"notes.txt": b"hello"})
    with pytest.raises(DamagedError, match=r"^it has members that are not arrays$"):
        read_all(path)


def test_duplicate_member_is_refused(path):
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("b.npy", npy(ARRAYS["b"]))
    with pytest.raises(DamagedError, match=r"^it has a duplicate member$"):
        read_all(path)


def test_too_many_members_are_refused_before_they_are_read(path, monkeypatch):
    write_members(path, {f"{k}.npy": b"" for k in range(1001)})
    monkeypatch.setattr(zipfile, "ZipFile", None)  # not even the directory
    with pytest.raises(DamagedError, match=r"^it has too many members$"):
        read_all(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: b"\0" + data, "there is data before the archive"),
        (lambda data: data + b"\0", "it is not an intact zip archive"),
        (lambda data: data[:-2] + b"\1\0c", "it is not an intact zip archive"),
        (lambda data: data * 2, "there is data before the archive"),
        (lambda data: data[:-1], "it is not an intact zip archive"),
        (lambda data: data[:21], "it is too short"),
        (lambda data: b"", "it is too short"),
    ],
)
def test_data_around_the_archive_is_refused(change, reason, path):
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedError, match=f"^{reason}$"):
        read_all(path)


def test_message_about_a_damaged_member_is_short(path):
    data = bytearray(path.read_bytes())
    name_length = data.index(b"layer0.w.npy") - 4  # in the header before the member
    data[name_length : name_length + 2] = (90).to_bytes(2, "little")
    path.write_bytes(data)
    with pytest.raises(DamagedError) as caught:
        read_all(path)
    assert len(str(caught.value)) <= 120
