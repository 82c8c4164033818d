"""The Inception network of FID and of the inception score, from torch-fidelity, loaded without trusting the file."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch import nn

from raysyn.data.images import Images

BATCH = 50
# What a missing or broken file, an unreachable host and foreign weights raise.
UNUSABLE = (OSError, EOFError, RuntimeError, pickle.UnpicklingError, AttributeError, KeyError, TypeError, ValueError)
FEATURES = 2048
OUTPUTS = [str(FEATURES), "logits_unbiased"]
TRY = "try-download"
"""`download`, where its failure is no reason not to run."""


def load_weights(source: str) -> dict[str, Any]:
    """Weights by name from a file in torch-fidelity's format, or from its release page for `download` and `TRY`.

    Raises ValueError, saying what failed, where they cannot be had or are not those of this network.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    try:
        if source in ("download", TRY):
            weights = torch.hub.load_state_dict_from_url(
                URL_INCEPTION_V3, map_location="cpu", progress=False, check_hash=True, weights_only=True
            )
        else:
            weights = torch.load(source, map_location="cpu", weights_only=True)
        extractor(weights, torch.device("cpu"))
    except UNUSABLE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"eval.inception_weights {source!r} cannot be used: {first_line}") from error
    return weights


def extractor(weights: dict[str, Any], device: torch.device) -> nn.Module:
    """The network with these weights. torch-fidelity would unpickle any file; it only ever sees our own bytes."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = io.BytesIO()
    torch.save(weights, file)
    file.seek(0)
    network: nn.Module = FeatureExtractorInceptionV3("inception-v3", OUTPUTS, feature_extractor_weights_path=file)
    return network.to(device)


@torch.inference_mode()
def outputs(network: nn.Module, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Pool features (N, 2048) and class probabilities (N, 1008), float32 on the CPU; grey is repeated to RGB."""
    device = next(network.parameters()).device
    pools, probabilities = [], []
    for start in range(0, len(images), BATCH):
        part_BHWC = torch.tensor(images.images_NHWC[start : start + BATCH], device=device)
        part_BCHW = part_BHWC.permute(0, 3, 1, 2)
        pool, logits = network(part_BCHW.expand(-1, 3, -1, -1).contiguous())
        pools.append(pool.cpu())
        probabilities.append(logits.softmax(1).cpu())
    return torch.cat(pools), torch.cat(probabilities)
