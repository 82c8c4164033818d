"""The networks of dp_sgd.py once more, for jax_privacy: functions of the weights of the torch ones, channels last.

JAX compiles what it is given, so a step here is one program; the first call, which compiles it, is not timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax_privacy import clipping
from torch import nn

from raysyn.models.unet import SKIP_SCALE, Attention, ResidualBlock, Stage, UNet
from raysyn.train.diffusion import SIGMA_DATA

Weights = dict[str, Any]


def weights_of(model: nn.Module) -> Weights:
    """Of convolutions as (high, wide, in, out), of all others as they are."""
    named = {name: value.detach().numpy() for name, value in model.named_parameters()}
    return {name: jnp.asarray(x.transpose(2, 3, 1, 0) if x.ndim == 4 else x) for name, x in named.items()}


def conv(w: Weights, name: str, x: Any, stride: int = 1) -> Any:
    kernel = w[f"{name}.weight"]
    margin = kernel.shape[0] // 2
    axes = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(x, kernel, (stride, stride), [(margin, margin)] * 2, dimension_numbers=axes)
    return out + w[f"{name}.bias"]


def linear(w: Weights, name: str, x: Any) -> Any:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: Weights, name: str, x: Any, layer: Any) -> Any:
    n, high, wide, _ = x.shape
    groups = x.reshape(n, high * wide, layer.num_groups, -1)
    mean, var = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    normal = ((groups - mean) * jax.lax.rsqrt(var + layer.eps)).reshape(x.shape)
    return normal * w[f"{name}.weight"] + w[f"{name}.bias"]


def resnet(model: nn.Sequential, w: Weights, x: Any) -> Any:
    """Logits of dp_sgd.resnet for x (N, H, W, C)."""
    x = conv(w, "0", x)
    blocks: list[Any] = [(str(index), block) for index, block in enumerate(model) if hasattr(block, "conv0")]
    for at, block in blocks:
        stride = block.conv0.stride[0]
        h = conv(w, f"{at}.conv0", jax.nn.relu(norm(w, f"{at}.norm0", x, block.norm0)), stride)
        h = conv(w, f"{at}.conv1", jax.nn.relu(norm(w, f"{at}.norm1", h, block.norm1)))
        x = h + (conv(w, f"{at}.skip", x, stride) if f"{at}.skip.weight" in w else x)
    return linear(w, str(len(model) - 1), x.mean((1, 2)))


def unet(model: UNet, w: Weights, x: Any, c_noise: Any, labels: Any) -> Any:
    """raysyn.models.unet for x (N, H, W, C) whose sides its levels divide."""
    half = model.config.width // 2
    angles = c_noise[:, None] * jnp.exp(jnp.arange(half) * (-math.log(10000) / (half - 1)))
    time = linear(w, "time0", jnp.concatenate((jnp.sin(angles), jnp.cos(angles)), 1) + w["label.weight"][labels])
    time = jax.nn.silu(linear(w, "time1", jax.nn.silu(time)))
    n, high, wide, channels = x.shape
    patch = model.config.patch
    x = x.reshape(n, high // patch, patch, wide // patch, patch, channels).transpose(0, 1, 3, 5, 2, 4)
    x = conv(w, "stem", x.reshape(n, high // patch, wide // patch, -1))
    skips = [x]
    for index, stage in enumerate(model.down):
        x = _stage(stage, w, f"down.{index}", x, time)
        skips.append(x)
    for index, layer in enumerate(model.middle):
        part: Any = _block if isinstance(layer, ResidualBlock) else _attention
        x = part(layer, w, f"middle.{index}", x, time)
    for index, stage in enumerate(model.up):
        assert isinstance(stage, Stage)
        x = jnp.concatenate((x, skips.pop()), -1) if stage.takes_skip else x
        x = _stage(stage, w, f"up.{index}", x, time)
    x = conv(w, "head", jax.nn.silu(norm(w, "norm", x, model.norm)))
    x = x.reshape(n, high // patch, wide // patch, channels, patch, patch).transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(n, high, wide, channels)


def _stage(stage: Any, w: Weights, name: str, x: Any, time: Any) -> Any:
    x = _block(stage.block, w, f"{name}.block", x, time)
    return x if stage.attention is None else _attention(stage.attention, w, f"{name}.attention", x, time)


def _block(block: ResidualBlock, w: Weights, name: str, x: Any, time: Any) -> Any:
    h = _resample(jax.nn.silu(norm(w, f"{name}.norm0", x, block.norm0)), block.resample)
    h = conv(w, f"{name}.conv0", h) + linear(w, f"{name}.time", time)[:, None, None]
    h = conv(w, f"{name}.conv1", jax.nn.silu(norm(w, f"{name}.norm1", h, block.norm1)))
    x = _resample(x, block.resample)
    return ((x if block.skip is None else conv(w, f"{name}.skip", x)) + h) * SKIP_SCALE


def _attention(layer: Attention, w: Weights, name: str, x: Any, time: Any) -> Any:
    n, high, wide, channels = x.shape
    tokens = norm(w, f"{name}.norm", x, layer.norm).reshape(n, high * wide, channels)
    query, key, value = jnp.split(linear(w, f"{name}.qkv", tokens), 3, -1)
    mixed = jax.nn.softmax(query * channels**-0.5 @ key.transpose(0, 2, 1), -1) @ value
    return (x + linear(w, f"{name}.out", mixed).reshape(x.shape)) * SKIP_SCALE


def _resample(x: Any, how: str) -> Any:
    n, high, wide, channels = x.shape
    if how == "down":
        return x.reshape(n, high // 2, 2, wide // 2, 2, channels).mean((2, 4))
    return x if how != "up" else x.repeat(2, 1).repeat(2, 2)


def classifier_loss(model: nn.Sequential, w: Weights, x: Any, labels: Any) -> Any:
    """Mean loss of the K copies of one image, (K, H, W, C)."""
    return -jnp.take_along_axis(jax.nn.log_softmax(resnet(model, w, x)), labels[:, None], 1).mean()


def diffusion_loss(model: UNet, w: Weights, noisy: Any, clean: Any, sigma: Any, labels: Any) -> Any:
    """Of raysyn.train.diffusion, mean over the K copies of one image."""
    total = sigma**2 + SIGMA_DATA**2
    wide = [part[:, None, None, None] for part in (SIGMA_DATA**2 / total, sigma * SIGMA_DATA / total**0.5, total**-0.5)]
    made = wide[0] * noisy + wide[1] * unet(model, w, wide[2] * noisy, jnp.log(sigma) / 4, labels)
    return (total / (sigma * SIGMA_DATA) ** 2 * jnp.square(made - clean).mean((1, 2, 3))).mean()


def clipped_step(model: nn.Module, inputs_BK: Any, micro_batch: int) -> Callable[[], Any]:
    """The sum of clipped gradients (clip 1) by `jax_privacy.clipped_grad`, compiled: a call is a step."""
    given = [x.numpy() for x in inputs_BK]
    given = [jnp.asarray(np.moveaxis(x, 2, -1) if x.ndim == 5 else x.astype(np.int32) if x.dtype == np.int64 else x)
             for x in given]  # fmt: skip
    w, loss = weights_of(model), diffusion_loss if isinstance(model, UNet) else classifier_loss

    def one(w: Weights, *inputs_K: Any) -> Any:
        return loss(model, w, *inputs_K)  # type: ignore[arg-type]

    numbers = tuple(range(1, 1 + len(given)))
    summed = jax.jit(clipping.clipped_grad(
        one, l2_clip_norm=1.0, batch_argnums=numbers, keep_batch_dim=False, microbatch_size=micro_batch
    ))  # fmt: skip
    return lambda: jax.block_until_ready(summed(w, *given))
