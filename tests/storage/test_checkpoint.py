"""Checkpoints as untrusted input: what was saved comes back, and what is damaged or hostile is refused."""

import dataclasses
import errno
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, SMALL, TEXT, assert_same_run, begin, train_fully
from storage_helpers import (
    HOSTILE_MEMBERS,
    change_header,
    npy,
    read_members,
    replace_members,
    train_until,
    write_members,
)

from charlstm import CharlstmError, Run, load, load_run
from charlstm.errors import UsageError
from charlstm.network.dispatch import make_stepper
from charlstm.storage.weights import FORMATS

DIRECTORY_ERROR = os.strerror(errno.EISDIR if os.name == "posix" else errno.EACCES)
VARIANTS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"optimizer": "sgd"},
    "sgd with momentum": {"optimizer": "sgd", "momentum": 0.9},
    "rmsprop": {"optimizer": "rmsprop"},
    "moving average": {"ema_decay": 0.9},
    "two layers": {"num_layers": 2},
    "without validation": {"val_fraction": 0},
}


@pytest.fixture(scope="module")
def half() -> Run:
    """An unfinished run with one evaluation. Tests must not change it."""
    return train_until(12)


@pytest.fixture
def finished_file(trained: Run, tmp_path: Path) -> Path:
    trained.save(tmp_path / "m.npz")
    return tmp_path / "m.npz"


@pytest.fixture
def half_file(half: Run, tmp_path: Path) -> Path:
    half.save(tmp_path / "m.npz")
    return tmp_path / "m.npz"


def refused(path: Path) -> str:
    """Return the message that refuses a file, which neither `load` nor `load_run` accepts."""
    with pytest.raises(CharlstmError) as caught:
        load_run(path)
    with pytest.raises(CharlstmError, match=f"^{re.escape(str(caught.value))}$"):
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "pickle=True" not in str(caught.value)
    return str(caught.value)


# ---- valid files


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_run_comes_back(variant, tmp_path):
    run = train_until(12, **VARIANTS[variant])
    run.save(tmp_path / "m.npz")
    back = load_run(tmp_path / "m.npz")
    assert_same_run(back, run)
    assert back.history
    assert (back.config, back.model.vocab, back.dataset) == (run.config, run.model.vocab, None)
    assert back.model.vocab.counts.tolist() == run.model.vocab.counts.tolist()
    assert back.training is not None
    assert run.training is not None
    assert back.training.header() == run.training.header()


def test_loaded_model_has_the_best_weights(half, half_file):
    model = load(half_file)
    assert all(np.array_equal(array, half.model.network.params[name]) for name, array in model.network.params.items())
    assert model.vocab == half.model.vocab
    assert half.training is not None
    assert not np.array_equal(model.network.params["w_out"], half.training.network.params["w_out"])


def test_finished_file_has_only_the_best_weights(finished_file):
    assert {name.split(".")[0] for name in read_members(finished_file)} == {
        "header", "vocab", "counts", "layer0", "w_out", "b_out",
    }  # fmt: skip
    assert load_run(finished_file).training is None


def test_whole_numbers_in_settings_come_back(tmp_path):
    run, _ = train_fully(SMALL.replace(learning_rate=1, steps=3))
    run.save(tmp_path / "m.npz")
    assert load_run(tmp_path / "m.npz").config.train.learning_rate == 1


def test_losses_of_any_size_come_back(half_file):
    def change(header):
        header["history"][-1].update(train_loss=1e30, val_loss=1e300)

    change_header(half_file, change)
    entry = load_run(half_file).history[-1]
    assert (entry.train_loss, entry.val_loss) == (1e30, 1e300)


def test_missing_settings_get_their_defaults(half, half_file):
    change_header(half_file, lambda header: header["config"]["train"].pop("patience"))
    assert load_run(half_file).config == half.config


@pytest.mark.parametrize("value", [1, None, "text", {"a": [1, {}]}, [1e300]])
def test_unknown_optional_keys_of_the_header_are_ignored(value, half, half_file):
    change_header(half_file, lambda header: header.update(comment=value))
    assert_same_run(load_run(half_file), half)


@pytest.mark.parametrize(
    "base",
    [
        1,
        {},
        {"name": "a.npz"},
        {"name": 1, "sha256": "0" * 64},
        {"name": "a", "sha256": "0" * 63},
        {"sha256": "0" * 64},
    ],
)
def test_invalid_base_is_refused(base, half_file):
    change_header(half_file, lambda header: header.update(base=base))
    with pytest.raises(CharlstmError, match=r"invalid base in its header|invalid sha256"):
        load_run(half_file)


