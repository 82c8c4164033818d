"""Charts for the report, as data URIs of SVG pictures."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    labels: Sequence[str] = ()
    """What is written beside each point; nothing by default."""
    spread: Sequence[tuple[float, float]] = ()
    """Least and most y that each point may have, drawn as a bar; nothing by default."""

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
class Panel:
    """One chart among several."""

    lines: Mapping[str, Line]
    x: str
    y: str
    title: str = ""
    log_x: bool = False
    """A logarithmic x axis, with a mark at each x that a line has."""


@dataclass(frozen=True)
class Gallery:
    """Images, and curves below them."""

    sheet_HWC: np.ndarray
    """uint8, RGB or RGBA."""
    lines: Mapping[str, Line]


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
    with _drawing(7.2, 4.0, layout="none") as figure:
        # Of one plot the margins are known: a layout that fits them draws everything twice.
        axes = figure.add_axes((0.12, 0.13, 0.84, 0.84))
        _plot(axes, lines, list(lines), lowest)
        for name, mark in (marks or {}).items():
            axes.plot([mark.x], [mark.y], "*", color=mark.colour, markersize=14, label=name, linestyle="none")
        if log:
            _logarithmic(axes, lowest)
        axes.set(xlabel=x, ylabel=y)
        axes.legend(frameon=False)
        return uri(figure)


def charts(panels: Sequence[Panel]) -> str:
    """Charts beside each other, two in a row; curves of one name look alike, and are named once, below."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    rows, columns = math.ceil(len(panels) / 2), min(2, len(panels))
    with _drawing(9.2, 3.3 * rows + 0.4, layout="none") as figure:
        for index, panel in enumerate(panels):
            axes = _place(figure, index % 2, columns, top=3.3 * (index // 2) + 0.3, height=2.4)
            _plot(axes, panel.lines, names)
            axes.set(xlabel=panel.x, ylabel=panel.y)
            axes.set_title(panel.title, fontsize=10)
            if panel.log_x:
                marks = legible(sorted({x for line in panel.lines.values() for x in line.x}))
                axes.set_xscale("log")
                axes.set_xticks(marks, [f"{x:g}" for x in marks])
                axes.minorticks_off()
        _name_once(figure)
        return uri(figure)


def legible(marks: Sequence[float]) -> list[float]:
    """Of the marks of a logarithmic axis, smallest first, those whose numbers do not lie on each other's: both ends,
    and between them each that is a tenth of the axis away from the one before and from the end."""
    if len(marks) < 3:
        return list(marks)
    least, kept = math.log(marks[-1] / marks[0]) / 10, [marks[0]]
    for mark in marks[1:-1]:
        if min(math.log(mark / kept[-1]), math.log(marks[-1] / mark)) >= least:
            kept.append(mark)
    return [*kept, marks[-1]]


def galleries(columns: Mapping[str, Gallery], *, x: str = "", y: str = "", across: int = 2) -> str:
    """Images by name, `across` beside each other, their curves below them on one scale."""
    names = list(dict.fromkeys(name for gallery in columns.values() for name in gallery.lines))
    rows, across = math.ceil(len(columns) / across), min(across, len(columns))
    sheet = next(iter(columns.values())).sheet_HWC
    tall = 0.94 * 9.2 / across * sheet.shape[0] / sheet.shape[1]
    block = 0.25 + tall + (1.9 if names else 0.1)
    with _drawing(9.2, rows * block + 0.4, layout="none") as figure:
        first = None
        for index, (name, gallery) in enumerate(columns.items()):
            column, top = index % across, index // across * block + 0.25
            axes = _place(figure, column, across, top=top, height=tall, left=0.1)
            axes.imshow(gallery.sheet_HWC, interpolation="none", aspect="equal")
            axes.set_title(name, fontsize=10)
            axes.set_axis_off()
            if names:
                below = _place(figure, column, across, top=top + tall + 0.15, height=1.2, beside=first)
                first = first or below
                _plot(below, gallery.lines, names)
                below.set(xlabel=x, ylabel=y if column == 0 else "")
        if names:
            _name_once(figure)
        return uri(figure)


def clouds(panels: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[int]]], class_names: Sequence[str]) -> str:
    """Points of a plane beside each other, a panel per name: (points (N, 2), class of each), coloured by class."""
    from matplotlib import colormaps

    with _drawing(9.2, 4.4) as figure:
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
        return uri(figure)


