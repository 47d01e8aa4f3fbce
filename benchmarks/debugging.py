"""Train every program of tests/gallery.py, and write the results into docs/debugging.md and docs/lstm.md.

The numbers are kept in docs/debugging.json; --draw writes the pages and figures from it, without training.
"""

import importlib.util
import json
import math
import multiprocessing
import os
import textwrap
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from difflib import unified_diff
from statistics import fmean
from typing import Any

import click
import curves
import gallery
import harness
import numpy as np

from charlstm import start, train

RESULTS = harness.ROOT / "docs" / "debugging.json"
SEEDS = (1, 2, 3)
STEPS = 1500
LONG_STEPS = 7000  # two epochs of the bundled posts
EVERY = 50  # steps per point of a curve
END = 500  # the steps whose mean loss is the loss at the end
SHORT_CHARS, SHORT_STEPS, SHORT_LOSS = 40, 1000, 0.1  # overfitting a short text: up to so many steps, to this loss

RULES = {  # the popular cures, for gradients of the sum; each replaces text of the program
    "SGD": (("params[name] -= RATE * m_hat / (np.sqrt(v_hat) + 1e-8)", "params[name] -= 0.1 * grads[name]"),),
    "Adam": (),
    "clipping": (
        (
            '    """Apply update number n, from 1, by Adam."""\n',
            "    grads = {name: np.clip(grad, -6, 6) for name, grad in grads.items()}\n",
        ),
    ),
}
PARTS = ["curves", "sgd", "long", "short text", "cures", "classic"]
if importlib.util.find_spec("charlstm.diagnosis"):
    PARTS.append("checks")
CURES = {
    "SGD": ("SGD",),
    "SGD, clipped to 6": ("SGD", "clipping"),
    "Adam": ("Adam",),
    "Adam, clipped to 6": ("Adam", "clipping"),
}
BROKEN = {"none": (), "the five": gallery.FIVE, "the five without error-carried": gallery.FIVE[:-1]}
LONG = ("none", "candidate-error", "error-carried", "no-path-c", "state-ignored", "state-not-reset")
SGD = ((RULES["SGD"][0][0], "params[name] -= 5 * grads[name]"),)  # for gradients of the mean
Changes = tuple[tuple[str, str], ...]
Losses = list[float | None]  # None for those that are not finite, which JSON does not have


# ---- measurements


