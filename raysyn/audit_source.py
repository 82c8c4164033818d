"""What `raysyn audit run` plays: what a finished run asked of its private images, read from its folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from raysyn.audits.own_run import Run
from raysyn.data.images import Images
from raysyn.methods import catalogue
from raysyn.methods.method import Method
from raysyn.methods.own_network import refuse_unnamed
from raysyn.privacy.cost import Cost, epsilon
from raysyn.privacy.ledger import cost_of
from raysyn.report.verify import DAMAGE
from raysyn.report.verify_contents import parsed
from raysyn.runs.folder import REPORT_JSON
from raysyn.runs.may_leave import units_of
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import read_bytes
from raysyn.runs.versions import version
from raysyn.screen.flags import restored

CERTIFICATE, LEDGER = "release/certificate.json", "internal/ledger.jsonl"


def read(run: str, trust: str | None = None) -> Run:
    """The finished run in a folder or at a URI; `trust` is a network of the user's own that it may build. ValueError,
    in one sentence, where it has not what is needed."""
    try:
        written, certified = read_bytes(run, RUN_JSON), read_bytes(run, CERTIFICATE)
    except FileNotFoundError as error:
        raise ValueError(f"run is {run}, {_why_no_release(run)}") from error
    try:
        return _read(run, json.loads(written), parsed(certified.decode()), trust)
    except (*DAMAGE, RuntimeError) as error:
        if str(error).startswith("run is "):
            raise
        why = " ".join(str(error).split())
        raise ValueError(f"run is {run}, whose files do not fit one another ({type(error).__name__}: {why})") from error


def _why_no_release(run: str) -> str:
    """Of a folder without a certificate, in words."""
    with suppress(OSError, *DAMAGE):
        name = str(json.loads(read_bytes(run, RUN_JSON))["method"])
        entry = catalogue.find(name)
        if entry.starts_others:
            return f"made by {name}, which starts others: name one of the runs in its internal/runs"
        if not any(hasattr(preset, "release") for preset in entry.presets().values()):
            return f"made by {name}, which promises and releases nothing that could be audited"
    return "which holds no finished run: name a folder that was an --out"


def _read(run: str, about: Mapping[str, Any], signed: Mapping[str, Any], trust: str | None) -> Run:
    if signed["guarantee"] == "none":
        raise ValueError(f"run is {run}, which promises nothing, so that nothing can be held against an attack")
    if "plan" not in about["config"]:
        raise ValueError(f"run is {run}, whose {RUN_JSON} has no plan, as of images that were drawn anew: name the run")
    plan = {stage: Cost(**told) for stage, told in about["config"]["plan"].items()}
    _check_paid(run, plan, signed)
    method, preset = _made_by(run, about)
    config, facts = restored(preset, about["config"], but="data."), signed["public_facts"]
    refuse_unnamed(run, config, trust)
    like = Images(np.zeros((0, *facts["shape"]), np.uint8), np.zeros(0, np.int64), tuple(facts["classes"]))
    assert method.mechanisms is not None
    asked = method.mechanisms(config, like, _answers(run, plan))
    found = Run(plan=plan, asked=asked, like=like, units=units_of(facts), ranks=_workers(run))
    _check_networks(run, about["config"], found)
    return found


def _check_paid(run: str, plan: Mapping[str, Cost], signed: Mapping[str, Any]) -> None:
    """What was paid must be what is played, each stage once, and what is promised no less."""
    try:
        entries = [parsed(line) for line in read_bytes(run, LEDGER).decode().splitlines()]
    except FileNotFoundError as error:
        raise ValueError(f"run is {run}, which has no {LEDGER}: what it paid is not known") from error
    for name, rows in {LEDGER: entries, CERTIFICATE: signed["ledger"]}.items():
        if len(rows) != len(plan) or {row["stage"]: cost_of(row) for row in rows} != dict(plan):
            raise ValueError(
                f"run is {run}, whose {name} says other prices than the plan in {RUN_JSON}: one was changed"
            )
    spent, claimed = epsilon(list(plan.values()), signed["delta"], signed["accountant"]), signed["epsilon"]
    # The last bits are another machine's.
    if not claimed >= spent * (1 - 1e-6):
        raise ValueError(
            f"run is {run}, whose {CERTIFICATE} promises ε {claimed:.6g}, but its ledger comes to {spent:.6g} at the "
            "same δ: it was changed, so promise nothing by it"
        )


def _made_by(run: str, about: Mapping[str, Any]) -> tuple[Method, Any]:
    entry, made_by = catalogue.find(about["method"]), about["raysyn"]
    method: Method = entry.method()
    if method.mechanisms is None:
        raise ValueError(f"run is {run}, made by {about['method']}, which does not say how its mechanisms are played")
    if made_by != version() or about["config"].get("method_source") != method.source().get("method_source"):
        raise ValueError(
            f"run is {run}, made by raysyn {made_by} or another version of {about['method']}, and this is {version()}: "
            "audit it with that one"
        )
    preset = entry.presets().get(about["preset"])
    if preset is None:
        raise ValueError(f"run is {run}, of the preset {about['preset']}, which {about['method']} does not have here")
    return method, preset


def _answers(run: str, plan: Mapping[str, Cost]) -> Callable[[str], Any]:
    """answer(stage): what was paid for, and nothing else."""

    def answer(stage: str) -> Any:
        assert stage in plan, stage
        place = f"internal/stages/{stage}.pt"
        try:
            return torch.load(io.BytesIO(read_bytes(run, place)), map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise ValueError(f"run is {run}, which has no {place}, the network to audit: put it back") from error
        except Exception as error:  # unpickling raises anything
            raise ValueError(f"run is {run}, whose {place} cannot be read ({error})") from error

    return answer


def _workers(run: str) -> int:
    """That trained; one where the report does not say."""
    try:
        found = json.loads(read_bytes(run, REPORT_JSON))["environment"].get("workers")
    except (FileNotFoundError, *DAMAGE):
        return 1
    return found if isinstance(found, int) and found > 0 else 1


def _check_networks(run: str, known: Mapping[str, Any], found: Run) -> None:
    """ValueError where a network of the user's own has changed since."""
    for learned in found.learned().values():
        source = getattr(learned.model, "source", None)
        if callable(source) and "network_source" in known and source() != known["network_source"]:
            raise ValueError(f"run is {run}, whose network.factory has changed since: audit it with the one it had")
