"""DP-FETA: what its report says."""

from __future__ import annotations

from raysyn.data.images import Images
from raysyn.methods import asking
from raysyn.methods.class_shares import mix_of
from raysyn.methods.dp_feta.config import MOMENTS, Config
from raysyn.methods.dp_feta.model import new_denoiser
from raysyn.privacy.cost import unit_of
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.embedding import EMBEDDING
from raysyn.privacy.queries.moments import MEANS
from raysyn.privacy.queries.votes import VOTES
from raysyn.train.few_weights import ALL, how_many
from raysyn.train.samplers import network_calls


def story(config: Config, plan: Plan, private: Images) -> list[str]:
    """One plain sentence per stage, for the report; of the images number, shape and classes alone."""
    told = []
    if MEANS in plan.stages:
        told += [
            *asking.story(MOMENTS, plan, private),
            f"Drew {config.central.draws:,} images from the Gaussian of each class that these describe, and warmed up "
            f"the diffusion model on them for {config.warmup.iterations:,} steps: this first stage is not the paper's.",
        ]
    if VOTES in plan.stages:
        each = config.votes.counted(private.units, private.classes, plan.noise(VOTES))
        told += [
            f"The private images voted {config.votes.rounds} times for {each} characters of each class, which were "
            "varied between the rounds.",
            f"Drew {config.central.draws:,} variations of the last ones that were voted for, and warmed up the "
            f"diffusion model on them for {config.warmup.iterations:,} steps: this first stage is not the paper's.",
        ]
    if "central" in plan.stages:
        changed = ", randomly augmented" if config.augment.operations else ""
        query = plan.stages["central"]
        told += [
            f"Asked for {config.central.count} noisy {config.central.kind} images, {query.steps} per class, each over "
            f"a random {100 * query.sampling_rate:g} % of the {unit_of(query.adjacency)}s.",
            f"Warmed up the diffusion model on them for {config.warmup.iterations:,} steps{changed}.",
        ]
    if EMBEDDING in plan.stages:
        second = config.frequency
        told += [
            f"Asked for the noisy mean of {second.features.count:,} random features of each of {private.classes} "
            f"classes, and trained a generator for {second.training.iterations:,} steps to have these means.",
            f"Warmed up the diffusion model on {second.draws:,} images of that generator for "
            f"{second.warmup.iterations:,} steps.",
        ]
    tuning, few, layers = plan.stages["finetune"], "", config.finetune.layers
    if layers != ALL:
        few = f" ({layers}: {how_many(new_denoiser(config, private), layers)} weights learn)"
    return [
        *told,
        f"Fine-tuned it{few} on the sensitive images with {tuning.steps:,} steps of DP-SGD at noise multiplier "
        f"{tuning.noise_multiplier:.3g}, expected batch {config.finetune.batch_size:,}, "
        f"noisy copies per {unit_of(tuning.adjacency)}: {config.finetune.noise_multiplicity}.",
        f"Drew {config.synthetic:,} images, {mix_of(config)}, with {network_calls(config.sampler)} network calls each.",
        "Trained classifiers on them and tested these on real images, beside the same classifiers trained on real "
        "images.",
    ]
