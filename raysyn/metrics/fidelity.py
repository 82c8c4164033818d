"""Likeness of synthetic to real images: FID and inception score with Inception weights, a stand-in without.

The stand-in is a Frechet distance on features of a CNN trained here on the real training images. It is never called
FID and compares only runs on the same data set; precision and recall use the same features. All of this looks at
real data after the release is made and belongs in the internal report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from raysyn.compute.doorway import Compute
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.metrics import inception
from raysyn.metrics.distances import (
    Moments,
    density_coverage,
    frechet_distance,
    kernel_distance,
    moments,
    nearest_pairs,
    precision_recall,
)
from raysyn.metrics.inception_figures import added, figures
from raysyn.metrics.inception_score import split_sums, splits_of
from raysyn.metrics.utility import EvalConfig, subset, unit_name
from raysyn.models.classifiers import Classifier
from raysyn.train.classifier import ClassifierConfig, enough, features, fit, hold_out

CHUNK = 5000  # images per Inception unit: a few minutes on a CPU core, 34 MB of moments
KEPT = 5000
"""Images per side at most whose Inception features are kept, for KID, FLD and halves: 40 MB of them."""
BALLS = 5
"""Nearest neighbours that span the balls of density and coverage (Naeem et al. 2020)."""
NO_WEIGHTS = "no Inception weights given: --eval.inception-weights FILE, or download"
SKIPPED = "skipped: eval.feature_epochs is 0"
TOO_FEW = "a class has fewer than two images"

CNN_READS = ("synthetic", "real", "config", "seed", "intra", "released")
"""What is shared that the unit of CNN features reads."""

SIDES = ("synthetic", "real", "test")
"""Whose images Inception sees."""

Unit = tuple[str, int, int]
"""("cnn", 0, 0), or a source with the first and the last-but-one index of its Inception chunk."""


Inception = tuple[dict[str, Any] | None, str]
"""Weights by name and "", or None and the reason."""


def fidelity(
    compute: Compute | None, synthetic: Images, real: Images, config: EvalConfig, seed: int, intra: bool = False,
    reference: str = "real training images", loaded: Inception | None = None, mark: str = "",
    released: Images | None = None, test: Images | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare `synthetic` with `real`, the `reference`, which by custom is the training images; on a `compute`, or here
    (None). `test` are real images that nobody learned from; without them there is no FLD. `loaded` is what
    `inception_weights` answered, where other machines cannot read the file; `mark` tells these synthetic images from
    others of the same run.

    Returns {fid, kid, inception_score, inception_score_ten_splits: {value, reason}; frechet_distance_cnn_features,
    frechet_distance_one_half, kernel_distance_cnn_features, precision, recall, density, coverage (numbers, or null with
    `reason`); and the last six and kid between two random halves of `real` under `<name>_real_halves`, which no images
    can be expected to surpass; images: how many were compared; reference}. These six are of at most half of the real
    images, compared with the other half, so that the two figures are of as many images. Inception weights that cannot
    be had or read leave null with the reason; with them there are fid_one_half, fld and fld_gap
    (`likelihood.feature_likelihood`) too, the first and the last beside real halves. `config.nearest` adds `nearest`:
    {synthetic, real, distances}, see `nearest_pairs`, of the images that are `released`, where these are others than
    `synthetic`. `intra` adds intra_fid and intra_frechet_distance_cnn_features: the mean of the distances within the
    classes (Miyato and Koyama 2018), null where a class has not two synthetic images.
    """
    assert synthetic.shape == real.shape, f"synthetic images are {synthetic.shape}, real ones {real.shape}"
    weights, reason = loaded or inception_weights(config)
    shared: dict[str, Any] = {"synthetic": synthetic, "real": real, "config": config, "seed": seed}
    shared |= {"inception": weights, "intra": intra, "released": synthetic if released is None else released}
    for source, most in {"synthetic": config.inception_images, "real": config.inception_real_images}.items():
        some = subset(shared[source], most, seed)
        shared[f"inception_{source}"] = some.select(np.argsort(some.labels_N, kind="stable")) if intra else some
    shared["inception_test"] = None if test is None else subset(test, KEPT, seed)
    units = _units(shared)
    if compute is None:
        measured = [measure(unit, shared) for unit in units]
    else:
        measured = compute.map(measure, units, name=unit_name("fidelity", config) + mark, shared=shared)
    answers = dict(zip(units, measured, strict=True))
    parts = {side: [answer for unit, answer in answers.items() if unit[0] == side] for side in SIDES}
    result = {"reference": reference} | figures(parts, reason, seed)
    if intra:
        value = _intra_fid(answers, shared)
        result["intra_fid"] = {"value": value, "reason": reason or (TOO_FEW if value is None else None)}
    return result | answers.get(("cnn", 0, 0), _no_stand_in(intra))


