"""The units of experiments that compare whole runs of a method: each goes through a part of one run, by itself.

A unit pays the plan of its run within that one's budget, on a ledger that is thrown away: nothing of it is released.
Its noise derives from the secret of the run that asks and from all that it depends on: no two answers share any.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.inside import Inside
from raysyn.data.images import Images
from raysyn.methods.class_shares import stated, turns
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.sweep import Reads, Variant, price
from raysyn.methods.weighing import Weighed
from raysyn.metrics import utility
from raysyn.metrics.along import distances
from raysyn.privacy.ledger import Ledger
from raysyn.runs.folder import RunFolder
from raysyn.screen.console import Console
from raysyn.train.samplers import SamplerConfig

SHOWN = 10
"""Images of each run that the report shows, classes in turn."""
LOSS_IMAGES = 5_000
"""Private images at most on which a loss is measured."""


class Model(Protocol):
    """A generator that has learned all there is to learn before the private images."""

    def fine_tune(self) -> dict[str, Any]:
        """Learn from these."""
        ...

    def draw(self, name: str = "synthesise", count: int | None = None, sampler: SamplerConfig | None = None) -> Images:
        """Images, as a stage of this name; by default as many as are released, and in the same way."""
        ...

    def loss(self, images: Images) -> float | None:
        """Its loss on images; None for one that has none."""
        ...

    def weighed(self) -> Weighed:
        """What its weights say of single images: losses (N, L), smaller of what it has learned from; can travel."""
        ...

    def drawn_from(self, state: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """The weights that it would draw from, of a state of the fine-tuning."""
        ...

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Draw from these."""
        ...


@dataclass(frozen=True)
class Begun:
    """All there is before the fine-tuning."""

    model: Model
    central: Images | None = None
    """Noisy central images, if there are any."""
    more: Any = None
    facts: Mapping[str, float] = field(default_factory=dict)
    """What tables show of it, by their headings."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A method, cut where experiments need it: functions of modules, which workers find by name."""

    plan: Callable[[Any, int, int], Any]
    """plan(config, images or persons, classes), or None where nothing is promised."""
    begin: Callable[[Setting], Begun]
    before: Callable[[Any], list[str]]
    """before(config): the stages of `begin`."""
    reads: Reads


class Scratch:
    """In place of a run folder: answers that are given, and new ones that end with the unit."""

    def __init__(self, secret: bytes, given: Mapping[str, Any], refused: Collection[str] = ()) -> None:
        """`refused`: stages that must have been given."""
        self.secret, self._given, self._refused, self.new = secret, given, refused, dict[str, Any]()

    def stage(self, name: str, f: Callable[[], Any]) -> Any:
        """As the run folder's."""
        if name in self._given:
            return self._given[name]
        if name in self._refused:
            raise AssertionError(f"{name} would ask private images, which this unit must not")
        if name not in self.new:
            self.new[name] = f()
        return self.new[name]


def new_of(setting: Setting) -> dict[str, Any]:
    """What a unit adds to the answers that it was given."""
    return dict(cast(Scratch, setting.folder).new)


Item = tuple[Variant, list[str], dict[str, Any]]
"""A run to make, the stages in which it is as the run itself, and answers of its own."""


@contextmanager
def _made(
    item: Item, shared: Mapping[str, Any], asks: str | None, watch: Callable[[str, dict[str, Any]], None] | None = None
) -> Iterator[tuple[Setting, Begun]]:
    """(setting, begun) of a variant inside a unit. `asks` is all that its noise depends on, whole, as two that share a
    digest would share noise; None for a unit that asks nothing, to which every answer was given."""
    variant, same, own = item
    given = {name: shared["own"][name] for name in same} | own
    secret = hashlib.sha256(shared["secret"] + f"experiments {asks}".encode()).digest()
    dataset, parts = shared["dataset"], shared["parts"]
    planned = price(variant, dataset.train, parts.plan)
    with TemporaryDirectory() as place, Console(io.StringIO()) as console:
        refused = planned.stages.keys() if planned is not None and asks is None else ()
        folder = cast(RunFolder, Scratch(secret, given, refused))  # of which pipelines use no more than it has
        told = (variant.config, dataset, Inside(watch), folder, console, shared["machines"], shared["more"])
        if planned is None:
            setting = Setting(*told)
        else:
            setting = PrivateSetting(*told, plan=planned, ledger=Ledger(planned, Path(place) / "ledger.jsonl"))
        yield setting, parts.begin(setting)


