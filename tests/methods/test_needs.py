"""Every method tells what its stages will hold, and refuses what has no place, before it measures or trains."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysyn.attacks import shadows
from raysyn.attacks.shadows import AttackConfig
from raysyn.compute import peak
from raysyn.data.fourier import FourierConfig
from raysyn.data.images import Dataset, Images
from raysyn.data.public import Public
from raysyn.data.tangent import TangentConfig
from raysyn.methods import embedded, embedded_outlook, matching, needs
from raysyn.methods.dp_feta import outlook as of_dp_feta
from raysyn.methods.dp_feta import presets as dp_feta_presets
from raysyn.methods.dp_imgsyn import outlook as of_dp_imgsyn
from raysyn.methods.dp_imgsyn import presets as dp_imgsyn_presets
from raysyn.methods.dp_imgsyn.units import Publics
from raysyn.methods.dp_kernel import outlook as of_dp_kernel
from raysyn.methods.dp_kernel import presets as dp_kernel_presets
from raysyn.methods.dp_mepf import outlook as of_dp_mepf
from raysyn.methods.dp_mepf import presets as dp_mepf_presets
from raysyn.methods.dp_merf import presets as dp_merf_presets
from raysyn.methods.dp_ntk import presets as dp_ntk_presets
from raysyn.methods.dp_prototypes import outlook as of_dp_prototypes
from raysyn.methods.dp_prototypes import presets as dp_prototypes_presets
from raysyn.methods.evolution import outlook as of_evolution
from raysyn.methods.evolution import presets as evolution_presets
from raysyn.methods.knowledge_recycling import outlook as of_recycling
from raysyn.methods.knowledge_recycling import presets as recycling_presets
from raysyn.methods.lira import outlook as of_lira
from raysyn.methods.lira import presets as lira_presets
from raysyn.methods.machines import On, OnAttacked
from raysyn.methods.method import Prepared
from raysyn.methods.noisy_means import outlook as of_noisy_means
from raysyn.methods.noisy_means import presets as noisy_means_presets
from raysyn.methods.p3gm import outlook as of_p3gm
from raysyn.methods.p3gm import presets as p3gm_presets
from raysyn.methods.pigan import outlook as of_pigan
from raysyn.methods.pigan import presets as pigan_presets
from raysyn.methods.pigan.config import ExperimentConfig
from raysyn.methods.privimage import outlook as of_privimage
from raysyn.methods.privimage import presets as privimage_presets
from raysyn.models.resnet import ResNetConfig
from raysyn.models.students import NAMES
from raysyn.models.teacher import TeacherConfig
from raysyn.on_ray.shares import share_out
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.screen.console import Console
from raysyn.train.embedding import MatchConfig, fit
from raysyn.train.memory import Need
from raysyn.train.recipe import RecipeConfig

ROOT = Path(__file__).resolve().parents[2]


def images(side: int, channels: int = 1, count: int = 40) -> Images:
    return Images(np.zeros((count, side, side, channels), np.uint8), np.arange(count) % 2, ("a", "b"))


def prepared(side: int, channels: int = 1, more: Any = None) -> Prepared:
    found = Dataset("set", images(side, channels), images(side, channels, 10), None)
    return Prepared(dataset=found, more=more)


LETTERS = Public("letters", images(16, count=300), images(16, count=20))
MANY = privimage_presets.PRESETS
CHECKS: dict[str, tuple[Callable[[Console, Prepared], None], set[str]]] = {
    "noisy_means": (
        lambda console, found: of_noisy_means.check_memory(console, noisy_means_presets.PRESETS["quick"], found, On()),
        {"means", "spread", "synthesise", "cnn", "resnet9"},
    ),
    "evolution": (
        lambda console, found: of_evolution.check_memory(console, evolution_presets.PRESETS["quick"], found, On()),
        {"votes", "synthesise", "cnn", "resnet9"},
    ),
    "dp_merf": (
        lambda console, found: embedded_outlook.check_memory(console, dp_merf_presets.PRESETS["quick"], found, On()),
        {"embedding", "generator", "synthesise", "cnn", "resnet9"},
    ),
    "dp_ntk": (
        lambda console, found: embedded_outlook.check_memory(console, dp_ntk_presets.PRESETS["quick"], found, On()),
        {"embedding", "generator", "synthesise", "cnn", "resnet9"},
    ),
    "dp_mepf": (
        lambda console, found: of_dp_mepf.check_memory(console, dp_mepf_presets.PRESETS["quick"], found, On()),
        {"means", "generator", "synthesise", "cnn", "resnet9"},
    ),
    "dp_kernel": (
        lambda console, found: of_dp_kernel.check_memory(console, dp_kernel_presets.PRESETS["quick"], found, On()),
        {"functions", "synthesise", "cnn", "resnet9"},
    ),
    "p3gm": (
        lambda console, found: of_p3gm.check_memory(console, p3gm_presets.PRESETS["quick"], found, On()),
        {"means", "spread", "mixture", "warmup", "finetune", "synthesise", "cnn", "resnet9"},
    ),
    "dp_feta": (
        lambda console, found: of_dp_feta.check_memory(console, dp_feta_presets.PRESETS["quick"], found, On()),
        {"warmup", "finetune", "synthesise", "cnn", "resnet9"},
    ),
    "dp_feta_pro": (
        lambda console, found: of_dp_feta.check_memory(console, dp_feta_presets.PRESETS["quick-pro"], found, On()),
        {"warmup", "embedding", "generator", "generated", "frequency", "finetune", "synthesise", "cnn", "resnet9"},
    ),
    "privimage": (
        lambda console, found: of_privimage.check_memory(console, MANY["quick"], replace(found, more=LETTERS), On()),
        {"pretrain", "finetune", "synthesise", "query", "cnn"},
    ),
    "privimage_gan": (
        lambda console, found: of_privimage.check_memory(
            console, MANY["quick-gan"], replace(found, more=LETTERS), On()
        ),
        {"pretrain", "finetune", "query", "cnn"},
    ),
    "dp_imgsyn": (
        lambda console, found: of_dp_imgsyn.check_memory(
            console,
            replace(dp_imgsyn_presets.PRESETS["quick"], students=NAMES),
            replace(found, more=Publics(LETTERS, {})),
            On(),
        ),
        {"teacher", "align", *(f"student {name}" for name in NAMES)},
    ),
    "dp_prototypes": (
        lambda console, found: of_dp_prototypes.check_memory(
            console, dp_prototypes_presets.PRESETS["quick"], replace(found, more=LETTERS), On()
        ),
        {"query", "space", "label", "student resnet18", "cnn"},
    ),
    "knowledge_recycling": (
        lambda console, found: of_recycling.check_memory(
            console, recycling_presets.PRESETS["quick"], found, recycling_presets.MACHINES
        ),
        {"teacher", "generator"},
    ),
    "pigan": (
        lambda console, found: of_pigan.check_memory(
            console,
            replace(pigan_presets.PRESETS["quick"], experiment=ExperimentConfig(compare=True)),
            found,
            On(),
        ),
        {"GAN", "PIGAN", "PrivGAN", "cnn"},
    ),
    "lira": (
        lambda console, found: of_lira.check_memory(console, lira_presets.PRESETS["quick"], found, OnAttacked()),
        {"a shadow model"},
    ),
}


@pytest.mark.parametrize(
    "method", [pytest.param(one, marks=[pytest.mark.slow] * (one == "privimage_gan")) for one in CHECKS]
)
def test_every_stage_is_told_and_what_has_no_place_is_refused(
    method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check, stages = CHECKS[method]
    told: list[Need] = []
    monkeypatch.setattr(needs, "largest", lambda found: told.extend(found) or max(found, key=lambda one: one.bytes))
    with Console() as console:
        check(console, prepared(16))
        assert {one.stage for one in told} >= stages and all(2**10 < one.bytes < 2**33 for one in told), told
        assert "Memory: a worker holds about" in capsys.readouterr().out
        # So little that one mend is not enough for all methods, and so much that not every one is tried.
        half = max(one.bytes for one in told) // 2
        monkeypatch.setattr(needs, "available_bytes", lambda: half)
        with pytest.raises(ValueError, match=r"images are 16x16 pixels .* are free here; give .*cluster"):
            check(console, prepared(16))


@pytest.mark.parametrize("method", ["knowledge_recycling", "pigan", "lira"])
def test_larger_images_need_more(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DP-SGD takes fewer of them at a time; these methods do not."""
    sizes: list[int] = []
    monkeypatch.setattr(needs, "check_memory", lambda shape, found, *_: sizes.append(max(n.bytes for n in found)))
    with Console() as console:
        for side in (16, 32):
            CHECKS[method][0](console, prepared(side))
    assert sizes[1] > 2 * sizes[0]


