"""Charts for the report, as data URIs of SVG pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e8ee",
    "axes.axisbelow": True,
    # Text as text: smaller, and legible to machines; ids that do not change from run to run.
    "svg.fonttype": "none",
    "svg.hashsalt": "raysyn",
}
COLOURS = ("#1f6feb", "#c2410c", "#2f855a", "#7c3aed", "#8a97a6")


@dataclass(frozen=True)
class Line:
    """One curve of a chart; a level has the same y everywhere."""

    x: Sequence[float]
    y: Sequence[float]
    style: str = "-"
    colour: str | None = None
    resolution: float | None = None
    """For a ROC curve of N non-members 1 / N: a stair, since nothing lies between two of its points, and dotted below
    this x, where it is only known to be no lower than what is caught without a false alarm."""

    def stair(self, lowest: float) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]]]:
        """Corners (x, y) of the part that was measured, and of the dotted one from `lowest` up to it."""
        assert self.resolution is not None
        x, y = np.asarray(self.x), np.asarray(self.y)
        # Of several points of one x the last is the highest.
        start = int(np.searchsorted(x, self.resolution * (1 + 1e-9), "right")) - 1
        measured = [self.resolution, *x[start + 1 :]], [float(y[start]), *y[start + 1 :]]
        if self.resolution <= lowest:
            return measured, ([], [])
        silent = float(y[np.searchsorted(x, 0.0, "right") - 1])
        return measured, ([lowest, self.resolution], [silent, silent])


@dataclass(frozen=True)
class Mark:
    """One point that matters, drawn as a star."""

    x: float
    y: float
    colour: str


def chart(
    lines: Mapping[str, Line], *, x: str, y: str, marks: Mapping[str, Mark] | None = None, log: bool = False,
    lowest: float = 1e-3,
) -> str:  # fmt: skip
    """Curves by name, with stars; `log`: both axes logarithmic from `lowest` to 1, as ROC curves are judged."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.0), layout="constrained")
        axes = figure.add_subplot()
        for index, (name, line) in enumerate(lines.items()):
            colour = line.colour or COLOURS[index % len(COLOURS)]
            if line.resolution is None:
                axes.plot(line.x, line.y, line.style, color=colour, label=name)
                continue
            measured, below = line.stair(lowest)
            axes.plot(*measured, line.style, color=colour, label=name, drawstyle="steps-post")
            axes.plot(*below, ":", color=colour)
        for name, mark in (marks or {}).items():
            axes.plot([mark.x], [mark.y], "*", color=mark.colour, markersize=14, label=name, linestyle="none")
        if log:
            axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest, 1))
        axes.set(xlabel=x, ylabel=y)
        axes.legend(frameon=False)
        return _uri(figure)


def clouds(panels: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[int]]], class_names: Sequence[str]) -> str:
    """Points of a plane beside each other, a panel per name: (points (N, 2), class of each), coloured by class."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.4), layout="constrained")
        plots = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        colours = colormaps["tab10" if len(class_names) <= 10 else "hsv"]
        shades = [colours(index / max(10, len(class_names))) for index in range(len(class_names))]
        for axes, (name, (points, labels)) in zip(plots, panels.items(), strict=True):
            for label, (shade, title) in enumerate(zip(shades, class_names, strict=True)):
                own = [point for point, other in zip(points, labels, strict=True) if other == label]
                axes.plot(*zip(*own, strict=True) if own else ([], []), ".", color=shade, markersize=4, label=title)
            axes.set(title=name, xticks=[], yticks=[])
        if len(class_names) <= 20:
            figure.legend(*plots[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
        return _uri(figure)


def maps(panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], edge: float) -> str:
    """Shares over the unit square and `edge` around it beside each other, a panel per name: ((side, side), y first,
    {colour: points (N, 2) drawn over it})."""
    with rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9.2, 9.2 / len(panels) + 0.6), layout="constrained")
        plots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, (shares, points)) in zip(plots, panels.items(), strict=True):
            axes.imshow(shares, origin="lower", extent=(-edge, 1 + edge) * 2, cmap="cividis_r", vmin=0, vmax=1)
            for colour, some in points.items():
                axes.plot(some[:, 0], some[:, 1], ".", color=colour, markersize=3)
            axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], "--", color="white", linewidth=1)
            axes.set(xlim=(-edge, 1 + edge), ylim=(-edge, 1 + edge), xticks=(0, 1), yticks=(0, 1))
            axes.set_title(name, fontsize=9)
        return _uri(figure)


def _uri(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue().encode()).decode()
