"""Archives whose directory lies are refused, quickly and without using much memory."""

import struct
import time
import tracemalloc
import zipfile

import pytest

from charlstm import CharlstmError, load

DIRECTORY_ENTRY, ZIP64_END, END_BYTES = b"PK\x01\x02", b"PK\x06\x07", 22


def claim_encryption(data):
    data[data.index(DIRECTORY_ENTRY) + 8] |= 1


def overlap_members(data):
    """Give the second member the place of the first."""
    first = data.index(DIRECTORY_ENTRY)
    second = data.index(DIRECTORY_ENTRY, first + 1)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]


def claim_more_bytes(data):
    struct.pack_into("<LL", data, data.index(DIRECTORY_ENTRY) + 20, 2**31, 2**31)


def claim_more_unpacked_bytes(data):
    struct.pack_into("<L", data, data.index(DIRECTORY_ENTRY) + 24, 2**31)


def claim_compression(data):
    struct.pack_into("<H", data, data.index(DIRECTORY_ENTRY) + 10, zipfile.ZIP_DEFLATED)


def repeat_a_member(data):
    """Have more members than the end of the archive tells."""
    first = data.index(DIRECTORY_ENTRY)
    entry = data[first : data.index(DIRECTORY_ENTRY, first + 1)]
    end = data[-END_BYTES:]
    struct.pack_into("<L", end, 12, len(entry) * 100_000)
    data[first:] = entry * 100_000 + end


def add_a_second_end(data):
    data[-END_BYTES:] = ZIP64_END + bytes(16) + data[-END_BYTES:]


def add_a_second_directory(data):
    """Have a zip64 end that tells of a larger directory."""
    *_, members, directory, offset, _ = struct.unpack("<4s4H2LH", data[-END_BYTES:])
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, members, members, directory + 2**31, offset)
    locator = struct.pack("<4sLQL", ZIP64_END, 0, len(data) - END_BYTES, 1)
    data[-END_BYTES:] = end + locator + data[-END_BYTES:]


@pytest.fixture(
    params=[
        claim_encryption,
        overlap_members,
        claim_more_bytes,
        claim_more_unpacked_bytes,
        claim_compression,
        repeat_a_member,
        add_a_second_end,
        add_a_second_directory,
    ]
)
def deceptive(request, trained, tmp_path):
    """The file of a model, changed."""
    path = tmp_path / "model.npz"
    trained.save(path)
    data = bytearray(path.read_bytes())
    request.param(data)
    path.write_bytes(data)
    return path


def test_deceptive_archives_are_refused_quickly_and_cheaply(deceptive):
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(CharlstmError, match="is not a charlstm checkpoint, or is damaged"):
        load(deceptive)
    assert time.perf_counter() - started < 1
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