@pytest.mark.parametrize(
    ("widths", "outputs"), [((2**16,), 2**16), ((2**16, 2**16), 10)], ids=["many outputs", "two wide layers"]
)
def test_a_random_network_that_has_no_place_is_refused(
    widths: tuple[int, ...], outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are drawn whole."""
    features = TangentConfig(widths=widths, outputs=outputs)
    config = replace(dp_ntk_presets.PRESETS["quick"], features=features)
    monkeypatch.setattr(needs, "available_bytes", lambda: 2**34)
    with Console() as console, pytest.raises(ValueError, match="are free here"):
        embedded_outlook.check_memory(console, config, prepared(8), On())


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are forgotten on Linux alone")
@pytest.mark.parametrize(("widths", "classes", "batch"), [((8,), 1, 5_000), ((8,), 10, 5_000), ((300,), 1, 1_000)])
def test_a_generator_holds_no_more_than_is_told_for_tangent_features(
    widths: tuple[int, ...], classes: int, batch: int
) -> None:
    """However many pairs of images of a class a batch has."""
    like = replace(images(8), labels_N=np.arange(40) % classes, class_names=tuple("abcdefghij"[:classes]))
    config = replace(
        dp_ntk_presets.PRESETS["quick"],
        features=TangentConfig(widths=widths),
        training=MatchConfig(iterations=2, batch_size=batch, unbiased=True),
    )
    asked = embedded.asked_of(config)
    of = config.features.of(like.shape, 0)

    def learn(training: MatchConfig) -> None:
        generator = matching.new_generator(config.network, like, 0)
        fit(matching.Stopwatch(), generator, np.zeros((classes, of.size)), embedded.generated(of), training, 0)

    learn(replace(config.training, batch_size=20))  # what libraries hold from their first use on
    peak.forget()
    before = peak.held()[peak.MEMORY]
    learn(config.training)
    (told,) = (one for one in embedded.needs(asked, config, like.shape, classes) if one.stage == "generator")
    assert peak.held()[peak.MEMORY] - before < told.bytes < 2**30


@pytest.mark.parametrize("count", [90, 400, 3200, 10**5])
def test_the_fast_recipe_needs_what_a_step_holds(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few images, fewer than its highest number; they are shared out evenly, so that some are a little more."""
    told: list[Need] = []
    monkeypatch.setattr(needs, "check_memory", lambda shape, found, *_: told.extend(found))
    config = replace(lira_presets.PRESETS["quick"], recipe_kind="fast")
    found = Dataset("set", images(8, count=count), images(8, count=20), None)
    with Console() as console:
        of_lira.check_memory(console, config, Prepared(dataset=found), OnAttacked())
    whole = [np.arange(part) for part in (count, (count + 20) // 2)]
    largest = max(len(step) for part in whole for step in np.array_split(part, config.fast.steps(len(part))))
    assert told[0].of == f"a batch of {largest:,} images" and largest < 1200


def test_images_that_dp_imgsyn_cannot_take_are_refused_with_the_size_that_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 224 pixels, in the paper's sizes."""
    config = replace(dp_imgsyn_presets.PRESETS["quick"], teacher=TeacherConfig(), students=("vgg11",))
    sets = Publics(LETTERS, {})
    monkeypatch.setattr(needs, "available_bytes", lambda: 2**30)
    with Console() as console:
        with pytest.raises(ValueError, match=r"images are 224x224 pixels .*; give --data\.size \d+ ") as caught:
            of_dp_imgsyn.check_memory(console, config, prepared(224, 3, sets), On(address="here"))
        side = int(str(caught.value).partition("--data.size ")[2].split()[0])
        of_dp_imgsyn.check_memory(console, config, prepared(side, 3, sets), On(address="here"))


@pytest.mark.parametrize("method", ["dp_feta", "privimage_gan", "dp_imgsyn"])
def test_workers_without_gpus_share_one_memory(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """DP-SGD holds what a worker holds as often as there are workers, and their libraries."""
    monkeypatch.setattr(needs, "best_device", lambda: torch.device("cpu"))
    module, config, stage, more = {
        "dp_feta": (of_dp_feta, dp_feta_presets.PRESETS["quick"], "finetune", {}),
        "privimage_gan": (of_privimage, MANY["quick-gan"], "finetune", {"public": LETTERS}),
        "dp_imgsyn": (of_dp_imgsyn, dp_imgsyn_presets.PRESETS["quick"], "teacher", {"released": 40}),
    }[method]

    def held(**machines: Any) -> int:
        on = On(sgd=SGDSpeed(micro_batch=4), **machines)
        found = module.needs(config, (16, 16, 1), on, private=images(16), **more)
        return next(one.bytes for one in found if one.stage == stage and "images at a time" in one.of)

    assert held(workers=3) == pytest.approx(3 * (held(address="here") + needs.LIBRARIES), abs=3)


def test_as_many_workers_share_a_memory_as_a_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "best_device", lambda: torch.device("cpu"))
    for cpus in (1, 2, 16):
        monkeypatch.setattr(needs.os, "cpu_count", lambda cpus=cpus: cpus)
        assert needs.sharing(On()) == share_out(On(), [{"CPU": cpus}]).workers
    assert needs.sharing(On(workers=3)) == 3
    assert needs.sharing(On(address="here")) == needs.sharing(On(address="auto", workers=3)) == 1
    monkeypatch.setattr(needs, "best_device", lambda: torch.device("cuda"))
    assert needs.sharing(On(workers=3)) == 1


def test_a_small_gpu_is_not_refused_what_it_takes_in_smaller_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "best_device", lambda: torch.device("cuda"))
    config = SGDConfig(batch_size=4096, noise_multiplicity=1)

    def need(free: int, on: On) -> Need:
        monkeypatch.setattr(needs, "available_bytes", lambda: free)
        network = partial(torch.nn.Conv2d, 1, 16, 3, padding=1)
        return needs.private_need(network, Squares(), (28, 28, 1), config, on, 1)

    free = On(sgd=SGDSpeed())
    large = need(80 << 30, free)
    small = need(large.bytes // 5, free)
    assert needs.HEADROOM * small.bytes <= large.bytes // 5 < large.bytes
    assert need(1, free).of == "1 images at a time", "and less than that is too little"
    fixed = replace(free, sgd=SGDSpeed(micro_batch=100))
    assert need(1, fixed) == need(80 << 30, fixed), "what was asked for is what will be held"


class Squares:
    """A task for images alone."""

    def draw(self, images_BHWC: Any, labels_B: Any, seeds: Any, copies: int) -> tuple[torch.Tensor, ...]:
        return (images_BHWC.permute(0, 3, 1, 2).float()[:, None].expand(-1, copies, -1, -1, -1),)

    def loss(self, model: torch.nn.Module, *inputs_M: torch.Tensor) -> torch.Tensor:
        return model(inputs_M[0]).square().flatten(1).sum(1)


def test_fewer_workers_are_a_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(needs, "available_bytes", lambda: 2**30)
    with (
        Console() as console,
        pytest.raises(ValueError, match=r"4 workers, each with .*; give --on\.workers 1 \(about "),
    ):
        of_dp_feta.check_memory(console, dp_feta_presets.PRESETS["quick"], prepared(16), On(workers=4))


@pytest.mark.parametrize(
    ("changes", "mend", "other"),
    [
        ({"draws": 200_000_000}, "--frequency.draws 100000000", "--frequency.features.count"),
        ({"features": FourierConfig(count=4_000_000)}, "--frequency.features.count 2000000", "--frequency.draws"),
    ],
    ids=["draws", "features"],
)
def test_less_for_a_second_warm_up_is_a_mend(
    changes: dict[str, Any], mend: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dp_feta_presets.PRESETS["quick-pro"]
    config = replace(config, frequency=replace(config.frequency, **changes))
    most = max(one.bytes for one in of_dp_feta.needs(config, (8, 8, 1), On(), private=images(8)))
    monkeypatch.setattr(needs, "available_bytes", lambda: int(0.6 * needs.HEADROOM * most))
    with Console() as console, pytest.raises(ValueError, match=r"are free here; give ") as refused:
        of_dp_feta.check_memory(console, config, prepared(8), On())
    assert f"give {mend} (about " in str(refused.value) and other not in str(refused.value)


def test_stacks_of_shadow_models_that_have_no_place_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RecipeConfig(epochs=1, batch_size=4, trivial_augment=False, mixup=0.0)
    shared = (images(8), AttackConfig(shadow_models=4, design="half"), ResNetConfig(blocks=1, width=4), recipe, 0)
    monkeypatch.setattr(shadows, "available_bytes", lambda: 2**12)
    assert shadows.time_stacks([2, 4], shared) == {"2": float("inf"), "4": float("inf")}
    monkeypatch.setattr(shadows, "available_bytes", lambda: None)
    assert shadows.time_stacks([2], shared)["2"] < 60


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [128, 224, 512])
@pytest.mark.parametrize("method", ["dp_feta", "privimage", "dp_imgsyn", "knowledge_recycling", "lira", "pigan"])
def test_no_dry_run_dies_of_the_memory_that_it_tells(method: str, side: int, channels: int, tmp_path: Path) -> None:
    """Under a limit of the process, as a job's or a container's."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 12), ("test", 12)):
        shape = (count, side, side) if channels == 1 else (count, side, side, channels)
        arrays |= {f"{split}_images": rng.integers(0, 256, shape, dtype=np.uint8)}
        arrays |= {f"{split}_labels": np.arange(count) % 2}
    np.savez(tmp_path / "large.npz", **arrays)
    flags = ["--data.path", str(tmp_path / "large.npz"), "--dry-run"]
    flags += {
        "dp_feta": ["--finetune.batch-size", "6"],
        "privimage": ["--finetune.batch-size", "6", "--public.limit", "100"],
        "dp_imgsyn": ["--training.batch-size", "6", "--statistics.batch-size", "6", "--public.limit", "100"],
        "pigan": ["--member-share", "0.5", "--monte-carlo.suspects", "2", "--monte-carlo.components", "1"],
    }.get(method, [])
    limited = f'ulimit -v 12000000; exec "{sys.executable}" "{ROOT}/jobs/{method}.py" quick "$@"'
    done = subprocess.run(["bash", "-c", limited, "job", *flags], capture_output=True, text=True, cwd=tmp_path)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    assert done.returncode in (0, 2), done.stderr[-2000:]
    assert done.returncode == 0 or (last.startswith("error: images are") and "--data.size" in last), last
