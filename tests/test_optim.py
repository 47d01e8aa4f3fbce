"""Optimisers, averages, clipping and the schedules, against their textbook forms."""

import dataclasses
import math

import numpy as np
import pytest
import reference

from charlstm.config import TrainConfig
from charlstm.optim import Optimizer, average_into, clip_by_global_norm, learning_rate_at

RULES = {
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
def test_ten_updates_equal_those_of_the_textbook(rule, rng):
    config = TrainConfig(**RULES[rule])
    params = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(4)}
    twins = {name: [reference.Weight(float(p)) for p in param.ravel()] for name, param in params.items()}
    optimizer = Optimizer(params, config)
    for n in range(1, 11):
        grads = {name: rng.standard_normal(param.shape) for name, param in params.items()}
        optimizer.update(params, grads, 0.1 / n)
        for name, twin in twins.items():
            for weight, grad in zip(twin, grads[name].ravel(), strict=True):
                reference.update(weight, float(grad), n, 0.1 / n, **dataclasses.asdict(config))
            np.testing.assert_allclose(params[name].ravel(), [weight.value for weight in twin], rtol=1e-12)


def test_updates_change_the_parameters_in_place_and_keep_their_type_and_the_gradients(rng):
    for rule in RULES.values():
        param, grads = rng.standard_normal(5).astype(np.float32), {"a": np.ones(5, np.float32)}
        params = {"a": param}
        before = param.copy()
        Optimizer(params, TrainConfig(**rule)).update(params, grads, 0.1)
        assert params["a"] is param
        assert param.dtype == np.float32
        assert (param != before).all()
        assert (grads["a"] == 1).all()


def test_large_parameters_are_updated_to_the_last_number(rng):
    params, grads = {"a": np.zeros(100_001, np.float32)}, {"a": np.ones(100_001, np.float32)}
    Optimizer(params, TrainConfig()).update(params, grads, 0.5)
    np.testing.assert_allclose(params["a"], -0.5, rtol=1e-5)


def test_the_average_is_the_one_of_its_equation(rng):
    history = rng.standard_normal((50, 3))
    average, expected = {"a": history[0].copy()}, history[0].copy()
    for n, values in enumerate(history, 1):
        average_into(average, {"a": values}, 0.7, n)
        decay = min(0.7, n / (n + 10))
        expected = decay * expected + (1 - decay) * values
    np.testing.assert_allclose(average["a"], expected, rtol=1e-12)
    last = sum(0.3 * 0.7**age * values for age, values in enumerate(history[::-1][:20]))
    np.testing.assert_allclose(average["a"], last, atol=0.01)  # what is old is forgotten


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


def test_the_rate_falls_in_a_straight_line():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.2, schedule="linear")
    rates = [learning_rate_at(config, progress) for progress in (0.1, 0.2, 0.4, 0.6, 1)]
    np.testing.assert_allclose(rates, [1, 2, 1.5, 1, 0], atol=1e-12)


def test_the_rate_falls_in_steps():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0, schedule="step", decay_factor=0.1, decay_every=0.25)
    rates = [learning_rate_at(config, progress) for progress in (0, 0.24, 0.25, 0.49, 0.75, 0.99)]
    np.testing.assert_allclose(rates, [2, 2, 0.2, 0.2, 0.002, 0.002])


def test_the_rate_falls_with_each_plateau():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0.1, schedule="plateau")
    assert [learning_rate_at(config, 0.5, plateaus) for plateaus in (0, 1, 3)] == [2, 1, 0.25]
    assert learning_rate_at(config, 0.05) == 1


def test_a_constant_rate_stays():
    config = TrainConfig(learning_rate=2.0, warmup_fraction=0, schedule="constant")
    assert {learning_rate_at(config, k / 7) for k in range(8)} == {2.0}
    assert learning_rate_at(TrainConfig(learning_rate=2.0, warmup_fraction=1), 1) == 2.0


def test_moments_that_no_gradient_feeds_end_as_zero_and_not_as_slow_subnormal_numbers():
    params, grads = {"w": np.ones(4, np.float32)}, {"w": np.array([1, 1e-3, 1e-6, 1e-9], np.float32)}
    adam = Optimizer(params, TrainConfig())
    adam.update(params, grads, 0.01)
    grads["w"][...] = 0
    for _ in range(12_000):
        adam.update(params, grads, 0.01)
    assert not adam.moments["m"]["w"].any()
    assert not adam.moments["v"]["w"].any()
