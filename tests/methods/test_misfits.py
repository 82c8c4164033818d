"""Settings that fit another number of images are told before anything is spent, with flags that mend them."""

from __future__ import annotations

import io
import re
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raysyn.data.images import Dataset, Images
from raysyn.methods import misfits as of_misfits
from raysyn.methods.bearing import bearable_noise
from raysyn.methods.declared import ClassesConfig, budget_of
from raysyn.methods.dp_feta.config import plan
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.dp_imgsyn.presets import PRESETS as DP_IMGSYN
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import DROWNED, FEW_STEPS, drowned, drowned_query, few_steps, noise_of, other_size
from raysyn.methods.pigan import variants
from raysyn.methods.pigan.presets import PRESETS as PIGAN
from raysyn.methods.privimage.pipeline import misfits
from raysyn.methods.privimage.presets import PRESETS as PRIVIMAGE
from raysyn.privacy.cost import Budget, Cost, Overspent
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.semantic import SemanticConfig, select_classes
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.screen.accounts import AccountFlags
from raysyn.screen.console import Console

SHAPES = {"quick": (1_498, 8, 1, 10), "mnist": (60_000, 28, 1, 10), "fashion_mnist": (60_000, 28, 1, 10),
          "cifar10": (50_000, 32, 3, 10), "celeba": (162_770, 32, 3, 2), "celeba32": (202_599, 32, 3, 1),
          "celeba64": (202_599, 64, 3, 1), "celeba_hair": (162_770, 64, 3, 3), "celeba_gender": (162_770, 64, 3, 2),
          "camelyon": (302_436, 32, 3, 2), "imagenette": (9_469, 224, 3, 10)}  # fmt: skip
"""Images of each preset: how many, pixels a side, channels, classes."""


class Told(Images):
    """So many images that nobody looks at."""

    def __init__(self, n: int, side: int, channels: int, classes: int) -> None:
        names = tuple(map(str, range(classes)))
        super().__init__(np.zeros((0, side, side, channels), np.uint8), np.zeros(0, np.int64), names)
        object.__setattr__(self, "_n", n)

    def __len__(self) -> int:
        return getattr(self, "_n", 0)


def planned(config: SGDConfig, n: int) -> Plan:
    price = replace(config.cost(n), noise_multiplier=100.0)
    return Plan(stages={"finetune": price}, delta=1e-6, accountant="rdp", epsilon_budget=1e6)


def own_images(preset: str) -> Told:
    """Those that a preset is named after."""
    return Told(*SHAPES[preset.removeprefix("cpu-").removeprefix("paper-").partition("-")[0]])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_images_that_they_are_named_after(name: str) -> None:
    config, images = PRESETS[name], own_images(name)
    # What is published of DP-FETA-Pro at epsilon 1 hides its central images; its card says so.
    assert bool(drowned(config.central, images, config.budget)) == name.endswith("-pro-eps1")
    assert few_steps(planned(config.finetune, len(images)), "finetune", len(images), "finetune") == []


@pytest.mark.parametrize("name", PRIVIMAGE)
def test_so_do_those_of_privimage(name: str) -> None:
    config, images = PRIVIMAGE[name], own_images(name)
    assert misfits(config, images, planned(config.finetune, len(images))) == []


@pytest.mark.parametrize("name", [name for name, one in PRIVIMAGE.items() if one.pretraining == "selected"])
def test_their_query_is_clear_too(name: str) -> None:
    semantics = 1_000 if name.startswith("paper-") else 100 if "cifar" in name else 26
    config = PRIVIMAGE[name]
    assert drowned_query(config.semantic, own_images(name), config.budget, semantics) == []


@pytest.mark.parametrize(
    ("k", "select", "conditional", "n"), [(2, None, True, 3_000), (5, 1, True, 900), (10, 3, False, 400)]
)
def test_a_query_is_drowned_where_most_of_what_it_selects_is_chance(
    k: int, select: int | None, conditional: bool, n: int
) -> None:
    """All votes for the classes that are to be selected, by a thousand draws; no class is closed to a row here."""
    images, semantics = Told(n, 32, 3, 10), 100
    told, shares = [], []
    for noise_multiplier in (1, 4, 16, 64, 256):
        config = SemanticConfig(k=k, select=select, conditional=conditional, noise_multiplier=noise_multiplier)
        counts = np.zeros(semantics)
        counts[: config.selected] = n / config.rows(10) * k / config.selected
        rng = np.random.default_rng(0)
        noise = rng.normal(0, noise_multiplier * k**0.5, (1_000, semantics))
        right = [(select_classes((counts + one)[None], config.selected) < config.selected).mean() for one in noise]
        shares.append(np.mean(right))
        told.append(bool(drowned_query(config, images, Budget(), semantics)))
    assert told[0] is False and told[-1] is True
    for share, said in zip(shares, told, strict=True):
        assert said if share < 0.3 else not said if share > 0.7 else True, (share, said)


