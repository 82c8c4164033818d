"""What configurations that draw images share. Imports none of what draws them: flags are read before that is loaded."""

from __future__ import annotations

from raysyn.metrics.utility import EvalConfig
from raysyn.train.diffusion import NoiseConfig
from raysyn.train.samplers import SamplerConfig


def check_drawing(
    synthetic: int, seed: int, judged: EvalConfig, sampler: SamplerConfig | None = None,
    noise: NoiseConfig | None = None, sampler_fid: SamplerConfig | None = None,
) -> None:  # fmt: skip
    """ValueError, in one sentence, for settings that cannot be drawn with or judged; a diffusion model has the last
    three."""
    if synthetic < 10 or synthetic <= judged.neighbours:
        raise ValueError(
            f"synthetic is {synthetic}: give at least 10 images, and more than eval.neighbours, {judged.neighbours}"
        )
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed}: give a whole number from 0 to {2**32 - 1}")
    for field, one in {"sampler": sampler, "sampler_fid": sampler_fid}.items():
        if one is None or noise is None or not one.guidance or noise.label_dropout:
            continue
        raise ValueError(
            f"{field}.guidance is {one.guidance}, but noise.label_dropout is 0, so no network learns to do without "
            "classes: raise noise.label_dropout, 0.1 is usual"
        )
