"""Models as `.safetensors` files, with the names, shapes and gate order of PyTorch's `nn.LSTM` and `nn.Linear`.

The metadata holds the rest of a checkpoint, so that such a file can be converted back into the same model.
"""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, cast

import numpy as np

from charlstm.arrays import Array, Floats
from charlstm.errors import CharlstmError, UsageError
from charlstm.storage.checkpoint import read_run
from charlstm.storage.npz import write_npz
from charlstm.storage.run import Run

SUFFIX = ".safetensors"


def encode_tensors(run: Run) -> bytes:
    """Return the file of the best weights of a run. The same run gives the same bytes.

    Raises:
        UsageError: the package safetensors is missing.
    """
    members = dict(replace(run, training=None, weights="float32").members())
    params, tensors = run.model.network.params, {}
    for layer in range(run.config.model.num_layers):
        for ours, theirs in (("w_x", "weight_ih"), ("w_h", "weight_hh"), ("b", "bias_ih")):
            g, i, f, o = np.split(params[f"layer{layer}.{ours}"], 4)
            tensors[f"lstm.{theirs}_l{layer}"] = np.concatenate([i, f, g, o])
        tensors[f"lstm.bias_hh_l{layer}"] = np.zeros_like(params[f"layer{layer}.b"])  # PyTorch adds both biases
    tensors |= {"out.weight": params["w_out"], "out.bias": params["b_out"]}
    rest = {
        "header": json.loads(members["header"].tobytes()),
        "vocab": members["vocab"].tolist(),
        "counts": members["counts"].tolist(),
    }
    metadata = {"charlstm": json.dumps(rest)}  # one entry, since the library orders them at random
    data: bytes = _import_safetensors().numpy.save(tensors, metadata)
    return data


def load_tensors(path: str | Path) -> Run:
    """Return the finished run in a file that `encode_tensors` made. It is validated like a checkpoint.

    Raises:
        UsageError: the package safetensors is missing, or the file cannot be opened.
        CharlstmError: it does not hold a charlstm model, or is damaged.
    """
    safetensors = _import_safetensors()
    damaged = (safetensors.SafetensorError, LookupError, TypeError, ValueError, AttributeError, OverflowError)
    try:
        open(path, "rb").close()
        with safetensors.safe_open(path, "np") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        members = _members_of(json.loads(metadata["charlstm"]), tensors)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except (*damaged, RecursionError):
        raise CharlstmError(f"{path} is not a charlstm model, or is damaged") from None
    with TemporaryFile() as checkpoint:
        try:
            write_npz(cast(Any, checkpoint), members.items())
        except OSError as error:
            raise CharlstmError(f"{path} needs room for temporary files: {error.strerror or error}") from None
        return read_run(cast(Any, checkpoint), str(path))


def _members_of(rest: dict[str, Any], tensors: dict[str, Floats]) -> dict[str, Array]:
    """Return the arrays of a checkpoint, none of them checked.

    Raises:
        LookupError: a tensor is missing, or there is one too many.
    """
    members: dict[str, Array] = {
        "header": np.frombuffer(json.dumps(rest["header"], separators=(",", ":")).encode(), np.uint8),
        "vocab": np.array(rest["vocab"], np.uint32),
        "counts": np.array(rest["counts"], np.int64),
        "w_out": tensors.pop("out.weight"),
        "b_out": tensors.pop("out.bias"),
    }
    for layer in range(len(tensors) // 4):
        tensors[f"lstm.bias_ih_l{layer}"] = tensors[f"lstm.bias_ih_l{layer}"] + tensors.pop(f"lstm.bias_hh_l{layer}")
        for ours, theirs in (("w_x", "weight_ih"), ("w_h", "weight_hh"), ("b", "bias_ih")):
            i, f, g, o = np.split(tensors.pop(f"lstm.{theirs}_l{layer}"), 4)
            members[f"layer{layer}.{ours}"] = np.concatenate([g, i, f, o])
    if tensors:
        raise LookupError("unexpected tensors")
    return members


def _import_safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise UsageError(".safetensors files need the safetensors package; run pip install safetensors") from None
    return safetensors
