"""report.json and report.html, which stay inside, and the table over several runs."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.images import Images
from raysyn.privacy.ledger import Ledger, Plan
from raysyn.report import across_runs, shadowed, trade_off
from raysyn.report.choices import added_up
from raysyn.report.meaning import attack_limits, meaning
from raysyn.report.release import ALONE, certificate, write_release
from raysyn.report.run_page import render
from raysyn.report.section import Section
from raysyn.report.tables import WORDS, markdown, table, table_rows
from raysyn.report.verdict import verdict
from raysyn.runs.folder import REPORT_JSON, RunFolder
from raysyn.runs.storage import under, write_atomically
from raysyn.runs.versions import version

__all__ = ["Report", "Section", "certificate", "dp_section", "environment", "no_dp_section", "table", "write_release"]
__all__ += ["write_report"]

LEDGER_COLUMNS = (
    "stage",
    "mechanism",
    "noise_multiplier",
    "sampling_rate",
    "steps",
    "epsilon_alone",
    "adjacency",
    "note",
)


BESIDE = ("mean", "best", "images", "guessing", "interval", "above_floor", "below_real", "classes")
"""Of `metrics.utility`, what is no classifier; null in report.json where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run in figures: the fields are the keys of report.json."""

    method: str
    preset: str
    config: Mapping[str, Any]
    dataset: Mapping[str, Any]
    """name, n_train, n_test, shape, classes."""
    privacy: Mapping[str, Any]
    """From `dp_section` or `no_dp_section`."""
    metrics: Mapping[str, Any]
    """utility {classifier: {accuracy, accuracy_real_data}} and fidelity {name: value or None, name_reason}.
    What stands beside the classifiers (BESIDE) goes into report.json as utility_mean and so on."""
    attacks: Mapping[str, Any]
    timings: Mapping[str, Mapping[str, float]]
    """{stage: {wall_s, cpu_s, and memory_bytes and gpu_memory_bytes of its largest process, where they are known}}."""
    environment: Mapping[str, Any]

    def __post_init__(self) -> None:
        assert self.privacy["guarantee"] in ("dp", "none"), self.privacy
        assert {"name", "n_train", "n_test", "shape", "classes"} <= set(self.dataset), self.dataset

    def as_dict(self) -> dict[str, Any]:
        """report.json: plain values; a figure that is not finite becomes null with its reason beside it."""
        content = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        utility = dict(content["metrics"].get("utility") or {})
        for key in BESIDE:
            content["metrics"][f"utility_{key}"] = utility.pop(key, None)
        content["metrics"]["utility"] = utility
        return content


def dp_section(
    plan: Plan, ledger: Ledger, uncharged: Sequence[str] = (), account: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The `privacy` section of a run with a guarantee: what was paid, composed by both accountants; in words, what
    was chosen by looking at private data for nothing (`uncharged`), and what all runs on these images cost (`account`).
    ValueError where a stage of the plan was not paid."""
    ledger.check_complete()
    (adjacency,) = {cost.adjacency for cost in plan.stages.values()}
    spent = ledger.priced()
    return {
        "guarantee": "dp",
        "epsilon": spent.epsilon,
        "delta": plan.delta,
        "adjacency": adjacency,
        "accountant": plan.accountant,
        "priced_by": spent.by,
        "epsilon_prv": ledger.epsilon("prv"),
        "epsilon_rdp": ledger.epsilon("rdp"),
        "epsilon_budget": plan.epsilon_budget,
        "what_an_attacker_can_do": attack_limits(ledger.costs()),
        "meaning": meaning(ledger.costs(), spent.epsilon, plan.delta),
        "ledger": [{key: entry[key] for key in LEDGER_COLUMNS} for entry in ledger.entries()],
        "account": dict(account or {"sentence": ALONE}),
        "uncharged_choices": list(uncharged),
    }


def no_dp_section(uncharged: Sequence[str] = ()) -> dict[str, Any]:
    """The `privacy` section of a method that promises nothing."""
    nothing = dict.fromkeys(("epsilon", "delta", "adjacency", "accountant", "epsilon_rdp"))
    return {"guarantee": "none", **nothing, "ledger": [], "uncharged_choices": list(uncharged)}


def environment(**more: Any) -> dict[str, Any]:
    """Versions and machine; the caller adds what it knows (devices, workers, engine)."""
    packages = {package: version(package) for package in ("raysyn", "torch", "torchvision", "ray", "numpy")}
    return {
        "python": platform.python_version(),
        **packages,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        **more,
    }


