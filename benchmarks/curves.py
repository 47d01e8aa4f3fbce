"""Figures of losses against steps, for light and dark pages."""

import re
from pathlib import Path
from statistics import fmean
from typing import Any

# matplotlib's colours, and what replaces them on a dark page
_DARK = {"#ffffff": "#0d1117", "#000000": "#e6edf3", "#b0b0b0": "#484f58", "#cccccc": "#484f58"}


def draw_symptoms(results: dict[str, Any], every: int, target: Path) -> None:
    """Draw the correct program and one program for each symptom."""
    chosen = {
        "correct program": results["curves"]["none"],
        "empty-loop: stays at ln V": results["curves"]["empty-loop"],
        "positions: stays at character frequencies": results["curves"]["positions"],
        "swapped-state": results["curves"]["swapped-state"],
        "sigmoid-twice": results["curves"]["sigmoid-twice"],
        "ascent: rises": results["curves"]["ascent"],
        "targets-not-shifted: falls to 0": results["curves"]["targets-not-shifted"],
    }
    figure, axes = _axes()
    for k, (name, runs) in enumerate(chosen.items()):
        for n, run in enumerate(runs):
            points = [(max(1, step * every), loss) for step, loss in enumerate(run) if loss is not None]
            axes.plot(*zip(*points, strict=True), color=f"C{k}", alpha=0.85, label=None if n else name)
    _baselines(axes, results)
    axes.set(xlim=(0, None), ylim=(0, 8), xlabel="steps of 50 characters", ylabel="training loss, nats per character")
    axes.legend(loc="upper right", fontsize="small")
    _save(figure, target)


def draw_classic(results: dict[str, Any], target: Path) -> None:
    """Draw the training and validation loss of `-c classic`."""
    runs = list(results["classic"].values())
    figure, axes = _axes()
    means = [fmean(losses) for losses in zip(*(run["training"] for run in runs), strict=True)]
    axes.plot([100 * (k + 1) for k in range(len(means))], means, color="C0", label="training loss, mean of three seeds")
    steps = [step for step, _ in runs[0]["validation"]]
    validation = [
        fmean(loss for _, loss in points) for points in zip(*(run["validation"] for run in runs), strict=True)
    ]
    axes.plot(steps, validation, ".-", color="C1", label="validation loss")
    _baselines(axes, results)
    axes.set(xlim=(0, None), ylim=(1.5, 5.2), xlabel="steps of 100 characters", ylabel="nats per character")
    axes.legend(loc="upper right", fontsize="small")
    _save(figure, target)


def _axes() -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "charlstm", "svg.fonttype": "none", "font.family": "sans-serif"})
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.grid(alpha=0.3)
    return figure, axes


def _baselines(axes: Any, results: dict[str, Any]) -> None:
    for label, loss in (("ln V", results["guessing"]), ("letter\nfrequencies", results["frequencies"])):
        axes.axhline(loss, color="#808080", linestyle="--", linewidth=1)
        place = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": "small"}
        axes.annotate(f"{label}\n{loss:.2f}", (1.01, loss), **place)


def _save(figure: Any, target: Path) -> None:
    """Write an SVG that follows the reader's colour scheme."""
    figure.savefig(target, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = re.sub(r'style="([^"]*)"', _to_classes, target.read_text(encoding="utf-8"))
    colors = [(kind, *pair) for pair in _DARK.items() for kind in ("fill", "stroke")]
    light = "".join(f".{kind}-{color[1:]}{{{kind}:{color}}}" for kind, color, _ in colors)
    dark = "".join(f".{kind}-{color[1:]}{{{kind}:{other}}}" for kind, color, other in colors)
    style = f"<style>{light}@media (prefers-color-scheme:dark){{text{{fill:{_DARK['#000000']}}}{dark}}}</style>"
    opening = svg.index(">", svg.index("<svg ")) + 1
    target.write_text(f"{svg[:opening]}\n {style}{svg[opening:]}", encoding="utf-8")


def _to_classes(style: re.Match[str]) -> str:
    """Return the attributes of an element, with classes in place of the colours that depend on the scheme."""
    rules = style[1].split("; ")
    classes = {rule: rule.replace(": #", "-") for rule in rules if rule.split(": ")[-1] in _DARK}
    rest = "; ".join(rule for rule in rules if rule not in classes)
    return f'style="{rest}" class="{" ".join(classes.values())}"' if classes else style[0]