def begin_unit(item: Item, shared: Mapping[str, Any]) -> dict[str, Any]:
    """One unit: answers of the stages before fine-tuning, less those that are the run's own."""
    with _made(item, shared, f"begin {shared['parts'].reads.questions(item[0].config)}") as (setting, _):
        return new_of(setting)


def train_unit(item: Item, shared: Mapping[str, Any]) -> dict[str, Any]:
    """One unit: answers of fine-tuning and drawing, and of drawing at points between, named along-<step>."""
    config, along, reads = item[0].config, shared["along"], shared["parts"].reads
    kept = dict[int, dict[str, Tensor]]()

    def watch(stage: str, state: Mapping[str, Any]) -> None:
        steps = config.finetune.cost(shared["dataset"].train.units).steps
        if stage == "finetune" and "done" in state and state["done"] >= len(kept) * steps / max(1, along):
            # Copied, as training goes on in place.
            weights = begun.model.drawn_from(state)
            kept[state["done"]] = {name: value.detach().cpu().clone() for name, value in weights.items()}

    with _made(item, shared, f"train {reads.all_of(config)}", watch if along else None) as (setting, begun):
        begun.model.fine_tune()
        if not _is_own(config, shared):
            begun.model.draw()
        for done, weights in kept.items():
            begun.model.load(weights)
            # As the images that the distance at the end is measured on.
            begun.model.draw(f"along-{done}", shared["along_images"], config.sampler_fid)
        return new_of(setting)


def _is_own(config: Any, shared: Mapping[str, Any]) -> bool:
    """The run itself, whose images are there: it is trained again for the points of its fine-tuning alone."""
    return bool(shared["parts"].reads.whole(config) == shared["me"])


def judge_unit(item: Item, shared: Mapping[str, Any]) -> dict[str, Any]:
    """One unit: what the images of a run come to, `judged`, and the distances at the points of its fine-tuning."""
    steps = {int(name.removeprefix("along-")): value for name, value in item[2].items() if name.startswith("along-")}
    found = {"along": _along(steps, shared, item[0].config)} if steps else {}
    if _is_own(item[0].config, shared):
        return found
    with _made(item, shared, None) as (setting, begun):
        begun.model.fine_tune()
        synthetic = begun.model.draw()
        second = setting.config.sampler_fid
        compared = synthetic if second is None else begun.model.draw("drawn-again", sampler=second)
        noise = setting.plan.noise("finetune") if isinstance(setting, PrivateSetting) else None
        about = {"noise_multiplier": noise, "facts": dict(begun.facts)}
        return judged(synthetic, compared, shared) | about | found


def _along(steps: Mapping[int, Tensor], shared: Mapping[str, Any], config: Any) -> list[dict[str, Any]]:
    """Distances of the images (N, H, W, C) drawn after so many steps."""
    train = shared["dataset"].train
    shares = stated(config, train.class_names)
    labels = {step: turns(len(value), train.classes, shares) for step, value in steps.items()}
    sets = [Images(value.numpy(), labels[step], train.class_names) for step, value in steps.items()]
    far = distances(sets, train, shared["eval"], shared["seed"], shared["inception"])
    return [{"step": step, **one} for step, one in zip(steps, far, strict=True)]


def before_unit(item: Item, shared: Mapping[str, Any]) -> dict[str, Any]:
    """One unit: the same of a model that has seen no private image, and its loss on these."""
    with _made(item, shared, None) as (setting, begun):
        images, second = begun.model.draw("before"), setting.config.sampler_fid
        compared = images if second is None else begun.model.draw("before-again", sampler=second)
        some = utility.subset(setting.dataset.train, LOSS_IMAGES, setting.config.seed)
        return judged(images, compared, shared) | {"loss": begun.model.loss(some), "facts": dict(begun.facts)}


def judged(synthetic: Images, compared: Images, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy of the classifiers on real images, distances of `compared` to real images, and images to show."""
    dataset, config, seed = shared["dataset"], shared["eval"], shared["seed"]
    trained_on = utility.subset(synthetic, config.images, seed)
    useful = {"synthetic": trained_on, "test": dataset.test, "config": config, "seed": seed}
    reached = {name: utility.judge((name, "synthetic"), useful)["accuracy"] for name in config.classifiers}
    (far,) = distances([compared], dataset.train, config, seed, shared["inception"])
    return {"accuracy": reached, **far, "shown": shown(synthetic)}


def shown(synthetic: Images) -> Tensor:
    """The first images, classes in turn: a fixed choice, so nobody picks the pretty ones."""
    return torch.from_numpy(np.array(synthetic.images_NHWC[:SHOWN]))
