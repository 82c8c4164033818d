"""The table that auto picks by: runs on sets that nobody protects, as benchmarks/choose.py measured and wrote them."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from raysyn.methods.auto.settings import LEAST, Facts

FLOOR = "noisy_means"
TITLES = {"fashion_mnist": "Fashion-MNIST", "medical_mnist": "Medical-MNIST", "cifar10": "CIFAR-10",
          "pneumoniamnist": "PneumoniaMNIST"}  # fmt: skip
CLASSIFIERS_OF_A_RUN = {FLOOR: 3}
"""Trainings of the judging classifiers that a whole run has: on synthetic and on real images, and about as long again
for fidelity; of others one more, on the floor's images."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method on one subset at one epsilon: the mean over seeds and judging classifiers."""

    data: str
    n: int
    size: int
    channels: int
    classes: int
    epsilon: float
    method: str
    preset: str
    public: str | None
    seeds: int
    making_s: float
    """CPU seconds of all but the judging, with one thread."""
    judging_s: float
    """The same of training and asking the judging classifiers once."""
    accuracy: float
    """On real test images, as are"""
    real: float
    """that of the same classifiers trained on the subset itself, and"""
    largest_class: float
    """what always answering with the largest class reaches."""
    deviation: float | None = None
    """Standard deviation of `accuracy` over seeds; None of one."""

    @property
    def title(self) -> str:
        return TITLES[self.data]

    @property
    def told(self) -> str:
        """The case in words."""
        return f"{self.title}, {self.n:,} images, ε {self.epsilon:g}"

    def minutes(self, facts: Facts, synthetic: int) -> float:
        """Of a whole run with judging on one core, on images of such a size: time grows with pixels and images."""
        pixels = max(1.0, facts.shape[0] * facts.shape[1] * facts.shape[2] / (self.size**2 * self.channels))
        judged = CLASSIFIERS_OF_A_RUN.get(self.method, 4) * self.judging_s * synthetic / LEAST
        return pixels * (self.making_s + judged) / 60


def runs() -> list[dict[str, Any]]:
    """A row per run, as benchmarks/choose.py writes them."""
    found: list[dict[str, Any]] = json.loads((files("raysyn.methods.auto") / "measured.json").read_text())
    return found


@functools.cache
def cells() -> tuple[Cell, ...]:
    """All that was measured, seeds taken together."""
    rows = runs()
    return tuple(_cell([row for row in rows if _key(row) == key]) for key in dict.fromkeys(map(_key, rows)))


def floor_of(cell: Cell) -> Cell:
    """noisy_means on the same subset at the same epsilon."""
    (found,) = [one for one in cells() if one.method == FLOOR and same_case(one, cell)]
    return found


def same_case(one: Cell, other: Cell) -> bool:
    """Whether both are of the same images at the same epsilon."""
    return (one.data, one.size, one.n, one.epsilon) == (other.data, other.size, other.n, other.epsilon)


def markdown() -> str:
    """The table that docs/choose.md shows."""
    heading = ("images", "n", "pixels", "classes", "ε", "method", "minutes", "accuracy", "floor", "real", "largest",
               "seeds")  # fmt: skip
    shown: list[tuple[str, ...]] = []
    for cell in sorted(cells(), key=lambda cell: (cell.data, cell.size, cell.n, cell.epsilon, cell.method != FLOOR)):
        facts = Facts(n=cell.n, shape=(cell.size, cell.size, cell.channels), classes=cell.classes)
        figures = (floor_of(cell).accuracy, cell.real, cell.largest_class)
        spread = "" if cell.deviation is None else f" ± {100 * cell.deviation:.1f}"
        method = f"`{cell.method}`" + (f" with {cell.public}" if cell.public else "")
        shown.append((
            cell.title, f"{cell.n:,}", f"{cell.size}", f"{cell.classes}", f"{cell.epsilon:g}", method,
            f"{cell.minutes(facts, LEAST):.1f}", f"{100 * cell.accuracy:.1f}{spread}",
            *(f"{100 * one:.1f}" for one in figures), f"{cell.seeds}",
        ))  # fmt: skip
    return table_of(heading, "lrrrrlrrrrrr", shown)


def table_of(heading: Sequence[str], sides: str, rows: Sequence[Sequence[str]]) -> str:
    """Markdown; `sides` has an l or an r for each column."""
    lines = {"l": "---", "r": "---:"}
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, [lines[side] for side in sides], *rows))


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("data", "n", "size", "epsilon", "method"))


def _cell(rows: Sequence[dict[str, Any]]) -> Cell:
    """Of the rows of all seeds."""

    def mean(name: str) -> float:
        found = [sum(row[name].values()) / len(row[name]) if isinstance(row[name], dict) else row[name] for row in rows]
        return float(sum(found) / len(found))

    own = ("n", "size", "channels", "classes", "epsilon", "method", "preset", "public")
    averaged = ("making_s", "judging_s", "accuracy", "real", "largest_class")
    found: dict[str, Any] = {name: rows[0][name] for name in own} | {name: mean(name) for name in averaged}
    reached = [sum(row["accuracy"].values()) / len(row["accuracy"]) for row in rows]
    deviation = statistics.stdev(reached) if len(reached) > 1 else None
    # One set at two sizes.
    return Cell(data=rows[0]["data"].removesuffix("_64"), seeds=len(rows), deviation=deviation, **found)