def run_program(source: str, seed: int, steps: int) -> Iterator[float | None]:
    """Train a program; yield the loss of each window, None from the first on that is not finite."""
    program = gallery.load(gallery.change(source, ("3000, 1\n", f"3000, {seed}\n")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a broken program may overflow
        for n, loss in enumerate(program.train(steps)):
            if not math.isfinite(loss):
                yield from [None] * (steps - n)
                return
            yield float(loss)


def measure_curve(names: tuple[str, ...], changes: Changes, seed: int, steps: int = STEPS) -> Losses:
    """Return the first loss, then the mean loss of every `EVERY` steps, of a program with mistakes and changes."""
    losses = list(run_program(gallery.change(gallery.source_of(*names), *changes), seed, steps))
    parts = [losses[:1], *(losses[k : k + EVERY] for k in range(0, steps, EVERY))]
    return [mean_of(part) for part in parts]


def measure_long_curve(names: tuple[str, ...], changes: Changes, seed: int) -> Losses:
    """Return the curve of a program over two epochs."""
    return measure_curve(names, changes, seed, LONG_STEPS)


def measure_short(names: tuple[str, ...], _: Changes, seed: int) -> int | None:
    """Train a program on the first characters alone; return the steps to a low loss, None if it is not reached."""
    ids = "ids = np.searchsorted(characters, list(text))"
    source = gallery.change(gallery.source_of(*names), (ids + "\n", f"{ids}[: {SHORT_CHARS} + 1]\n"))
    for n, loss in enumerate(run_program(source, seed, SHORT_STEPS), start=1):
        if loss is not None and loss < SHORT_LOSS:
            return n
    return None


def measure_classic(seed: int) -> dict[str, Any]:
    """Train `-c classic` on the bundled posts; return the first loss, mean training losses, and validation losses."""
    losses, validation = [], []
    for report in train(start("@tweets", "classic", seed=seed)):
        losses.append(report.loss)
        if report.evaluation:
            validation.append((report.step, report.evaluation.val_loss))
    means = [fmean(losses[k : k + 100]) for k in range(0, len(losses), 100)]
    return {"first": round(losses[0], 4), "training": [round(mean, 4) for mean in means], "validation": validation}


def mean_of(losses: Losses) -> float | None:
    """Return the mean loss; None if one is not finite."""
    finite = [loss for loss in losses if loss is not None]
    return round(fmean(finite), 4) if len(finite) == len(losses) else None


def measure_all(measure: Any, programs: dict[str, tuple[Any, Any]]) -> dict[str, list[Losses]]:
    """Measure programs, given their mistakes and changes, with each seed, on all cores; return losses by program."""
    tasks = [(*program, seed) for program in programs.values() for seed in SEEDS]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(measure, *zip(*tasks, strict=True)))
    return {name: results[k * len(SEEDS) :][: len(SEEDS)] for k, name in enumerate(programs)}


def measure_checks() -> dict[str, Any]:
    """Return whether each program passes each check of `charlstm check`; None for checks that cannot be made."""
    checks = importlib.import_module("charlstm.diagnosis.checks")
    sources = {"none": gallery.program()} | {m.name: gallery.source_of(m.name) for m in gallery.MISTAKES}
    results = {name: checks.check_source(source, str(gallery.PROGRAM)) for name, source in sources.items()}
    return {name: {check: result.passed for check, result in made.items()} for name, made in results.items()}


def measure_part(part: str) -> dict[str, Any]:
    """Return the results of a part."""
    single = {"none": ((), ())} | {mistake.name: ((mistake.name,), ()) for mistake in gallery.MISTAKES}
    if part == "curves":
        return measure_all(measure_curve, single)
    if part == "short text":
        return measure_all(measure_short, single)
    if part == "checks":
        return measure_checks()
    if part == "long":
        return measure_all(measure_long_curve, {name: single[name] for name in LONG})
    if part == "sgd":
        with_sgd = {
            m.name: ((m.name,), SGD) for m in gallery.MISTAKES if m.where != "update" and m.name != "adam-from-0"
        }
        return measure_all(measure_curve, {"none": ((), SGD)} | with_sgd)
    if part == "cures":
        of_sum = gallery.mistake("sum-for-mean").changes
        programs = {
            f"{broken}: {cure}": (names, (*of_sum, *(pair for rule in rules for pair in RULES[rule])))
            for broken, names in BROKEN.items()
            for cure, rules in CURES.items()
        }
        return measure_all(measure_curve, programs)
    return {str(seed): measure_classic(seed) for seed in SEEDS}


def baselines() -> dict[str, float]:
    """Return the loss of guessing and of character frequencies on the bundled posts, in nats."""
    ids = gallery.load(gallery.program()).ids
    share = np.bincount(ids) / len(ids)
    return {"guessing": math.log(len(share)), "frequencies": -float((share * np.log(share)).sum())}


# ---- tables


def loss_at_end(curve: Losses) -> float | None:
    """Return the mean loss of the last steps; None if it is not finite."""
    return mean_of(curve[-END // EVERY :])


def summary(runs: list[Losses]) -> str:
    """Return the mean loss at the end over the seeds, and their range."""
    ends = [loss_at_end(run) for run in runs]
    finite = [end for end in ends if end is not None]
    if len(finite) < len(ends):
        return "NaN" if not finite else f"NaN in {len(ends) - len(finite)} of {len(ends)}"
    return f"{fmean(finite):.2f} ({min(finite):.2f} to {max(finite):.2f})"


def mistakes_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of mistakes and their effect."""
    yield "| mistake | where | first loss | with Adam | with SGD | 40 characters |"
    yield "|---|---|---|---|---|---|"
    rows = [("none", "none: the correct program", "")]
    rows += [(m.name, f"[{m.name}](#{m.name})", m.where) for m in gallery.MISTAKES]
    for name, label, where in rows:
        runs, with_sgd = results["curves"][name], results["sgd"].get(name)
        first = fmean(run[0] for run in runs)
        cells = [f"{first:.2f}", summary(runs), summary(with_sgd) if with_sgd else ""]
        yield f"| {' | '.join([label, where, *cells, short_verdict(results['short text'][name])])} |"


def long_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the losses of some mistakes after one epoch and after two."""
    yield f"| mistake | {STEPS:,} steps | {LONG_STEPS:,} steps |"
    yield "|---|---|---|"
    for name in LONG:
        runs = results["long"][name]
        yield f"| {name} | {summary([run[: STEPS // EVERY + 1] for run in runs])} | {summary(runs)} |"


def checks_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of mistakes and the checks of `charlstm check`, if they have been measured."""
    if "checks" not in results:
        return
    names = list(results["checks"]["none"])
    titles = [name.replace("|", r"\|") for name in names]
    yield f"| mistake | {' | '.join(titles)} |"
    yield f"|---{'|---' * len(names)}|"
    for mistake, found in results["checks"].items():
        marks = [{True: "", False: "**found**", None: "skipped"}[found.get(name)] for name in names]
        yield f"| {mistake} | {' | '.join(marks)} |"


def short_verdict(steps: list[int | None]) -> str:
    """Return whether overfitting a short text passes, and after how many steps, given those of each seed."""
    passed = [n for n in steps if n is not None]
    if not passed:
        return "fails"
    seeds = "" if len(passed) == len(steps) else f" with {len(passed)} of {len(steps)} seeds"
    return f"passes{seeds}, after {round(fmean(passed))} steps"


def short_summary(results: dict[str, Any]) -> Iterator[str]:
    """Yield how many mistakes pass the popular check, and which of the five."""
    seeds = {m.name: [n for n in results["short text"][m.name] if n is not None] for m in gallery.MISTAKES}
    always = [name for name, passed in seeds.items() if len(passed) == len(SEEDS)]
    sometimes = [name for name, passed in seeds.items() if 0 < len(passed) < len(SEEDS)]
    of_five = "; ".join(f"{name} {short_verdict(results['short text'][name])}" for name in gallery.FIVE)
    text = (
        f"Of the programs with one of the {len(seeds)} mistakes, {len(always)} pass with every seed, and "
        f"{len(sometimes)} with some. The correct program takes {round(fmean(results['short text']['none']))} steps. "
        f"Of the five mistakes above: {of_five}."
    )
    yield from textwrap.wrap(text, 100, break_on_hyphens=False)


def mistakes_list(results: dict[str, Any]) -> Iterator[str]:
    """Yield a section for each mistake: its lines, its loss, and what it looks like."""
    right = program_lines()
    for mistake in gallery.MISTAKES:
        yield f"\n### {mistake.name}\n"
        yield from textwrap.wrap(f"{mistake.title}.", 100)
        yield "\n```diff"
        for line in unified_diff(right, gallery.source_of(mistake.name).splitlines(), n=0, lineterm=""):
            if not line.startswith(("---", "+++", "@@")):
                yield line
        yield "```\n"
        yield from textwrap.wrap(mistake.symptom, 100, break_on_hyphens=False)
        if mistake.wrong:
            yield f"\nWrong gradients: {', '.join(f'`{name}`' for name in mistake.wrong)}."


def program_lines() -> list[str]:
    """Return the lines of the correct program."""
    return gallery.program().splitlines()


def cures_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the table of cures, on the correct program and on broken ones."""
    yield f"| mistakes | {' | '.join(CURES)} |"
    yield f"|---{'|---' * len(CURES)}|"
    for broken in BROKEN:
        yield f"| {broken} | {' | '.join(summary(results['cures'][f'{broken}: {cure}']) for cure in CURES)} |"


def classic_table(results: dict[str, Any]) -> Iterator[str]:
    """Yield the losses of `-c classic` by step."""
    runs = results["classic"].values()
    yield "| steps | characters | training loss | range over seeds |"
    yield "|---|---|---|---|"
    yield f"| 1 | 100 | {fmean(run['first'] for run in runs):.3f} | |"
    for step in (100, 200, 500, 1000, 2000, 5000, 10000):
        losses = [run["training"][step // 100 - 1] for run in runs]
        yield f"| {step:,} | {step * 100:,} | {fmean(losses):.2f} | {min(losses):.2f}, {max(losses):.2f} |"
    ends = [run["validation"][-1][1] for run in runs]
    yield f"| validation loss at the end | | {fmean(ends):.3f} | {min(ends):.3f}, {max(ends):.3f} |"


def settings_line(results: dict[str, Any]) -> Iterator[str]:
    """Yield how the numbers were measured."""
    text = (
        f"Measured by `make gallery`: {len(SEEDS)} seeds, {STEPS:,} steps of 50 characters of the bundled posts, 64 "
        f"units, Adam at 0.01. The loss at the end is the mean of the last {END} steps, in nats per character; in "
        f"brackets, the lowest and the highest of the seeds. For comparison, guessing has a loss of "
        f"{results['guessing']:.2f}, character frequencies {results['frequencies']:.2f}. Machine: {results['machine']}."
    )
    yield from textwrap.wrap(text, 100, break_on_hyphens=False)


SECTIONS = {
    "settings": ("debugging.md", settings_line),
    "mistakes": ("debugging.md", mistakes_table),
    "lines": ("debugging.md", mistakes_list),
    "long": ("debugging.md", long_table),
    "cures": ("debugging.md", cures_table),
    "short": ("debugging.md", short_summary),
    "checks": ("debugging.md", checks_table),
    "classic": ("lstm.md", classic_table),
}


def fill_pages(results: dict[str, Any]) -> dict[str, str]:
    """Return the pages with their generated sections, by name."""
    pages = {page: (harness.ROOT / "docs" / page).read_text(encoding="utf-8") for page, _ in SECTIONS.values()}
    for name, (page, section) in SECTIONS.items():
        begin, end = f"<!-- {name}: make gallery -->\n", f"<!-- end of {name} -->"
        before, _, rest = pages[page].partition(begin)
        body = "\n".join(section(results)).strip("\n")
        pages[page] = f"{before}{begin}\n{body}\n\n{end}{rest.partition(end)[2]}"
    return pages


@click.command()
@click.option("--draw", is_flag=True, help="Write pages and figures from the results of the last run.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Measure this part only; repeatable.")
def main(draw: bool, parts: tuple[str, ...]) -> None:
    """Train every program of the gallery, and write docs/debugging.md and docs/lstm.md."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one process per core
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not draw:
        results |= baselines() | {"machine": harness.describe_machine().replace("\n", "; ")}
        for part in parts or PARTS:
            results[part] = measure_part(part)
            RESULTS.write_text(json.dumps(results) + "\n", encoding="utf-8")
    if missing := [part for part in PARTS if part not in results]:
        raise click.ClickException(f"not measured yet: {', '.join(missing)}")
    for name, page in fill_pages(results).items():
        (harness.ROOT / "docs" / name).write_text(page, encoding="utf-8")
    curves.draw_symptoms(results, EVERY, harness.ROOT / "docs" / "debugging.svg")
    curves.draw_classic(results, harness.ROOT / "docs" / "classic.svg")
    print(
        "\n".join([*settings_line(results), *mistakes_table(results), *cures_table(results), *classic_table(results)])
    )


if __name__ == "__main__":
    main()
