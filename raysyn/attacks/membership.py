"""The membership attack from end to end: ask the targets, train the shadow models, pass the verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from raysyn.attacks import control, likeness, lira, quantiles
from raysyn.attacks.found import ANSWERS
from raysyn.attacks.found import found as record
from raysyn.attacks.gaussians import Confidences, Mask
from raysyn.attacks.headline import headline
from raysyn.attacks.pool import Pool, make_pool
from raysyn.attacks.shadows import AttackConfig, ShadowSpeed, Sweep, confidences, stack_of, sweep
from raysyn.attacks.teaching import Architecture, Learns, Recipe, identity, teach
from raysyn.attacks.variants import Lira, Rmia, Variant
from raysyn.attacks.verdict import aop
from raysyn.attacks.whose import Whose
from raysyn.compute.doorway import Compute, digest
from raysyn.compute.worker import Alone, best_device
from raysyn.data.images import Images
from raysyn.train.classifier import accuracy

Weights = Mapping[str, Tensor]
Target = Weights | Learns


def attack(
    compute: Compute, targets: Mapping[str, Target], members: Images, test: Images, config: AttackConfig,
    network: Architecture, recipe: Recipe, seed: int, speed: ShadowSpeed,
) -> dict[str, Any]:  # fmt: skip
    """LiRA against finished models of one architecture, with shadow models trained by `recipe`.

    Members are among the images that may have shaped the targets, non-members among the `test` images (see
    `make_pool`), on which accuracy is measured too. Where persons are named, members and non-members are persons.

    Returns {"tested": {target: accuracy}, "attacks": {target: what `_against` says, views: names of what was asked,
    pool: images of each side and those left out}, "shadow_models": how the area varies when each of them is the
    target}, "shadow_images": images that each learned from, "likeness": {target: see `likeness.figures`}, "found":
    [records of each target's headline and of quantile regression, see `found.found`], "each": {"rows", "members",
    "score": {target}} of every image compared, its place on its side and the headline's score of it, or of its person},
    "doubts": [what is doubtful about targets that are trained where they are asked]}. Without shadow models "attacks"
    is empty, and so is what speaks of them.
    """
    if not config.shadow_models:
        alone = _asked(compute, targets, test.select([]), test, network, recipe)
        return {"tested": _tested(alone), "attacks": {}, "found": [], "shadow_images": 0}
    pool = make_pool(members, test, config.images, seed)
    answers = _asked(compute, targets, pool.images, test, network, recipe)
    tested, views = _tested(answers), config.averaged(recipe)
    swept, right_MN = sweep(compute, pool, config, network, recipe, seed, speed)
    whose, variants = Whose.of(pool.images), lira.with_chosen_a(*swept)
    named = next(one for one in variants if one.flag == config.variant().flag)
    stack = stack_of(compute, pool, config, network, recipe, seed, speed, control.MODELS)
    controls = control.answers(compute, pool, network, recipe, seed, stack)
    nothing = _controls(pool, Sweep(swept.shadow_MNQ[:, :, :views], swept.inside_MN), *controls, variants)
    held = _Held(
        pool=pool, whose=whose, swept=swept, views=views, variants=variants, named=named, nothing=nothing, seed=seed
    )
    said = {target: answer["confidences"].numpy()[:, :views].mean(1) for target, answer in answers.items()}
    regressed = quantiles.attack(compute, pool, said, controls[0][:, :, :views].mean(2), controls[1], seed)
    attacks, score, records = dict[str, Any](), {}, []
    for target, answer in answers.items():
        one, score_U, own = _against(target, answer["confidences"].numpy(), tested[target], held)
        records.append(own)
        if target in regressed:
            one["variants"][quantiles.NAME], own = regressed[target]
            records.append(own)
        score[target] = whose.images_of(score_U).tolist()
        attacks[target] = {**one, "views": list(recipe.views()), "pool": told_of(pool)}
    attacks["shadow_models"] = lira.spread(*swept, whose, views)
    alike = {
        target: likeness.figures(answer["right"].numpy(), right_MN, *swept, pool.members_N, whose)
        for target, answer in answers.items()
    }
    each = {"rows": pool.rows_N.tolist(), "members": pool.members_N.tolist(), "score": score}
    doubts = [said for answer in answers.values() for said in answer.get("doubts", ())]
    found = {"tested": tested, "attacks": attacks, "likeness": alike, "each": each, "found": records, "doubts": doubts}
    return {**found, "shadow_images": len(pool.images) // 2}


class _Held(NamedTuple):
    """What every target is held against."""

    pool: Pool
    whose: Whose
    swept: Sweep
    views: int
    """How many views of an image are averaged."""
    variants: Sequence[Variant]
    named: Variant
    """That of the headline."""
    nothing: Mapping[str, dict[str, float]]
    """By variant, what it reads where nothing is remembered."""
    seed: int


def _against(
    target: str, asked_NQ: Confidences, reached: float, held: _Held
) -> tuple[dict[str, Any], Confidences, dict[str, Any]]:  # fmt: skip
    """Of one target, which `reached` this accuracy: {variants, best, headline, auc, aop, best_auc, best_aop, rmia_a};
    the headline's scores, of images or persons; and their record.

    Beside every variant's verdict and in the headline stands its `control`, what it reads where nothing is remembered.
    `auc` and `aop` are those of the headline, `best_auc` and `best_aop` of LiRA's variant that turned out best,
    `rmia_a` is what RMIA offline took for its parameter.
    """
    pool, whose, (shadow_MNQ, inside_MN), views, variants, named, nothing, seed = held
    found = lira.attack(shadow_MNQ[:, :, :views], inside_MN, asked_NQ[:, :views], pool.members_N, whose, variants)
    told = headline(shadow_MNQ, inside_MN, asked_NQ, pool.members_N, pool.images.labels_N, named, views, seed, whose)
    score_U, members_U = told.pop("score_U"), whose.one_each(pool.members_N)
    title = f"{'LiRA, ' * isinstance(named, Lira)}{named}, on the {target}"
    own = record(title, ANSWERS, score_U[members_U], score_U[~members_U], unit=whose.word)
    for name, one in (*found["variants"].items(), (str(named), told)):
        one["control"] = nothing[name]
    areas = {"": told["auc"]["value"], "best_": found["variants"][found["best"]]["auc"]["value"]}
    figures = {f"{which}auc": area for which, area in areas.items()}
    figures |= {f"{which}aop": aop(reached, area) for which, area in areas.items()}
    figures["rmia_a"] = next(one.a for one in variants if isinstance(one, Rmia) and not one.online)
    return {**found, "headline": told, **figures}, score_U, own


def _controls(
    pool: Pool, shadows: Sweep, asked_MNQ: Confidences, inside_MN: Mask, variants: Sequence[Variant]
) -> dict[str, dict[str, float]]:
    """By variant, what the attack reads where nothing is remembered: one control for all targets, who share a recipe
    and the side that they learned from."""
    told = (shadows, asked_MNQ[:, :, : shadows.shadow_MNQ.shape[2]], inside_MN, pool.members_N)
    return {str(one): control.control(*told, one, Whose.of(pool.images)) for one in variants}


def told_of(pool: Pool) -> dict[str, Any]:
    """{members, others: {kept, left_out: {reason: images}}}, without reasons that left out nothing; of persons beside
    `kept`, their images, how many `persons` there are."""
    told, whose = dict[str, Any](), Whose.of(pool.images)
    for side, own_N in (("members", pool.members_N), ("others", ~pool.members_N)):
        persons = {} if whose.persons_N is None else {"persons": int(whose.one_each(own_N).sum())}
        left_out = {why: n for why, n in pool.left_out[side].items() if n}
        told[side] = {"kept": int(own_N.sum()), **persons, "left_out": left_out}
    return told


def _asked(
    compute: Compute, targets: Mapping[str, Target], pool: Images, test: Images, network: Architecture,
    recipe: Recipe,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Every target's answers about all views that training gives, so that fewer may be looked at later."""
    each = [_told(target, recipe) for target in targets.values()]
    told = (pool.fingerprint(), test.fingerprint(), list(recipe.views()), each)
    shared = (network, targets, test, pool, recipe)
    return dict(
        zip(targets, compute.map(ask, list(targets), name=f"targets-{digest(*told)}", shared=shared), strict=True)
    )


