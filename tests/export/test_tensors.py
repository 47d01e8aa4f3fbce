"""`.safetensors` files: the same model comes back, and what is damaged or from elsewhere is refused."""

import json
import sys

import numpy as np
import pytest
import safetensors.numpy
from helpers import SMALL, begin, train_fully
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_helpers import train_until

from charlstm import CharlstmError, UsageError, corpus_from_text
from charlstm.export.tensors import encode_tensors, load_tensors


@pytest.fixture
def saved(trained, tmp_path):
    (tmp_path / "m.safetensors").write_bytes(encode_tensors(trained))
    return tmp_path / "m.safetensors"


def change(path, change_metadata=lambda metadata: None, change_tensors=lambda tensors: None):
    with safetensors.safe_open(path, "np") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change_metadata(metadata)
    change_tensors(tensors)
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


def documents_run():
    corpus = corpus_from_text("ab\nba\nbab\nab\nabab\n" * 30 + "x\n", "line")
    return begin(SMALL.replace(hidden_size=3, min_count=3, documents="line"), corpus)


@pytest.mark.parametrize("make", [train_fully, lambda: [train_fully(SMALL.replace(num_layers=2, steps=5))[0]]])
def test_checkpoint_round_trips_byte_for_byte(make, tmp_path):
    run = make()[0]
    run.save(tmp_path / "before.npz")
    (tmp_path / "m.safetensors").write_bytes(encode_tensors(run))
    load_tensors(tmp_path / "m.safetensors").save(tmp_path / "after.npz")
    assert (tmp_path / "after.npz").read_bytes() == (tmp_path / "before.npz").read_bytes()


def test_documents_and_unknown_characters_round_trip(tmp_path):
    run = documents_run()
    (tmp_path / "m.safetensors").write_bytes(encode_tensors(run))
    back = load_tensors(tmp_path / "m.safetensors")
    assert back.model.vocab == run.model.vocab
    assert back.model.generate(length=30, seed=1) == run.model.generate(length=30, seed=1)


def test_unfinished_run_is_stored_without_its_training_state(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(encode_tensors(train_until(12)))
    assert load_tensors(tmp_path / "m.safetensors").training is None


def test_pytorch_biases_are_summed(saved, trained):
    change(saved, change_tensors=lambda tensors: tensors["lstm.bias_hh_l0"].__iadd__(np.float32(0.5)))
    bias = load_tensors(saved).model.network.params["layer0.b"]
    np.testing.assert_array_equal(bias, trained.model.network.params["layer0.b"] + np.float32(0.5))


def changed(**values):
    """Return a change of what the metadata hold besides the weights."""

    def change_rest(metadata):
        metadata["charlstm"] = json.dumps(json.loads(metadata["charlstm"]) | values)

    return change_rest


DAMAGE = {
    "no metadata": (lambda m: m.clear(), lambda t: None),
    "no JSON": (lambda m: m.update(charlstm="{"), lambda t: None),
    "deep JSON": (lambda m: m.update(charlstm="[" * 100_000), lambda t: None),
    "no header": (changed(header=None), lambda t: None),
    "vocabulary of strings": (changed(vocab=["a"]), lambda t: None),
    "vocabulary out of range": (changed(vocab=[-1]), lambda t: None),
    "vocabulary too short": (changed(vocab=[65]), lambda t: None),
    "counts of another length": (changed(counts=[1]), lambda t: None),
    "no weights": (lambda m: None, lambda t: t.clear()),
    "a tensor too many": (lambda m: None, lambda t: t.update(more=np.zeros(3, np.float32))),
    "a tensor with a long name": (lambda m: None, lambda t: t.update({"x" * 70_000: np.zeros(3, np.float32)})),
    "a tensor with the name of a member": (lambda m: None, lambda t: t.update({"vocab": np.zeros(3, np.float32)})),
    "a tensor missing": (lambda m: None, lambda t: t.pop("lstm.weight_hh_l0")),
    "another shape": (lambda m: None, lambda t: t.update({"out.weight": np.zeros((2, 2), np.float32)})),
    "a scalar": (lambda m: None, lambda t: t.update({"lstm.weight_hh_l0": np.zeros((), np.float32)})),
    "another type": (lambda m: None, lambda t: t.update({"out.bias": t["out.bias"].astype(np.float64)})),
    "not finite": (lambda m: None, lambda t: t["out.bias"].fill(np.nan)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_refused(damage, saved):
    change(saved, *DAMAGE[damage])
    with pytest.raises(CharlstmError, match=r"m\.safetensors is not a charlstm (model|checkpoint)"):
        load_tensors(saved)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_other_file_is_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "other.safetensors"
    path.write_bytes(data)
    with pytest.raises(CharlstmError, match="is not a charlstm model"):
        load_tensors(path)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 3000), value=st.integers(0, 255))
def test_corrupted_byte_raises_only_charlstm_errors(at, value, trained, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(encode_tensors(trained))
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)
    try:
        load_tensors(path)
    except CharlstmError as error:
        assert "\n" not in str(error)


def test_same_run_gives_the_same_bytes(trained):
    assert len({encode_tensors(trained) for _ in range(8)}) == 1


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_file_that_cannot_be_opened_is_a_usage_error(kind, tmp_path):
    path = tmp_path if kind == "directory" else tmp_path / "m.safetensors"
    with pytest.raises(UsageError) as caught:
        load_tensors(path)
    assert str(caught.value).count(str(path)) == 1


def test_missing_package_is_named(saved, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(UsageError, match="pip install safetensors"):
        load_tensors(saved)
    with pytest.raises(UsageError, match="pip install safetensors"):
        saved.write_bytes(encode_tensors(trained))


def test_metadata_holds_the_settings_and_the_history(saved, trained):
    with safetensors.safe_open(saved, "np") as file:
        header = json.loads(file.metadata()["charlstm"])["header"]
    assert header["config"] == trained.config.sections()
    assert len(header["history"]) == len(trained.history)
