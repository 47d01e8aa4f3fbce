"""Weights in narrower formats: what rounding changes, and what is refused."""

import dataclasses

import numpy as np
import pytest
from helpers import TEXT
from storage_helpers import change_header, npy, read_members, replace_members, train_until, write_members

from charlstm import CharlstmError, UsageError, load, load_run
from charlstm.storage.weights import FORMATS, encode_params

ERRORS = {"float32": 0, "float16": 2**-11, "int8": 0.5 / 127}  # of a weight, by the largest in its row


@pytest.fixture(params=["float16", "int8"])
def weights(request):
    return request.param


@pytest.fixture
def compact_file(weights, trained, tmp_path):
    dataclasses.replace(trained, weights=weights).save(tmp_path / "m.npz")
    return tmp_path / "m.npz"


@pytest.mark.parametrize("weights", FORMATS)
def test_weights_round_trip_within_rounding_error(weights, compact_file, trained):
    run = load_run(compact_file)
    assert run.weights == weights
    assert (run.config, run.history, run.best) == (trained.config, trained.history, trained.best)
    for name, param in run.model.network.params.items():
        original = trained.model.network.params[name]
        largest = np.abs(original).max(axis=-1, keepdims=True)
        assert param.dtype == np.float32
        assert (np.abs(param - original) <= ERRORS[weights] * largest * (1 + 1e-6)).all()


def test_rounding_hardly_changes_the_loss(compact_file, trained):
    assert load(compact_file).score(TEXT).nats_per_char == pytest.approx(
        trained.model.score(TEXT).nats_per_char, abs=0.002
    )


def test_same_model_gives_the_same_bytes(compact_file, weights, trained, tmp_path):
    dataclasses.replace(trained, weights=weights).save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == compact_file.read_bytes()


def test_zero_and_tiny_rows_survive_int8(trained, tmp_path):
    model = trained.model.copy()
    model.network.params["w_out"][0] = 0
    model.network.params["w_out"][1] = 1e-44
    dataclasses.replace(trained, model=model, weights="int8").save(tmp_path / "m.npz")
    w_out = load(tmp_path / "m.npz").network.params["w_out"]
    assert not w_out[0].any()
    assert np.abs(w_out[1]).max() <= np.finfo(np.float32).tiny


def test_weights_too_large_for_float16_are_refused():
    with pytest.raises(UsageError, match=r"^w_out has weights too large for float16; use int8 or float32$"):
        list(encode_params({"w_out": np.full((2, 2), 1e6, np.float32)}, "float16"))


def test_unfinished_run_needs_float32(tmp_path):
    with pytest.raises(UsageError, match=r"^weights: an unfinished run can only be stored as float32$"):
        dataclasses.replace(train_until(12), weights="int8").save(tmp_path / "m.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["float32", "int4", None, 1, ["int8"], {}])
def test_invalid_weight_format_in_the_header_is_refused(change, compact_file):
    change_header(compact_file, lambda header: header.update(weights=change))
    with pytest.raises(CharlstmError, match=r"invalid weights in its header|its version does not match its weights"):
        load_run(compact_file)


def test_version_2_with_int8_weights_is_refused(compact_file):
    change_header(compact_file, lambda header: header.update(version=2))
    with pytest.raises(CharlstmError, match="its version does not match its weights"):
        load_run(compact_file)


def test_narrow_weights_with_a_training_state_are_refused(tmp_path):
    path = tmp_path / "m.npz"
    train_until(12).save(path)
    change_header(path, lambda header: header.update(version=3, weights="float16"))
    with pytest.raises(CharlstmError, match="an unfinished run has weights that are not float32"):
        load_run(path)


@pytest.mark.parametrize("value", [np.inf, np.nan, 3e38])
def test_scale_that_overflows_is_refused(value, trained, tmp_path):
    path = tmp_path / "m.npz"
    dataclasses.replace(trained, weights="int8").save(path)
    rows = len(trained.model.vocab)
    replace_members(path, **{"w_out.scale": npy(np.full(rows, value, "<f4"), version=(1, 0))})
    with pytest.raises(CharlstmError, match="w_out has values that are not finite"):
        load_run(path)


@pytest.mark.parametrize("member", ["w_out.scale", "w_out"])
def test_matrix_without_its_scale_or_its_values_is_refused(member, trained, tmp_path):
    path = tmp_path / "m.npz"
    dataclasses.replace(trained, weights="int8").save(path)
    members = read_members(path)
    del members[f"{member}.npy"]
    write_members(path, members)
    with pytest.raises(CharlstmError, match="missing or unexpected arrays"):
        load_run(path)


@pytest.mark.parametrize("stored", ["<f4", "<f2", "|u1", "<i2"])
def test_matrix_with_the_wrong_dtype_is_refused(stored, trained, tmp_path):
    path = tmp_path / "m.npz"
    dataclasses.replace(trained, weights="int8").save(path)
    shape = trained.model.network.params["w_out"].shape
    replace_members(path, w_out=npy(np.ones(shape, stored), version=(1, 0)))
    with pytest.raises(CharlstmError, match="w_out is of type"):
        load_run(path)
