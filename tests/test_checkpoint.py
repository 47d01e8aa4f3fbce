"""The file: what is saved comes back, what is damaged does not, and the old one survives."""

import json
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, arrays_of

from charlstm import CharlstmError, load, save, start, train
from charlstm.errors import UsageError
from charlstm.stepper import Stepper


@pytest.fixture
def half(corpus):
    """A run that is not finished, with an evaluation behind it."""
    run = start(SMALL.replace(hidden_size=3), corpus)
    for report in train(run, corpus):
        if report.step == 12:
            break
    return run


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def write_members(path: Path, members: dict[str, bytes], **options) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, options.get("compression", zipfile.ZIP_STORED))


def npy(array: np.ndarray, **options) -> bytes:
    import io

    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def with_header(path: Path, change) -> None:
    members = members_of(path)
    with np.load(path) as npz:
        header = json.loads(npz["header"].tobytes())
    change(header)
    members["header.npy"] = npy(np.frombuffer(json.dumps(header).encode(), np.uint8))
    write_members(path, members)


def refused(path: Path) -> str:
    with pytest.raises(CharlstmError) as caught:
        load(path)
    assert "pickle=True" not in str(caught.value)
    return str(caught.value)


def test_everything_comes_back(half, tmp_path):
    save(half, tmp_path / "m.npz")
    back = load(tmp_path / "m.npz")
    ours, theirs = arrays_of(half), arrays_of(back)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(array, theirs[name]) for name, array in ours.items())
    assert (back.config, back.vocab, back.best, back.history, back.corpus) == (
        half.config,
        half.vocab,
        half.best,
        half.history,
        half.corpus,
    )
    assert back.vocab.counts.tolist() == half.vocab.counts.tolist()
    assert back.progress.rng.bit_generator.state == half.progress.rng.bit_generator.state


def test_a_finished_run_keeps_only_the_best_weights(trained, half, tmp_path):
    save(trained, tmp_path / "m.npz")
    assert {name.split(".")[0] for name in members_of(tmp_path / "m.npz")} == {
        "header", "vocab", "counts", "layer0", "w_out", "b_out",
    }  # fmt: skip
    assert load(tmp_path / "m.npz").progress is None


def test_the_file_keeps_its_name_and_its_permissions_are_ordinary(trained, tmp_path):
    os.umask(before := os.umask(0o027))
    for name in ("model", "mein Modell ☃.npz"):
        save(trained, tmp_path / name)
    (tmp_path / "other").touch()
    assert sorted(os.listdir(tmp_path)) == ["mein Modell ☃.npz", "model", "other"]
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
    os.umask(before)


