"""Draw docs/lstm-cell.svg and docs/lstm-window.svg, which follow the reader's colour scheme."""

from pathlib import Path

DOCS = Path(__file__).parent
_STYLE = """\
  <style>
    text { font: 15px sans-serif; fill: #1f2328; text-anchor: middle; dominant-baseline: central }
    .small { font-size: 13px }
    .page { fill: #ffffff }
    .box { fill: #ddf4ff; stroke: #0969da }
    .op { fill: #fff8c5; stroke: #9a6700 }
    .line { fill: none; stroke: #1f2328; stroke-width: 1.5 }
    .back { fill: none; stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 5 3 }
    .head { fill: #1f2328 }
    .backhead { fill: #cf222e }
    .error { fill: #cf222e }
    .edge { stroke: #8c959f; stroke-width: 1.5; stroke-dasharray: 2 4 }
    @media (prefers-color-scheme: dark) {
      text, .head { fill: #e6edf3 }
      .page { fill: #0d1117 }
      .box { fill: #12263f; stroke: #4493f8 }
      .op { fill: #3a2d0a; stroke: #d29922 }
      .line { stroke: #e6edf3 }
      .back { stroke: #ff7b72 }
      .backhead, .error { fill: #ff7b72 }
    }
  </style>
  <defs>
    <marker id="head" class="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
      <path d="M0 0 8 4 0 8z"/>
    </marker>
    <marker id="backhead" class="backhead" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
      orient="auto"><path d="M0 0 8 4 0 8z"/></marker>
  </defs>
"""


def figure(width: int, height: int, title: str, *parts: str) -> str:
    """Return an SVG of a size, with its title for those who cannot see it."""
    body = "".join(f"  {part}\n" for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f'  <title>{title}</title>\n{_STYLE}  <rect class="page" width="{width}" height="{height}"/>\n{body}</svg>\n'
    )


def text(x: float, y: float, words: str, kind: str = "") -> str:
    """Return text around a point."""
    return f'<text x="{x:g}" y="{y:g}"{f" class={kind!r}" if kind else ""}>{words}</text>'


def arrow(path: str, back: bool = False, ends: bool = True) -> str:
    """Return a line along the points "x,y x,y ...", with an arrowhead; dashed and red for what flows back."""
    kind = "back" if back else "line"
    head = f' marker-end="url(#{"back" if back else ""}head)"' if ends else ""
    return f'<polyline class="{kind}" points="{path}"{head}/>'


def box(x: float, y: float, words: str, width: float = 76, height: float = 36, kind: str = "box") -> str:
    """Return a box around a point."""
    corner = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{kind}" {corner} rx="6"/>{text(x, y, words)}'


def operator(x: float, y: float, sign: str) -> str:
    """Return an operator in a circle around a point."""
    return f'<circle class="op" cx="{x:g}" cy="{y:g}" r="14"/>{text(x, y, sign)}'


def cell() -> str:
    """Return the figure of one step."""
    gates = {"f = σ(z_f)": 190, "i = σ(z_i)": 320, "g = tanh(z_g)": 480, "o = σ(z_o)": 620}
    parts = [
        arrow("75,60 176,60"),
        arrow("204,60 386,60"),
        arrow("414,60 752,60"),
        text(45, 60, "c_prev"),
        text(775, 60, "c"),
        arrow("190,232 190,74"),
        arrow("320,232 320,150 386,150"),
        arrow("480,232 480,150 414,150"),
        arrow("400,136 400,74"),
        operator(190, 60, "×"),
        operator(400, 60, "+"),
        operator(400, 150, "×"),
        arrow("690,60 690,92"),
        box(690, 110, "tanh", width=60),
        arrow("690,128 690,166"),
        arrow("620,232 620,180 676,180"),
        operator(690, 180, "×"),
        arrow("704,180 752,180"),
        text(775, 180, "h"),
        arrow("75,320 620,320 620,268"),
        *(arrow(f"{x},320 {x},268") for x in list(gates.values())[:-1]),
        text(45, 320, "h_prev"),
        arrow("110,358 110,320", ends=False),
        text(110, 372, "x"),
        text(400, 345, "z = w_x one_hot(x) + w_h h_prev + b, in four parts: z_g, z_i, z_f, z_o", "small"),
        *(box(x, 250, words, width=116) for words, x in gates.items()),
    ]
    return figure(800, 395, "One step of an LSTM cell: c = f c_prev + i g, and h = o tanh(c)", *parts)


def window() -> str:
    """Return the figure of a window of three steps between two others."""
    parts = [f'<path class="edge" d="M{x} 20V330"/>' for x in (130, 670)]
    parts += [text(65, 30, "window before", "small"), text(735, 30, "window after", "small")]
    for k, x in enumerate((220, 400, 580)):
        parts += [
            text(x, 345, f"x[{k}]"),
            arrow(f"{x},330 {x},262"),
            box(x, 235, "cell", width=84, height=54),
            arrow(f"{x - 12},208 {x - 12},142"),
            text(x - 30, 175, "h", "small"),
            arrow(f"{x + 12},142 {x + 12},208", back=True),
            text(x + 30, 175, "dh", "small error"),
            box(x, 123, "softmax", width=84),
            arrow(f"{x - 12},105 {x - 12},72"),
            text(x - 30, 88, "p", "small"),
            arrow(f"{x + 12},72 {x + 12},105", back=True),
            text(x, 56, f"loss of y[{k}]", "small"),
        ]
    for left, right, label in ((40, 178, 85), (262, 358, 310), (442, 538, 490), (622, 760, 715)):
        parts += [arrow(f"{left},224 {right},224"), text(label, 210, "h, c", "small")]
    for left, right in ((262, 358), (442, 538)):
        parts.append(arrow(f"{right},248 {left},248", back=True))
        parts.append(text((left + right) / 2, 278, "dh_next, dc_next", "small error"))
    parts += [
        arrow("662,248 622,248", back=True),
        text(646, 278, "zero", "small error"),
        arrow("178,248 138,248", back=True),
        text(155, 278, "cut", "small error"),
        text(400, 372, "Solid: the forward pass. h and c are carried into the next window.", "small"),
        text(400, 390, "Dashed: the backward pass. No gradient crosses the edge of a window.", "small"),
    ]
    return figure(800, 410, "A window of three steps: h and c are carried, the gradient is cut", *parts)


FIGURES = {"lstm-cell.svg": cell, "lstm-window.svg": window}

if __name__ == "__main__":
    for name, draw in FIGURES.items():
        (DOCS / name).write_text(draw(), encoding="utf-8")
