"""PrivImage's experiments: which runs they compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.experiment_units import Parts
from raysyn.methods.privimage.config import JUDGED_BY, Config, ExperimentConfig, name_of, plan
from raysyn.methods.privimage.models import has_images
from raysyn.methods.privimage.stages import before, begin
from raysyn.methods.sweep import Group, Reads, Variant
from raysyn.privacy.ledger import Plan
from raysyn.train.few_weights import ALL

TITLES = {
    "pretraining": ("What is pre-trained on (table 2 of the paper)", "Selected public images, all of them, or none."),
    "ratios": (
        "Shares of the public classes that are selected (figure 7 of the paper)",
        "As many classes are counted for each sensitive image as are selected for its row, a whole number, to which "
        "shares are rounded; 1 is all public images, without a query.",
    ),
    "widths": ("Sizes of the diffusion model (figures 7 and 8 of the paper)", "The noise of DP-SGD is the same."),
    "query_widths": ("Sizes of the classifier of public classes", "How well it knows these, and what comes of it."),
    "noise": ("Noise of the semantic query", "Less noise leaves DP-SGD a little more."),
    "epsilons": ("Budgets (table 2 of the paper)", "With the settings of this run, whatever the budget."),
    "layers": ("Which weights learn in fine-tuning", "Weights that do not learn are not clipped and get no noise."),
    "limits": ("Without privacy (table 3 of the paper)", "A limit, and nothing that may be shared."),
    "own": ("This run", "As it is."),
}  # fmt: skip
AXES = {
    "ratios": "share of the public classes", "widths": "width", "query_widths": "width of the classifier",
    "noise": "noise multiplier of the query", "epsilons": "ε",
}  # fmt: skip


def plan_of(config: Config, n: int, classes: int) -> Plan | None:
    """The plan of a private run."""
    return plan(config, n, classes) if config.private else None


PARTS = Parts(
    plan=plan_of, begin=begin, before=before,
    reads=Reads(
        judging=JUDGED_BY, after=("budget", "finetune", "sampler", "synthetic"),
        stages={
            "query": ("query",), "semantic": ("query", "semantic", "private"), "central": ("central", "private"),
        },
    ),
)  # fmt: skip


def asked(config: Config, public: Public | None, private: Images) -> dict[str, Group]:
    """The tables that are asked for, by their names, each with the run itself."""
    experiment = config.experiment
    if not experiment.asks():
        return {}
    own = replace(config, experiment=ExperimentConfig())
    rows = own.semantic.rows(private.classes)
    classes = 0 if public is None else int(has_images(public).sum())
    chosen = [selecting(own, ratio, classes, rows) for ratio in experiment.ratios]
    by_share = {share_of(one, classes, rows): one for one in chosen}
    changes: dict[str, tuple[Sequence[Any], Callable[[Any], Config], str]] = {
        "pretraining": (experiment.pretraining, lambda one: pretrained(own, one), ""),
        "ratios": (tuple(by_share), by_share.__getitem__, "{} of the classes"),
        "widths": (experiment.widths, lambda width: wide(own, width), "width {}"),
        "query_widths": (experiment.query_widths, lambda width: asking(own, width), "classifier of width {}"),
        "noise": (experiment.noise, lambda noise: noisy(own, noise), "noise {}"),
        "epsilons": (experiment.epsilons, lambda epsilon: within(own, epsilon), "ε {}"),
        "layers": (experiment.layers, lambda layers: learning(own, layers), "{} learning"),
        "limits": ((False,) if experiment.limits else (), lambda _: replace(own, private=False), ""),
    }
    found = {
        name: [
            _variant(change(value), words.format(value if name == "layers" else f"{value:g}") if words else "", value)
            for value in values
        ]
        for name, (values, change, words) in changes.items()
    }
    share = share_of(own, classes, rows)
    for name, some in found.items():
        if name != "layers":
            found[name] = [
                replace(one, title=f"{one.title} (all weights learn)")
                if one.config.finetune.layers != own.finetune.layers else one
                for one in some
            ]  # fmt: skip
    told = {name: some for name, some in found.items() if some} or {"own": [_variant(own)]}
    return {
        name: Group(title=TITLES[name][0], text=TITLES[name][1], variants=_with_own(name, own, some, share),
                    x=AXES.get(name, ""), log_x=name in ("ratios", "noise", "epsilons"))
        for name, some in told.items()
    }  # fmt: skip


def _with_own(name: str, own: Config, some: Sequence[Variant], share: float) -> list[Variant]:
    """And the run itself, which selects this share of the classes, in the order of the values."""
    values: dict[str, tuple[float, str]] = {
        "ratios": (share, f"{share:g} of the classes"),
        "widths": (own.network.width, f"width {own.network.width}"),
        "query_widths": (own.query.network.width, f"classifier of width {own.query.network.width}"),
        "noise": (own.semantic.noise_multiplier, f"noise {own.semantic.noise_multiplier:g}"),
        "epsilons": (own.budget.epsilon, f"ε {own.budget.epsilon:g}"),
    }
    if name == "layers":
        values[name] = (0.0, f"{own.finetune.layers} learning")
    elif name not in AXES:
        return [_variant(own), *some]
    x, words = values[name]
    mine = _variant(own, words, x if name in AXES else None)
    others = [one for one in some if PARTS.reads.whole(one.config) != PARTS.reads.whole(own)]
    return sorted([mine, *others], key=lambda one: one.x or 0.0)


def pretrained(config: Config, what: Any) -> Config:
    """The same pre-trained on this; what has learned nothing before learns as a whole."""
    bare = replace(config, pretraining=what, finetune=replace(config.finetune, layers=ALL))
    return bare if bare.untaught() else replace(bare, finetune=config.finetune)


def learning(config: Config, layers: str) -> Config:
    """The same with these layers that learn in fine-tuning."""
    return replace(config, finetune=replace(config.finetune, layers=layers))


def selecting(config: Config, ratio: float, classes: int, rows: int) -> Config:
    """The same with so many of the public classes selected, k for each row of the histogram (table 8); with all of them
    where that comes to all, which nothing need be asked for."""
    k = max(1, min(round(ratio * classes / rows), classes // rows))
    if ratio == 1 or k * rows >= classes:
        return replace(config, pretraining="all")
    return replace(config, semantic=replace(config.semantic, k=k, select=None))


def share_of(config: Config, classes: int, rows: int) -> float:
    """Of the public classes, how many are selected, of which there are whole numbers for each row."""
    some = config.pretraining == "selected" and classes
    return float(f"{config.semantic.selected * rows / classes:.3g}") if some else 1.0


def wide(config: Config, width: int) -> Config:
    """The same with a diffusion model of this width."""
    return replace(config, network=replace(config.network, width=width))


def asking(config: Config, width: int) -> Config:
    """The same with a classifier of public classes of this width."""
    network = replace(config.query.network, width=width)
    return replace(config, query=replace(config.query, network=network))


def noisy(config: Config, noise: float) -> Config:
    """The same with this noise of the semantic query."""
    return replace(config, semantic=replace(config.semantic, noise_multiplier=noise))


def within(config: Config, epsilon: float) -> Config:
    """The same with another budget."""
    return replace(config, budget=replace(config.budget, epsilon=epsilon))


def _variant(config: Config, words: str = "", x: Any = None) -> Variant:
    """One run, told by its name and what is special about it."""
    name = name_of(config)
    place = float(x) if isinstance(x, int | float) and not isinstance(x, bool) else None
    return Variant(
        config=config, title=", ".join([name, *([words] if words else [])]), method=name, line="runs", x=place
    )
