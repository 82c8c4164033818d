"""What `raysyn draw` draws from: a finished run without its private images, or a release that holds the network."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.methods import catalogue, network
from raysyn.methods.class_shares import known
from raysyn.methods.method import Method
from raysyn.methods.synthesis import Drawing
from raysyn.report.card import IMAGES
from raysyn.report.verify import DAMAGE, verify
from raysyn.report.verify_contents import parsed
from raysyn.runs.folder import REPORT_JSON
from raysyn.runs.may_leave import FILES
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import local_folder, read_bytes
from raysyn.runs.versions import version
from raysyn.screen.flags import restored
from raysyn.verify import check_network

CERTIFICATE = "release/certificate.json"
DRAWN = "draw of "
"""Before the method's name, in what is drawn from a run of it."""
NOT_ENDED = "name a folder that was an --out, and whose run has ended"
"""What to do where there is no finished run."""
WHY_NOT = {
    "dp_imgsyn": "turns public images into its own: more would need the public images, as many more of them",
    "dp_prototypes": "chooses among public images: more would need these, and their labels, which stay inside",
}
"""Why there is no drawing, by method."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A finished run, without its private images."""

    run: str
    method: str
    config: Any
    signed: dict[str, Any]
    """Its certificate."""
    drawing: Callable[[Any, Images, int, Callable[[str], Any]], Drawing]
    """How its method draws."""
    fault: str
    """What is wrong with it, where its files do not fit one another."""
    made: tuple[str, ...] = ()
    """Stages that cost nothing; see `Network.made`."""
    private: str | None = None
    """Where its private images lay, as it was told; None of a set by name, and where it does not say."""
    network: Callable[[str], Any] | None = None
    """answer(stage), where all there is of the run is a release that holds what it drew from."""

    @property
    def like(self) -> Images:
        """No image, of the shape and classes that the run's have."""
        facts = self.signed["public_facts"]
        return Images(np.zeros((0, *facts["shape"]), np.uint8), np.zeros(0, np.int64), tuple(facts["classes"]))

    @cached_property
    def released(self) -> int:
        """How many images it has released; read once, for it is the whole file."""
        import pyarrow.parquet as pq

        place = IMAGES if self.network is not None else f"release/{IMAGES}"
        found: int = pq.read_metadata(io.BytesIO(read_bytes(self.run, place))).num_rows
        return found

    def shares(self) -> tuple[float, ...] | None:
        """How often it has drawn each class, None for equally often; ValueError where its files do not fit."""
        with _whole(self.run, self.fault):
            return known(self.config, tuple(self.signed["public_facts"]["classes"]), self.answer)

    def answer(self, stage: str) -> Any:
        """What was paid for, or in a run without a promise learned, in `stage`. ValueError for what nobody paid for,
        and for a file that cannot be read."""
        paid = {row["stage"] for row in self.signed.get("ledger", [])} | set(self.made)
        if self.signed["guarantee"] != "none" and stage not in paid:
            raise ValueError(f"run is {self.run}, whose ledger has no {stage}: nothing may be drawn from it")
        if self.network is not None:
            try:
                return self.network(stage)
            except KeyError as error:
                raise ValueError(f"run is {self.run}, whose {network.WEIGHTS} has no {stage}") from error
        place = f"internal/stages/{stage}.pt"
        try:
            return torch.load(io.BytesIO(read_bytes(self.run, place)), map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            # What was paid for is not to be paid for once more.
            again = "" if self.signed["guarantee"] != "none" else ", or make the run again with another --out"
            raise ValueError(
                f"run is {self.run}, which has no {place} to draw from: raysyn did not keep it yet when the run was "
                f"made, or it was taken away; put it back{again}"
            ) from error
        except Exception as error:  # unpickling raises anything
            raise ValueError(f"run is {self.run}, whose {place} cannot be read ({error})") from error


def source(run: str) -> Source:
    """The finished run in a folder or at a URI, or a release that holds the network; ValueError, in one sentence, where
    nothing can be drawn from it."""
    if (here := local_folder(run)) is not None and (here / "certificate.json").is_file():
        return _of_release(run, here)
    try:
        written, certified = read_bytes(run, RUN_JSON), read_bytes(run, CERTIFICATE)
    except FileNotFoundError as error:
        raise ValueError(f"run is {run}, which holds no finished run: {NOT_ENDED}") from error
    with _whole(run, f"whose {RUN_JSON} or {CERTIFICATE} is damaged"):
        about, signed = json.loads(written), parsed(certified.decode())
        if about["method"].startswith(DRAWN):
            raise ValueError(f"run is {run}, which was itself drawn from another run: name that one")
        _refuse_refuted(run, run)
        method, preset = _made_by(run, about)
        if about["config"].get("method_source") != method.source().get("method_source"):
            raise ValueError(
                f"run is {run}, made by other code of {about['method']}, whose package has changed: draw with that"
            )
        _refuse_another_certificate(run, about, signed)
        # Where the private images lie says nothing about what is drawn.
        config = restored(preset, about["config"], but="data.")
        told = about["config"].get("data", {}).get("path")
        private = told if isinstance(told, str) else None
    fault = f"whose internal/stages do not fit its {RUN_JSON}"
    return Source(
        run=run, method=about["method"], config=config, signed=signed, fault=fault,
        made=method.network.made if method.network else (), private=private,
        drawing=partial(_drawn_by, run, fault, method),
    )  # fmt: skip


def _refuse_refuted(run: str, folder: str) -> None:
    """ValueError where the run in a folder has not ended, or its canaries have shown more than its certificate says."""
    try:
        report = read_bytes(folder, REPORT_JSON)
    except FileNotFoundError as error:
        raise ValueError(f"run is {run}, which holds no finished run: {NOT_ENDED}") from error
    with _whole(run, f"whose {REPORT_JSON} is damaged"):
        audit = json.loads(report)["attacks"].get("audit")
        if audit is not None and audit["refuted"]:
            raise ValueError(f"run is {run}, whose canaries refute its certificate: nothing may be drawn from it")


@contextmanager
def _whole(run: str, fault: str) -> Iterator[None]:
    """ValueError that names the run and its `fault` for what damaged files raise, but for sentences that do so by
    themselves."""
    try:
        yield
    except (*DAMAGE, RuntimeError) as error:
        if str(error).startswith("run is "):
            raise
        why = " ".join(str(error).split())
        raise ValueError(f"run is {run}, {fault} ({type(error).__name__}: {why})") from error


def _of_release(run: str, release: Path) -> Source:
    """The same of a release that holds what it was drawn from; of one that lies in its run's folder, if that ended
    well."""
    if ((around := release.resolve().parent) / REPORT_JSON).is_file():
        _refuse_refuted(run, str(around))
    files = [release / name for name in (network.WEIGHTS, network.ABOUT)]
    if not all(file.is_file() for file in files):
        raise ValueError(
            f"run is {run}, a release without {network.WEIGHTS}, from which nothing can be drawn: name the folder of "
            "the run, or have it released with --release.network"
        )
    # Before anything of the configuration is built.
    failed = [f"{check.name}: {check.found}" for check in verify(release, fits=check_network) if not check.holds]
    if failed:
        raise ValueError(f"run is {run}, whose certificate does not hold ({'; '.join(failed)}): nothing is drawn by it")
    signed = parsed((release / "certificate.json").read_text(encoding="utf-8"))
    with _whole(run, "of which nothing can be drawn"):
        about, answer = network.read(*(file.read_bytes() for file in files))
        method, preset = _made_by(run, about)
        config = restored(preset, about["settings"])
    fault = f"whose {network.WEIGHTS} does not fit its {network.ABOUT}"
    return Source(
        run=run, method=about["method"], config=config, signed=signed, fault=fault,
        made=method.network.made if method.network else (),
        drawing=partial(_drawn_by, run, fault, method, held=tuple(about["settings"])), network=answer,
    )  # fmt: skip


def _drawn_by(
    run: str, fault: str, method: Method, config: Any, like: Images, n: int, answer: Callable[[str], Any],
    held: Sequence[str] | None = None,
) -> Drawing:  # fmt: skip
    """Its drawing from files that may hold anything, with the settings that are `held`, by default all; ValueError
    where it cannot be from these."""
    assert method.drawing is not None
    config = config if held is None else network.held_to(config, held)
    with _whole(run, fault):
        own_network = getattr(getattr(config, "network", None), "factory", None) is not None
        if own_network or method.source():  # what else code of a user's own builds is its own matter
            return method.drawing(config, like, n, answer)
        with network.built_for(answer) as counted:
            return method.drawing(config, like, n, counted)


def _made_by(run: str, about: Mapping[str, Any]) -> tuple[Method, Any]:
    """The method, and its preset; ValueError for those that cannot draw here."""
    entry, made_by = catalogue.find(about["method"]), about["raysyn"]
    method = entry.method()
    if method.drawing is None:
        why = WHY_NOT.get(about["method"], "does not say how further images are drawn")
        raise ValueError(f"run is {run}, made by {about['method']}, which {why}: its release is all there is")
    if made_by != version():
        raise ValueError(f"run is {run}, made by raysyn {made_by}, and this is {version()}: draw with that one")
    preset = entry.presets().get(about["preset"])
    if preset is None:
        raise ValueError(f"run is {run}, of the preset {about['preset']}, which {about['method']} does not have here")
    return method, preset


def _refuse_another_certificate(run: str, about: Mapping[str, Any], signed: Mapping[str, Any]) -> None:
    """ValueError where the certificate is not of this run, or does not hold as it stands: it would be signed anew."""
    asked = ("noise_multiplier", "sampling_rate", "steps")
    paid = {row["stage"]: [row[name] for name in asked] for row in signed.get("ledger", [])}
    planned = {stage: [cost[name] for name in asked] for stage, cost in about["config"].get("plan", {}).items()}
    if paid != planned or (signed["guarantee"] == "none") == bool(planned):
        raise ValueError(
            f"run is {run}, whose {CERTIFICATE} is of another run: its ledger is not what this one planned"
        )
    with TemporaryDirectory() as place:
        release = Path(place)
        for name in ("certificate.json", *signed["files"]):
            if name not in FILES:
                raise ValueError(f"run is {run}, whose {CERTIFICATE} names {name}, which no release has")
            # What is missing is told by the check of the release.
            with suppress(FileNotFoundError):
                (release / name).write_bytes(read_bytes(run, f"release/{name}"))
        failed = [f"{check.name}: {check.found}" for check in verify(release, False, check_network) if not check.holds]
    if failed:
        raise ValueError(f"run is {run}, whose certificate does not hold ({'; '.join(failed)}): nothing is drawn by it")
