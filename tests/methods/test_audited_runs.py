"""A whole audited run of every method that can leave units out: nobody who is out leaves a trace, and weights tell."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blank_runs import METHODS, SPEED
from whole_run import whole_run

from raysyn.data.images import DataConfig, Dataset, load
from raysyn.methods import canaries, catalogue, ends, releasing
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_prototypes import pipeline as dp_prototypes
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.privimage import pipeline as privimage
from raysyn.report.release import write_release
from raysyn.report.release_config import ReleaseConfig
from raysyn.runs.folder import RunFolder

SECRET = bytes(range(32))
ABLE = [name for name, method in METHODS.items() if method.module.METHOD.audited]
QUICK = ("noisy_means", "dp_feta", "dpgan")
HANDED_ON = {"dp_kernel", "p3gm", "dp_feta", "dp_feta_gaussian", "dp_feta_evolution", "dp_feta_pro", "privimage"}
"""Whose network, where it is released, is what canaries are guessed about by."""
ANSWERED = {"dp_feta_pro"}
"""Who has a noisy answer beside it, which stays inside."""


def test_who_can_be_audited() -> None:
    assert list(METHODS) == ABLE, "every private method"
    promising = {one.name for one in catalogue.METHODS if one.guarantee != "none"}
    assert {method.module.METHOD.name for method in METHODS.values()} == promising, "an entry in tests/blank_runs.py"


class Written(Exception):
    """Ends a run."""


def written(*what: Any, **more: Any) -> None:
    write_release(*what, **more)
    raise Written


def others_out(asked: DataConfig, config: Any) -> Dataset:
    """Other pictures of other classes in the place of all canaries that are out."""
    dataset = load(asked)
    own = canaries.drawn(40, config, dataset, SECRET)
    assert own is not None
    absent = own.dataset.train.absent_U
    assert absent is not None
    pixels, labels_N = dataset.train.images_NHWC.copy(), dataset.train.labels_N.copy()
    pixels[absent], labels_N[absent] = 255 - pixels[absent], (labels_N[absent] + 1) % dataset.train.classes
    return replace(dataset, train=replace(dataset.train, images_NHWC=pixels, labels_N=labels_N))


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=() if one in QUICK else pytest.mark.slow) for one in ABLE],
)
def test_nobody_who_is_out_is_in_the_release_and_weights_are_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    method, released = METHODS[name], []
    if hasattr(method.config, "public"):
        request.getfixturevalue("letters")
    config = replace(method.config, eval=replace(method.config.eval, feature_epochs=0, floor=False))
    if name == "dpgan":
        # All that are loaded: they are changed there, before they would be divided.
        config = replace(config, member_share=None, data=DataConfig(limit=100), gan=replace(config.gan, epochs=1))
    if method.module.METHOD.network is not None:
        config = replace(config, release=ReleaseConfig(network=True))
    monkeypatch.setattr(RunFolder, "secret", SECRET)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for at, ending in enumerate((nullcontext(), pytest.raises(Written))):
        if at:  # of the other run the release is all that is looked at
            monkeypatch.setattr(releasing, "write_release", written)
            for module in (ends, dp_imgsyn, dp_prototypes, pigan, privimage):
                monkeypatch.setattr(module, "load", partial(others_out, config=config), raising=False)
        with ending:
            whole_run(method.module, config, tmp_path / str(at), SPEED, tried=40)
        place = tmp_path / str(at) / "release"
        names = ["synthetic.parquet", *(["network.safetensors"] if config.release.network else [])]
        released.append([(place / name).read_bytes() for name in names])
    torch.set_num_threads(threads)
    assert released[0] == released[1]
    if method.module.METHOD.knows is None:  # which has no weights
        return
    network = "weights (of the release)" if name in HANDED_ON else "weights (never released)"
    attacks = json.loads((tmp_path / "0/internal/report.json").read_text())["attacks"]
    looks = ["nearest in pixels", "nearest in features", "loss of the model"]
    looks += ["along the noisy embedding"] if name in ANSWERED else []
    assert list(attacks["audit"]["by_attack"]) == looks
    found = [one for one in attacks["found"] if one["attack"].startswith("Canaries, ")]
    assert [one["sees"] for one in found] == [
        *["released images"] * 2, network, *["weights (never released)"] * (name in ANSWERED)
    ]  # fmt: skip
    assert all(np.isfinite(one["auc"]["value"]) for one in found) and not attacks["audit"]["refuted"]