@pytest.mark.parametrize("weights", FORMATS)
def test_another_program_reads_the_file_with_numpy_alone(weights, half, half_file):
    """The program in docs/format.md does not import the package, and computes the same probabilities."""
    if weights != "float32":
        dataclasses.replace(half, training=None, weights=weights).save(half_file)
    text = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    program = text.split("```python\n")[1].split("```")[0]
    assert "charlstm" not in program.replace('"charlstm"', "")
    names: dict[str, Any] = {"path": half_file, "text": "1 times 2"}
    exec(compile(program, "docs/format.md", "exec"), names)
    network, vocab = load(half_file).network, half.model.vocab
    state, stepper = network.zero_state(1), make_stepper(network)
    for character in "1 times 2":
        logits, state = stepper.step(vocab.encode(character), state)
    p = np.exp(logits[0].astype(float))
    np.testing.assert_allclose(names["probabilities"], p / p.sum(), rtol=1e-4)
    assert names["characters"] == vocab.characters


# ---- versions


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (1, "was written by an older charlstm (format 1); train the model again"),
        (4, "was written by a newer charlstm (format 4); upgrade to read it"),
        (10**6, "was written by a newer charlstm (format 1000000); upgrade to read it"),
    ],
)
def test_other_versions_are_refused_with_advice(version, reason, half_file):
    change_header(half_file, lambda header: header.update(version=version))
    assert refused(half_file) == f"{half_file} {reason}"


def test_newer_version_is_refused_whatever_else_changed(half_file):
    header = npy(np.frombuffer(b'{"format":"charlstm","version":4}', np.uint8))
    write_members(half_file, {"header.npy": header})
    assert "was written by a newer charlstm (format 4)" in refused(half_file)


def test_file_of_version_1_is_refused_with_advice(half_file):
    """As version 1 had it: other settings, other names, and only two entries in `best`."""

    def change(header):
        header.update(version=1, best={"step": 10, "val_loss": 2.5})
        header["config"]["train"]["average"] = header["config"]["train"].pop("ema_decay")
        header["config"]["train"]["reset"] = header["config"]["train"].pop("state_reset_prob")
        header["config"]["data"]["no_copy_index"] = 0
        header["training"]["rescues"] = header["training"].pop("rollbacks")

    change_header(half_file, change)
    assert refused(half_file) == f"{half_file} was written by an older charlstm (format 1); train the model again"


@pytest.mark.parametrize("version", [0, -1, True, 2.0, "2", None])
def test_invalid_version_is_refused(version, half_file):
    change_header(half_file, lambda header: header.update(version=version))
    assert "damaged: invalid version" in refused(half_file)


# ---- other files


def test_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"none\.npz: No such file"):
        load(tmp_path / "none.npz")


def test_directory_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=DIRECTORY_ERROR):
        load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"just text", b"\x80\x04K\x01.", npy(np.zeros(3)), b"PK\x03\x04" + b"\0" * 99])
def test_other_files_are_not_checkpoints(data, tmp_path):
    (tmp_path / "m.npz").write_bytes(data)
    assert "is not a charlstm checkpoint, or is damaged: " in refused(tmp_path / "m.npz")


@pytest.mark.parametrize("arrays", [{"a": np.zeros(3)}, {"header": np.array([{"format": "charlstm"}], dtype=object)}])
def test_other_npz_files_are_not_checkpoints(arrays, tmp_path):
    np.savez(tmp_path / "m.npz", **arrays)
    assert "is not a charlstm checkpoint, or is damaged: header is " in refused(tmp_path / "m.npz")


# ---- damage


def test_every_truncation_is_refused(finished_file):
    whole = finished_file.read_bytes()
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        finished_file.write_bytes(whole[:length])
        refused(finished_file)


def test_no_flipped_bit_gives_other_values(half, half_file):
    whole = half_file.read_bytes()
    rng = np.random.default_rng(0)
    places = {*rng.integers(0, len(whole), 500).tolist(), *range(len(whole) - 22, len(whole))}
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        half_file.write_bytes(damaged)
        try:
            back = load_run(half_file)
        except CharlstmError:
            continue
        assert_same_run(back, half)
        assert (back.config, back.model.vocab) == (half.config, half.model.vocab)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_compressed_members_are_refused(compression, finished_file):
    write_members(finished_file, read_members(finished_file), compression)
    assert "a member is compressed" in refused(finished_file)