def test_a_drowned_query_is_told_what_mends_it() -> None:
    config, images = PRIVIMAGE["cpu-cifar10"], Told(1_000, 32, 3, 10)
    (said,) = drowned_query(config.semantic, images, Budget(epsilon=3.0), 100)
    found = re.search(r"give --semantic.noise-multiplier ([\d.]+)", said)
    assert found and "of 100" in said
    mended = replace(config.semantic, noise_multiplier=float(found[1]))
    assert drowned_query(mended, images, Budget(epsilon=3.0), 100) == []
    (none,) = drowned_query(config.semantic, images, Budget(epsilon=0.01), 100)
    assert "none for a fifth of ε 0.01 is clear: give --pretraining all" in none


def test_a_budget_that_bears_no_answer_at_all_mends_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def spent(*_: Any) -> float:
        raise Overspent("nothing is left")

    monkeypatch.setattr(of_misfits, "bearable_noise", spent)
    (said,) = drowned_query(PRIVIMAGE["cpu-cifar10"].semantic, Told(1_000, 32, 3, 10), Budget(epsilon=3.0), 100)
    assert "none for a fifth of ε 3 is clear: give --pretraining all" in said


def test_privimage_is_asked_for_more_steps_where_nothing_was_learned_before() -> None:
    """Its preset for photographs takes 73 steps."""
    config, images = PRIVIMAGE["cpu-cifar10"], own_images("cpu-cifar10")
    (said,) = misfits(replace(config, pretraining="none"), images, planned(config.finetune, len(images)))
    assert "finetune has 73 steps of DP-SGD on 50,000 images" in said


@pytest.mark.parametrize("name", DP_IMGSYN)
def test_so_do_those_of_dp_imgsyn(name: str) -> None:
    config, images = DP_IMGSYN[name], own_images(name)
    assert few_steps(planned(config.training, len(images)), "finetune", len(images), "training") == []


@pytest.mark.parametrize("name", PIGAN)
def test_so_do_those_of_pigan_as_dpgan(name: str) -> None:
    config = replace(PIGAN[name], model="dpgan")
    n = int(config.member_share * (config.data.limit or len(own_images(name))))
    assert few_steps(planned(variants.released(config).sgd(), n), "finetune", n, "gan") == []


def test_a_hospital_s_set_is_told_of_both_and_what_is_advised_is_silent() -> None:
    """5,312 grey images of 28 pixels in four classes, with a preset for 60,000."""
    config, images = PRESETS["cpu-mnist"], Told(5_312, 28, 1, 4)
    (noise,) = drowned(config.central, images, config.budget)
    (few,) = few_steps(plan(config, len(images), 4), "finetune", len(images), "finetune")
    assert "about 133 images of a class" in noise and "give --central.sampling-rate 1 --central.count 8" in noise
    assert "finetune has 35 steps of DP-SGD on 5,312 images" in few and "give --finetune.batch-size 128" in few
    mended = replace(config, central=advised(config.central, noise))
    mended = replace(mended, finetune=replace(config.finetune, batch_size=128))
    assert drowned(mended.central, images, config.budget) == []
    assert few_steps(plan(mended, len(images), 4), "finetune", len(images), "finetune") == []


def advised(config: CentralConfig, said: str) -> CentralConfig:
    """`config` with the flags that a warning names."""
    found = dict(re.findall(r"--central\.([a-z-]+) ([\d.]+\d|\d)", said))
    read = {"count": int, "sampling-rate": float, "noise-multiplier": float}
    return replace(config, **{name.replace("-", "_"): read[name](value) for name, value in found.items()})


@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0]), st.integers(200, 20_000), st.integers(1, 20),
    st.booleans(), st.sampled_from(["mean", "mode"]), st.booleans(),
)  # fmt: skip
@example(3.0, 5_312, 4, True, "mean", True)
def test_the_budget_bears_what_is_advised(
    epsilon: float, n: int, classes: int, conditional: bool, kind: Any, counts: bool
) -> None:
    """At epsilon 1 the noise of the preset, asked of all images, alone costs more than that; and noisy counts, where
    they are asked for too, leave a tenth of the budget or more."""
    base, images = PRESETS["cpu-mnist"], Told(n, 28, 1, classes)
    config = replace(
        base, budget=Budget(epsilon=epsilon), central=replace(base.central, conditional=conditional, kind=kind),
        finetune=replace(base.finetune, batch_size=64),
    )  # fmt: skip
    if counts:
        std = bearable_noise(config.budget, n, 1, share=0.9)
        config = replace(config, classes=ClassesConfig(noisy_counts=max(0.5, std)))
    for said in drowned(config.central, images, budget_of(config)):
        mended = advised(config.central, said)
        assert mended != config.central
        # Refused where the query leaves too little.
        plan(replace(config, central=mended), n, classes)
        assert mended.count == 0 or noise_of(mended, images) < DROWNED