def test_saving_goes_through_a_link(trained, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "there" / "real.npz")
    save(trained, tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    load(tmp_path / "there" / "real.npz")


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(name, trained, half, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    save(trained, path)
    before = path.read_bytes()

    def failing(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, failing)
    with pytest.raises(CharlstmError, match="could not be saved: No space left on device"):
        save(half, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_an_interrupted_save_leaves_the_old_file_and_nothing_else(trained, half, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    save(trained, path)
    before = path.read_bytes()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(half, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_missing_files_and_folders_are_usage_errors(tmp_path):
    for path in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(UsageError):
            load(path)


@pytest.mark.parametrize("data", [b"", b"just text", b"\x80\x04K\x01.", npy(np.zeros(3)), b"PK\x03\x04" + b"\0" * 99])
def test_other_files_are_no_checkpoints(data, tmp_path):
    (tmp_path / "m.npz").write_bytes(data)
    assert "not a charlstm checkpoint" in refused(tmp_path / "m.npz")


def test_a_foreign_npz_is_no_checkpoint(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros(3))
    assert "not a charlstm checkpoint" in refused(tmp_path / "m.npz")
    np.savez(tmp_path / "m.npz", header=np.array([{"format": "charlstm"}], dtype=object))
    assert "not a charlstm checkpoint" in refused(tmp_path / "m.npz")


def test_every_truncation_is_refused(trained, tmp_path):
    save(trained, tmp_path / "m.npz")
    whole = (tmp_path / "m.npz").read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        (tmp_path / "m.npz").write_bytes(whole[:length])
        refused(tmp_path / "m.npz")


def test_no_flipped_bit_gives_other_values(half, tmp_path):
    path = tmp_path / "m.npz"
    save(half, path)
    whole, wanted = bytearray(path.read_bytes()), arrays_of(half)
    rng = np.random.default_rng(0)
    places = {*rng.integers(0, len(whole), 500).tolist(), *range(len(whole) - 22, len(whole))}
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            back = load(path)
        except CharlstmError:
            continue
        assert all(np.array_equal(array, wanted[name]) for name, array in arrays_of(back).items()), place
        assert (back.config, back.history, back.vocab) == (half.config, half.history, half.vocab)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_compressed_members_are_refused(compression, trained, tmp_path):
    save(trained, tmp_path / "m.npz")
    write_members(tmp_path / "m.npz", members_of(tmp_path / "m.npz"), compression=compression)
    assert "compressed" in refused(tmp_path / "m.npz")


HOSTILE = {
    "a huge shape": np.lib.format.magic(1, 0) + b"\x76\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 48), }".ljust(117) + b"\n",
    "objects": npy(np.array([{}], dtype=object), allow_pickle=True),
    "structures": npy(np.zeros(3, "f4,f4")),
    "another shape": npy(np.zeros((2, 2), np.float32)),
    "nothing": npy(np.zeros((0, 12), np.float32)),
    "another type": npy(np.zeros((17, 12))),
    "the other byte order": npy(np.zeros((17, 12), ">f4")),
    "text": npy(np.array(["a"])),
    "a later npy": npy(np.zeros((17, 12), np.float32), version=(2, 0)),
    "no npy": b"hello",
    **{f"header {k}": np.lib.format.magic(1, 0) + len(header).to_bytes(2, "little") + header for k, header in enumerate(
        [b"(", b"{'a", b'"""', b"\n  x\n y", b"{[]:1}", b"{'descr': (), 'fortran_order': False, 'shape': (17, 12), }", b"-" * 9000 + b"1",
         b"{'descr': '<f4', 'fortran_order': False, 'shape': (17L, 12), }", b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b",), }\n",
         b"{'descr': '<f4', 'fortran_order': True, 'shape': (17, 12), }\n", b"{'descr': '<q9', 'fortran_order': False, 'shape': (17, 12), }\n"])},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_members_that_are_not_what_they_should_be_are_refused(name, trained, tmp_path):
    path = tmp_path / "m.npz"
    save(trained, path)
    write_members(path, members_of(path) | {"w_out.npy": HOSTILE[name]})
    assert "w_out" in refused(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad, trained, tmp_path):
    path = tmp_path / "m.npz"
    save(trained, path)
    b_out = trained.model.params["b_out"].copy()
    b_out[2] = bad
    write_members(path, members_of(path) | {"b_out.npy": npy(b_out)})
    assert "b_out has values that are not finite" in refused(path)


@pytest.mark.parametrize("change", ["extra", "missing", "twice", "outside"])
def test_other_members_than_expected_are_refused(change, trained, tmp_path):
    path = tmp_path / "m.npz"
    save(trained, path)
    members = members_of(path)
    if change == "missing":
        del members["counts.npy"]
    elif change == "extra":
        members["more.npy"] = npy(np.zeros(3))
    elif change == "outside":
        members["../evil.npy"] = npy(np.zeros(3))
    write_members(path, members)
    if change == "twice":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("b_out.npy", members["b_out.npy"])
    refused(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h.update(version=2), "is of format 2; this charlstm reads 1: install a newer one"),
        (lambda h: h.update(version=0), "names no format"),
        (lambda h: h.update(format="other"), "header does not say so"),
        (lambda h: h["config"]["model"].update(hidden_size=13), "shape"),
        (lambda h: h["config"]["model"].update(num_layers=2), "lacks members"),
        (lambda h: h["config"]["model"].update(hidden_size="12"), "hidden_size"),
        (lambda h: h["config"].update(more={}), "settings are not"),
        (lambda h: h.update(config=None), "config in its header"),
        (lambda h: h.pop("history"), "history in its header"),
        (lambda h: h["history"][0].update(val_loss="low"), "history in its header"),
        (lambda h: h["training"]["rng"].update(state=3), "random generator"),
        (lambda h: h["training"]["rng"].update(bit_generator="MT19937"), "random generator"),
        (lambda h: h["training"].update(step=-1), "training in its header"),
        (lambda h: h["training"].update(step=True), "training in its header"),
        (lambda h: h["training"].update(elapsed_s=-1.0), "training in its header"),
        (lambda h: h["training"].update(elapsed_s=float("inf")), "not JSON"),
        (lambda h: h["config"]["train"].update(learning_rate=10**400), "learning_rate"),
        (lambda h: h["corpus"].update(sha256="\x1b[31m"), "odd sha256"),
        (lambda h: h["history"][0].update(epoch=10**400), "history in its header"),
        (lambda h: h["training"].update(loss_sum=10**400), "training in its header"),
        (lambda h: h["training"].update(rescues=3), "rescued too often"),
        (lambda h: h["training"].update(step=2**60), "too many steps"),
        (lambda h: h["config"]["data"].update(encoding="\x1butf-8"), "encoding"),
        (lambda h: h.update(more=1), "more than there is"),
        (lambda h: h["config"]["train"].update(batch_size=2), "odd number of streams"),
    ],
)
def test_headers_that_are_not_as_the_format_says_are_refused(change, reason, half, tmp_path):
    save(half, tmp_path / "m.npz")
    with_header(tmp_path / "m.npz", change)
    assert reason in refused(tmp_path / "m.npz")


@pytest.mark.parametrize("header", [b"{", b"[]", b'{"format": NaN}', b"[" * 100_000, b"\xff"])
def test_headers_that_are_no_json_are_refused(header, trained, tmp_path):
    path = tmp_path / "m.npz"
    save(trained, path)
    write_members(path, members_of(path) | {"header.npy": npy(np.frombuffer(header, np.uint8))})
    refused(path)


@pytest.mark.parametrize(
    "change", [lambda d: d + b"\0", lambda d: b"\0" + d, lambda d: d[:-2] + b"\1\0c", lambda d: d * 2]
)
def test_what_stands_around_the_archive_is_refused(change, trained, tmp_path):
    path = tmp_path / "m.npz"
    save(trained, path)
    path.write_bytes(change(path.read_bytes()))
    refused(path)


def test_an_archive_of_many_members_is_refused_before_they_are_read(trained, tmp_path):
    write_members(tmp_path / "m.npz", {f"{k}.npy": b"" for k in range(1500)})
    assert "too many members" in refused(tmp_path / "m.npz")


def test_whole_numbers_in_settings_come_back(corpus, tmp_path):
    run = start(SMALL.replace(learning_rate=1, steps=3), corpus)
    for _ in train(run, corpus):
        pass
    save(run, tmp_path / "m.npz")
    assert load(tmp_path / "m.npz").config.train.learning_rate == 1


@pytest.mark.parametrize("code_points", [[3, 2, 1], [1, 1, 2], [1, 2, 0x110000]])
def test_vocabularies_out_of_order_are_refused(code_points, trained, tmp_path):
    path = tmp_path / "m.npz"
    save(trained, path)
    write_members(path, members_of(path) | {"vocab.npy": npy(np.array(code_points, np.uint32))})
    assert "vocabulary is out of order" in refused(path)


def test_another_program_reads_the_file_with_numpy_alone(half, tmp_path):
    """As docs/format.md says, and with no import of the package: the probabilities of the first steps are the same."""
    save(half, tmp_path / "m.npz")
    text = (Path(__file__).parent.parent / "docs" / "format.md").read_text(encoding="utf-8")
    program = text.split("```python\n")[1].split("```")[0]
    assert "charlstm" not in program.replace('"charlstm"', "")
    names = {"path": tmp_path / "m.npz", "text": "1 times 2"}
    exec(compile(program, "docs/format.md", "exec"), names)
    state, stepper = half.model.zero_state(1), Stepper(half.model)
    for character in "1 times 2":
        logits, state = stepper.step(half.vocab.encode(character), state)
    p = np.exp(logits[0].astype(float))
    np.testing.assert_allclose(names["probabilities"], p / p.sum(), rtol=1e-4)
    assert names["characters"] == half.vocab.decode(range(len(half.vocab)))


def test_a_loss_may_be_as_large_as_it_likes(half, tmp_path):
    half.history[-1]["train_loss"] = half.history[-1]["val_loss"] = 1e30
    save(half, tmp_path / "m.npz")
    assert load(tmp_path / "m.npz").history == half.history


@pytest.mark.parametrize("kind", ["params", "v"])
def test_what_is_not_finite_is_not_saved_over_what_is(kind, half, tmp_path):
    save(half, tmp_path / "m.npz")
    before = (tmp_path / "m.npz").read_bytes()
    half.progress.arrays()[kind]["layer0.w_h"][0, 0] = np.inf
    with pytest.raises(CharlstmError, match="not finite any more"):
        save(half, tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]
