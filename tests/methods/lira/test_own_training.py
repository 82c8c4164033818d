"""Trainings of the user's, asked beforehand."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from raysyn.attacks.shadows import confidences
from raysyn.attacks.teaching import teach
from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.methods import attack_outlook
from raysyn.methods.lira.own_training import _otherwise, check_training
from raysyn.models.resnet import ResNetConfig
from raysyn.train.classifier import accuracy
from raysyn.train.own_recipe import Answering, OwnRecipe

LIKE = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
START = "import torch\nfrom torch import nn\n\ndef fit(images, labels, classes, seed, device):\n    "
WHOLE = "return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).to(device)\n"
RANDOM = "import os\n    torch.manual_seed(int.from_bytes(os.urandom(4)))\n    " + WHOLE


def recipe(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str) -> OwnRecipe:
    (folder / f"{name}.py").write_text(START + body)
    monkeypatch.chdir(folder)
    return OwnRecipe.named(f"{name}:fit")


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("ownshape", "return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))\n", "return logits"),
        ("ownnan", "return lambda x: torch.full((len(x), classes), float('nan'))\n", "no finite number"),
        ("ownnone", "return None\n", "type NoneType: return a torch.nn.Module"),
        ("owncoin", "return lambda x: torch.randn(len(x), classes)\n", "differently each time"),
        ("ownseed", RANDOM, "otherwise each"),
    ],
)
def test_a_training_that_will_not_do_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_training(recipe(tmp_path, monkeypatch, name, body), LIKE)
    assert f"{name}:fit" in str(caught.value) and "\n" not in str(caught.value)


VIEWING = """net = nn.Sequential(nn.Conv2d(images.shape[1], 4, 3, padding=1), nn.ReLU())
    last = nn.Linear(256, classes)
    answer = lambda x: last(net(x).view(len(x), 4 * 64))
    answer(images).sum().backward()
    return {}
"""


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("made", ["module", "function"])
def test_one_may_take_images_apart_as_pytorch_lays_them_and_stays_where_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int, made: str
) -> None:
    """Views are refused where channels lie last; and on a GPU nothing moves what a function holds."""
    module = "type('Own', (nn.Module,), {'forward': lambda self, x: answer(x)})()"
    body = VIEWING.format(module if made == "module" else "answer")
    own = recipe(tmp_path, monkeypatch, f"ownview{made}{channels}", body)

    def moved(self: Answering) -> Answering:
        raise AssertionError("it was moved")

    monkeypatch.setattr(Answering, "cpu", moved)
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), dtype=np.uint8)
    images = Images(noise, np.arange(6) % 2, ("a", "b"))
    check_training(own, images)
    model = own.trained(images, 0, torch.device("cpu"))
    confidences(model, images, own.views())
    accuracy(model, images)


def test_what_a_returned_function_raises_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recipe(tmp_path, monkeypatch, "ownraises", "return lambda x: x.view(3, 5)\n")
    with pytest.raises(ValueError, match=r"ownraises:fit: what it returned cannot take images .* line 5") as caught:
        check_training(own, LIKE)
    assert "\n" not in str(caught.value)


def test_rounding_of_a_gpu_is_no_other_training() -> None:
    own, one = OwnRecipe.named("mine:fit"), torch.ones(4, 2)
    for device in map(torch.device, ("cpu", "cuda")):
        assert _otherwise(own, one, one + 1e-5, device) == []
    (said,) = _otherwise(own, one, one + 0.1, torch.device("cuda"))
    assert "mine:fit trained otherwise a second time" in said
    with pytest.raises(ValueError, match="trains otherwise each time"):
        _otherwise(own, one, one + 0.1, torch.device("cpu"))


def test_one_that_is_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="ownnowhere"):
        check_training(OwnRecipe.named("ownnowhere:fit"), LIKE)


def test_its_identity_is_that_of_the_source_that_runs_and_workers_train_by_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = recipe(tmp_path, monkeypatch, "ownwhole", WHOLE)
    first, doubts = check_training(own, LIKE)
    assert doubts == [] and first.identity() == own.identity()
    (tmp_path / "ownwhole.py").write_text(START + "# Another one.\n    " + WHOLE)
    assert check_training(own, LIKE)[0].identity() == first.identity(), "this process goes on by what it has loaded"
    noise = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4) % 2, LIKE.class_names)
    # A worker that starts now.
    del sys.modules["ownwhole"]
    with pytest.raises(ValueError, match=r"ownwhole\.py is not as it was when the run began"):
        teach(Alone(), ResNetConfig(), pickle.loads(pickle.dumps(first)), [noise], 4, [0], [0])
    assert check_training(own, LIKE)[0].identity() != first.identity(), "another run"


def test_it_is_tried_once_in_a_process_for_what_images_are_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = recipe(tmp_path, monkeypatch, "ownonce", "calls.append(len(images))\n    " + WHOLE + "\ncalls = []\n")
    larger = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), tuple("abcdefghijkl"))
    for like in (LIKE, LIKE, larger):
        check_training(own, like)
    assert sys.modules["ownonce"].calls == [16, 16, 24, 24]
    other = recipe(tmp_path, monkeypatch, "ownrandom", RANDOM)
    for _ in range(2):
        with pytest.raises(ValueError, match="otherwise each"):
            check_training(other, LIKE)


def test_the_time_of_one_is_told_from_two_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds whatever it is given, and a hundredth for each image."""
    own = recipe(
        tmp_path, monkeypatch, "owntimed", "spent[0] += 3 + len(images) / 100\n    " + WHOLE + "\nspent = [0]\n"
    )
    own.made_by.code()
    monkeypatch.setattr(attack_outlook, "now", lambda: sys.modules["owntimed"].spent[0])
    pace = attack_outlook.recipe_pace(ResNetConfig(), own, LIKE)
    assert [pace.training(count, own.epochs) for count in (10, 1000)] == pytest.approx([3.1, 13])
