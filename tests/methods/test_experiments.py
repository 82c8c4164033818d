"""What units of experiments may ask and with which noise; how distances are told apart from the run's own."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from raysyn.data.images import Images
from raysyn.methods.dp_feta.experiments import PARTS
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.experiment_report import LEFT_OUT, sections
from raysyn.methods.experiment_units import Scratch
from raysyn.methods.experiments import Compared
from raysyn.methods.privimage.experiments import PARTS as PRIVIMAGE_PARTS
from raysyn.methods.privimage.presets import PRESETS as PRIVIMAGE
from raysyn.methods.sweep import Group, Reads, SweepConfig, Variant
from raysyn.metrics import along
from raysyn.metrics.fidelity import fidelity
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.sgd_config import MARKS


def blobs(count: int, seed: int) -> Images:
    pixels = np.random.default_rng(seed).integers(100, size=(count, 8, 8, 1))
    labels = np.arange(count) % 3
    pixels[np.arange(count), labels] += 120
    return Images(pixels.astype(np.uint8), labels, ("a", "b", "c"))


def test_a_unit_that_only_judges_asks_nothing() -> None:
    folder = Scratch(bytes(32), {"central": 1}, refused=("central", "finetune"))
    assert folder.stage("central", pytest.fail) == 1 and folder.stage("drawn-again", lambda: 2) == 2
    with pytest.raises(AssertionError, match="finetune would ask private images"):
        folder.stage("finetune", lambda: 3)


def test_noise_depends_on_all_of_the_question_and_on_no_short_digest_of_it() -> None:
    """Questions of two runs with the same queries are the same; where no stage is told, none is taken for another."""
    config, reads = PRESETS["quick"], PARTS.reads
    more = replace(config, central=replace(config.central, count=40))
    other = replace(config, augment=replace(config.augment, operations=7))
    assert repr(more.central) in reads.questions(more) != reads.questions(config) == reads.questions(other)
    untold = Reads(judging=reads.judging, after=reads.after)
    assert len({untold.questions(one) for one in (config, more, other)}) == 3
    for field in ("central", "budget", "finetune", "augment"):
        assert repr(getattr(config, field)) in reads.all_of(config), field


def test_what_is_without_privacy_is_not_shown_and_runs_called_alike_are_told_apart() -> None:
    """report.html stays when a run is sealed."""
    own = PRIVIMAGE["quick"]
    configs = [own, replace(own, budget=replace(own.budget, epsilon=3.0)), replace(own, private=False)]
    variants = [Variant(config=one, title=title, method="m") for one, title in zip(configs, "aab", strict=True)]
    reads, along = PRIVIMAGE_PARTS.reads, [{"step": 0, "fid": None, "frechet_distance_cnn_features": 2.0}]
    results = {
        reads.whole(one): {
            "accuracy": {"cnn": 0.1 * at}, "fid": None, "frechet_distance_cnn_features": 1.0 + at, "facts": {},
            "shown": torch.full((10, 8, 8, 1), 60 * at, dtype=torch.uint8), "noise_multiplier": 1.0, "along": along,
        }
        for at, one in enumerate(configs)
    }  # fmt: skip
    before = {reads.begun(own): results[reads.whole(own)] | {"loss": 1.0}}
    before[reads.begun(configs[2])] = results[reads.whole(configs[2])] | {"loss": 2.0}
    found = Compared({"g": Group(title="G", text="T.", variants=variants)}, results, before, reads)
    pages = {one.title: one for one in sections(found, own)}
    assert [row[0] for row in pages["G"].rows] == ["run", "a (this run)", "a", "b"]
    assert [row[2] for row in pages["G"].rows[1:]] == ["0.0", "10.0", "20.0"]
    shown = [one for title, one in pages.items() if title.startswith("Their first images")]
    for section, rows in zip(shown, (2, 1), strict=True):
        picture = base64.b64decode(section.picture.partition(",")[2])
        side = Image.open(io.BytesIO(picture)).size
        assert (
            side[1] == rows * (8 * 5 + 2) + 2
            and LEFT_OUT in section.text
            and "b" not in section.text.partition(".")[0].rpartition(":")[2]
        )
    alone = Compared({"g": Group(title="G", text="", variants=variants[2:])}, results, {}, reads)
    assert not any(one.picture and "images of each run" in one.alt for one in sections(alone, own))


def test_more_points_than_training_is_looked_at_are_refused() -> None:
    assert SweepConfig(along=MARKS).along == MARKS
    with pytest.raises(ValueError, match=rf"experiment\.along is {MARKS + 1}, but training is looked at {MARKS} times"):
        SweepConfig(along=MARKS + 1)


def test_distances_of_compared_runs_are_cut_as_those_of_the_run_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Fréchet distance on a CNN's features is of all images, FID of as many as are asked for."""
    real, made, config = blobs(90, 0), blobs(60, 1), EvalConfig(feature_epochs=1, inception_images=20)
    seen = list[int]()

    def look(_: Any) -> along.Look:
        def counted(images: Images) -> Any:
            seen.append(len(images))
            return along.moments(torch.tensor(images.images_NHWC, dtype=torch.float64).flatten(1)[:, :8])

        return counted

    monkeypatch.setattr(along, "_inception", look)
    (found,) = along.distances([made], real, config, 0, ({}, ""))
    own = fidelity(None, made, real, config, 0)
    assert found["frechet_distance_cnn_features"] == pytest.approx(own["frechet_distance_cnn_features"])
    assert seen == [90, 20] and found["fid"] is not None


def test_nearest_pairs_are_of_what_is_released() -> None:
    """Where fidelity is measured on images drawn once more: copies of private ones among those released are found."""
    real, made, config = blobs(90, 0), blobs(60, 1), EvalConfig(feature_epochs=1, nearest=2, precision_recall_images=50)
    copied = Images(made.images_NHWC.copy(), made.labels_N, made.class_names)
    copied.images_NHWC[7] = real.images_NHWC[31]
    apart = fidelity(None, made, real, config, 0, released=copied)
    plain = fidelity(None, made, real, config, 0)
    assert (apart["nearest"]["synthetic"][0], apart["nearest"]["real"][0]) == (7, 31)
    assert apart["nearest"]["distances"][0] < 1e-3 < plain["nearest"]["distances"][0]
    assert apart.pop("nearest") != plain.pop("nearest") and apart == plain
