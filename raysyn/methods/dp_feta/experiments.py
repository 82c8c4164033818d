"""DP-FETA's experiments: which runs they compare."""

from __future__ import annotations

from dataclasses import replace

from raysyn.methods.dp_feta.config import JUDGED_BY, Config, ExperimentConfig, name_of, plan
from raysyn.methods.dp_feta.frequency import GENERATED
from raysyn.methods.dp_feta.frequency_config import FrequencyConfig
from raysyn.methods.dp_feta.model import before, begin
from raysyn.methods.experiment_units import Parts
from raysyn.methods.matching import GENERATOR
from raysyn.methods.sweep import Group, Reads, Variant
from raysyn.privacy.queries.central import Kind
from raysyn.privacy.queries.embedding import EMBEDDING
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.privacy.queries.votes import VOTES
from raysyn.privacy.sgd_config import SGDConfig


def asks_by_budget(config: Config) -> bool:
    """Whether the questions before fine-tuning cost a share of the budget."""
    return config.central.drawn


PARTS = Parts(
    plan=plan, begin=begin, before=before,
    reads=Reads(
        judging=JUDGED_BY, after=("budget", "finetune", "sampler", "synthetic"), by_budget=asks_by_budget,
        stages={
            "central": ("central",), VOTES: ("central", "budget", "source", "votes"),
            **dict.fromkeys((MEANS, SPREAD), ("central", "budget")),
            **dict.fromkeys((EMBEDDING, GENERATOR, GENERATED), ("frequency",)),
        },
    ),
)  # fmt: skip


def asked(config: Config) -> dict[str, Group]:
    """The tables that are asked for, by their names, each with the run itself, once: those alike are one."""
    experiment = config.experiment
    if not experiment.asks():
        return {}
    own = replace(config, experiment=ExperimentConfig())
    none = counts(own, 0)
    kinds = [of_kind(own, kind) for kind in experiment.kinds or (own.central.kind,)]
    found = dict[str, Group]()
    if experiment.counts:
        counted = [
            _variant(counts(one, count) if count else none, "count", count, one.central.kind)
            for one in kinds for count in sorted({*experiment.counts, own.central.count})
        ] + [_variant(own, "count", own.central.count, own.central.kind)]  # fmt: skip
        found["counts"] = Group(
            title="Numbers of central images (table V and figure 6 of the paper)",
            text="The budget is the same everywhere: more central images leave DP-SGD more noise.",
            variants=counted, x="central images",
        )  # fmt: skip
    if experiment.augment:
        operations = sorted({*experiment.augment, own.augment.operations})
        augmented = [
            _variant(replace(one, augment=replace(one.augment, operations=count)), "augment", count, one.central.kind)
            for one in kinds for count in operations
        ] + [_variant(own, "augment", own.augment.operations, own.central.kind)]  # fmt: skip
        found["augment"] = Group(
            title="Augmentation of central images (figure 4 of the paper)",
            text="How many operations change a central image each time it is seen, and none at all beside it.",
            variants=[_variant(none, "count"), *augmented], x="operations",
        )  # fmt: skip
    if experiment.epsilons:
        epsilons = sorted({*experiment.epsilons, own.budget.epsilon})
        budgets = [
            _variant(replace(one, budget=replace(one.budget, epsilon=epsilon)), "epsilon", epsilon, _line(one))
            for one in [none, *kinds] for epsilon in epsilons
        ] + [_variant(own, "epsilon", own.budget.epsilon, _line(own))]  # fmt: skip
        found["epsilons"] = Group(
            title="Budgets (table II of the paper)", text="With the settings of this run, whatever the budget.",
            variants=budgets, x="ε", log_x=True,
        )  # fmt: skip
    if experiment.kinds or not found:
        found["kinds"] = _of_kinds(none, own, kinds)
    return {
        name: replace(group, variants=[
            replace(one, title=f"{one.title} (all weights learn)")
            if one.config.finetune.layers != own.finetune.layers else one
            for one in group.variants
        ])
        for name, group in found.items()
    }  # fmt: skip


def _of_kinds(none: Config, own: Config, kinds: list[Config]) -> Group:
    text = "And without any, which is DPDM."
    if own.frequency.asked:
        text = "And without any, which is the second warm-up alone; and both without that, which is DPDM and DP-FETA."
    alone = [without_second(one) for one in (none, own) if own.frequency.asked]
    return Group(
        title="Kinds of central images (tables II and IV, figures 4 and 7 of the paper)", text=text,
        variants=[_variant(one, "count") for one in (*alone, none, own, *kinds)],
    )  # fmt: skip


def counts(config: Config, count: int) -> Config:
    """The same with so many central images."""
    tuning = _tuned(config, count > 0 or config.frequency.asked)
    return replace(config, central=replace(config.central, count=count), finetune=tuning)


def without_second(config: Config) -> Config:
    """The same without the second warm-up."""
    kept = config.central.count > 0 and config.warmup.iterations > 0 and config.central.conditional
    return replace(config, frequency=FrequencyConfig(), finetune=_tuned(config, kept))


def _tuned(config: Config, warmed: bool) -> SGDConfig:
    # Without any warm-up that is kept no layer has learned before.
    return config.finetune if warmed else replace(config.finetune, layers="all")


def of_kind(config: Config, kind: Kind) -> Config:
    """The same with this kind of central images."""
    return replace(config, central=replace(config.central, kind=kind))


def _line(config: Config) -> str:
    return f"{name_of(config)}, {config.central.kind}" if config.central.count else name_of(config)


def _variant(config: Config, what: str, x: float | None = None, line: str = "") -> Variant:
    """One run, told by what it is and by `what` of it changes."""
    count = config.central.count
    told = [name_of(config)]
    if count:
        images = f"{count} {config.central.kind} image{'' if count == 1 else 's'}"
        told.append(f"{config.central.draws:,} draws" if config.central.drawn else images)
    more = {
        "augment": f"{config.augment.operations} augmentations" if count else "",
        "epsilon": f"ε {config.budget.epsilon:g}",
    }
    return Variant(
        config=config, title=", ".join([*told, *([more[what]] if more.get(what) else [])]), method=name_of(config),
        line=line, x=x,
    )  # fmt: skip
