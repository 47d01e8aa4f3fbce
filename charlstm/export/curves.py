"""Learning curves as SVG."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence

from charlstm.errors import printable, shorten
from charlstm.storage.run import Evaluation

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 400, 48, 590, 20, 356  # figure size and plot edges
_COLOURS = ("#0a5dc2", "#c2410a", "#2f8f3a", "#8a3fc2", "#a06a00", "#00808a")
_LEAST, _MOST = 1e-6, 1e6  # numbers beyond are those of a run that diverged, or of no run at all
STYLE = """text{font:12px system-ui,sans-serif}path{fill:none;stroke-width:2}
.grid{stroke-width:1;stroke-opacity:.2}.baseline{stroke-dasharray:1 4}.training{stroke-dasharray:5 4}"""
_ROLES = {"val_loss": "validation", "train_loss": "training"}
AXES = {"chars": "characters read in training", "epoch": "epochs", "step": "steps", "elapsed_s": "seconds of training"}


def draw_curves(
    runs: Mapping[str, Sequence[Evaluation]], axis: str = "chars", baselines: Mapping[str, float] | None = None
) -> str:
    """Return the losses of runs as SVG: validation solid, training dashed, baselines dotted.

    Args:
        runs: their evaluations, by name.
        axis: one of `AXES`, a field of the evaluations.
        baselines: by name, in nats per character.
    """
    curves = [(name, kind, _points(runs[name], axis, kind)) for name in runs for kind in _ROLES]
    levels = {name: loss / math.log(2) for name, loss in (baselines or {}).items()}
    end = max((x for *_, points in curves for x, _ in points), default=1.0)
    losses = [*levels.values(), *(y for *_, points in curves for _, y in points)] or [1.0]
    low, high = min(losses), min(max(losses), 2.5 * min(losses) or 1)  # the first losses would flatten the rest
    margin = max(0.05 * (high - low), 0.01)
    low, high = low - margin, high + margin

    def place(x: float, y: float) -> str:
        return f"{_LEFT + x / end * (_RIGHT - _LEFT):.1f} {_y(min(y, high), low, high):.1f}"

    parts, labels = [], [(_y(y, low, high), name, "currentColor") for name, y in levels.items() if low <= y <= high]
    for x in _ticks(0, end):
        at = place(x, low).split()[0]
        parts.append(f'<text x="{at}" y="{_BOTTOM + 18}" text-anchor="middle">{_short(x)}</text>')
    for y in _ticks(low, high):
        parts.append(f'<path class="grid" stroke="currentColor" d="M{place(0, y)}L{place(end, y)}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{_y(y, low, high) + 4:.1f}" text-anchor="end">{y:g}</text>')
    parts += [
        f'<path class="baseline" stroke="currentColor" d="M{place(0, y)}L{place(end, y)}"/>'
        for y in levels.values()
        if y <= high
    ]
    for name, kind, points in filter(lambda curve: curve[2], curves):
        colour = _COLOURS[list(runs).index(name) % len(_COLOURS)]
        way, role = "L".join(place(x, y) for x, y in points), _ROLES[kind]
        parts.append(f'<path class="{role}" stroke="{colour}" d="M{way}"/>')
        if len(runs) == 1 or kind == "val_loss" or not _points(runs[name], axis, "val_loss"):
            labels.append((_y(min(points[-1][1], high), low, high), role if len(runs) == 1 else name, colour))
    heights = [0.0]
    for height, *_ in sorted(labels):
        heights.append(max(height, heights[-1] + 14))  # below the previous label
    for height, (_, name, colour) in zip(heights[1:], sorted(labels), strict=True):
        y = height - max(heights[-1] - _HEIGHT + 8, 0)
        parts.append(f'<path stroke="{colour}" d="M{_RIGHT + 4} {y:.1f}h10"/>')
        parts.append(f'<text x="{_RIGHT + 18}" y="{y + 4:.1f}">{html.escape(printable(shorten(name, 16)))}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) // 2}" y="{_HEIGHT - 6}" text-anchor="middle">{AXES[axis]}</text>')
    parts.append(f'<text x="0" y="{_TOP - 8}">bits per character</text>')
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" fill="currentColor" role="img"'
    return f'{start} aria-label="Learning curves"><style>{STYLE}</style>{"".join(parts)}</svg>\n'


def _points(history: Sequence[Evaluation], axis: str, kind: str) -> list[tuple[float, float]]:
    found = [(getattr(entry, axis), getattr(entry, kind)) for entry in history]
    return [(max(x, _LEAST), loss / math.log(2)) for x, loss in found if loss is not None and loss < _MOST]


def _y(loss: float, low: float, high: float) -> float:
    return _TOP + (high - loss) / (high - low) * (_BOTTOM - _TOP)


def _ticks(low: float, high: float) -> Iterator[float]:
    """Yield five or so round numbers in a range."""
    power = 10 ** math.floor(math.log10((high - low) / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= (high - low) / 5)
    return (k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1))


def _short(x: float) -> str:
    return f"{x / 1e6:g} M" if x >= 1e6 else f"{x / 1e3:g} k" if x >= 1e3 else f"{x:g}"