def _tested(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {target: answer["accuracy"] for target, answer in answers.items()}


def ask(target: str, shared: tuple[Architecture, Mapping[str, Target], Images, Images, Recipe]) -> dict[str, Any]:
    """One unit: a finished model's test accuracy; of the pool, its confidences in every view, and where it is right."""
    network, targets, test, pool, recipe = shared
    if isinstance(own := targets[target], Learns):
        (model,) = teach(Alone(), network, recipe, [own.images], len(own.images), [own.seed], [own.seed])
    else:
        model = loaded(network.build(test.shape[2], test.classes), own)
    asked: dict[str, Any] = {"doubts": own.look(model, own.images)} if isinstance(own, Learns) else {}
    if len(pool):
        asked |= {
            "confidences": torch.from_numpy(confidences(model, pool, recipe.views())),
            "right": likeness.right(model, pool),
        }
    return {"accuracy": accuracy(model, test), **asked}


def _told(target: Target, recipe: Recipe) -> Any:
    """What its answers depend on."""
    if isinstance(target, Learns):
        return target.images.fingerprint(), target.seed, identity(recipe)
    return fingerprint(target)


def fingerprint(weights: Weights) -> str:
    """SHA-256 (hex) over names, shapes, types and values."""
    found = hashlib.sha256()
    for name, value in weights.items():
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def loaded(model: nn.Module, weights: Weights) -> nn.Module:
    """The model with these weights, ready to be asked."""
    model.load_state_dict(weights)
    return model.to(best_device()).eval()
