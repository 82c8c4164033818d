"""Trainings of the user's, asked beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raysyn.data.images import Images
from raysyn.methods.lira.own_training import check_training
from raysyn.train.own_recipe import OwnRecipe

LIKE = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
START = "import torch\nfrom torch import nn\n\ndef fit(images, labels, classes, seed, device):\n    "
WHOLE = "return nn.Sequential(nn.Flatten(), nn.Linear(64, classes)).to(device)\n"


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
        ("ownseed", "import os\n    torch.manual_seed(int.from_bytes(os.urandom(4)))\n    " + WHOLE, "otherwise each"),
    ],
)
def test_a_training_that_will_not_do_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_training(recipe(tmp_path, monkeypatch, name, body), LIKE)
    assert f"{name}:fit" in str(caught.value) and "\n" not in str(caught.value)


def test_one_that_is_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="ownnowhere"):
        check_training(OwnRecipe.named("ownnowhere:fit"), LIKE)


def test_its_identity_changes_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = recipe(tmp_path, monkeypatch, "ownwhole", WHOLE)
    first, known = check_training(own, LIKE), own.identity()
    assert own.identity() == known
    (tmp_path / "ownwhole.py").write_text(START + "# Another one.\n    " + WHOLE)
    assert check_training(own, LIKE) != first and own.identity() != known
