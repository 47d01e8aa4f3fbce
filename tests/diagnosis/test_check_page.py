"""The adapters of docs/check.md work on programs of the kinds that they are for."""

import itertools
import re

import gallery
import numpy as np
import pytest
from diagnosis.programs import B, H, Style, V, build
from helpers import ROOT, charlstm

from charlstm.diagnosis.checks import iter_results

PAGE = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def block(text):
    (found,) = (each for each in BLOCKS if text in each)
    return found


def failures(namespace):
    results = itertools.takewhile(lambda each: each.name != "overfitting", iter_results(namespace))
    return [str(result) for result in results if not result.passed]


def test_global_arrays_are_adapted():
    program = build(Style(apart=True, order="figo", columns=False))
    arrays, inner = program["params"], program["loss_and_grads"]
    ours = {
        "Wf": "W_hx_f",
        "Wi": "W_hx_i",
        "Wc": "W_hx_g",
        "Wo": "W_hx_o",
        "bf": "W_b_f",
        "bi": "W_b_i",
        "bc": "W_b_g",
        "bo": "W_b_o",
        "Wy": "Why",
        "by": "by",
    }

    def forward(x, y, h, c):
        loss, grads, (h, c) = inner(arrays, x, y, (h[:, 0], c[:, 0]))
        return loss, grads, h[:, None], c[:, None]

    def backward(x, y, cache):
        return {name: cache[other] for name, other in ours.items()}

    names = {name: arrays[other] for name, other in ours.items()}
    names |= {"np": np, "H": H, "vocab_size": V, "forward": forward, "backward": backward}
    exec(block('"Wc": Wc'), names)
    assert failures(names) == []


def test_class_is_adapted():
    class LSTM:
        h: np.ndarray
        c: np.ndarray

        def __init__(self, vocab_size, units):
            assert vocab_size == V
            self.program = build()
            self.W, self.b, self.Wy, self.by = self.program["params"].values()

        def forward(self, x, y):
            result = self.program["loss_and_grads"](self.program["params"], x, y, (self.h, self.c))
            loss, self.grads, (self.h, self.c) = result
            return loss

        def backward(self):
            self.dW, self.db, self.dWy, self.dby = self.grads.values()

    names = {"np": np, "LSTM": LSTM, "vocab_size": V}
    exec(block("LSTM(vocab_size").replace("16", str(H)), names)
    assert failures(names) == []
    exec(block("layout = "), names)
    assert failures(names) == []


def test_one_hot_streams_are_adapted():
    program = build(Style(batch=True, mean=True))
    inner = program["loss_and_grads"]

    def step(params, x, y, state):
        assert x.shape[0] == B
        return inner(params, x.argmax(2).T, y.argmax(2).T, state)

    names = program | {"np": np, "step": step}
    exec(block("batch_size = 3"), names)
    assert failures(names) == []


def test_python_interface_prints_results(capsys):
    exec(block("charlstm.check"), build())
    assert capsys.readouterr().out.startswith("ok      runs")


def test_page_lists_every_check_in_order():
    program = build() | {"windows": lambda ids: [(ids[:-1], ids[1:])], "update": lambda params, grads, n: None}
    names = [result.name for result in iter_results(program)]
    rows = re.findall(r"^\| ([^|`]*(?:\\\|h\\\| < 1)?[^|`]*) \|", PAGE.partition("## The checks")[2], re.MULTILINE)
    assert [row.replace("\\", "").strip() for row in rows if row not in ("check",)] == names


@pytest.mark.parametrize(
    "name", ["vocab_size", "params", "zero_state", "loss_and_grads", "batch_size", "layout", "windows", "update"]
)
def test_page_explains_every_name(name):
    assert re.search(rf"^\| `{name}\b", PAGE, re.MULTILINE)


def test_page_shows_what_the_command_prints(tmp_path):
    source = gallery.source_of("candidate-error").replace(
        "Path(__file__).resolve().parents[1]", f"Path({str(gallery.PROGRAM.parents[1])!r})"
    )
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    shown = re.findall(
        r"^    (.*)$", PAGE.partition("$ charlstm check mine.py\n")[2].partition("    ...\n")[0], re.MULTILINE
    )
    printed = charlstm("check", "mine.py", cwd=tmp_path).stdout.splitlines()[: len(shown)]
    assert [_without_rounding(line) for line in printed] == [_without_rounding(line) for line in shown]


def _without_rounding(line):
    return re.sub(r"\de-\d+", "", line)
