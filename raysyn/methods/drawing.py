"""What configurations that draw images share. Imports none of what draws them: flags are read before that is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.sgd_config import MARKS
from raysyn.train.diffusion import NoiseConfig
from raysyn.train.samplers import SamplerConfig


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """Of diffusion models that DP-SGD fine-tunes."""

    snapshots: int = 4
    """At how many moments of the fine-tuning, besides its end, a few images are drawn, with the same noise, for the
    report's samples over training, which stay inside. The averaged weights of each are kept in the run folder for it; 0
    keeps and draws none."""


def check_drawing(
    synthetic: int, seed: int, judged: EvalConfig, sampler: SamplerConfig | None = None,
    noise: NoiseConfig | None = None, sampler_fid: SamplerConfig | None = None, snapshots: int = 0,
) -> None:  # fmt: skip
    """ValueError, in one sentence, for settings that cannot be drawn with or judged; a diffusion model has the last
    four."""
    if synthetic < 10 or synthetic <= judged.neighbours:
        raise ValueError(
            f"synthetic is {synthetic}: give at least 10 images, and more than eval.neighbours, {judged.neighbours}"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}: give a whole number from 0 to {2**32 - 1}")
    if not 0 <= snapshots <= MARKS:
        raise ValueError(f"snapshots is {snapshots}: give 0, which draws none, to {MARKS}, so often a state is saved")
    for field, one in {"sampler": sampler, "sampler_fid": sampler_fid}.items():
        if one is None or noise is None or not one.guidance or noise.label_dropout:
            continue
        raise ValueError(
            f"{field}.guidance is {one.guidance}, but noise.label_dropout is 0, so no network learns to do without "
            "classes: raise noise.label_dropout, 0.1 is usual"
        )
