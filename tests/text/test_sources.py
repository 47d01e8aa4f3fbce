"""Arguments to files: directories, patterns, archives, and everything in them that is no text."""

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from charlstm import CharlstmError, UsageError, read_corpus
from charlstm.config.settings import DataConfig
from charlstm.text import archives
from charlstm.text.reader import read_pieces
from charlstm.text.stream import Findings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file systems")


def write(root: Path, **files: Any) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def zip_of(path: Path, files: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, files: dict[str, Any], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def refuse(paths, message, error=CharlstmError, **reading):
    with pytest.raises(error, match=message) as refused:
        read_corpus(paths, **reading)
    assert type(refused.value) is error


# ---- directories


def test_directory_is_read_recursively_in_natural_order(tmp_path):
    files = {"ch10.txt": "ten", "ch2.txt": "two", "ch9/b.txt": "nine", "Ch1.txt": "one", "notes/1.md": "note"}
    for name, text in files.items():
        write(tmp_path / "book", **{name.replace("/", "__"): text})
    assert read_corpus(tmp_path / "book").text == "one\ntwo\nnine\nten\nnote"


def test_include_selects_files_by_name_or_by_path(tmp_path):
    book = tmp_path / "book"
    for name in ("a.md", "b.txt", "part/c.md", "part/d.py"):
        write(book, **{name.replace("/", "__"): name})
    assert read_corpus(book, include="*.md").text == "a.md\npart/c.md"
    assert read_corpus(book, include="*.md,*.py").text == "a.md\npart/c.md\npart/d.py"
    assert read_corpus(book, include="part/*").text == "part/c.md\npart/d.py"
    refuse(book, r"^include: no file in .*book matches \*\.rst$", UsageError, include="*.rst")


def test_hidden_binary_and_empty_files_are_skipped_and_counted(tmp_path):
    book = write(tmp_path / "book", **{"a.txt": "text", "b.png": PNG, "c.bin": bytes(range(256)), "d.txt": ""})
    write(book, **{".git__config": "hidden", ".DS_Store": "hidden", "~$letter.docx": "hidden", "e.txt": "\x01 kept\n"})
    corpus = read_corpus(book)
    assert corpus.text == "text\n\x01 kept\n"
    assert corpus.notes == (f"{book}: read 2 files; skipped 6 files: 2 binary (b.png, c.bin), 1 empty, 3 hidden",)


def test_directory_without_text_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    refuse(tmp_path / "none", "none contains no files$")
    write(tmp_path / "none", **{"a.png": PNG, ".hidden": "text"})
    refuse(tmp_path / "none", "none contains no text; skipped 2 files: 1 binary (.*), 1 hidden$")
    write(tmp_path, **{"a.txt": "text"})
    refuse([tmp_path / "a.txt", tmp_path / "none"], "none contains no text")


def test_text_in_another_encoding_in_a_directory_is_not_skipped_as_binary(tmp_path):
    write(tmp_path / "book", **{"a.txt": "plain", "b.txt": "naïve café\n".encode("cp1252")})
    refuse(tmp_path / "book", r"b\.txt: not utf-8: .* at byte 2, line 1", encoding="utf-8")
    write(tmp_path / "wide", **{"a.txt": ("wide text " * 20).encode("utf-16-le")})
    refuse(tmp_path / "wide", r"a\.txt looks like UTF-16 without a byte-order mark")


@posix
def test_loop_of_symbolic_links_is_read_once(tmp_path):
    book = write(tmp_path / "book", **{"a.txt": "text", "part__b.txt": "more"})
    (book / "part" / "loop").symlink_to(book)
    (book / "z").symlink_to(book / "part")
    corpus = read_corpus(book)
    assert corpus.text == "text\nmore"
    assert corpus.notes == (f"{book}: read 2 files; skipped 2 files: 2 already read",)


@posix
def test_linked_files_and_directories_are_read(tmp_path):
    write(tmp_path / "elsewhere", **{"b.txt": "linked"})
    book = write(tmp_path / "book", **{"a.txt": "text"})
    (book / "part").symlink_to(tmp_path / "elsewhere")
    assert read_corpus(book).text == "text\nlinked"


@posix
@pytest.mark.parametrize(
    ("target", "reason"), [("none", "No such file"), ("link.txt", "Too many levels of symbolic links")]
)
def test_broken_link_in_a_directory_is_refused(target, reason, tmp_path):
    book = write(tmp_path / "book", **{"a.txt": "text"})
    (book / "link.txt").symlink_to(target)
    refuse(book, rf"link\.txt: {reason}", UsageError)


def test_unreadable_part_of_a_directory_is_refused(tmp_path, monkeypatch):
    book = write(tmp_path / "book", **{"a.txt": "text", "secret__b.txt": "text"})

    def denied(path):
        raise PermissionError(13, "Permission denied", path)

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: denied(path) if "secret" in str(path) else scan(path))
    refuse(book, "secret/?: Permission denied$", UsageError)


