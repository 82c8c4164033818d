"""Memory is told from shapes: what is counted is what PyTorch allocates, and large images are refused with a mend."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raysyn.data.images import Dataset, Images
from raysyn.methods import needs
from raysyn.methods.dp_feta import outlook as dp_feta_outlook
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.models.classifiers import build
from raysyn.models.unet import UNet, UNetConfig
from raysyn.screen.console import Console
from raysyn.train import memory, outlook
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.memory import Need, at_once, call_bytes, check_memory, gradient_bytes, peak_bytes
from raysyn.train.naming import Naming

QUICK = PRESETS["quick"]
GIB = 2**30


def unet(side: int, channels: int) -> UNet:
    return UNet(QUICK.network, channels, side, 2)


def test_what_is_counted_is_what_lives_at_once() -> None:
    def kept() -> torch.Tensor:
        first = torch.zeros(1000)
        second = first + 1
        view = second[10:]
        del first
        return view * 2

    assert peak_bytes(kept) == 8000
    assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(5)]) == 20_000
    # As large as no machine is.
    assert peak_bytes(lambda: torch.empty(10**14, device="meta") + 1) == 8 * 10**14


@pytest.mark.parametrize(("side", "channels", "images"), [(16, 1, 3), (24, 3, 2)])
def test_shapes_alone_give_what_real_tensors_take(side: int, channels: int, images: int) -> None:
    task, shape = DiffusionTask(classes=2), (side, side, channels)
    model = unet(side, channels)
    pixels, labels = torch.zeros(images, *shape, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64)
    inputs = [value.flatten(0, 1) for value in task.draw(pixels, labels, range(images), 1)]
    measured = peak_bytes(lambda: task.loss(model, *inputs).sum().backward())
    weights = 4 * 4 * sum(value.numel() for value in model.parameters())
    assert gradient_bytes(unet(side, channels), task, shape, images) == measured + weights

    def call() -> None:
        with torch.no_grad():
            task.loss(model, *inputs)

    assert call_bytes(unet(side, channels), task, shape, images) == peak_bytes(call)


def test_attention_counts_positions_times_positions() -> None:
    task = DiffusionTask(classes=2)
    sizes = [gradient_bytes(unet(side, 1), task, (side, side, 1), 1) for side in (128, 256)]
    # Softmax and its gradient, at least, over the lowest level's positions.
    assert sizes[0] > 2 * 4 * (64 * 64) ** 2 and sizes[1] > 2 * 4 * (128 * 128) ** 2


@pytest.mark.slow
@pytest.mark.parametrize(("side", "channels", "images"), [(32, 1, 128), (64, 1, 32), (64, 3, 32), (128, 1, 4)])
@pytest.mark.parametrize("kind", ["unet", "cnn", "resnet9"])
def test_estimates_are_within_a_factor_of_two_of_a_process(kind: str, side: int, channels: int, images: int) -> None:
    """The growth of a fresh process' resident memory in one step."""
    # Classifiers hold little: as many images as show above what importing took and gave back.
    images *= {"unet": 1, "cnn": 16, "resnet9": 8}[kind]
    own = Path(__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(own)!r})\n"
        "import resource, torch\n"
        "import test_memory as one\n"
        f"model, task, inputs = one.real({kind!r}, {side}, {channels}, {images})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "task.loss(model, *inputs).sum().backward()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    measured = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    model, task, _ = real(kind, side, channels, 1)
    estimate = gradient_bytes(model, task, (side, side, channels), images)
    assert measured / 2 < estimate < 2 * measured, (estimate / 2**20, measured / 2**20)


def real(kind: str, side: int, channels: int, images: int) -> tuple[torch.nn.Module, object, list[torch.Tensor]]:
    """A network, its task and inputs with content."""
    shape = (side, side, channels)
    model = unet(side, channels) if kind == "unet" else build(kind, shape, 2, 0.5)
    task = DiffusionTask(classes=2) if kind == "unet" else Naming()
    drawn = task.draw(torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), [0], 1)
    return model, task, [torch.zeros(images, *value.shape[2:], dtype=value.dtype) for value in drawn]


def test_small_images_are_looked_at_as_before_and_large_ones_fewer_at_a_time() -> None:
    assert [at_once(500, (side, side, 1)) for side in (8, 28, 32, 64, 128, 224, 512)] == [500, 500, 500, 125, 31, 10, 1]
    assert at_once(2, (512, 512, 3)) == 1


def test_a_need_that_has_no_place_is_refused_with_the_first_mends_that_fit() -> None:
    needed = [Need("warmup", 20 * GIB, "a batch of 64 images"), Need("synthesise", GIB, "2 images at a time")]

    def fails() -> list[Need]:
        raise ValueError("no such size")

    mends = [
        [("--network.patch 2", lambda: [Need("x", 9 * GIB, "")]), ("--network.patch 4", lambda: [Need("x", GIB, "")])],
        [("--data.size 30", fails), ("--data.size 28", lambda: [Need("x", 2 * GIB, "")])],
    ]
    says = (
        r"images are 224x128 pixels \(data\.size\): warmup would hold about 24\.0 GiB .* 8\.0 GiB are free here; "
        r"give --network\.patch 4 \(about 1\.2 GiB\) or --data\.size 28 "
    )
    with pytest.raises(ValueError, match=says):
        check_memory((128, 224, 3), needed, mends, 8 * GIB)
    check_memory((128, 224, 3), needed, mends, None)
    check_memory((128, 224, 3), needed, mends, 25 * GIB)


