"""The gradients of the network agree with finite differences of its loss."""

import numpy as np
import pytest
from gradient_check import relative_error
from network_helpers import perturb, random_window

from charlstm.config.settings import Config, ModelConfig
from charlstm.network.char_lstm import init_network


@pytest.mark.parametrize("num_layers", [1, 3])
def test_gradients_of_all_parameters_match_finite_differences(num_layers, rng):
    network = perturb(init_network(ModelConfig(hidden_size=6, num_layers=num_layers), 9, rng, np.float64), rng)
    window, state = random_window(network, rng)
    grads = {name: grad.copy() for name, grad in network.loss_and_grads(window, state)[1].items()}
    assert grads.keys() == network.params.keys()
    for name, param in network.params.items():
        error = relative_error(lambda: network.loss(window, state)[0], param, grads[name], rng)
        assert error < 1e-6, name


DROPOUT: dict[str, dict[str, float]] = {
    "dropout": {"dropout": 0.4},
    "input dropout": {"input_dropout": 0.4},
    "dropconnect": {"dropconnect": 0.4},
    "all": {"dropout": 0.3, "input_dropout": 0.2, "dropconnect": 0.5},
}


@pytest.mark.parametrize("kind", DROPOUT)
def test_gradients_with_dropout_match_finite_differences(kind, rng):
    config = Config().replace(hidden_size=8, num_layers=2, **DROPOUT[kind]).model
    network = perturb(init_network(config, 5, rng, np.float64), rng)
    window, state = random_window(network, rng)

    def compute_with_same_masks():
        return network.loss_and_grads(window, state, network.draw_masks(3, np.random.default_rng(11)))

    grads = {name: grad.copy() for name, grad in compute_with_same_masks()[1].items()}
    for name, param in network.params.items():
        assert relative_error(lambda: compute_with_same_masks()[0], param, grads[name], rng) < 1e-6, name


def test_gradient_check_rejects_an_error_of_one_thousandth(rng):
    network = init_network(ModelConfig(hidden_size=6), 9, rng, np.float64)
    window, state = random_window(network, rng)
    grads = {name: grad.copy() for name, grad in network.loss_and_grads(window, state)[1].items()}
    for name, param in network.params.items():
        error = relative_error(lambda: network.loss(window, state)[0], param, grads[name] * 1.001, rng)
        assert error > 5e-4, name


def test_clip_error_changes_gradients_only_where_they_exceed_it(rng):
    network = perturb(init_network(ModelConfig(hidden_size=6), 9, rng, np.float64), rng)
    window, state = random_window(network, rng)
    unclipped, wide, narrow = (
        network.loss_and_grads(window, state, None, clip)[1]["layer0.w_h"].copy() for clip in (0.0, 1e3, 1e-4)
    )
    assert np.array_equal(unclipped, wide)
    assert not np.allclose(unclipped, narrow)
