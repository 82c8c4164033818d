"""What `raysyn attack` attacks: a finished run, with the private images that it learned from."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.data.images import Dataset, Images
from raysyn.draw_source import DRAWN, NOT_ENDED
from raysyn.methods import canaries, catalogue
from raysyn.methods.method import Method
from raysyn.methods.own_network import refuse_unnamed
from raysyn.report import shadowed
from raysyn.report.across_runs import ATTACKED
from raysyn.report.release import read_images
from raysyn.report.run_page import with_found
from raysyn.runs.folder import REPORT_HTML, REPORT_JSON
from raysyn.runs.ownership import lock
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import local_folder, read_bytes, write_atomically, write_bytes
from raysyn.runs.versions import version
from raysyn.screen.flags import restored

RELEASED = "release/synthetic.parquet"


@dataclass(frozen=True)
class Attacked:
    """A finished run."""

    run: str
    about: Mapping[str, Any]
    report: Mapping[str, Any]
    method: Method
    config: Any
    dataset: Dataset
    """With those training images alone that it learned from; what it set apart is what it chooses by (`val`)."""
    places_N: NDArray[np.int64]
    """Where these stand among all training images."""
    persons_N: NDArray[np.int64] | None
    """Whose they are, as numbered among all."""
    left_out_U: NDArray[np.bool_] | None = None
    """Of the training units, whom it did not learn from as they are: canaries, by their coins or their kind."""

    @property
    def delta(self) -> float | None:
        """At which it makes its promise; None where it makes none."""
        delta: float | None = self.report["privacy"]["delta"]
        return delta

    def released(self) -> Images:
        return read_images(read_bytes(self.run, RELEASED))

    def answer(self, stage: str) -> Any:
        """What it learned in a stage; FileNotFoundError where that was not kept."""
        content = io.BytesIO(read_bytes(self.run, f"internal/stages/{stage}.pt"))
        return torch.load(content, map_location="cpu", weights_only=True)


def attacked(run: str, data: str | None, trust: str | None = None) -> Attacked:
    """The run in a folder or at a URI, and its private images, at the path `data` where they are no longer where they
    were; `trust` is a network of the user's own that it may build. ValueError, in one sentence, where it cannot be
    attacked."""
    try:
        about, report = (json.loads(read_bytes(run, name)) for name in (RUN_JSON, REPORT_JSON))
    except FileNotFoundError as error:
        raise ValueError(f"run is {run}, which holds no finished run: {NOT_ENDED}") from error
    name, preset = about["method"], about["preset"]
    if name.startswith(DRAWN) or name in {one.name for one in catalogue.TOOLS} or name.startswith(ATTACKED):
        raise ValueError(
            f"run is {run}, made by {name}, which learns from no private images to release others: name one that does"
        )
    entry = catalogue.find(name)
    method: Method = entry.method()
    if about["raysyn"] != version():
        raise ValueError(
            f"run is {run}, made by raysyn {about['raysyn']}, and this is {version()}: attack with that one"
        )
    if about["config"].get("method_source") != method.source().get("method_source"):
        raise ValueError(f"run is {run}, made by other code of {name}, whose package has changed: attack with that")
    if preset not in entry.presets():
        raise ValueError(f"run is {run}, of the preset {preset}, which {name} does not have here")
    config = restored(entry.presets()[preset], report["config"])
    refuse_unnamed(run, config, trust)
    if data is not None:
        config = replace(config, data=replace(config.data, path=data))
    _check_place(run, config.data.path)
    dataset = method.prepare(config).dataset
    if dataset.fingerprint() != about["data_fingerprint"]:
        place = config.data.path or config.data.name
        raise ValueError(
            f"data is {place}, whose images are not those that {run} learned from: say where these are with --data.path"
        )
    learned_N = np.ones(len(dataset.train), bool)
    if method.held_out is not None and dataset.val is None:
        learned_N = ~method.held_out(config, dataset)
    whose_N, places_N = dataset.train.persons_N, np.flatnonzero(learned_N)
    left_out_U = _left_out(run, about, config, dataset)
    if not learned_N.all():
        assert left_out_U is None, "canaries are of all training images"
        apart = dataset.train.select(np.flatnonzero(~learned_N))
        dataset = replace(dataset, train=dataset.train.select(places_N), val=apart)
    persons_N = None if whose_N is None else whose_N[places_N]
    return Attacked(run, about, report, method, config, dataset, places_N, persons_N, left_out_U)


def _check_place(run: str, path: str | None) -> None:
    """ValueError where the images are gone from where they were."""
    here = None if path is None else local_folder(path)
    if here is not None and not here.exists():
        raise ValueError(
            f"data.path is {path}, which does not exist: say with --data.path where the images are now that {run} "
            "learned from"
        )


def _left_out(run: str, about: Mapping[str, Any], config: Any, dataset: Dataset) -> NDArray[np.bool_] | None:
    if (tried := about["config"].get("audit")) is None:
        return None
    try:
        secret = read_bytes(run, "internal/secret")
    except FileNotFoundError as error:
        raise ValueError(
            f"run is {run}, sealed: who of its canaries took part is erased with its secret, so attack a run before it "
            "is sealed, or one with --audit.canaries 0"
        ) from error
    own = canaries.drawn(tried["canaries"], config, dataset, secret)
    assert own is not None
    if tried["kind"] == "natural":
        return own.canaries.absent(dataset.train.units)
    out_U = np.zeros(dataset.train.units, bool)
    out_U[own.canaries.units_M] = True
    return out_U


def add_found(run: str, records: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Put these records into the report of a run, in place of those of earlier shadow runs: its report.json, and
    whether its page could be drawn anew. They are figures of private images, and stay inside."""
    with _alone(run):
        report: dict[str, Any] = json.loads(read_bytes(run, REPORT_JSON))
        network = shadowed.holds_network(report["config"])
        report["attacks"] = shadowed.added(report["attacks"], records, read_bytes(run, RELEASED), network)
        _write(run, REPORT_JSON, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False))
        try:
            page = with_found(read_bytes(run, REPORT_HTML).decode(), report)
        except FileNotFoundError:
            page = None
        if page is not None:
            _write(run, REPORT_HTML, page)
    return report, page is not None


def _write(run: str, name: str, content: str) -> None:
    if (here := local_folder(run)) is None:
        write_bytes(run, name, content.encode())
    else:
        write_atomically(here / name, content)


@contextmanager
def _alone(run: str) -> Iterator[None]:
    """While no other command works on the run, if it is a folder of this machine."""
    if (here := local_folder(run)) is None:
        yield
        return
    held = lock(here)
    try:
        yield
    finally:
        os.close(held)
