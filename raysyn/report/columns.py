"""Columns of a table over runs: the flags in which they differ, how real their images look, any figure by its name."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from raysyn.runs.refusals import leaves

Reports = Sequence[Mapping[str, Any]]
NOT_COMPARED = ("budget.epsilon", "budget.delta", "data.name", "tuned_on", "chosen_among")
"""Settings that have a column of their own, or only say of a run what it was chosen by."""
JUDGING = "eval."
"""What settings begin with that say how the images were judged, not how they were made."""
FIGURES = ("metrics", "privacy", "attacks", "timings")
"""Parts of a report whose numbers can be asked for."""
FID, STAND_IN = "fid", "frechet_distance_cnn_features"


def differences(
    reports: Reports, commands: Sequence[str], but: Collection[str] = (), *, judging: bool = False
) -> list[str]:
    """Of each run the flags in which it differs from the others of its command and preset, each with its value as in
    `central.count 0`; empty where there are none. Of other commands and presets the flags are others anyway. `but`
    are not compared, nor unless `judging` is how they were judged.
    """
    settings = [dict(leaves(report.get("config", {}))) for report in reports]
    groups: dict[tuple[str, str], list[int]] = {}
    for at, (command, report) in enumerate(zip(commands, reports, strict=True)):
        groups.setdefault((command, report["preset"]), []).append(at)
    told = [""] * len(reports)
    for group in groups.values():
        fields = dict.fromkeys(field for at in group for field in settings[at])
        # A setting that is unknown to some of them came with a later raysyn.
        differ = [
            field for field in fields
            if field not in (*NOT_COMPARED, *but) and (judging or not field.startswith(JUDGING))
            and any(settings[at].get(field) != settings[group[0]].get(field) for at in group)
        ]  # fmt: skip
        for at in group:
            # What is not set nobody typed.
            typed = [field for field in differ if settings[at].get(field) is not None]
            told[at] = ", ".join(as_flag(field, settings[at][field]) for field in typed)
    return told


def as_flag(field: str, value: Any) -> str:
    """A setting as it would be typed, without the hyphens before it."""
    name = field.replace("_", "-")
    if isinstance(value, bool):
        group, _, last = name.rpartition(".")
        return name if value else ".".join([*filter(None, [group]), f"no-{last}"])
    words = value if isinstance(value, list | tuple) else [value]
    told = " ".join(f"{word:g}" if isinstance(word, float) else str(word) for word in words)
    return f"{name} {told or 'none'}"


def distances(report: Mapping[str, Any]) -> dict[str, float | None]:
    """{FID, STAND_IN}: how far the images are from real ones by Inception's features, and by those of a CNN trained
    here, which compare runs on one data set alone."""
    faithful = report["metrics"].get("fidelity") or {}
    fid = faithful.get(FID)
    return {FID: fid.get("value") if isinstance(fid, Mapping) else fid, STAND_IN: faithful.get(STAND_IN)}


def figures(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Every number of a report by its name, such as `utility.cnn.accuracy`; None for what could not be measured."""
    return dict(_figures(report))


def _figures(report: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for part in FIGURES:
        for name, value in leaves(report.get(part) or {}, "" if part == "metrics" else f"{part}."):
            # A whole part that there is not is none of its figures.
            unmeasured = value is None and "." in name
            if unmeasured or (isinstance(value, int | float) and not isinstance(value, bool)):
                yield name.removesuffix(".value"), value


class NoFigure(ValueError):
    """Of a name that no run has; `short` says so without the names that there are."""

    def __init__(self, asked: str, wanted: str, known: Sequence[str]) -> None:
        candidates = list(dict.fromkeys([*known, *(name.rpartition(".")[2] for name in known)]))
        close = get_close_matches(wanted, candidates, n=3)
        guess = f" (did you mean {' or '.join(close)}?)" if close else ""
        self.short = f"columns has {asked}, a figure that no run has{guess}"
        super().__init__(f"{self.short}: there are {', '.join(known)}" if known else f"{self.short}: they have none")


def named(reports: Reports, names: Sequence[str]) -> dict[str, list[float | None]]:
    """{name in full: the figure of each run, None where it has none} of names, or of endings that are only one's.

    Raises ValueError, in one sentence, for a name that no run has (`NoFigure`, with those that there are) or that ends
    several.
    """
    found = [figures(report) for report in reports]
    known = list(dict.fromkeys(name for some in found for name in some))
    columns = {}
    for asked in names:
        wanted = asked.removeprefix("metrics.").removesuffix(".value")
        full = [wanted] if wanted in known else [name for name in known if name.endswith(f".{wanted}")]
        if not full:
            raise NoFigure(asked, wanted, known)
        if len(full) > 1:
            raise ValueError(f"columns has {asked}, which ends several names: give one of {', '.join(full)}")
        columns[full[0]] = [some.get(full[0]) for some in found]
    return columns