@pytest.mark.parametrize("name", HOSTILE_MEMBERS)
def test_hostile_members_are_refused(name, finished_file):
    replace_members(finished_file, w_out=HOSTILE_MEMBERS[name][0])
    assert "damaged: w_out " in refused(finished_file)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad, trained, finished_file):
    b_out = trained.model.network.params["b_out"].copy()
    b_out[2] = bad
    replace_members(finished_file, b_out=npy(b_out))
    assert "b_out has values that are not finite" in refused(finished_file)


@pytest.mark.parametrize("name", ["training.v.w_out", "training.h", "training.params.b_out"])
def test_training_state_that_is_not_finite_is_refused(name, half_file):
    with np.load(half_file) as npz:
        array = npz[name]
    array.flat[-1] = np.nan
    replace_members(half_file, **{name: npy(array)})
    assert f"{name} has values that are not finite" in refused(half_file)


@pytest.mark.parametrize("name", ["header", "vocab", "counts", "w_out", "layer0.w_h"])
def test_missing_members_are_refused(name, finished_file):
    members = read_members(finished_file)
    del members[f"{name}.npy"]
    write_members(finished_file, members)
    assert re.search(f"{name} is missing|missing or unexpected arrays", refused(finished_file))


@pytest.mark.parametrize("name", ["more", "../evil", "training.h", "layer1.w_h"])
def test_unexpected_members_are_refused(name, finished_file):
    replace_members(finished_file, **{name: npy(np.zeros((1, 4, 12), np.float32))})
    assert "missing or unexpected arrays" in refused(finished_file)


def test_duplicate_member_is_refused(finished_file):
    with zipfile.ZipFile(finished_file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("b_out.npy", read_members(finished_file)["b_out.npy"])
    assert "it has a duplicate member" in refused(finished_file)


@pytest.mark.parametrize(
    "change", [lambda d: d + b"\0", lambda d: b"\0" + d, lambda d: d[:-2] + b"\1\0c", lambda d: d * 2]
)
def test_data_around_the_archive_is_refused(change, finished_file):
    finished_file.write_bytes(change(finished_file.read_bytes()))
    refused(finished_file)


def test_archive_of_too_many_members_is_refused(tmp_path):
    write_members(tmp_path / "m.npz", {f"{k}.npy": b"" for k in range(1500)})
    assert "too many members" in refused(tmp_path / "m.npz")


# ---- headers


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h.update(format="other"), 'missing format "charlstm"'),
        (lambda h: h.pop("format"), 'missing format "charlstm"'),
        (lambda h: h["config"]["model"].update(hidden_size=13), "shape"),
        (lambda h: h["config"]["model"].update(num_layers=2), "missing or unexpected arrays"),
        (lambda h: h["config"]["model"].update(hidden_size="12"), "hidden_size: "),
        (lambda h: h["config"].update(more={}), "unknown settings, or a missing section"),
        (lambda h: h["config"]["train"].update(more=1), "unknown settings, or a missing section"),
        (lambda h: h.update(config=None), "missing or invalid config in its header"),
        (lambda h: h.pop("history"), "missing or invalid history in its header"),
        (lambda h: h["history"][0].update(val_loss="low"), "missing or invalid history in its header"),
        (lambda h: h["history"][0].update(more=1), "missing or invalid history in its header"),
        (lambda h: h["history"][0].update(epoch=10**400), "missing or invalid history in its header"),
        (lambda h: h["best"].pop("epoch"), "missing or invalid best in its header"),
        (lambda h: h["training"]["rng"].update(state=3), "invalid random number generator state"),
        (lambda h: h["training"]["rng"].update(bit_generator="MT19937"), "invalid random number generator state"),
        (lambda h: h["training"].update(step=-1), "missing or invalid training in its header"),
        (lambda h: h["training"].update(step=True), "missing or invalid training in its header"),
        (lambda h: h["training"].update(more=1), "missing or invalid training in its header"),
        (lambda h: h["training"].update(elapsed_s=-1.0), "missing or invalid training in its header"),
        (lambda h: h["training"].update(elapsed_s=float("inf")), "its header is not JSON"),
        (lambda h: h["training"].update(loss_sum=10**400), "missing or invalid training in its header"),
        (lambda h: h["training"].update(rollbacks=3), "too many rollbacks"),
        (lambda h: h["training"].update(step=2**60), "too many steps"),
        (lambda h: h.update(training=None), "missing or unexpected arrays"),
        (lambda h: h["config"]["train"].update(learning_rate=10**400), "learning_rate: "),
        (lambda h: h["config"]["train"].update(ema_decay=0.9), "missing or unexpected arrays"),
        (lambda h: h["config"]["train"].update(batch_size=2), "invalid number of streams"),
        (lambda h: h["config"]["data"].update(encoding="\x1butf-8"), "encoding: "),
        (lambda h: h["corpus"].update(sha256="\x1b[31m"), "invalid sha256"),
        (lambda h: h["corpus"].update(more=1), "missing or invalid corpus in its header"),
    ],
)
def test_invalid_headers_are_refused(change: Callable[[dict[str, Any]], object], reason: str, half_file: Path) -> None:
    change_header(half_file, change)
    assert reason in refused(half_file)


