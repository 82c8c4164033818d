"""PIGAN: a mutual-information penalty against membership inference, beside GAN, PrivGAN and DPGAN (Hassanzadeh and
Tillman 2022).

Reads downwards in the paper's order: the four GANs (3.1, 5.1), the attacks on them (4.1), the fidelity of their images
(4.2), the experiments (5.2). Only DPGAN promises differential privacy; the certificate of the others says so first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from raysyn.compute.doorway import digest
from raysyn.data.images import Images, load
from raysyn.methods import canaries
from raysyn.methods.canary_attack import attack, may_leave, sections_of, with_audit
from raysyn.methods.canary_attack import check as check_audit
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted, shares_of_run
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.declared import declared
from raysyn.methods.distances import attack_by_distances, present
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import few_steps
from raysyn.methods.pigan import experiments, variants
from raysyn.methods.pigan import report as shown
from raysyn.methods.pigan.config import JUDGED_BY, NAME, Config
from raysyn.methods.pigan.measures import parameters
from raysyn.methods.pigan.outlook import check_memory, show_outlook
from raysyn.methods.pigan.variants import Variant
from raysyn.methods.releasing import release
from raysyn.methods.source_told import equal_ones
from raysyn.methods.synthesis import synthesise
from raysyn.metrics.checks import check_measures
from raysyn.metrics.fidelity import Inception, as_had, inception_weights, left_out
from raysyn.metrics.utility import judge, subset, unit_name
from raysyn.metrics.yardsticks import best_uncharged, guessing, summary
from raysyn.privacy import engines, sgd, units
from raysyn.privacy.ledger import Plan
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, write_report
from raysyn.train import conditional_gans as gans
from raysyn.train import paired_networks

SLOWEST_FIRST = ("dpgan", "privgan", "pigan", "gan")
AT_ONCE = 64
"""GANs whose weights the driver holds at a time."""


def prepare(config: Config) -> Prepared:
    """Members and others as training and test images, and for dpgan the plan; ValueError, in one sentence, where either
    cannot be."""
    dataset = variants.first_split(config, load(config.data))
    members, others = dataset.train, dataset.test
    if not len(members) or not len(others):
        raise ValueError(
            f"member_share is {config.member_share}, which makes {len(members)} members and {len(others)} others: give "
            "each side some images"
        )
    dataset.check_classes(f"member_share={config.member_share}", "raise it")
    compared = min(len(others), config.synthetic)
    check_measures(config.eval, members.classes, synthetic=config.synthetic, train=len(members), compared=compared)
    rehearse(config.model, dataset, told=config, uncharged=uncharged(config))
    for given, variant in wanted(config):
        own, outside = (variants.share_of(side, variant.share, config.seed) for side in (members, others))
        check(config, given, variant, own, outside)
    planned = units.planned(members, partial(plan, config)) if config.model == "dpgan" else None
    config.monte_carlo.check(members, others, canaries.asked(config, METHOD.audited, NAME, planned, members))
    doubts = few_steps(planned, "generator", members.units, "gan") if planned else []
    return Prepared(dataset=dataset, plan=planned, doubts=doubts)


def wanted(config: Config) -> list[tuple[str, Variant]]:
    """Every GAN to train, with the setting that asks for its number of parts."""
    found = [("penalty.parts", variants.released(config))]
    for name, group in variants.asked(config).items():
        found += [("experiment.parts" if name == "parts" else "penalty.parts", one) for one in group]
    return found


def check(config: Config, given: str, variant: Variant, members: Images, others: Images) -> None:
    """ValueError, in one sentence, for a GAN that cannot be trained or attacked."""
    parts = variant.penalty.parts
    paired_networks.new_networks(variant.kind, config.network, members.shape, members.classes, parts, config.seed)
    whom = "members" if members.persons_N is None else "persons among the members"
    if variant.kind != "gan" and members.units < parts:
        raise ValueError(f"{given} is {parts}, but there are {members.units} {whom}: lower it")
    if variant.kind != "gan" and variant.penalty.weight and variant.penalty.delay(variant.kind) >= variant.gan.epochs:
        name = "privgan_delay_epochs" if variant.kind == "privgan" else "delay_epochs"
        raise ValueError(
            f"penalty.{name} is {variant.penalty.delay(variant.kind)}, but {variant.title} trains for "
            f"{variant.gan.epochs} epochs, so that its classifier would never learn from generated images: lower it"
        )
    config.monte_carlo.check(members, others)
    if variant.model == "dpgan":
        if variant.gan.batch_size > members.units:
            raise ValueError(
                f"gan.batch_size is {variant.gan.batch_size}, but there are {members.units} {whom}: lower it"
            )
        variant.cost(members)
        discriminator, _ = experiments.private_networks(config.network, variant, members, config.seed)
        engines.refuse_unsupported(discriminator)


def plan(config: Config, n: int) -> Plan:
    """Price the touches of the `n` members: DP-SGD of the discriminator, and counts where these are asked for.
    ValueError where the budget is too small."""
    return variants.released(config).plan(n)


def run(setting: Setting) -> Report:
    """Train the GAN, release its images, attack it; then the experiments. A finished stage is never repeated."""
    config, dataset, folder, console = setting.config, setting.dataset, setting.folder, setting.console
    members, others = dataset.train, dataset.test
    variant, seed = variants.released(config), variants.seed_of(config, 0)
    inception = inception_weights(config.eval)
    if (said := left_out(config.eval, inception)) is not None:
        console.say(said)

    judged = "experiments" if variants.asked(config) else "attacks"
    console.begin(
        [
            "generator",
            *counted(config),
            "synthesise",
            judged,
            *(["utility"] if config.eval.classifiers else []),
            *(["distances"] if config.eval.distances else []),
            *audited(setting),
        ]
    )

    # The GAN (paper 3.1, algorithm 1; for dpgan, DP-SGD of its discriminator).
    weights = folder.stage("generator", partial(train, setting, variant, members, seed))
    console.stage("generator", f"{variant.title}: {config.gan.epochs:,} epochs on {len(members):,} members")

    # The release: for dpgan, post-processing of what the ledger was paid for.
    synthetic = synthesise(setting, experiments.drawing(config, members, len(members), lambda _: weights))
    privacy = release(setting, config.model, synthetic, uncharged(config))

    # Attacks (4.1) and scores (4.2) of the released GAN and of every experiment (5.2), a unit per GAN and split.
    had = replace(config, eval=as_had(config.eval, inception))
    results = compare(replace(setting, config=had), variant, weights, inception)
    near = attack_by_distances(setting, synthetic, config.eval.distances)
    own = shown.attacks(results, present(members), others)
    audit = attack(setting, synthetic, privacy, experiments.weighed(config, members, weights))
    useful, faithful = results["utility"], results["released"]["fidelity"]
    equal = equal_ones(synthetic, setting.loaded)
    report = setting.report(
        config.model, privacy=privacy,
        metrics={"utility": useful, "fidelity": faithful, **shown.metrics(results), **equal},
        attacks=with_audit(near | own | {"found": [*own["found"], *near.get("found", ())]}, audit),
    )  # fmt: skip
    verdict = write_report(
        folder, report, synthetic=synthetic, done=shown.story(config, members, others, results),
        sections=[*sections_of(audit), *shown.sections(config, results)],
    )  # fmt: skip
    setting.end(verdict, folder.where(f"Release ({may_leave(audit, isinstance(setting, PrivateSetting))})"))
    check_audit(audit)
    return report


def train(setting: Setting, variant: Variant, members: Images, seed: int) -> dict[str, Any]:
    """The weights of the released GAN, trained by all workers; of DP-SGD, with how gradients were computed."""
    config, compute = setting.config, setting.compute
    assert isinstance(setting, PrivateSetting) == (variant.model == "dpgan"), "a plan for dpgan, and for it alone"
    if not isinstance(setting, PrivateSetting):
        answer = compute.train(
            gans.fit, variant.kind, config.network, members, variant.gan, variant.penalty, seed, name="generator"
        )
        return answer["weights"]
    discriminator, game = experiments.private_networks(config.network, variant, members, seed)
    price, speed = setting.plan.stages["generator"], setting.machines.sgd
    epsilon_at = partial(setting.plan.epsilon_after, "generator")
    release = sgd.train(
        compute, discriminator, game, members, variant.sgd(), price, setting.folder.secret, speed, name="generator",
        epsilon_at=epsilon_at, partner=game,
    )  # fmt: skip
    paid = setting.ledger.pay("generator", release)
    return experiments.weights_of(paid) | {experiments.ENGINE: paid["engine"]}


def compare(setting: Setting, variant: Variant, weights: Mapping[str, Tensor], inception: Inception) -> dict[str, Any]:
    """{"variant": what was released, "released": its judgement, "experiments": {name: [(variant, one judgement per
    split), ...]}, "utility": accuracy of classifiers trained on what was released and on the members, "parameters":
    sizes of the GANs}."""
    config, folder = setting.config, setting.folder
    asked, first = variants.asked(config), (variant, 0)
    splits = range(config.experiment.splits)
    units = [first, *((one, index) for group in asked.values() for one in group for index in splits)]
    stage = "experiments" if asked else "attacks"
    shared = {"inception": inception, "shares": shares_of_run(setting)}
    found = folder.stage(
        f"{stage}-{digest([experiments.judging_key(config, unit) for unit in units])}",
        partial(train_and_judge, setting, units, {experiments.training_key(first): dict(weights)}, shared),
    )
    released = found[experiments.judging_key(config, first)]
    setting.console.stage(stage, shown.attacked(released, len(found)))
    real = folder.stage(unit_name("utility", config.eval), partial(accuracy_on_members, setting))
    if real:
        setting.console.stage("utility", shown.useful(released, real))
    both = {
        name: {"accuracy": released["accuracy"][name], "accuracy_real_data": reached} for name, reached in real.items()
    }
    counts = {"synthetic": config.synthetic, "real": len(setting.loaded.train)}
    images = {source: min(count, config.eval.images or count) for source, count in counts.items()}
    beside = {"images": images, "guessing": guessing(setting.dataset.test)}
    return {
        "variant": variant,
        "released": released,
        "experiments": {
            name: [(one, [found[experiments.judging_key(config, (one, index))] for index in splits]) for one in group]
            for name, group in asked.items()
        },
        "utility": both | (summary(both) | beside if real else {}),
        "parameters": parameters(config, setting.dataset.train),
    }


def train_and_judge(
    setting: Setting, units: Sequence[experiments.Unit], known: Mapping[str, dict[str, Tensor]], more: Mapping[str, Any]
) -> dict[str, Any]:
    """The judgement of each different unit by its key; weights that are `known` are not trained again. `more` is what
    the units share beside configuration and images."""
    config, compute = setting.config, setting.compute
    shared = {
        "config": config, "dataset": setting.dataset, "loaded": setting.loaded, "secret": setting.folder.secret,
        "speed": setting.machines.sgd, **more,
    }  # fmt: skip
    different = {experiments.judging_key(config, unit): unit for unit in units}
    # The slowest first, so that no worker starts one when the others are done.
    todo = sorted(different.items(), key=lambda one: SLOWEST_FIRST.index(one[1][0].model))
    found: dict[str, Any] = {}
    for at in range(0, len(todo), AT_ONCE):
        some = todo[at : at + AT_ONCE]
        unknown = {
            experiments.training_key(unit): unit for _, unit in some if experiments.training_key(unit) not in known
        }
        trained = compute.map(
            experiments.train_unit, list(unknown.values()), name="gans", shared=shared, keys=list(unknown)
        )
        weights = {**known, **dict(zip(unknown, trained, strict=True))}
        items = [(unit, weights[experiments.training_key(unit)]) for _, unit in some]
        keys = [key for key, _ in some]
        judged = compute.map(experiments.judge_unit, items, name="attacks", shared=shared, keys=keys)
        found |= dict(zip(keys, judged, strict=True))
    return found


def accuracy_on_members(setting: Setting) -> dict[str, float]:
    """What classifiers trained on the members themselves reach on the others, by name."""
    config, dataset = setting.config, setting.dataset
    seed, names = variants.seed_of(config, 0), list(config.eval.classifiers)
    real = subset(setting.loaded.train, config.eval.images, seed)
    shared = {"real": real, "test": dataset.test, "config": config.eval, "seed": seed}
    units, name = [(one, "real") for one in names], unit_name("utility", config.eval)
    answers = setting.compute.map(judge, units, name=name, shared=shared)
    return {one: answer["accuracy"] for one, answer in zip(names, answers, strict=True)}


def uncharged(config: Config) -> list[str]:
    """What looking at private images may have shaped without being paid for."""
    choices = best_uncharged(config.eval.classifiers)
    if variants.asked(config):
        choices.append(
            "the experiments train further GANs on private images; nothing of these is released, but a setting chosen "
            "by them is a look at these images"
        )
    return [*choices, *declared(config)]


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, judged_by=JUDGED_BY,
    audited=True, drawing=experiments.drawing, network=experiments.NETWORK, mechanisms=experiments.mechanisms,
    knows=experiments.knows, unmeasured=experiments.unmeasured,
)  # fmt: skip