def check_weights(config: EvalConfig) -> None:
    """ValueError, before any work, where the Inception weights that are asked for cannot be had; what may fail to be
    downloaded is not asked for."""
    if config.inception_weights not in (None, inception.TRY):
        inception.load_weights(config.inception_weights)


def as_had(config: EvalConfig, loaded: Inception) -> EvalConfig:
    """The configuration by what `inception_weights` answered: without weights that could not be had, so that an answer
    without FID is not found again by a run that has them."""
    return config if loaded[0] is not None else replace(config, inception_weights=None)


def left_out(config: EvalConfig, loaded: Inception) -> str | None:
    """The sentence about weights that were asked for and could not be had."""
    if loaded[0] is not None or config.inception_weights is None:
        return None
    return (
        f"FID and inception score are left out: {loaded[1]}. Judge this run anew with --eval.inception-weights FILE, "
        "or where the download works; nothing is trained again."
    )


def measure(unit: Unit, shared: dict[str, Any]) -> dict[str, Any]:
    """One unit: everything on CNN features, or the Inception moments of one chunk of images."""
    source, start, stop = unit
    if source == "cnn":
        return _on_cnn_features(**{name: shared[name] for name in CNN_READS})
    network = inception.extractor(shared["inception"], best_device())
    pools, probabilities = inception.outputs(network, shared[f"inception_{source}"].select(slice(start, stop)))
    sums, p = moments(pools), probabilities.double()
    count = len(shared[f"inception_{source}"])
    kept = _evenly(count, KEPT)
    return {
        "splits": split_sums(probabilities, splits_of(count, shared["seed"])[start:stop]),
        "vectors": pools[kept[(kept >= start) & (kept < stop)] - start].float().cpu(),
        "count": sums.count,
        "sum": sums.sum_F,
        "outer": sums.outer_FF,
        "probabilities": p.sum(0),
        "negative_entropy": float(torch.xlogy(p, p).sum()),
    }


