"""An attack that sees the released images alone: who was learned from may lie nearer to them than who was held out.

Of each private training image, and of images that were held out, it takes the distance to the nearest released image of
its class, in pixels and in the features of a CNN that learned from the released images. A network that had seen the
training images would be nearer to these whatever was released. Some images lie near to everything; so each distance is
held against that to the nearest other image of both sides together (of another person, where persons are named). It
treats both sides alike, so that scores are exchangeable where membership is.

Training and test images may differ by more than membership (other writers, another hospital), and what lies nearer then
says nothing of what was learned. So, where enough training images are left that are not asked about, up to as many as
were released are put in their place: they are of others, so that what they tell apart is that difference alone. Where
they show none there may be one yet: released images that are unlike real ones may tell another.

A person's score is the mean over their images, which does not grow with how many they are, as their largest would.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.attacks.found import RELEASED, found
from raysyn.attacks.pool import Pool, make_pool, prints
from raysyn.attacks.verdict import Interval, Scores, auc, from_pairs
from raysyn.attacks.whose import Whose
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.train.classifier import ClassifierConfig, features, fit, hold_out
from raysyn.train.near import Look, flat, nearest

NAME = "Nearest released image"
LEARN_FROM, EPOCHS, FEWEST = 2_000, 5, 20
"""Released images that the CNN learns from at most, how often it sees each, and the fewest that it is trained on."""
LEFT, MOST = 20, 0.9
"""Training images of a class, not asked about, that a control needs, and the share of all that are asked about that has
to be of such classes."""
CLOSEST = 8
"""Pairs of a released image and its nearest private one that are told, the closest of all."""
LEAST = 1e-6
"""Of a distance, so that copies have a logarithm."""


def attack(
    released: Images, members: Images, others: Images, most: int, seed: int, delta: float | None = None
) -> dict[str, Any]:
    """Of at most `most` training and held-out images (or persons) each, drawn by the seed.

    Returns {"found": a record as `found.found` makes it, "closer": {"pixels", "features": {value, low, high}}, of the
    released images the share that lies nearer to a training image than to any of as many held-out ones; "released": how
    many images these are of; "closest": see `closest`; "control": see `control`}; without the CNN, of one class or too
    few images, without "features". Where too few images can be compared {"found": None, "reason": one sentence}.
    """
    there_K = np.bincount(released.labels_N, minlength=released.classes) > 0
    pairs = closest(released, members, most, seed)
    members, others = (side.select(np.flatnonzero(there_K[side.labels_N])) for side in (members, others))
    try:
        pool = make_pool(members, others, most, seed)
    except ValueError as error:
        return {"found": None, "reason": str(error)}
    looks = _looks(released, seed)
    whose = Whose.of(pool.images)
    inside, outside = _scores(pool, released, looks)
    seen = " and in features of a CNN that learned from the released images" if "features" in looks else ""
    closer = {name: _closer(pool, released, look, seed) for name, look in looks.items()}
    whole = ", the mean over a person's images" if whose.word == "person" else ""
    note = (
        f"how near the nearest released image of its class lies, in pixels{seen}, each held against the nearest other "
        f"image of both sides{whole}; at "
        f"most {most:,} {whose.word}s a side, drawn by the seed, no image on both. Of the {len(released):,} released "
        f"images {_told(closer)} lie nearer to a training image than to any of as many held-out ones; 50 is chance."
    )
    stand_in = control(pool, members, released, seed)
    if stand_in:
        note += _told_of_control(auc(inside, outside), stand_in)
    record = found(NAME, RELEASED, inside, outside, unit=whose.word, delta=delta, note=note)
    return {"found": record, "closer": closer, "released": len(released), "closest": pairs, "control": stand_in}


def control(pool: Pool, members: Images, released: Images, seed: int) -> dict[str, Any] | None:
    """What the attack reads of training images in the place of the released ones, as many of each class where there
    are, of nobody who is asked about and no copies of what is: {"images": how many, "auc": {value, low, high}}, one
    half where both sides are of one source. Classes with fewer than LEFT of them are without, as a release may be; None
    where these are more than a few."""
    rows_N = pool.rows_N[pool.members_N]
    if len(members) - len(rows_N) < LEFT:
        return None
    asked_N = np.isin(np.arange(len(members)), rows_N) | np.isin(prints(members), prints(pool.images))
    if members.persons_N is not None:
        asked_N |= np.isin(members.persons_N, members.persons_N[rows_N])
    order = np.random.default_rng([seed, 2]).permutation(np.flatnonzero(~asked_N))
    labels_N, wanted_K = members.labels_N[order], np.bincount(released.labels_N, minlength=members.classes)
    there_K = (np.bincount(labels_N, minlength=members.classes) >= LEFT) & (wanted_K > 0)
    there = np.intersect1d(np.flatnonzero(there_K), pool.images.labels_N)
    if np.isin(pool.images.labels_N, there).mean() < MOST:
        return None
    rows = np.sort(np.concatenate([order[labels_N == label][: wanted_K[label]] for label in there]))
    stand_in = members.select(rows)
    return {"images": len(rows), "auc": auc(*_scores(pool, stand_in, _looks(stand_in, seed))).as_dict()}


def closest(released: Images, members: Images, most: int, seed: int) -> dict[str, list[Any]]:
    """{"released", "private": places of CLOSEST pairs at most, the closest first, "distances": root mean square
    differences of pixels, from 0 to 1}: of at most so many released images, drawn by the seed, each with the nearest
    training image of its class. Of pairs with the same private image the closest alone."""
    some = np.sort(np.random.default_rng([seed, 1]).permutation(len(released))[:most])
    asked = released.select(some)
    far_M, who_M = np.full(len(some), np.inf), np.zeros(len(some), np.int64)
    for own, made in _by_class(members, asked):
        near = nearest(asked.select(made), members.select(own), flat)
        far_M[made], who_M[made] = near.far[:, 0].cpu().numpy(), own[near.who[:, 0].cpu().numpy()]
    order = np.argsort(far_M, kind="stable")
    order = order[np.isfinite(far_M[order])]
    # The place of each private image where it comes first.
    first = np.sort(np.unique(who_M[order], return_index=True)[1])[:CLOSEST]
    # A difference of pixels in [-1, 1] is at most 2.
    size = 2 * flat(released.select([0])).numel() ** 0.5 if len(some) else 1.0
    return {
        "released": some[order[first]].tolist(),
        "private": who_M[order[first]].tolist(),
        "distances": (far_M[order[first]] / size).tolist(),
    }


def differs(stand_in: dict[str, Any] | None) -> bool:
    """Whether a `control` shows training and test images to differ by more than membership: its interval leaves out
    one half."""
    return stand_in is not None and not stand_in["auc"]["low"] <= 0.5 <= stand_in["auc"]["high"]


def _looks(released: Images, seed: int) -> dict[str, Look]:
    """By name: vectors (N, F) of images."""
    looks: dict[str, Look] = {"pixels": flat}
    if released.classes > 1 and len(released) >= FEWEST:
        some = np.random.default_rng(seed).permutation(len(released))[:LEARN_FROM]
        training = ClassifierConfig(epochs=EPOCHS)
        parts = hold_out(released.select(np.sort(some)), training.validation_share, seed)
        model = fit(*parts, "cnn", training, seed, best_device()).model
        looks["features"] = lambda images: features(model, images).float()
    return looks


def _scores(pool: Pool, released: Images, looks: dict[str, Look]) -> tuple[Scores, Scores]:
    """Of members and of others, one of each image (person)."""
    whose = Whose.of(pool.images)
    score_N = np.sum([_score(pool, released, look, whose) for look in looks.values()], axis=0)
    score_U, members_U = whose.mean(score_N[:, None])[:, 0], whose.one_each(pool.members_N)
    return score_U[members_U], score_U[~members_U]


def _score(pool: Pool, released: Images, look: Look, whose: Whose) -> NDArray[np.float64]:
    """(N,), higher meaning "rather a member": how much nearer the nearest released image is than the nearest of others
    in the pool, as a logarithm; 0 where there is no other of its class."""
    images, score_N = pool.images, np.zeros(len(pool.images))
    units_N = np.arange(len(images)) if whose.persons_N is None else whose.persons_N
    for own, made in _by_class(images, released):
        mine = images.select(own)
        near = nearest(mine, released.select(made), look).far[:, 0]
        usual = nearest(mine, mine, look, units_N[own]).far[:, 0]
        ratio = torch.log(usual + LEAST) - torch.log(near + LEAST)
        score_N[own] = torch.where(usual.isfinite(), ratio, 0.0).double().cpu().numpy()
    return score_N


def _closer(pool: Pool, released: Images, look: Look, seed: int) -> dict[str, float]:
    """{value, low, high}: of the released images the share whose nearest image of the pool, with as many of each side
    in each class, is a member.

    Many may have the same nearest image, or images of the same person, who are members or not together. The interval is
    of as many fair coins as these images (persons) are worth: the square of the sum of how often each is the nearest,
    over the sum of squares.
    """
    counts_N = np.zeros(len(pool.images))
    rng = np.random.default_rng(seed)
    for own, made in _by_class(pool.images, released):
        sides = [rng.permutation(own[pool.members_N[own] == side]) for side in (True, False)]
        # Of persons a class may have images of one side alone.
        equal = np.concatenate([side[: min(map(len, sides))] for side in sides])
        if len(equal):
            # Of images that are as near, the first one is taken: neither side comes first.
            equal = rng.permutation(equal)
            who = nearest(released.select(made), pool.images.select(equal), look).who[:, 0].cpu().numpy()
            counts_N[equal] += np.bincount(who, minlength=len(equal))
    share = counts_N[pool.members_N].sum() / counts_N.sum()
    persons_N = pool.images.persons_N
    counts_U = counts_N if persons_N is None else np.bincount(persons_N, weights=counts_N)
    return from_pairs(float(share), float(counts_U.sum() ** 2 / (counts_U**2).sum())).as_dict()


def _by_class(images: Images, released: Images) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Places of each class that both have."""
    for label in np.intersect1d(images.labels_N, released.labels_N):
        yield np.flatnonzero(images.labels_N == label), np.flatnonzero(released.labels_N == label)


def _told(closer: dict[str, dict[str, float]]) -> str:
    shown = {name: [f"{100 * one[key]:.1f}" for key in ("value", "low", "high")] for name, one in closer.items()}
    return " and ".join(f"{value} % ({low} to {high}, by {name})" for name, (value, low, high) in shown.items())


def _told_of_control(here: Interval, stand_in: dict[str, Any]) -> str:
    """A sentence, after others."""
    shown = [f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for one in (here.as_dict(), stand_in["auc"])]
    apart = "by this interval no difference of training and test images shows, which is no proof that there is none"
    if differs(stand_in):
        by = (
            "by this interval training and test images differ by more than membership (other writers, another hospital)"
        )
        more = stand_in["auc"]["low"] > 0.5
        apart = (
            f"{by}, {'and what is found may be that' if more else 'so that this attack may underrate what it finds'}"
        )
    return (
        f" The area under the curve is {shown[0]}; 0.5 is guessing. With {stand_in['images']:,} training images that "
        f"are not asked about in the place of the released ones it is {shown[1]}: {apart}."
    )
