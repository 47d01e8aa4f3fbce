"""The program of examples/ runs on any text, learns, and computes what the package computes."""

import subprocess
import sys
from pathlib import Path

import gallery
import numpy as np
import pytest

from charlstm.config.settings import ModelConfig
from charlstm.network.char_lstm import CharLSTM, State
from charlstm.text.batches import Window

LAYER = {"w_x": "layer0.w_x", "w_h": "layer0.w_h", "b": "layer0.b", "w_out": "w_out", "b_out": "b_out"}


@pytest.fixture
def by_hand():
    return gallery.load(gallery.program())


def run(text: bytes, tmp_path: Path, steps: int = 3) -> subprocess.CompletedProcess[str]:
    """Run the program on a text, with fewer steps."""
    program = tmp_path / "lstm_by_hand.py"
    program.write_text(
        gallery.change(
            gallery.program(), ("STEPS, SEED = 64, 50, 1e-2, 3000,", f"STEPS, SEED = 64, 50, 1e-2, {steps},")
        )
    )
    (tmp_path / "corpus.txt").write_bytes(text)
    return subprocess.run([sys.executable, str(program), str(tmp_path / "corpus.txt")], capture_output=True, text=True)


def test_loss_gradients_and_state_equal_those_of_the_package(by_hand):
    rng = np.random.default_rng(0)
    params = {name: param + 0.3 * rng.standard_normal(param.shape) for name, param in by_hand.params.items()}
    h, c = rng.standard_normal((2, by_hand.H))
    x, y = list(by_hand.windows(by_hand.ids))[7]
    network = CharLSTM(
        ModelConfig(hidden_size=by_hand.H), {LAYER[name]: param.copy() for name, param in params.items()}
    )
    expected_loss, expected, after = network.loss_and_grads(
        Window(x[:, None], y[:, None]), State(h.reshape(1, 1, -1), c.reshape(1, 1, -1))
    )
    loss, grads, (h, c) = by_hand.loss_and_grads(params, x, y, (h, c))
    assert abs(loss - expected_loss) < 1e-12
    assert grads.keys() == LAYER.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[LAYER[name]], rtol=0, atol=1e-12)
    np.testing.assert_allclose([h, c], [after.h[0, 0], after.c[0, 0]], rtol=0, atol=1e-12)


def test_windows_cover_the_text_in_order_and_targets_are_the_next_characters(by_hand):
    ids = np.arange(2 * by_hand.T + 8)
    xs, ys = zip(*by_hand.windows(ids), strict=True)
    assert [len(x) for x in xs] == [by_hand.T, by_hand.T, 7]
    np.testing.assert_array_equal(np.concatenate(xs), ids[:-1])
    np.testing.assert_array_equal(np.concatenate(ys), ids[1:])


def test_importing_trains_nothing_and_the_first_loss_is_close_to_guessing(by_hand):
    x, y = next(by_hand.windows(by_hand.ids))
    assert not any(moment.any() for moment in by_hand.m.values())
    assert abs(by_hand.forward(by_hand.params, x, y, by_hand.zero_state())[0] - np.log(by_hand.vocab_size)) < 0.1


@pytest.mark.slow
def test_bundled_posts_get_below_letter_frequencies_in_600_steps(by_hand):
    share = np.bincount(by_hand.ids) / len(by_hand.ids)
    losses = list(by_hand.train(600))
    assert len(losses) == 600
    assert np.mean(losses[-100:]) < -(share * np.log(share)).sum() - 0.3


@pytest.mark.parametrize("text", [b"ab", b"aaaa", "zażółć gęślą jaźń 🌞\n".encode() * 20])
def test_runs_on_any_text_and_its_gradients_pass_its_own_check(text, tmp_path):
    result = run(text, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    errors = [
        float(line.split("error ")[1].split(",")[0]) for line in result.stdout.splitlines() if "largest error" in line
    ]
    assert len(errors) == 5
    assert max(errors) < 1e-8


@pytest.mark.parametrize("text", [b"", b"a"])
def test_says_that_a_text_is_too_short(text, tmp_path):
    result = run(text, tmp_path)
    assert (result.returncode, result.stderr) == (1, "the text needs at least two characters\n")
