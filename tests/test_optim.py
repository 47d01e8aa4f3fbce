"""Optimisers, moving averages, clipping and schedules against their textbook forms."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import reference

from charlstm.config.settings import TrainConfig
from charlstm.optim import Optimizer, clip_by_global_norm, learning_rate_at, update_ema

RULES: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam as published": {"beta2": 0.999},
    "adam without memory": {"beta1": 0.0, "beta2": 0.5, "epsilon": 0.1},
    "adamw": {"weight_decay": 0.3},
    "adam with an L2 penalty": {"l2": 0.3},
    "rmsprop": {"optimizer": "rmsprop"},
    "sgd": {"optimizer": "sgd"},
    "sgd with an L2 penalty": {"optimizer": "sgd", "l2": 0.1},
    "momentum": {"optimizer": "sgd", "momentum": 0.9},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
}


@pytest.mark.parametrize("rule", RULES)
def test_ten_updates_match_the_reference(rule, rng):
    config = TrainConfig(**RULES[rule])
    params = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(4)}
    expected = {name: [reference.Weight(float(p)) for p in param.ravel()] for name, param in params.items()}
    optimizer = Optimizer(params, config)
    for n in range(1, 11):
        grads = {name: rng.standard_normal(param.shape) for name, param in params.items()}
        optimizer.update(params, grads, 0.1 / n)
        for name, weights in expected.items():
            for weight, grad in zip(weights, grads[name].ravel(), strict=True):
                reference.update(weight, float(grad), n, 0.1 / n, **dataclasses.asdict(config))
            np.testing.assert_allclose(params[name].ravel(), [weight.value for weight in weights], rtol=1e-12)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.startswith("adam")])
def test_kernels_update_alike(rule, rng):
    results = []
    start, grads = rng.standard_normal(70_001).astype(np.float32), rng.standard_normal((5, 70_001)).astype(np.float32)
    for kernel in ("numpy", "numba"):
        params = {"a": start.copy()}
        optimizer = Optimizer(params, TrainConfig(**RULES[rule], kernel=kernel))
        for grad in grads:
            optimizer.update(params, {"a": grad}, 0.01)
        results.append((params["a"], *(moment["a"] for moment in optimizer.moments.values())))
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_update_changes_the_parameters_in_place_and_keeps_their_type(rule, rng):
    param, grads = rng.standard_normal(5).astype(np.float32), {"a": np.ones(5, np.float32)}
    params, before = {"a": param}, param.copy()
    Optimizer(params, TrainConfig(**RULES[rule])).update(params, grads, 0.1)
    assert params["a"] is param
    assert param.dtype == np.float32
    assert (param != before).all()


@pytest.mark.parametrize("rule", RULES)
def test_update_does_not_modify_the_gradients(rule, rng):
    params, grads = {"a": rng.standard_normal(5).astype(np.float32)}, {"a": np.ones(5, np.float32)}
    Optimizer(params, TrainConfig(**RULES[rule])).update(params, grads, 0.1)
    assert (grads["a"] == 1).all()


def test_every_element_of_a_large_parameter_is_updated():
    params, grads = {"a": np.zeros(100_001, np.float32)}, {"a": np.ones(100_001, np.float32)}
    Optimizer(params, TrainConfig()).update(params, grads, 0.5)
    np.testing.assert_allclose(params["a"], -0.5, rtol=1e-5)


def test_moments_without_gradients_become_zero_not_subnormal():
    params, grads = {"w": np.ones(4, np.float32)}, {"w": np.array([1, 1e-3, 1e-6, 1e-9], np.float32)}
    adam = Optimizer(params, TrainConfig())
    adam.update(params, grads, 0.01)
    grads["w"][...] = 0
    for _ in range(12_000):
        adam.update(params, grads, 0.01)
    assert not adam.moments["m"]["w"].any()
    assert not adam.moments["v"]["w"].any()


# ---- moving average


def test_moving_average_follows_its_equation(rng):
    history = rng.standard_normal((50, 3))
    ema, expected = {"a": history[0].copy()}, history[0].copy()
    for n, values in enumerate(history, 1):
        update_ema(ema, {"a": values}, 0.7, n)
        decay = min(0.7, n / (n + 10))
        expected = decay * expected + (1 - decay) * values
    np.testing.assert_allclose(ema["a"], expected, rtol=1e-12)


def test_moving_average_forgets_old_values(rng):
    history = rng.standard_normal((50, 3))
    ema = {"a": history[0].copy()}
    for n, values in enumerate(history, 1):
        update_ema(ema, {"a": values}, 0.7, n)
    recent = sum(0.3 * 0.7**age * values for age, values in enumerate(history[::-1][:20]))
    np.testing.assert_allclose(ema["a"], recent, atol=0.01)


# ---- clipping


def test_clipping_scales_all_gradients_together():
    grads = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    assert clip_by_global_norm(grads, 1) == 5
    np.testing.assert_allclose([grads["a"][0], grads["b"][0, 0]], [0.6, 0.8])


@pytest.mark.parametrize("max_norm", [0, 5, 100])
def test_gradients_within_the_norm_or_with_clipping_off_are_unchanged(max_norm):
    grads = {"a": np.array([3.0, 4.0])}
    assert clip_by_global_norm(grads, max_norm) == 5
    assert grads["a"].tolist() == [3, 4]


def test_norm_is_computed_in_float64():
    grads = {"a": np.full(4, 1e30, np.float32)}  # its square overflows float32
    assert clip_by_global_norm(grads, 1) == pytest.approx(2e30)
    np.testing.assert_allclose(grads["a"], 0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_of_non_finite_norm_are_unchanged(bad):
    grads = {"a": np.array([1.0, bad])}
    assert not math.isfinite(clip_by_global_norm(grads, 1))
    assert grads["a"][0] == 1


# ---- learning rate


def test_rate_warms_up_and_decays_by_a_cosine():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.1)
    rates = [learning_rate_at(config, progress) for progress in (0, 0.05, 0.1, 0.55, 1)]
    np.testing.assert_allclose(rates, [0, 1, 2, 1, 0], atol=1e-12)


def test_linear_rate_decays_to_zero():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.2, schedule="linear")
    rates = [learning_rate_at(config, progress) for progress in (0.1, 0.2, 0.4, 0.6, 1)]
    np.testing.assert_allclose(rates, [1, 2, 1.5, 1, 0], atol=1e-12)


def test_step_rate_decays_at_each_interval():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0, schedule="step", decay_factor=0.1, decay_every=0.25)
    rates = [learning_rate_at(config, progress) for progress in (0, 0.24, 0.25, 0.49, 0.75, 0.99)]
    np.testing.assert_allclose(rates, [2, 2, 0.2, 0.2, 0.002, 0.002])


def test_plateau_rate_decays_with_each_plateau():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.1, schedule="plateau")
    assert [learning_rate_at(config, 0.5, plateaus) for plateaus in (0, 1, 3)] == [2, 1, 0.25]
    assert learning_rate_at(config, 0.05) == 1


def test_constant_rate_does_not_change():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0, schedule="constant")
    assert {learning_rate_at(config, k / 7) for k in range(8)} == {2.0}


def test_warm_up_over_the_whole_run_ends_at_the_peak():
    assert learning_rate_at(TrainConfig(learning_rate=2.0, warmup_fraction=1), 1) == 2.0
