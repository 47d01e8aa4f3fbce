"""Numba's kernel: held to NumPy's, to the reference and to PyTorch's precision, and replaced where it does not work."""

import sys
import warnings
from itertools import islice
from typing import Any

import numpy as np
import pytest
import reference
from helpers import SMALL, assert_same_run, begin, train_fully
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm import CharlstmError, load_run, train
from charlstm.config.settings import ModelConfig
from charlstm.errors import UsageError
from charlstm.network.char_lstm import init_network
from charlstm.network.dispatch import choose_kernel
from charlstm.network.layers import LSTMLayer
from charlstm.text.batches import Window

COMPILED = SMALL.replace(hidden_size=32, kernel="numba", eval_chars=100)


@pytest.fixture
def without_numba(monkeypatch):
    monkeypatch.setitem(sys.modules, "charlstm.network.compiled", None)


def run_layer(kernel: str, params: Any, x: Any, h: Any, c: Any, dh: Any, clip_error: float = 0.0) -> dict[str, Any]:
    """Return everything that a layer computes for a window, by name."""
    T, B, H = dh.shape
    E = params["w_x"].shape[1]
    layer = LSTMLayer(T, B, E, H, one_hot=x.ndim == 2, dtype=dh.dtype, kernel=kernel)
    hs, h_after, c_after = layer.forward(params, x, h, c)
    values = {"h": hs.copy(), "h_after": h_after, "c_after": c_after}
    grads = {name: np.empty_like(param) for name, param in params.items()}
    dx = layer.backward(params, dh, grads, clip_error)
    return values | grads | ({} if dx is None else {"dx": dx.copy()})


