"""Fidelity as the report shows it: each measure beside what it is between two halves of the real images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysyn.report.tables import MISSING, figure, in_words
from raysyn.runs.refusals import leaves

LOWER, HIGHER, NEAR, AS_HALVES = "lower", "higher", "near 1", "as of halves"
MEASURES = {
    "fid": (LOWER, "distance of means and spreads"),
    "fid_one_half": (LOWER, "the same, of as many images as half of the real ones"),
    "kid": (LOWER, "distance of distributions, about 0 where there is none"),
    "fld": (LOWER, "how much worse than real images these explain test images; 0: as well"),
    "fld_gap": (AS_HALVES, "whether they explain training images better than test images; far below: copies"),
    "inception_score": (HIGHER, "one object per image, many objects in all"),
    "inception_score_ten_splits": (HIGHER, "the same as papers print it"),
    "frechet_distance_cnn_features": (LOWER, "distance of means and spreads"),
    "frechet_distance_one_half": (LOWER, "the same, of as many images as half of the real ones"),
    "kernel_distance_cnn_features": (LOWER, "distance of distributions, about 0 where there is none"),
    "precision": (HIGHER, "share of synthetic images that lie among real ones"),
    "recall": (HIGHER, "share of real images that lie among synthetic ones"),
    "density": (NEAR, "how densely synthetic images lie where real ones do"),
    "coverage": (HIGHER, "share of real images with a synthetic one nearby"),
}
"""What is better, and what it says."""
HALVES = "_real_halves"
MISSED = "not available: "
LOOKED_AT_FOR = {"frechet_distance": "Fréchet distance"}
"""Measures, by what their numbers of images are told under."""


def rows(fidelity: Mapping[str, Any]) -> list[list[str]]:
    """The measures that are known, the heading first; empty where none is."""
    found = []
    for name, (better, says) in MEASURES.items():
        value, between = _value(fidelity, name), _value(fidelity, name + HALVES)
        if value is not None:
            found.append([in_words(name), figure(value), MISSING if between is None else figure(between), better, says])
    head = ["Measure", "Synthetic images", "Between halves of real ones", "Better is", "It says"]
    return [head, *found] if found else []


def others(fidelity: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of all that `rows` leaves out: a missing figure with its reason, and how many images there were."""
    left: dict[str, Any] = {}
    for name, value in fidelity.items():
        if name.removesuffix(HALVES) not in MEASURES or (name in MEASURES and _value(fidelity, name) is None):
            left[name] = value
        elif isinstance(value, Mapping) and "images" in value:
            left[name] = {"images": value["images"]}
    told = list[tuple[str, str]]()
    missing: dict[str, list[str]] = {}
    for name, text in _with_reasons(left):
        if not text.startswith(MISSED):
            told.append((name, text))
        elif text in missing:
            missing[text].append(name)
        else:
            missing[text] = [name]
            told.append((text, text))
    # What is missing for one reason is a row.
    return [(", ".join(missing[text]) if name == text else name, text) for name, text in told]


def _value(fidelity: Mapping[str, Any], name: str) -> float | None:
    value = fidelity.get(name)
    return value.get("value") if isinstance(value, Mapping) else value


def _with_reasons(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) per figure; a missing one shows its reason, found as `<key>_reason` or `reason`."""
    flat = dict(leaves(values))
    for key, value in flat.items():
        base, _, last = key.rpartition(".")
        if last == "reason" or last.endswith("_reason") or value == {}:
            continue
        reason = flat.get(f"{key}_reason") or flat.get(f"{base}.reason" if base else "reason")
        yield (
            _name(key.removesuffix(".value")),
            f"{MISSED}{reason or 'no reason given'}" if value is None else figure(value),
        )


def _name(key: str) -> str:
    """Of a row; a number of images says of which side, and for which measure."""
    *before, side = key.split(".")
    if "images" not in before:
        return in_words(key)
    measure = ".".join(part for part in before if part != "images")
    if measure == "halves":
        beside = ", and real ones of the other half" if side == "synthetic" else ""
        return f"{side.capitalize()} images beside halves{beside}"
    return f"{side.capitalize()} images for {LOOKED_AT_FOR.get(measure) or in_words(measure)}"


def known(content: Mapping[str, Any]) -> dict[str, Sequence[Any]] | None:
    """What the page shows; None where nothing was measured."""
    fidelity = content["metrics"].get("fidelity") or {}
    return {"rows": rows(fidelity), "others": others(fidelity)} if fidelity else None
