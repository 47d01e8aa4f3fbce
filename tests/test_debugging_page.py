"""docs/debugging.md and the curve of docs/lstm.md show what `make gallery` measured."""

import json
import math
import re

import debugging
import gallery
import pytest
from helpers import ROOT

PAGE = (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "docs" / "debugging.json").read_text(encoding="utf-8"))


def test_generated_sections_are_those_of_the_last_measurement():
    for name, page in debugging.fill_pages(RESULTS).items():
        assert page == (ROOT / "docs" / name).read_text(encoding="utf-8"), "run `benchmarks/debugging.py --draw`"


def test_every_mistake_was_measured_and_has_its_own_section():
    names = {mistake.name for mistake in gallery.MISTAKES}
    assert RESULTS["curves"].keys() == RESULTS["short text"].keys() == names | {"none"}
    headings = set(re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE))
    assert names <= headings
    assert f"{len(names)} mistakes" in PAGE
    for anchor in re.findall(r"\]\(#([\w-]+)\)", PAGE):
        assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, anchor


def test_every_mistake_is_among_the_symptoms():
    table = PAGE[PAGE.index("| symptom |") :].split("\n\n")[0]
    shown = set(re.findall(r"\]\(#([\w-]+)\)", table))
    assert {mistake.name for mistake in gallery.MISTAKES} - shown == {"state-not-reset"}  # harmless


def test_baselines_are_those_of_the_bundled_posts():
    assert debugging.baselines() == pytest.approx({name: RESULTS[name] for name in ("guessing", "frequencies")})
    assert RESULTS["guessing"] == pytest.approx(math.log(142))


def test_program_that_overflows_has_no_loss_from_then_on():
    losses = list(debugging.run_program(gallery.source_of("adam-from-0"), 1, 4))
    assert losses[0] == pytest.approx(RESULTS["curves"]["adam-from-0"][0][0], abs=1e-3)
    assert losses[1:] == [None] * 3
    assert debugging.mean_of(losses) is None
    assert debugging.mean_of(losses[:1]) == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.parametrize("cure", debugging.CURES)
def test_cures_change_the_update_alone(cure):
    source = gallery.change(
        gallery.program(), *(pair for rule in debugging.CURES[cure] for pair in debugging.RULES[rule])
    )
    program, right = gallery.load(source), gallery.load(gallery.program())
    x, y = next(program.windows(program.ids))
    loss, grads, _ = program.loss_and_grads(program.params, x, y, program.zero_state())
    assert loss == right.loss_and_grads(right.params, x, y, right.zero_state())[0]
    grads = {name: 1000 * grad for name, grad in grads.items()}
    before = program.params["b_out"].copy()
    program.update(program.params, grads, 1)
    step = abs(program.params["b_out"] - before).max()
    assert step == pytest.approx({"SGD": 0.1 * abs(grads["b_out"]).max(), "SGD, clipped to 6": 0.6}.get(cure, 0.01))
