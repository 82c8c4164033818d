"""Experiments that compare whole runs of a method, as durable units of a fan-out.

A run is cut in three: what comes before the private images are fine-tuned on, DP-SGD and drawing, judging. Each part of
each different run is one unit, so that runs share what is the same in them, and asking for more later does only what is
missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.experiment_units import (
    Begun,
    Item,
    Parts,
    before_unit,
    begin_unit,
    judge_unit,
    shown,
    train_unit,
)
from raysyn.methods.sweep import Group, Reads, SweepConfig, Variant, unlike
from raysyn.metrics.fidelity import as_had, inception_weights

AT_ONCE = 16
"""Runs whose images are in the driver's memory together."""


@dataclass(frozen=True)
class Compared:
    """What came out."""

    groups: Mapping[str, Group]
    whole: Mapping[str, Mapping[str, Any]]
    """{key of a run: what its images came to}."""
    before: Mapping[str, Mapping[str, Any]]
    """{key of what comes before fine-tuning: the same of that}."""
    reads: Reads


def own_result(setting: Setting, synthetic: Images, metrics: Mapping[str, Any], begun: Begun) -> dict[str, Any]:
    """The run itself, from the figures of its report: it is neither trained nor judged again."""
    useful, faithful = metrics["utility"], metrics["fidelity"]
    return {
        "accuracy": {name: useful[name]["accuracy"] for name in setting.config.eval.classifiers},
        "fid": faithful["fid"]["value"],
        "frechet_distance_cnn_features": faithful["frechet_distance_cnn_features"],
        "shown": shown(synthetic),
        "noise_multiplier": setting.plan.noise("finetune") if isinstance(setting, PrivateSetting) else None,
        "facts": dict(begun.facts),
    }


def compare(setting: Setting, parts: Parts, groups: Mapping[str, Group], own: Mapping[str, Any]) -> Compared:
    """Train and judge every variant of the groups that the run itself is not, whose result is `own`."""
    config, reads = setting.config, parts.reads
    asked: SweepConfig = config.experiment
    variants = unlike([one for group in groups.values() for one in group.variants], reads)
    me = reads.whole(config)
    todo = [one for one in variants if asked.along or reads.whole(one.config) != me]
    loaded = inception_weights(config.eval)
    had = as_had(config.eval, loaded)
    what = digest([reads.whole(one.config) for one in todo], asked, had, config.sampler_fid)
    mine = {name: setting.folder.stage(name, _never) for name in parts.before(config)}
    shared = {
        "parts": parts, "dataset": setting.dataset, "more": setting.more, "machines": setting.machines,
        "secret": setting.folder.secret, "own": mine, "me": me, "along": asked.along,
        "along_images": asked.along_images,
        "eval": had, "seed": config.seed, "inception": loaded,
    }  # fmt: skip
    found = setting.folder.stage(f"experiments-{what}", lambda: _found(setting, parts, variants, todo, shared))
    setting.console.stage("experiments", f"{len(todo)} further runs, none of them released")
    # Of the run itself there are no more than the points of its fine-tuning.
    return Compared(groups, found["whole"] | {me: {**own, **found["whole"].get(me, {})}}, found["before"], reads)


def _found(
    setting: Setting, parts: Parts, variants: Sequence[Variant], todo: Sequence[Variant], shared: Mapping[str, Any]
) -> dict[str, Any]:
    """{"whole": results of `todo`, "before": those before fine-tuning, if they are asked for}, by their keys."""
    reads, asked = parts.reads, setting.config.experiment
    judging = digest(shared["eval"], setting.config.sampler_fid)
    whole, before = dict[str, Any](), dict[str, Any]()
    for at in range(0, len(variants), AT_ONCE):
        some = variants[at : at + AT_ONCE]
        items = _begun(setting, parts, some, shared)
        if asked.stages:
            first = {
                reads.begun(one.config): items[reads.whole(one.config)] for one in some if parts.before(one.config)
            }
            before |= _mapped(setting, before_unit, first, "experiments-before", shared, judging)
        kept = {reads.whole(one.config): items[reads.whole(one.config)] for one in some if one in todo}
        points = digest(asked.along, asked.along_images, setting.config.sampler_fid) if asked.along else "end"
        trained = _mapped(setting, train_unit, kept, "experiments-trained", shared, points)
        ready = {key: (one, same, own | trained[key]) for key, (one, same, own) in kept.items()}
        whole |= _mapped(setting, judge_unit, ready, "experiments-judged", shared, digest(judging, points))
    return {"whole": whole, "before": before}


def _begun(setting: Setting, parts: Parts, some: Sequence[Variant], shared: Mapping[str, Any]) -> dict[str, Item]:
    """Each run with all that comes before its fine-tuning, by its key."""
    reads, config, mine = parts.reads, setting.config, shared["own"]
    same = {
        reads.begun(one.config): sorted(reads.shared(one.config, config) & mine.keys() & set(parts.before(one.config)))
        for one in some
    }  # fmt: skip
    same[reads.begun(config)] = list(mine)
    missing: dict[str, Item] = {
        key: (one, same[key], {}) for one in some
        if (key := reads.begun(one.config)) != reads.begun(config) and set(parts.before(one.config)) - set(same[key])
    }  # fmt: skip
    made = _mapped(setting, begin_unit, missing, "experiments-begun", shared, "")
    keys = {reads.whole(one.config): (one, reads.begun(one.config)) for one in some}
    return {whole: (one, same[begun], made.get(begun, {})) for whole, (one, begun) in keys.items()}


def _mapped(
    setting: Setting, unit: Callable[[Item, Mapping[str, Any]], dict[str, Any]], items: Mapping[str, Item], name: str,
    shared: Mapping[str, Any], how: str,
) -> dict[str, Any]:  # fmt: skip
    """The units' results by the items' keys; `how` says in what way they are made."""
    keys = [f"{key}-{how}".strip("-") for key in items]
    results = setting.compute.map(unit, list(items.values()), name=name, shared=shared, keys=keys)
    return dict(zip(items, results, strict=True))


def _never() -> Any:
    raise AssertionError("a stage of the run itself is finished by now")
