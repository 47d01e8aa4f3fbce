"""Files are replaced as a whole, or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from charlstm.storage.atomic import remove_stale, replace_file, temporary_path


def test_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        with replace_file(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_old_file_stays_readable_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replace_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_the_old_file_and_nothing_else(error, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), replace_file(path) as file:
        raise error(file.write(b"new"))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_to_write_leaves_the_old_file_and_nothing_else(name, error, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def failing(*_):
        raise error

    monkeypatch.setattr(os, name, failing)
    with pytest.raises(type(error)), replace_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_content_is_on_the_disk_before_it_replaces_the_old_one(tmp_path, monkeypatch):
    calls: list[object] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor):
        calls.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    def recorded_replace(source, target):
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    with replace_file(tmp_path / "file") as file:
        file.write(b"new")
    assert calls[:2] == [len(b"new"), "replace"]


def test_temporary_file_of_another_writer_is_left_alone(tmp_path):
    path = tmp_path / "file"
    temporary_path(path).write_bytes(b"of another thread")
    with pytest.raises(FileExistsError), replace_file(path):
        pass
    assert temporary_path(path).read_bytes() == b"of another thread"


def test_temporary_file_is_beside_its_target_and_names_its_process(tmp_path):
    assert temporary_path(tmp_path / "model.npz") == tmp_path / f".model.npz.{os.getpid()}.tmp"


def test_stale_files_are_those_with_the_name_of_a_temporary_file(tmp_path):
    stale, other = temporary_path(tmp_path / "model.npz"), temporary_path(tmp_path / "other.npz")
    for path in (stale, other, tmp_path / "model.npz"):
        path.touch()
    remove_stale(tmp_path / "model.npz")
    assert sorted(tmp_path.iterdir()) == sorted([other, tmp_path / "model.npz"])


def test_directory_that_is_writable_but_not_readable_has_nothing_stale(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    remove_stale(tmp_path / "model.npz")


def fail_for_directories(monkeypatch, name, error):
    """Make a function of `os` fail where its argument is a directory."""
    real = getattr(os, name)

    def failing(file, *arguments):
        if os.path.isdir(file):
            raise OSError(error, os.strerror(error))
        return real(file, *arguments)

    monkeypatch.setattr(os, name, failing)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, directories are not synced")
@pytest.mark.parametrize(("name", "error"), [("fsync", errno.EINVAL), ("fsync", errno.ENOTSUP), ("open", errno.EACCES)])
def test_directory_that_does_not_support_syncing_is_not_synced(name, error, tmp_path, monkeypatch):
    fail_for_directories(monkeypatch, name, error)
    with replace_file(tmp_path / "file") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, directories are not synced")
def test_failure_to_sync_the_directory_is_reported(tmp_path, monkeypatch):
    fail_for_directories(monkeypatch, "fsync", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), replace_file(tmp_path / "file"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "real")
    with replace_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "real").read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
@pytest.mark.parametrize("umask", [0o027, 0o077])
def test_permissions_are_those_of_an_ordinary_file(umask, tmp_path):
    before = os.umask(umask)
    try:
        with replace_file(tmp_path / "file"):
            pass
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    mode = stat.S_IMODE((tmp_path / "file").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o666 & ~umask


def test_interruption_right_after_creation_leaves_no_file(tmp_path, monkeypatch):
    def create_and_interrupt(path, mode):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.open", create_and_interrupt)
    with pytest.raises(KeyboardInterrupt), replace_file(tmp_path / "new.txt"):
        pass
    assert not list(tmp_path.iterdir())
