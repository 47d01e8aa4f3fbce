"""How fast an exported page writes, and how close its logits are to NumPy's. Needs Chromium and playwright."""

import shutil
import tempfile
from pathlib import Path

import click
import harness
import numpy as np
from playwright.sync_api import Browser, sync_playwright

from charlstm import LanguageModel, Run, corpus_from_text, load_run, start
from charlstm.export.page import make_page
from charlstm.network.dispatch import make_stepper
from charlstm.storage.weights import round_params

UNITS = (128, 256, 512, 1024)
STEPS = 1_000
# Characters per second of the network with its sampling, without the page around it.
WRITE = """(steps) => {
    pause();
    let { state, logits } = model.begin();
    const random = new Random(1), started = performance.now();
    for (let n = 0; n < steps; n++) {
        state = model.step(draw(softmax(logits, 0.8), random), state);
        logits = model.logits(state);
    }
    return (1000 * steps) / (performance.now() - started);
}"""
LOGITS = """(ids) => {
    let { state } = model.begin();
    return ids.map((id) => { state = model.step(id, state); return Array.from(model.logits(state)); });
}"""


@click.command()
@click.argument("models", nargs=-1)
@click.option("--chromium", default=shutil.which("chromium"), show_default=True, help="Path of the browser.")
def main(models: tuple[str, ...], chromium: str) -> None:
    """Measure the pages of MODELS, by default of initial weights with 100 characters."""
    corpus = corpus_from_text("".join(map(chr, range(32, 132))) * 3)
    runs = {path: load_run(path) for path in models} or {
        f"1 x {units}": start(corpus, hidden_size=units, steps=1) for units in UNITS
    }
    print(harness.describe_machine())
    columns = {"page, MB": ".2f", "network, chars/s": ",.0f", "page, chars/s": ",.0f", "largest difference": ".1e"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        print(f"Chromium {browser.version}")
        table = harness.Table(columns, labels=runs)
        for name, run in runs.items():
            table.row(*measure(browser, run), label=name)
        browser.close()


def measure(browser: Browser, run: Run) -> tuple[float, float, float, float]:
    """Return the size of a page in MB, both speeds, and the largest difference of a logit from NumPy's."""
    html = make_page(run, "model")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_page()
        page.goto(path.as_uri())
        page.wait_for_timeout(3000)
        before = page.evaluate("tokens.length")
        page.wait_for_timeout(2000)
        written = (page.evaluate("tokens.length") - before) / 2
        speed = page.evaluate(WRITE, STEPS)
        difference = compare(run.model, page.evaluate(LOGITS, list(range(min(len(run.model.vocab), 100)))))
        page.close()
    return len(html.encode()) / 1e6, speed, written, difference


def compare(model: LanguageModel, theirs: list[list[float]]) -> float:
    """Return the largest difference of logits from those of NumPy with the same rounded weights."""
    rounded = LanguageModel(model.network.copy(), model.vocab)
    rounded.network.params.update(round_params(model.network.params, "int8"))
    stepper, state, largest = make_stepper(rounded.network), rounded.read().state, 0.0
    for id, logits in enumerate(theirs):
        ours, state = stepper.step(np.array([id]), state)
        largest = max(largest, float(np.abs(ours[0] - logits).max()))
    return largest


if __name__ == "__main__":
    main()