def random_layer(rng, T, B, E, H, one_hot) -> tuple[Any, Any, Any, Any, Any]:
    """Return the arguments of `run_layer` but the first."""
    shapes = {"w_x": (4 * H, E), "w_h": (4 * H, H), "b": (4 * H,)}
    params = {name: rng.normal(0, H**-0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    x = rng.integers(0, E + 1, (T, B)) if one_hot else rng.normal(0, 1, (T, B, E)).astype(np.float32)
    h, c = rng.normal(0, 0.5, (2, B, H)).astype(np.float32)
    return params, x, h, c, rng.normal(0, 1, (T, B, H)).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(
    T=st.integers(1, 9),
    B=st.integers(1, 26),
    E=st.integers(1, 9),
    panels=st.integers(1, 3),
    one_hot=st.booleans(),
    clip_error=st.sampled_from([0.0, 0.5, 1e-3]),
    seed=st.integers(0, 2**32),
)
def test_kernels_agree_to_rounding(T, B, E, panels, one_hot, clip_error, seed):
    layer = random_layer(np.random.default_rng(seed), T, B, E, 32 * panels, one_hot)
    ours, theirs = (run_layer(kernel, *layer, clip_error=clip_error) for kernel in ("numba", "numpy"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        scale = max(float(np.abs(value).max()), 1e-6)
        np.testing.assert_allclose(ours[name], value, rtol=0, atol=1e-5 * scale, err_msg=name)


def test_compiled_layer_matches_the_reference(rng):
    params, x, h, c, dh = random_layer(rng, 6, 2, 32, 32, one_hot=False)
    ours = run_layer("numba", params, x, h, c, dh)
    totals = {name: np.zeros(param.shape) for name, param in params.items()}
    for stream in range(2):
        *parts, dxs = reference.lstm_gradients(
            **params, xs=x[:, stream], dhs=dh[:, stream], h0=h[stream], c0=c[stream], clip_error=0.0
        )
        np.testing.assert_allclose(ours["dx"][:, stream], dxs, atol=1e-5)
        for total, part in zip(totals.values(), parts, strict=True):
            total += part
    for name, total in totals.items():
        np.testing.assert_allclose(ours[name], total, atol=1e-5 * np.abs(total).max())


def test_result_of_a_stream_does_not_depend_on_the_others(rng):
    params, x, h, c, dh = random_layer(rng, 3, 23, 8, 32, one_hot=True)
    whole = run_layer("numba", params, x, h, c, dh)["h"]
    for B in (1, 2, 5, 9, 22):
        part = run_layer("numba", params, x[:, :B], h[:B], c[:B], dh[:, :B])["h"]
        assert np.array_equal(part, whole[:, :B])


def test_not_a_number_is_not_lost(rng):
    params, x, h, c, dh = random_layer(rng, 2, 3, 4, 32, one_hot=True)
    h[1, 0] = np.nan
    assert np.isnan(run_layer("numba", params, x, h, c, dh)["h"][:, 1]).all()


@pytest.mark.parametrize(("H", "dtype"), [(16, np.float32), (32, np.float64)])
def test_numpy_computes_what_the_compiled_loops_do_not(H, dtype, rng):
    params, x, h, c, dh = random_layer(rng, 3, 4, 5, H, one_hot=True)
    params = {name: param.astype(dtype) for name, param in params.items()}
    ours, theirs = (
        run_layer(kernel, params, x, *(a.astype(dtype) for a in (h, c, dh))) for kernel in ("numba", "numpy")
    )
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_networks_agree_with_every_mask(rng):
    config = ModelConfig(hidden_size=32, num_layers=2, dropout=0.3, dropconnect=0.3, input_dropout=0.2)
    network = init_network(config, 9, rng)
    ids = rng.integers(0, 9, (8, 7))
    window, state, masks = Window(ids[:-1], ids[1:]), network.zero_state(7), network.draw_masks(7, rng)
    results: dict[str, dict[str, Any]] = {}
    for kernel in ("numpy", "numba"):
        each = network.copy()
        each.kernel = kernel
        loss, grads, after = each.loss_and_grads(window, state, masks)
        results[kernel] = {"loss": loss, "h": after.h, "c": after.c, **grads}
    for name, value in results["numpy"].items():
        np.testing.assert_allclose(results["numba"][name], value, rtol=0, atol=1e-5 * np.abs(value).max() + 1e-7)


# ---- runs


@pytest.mark.parametrize("cores", [1, 2])
def test_compiled_run_resumes_exactly(cores, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.training.loop.available_cores", lambda: cores)
    config = COMPILED.replace(batch_size=8, dropconnect=0.2, threads=cores)
    whole, _ = train_fully(config, corpus)
    run = begin(config, corpus)
    for stop in (9, 11, None):
        for _ in islice(train(run), stop):
            pass
        run.save(tmp_path / "model.npz")
        run = load_run(tmp_path / "model.npz")
        run.use_corpus(corpus)
    assert_same_run(run, whole)


def test_run_records_the_kernel_it_uses(corpus):
    auto = begin(COMPILED.replace(kernel="auto"), corpus)
    assert auto.config.train.kernel == "numba"
    assert begin(SMALL.replace(hidden_size=12, kernel="auto"), corpus).config.train.kernel == "numpy"


def test_losses_of_both_kernels_agree(corpus):
    losses = [
        [report.loss for report in train_fully(COMPILED.replace(kernel=kernel, steps=10), corpus)[1]]
        for kernel in ("numpy", "numba")
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_auto_is_numpy_without_numba(without_numba):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_kernel("auto", 32) == "numpy"


def test_numba_that_is_missing_is_refused_where_it_is_asked_for(without_numba):
    with pytest.raises(UsageError, match=r"numba does not work here .* pip install numba"):
        choose_kernel("numba", 32)


def test_broken_numba_is_reported_and_replaced(monkeypatch):
    def fail():
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("charlstm.network.dispatch._compile", fail)
    with pytest.warns(UserWarning, match=r"numba does not work here \(cannot cache .*\); continuing with NumPy"):
        assert choose_kernel("auto", 32) == "numpy"


def test_compiled_run_is_not_continued_without_numba_unless_asked_to(corpus, without_numba):
    run = begin(COMPILED.replace(kernel="numpy"), corpus)
    run.config = run.config.replace(kernel="numba")
    with pytest.raises(
        CharlstmError, match=r"this run was trained with the numba kernel, .* continue with --kernel numpy"
    ):
        next(train(run))