def _evenly(count: int, most: int) -> np.ndarray:
    """Places of at most so many of `count` images, evenly spread, for these may be in the order of their classes."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)


def inception_weights(config: EvalConfig) -> Inception:
    """The weights that are asked for, or None and why not."""
    if config.inception_weights is None:
        return None, NO_WEIGHTS
    try:
        return inception.load_weights(config.inception_weights), ""
    except ValueError as error:
        return None, str(error)


def _units(shared: dict[str, Any]) -> list[Unit]:
    """Chunks end where a class does, if classes are to be compared."""
    units: list[Unit] = [("cnn", 0, 0)] if shared["config"].feature_epochs else []
    if shared["inception"] is None:
        return units
    for source in SIDES:
        if (images := shared[f"inception_{source}"]) is None:
            continue
        labels_N = images.labels_N
        inner = np.flatnonzero(np.diff(labels_N)) + 1 if shared["intra"] and source != "test" else ()
        for first, end in pairwise([0, *map(int, inner), len(labels_N)]):
            units += [(source, start, min(start + CHUNK, end)) for start in range(first, end, CHUNK)]
    return units


def feature_cnn(real: Images, config: EvalConfig, seed: int) -> Classifier:
    """A CNN that learned from real images, of few ones in more passes: ten of 540 digits of 8 pixels reach 22 %, and in
    such features images of noise are nearer to real ones than good images are in those of a network that knows digits.
    """
    training = ClassifierConfig(epochs=config.feature_epochs)
    images, valid = hold_out(subset(real, config.images, seed), training.validation_share, seed)
    training = enough("cnn", training, len(images))
    # What has learned its images by heart sees these otherwise than new ones as good.
    return fit(images, valid, "cnn", training, seed, best_device(), earliest=True).model


def _on_cnn_features(
    synthetic: Images, real: Images, config: EvalConfig, seed: int, intra: bool, released: Images
) -> dict[str, Any]:
    model = feature_cnn(real, config, seed)
    made, true = features(model, synthetic), features(model, real)
    order = torch.randperm(len(true), generator=torch.Generator().manual_seed(seed)).to(true.device)
    within = _beside_halves(made, [true[half] for half in order.tensor_split(2)], config, seed)
    if config.nearest:
        pairs = nearest_pairs(made if released is synthetic else features(model, released), true, config.nearest)
        within["nearest"] = dict(zip(("synthetic", "real", "distances"), (one.tolist() for one in pairs), strict=True))
    if intra:
        by_class = [_by_class(vectors, side.labels_N) for vectors, side in ((made, synthetic), (true, real))]
        within["intra_frechet_distance_cnn_features"] = mean = _mean_distance(*by_class)
        within |= {} if mean is not None else {"intra_frechet_distance_cnn_features_reason": TOO_FEW}
    return within | {
        "frechet_distance_cnn_features": frechet_distance(moments(made), moments(true)),
        "images": {
            "frechet_distance": {"synthetic": len(synthetic), "real": len(real)}, "halves": within["images"]
        },
    }  # fmt: skip


def _beside_halves(
    made_NF: torch.Tensor, halves: Sequence[torch.Tensor], config: EvalConfig, seed: int
) -> dict[str, Any]:
    """Each measure between synthetic images and one half of the real ones, and between that half and the other, of as
    many images: distances of means and spreads are larger the fewer there are."""
    one, other = (half[: config.precision_recall_images] for half in halves)
    drawn = torch.randperm(len(made_NF), generator=torch.Generator().manual_seed(seed)).to(made_NF.device)
    count = min(len(other), len(made_NF))
    found: dict[str, Any] = {"images": {"synthetic": count, "real": len(one)}}
    nearest, whole = min(config.neighbours, count - 1, len(one) - 1), moments(one)
    for name, some in (("", made_NF[drawn[:count]]), ("_real_halves", other[:count])):
        found[f"frechet_distance_one_half{name}"] = frechet_distance(moments(some), whole)
        found[f"precision{name}"], found[f"recall{name}"] = precision_recall(some, one, nearest)
        found[f"kernel_distance_cnn_features{name}"] = kernel_distance(some, one)
        balls = min(BALLS, len(one) - 1)
        found[f"density{name}"], found[f"coverage{name}"] = density_coverage(some, one, balls)
    return found


def _by_class(vectors_NF: torch.Tensor, labels_N: np.ndarray) -> dict[int, Moments]:
    return {label: moments(vectors_NF[np.flatnonzero(labels_N == label)]) for label in np.unique(labels_N).tolist()}


def _mean_distance(made: Mapping[int, Moments], real: Mapping[int, Moments]) -> float | None:
    """Mean of the Frechet distances of the classes of which there are two real images; None where one of these has not
    two synthetic ones, for of what is missing there is no distance, and the rest would flatter."""
    common = [label for label, there in real.items() if there.count > 1]
    if any(label not in made or made[label].count < 2 for label in common):
        return None
    return float(np.mean([frechet_distance(made[label], real[label]) for label in common])) if common else None


def _no_stand_in(intra: bool) -> dict[str, Any]:
    names = ["frechet_distance_one_half", "kernel_distance_cnn_features", "precision", "recall", "density", "coverage"]
    measures = ["frechet_distance_cnn_features", *names, *(f"{name}_real_halves" for name in names)]
    measures += ["intra_frechet_distance_cnn_features"] if intra else []
    return dict.fromkeys(measures) | {"images": {}, "reason": SKIPPED}


def _intra_fid(answers: Mapping[Unit, dict[str, Any]], shared: Mapping[str, Any]) -> float | None:
    """From chunks that hold one class each."""
    sides: dict[str, dict[int, list[dict[str, Any]]]] = {"synthetic": {}, "real": {}}
    for (source, start, _), answer in answers.items():
        if source in sides:
            sides[source].setdefault(int(shared[f"inception_{source}"].labels_N[start]), []).append(answer)
    made, real = ({label: added(parts) for label, parts in side.items()} for side in sides.values())
    return _mean_distance(made, real)
