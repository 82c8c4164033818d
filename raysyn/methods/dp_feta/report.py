"""DP-FETA: what its report says."""

from __future__ import annotations

from raysyn.methods.class_shares import mix_of
from raysyn.methods.dp_feta.config import Config
from raysyn.privacy.ledger import Plan
from raysyn.train.samplers import network_calls


def story(config: Config, plan: Plan) -> list[str]:
    """One plain sentence per stage, for the report."""
    told = []
    if "central" in plan.stages:
        changed = ", randomly augmented" if config.augment.operations else ""
        query = plan.stages["central"]
        told += [
            f"Asked for {config.central.count} noisy {config.central.kind} images, {query.steps} per class, each over "
            f"a random {100 * query.sampling_rate:g} % of the images.",
            f"Warmed up the diffusion model on them for {config.warmup.iterations:,} steps{changed}.",
        ]
    private = plan.stages["finetune"]
    return [
        *told,
        f"Fine-tuned it on the sensitive images with {private.steps:,} steps of DP-SGD at noise multiplier "
        f"{private.noise_multiplier:.3g}, expected batch {config.finetune.batch_size:,}, "
        f"noisy copies per image: {config.finetune.noise_multiplicity}.",
        f"Drew {config.synthetic:,} images, {mix_of(config)}, with {network_calls(config.sampler)} network calls each.",
        "Trained classifiers on them and tested these on real images, beside the same classifiers trained on real "
        "images.",
    ]