@settings(deadline=None)
@given(st.integers(100, 100_000), st.floats(0.5, 300), st.floats(0.001, 1))
def test_an_advised_batch_gives_enough_steps(n: int, epochs: float, rate: float) -> None:
    config = SGDConfig(batch_size=max(1, int(rate * n)), epochs=epochs)
    for said in few_steps(planned(config, n), "finetune", n, "finetune"):
        if found := re.search(r"--finetune.batch-size (\d+)", said):
            assert int(found[1]) < config.batch_size
            assert planned(replace(config, batch_size=int(found[1])), n).stages["finetune"].steps >= FEW_STEPS
        else:
            assert "a higher --finetune.epochs" in said


@pytest.mark.parametrize("changes", [{"kind": "mode"}, {"conditional": False}, {"sampling_rate": 1.0}, {"count": 0}])
def test_words_follow_the_query(changes: dict[str, Any]) -> None:
    config = replace(CentralConfig(noise_multiplier=50.0), **changes)
    said = drowned(config, Told(200, 28, 1, 4), Budget())
    if config.count == 0:
        assert said == []
        return
    assert ("of all classes together" in said[0]) == (not config.conditional)
    clear = "--central.count 0" not in said[0]
    assert ("--central.noise-multiplier" in said[0]) == ("--central.sampling-rate 1" in said[0]) == clear


def test_the_size_of_the_noise_is_that_of_the_query() -> None:
    """28 x 28 pixels at half the size have norm 14, times 1.005 for counts: 6 times that over 70 images is 1.206."""
    (said,) = drowned(CentralConfig(noise_multiplier=6.0), Told(2_800, 28, 1, 4), Budget())
    assert "its noise is 121 % of the way from black to white" in said


def test_enough_steps_are_no_matter() -> None:
    price = Cost(mechanism="DP-SGD", noise_multiplier=1.0, sampling_rate=0.1, steps=FEW_STEPS)
    assert few_steps(Plan(stages={"s": price}, delta=1e-5, accountant="rdp", epsilon_budget=1e3), "s", 100, "g") == []


@pytest.mark.parametrize("n", [162_770, 300_000])
def test_a_preset_for_many_more_or_fewer_images_says_so_and_how_to_keep_its_noise(n: int) -> None:
    """All of CelebA; its training images alone have 24 % more noise."""
    config = PRIVIMAGE["paper-celeba32-eps1"]
    (said,) = other_size(config, n)
    assert f"made for 202,599 training images, and there are {n:,}" in said
    batch = int(re.findall(r"--finetune\.batch-size (\d+)$", said)[0])
    before, kept = config.finetune.cost(202_599), replace(config.finetune, batch_size=batch).cost(n)
    assert kept.steps == before.steps and kept.sampling_rate == pytest.approx(before.sampling_rate, rel=1e-4)
    assert config.finetune.cost(n).sampling_rate != pytest.approx(before.sampling_rate, rel=0.1)


def test_about_as_many_images_are_no_matter() -> None:
    assert other_size(PRESETS["paper-mnist-eps1"], 55_000) == other_size(PRESETS["quick"], 10) == []
    # DP-FETA's CelebA is training and validation images together.
    assert len(other_size(PRESETS["paper-celeba-eps1"], 162_770)) == 1
    with pytest.raises(ValueError, match="made_for is 0: give the number of training images"):
        other_size(replace(PRESETS["quick"], made_for=0), 10)
    assert other_size(object(), 10) == []


@pytest.mark.parametrize(("n", "said"), [(55_000, "Settings made for n = 60,000"), (30_000, "WARNING: these settings")])
def test_for_how_many_images_a_preset_is_made_is_told_before_the_plan(n: int, said: str) -> None:
    config, images = PRESETS["paper-mnist-eps1"], Told(n, 28, 1, 10)
    dataset = Dataset("told", images, images, None)
    method = Method(name="toy", prepare=lambda _: Prepared(dataset=dataset), run=len)
    command: Any = SimpleNamespace(
        track="none", config=config, machines=None, dry_run=True, out="gone", account=AccountFlags()
    )
    text = io.StringIO()
    with Console(text) as console, ExitStack() as stack, pytest.raises(SystemExit):
        method.begin(command, console, None, stack)  # type: ignore[arg-type]
    assert said in text.getvalue() and f"{n:,}" in text.getvalue()
