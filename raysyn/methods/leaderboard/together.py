"""What the runs of a leaderboard come to: how many there are to choose among, and what all their releases cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from raysyn.privacy.cost import Cost, priced, unit_of
from raysyn.runs.folder import REPORT_JSON
from raysyn.runs.storage import Store, read_bytes, under
from raysyn.screen.words import rounded_up


def beside(storage: str, asked: Sequence[str]) -> list[str]:
    """Names of all runs that this leaderboard is asked for or has ever begun: whoever chooses has them to look at."""
    return sorted({*Store(storage).folders("runs"), *asked})


def finished(storage: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """report.json of each of these runs that has ended, by its name."""
    reports = {}
    for name in names:
        with suppress(FileNotFoundError):
            reports[name] = json.loads(read_bytes(under(storage, "runs", name), REPORT_JSON))
    return reports


@dataclass(frozen=True)
class Total:
    """What all private releases of one data set cost, should they all leave."""

    data: str
    unit: str
    releases: int
    epsilon: float
    priced_by: str
    delta: float
    beside: tuple[tuple[str, int], ...] = ()
    """Units that other releases of the data set are promised to, with the number of these."""

    def told(self) -> str:
        """The sentence that page and console say."""
        several = self.releases > 1
        whom = "" if self.unit == "image" and not self.beside else f" promised to {self.unit}s"
        others = "".join(f"; {n:,} promised to {unit}s {'are' if n > 1 else 'is'} not in it" for unit, n in self.beside)
        return (
            f"{f'All {self.releases} private releases' if several else 'The one private release'} of {self.data}{whom}"
            f"{' together' if several else ''}: epsilon {rounded_up(self.epsilon)} at delta {rounded_up(self.delta)}, "
            f"by {self.priced_by.upper()}{others}."
            + (" One alone costs its own epsilon, unless it was chosen by looking at the others." if several else "")
        )


def together(reports: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Total]:
    """By data set and unit, the ledgers of all its private runs composed, at the smallest of their deltas: promises to
    persons and to images do not add up."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for report in reports:
        if report["privacy"]["guarantee"] == "dp":
            # By name: the same images in another size, or fewer of them, are the same persons'.
            paid = report["privacy"]
            groups.setdefault((report["dataset"]["name"], unit_of(paid["adjacency"])), []).append(paid)
    totals = {}
    for (data, unit), all_paid in groups.items():
        fields = Cost.__dataclass_fields__
        costs = [Cost(**{key: row[key] for key in fields}) for one in all_paid for row in one["ledger"]]
        delta = min(one["delta"] for one in all_paid)
        beside = tuple((other, len(paid)) for (name, other), paid in groups.items() if name == data and other != unit)
        totals[data, unit] = Total(data, unit, len(all_paid), *priced(costs, delta, "prv"), delta, beside)
    return totals


def in_row(total: Total | None) -> dict[str, Any]:
    """Columns about all private releases of a row's data set."""
    told = (None, None, None) if total is None else (total.releases, total.epsilon, total.delta)
    return dict(zip(("releases_together", "epsilon_together", "delta_together"), told, strict=True))
