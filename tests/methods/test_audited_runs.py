"""A whole audited run of every method that can leave units out: nobody who is out leaves a trace, and weights tell."""

from __future__ import annotations

import json
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
from raysyn.methods import canaries, ends
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.privimage import pipeline as privimage
from raysyn.runs.folder import RunFolder

SECRET = bytes(range(32))
ABLE = [name for name, method in METHODS.items() if method.module.METHOD.audited]


def test_who_can_be_audited() -> None:
    able = {"noisy_means", "evolution", "dp_merf", "dp_mepf", "dp_feta", "privimage", "dp_imgsyn"}
    assert {METHODS[name].module.METHOD.name for name in ABLE} == able
    assert not METHODS["dpgan"].module.METHOD.audited


def others_out(asked: DataConfig, config: Any) -> Dataset:
    """Other pictures in the place of all canaries that are out."""
    dataset = load(asked)
    own = canaries.drawn(40, config, dataset, SECRET)
    assert own is not None
    absent = own.dataset.train.absent_U
    assert absent is not None
    pixels = dataset.train.images_NHWC.copy()
    pixels[absent] = 255 - pixels[absent]
    return replace(dataset, train=replace(dataset.train, images_NHWC=pixels))


@pytest.mark.parametrize(
    "name",
    [pytest.param(one, marks=() if one == "dp_feta" else pytest.mark.slow) for one in ABLE if one != "noisy_means"],
)
def test_nobody_who_is_out_is_in_the_release_and_weights_are_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    method, released = METHODS[name], []
    if hasattr(method.config, "public"):
        request.getfixturevalue("letters")
    config = replace(method.config, eval=replace(method.config.eval, feature_epochs=0, floor=False))
    monkeypatch.setattr(RunFolder, "secret", SECRET)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for at in range(2):
        for module in (ends, dp_imgsyn, privimage):
            read = partial(others_out, config=config) if at else load
            monkeypatch.setattr(module, "load", read, raising=False)
        whole_run(method.module, config, tmp_path / str(at), SPEED, tried=40)
        released.append((tmp_path / str(at) / "release/synthetic.parquet").read_bytes())
    torch.set_num_threads(threads)
    assert released[0] == released[1]
    attacks = json.loads((tmp_path / "0/internal/report.json").read_text())["attacks"]
    assert list(attacks["audit"]["by_attack"]) == ["nearest in pixels", "nearest in features", "loss of the model"]
    found = [one for one in attacks["found"] if one["attack"].startswith("Canaries, ")]
    assert [one["sees"] for one in found] == ["released images"] * 2 + ["weights (never released)"]
    assert all(np.isfinite(one["auc"]["value"]) for one in found) and not attacks["audit"]["refuted"]