@posix
def test_named_pipe_in_a_directory_is_skipped(tmp_path):
    book = write(tmp_path / "book", **{"a.txt": "text"})
    os.mkfifo(book / "pipe")
    assert read_corpus(book).notes == (f"{book}: read 1 file; skipped 1 file: 1 special",)


def test_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = write(tmp_path, **{"log.txt": "text\n" * 10}) / "log.txt"
    pieces = read_pieces([str(path)], DataConfig(), Findings())
    next(pieces)
    path.write_text("text\n" * 11)
    with pytest.raises(CharlstmError, match=r"log\.txt changed while it was read"):
        list(pieces)


# ---- patterns


def test_patterns_are_expanded_in_natural_order(tmp_path):
    write(tmp_path, **{"c10.txt": "ten", "c9.txt": "nine", ".c1.txt": "hidden", "sub__c8.txt": "eight"})
    assert read_corpus(f"{tmp_path}/c*.txt").text == "nine\nten"
    assert read_corpus(f"{tmp_path}/**/c?.txt").text == "nine\neight"
    refuse(f"{tmp_path}/*.md", r"\*\.md: no file matches this pattern$", UsageError)


def test_file_whose_name_looks_like_a_pattern_is_read(tmp_path):
    write(tmp_path, **{"[1].txt": "one"})
    assert read_corpus(tmp_path / "[1].txt").text == "one"


# ---- compressed files and archives

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_files_in_directories_and_archives_are_read(suffix, tmp_path):
    data = COMPRESS[suffix](b"text\n")
    write(tmp_path / "book", **{f"a.txt{suffix}": data})
    assert read_corpus(tmp_path / "book").text == "text\n"
    assert read_corpus(zip_of(tmp_path / "book.zip", {f"a.txt{suffix}": data})).text == "text\n"


@pytest.mark.parametrize("name", ["book.tar", "book.tar.gz", "book.tgz", "book.tar.bz2", "book.TXZ", "book.tar.zst"])
def test_tar_archives_are_read_in_their_own_order(name, tmp_path):
    tar_of(tmp_path / "book.tar", {"./b.txt": "first", "a/a.txt": "second", ".hidden": "no", "c.png": PNG})
    data = (tmp_path / "book.tar").read_bytes()
    compress: dict[str, Callable[[bytes], bytes]] = {
        "z": gzip.compress,
        "2": bz2.compress,
        "Z": lzma.compress,
        "t": zstd.compress,
    }
    (tmp_path / name).write_bytes(data if name == "book.tar" else compress[name[-1]](data))
    corpus = read_corpus(tmp_path / name)
    assert corpus.text == "first\nsecond"
    assert corpus.notes == (f"{tmp_path / name}: read 2 files; skipped 2 files: 1 binary (c.png), 1 hidden",)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_streams_are_read_one_after_the_other(suffix, tmp_path):
    streams = [COMPRESS[suffix](text) for text in (b"one\n" * 100_000, b"", b"two\n")]
    write(tmp_path, **{f"a.txt{suffix}": b"".join(streams)})
    assert read_corpus(tmp_path / f"a.txt{suffix}").text == "one\n" * 100_000 + "two\n"


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("damage", ["cut", "no stream", "garbage"])
def test_damage_after_the_first_compressed_stream_is_found(suffix, damage, tmp_path):
    first, second = COMPRESS[suffix](b"one\n"), COMPRESS[suffix](b"two\n")
    after = {"cut": second[:-5], "no stream": b"\1" + second[1:], "garbage": second + b"garbage"}[damage]
    write(tmp_path, **{f"a.txt{suffix}": first + after})
    refuse(tmp_path / f"a.txt{suffix}", "the compressed data is damaged")


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_zeros_around_compressed_streams_are_padding(suffix, tmp_path):
    streams = [COMPRESS[suffix](b"one\n"), COMPRESS[suffix](b"two\n"), b""]
    write(tmp_path, **{f"a.txt{suffix}": bytes(512).join(streams)})
    assert read_corpus(tmp_path / f"a.txt{suffix}").text == "one\ntwo\n"


def test_zip_archives_are_read_in_natural_order(tmp_path):
    files = {"c10.txt": "ten", "c9.txt": "nine", "__MACOSX/c9.txt": "hidden", "d.png": PNG, "e/": ""}
    corpus = read_corpus(zip_of(tmp_path / "book.zip", files))
    assert corpus.text == "nine\nten"
    assert corpus.notes == (f"{tmp_path / 'book.zip'}: read 2 files; skipped 2 files: 1 binary (d.png), 1 hidden",)


def test_include_that_matches_only_hidden_files_is_refused(tmp_path):
    write(tmp_path, **{"a.txt": "a", ".git": "hidden"})
    with pytest.raises(UsageError, match=r"no file in .* matches \*\.md$"):
        read_corpus(tmp_path, include="*.md")