def test_largest_number_of_rollbacks_is_accepted(half_file):
    change_header(half_file, lambda header: header["training"].update(rollbacks=2))
    training = load_run(half_file).training
    assert training is not None
    assert training.rollbacks == 2


@pytest.mark.parametrize("header", [b"{", b'{"format": NaN}', b"[" * 100_000, b"\xff"])
def test_headers_that_are_not_json_are_refused(header, finished_file):
    replace_members(finished_file, header=npy(np.frombuffer(header, np.uint8)))
    assert "its header is not JSON" in refused(finished_file)


@pytest.mark.parametrize("header", [b"[]", b"3", b"null", b'"charlstm"'])
def test_headers_that_are_not_objects_are_refused(header, finished_file):
    replace_members(finished_file, header=npy(np.frombuffer(header, np.uint8)))
    assert 'missing format "charlstm"' in refused(finished_file)


def test_huge_header_is_refused(finished_file):
    header = json.dumps({"format": "charlstm", "comment": "x" * 4_000_000}).encode()
    replace_members(finished_file, header=npy(np.frombuffer(header, np.uint8)))
    assert "header is too large" in refused(finished_file)


# ---- vocabularies


def test_unknown_character_comes_back(tmp_path):
    run = begin(SMALL.replace(min_count=5), TEXT + "☃é")
    run.save(tmp_path / "m.npz")
    vocab = load_run(tmp_path / "m.npz").model.vocab
    assert vocab == run.model.vocab
    assert vocab.unknown_id == len(vocab) - 1


@pytest.mark.parametrize(("text", "min_count"), [(TEXT + "\ufffd", 1), (TEXT, 5)])
def test_without_merged_characters_there_is_no_unknown_character(text, min_count, tmp_path):
    begin(SMALL.replace(min_count=min_count), text).save(tmp_path / "m.npz")
    assert load_run(tmp_path / "m.npz").model.vocab.unknown_id is None


def test_vocabulary_of_the_unknown_character_alone_generates_nothing(tmp_path):
    begin(SMALL.replace(hidden_size=3), "ab" * 20).save(tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as npz:
        first = {name: npy(npz[name][:1]) for name in ("w_out", "b_out", "counts")}
        columns = npy(np.ascontiguousarray(npz["layer0.w_x"][:, :1]))
    members = {name: data for name, data in read_members(tmp_path / "m.npz").items() if "training" not in name}
    write_members(tmp_path / "m.npz", members)
    replace_members(tmp_path / "m.npz", vocab=npy(np.array([0xFFFD], np.uint32)), **first, **{"layer0.w_x": columns})
    change_header(tmp_path / "m.npz", lambda header: header.update(training=None))
    change_header(tmp_path / "m.npz", lambda header: header["config"]["data"].update(min_count=10))
    with pytest.raises(CharlstmError, match="predictions are not finite"):
        load(tmp_path / "m.npz").generate(length=5)


@pytest.mark.parametrize("code_points", [[3, 2, 1], [1, 1, 2], [1, 2, 0x110000]])
def test_vocabularies_that_are_not_sorted_are_refused(code_points, finished_file):
    replace_members(finished_file, vocab=npy(np.array(code_points, np.uint32)))
    assert "the vocabulary is not sorted" in refused(finished_file)


def test_empty_vocabulary_is_refused(finished_file):
    replace_members(finished_file, vocab=npy(np.zeros(0, np.uint32)))
    assert "the vocabulary is empty" in refused(finished_file)


@pytest.mark.parametrize("count", [0, -1])
def test_counts_of_the_vocabulary_are_positive(count, trained, finished_file):
    counts = trained.model.vocab.counts.copy()
    counts[0] = count
    replace_members(finished_file, counts=npy(counts))
    assert "the vocabulary has invalid counts" in refused(finished_file)
