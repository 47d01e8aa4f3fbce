"""Each mistake of the gallery is a change to the program, with exactly the wrong gradients that it names."""

import gallery
import numpy as np
import pytest
from gallery import MISTAKES, Mistake, load, source_of
from gradient_check import relative_error

NAMES = [mistake.name for mistake in MISTAKES]
PARTS = {"forward", "backward", "windows", "update", "initial weights", "training loop"}


def wrong_gradients(source: str) -> set[str]:
    """Return the parameters whose gradient does not match finite differences, in a window of 12 from the zero state."""
    module = load(source)
    x, y = module.ids[:12], module.ids[1:13]
    params = {name: param.astype(np.float64) for name, param in module.params.items()}

    def loss() -> float:
        return float(module.loss_and_grads(params, x, y, module.zero_state())[0])

    _, grads, _ = load(source).loss_and_grads(params, x, y, module.zero_state())
    rng = np.random.default_rng(0)
    return {name for name in params if relative_error(loss, params[name], grads[name], rng) > 1e-6}


def test_right_program_has_right_gradients():
    assert wrong_gradients(gallery.program()) == set()


@pytest.mark.parametrize("mistake", MISTAKES, ids=NAMES)
def test_mistake_makes_the_gradients_wrong_that_it_names(mistake: Mistake):
    assert wrong_gradients(source_of(mistake.name)) == set(mistake.wrong)


def test_names_are_unique_and_parts_are_known():
    assert len(set(NAMES)) == len(NAMES)
    assert {mistake.where for mistake in MISTAKES} == PARTS


def test_mistakes_can_be_combined():
    assert wrong_gradients(source_of(*gallery.FIVE)) == {"w_x", "w_h", "b"}


def test_change_refuses_text_that_is_not_there_exactly_once():
    with pytest.raises(AssertionError, match="0 times"):
        gallery.change(gallery.program(), ("no such line", ""))
    with pytest.raises(AssertionError, match="2 times"):
        gallery.change("a a", ("a", "b"))