def large(side: int, channels: int = 1) -> Prepared:
    images = Images(np.zeros((6, side, side, channels), np.uint8), np.arange(6) % 2, ("a", "b"))
    return Prepared(dataset=Dataset("large", images, images, None))


@pytest.mark.parametrize(
    ("side", "channels"),
    [pytest.param(128, 1, marks=pytest.mark.slow), (224, 3), pytest.param(512, 1, marks=pytest.mark.slow)],
)
def test_large_images_are_refused_before_anything_of_their_size_exists(
    side: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(needs, "available_bytes", lambda: 6 * GIB)
    with (
        Console() as console,
        pytest.raises(ValueError, match=rf"images are {side}x{side} pixels.*--data\.size 64") as no,
    ):
        dp_feta_outlook.check_memory(console, QUICK, large(side, channels), On())
    # What is advised has a place.
    patch = str(no.value).partition("--network.patch ")[2].partition(" ")[0]
    assert bool(patch) == (side < 512)
    if patch:
        mended = replace(QUICK, network=replace(QUICK.network, patch=int(patch)))
        dp_feta_outlook.check_memory(console, mended, large(side, channels), On())


def test_another_machine_s_memory_is_not_known_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(needs, "available_bytes", lambda: GIB)
    with Console() as console:
        dp_feta_outlook.check_memory(console, QUICK, large(128), On(address="auto"))
    assert "in warmup (a batch of 64 images)" in capsys.readouterr().out


def test_the_outlook_measures_with_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    task, small, wide = DiffusionTask(classes=2), (8, 8, 1), UNetConfig(width=8, multipliers=(1,), attention=())
    one = gradient_bytes(UNet(wide, 1, 8, 2), task, small, 1)
    model = UNet(wide, 1, 8, 2)
    for free, images in ((None, 32), (100 * GIB, 32), (one * 12, 5), (one * 1.3, 1)):
        monkeypatch.setattr(outlook, "available_bytes", lambda free=free: free)
        assert outlook.fitting_images(model, task, small) == images
    monkeypatch.setattr(outlook, "available_bytes", lambda: one)
    with pytest.raises(ValueError, match=r"images are 8x8 pixels .* --data\.size"):
        outlook.measure(model, task, small)
    monkeypatch.setattr(outlook, "available_bytes", lambda: None)
    assert outlook.fitting_images(UNet(wide, 1, 224, 2), task, (224, 224, 1)) == 1
    assert not any(value.is_meta for value in model.parameters()), "counted on a copy"


def test_limits_of_machine_container_and_process_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("a GPU's memory is what counts here")
    free = memory.available_bytes()
    assert free is None or 2**20 < free < 2**50
    for name, value in (("_free_of_container", 5000), ("_free_of_process", 3000)):
        monkeypatch.setattr(memory, name, lambda value=value: value)
        assert memory.available_bytes() == value


GROUPS = {
    2: ("", "memory.max", "memory.current", "anon 60\ninactive_file 500\nactive_file 300\nfile 890\n"),
    1: (
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "inactive_file 7\nactive_file 9\ntotal_rss 60\ntotal_inactive_file 500\ntotal_active_file 300\n",
    ),
}


@pytest.mark.parametrize("version", GROUPS)
def test_a_container_s_cache_of_files_makes_way(version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, limit, used, told = GROUPS[version]
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path)
    assert memory._free_of_container() is None
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    (group / limit).write_text("1000\n")
    (group / used).write_text("950\n")
    # Without its shares all that is used counts.
    assert memory._free_of_container() == 50
    (group / "memory.stat").write_text(told)
    assert memory._free_of_container() == 1000 - (950 - 800)
    (group / used).write_text("2000\n")
    assert memory._free_of_container() == 0
    (group / limit).write_text("max\n")
    assert memory._free_of_container() is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_limit_of_the_process_is_what_it_may_still_take() -> None:
    code = (
        "import resource, torch\n"
        "resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))\n"
        "from raysyn.train.memory import available_bytes\n"
        "free = available_bytes()\n"
        "assert free < 12 * 2**30, free\n"
        "torch.empty(int(0.9 * free), dtype=torch.uint8)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_images_in_a_file_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it maps is less than the libraries: so much less is held."""
    without = memory.held_bytes()
    monkeypatch.setattr(memory, "mapped_bytes", lambda: 2**20)
    assert without - 2**20 <= memory.held_bytes() < without + 2**20
    monkeypatch.setattr(memory, "mapped_bytes", lambda: 2**40)
    assert 0 <= memory.held_bytes() < without, "no less than what no file stands for"
