"""One LSTM layer, forward and backward, against the reference implementation."""

import numpy as np
import pytest
import reference

from charlstm.network.layers import LSTMLayer


def random_params(rng, E, H):
    return {
        "w_x": rng.standard_normal((4 * H, E)),
        "w_h": rng.standard_normal((4 * H, H)),
        "b": rng.standard_normal(4 * H),
    }


@pytest.mark.parametrize("clip_error", [0.0, 0.05])
def test_layer_gradients_match_the_reference(clip_error, rng):
    T, E, H, B = 8, 4, 5, 3
    params = random_params(rng, E, H)
    x, dh = rng.standard_normal((T, B, E)), rng.standard_normal((T, B, H))
    h0, c0 = rng.standard_normal((2, B, H))
    layer = LSTMLayer(T, B, E, H, one_hot=False, dtype=np.float64)
    layer.forward(params, x, h0, c0)
    grads = {name: np.empty_like(param) for name, param in params.items()}
    dx = layer.backward(params, dh, grads, clip_error)
    assert dx is not None
    totals = {name: np.zeros_like(param) for name, param in params.items()}
    for stream in range(B):
        *parts, dxs = reference.lstm_gradients(
            **params, xs=x[:, stream], dhs=dh[:, stream], h0=h0[stream], c0=c0[stream], clip_error=clip_error
        )
        for total, part in zip(totals.values(), parts, strict=True):
            total += part
        np.testing.assert_allclose(dx[:, stream], dxs, rtol=1e-9, atol=1e-12)
    for name, total in totals.items():
        np.testing.assert_allclose(grads[name], total, rtol=1e-9, atol=1e-12)


def test_ids_and_one_hot_inputs_give_the_same_results(rng):
    H, V, T, B = 5, 6, 4, 3
    params = random_params(rng, V, H)
    ids = rng.integers(0, V, (T, B))
    one_hot = (ids[:, :, None] == np.arange(V)).astype(float)
    zero, dh = np.zeros((B, H)), rng.standard_normal((T, B, H))
    results = []
    for x in (ids, one_hot):
        layer = LSTMLayer(T, B, V, H, one_hot=x is ids, dtype=np.float64)
        h, _, _ = layer.forward(params, x, zero, zero)
        grads = {name: np.empty_like(param) for name, param in params.items()}
        layer.backward(params, dh, grads)
        results.append({"h": h, **grads})
    for name, by_id in results[0].items():
        np.testing.assert_allclose(by_id, results[1][name], rtol=1e-9, atol=1e-12)