def write_report(
    folder: RunFolder,
    report: Report,
    *,
    synthetic: Images | None,
    central: Images | None = None,
    done: Sequence[str] = (),
    sections: Sequence[Section] = (),
    headline: str | None = None,
    generated: Images | None = None,
) -> str:
    """Write internal/report.html and, last, internal/report.json, which marks the run as finished; the sentence that
    the report begins with.

    `done` has a sentence per stage. Pictures in it show released images only, `synthetic`, the noisy `central` ones and
    those `generated` from a noisy answer: what holds private images lies beside it. A run without images has None, and
    a `headline` instead.
    """
    content = report.as_dict()
    if folder.certificate.exists():
        # What an earlier report of this run looked at stays looked at: it has been added up there.
        signed = json.loads(folder.certificate.read_text())["uncharged_choices"]
        own = content["privacy"]["uncharged_choices"]
        content["privacy"]["uncharged_choices"] = added_up(signed, own)
    if synthetic is not None and folder.report_json.exists():
        before = json.loads(folder.report_json.read_text())["attacks"]
        network = shadowed.holds_network(content["config"])
        content["attacks"] = shadowed.kept(before, content["attacks"], folder.synthetic.read_bytes(), network)
    write_atomically(folder.report_html, render(content, synthetic, central, done, sections, headline, generated))
    write_atomically(folder.report_json, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    folder.push()
    return headline or verdict(content, 0 if synthetic is None else len(synthetic))


def _plain(value: Any) -> Any:
    """JSON's own types; None for figures that are not finite, with the reason beside them in a mapping."""
    if isinstance(value, Mapping):
        content = {str(key): _plain(inner) for key, inner in value.items()}
        lost = [key for key, inner in value.items() if content[str(key)] is None and inner is not None]
        return {**content, **{f"{key}_reason": "it is not a finite number" for key in lost}}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


MEND = "name the folders (--out) of finished runs"


def main(arguments: Sequence[str]) -> int:
    """`raysyn report RUN_FOLDER ...` prints the table over several runs, and those of the papers that they
    belong to; returns the exit status."""
    parser = argparse.ArgumentParser(prog="raysyn report", description="Tables over finished runs.")
    parser.add_argument("runs", nargs="*", metavar="FOLDER", help="a run's folder (--out), or one that holds runs")
    parser.add_argument("--html", metavar="FILE", help="write the tables as a page, too, and draw accuracy by epsilon")
    parser.add_argument(
        "--columns", metavar="NAME", nargs="+", default=[], action="extend", help="further figures of report.json"
    )
    asked = parser.parse_args(arguments)
    found = across_runs.find(asked.runs)
    left_out = found.left_out()
    for why, places in left_out.items():
        print(f"{why}, and left out: {', '.join(places)}", file=sys.stderr)
    if found.strange or not found.finished:
        print(f"error: {_without(found, asked)}", file=sys.stderr)
        return 2
    reports, papers = [report for _, report in found.finished], across_runs.paper_tables(found.finished)
    try:
        rows = table_rows(reports, found.commands, asked.columns)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(rows, WORDS), end="")
    for one in papers:
        print(f"\n{one.title}\n\n{markdown(one.rows)}\n{one.text}")
    if asked.html is not None:
        tables, picture = [across_runs.Table("Runs", "", rows), *papers], trade_off.picture(reports, found.commands)
        write_atomically(Path(asked.html), across_runs.page(tables, left_out, picture))
        if picture is None:
            print(trade_off.why_none(reports), file=sys.stderr)
    return 0


def _without(found: across_runs.Runs, asked: argparse.Namespace) -> str:
    """Why there is no table, in a sentence."""
    mend = "name the runs before --columns" if asked.columns and not asked.runs else MEND
    if found.damaged and not found.strange:
        verb = "is" if len(found.damaged) == 1 else "are"
        places = ", ".join(under(folder, REPORT_JSON) for folder in found.damaged)
        return f"{places} {verb} damaged, or of another version of raysyn: {mend}"
    without = found.strange or found.unfinished or found.drawn
    missing = ", ".join(f"{under(folder, REPORT_JSON)} is missing" for folder in without)
    return f"{missing or 'no run folder given'}: {mend}"
