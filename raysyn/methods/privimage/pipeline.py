"""PrivImage: a private query picks the public images to pre-train on, DP-SGD fine-tunes (Li et al., USENIX Sec. 2024).

Reads downwards in the paper's order: price every touch of the sensitive images (theorems E.1 to E.3), what public
classes they resemble (3.2, 3.3), pre-training on these, fine-tuning (3.4), synthesis and evaluation (4). `generator`
chooses between PRIVIMAGE+D and +G. The baselines are settings of it: `pretraining` all is PDP-Diffusion or DPGAN-p,
none is DPDM or DPGAN, `private` False with selected is NonPrivD or NonPrivG.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raysyn.attacks.membership import fingerprint
from raysyn.data.images import Images, load
from raysyn.data.public import Public, comparison, load_beside
from raysyn.methods.canary_attack import attack, may_leave, sections_of, with_audit
from raysyn.methods.canary_attack import check as check_audit
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted
from raysyn.methods.common import Setting
from raysyn.methods.declared import budget_of, declared
from raysyn.methods.denoising import draw_again
from raysyn.methods.distances import attack_by_distances
from raysyn.methods.experiment_report import beside
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import FEW_STEPS, TAUGHT_BEFORE, drowned, drowned_query, few_steps, unjudged, wide_clip
from raysyn.methods.own_network import refuse_lessened
from raysyn.methods.privimage.config import JUDGED_BY, NAME, Config, name_of
from raysyn.methods.privimage.experiments import PARTS, asked, plan_of
from raysyn.methods.privimage.knowing import knows, shown, unmeasured
from raysyn.methods.privimage.models import NETWORK, check_diffusion, drawing, has_images, new_gan, others
from raysyn.methods.privimage.outlook import check_memory, show_outlook
from raysyn.methods.privimage.report import (
    in_figures,
    in_one_plane,
    query_accuracy,
    selection,
    similarity,
    spent,
    story,
)
from raysyn.methods.privimage.stages import Selection, before, begin, mechanisms
from raysyn.methods.public_classifier import GIVEN, MOST_SHARED, check_shift, new_query
from raysyn.methods.releasing import release
from raysyn.methods.snapshots import STAGE as SNAPSHOTS
from raysyn.methods.snapshots import over_training
from raysyn.methods.sweep import check, looked_at
from raysyn.methods.synthesis import evaluate, judging
from raysyn.metrics.checks import check_measures
from raysyn.metrics.semantics import read_vectors
from raysyn.metrics.yardsticks import best_uncharged
from raysyn.privacy import engines, units
from raysyn.privacy.ledger import Plan
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, write_report


def prepare(config: Config) -> Prepared:
    """Sensitive and public images, and the plan of a private run; ValueError in one sentence where any cannot be."""
    dataset = load(config.data)
    private, public = dataset.train, None
    planned = units.planned(private, lambda n: plan_of(config, n, private.classes))
    told = check_network(config, private)
    check_measures(config.eval, private.classes, synthetic=config.synthetic, train=len(private))
    sets = config.public.sets() if config.reads_public else ()
    networks = {"query.checkpoint": config.query.checkpoint} if config.pretraining == "selected" else {}
    rehearse(name_of(config), dataset, told=config, uncharged=uncharged(config), sets=sets, networks=networks)
    if config.word_vectors is not None:
        read_vectors(config.word_vectors, private.class_names)
    if config.pretraining == "selected":
        check_shift(config.query, private.shape)
    # Last, because it may take hours the first time.
    if config.reads_public:
        public = load_beside(config.data, private, config.public, MOST_SHARED)
        if config.word_vectors is not None:
            similarity(config, private, public, None)
        if config.pretraining == "selected":
            config.semantic.check(private.classes, int(has_images(public).sum()))
            new_query(config, public)
        if config.generator == "diffusion" and others(config, public):
            check_diffusion(config, private, private.classes + others(config, public))
    check_variants(config, private, public)
    doubts = [*unjudged(config.eval, private.classes), *(misfits(config, private, planned) if planned else [])]
    if planned and public is not None and config.pretraining == "selected":
        there = int(has_images(public).sum())
        doubts += drowned_query(config.semantic, private, budget_of(config), there)
    return Prepared(dataset=dataset, plan=planned, more=public, facts=facts(config, public) | told, doubts=doubts)


def check_variants(config: Config, private: Images, public: Public | None) -> None:
    """ValueError, in one sentence, for a run to compare that could not be made."""
    groups = asked(config, public, private)
    check(groups, private, plan_of)
    for one in {variant.title: variant.config for group in groups.values() for variant in group.variants}.values():
        check_network(one, private)
        if public is not None and one.pretraining == "selected":
            one.semantic.check(private.classes, int(has_images(public).sum()))
        if public is not None and one.generator == "diffusion" and one.pretraining == "all":
            check_diffusion(one, private, private.classes + others(one, public))


def misfits(config: Config, private: Images, planned: Plan) -> list[str]:
    """What in the settings is for another number of images."""
    few = FEW_STEPS if config.pretraining == "none" else TAUGHT_BEFORE
    told = few_steps(planned, "finetune", private.units, "finetune", few)
    return [*drowned(config.central, private, budget_of(config)), *told, *wide_clip(config.finetune)]


def check_network(config: Config, private: Images) -> dict[str, str]:
    """What tells a generator of the user's from an edited one; ValueError, in one sentence, where the networks cannot
    take the images, or DP-SGD not them."""
    if config.generator == "diffusion":
        if config.warms_up() and not config.central.conditional:
            refuse_lessened(config.finetune.layers, private.classes)
        return check_diffusion(config, private, private.classes)
    if config.network.factory is not None:
        raise ValueError(
            f"network.factory is {config.network.factory}, but generator is gan, which has networks of its own: leave "
            "one of them out"
        )
    _, discriminator = new_gan(config, private)
    engines.refuse_unsupported(discriminator)
    check_turns(config, private.units)
    return {}


def check_turns(config: Config, n: int) -> None:
    """ValueError where the generator would never have its turn."""
    steps, turn = config.finetune.cost(n, "finetune").steps, config.gan.discriminator_steps
    if steps < turn:
        raise ValueError(
            f"finetune has {steps} steps, but the generator learns after every {turn} (gan.discriminator_steps): raise "
            "finetune.epochs, or lower one of gan.discriminator_steps and finetune.batch_size"
        )


def facts(config: Config, public: Public | None) -> dict[str, str]:
    """What identifies a run beside its configuration and the sensitive images."""
    if public is None:
        return {}
    told = {"public": public.train.fingerprint(), "public_valid": public.valid.fingerprint()}
    if config.pretraining == "selected" and config.query.checkpoint is not None:
        told["query"] = fingerprint(new_query(config, public).state_dict())
    return told


def run(setting: Setting) -> Report:
    """Make the synthetic images, the certificate and the report; a finished stage is stored and never repeated."""
    public: Public | None = setting.more
    config, private, folder, console = setting.config, setting.dataset.train, setting.folder, setting.console
    groups = asked(config, public, private)
    console.begin([*stages_of(config, private.classes), *(["experiments"] if groups else []), *audited(setting)])

    # What public classes the sensitive images resemble (3.2, 3.3); pre-training on these (3.4).
    begun = begin(setting)
    model, central, selected = begun.model, begun.central, begun.more
    chosen = None if selected is None else selected.chosen

    # Fine-tuning on the sensitive images (3.4, algorithm 1) spends what is left.
    tuned = model.fine_tune()
    console.stage("finetune", spent(setting))

    # From here on every released byte is post-processing of what the ledger was paid for.
    synthetic = model.draw()
    again = draw_again(config, model)
    name = name_of(config)
    privacy = release(setting, name, synthetic, uncharged(config), **made_from(config, public, selected))

    # Shown, and measured on real images: for the report, which stays inside.
    training = over_training(setting, model, tuned)
    metrics = evaluate(setting, synthetic, config.eval, drawn_again=again)
    attacks = attack_by_distances(setting, synthetic, config.eval.distances)
    metrics["fidelity"] |= similarity(config, setting.loaded.train, public, chosen)
    if chosen is not None and public is not None:
        metrics["selection"] = in_figures(chosen, private, public)
        metrics["query"] = {"history": selected.history}
    parts = [] if chosen is None or public is None else [selection(chosen, private, public)]
    parts += [query_accuracy(selected.history)] if selected is not None and selected.history else []
    # A CNN of one class learns nothing to see images by.
    parts += [in_one_plane(setting, synthetic)] if private.classes > 1 else []
    further, compared = beside(setting, PARTS, groups, synthetic, begun)(metrics)
    audit = attack(setting, synthetic, privacy, model.weighed())
    report = setting.report(
        name, privacy=privacy, metrics={**metrics, **further}, attacks=with_audit(attacks, audit),
        engine=tuned.get("engine"),
    )  # fmt: skip
    verdict = write_report(
        folder, report, synthetic=synthetic, central=central, done=story(setting, public),
        sections=[*sections_of(audit), *parts, *training, *compared],
    )  # fmt: skip
    setting.end(verdict, folder.where(f"Release ({may_leave(audit, config.private)})"))
    check_audit(audit)
    return report


def stages_of(config: Config, classes: int) -> list[str]:
    """What the console counts, in this order."""
    plane = ["plane"] if classes > 1 else []
    drawn = ["synthesise", *([SNAPSHOTS] if config.snapshots and config.shows_training() else [])]
    return [*before(config), "finetune", *counted(config), *drawn, *judging(config.eval), *plane]


def made_from(config: Config, public: Public | None, selected: Selection | None) -> dict[str, Any]:
    """What was public, as the certificate names it: images, and a classifier of them that was given, as it was used."""
    if public is None:
        return {}
    given, networks = config.query.checkpoint, []
    if selected is not None and given is not None:
        print_of = fingerprint(selected.network.state_dict())
        networks.append({"name": Path(given).name, "sha256": print_of})
    return {"public_images": [public.described()], "public_networks": networks}


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    choices = best_uncharged(config.eval.classifiers)
    if config.reads_public:
        choices.append(comparison(MOST_SHARED))
    if config.pretraining == "selected" and config.query.checkpoint is not None:
        choices.append(GIVEN)
    return [*choices, *looked_at(config), *declared(config)]


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, drawing=drawing, audited=True,
    judged_by=JUDGED_BY, network=NETWORK, knows=knows, shown=shown, unmeasured=unmeasured, mechanisms=mechanisms,
)  # fmt: skip
