"""What `raysyn verify` reads in the files of a release that more of it is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from raysyn.report.verify_contents import Check, at_most, parsed
from raysyn.runs import may_leave
from raysyn.runs.may_leave import NETWORK_ABOUT, NETWORK_WEIGHTS

NetworkFits = Callable[[Mapping[str, Any], Mapping[str, Any], Collection[str]], tuple[str, ...]]
"""fits(what network.json says, the certificate, names of tensors): ValueError where no run of its method says so; else
the stages of tensors that no ledger has a row of, being made of paid answers."""


def network(release: Path, signed: Mapping[str, Any], fits: NetworkFits | None) -> Check:
    """What draws more of the release says the same, and holds nothing but what the ledger was paid for."""
    try:
        wrong = _network(release, signed, fits)
    except ValueError as error:
        wrong = str(error)
    told = f"holds answers of the ledger alone, by {signed['made_by']['method']}"
    return Check("network", not wrong, wrong or (told if signed["guarantee"] != "none" else "is of this release"))


def _network(release: Path, signed: Mapping[str, Any], fits: NetworkFits | None = None) -> str:
    """What is wrong with it; ValueError for more of that."""
    from safetensors import safe_open

    for name, other in ((NETWORK_ABOUT, NETWORK_WEIGHTS), (NETWORK_WEIGHTS, NETWORK_ABOUT)):
        if name not in signed["files"]:
            return f"{name} is missing beside {other}"
    try:
        about = parsed(text := (release / NETWORK_ABOUT).read_bytes().decode())
        with safe_open(release / NETWORK_WEIGHTS, framework="numpy") as file:
            tensors, metadata = list(file.keys()), file.metadata()
    except Exception as error:  # a damaged file raises anything
        raise ValueError(f"{NETWORK_ABOUT} or {NETWORK_WEIGHTS} is damaged ({error})") from error
    may_leave.check_network(about)
    if missing := sorted({*may_leave.NETWORK, "settings"} - set(about)):
        return f"{NETWORK_ABOUT} says nothing of {', '.join(missing)}"
    if about["form"] != may_leave.NETWORK_FORM:
        return f"{NETWORK_ABOUT} is not of the form {may_leave.NETWORK_FORM}"
    made = signed["made_by"]
    for name, said in (("statement", signed["statement"]), ("made_by", made["method"]), ("raysyn", made["raysyn"])):
        if about[name] != said:
            return f"{NETWORK_ABOUT} says another {name} than the certificate: {about[name]}"
    if text != may_leave.network_text(about):
        return f"{NETWORK_ABOUT} is not written as raysyn writes it"
    made_of_paid = () if fits is None else fits(about, signed, tensors)
    if metadata:
        return f"{NETWORK_WEIGHTS} says something beside its tensors: {', '.join(metadata)}"
    paid = {*made_of_paid, *(row["stage"] for row in signed.get("ledger", []))}
    more = [name for name in tensors if signed["guarantee"] != "none" and name.partition("/")[0] not in paid]
    return f"{NETWORK_WEIGHTS} holds {at_most(more)}, for which the ledger has no row" if more else ""