def test_include_applies_to_archives(tmp_path):
    path = zip_of(tmp_path / "book.zip", {"a.md": "a", "b.txt": "b", "inner.zip": b"PK"})
    assert read_corpus(path, include="*.md").text == "a"


def test_zstd_files_need_an_extra(tmp_path, monkeypatch):
    write(tmp_path, **{"a.txt.zst": zstd.compress(b"text")})
    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setitem(sys.modules, "backports", None)
    refuse(tmp_path / "a.txt.zst", r"a\.txt\.zst: \.zst files need charlstm\[zstd\]", UsageError)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_decompression_bomb_is_refused(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALLOWED", 1 << 16)
    bomb = COMPRESS[suffix](b"a line of text\n" * 100_000)
    message = "expands to more than 200 times its size; if you trust it, decompress it first$"
    for name, data in ((f"a.txt{suffix}", bomb), (f"twice.txt{suffix}{suffix}", COMPRESS[suffix](bomb))):
        write(tmp_path, **{name: data})
        refuse(tmp_path / name, message)
    refuse(zip_of(tmp_path / "a.zip", {f"a.txt{suffix}": bomb}), message)


def test_zip_bomb_of_many_members_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALLOWED", 1 << 16)
    refuse(
        zip_of(tmp_path / "a.zip", {f"{n}.txt": "text\n" * 20_000 for n in range(9)}), r"a\.zip expands to more than"
    )


def test_text_that_compresses_well_is_no_bomb(tmp_path):
    write(tmp_path, **{"a.txt.gz": gzip.compress(b"a line of text\n" * 1_000_000)})
    assert len(read_corpus(tmp_path / "a.txt.gz").ids) == 15_000_000


@pytest.mark.parametrize("member", ["../x.txt", "/etc/x.txt", "a/../../x.txt", "..\\x.txt", "C:\\x.txt"])
def test_member_outside_the_archive_is_refused(member, tmp_path):
    message = "has a member that points outside the archive: "
    refuse(zip_of(tmp_path / "a.zip", {"a.txt": "text", member: "evil"}), message)
    refuse(tar_of(tmp_path / "a.tar", {"a.txt": "text", member: "evil"}), message)
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "a.zip"]


def test_encrypted_member_is_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.txt": "text"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # of the directory
    path.write_bytes(data)
    refuse(path, r"a\.zip/a\.txt is encrypted; extract it first$")


@pytest.mark.parametrize("inner", ["b.zip", "b.tar", "b.tar.gz"])
def test_archive_within_an_archive_is_refused(inner, tmp_path):
    message = rf"{inner} is an archive within an archive; extract it first$"
    refuse(zip_of(tmp_path / "a.zip", {"a.txt": "text", inner: gzip.compress(b"")}), message)
    refuse(tar_of(tmp_path / "a.tar", {"a.txt": "text", inner: gzip.compress(b"")}), message)
    write(tmp_path, **{"a.zip.gz": gzip.compress((tmp_path / "a.zip").read_bytes())})
    refuse(tmp_path / "a.zip.gz", "can only be read from a file of its own")


def test_links_in_archives_are_skipped(tmp_path):
    link = zipfile.ZipInfo("link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    zip_of(tmp_path / "a.zip", {"a.txt": "text"})
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr(link, "/etc/passwd")
    tar_of(tmp_path / "a.tar", {"a.txt": "text"})
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        with tarfile.open(tmp_path / "a.tar", "a") as archive:
            info = tarfile.TarInfo("link.txt")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    for name, count in (("a.zip", 1), ("a.tar", 2)):
        corpus = read_corpus(tmp_path / name)
        assert corpus.text == "text"
        assert corpus.notes == (
            f"{tmp_path / name}: read 1 file; skipped {count} file{'s' * (count > 1)}: {count} linked",
        )


def test_archive_cut_at_any_length_is_refused(tmp_path):
    files: dict[str, Any] = {f"{n}.txt": f"text {n}\n" * 50 for n in range(3)}
    for path in (zip_of(tmp_path / "a.zip", files), tar_of(tmp_path / "a.tar", files)):
        data = path.read_bytes().rstrip(b"\0") if path.suffix == ".tar" else path.read_bytes()
        for length in range(1, len(data), 97):
            path.write_bytes(data[:length])
            refuse(path, rf"{path.name}")


def test_archive_of_another_format_is_refused(tmp_path):
    for name in ("a.zip", "a.tar", "a.tgz", "a.txt.zst"):
        write(tmp_path, **{name: "some text, not an archive"})
        refuse(tmp_path / name, rf"{name}: the compressed data is damaged")


def test_damaged_member_is_named(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"a.txt": "some text"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"some text", b"some test"))
    refuse(path, r"a\.zip/a\.txt: the compressed data is damaged \(Bad CRC-32")
