"""Values and gradients are those of torch.nn.LSTM."""

import os

import numpy as np
import pytest

from charlstm.batches import Window
from charlstm.config import ModelConfig, TrainConfig
from charlstm.model import State, new_model
from charlstm.optim import Optimizer, clip_by_global_norm

if os.environ.get("CHARLSTM_REQUIRE_TORCH"):
    import torch  # where parity must be shown, a missing PyTorch is a failure
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

CASES = [(np.float64, 1e-10), (np.float32, 1e-5)]


def reordered(array):
    """From our order of the gates, g i f o, to PyTorch's, i f g o."""
    g, i, f, o = np.split(array, 4)
    return np.concatenate([i, f, g, o])


class Twin(torch.nn.Module):
    """The same model in PyTorch, with the same weights."""

    def __init__(self, model):
        super().__init__()
        config, V = model.config, model.vocab_size
        self.V = V
        dtype = getattr(torch, str(model.params["b_out"].dtype))
        self.lstm = torch.nn.LSTM(V, config.hidden_size, config.num_layers, dtype=dtype)
        self.out = torch.nn.Linear(config.hidden_size, V, dtype=dtype)
        with torch.no_grad():
            for layer in range(config.num_layers):
                for ours, theirs in (("w_x", "weight_ih"), ("w_h", "weight_hh"), ("b", "bias_ih")):
                    values = torch.from_numpy(reordered(model.params[f"layer{layer}.{ours}"]))
                    getattr(self.lstm, f"{theirs}_l{layer}").copy_(values)
                getattr(self.lstm, f"bias_hh_l{layer}").zero_()
            self.out.weight.copy_(torch.from_numpy(model.params["w_out"]))
            self.out.bias.copy_(torch.from_numpy(model.params["b_out"]))

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


def setting(dtype, num_layers, rng):
    model = new_model(ModelConfig(hidden_size=24, num_layers=num_layers), 17, rng, dtype)
    ids = rng.integers(0, 17, (13, 5))
    state = State(*(rng.uniform(-1, 1, (2, num_layers, 5, 24)).astype(dtype)))
    return model, Window(ids[:-1], ids[1:]), state


def relative(ours, theirs):
    return np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30)


def all_equal(ours, theirs, tolerance):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        array = reordered(array) if "layer" in name else array
        assert relative(array, theirs[name].detach().numpy()) < tolerance, name


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(("dtype", "tolerance"), CASES)
def test_loss_state_and_gradients_equal_those_of_pytorch(dtype, tolerance, num_layers, rng):
    model, window, state = setting(dtype, num_layers, rng)
    twin = Twin(model)
    loss, grads, after = model.loss_and_grads(window, state)
    torch_loss, (torch_h, torch_c) = twin.loss(window, state)
    torch_loss.backward()
    assert abs(loss - torch_loss.item()) < tolerance
    assert relative(after.h, torch_h.detach().numpy()) < tolerance
    assert relative(after.c, torch_c.detach().numpy()) < tolerance
    all_equal(grads, {name: param.grad for name, param in twin.params().items()}, tolerance)


OPTIMIZERS = {
    "adam": ({}, torch.optim.Adam, {"betas": (0.9, 0.99)}),
    "adam with an L2 penalty": ({"l2": 0.2}, torch.optim.Adam, {"betas": (0.9, 0.99), "weight_decay": 0.2}),
    "adamw": ({"weight_decay": 0.2}, torch.optim.AdamW, {"betas": (0.9, 0.99), "weight_decay": 0.2}),
    "rmsprop": ({"optimizer": "rmsprop"}, torch.optim.RMSprop, {"alpha": 0.99}),
    "sgd": ({"optimizer": "sgd", "l2": 0.2}, torch.optim.SGD, {"weight_decay": 0.2}),
    "momentum": ({"optimizer": "sgd", "momentum": 0.9}, torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
        torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True},
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(("dtype", "tolerance"), CASES)
def test_ten_updates_with_clipping_equal_those_of_pytorch(dtype, tolerance, name, rng):
    values, optimizer, options = OPTIMIZERS[name]
    model, window, state = setting(dtype, 1, rng)
    twin = Twin(model)
    twin.lstm.bias_hh_l0.requires_grad_(False)  # we have one bias where PyTorch has two
    learnt = [p for p in twin.parameters() if p.requires_grad]
    theirs = optimizer(learnt, lr=0.01, **options)
    ours = Optimizer(model.params, TrainConfig(**values))
    for _ in range(10):
        loss, grads, _ = model.loss_and_grads(window, state)
        clip_by_global_norm(grads, 0.1)
        ours.update(model.params, grads, 0.01)
        theirs.zero_grad()
        torch_loss, _ = twin.loss(window, state)
        torch_loss.backward()
        gradients = [p.grad for p in learnt]
        torch.nn.utils.clip_grads_with_norm_(  # without the 1e-6 that clip_grad_norm_ adds to the norm
            learnt, 0.1, torch.nn.utils.get_total_norm(gradients) - 1e-6
        )
        theirs.step()
        assert abs(loss - torch_loss.item()) < 20 * tolerance
    all_equal(model.params, twin.params(), 100 * tolerance)
