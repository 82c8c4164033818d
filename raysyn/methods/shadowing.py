"""A shadow run: a method, run again on a random half of its images, to attack the method from the inside.

It touches the private images once more, with its own secret and without a place in any budget. So nothing of it leaves:
all that is kept is how near its release and its weights come to each image, and its folder is taken away.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import Tensor

from raysyn.attacks import shadow_runs
from raysyn.attacks.released import Space, signals
from raysyn.compute.doorway import Compute, Show
from raysyn.compute.local import Local
from raysyn.data.by_person import side_by_side
from raysyn.data.images import DataConfig, Dataset, Images
from raysyn.data.mapped import concatenated
from raysyn.methods import catalogue
from raysyn.methods.account_place import NONE
from raysyn.methods.canaries import NO_AUDIT
from raysyn.methods.method import Method
from raysyn.report.release import read_images
from raysyn.report.release_config import ReleaseConfig
from raysyn.runs.ownership import make_private
from raysyn.runs.storage import load_saved, local_folder, write_atomically
from raysyn.screen.console import Console
from raysyn.screen.trackers import Kind


@dataclass(frozen=True)
class Shadows:
    """What all shadow runs of an attack share."""

    method: str
    preset: str
    config: Any
    """Of the attacked run, but for its images."""
    dataset: Dataset
    """Of the attacked run: half of its training images are learned from, all of it is asked about."""
    space: Space
    seed: int
    """Of who is in which run."""
    storage: str
    """Where a run that is stopped can be continued."""


@dataclass(frozen=True)
class _NoAccount:
    """Nothing of a shadow run is handed out: no account adds it up."""

    account: str | None = NONE
    total: float | None = None
    new_total: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Command:
    """What the command line would be."""

    preset: str
    config: Any
    machines: Any
    out: str
    dry_run: bool = False
    seal: bool = False
    account: _NoAccount = _NoAccount()
    track: Kind = "none"


def bare(method: Method, config: Any, data: str, delta: float | None) -> Any:
    """The configuration of a shadow run on the images in the file `data`: nothing is measured that changes nothing in
    the release, and a budget holds at the `delta` of the attacked run, whatever half of the images would have."""
    there: dict[str, Any] = {"data": DataConfig(name=None, path=data)}
    if (judged := getattr(config, "eval", None)) is not None:
        quiet = {
            "classifiers": (),
            "feature_epochs": 0,
            "floor": False,
            "nearest": 0,
            "inception_weights": None,
            "distances": 0,
        }
        there["eval"] = replace(judged, **{name: value for name, value in quiet.items() if hasattr(judged, name)})
    if (experiment := getattr(config, "experiment", None)) is not None:
        there["experiment"] = type(experiment)()
    if delta is not None:
        there["budget"] = replace(config.budget, delta=delta)
    usual = {"audit": NO_AUDIT, "release": ReleaseConfig(), "sampler_fid": None, "made_for": None, "chosen_among": None}
    usual["snapshots"] = 0
    there |= {name: value for name, value in usual.items() if hasattr(config, name)}
    return replace(config, **there, **method.unmeasured(config))


def everybody(dataset: Dataset) -> Images:
    """Training images, then test images: all that are asked about."""
    train, test = dataset.train, dataset.test
    return Images(
        concatenated([train.images_NHWC, test.images_NHWC]), np.concatenate((train.labels_N, test.labels_N)),
        train.class_names, side_by_side((train.persons_N, len(train)), (test.persons_N, len(test))),
    )  # fmt: skip


def half_of(shadows: Shadows, run: int) -> Dataset:
    """What the shadow run of this number has."""
    inside_MN = shadow_runs.design(run + 2, shadows.dataset.train, shadows.seed)
    return replace(shadows.dataset, train=shadows.dataset.train.select(inside_MN[run]))


def check(shadows: Shadows, delta: float | None) -> None:
    """ValueError, in one sentence, where the method does not run on half of the images."""
    method = catalogue.find(shadows.method).method()
    with TemporaryDirectory() as place:
        file = written(half_of(shadows, 0), Path(place))
        try:
            method.prepare(bare(method, shadows.config, str(file), delta))
        except ValueError as error:
            why = str(error).replace(str(file), "IMAGES")
            raise ValueError(f"a shadow run, which has half of the images, cannot be made: {why}") from error


def written(dataset: Dataset, place: Path) -> Path:
    """The file of a data set, as --data.path reads it; for its owner alone."""
    arrays: dict[str, Any] = {"class_names": np.array(dataset.train.class_names)}
    for split, part in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        if part is None:
            continue
        arrays |= {f"{split}_images": part.images_NHWC, f"{split}_labels": part.labels_N}
        if dataset.train.persons_N is not None:
            whose = part.persons_N if part.persons_N is not None else np.arange(len(part))
            arrays[f"{split}_persons"] = np.array([f"{split} {one}" for one in whose])
    content = io.BytesIO()
    np.savez(content, **arrays)
    make_private(place)
    write_atomically(place / "images.npz", content.getvalue(), 0o600)
    return place / "images.npz"


def run_shadow(run: int, shared: tuple[Shadows, float | None]) -> dict[str, Any]:
    """One unit: {"images": (N, Q) of the release, "weights": (N, Q) of the weights or None} about everybody. A second
    attempt continues where the first one stopped, if its folder is there."""
    shadows, delta = shared
    entry = catalogue.find(shadows.method)
    method: Method = entry.method()
    asked = everybody(shadows.dataset)
    with _place(shadows.storage, run) as place:
        config = bare(method, shadows.config, str(written(half_of(shadows, run), place)), delta)
        command = _Command(shadows.preset, config, replace(entry.machines(), address="here"), str(place / "run"))
        with ExitStack() as stack:
            console = stack.enter_context(Console(io.StringIO()))
            setting = method.begin(command, console, _here, stack)
            method.run(setting)
            folder, like = setting.folder, setting.dataset.train.select([])
            told = signals(read_images(folder.synthetic.read_bytes()), asked, shadows.space)
            weights = None if method.knows is None else method.knows(config, like, _answers(folder.internal), asked)
    return {"images": told, "weights": weights}


def of_run(method: Method, config: Any, like: Images, answer: Callable[[str], Any], asked: Images) -> Tensor | None:
    """What the weights of a finished run know of images; None where it tells or has nothing."""
    if method.knows is None:
        return None
    try:
        return method.knows(config, like, answer, asked)
    except FileNotFoundError:
        return None


def _answers(internal: Path) -> Callable[[str], Any]:
    return lambda stage: load_saved(internal / "stages" / f"{stage}.pt")


@contextmanager
def _place(storage: str, run: int) -> Iterator[Path]:
    """A folder of this run's own, which is taken away once it has ended well."""
    if (here := local_folder(storage)) is None:
        with TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    place = here / "shadows" / f"{run:06d}"
    make_private(here / "shadows")
    yield place
    shutil.rmtree(place)


def tidy(storage: str) -> None:
    """Take away what stopped shadow runs have left, of which no attack asks any more."""
    if (here := local_folder(storage)) is not None:
        shutil.rmtree(here / "shadows", ignore_errors=True)


@contextmanager
def _here(machines: Any, storage: str, show: Show) -> Iterator[Compute]:
    yield Local(storage, show)
