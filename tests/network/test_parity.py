"""Losses, states, gradients and updates match those of PyTorch."""

import os
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, SMALL, TEXT, train_fully

from charlstm.config.settings import ModelConfig, TrainConfig
from charlstm.export.tensors import encode_tensors
from charlstm.network.char_lstm import State, init_network
from charlstm.network.dispatch import make_stepper
from charlstm.optim import Optimizer, clip_by_global_norm
from charlstm.text.batches import Window

if os.environ.get("CHARLSTM_REQUIRE_TORCH"):
    import torch  # in CI, a missing PyTorch is a failure, not a reason to skip
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

torch.set_num_threads(1)  # the arrays are small, and threads would compete with other tests for the cores

CASES = [("numpy", np.float64, 1e-10), ("numpy", np.float32, 1e-5), ("numba", np.float32, 1e-5)]


def reorder_gates(array):
    """Return weights with the gates in PyTorch's order, i f g o, instead of g i f o."""
    g, i, f, o = np.split(array, 4)
    return np.concatenate([i, f, g, o])


class TorchLSTM(torch.nn.Module):
    """The same network in PyTorch, with the same weights."""

    def __init__(self, network):
        super().__init__()
        config, V = network.config, network.vocab_size
        self.V = V
        dtype = getattr(torch, str(network.params["b_out"].dtype))
        self.lstm = torch.nn.LSTM(V, config.hidden_size, config.num_layers, dtype=dtype)
        self.out = torch.nn.Linear(config.hidden_size, V, dtype=dtype)
        with torch.no_grad():
            for layer in range(config.num_layers):
                for ours, theirs in (("w_x", "weight_ih"), ("w_h", "weight_hh"), ("b", "bias_ih")):
                    values = torch.from_numpy(reorder_gates(network.params[f"layer{layer}.{ours}"]))
                    getattr(self.lstm, f"{theirs}_l{layer}").copy_(values)
                getattr(self.lstm, f"bias_hh_l{layer}").zero_()
            self.out.weight.copy_(torch.from_numpy(network.params["w_out"]))
            self.out.bias.copy_(torch.from_numpy(network.params["b_out"]))

    def loss(self, window, state):
        x = torch.nn.functional.one_hot(torch.from_numpy(window.x), self.V).to(self.out.weight.dtype)  # [T, B, V]
        h, c = (torch.from_numpy(array) for array in state)
        out, after = self.lstm(x, (h, c))
        logits = self.out(out).reshape(-1, self.V)
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(window.y).reshape(-1)), after

    def params(self):
        return {"w_out": self.out.weight, "b_out": self.out.bias} | {
            f"layer{layer}.{ours}": getattr(self.lstm, f"{theirs}_l{layer}")
            for layer in range(self.lstm.num_layers)
            for ours, theirs in (("w_x", "weight_ih"), ("w_h", "weight_hh"), ("b", "bias_ih"))
        }


def random_case(kernel, dtype, num_layers, rng):
    H = 32 if kernel == "numba" else 24
    network = init_network(ModelConfig(hidden_size=H, num_layers=num_layers), 17, rng, dtype)
    network.kernel = kernel
    ids = rng.integers(0, 17, (13, 5))
    state = State(*(rng.uniform(-1, 1, (2, num_layers, 5, H)).astype(dtype)))
    return network, Window(ids[:-1], ids[1:]), state


def relative_difference(ours, theirs):
    return np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)


def assert_all_close(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        array = reorder_gates(array) if "layer" in name else array
        assert relative_difference(array, theirs[name].detach().numpy()) < tolerance, name


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(("kernel", "dtype", "tolerance"), CASES)
def test_loss_state_and_gradients_match_pytorch(kernel, dtype, tolerance, num_layers, rng):
    network, window, state = random_case(kernel, dtype, num_layers, rng)
    twin = TorchLSTM(network)
    loss, grads, after = network.loss_and_grads(window, state)
    torch_loss, (torch_h, torch_c) = twin.loss(window, state)
    torch_loss.backward()
    assert abs(loss - torch_loss.item()) < tolerance
    assert relative_difference(after.h, torch_h.detach().numpy()) < tolerance
    assert relative_difference(after.c, torch_c.detach().numpy()) < tolerance
    assert_all_close(grads, {name: param.grad for name, param in twin.params().items()}, tolerance)


OPTIMIZERS: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "adam": ({}, torch.optim.Adam, {"betas": (0.0, 0.95)}),
    "adam with momentum": ({"beta1": 0.9, "beta2": 0.99}, torch.optim.Adam, {"betas": (0.9, 0.99)}),
    "adam with an L2 penalty": ({"l2": 0.2}, torch.optim.Adam, {"betas": (0.0, 0.95), "weight_decay": 0.2}),
    "adamw": ({"weight_decay": 0.2}, torch.optim.AdamW, {"betas": (0.0, 0.95), "weight_decay": 0.2}),
    "rmsprop": ({"optimizer": "rmsprop"}, torch.optim.RMSprop, {"alpha": 0.95}),
    "sgd": ({"optimizer": "sgd", "l2": 0.2}, torch.optim.SGD, {"weight_decay": 0.2}),
    "momentum": ({"optimizer": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("kernel", "dtype", "tolerance"), CASES)
def test_ten_clipped_updates_match_pytorch(kernel, dtype, tolerance, name, rng):
    values, optimizer, options = OPTIMIZERS[name]
    network, window, state = random_case(kernel, dtype, 1, rng)
    twin = TorchLSTM(network)
    twin.lstm.bias_hh_l0.requires_grad_(False)  # PyTorch has two biases, charlstm one
    trainable = [param for param in twin.parameters() if param.requires_grad]
    theirs = optimizer(trainable, lr=0.01, **options)
    ours = Optimizer(network.params, TrainConfig(**values))
    for _ in range(10):
        loss, grads, _ = network.loss_and_grads(window, state)
        clip_by_global_norm(grads, 0.1)
        ours.update(network.params, grads, 0.01)
        theirs.zero_grad()
        torch_loss, _ = twin.loss(window, state)
        torch_loss.backward()
        gradients = [param.grad for param in trainable if param.grad is not None]
        assert len(gradients) == len(trainable)
        torch.nn.utils.clip_grads_with_norm_(  # without the 1e-6 that clip_grad_norm_ adds to the norm
            trainable, 0.1, torch.nn.utils.get_total_norm(gradients) - 1e-6
        )
        theirs.step()
        assert abs(loss - torch_loss.item()) < 20 * tolerance
    assert_all_close(network.params, twin.params(), 100 * tolerance)


# ---- exported weights


@pytest.mark.parametrize("layers", [1, 2])
def test_module_in_the_docs_computes_the_same_logits(layers, tmp_path):
    run, _ = train_fully(SMALL.replace(num_layers=layers, steps=20))
    (tmp_path / "m.safetensors").write_bytes(encode_tensors(run))
    code = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/sharing.md", "exec"), names)
    module = names["CharLSTM"](tmp_path / "m.safetensors")
    text = TEXT[:200]
    assert module.characters == run.model.vocab.characters
    ids = torch.tensor([[module.characters.index(c)] for c in text])
    with torch.no_grad():
        logits = module(ids)[0][:, 0].numpy()
    network = run.model.network
    stepper, state = make_stepper(network), network.zero_state(1)
    for id, theirs in zip(run.model.vocab.encode(text), logits, strict=True):
        ours, state = stepper.step(np.array([id]), state)
        np.testing.assert_allclose(theirs, ours[0], atol=1e-5)
