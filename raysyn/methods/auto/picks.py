"""What auto picks on the measured cases, beside the best of all measured there: the second table of docs/choose.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from raysyn.methods.auto.choice import Case, choose
from raysyn.methods.auto.config import Config
from raysyn.methods.auto.settings import LEAST, WITH_PUBLIC, Facts
from raysyn.methods.auto.table import FLOOR, Cell, cells, same_case, table_of
from raysyn.privacy.cost import Budget

TUNED_ON = ("pneumoniamnist",)
"""Sets that noisy_means was tuned on."""


@dataclass(frozen=True)
class Pick:
    """Of one case."""

    floor: Cell
    public: bool
    picked: Cell
    unseen: Cell | None
    """What would be picked if nothing were known of this set; None where nothing is then known of such images."""
    best: Cell


def picks() -> Iterator[Pick]:
    """Of each case, with the public images of the table and, where a method without any was measured too, without."""
    for floor in sorted((cell for cell in cells() if cell.method == FLOOR), key=_order):
        here = {cell.method: cell for cell in cells() if same_case(cell, floor)}
        if floor.data in TUNED_ON or len(here) == 1:
            continue
        for public in (False, True):
            fair = {method: cell for method, cell in here.items() if public or method not in WITH_PUBLIC}
            if public and not set(fair) & set(WITH_PUBLIC):
                continue
            facts = Facts(n=floor.n, shape=(floor.size, floor.size, floor.channels), classes=floor.classes)
            budget = Budget(epsilon=floor.epsilon)
            case = Case(facts=facts, budget=budget, minutes=Config.minutes, public=public, synthetic=LEAST)
            others = tuple(cell for cell in cells() if cell.data != floor.data)
            known = any(cell.channels == floor.channels for cell in others)
            yield Pick(
                floor=floor, public=public, picked=fair[choose(case).picked.method],
                unseen=fair.get(choose(case, others).picked.method) if known else None,
                best=max(fair.values(), key=lambda cell: cell.accuracy),
            )  # fmt: skip


def markdown() -> str:
    """The table: accuracies in percent."""
    heading = ("images", "n", "ε", "public images", "`auto` picks", "accuracy", "floor", "best measured",
               "its accuracy", "real")  # fmt: skip
    shown: list[tuple[str, ...]] = []
    for pick in picks():
        shown.append((
            pick.floor.title, f"{pick.floor.n:,}", f"{pick.floor.epsilon:g}", "yes" if pick.public else "no",
            f"`{pick.picked.method}`", _percent(pick.picked), _percent(pick.floor), f"`{pick.best.method}`",
            _percent(pick.best), f"{100 * pick.floor.real:.1f}",
        ))  # fmt: skip
    return table_of(heading, "lrrllrrlrr", shown)


def _percent(cell: Cell) -> str:
    return f"{100 * cell.accuracy:.1f}"


def _order(cell: Cell) -> tuple[str, int, int, float]:
    return (cell.data, cell.size, cell.n, cell.epsilon)
