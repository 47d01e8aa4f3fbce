"""Adam, clipping and the schedule, against their textbook forms."""

import math

import numpy as np
import pytest
import reference

from charlstm.config import TrainConfig
from charlstm.optim import Adam, clip_by_global_norm, learning_rate_at


@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.9, 0.99, 1e-8), (0.0, 0.5, 0.1)])
def test_ten_updates_equal_those_of_the_textbook(beta1, beta2, epsilon, rng):
    params = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(4)}
    twins = {name: [(float(p), 0.0, 0.0) for p in param.ravel()] for name, param in params.items()}
    adam = Adam(params, beta1, beta2, epsilon)
    for n in range(1, 11):
        grads = {name: rng.standard_normal(param.shape) for name, param in params.items()}
        adam.update(params, grads, 0.1 / n)
        for name, twin in twins.items():
            for k, grad in enumerate(grads[name].ravel()):
                p, m, v = twin[k]
                twin[k] = reference.adam_step(p, float(grad), m, v, n, 0.1 / n, beta1, beta2, epsilon)
            np.testing.assert_allclose(params[name].ravel(), [p for p, _, _ in twin], rtol=1e-12)


def test_updates_change_the_parameters_in_place_and_keep_their_type(rng):
    param = rng.standard_normal(5).astype(np.float32)
    params = {"a": param}
    Adam(params).update(params, {"a": np.ones(5, np.float32)}, 0.1)
    assert params["a"] is param
    assert param.dtype == np.float32


def test_clipping_scales_all_gradients_together():
    grads = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    assert clip_by_global_norm(grads, 1) == 5
    np.testing.assert_allclose([grads["a"][0], grads["b"][0, 0]], [0.6, 0.8])


@pytest.mark.parametrize("most", [0, 5, 100])
def test_clipping_leaves_small_gradients_and_is_off_at_zero(most):
    grads = {"a": np.array([3.0, 4.0])}
    assert clip_by_global_norm(grads, most) == 5
    assert grads["a"].tolist() == [3, 4]


def test_the_norm_is_taken_in_float64():
    grads = {"a": np.full(4, 1e30, np.float32)}  # whose square is no float32
    assert clip_by_global_norm(grads, 1) == pytest.approx(2e30)
    np.testing.assert_allclose(grads["a"], 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_leaves_the_gradients_alone(bad):
    grads = {"a": np.array([1.0, bad])}
    assert not math.isfinite(clip_by_global_norm(grads, 1))
    assert grads["a"][0] == 1


def test_the_rate_rises_and_falls_by_a_cosine():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.1)
    rates = [learning_rate_at(config, progress) for progress in (0, 0.05, 0.1, 0.55, 1)]
    np.testing.assert_allclose(rates, [0, 1, 2, 1, 0], atol=1e-12)


def test_a_constant_rate_stays():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0, schedule="constant")
    assert {learning_rate_at(config, k / 7) for k in range(8)} == {2.0}
    assert learning_rate_at(TrainConfig(learning_rate=2.0, warmup_fraction=1), 1) == 2.0


def test_moments_that_no_gradient_feeds_end_as_zero_and_not_as_slow_subnormal_numbers():
    params, grads = {"w": np.ones(4, np.float32)}, {"w": np.array([1, 1e-3, 1e-6, 1e-9], np.float32)}
    adam = Adam(params, 0.9, 0.99)
    adam.update(params, grads, 0.01)
    grads["w"][...] = 0
    for _ in range(12_000):
        adam.update(params, grads, 0.01)
    assert not adam.m["w"].any()
    assert not adam.v["w"].any()