def maps(panels: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], edge: float) -> str:
    """Shares over the unit square and `edge` around it beside each other, a panel per name: ((side, side), y first,
    {colour: points (N, 2) drawn over it})."""
    with _drawing(9.2, 9.2 / len(panels) + 0.6, {"axes.grid": False}) as figure:
        plots = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, (shares, points)) in zip(plots, panels.items(), strict=True):
            axes.imshow(shares, origin="lower", extent=(-edge, 1 + edge) * 2, cmap="cividis_r", vmin=0, vmax=1)
            for colour, some in points.items():
                axes.plot(some[:, 0], some[:, 1], ".", color=colour, markersize=3)
            axes.plot([0, 1, 1, 0, 0], [0, 0, 1, 1, 0], "--", color="white", linewidth=1)
            axes.set(xlim=(-edge, 1 + edge), ylim=(-edge, 1 + edge), xticks=(0, 1), yticks=(0, 1))
            axes.set_title(name, fontsize=9)
        return uri(figure)


def _logarithmic(axes: Any, lowest: float) -> None:
    """Both axes from `lowest` to 1, with a mark at each power of ten."""
    # In words of their own: those that a logarithmic axis has by itself are mathematics, which takes longer to set than
    # all else to draw.
    powers = 10.0 ** np.arange(math.ceil(math.log10(lowest) - 1e-9), 1)
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1), ylim=(lowest, 1))
    axes.set_xticks(powers, [f"{100 * power:g} %" for power in powers])
    axes.set_yticks(powers, [f"{100 * power:g} %" for power in powers])
    axes.minorticks_off()


@contextmanager
def _drawing(
    width: float, height: float, style: Mapping[str, Any] | None = None, layout: Any = "constrained"
) -> Iterator[Any]:
    """A figure of so many inches to draw in, by STYLE."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE | dict(style or {})):
        yield Figure(figsize=(width, height), layout=layout)


def _plot(axes: Any, lines: Mapping[str, Line], names: Sequence[str], lowest: float = 0.0) -> None:
    """Curves; the colour of one that has none of its own follows from its place among `names`. Stairs begin at
    `lowest`."""
    if any(line.labels for line in lines.values()):
        axes.margins(x=0.08, y=0.14)  # room for what is written
    for name, line in lines.items():
        place = names.index(name)
        colour = line.colour or COLOURS[place % len(COLOURS)]
        if line.resolution is not None:
            measured, below_it = line.stair(lowest)
            axes.plot(*measured, line.style, color=colour, label=name, drawstyle="steps-post")
            axes.plot(*below_it, ":", color=colour)
            continue
        axes.plot(line.x, line.y, line.style, color=colour, label=name)
        if line.spread:
            axes.vlines(line.x, *zip(*line.spread, strict=True), color=colour, alpha=0.5, linewidth=3)
        for label, x, y in zip(line.labels, line.x if line.labels else (), line.y if line.labels else (), strict=True):
            # Every other curve's labels lie below its points, so that those of neighbours seldom meet.
            below = place % 2
            axes.annotate(
                label, (x, y), (0, -6 if below else 6), textcoords="offset points", fontsize=8, color=colour,
                ha="center", va="top" if below else "bottom",
            )  # fmt: skip


def _place(
    figure: Any, column: int, columns: int, *, top: float, height: float, left: float = 0.85, beside: Any = None
) -> Any:
    """A plot in one of equal columns, so many inches below the upper edge, with room for what is written `left` of it;
    on the scale of another one."""
    # Where margins are known no layout need fit them, which draws everything three times.
    width, tall = figure.get_size_inches()
    own = width / columns
    corner = (column * own + left) / width, 1 - (top + height) / tall
    return figure.add_axes((*corner, (own - left - 0.15) / width, height / tall), sharex=beside, sharey=beside)


def _name_once(figure: Any) -> None:
    """One legend for all plots, below them."""
    plots = figure.axes
    found = {name: handle for axes in plots for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="lower center", ncols=min(6, len(found)), frameon=False)


def uri(figure: Any) -> str:
    """A matplotlib figure inside a page: a data URI."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue().encode()).decode()
