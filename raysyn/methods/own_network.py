"""Will a denoiser last to the end of a run? Asked on made-up images, before the first touch of the private ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.models.denoiser import OwnDenoiser
from raysyn.privacy import engines
from raysyn.privacy.bookkeeping import bookkeeping
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import ALL, few, how_many, merged
from raysyn.train.samplers import SamplerConfig, generate

Shape = tuple[int, int, int]
NEVER = 1e6
"""Norm to which no gradient of the comparison is clipped."""
APART = 1e-3
"""Relative difference that is more than rounding."""


def refuse_unnamed(run: str, config: Any, trust: str | None) -> None:
    """ValueError where the folder of a run names code that its reader has not: it may have come from anywhere."""
    factory = getattr(getattr(config, "network", None), "factory", None)
    module, colon, name = ("" if factory is None else factory).partition(":")
    if factory is not None and not (colon and all(map(str.isidentifier, (*module.split("."), name)))):
        raise ValueError(f"run is {run}, whose network.factory is {factory!r}, which is no function's name")
    if factory is None and trust is not None:
        raise ValueError(f"trust is {trust}, but {run} has no network of its own: leave it out")
    if factory != trust:
        given = "which is not run without --trust" if trust is None else f"and trust is {trust}"
        raise ValueError(
            f"run is {run}, whose folder names code, network.factory {factory}, {given}: look at what that is on this "
            f"machine, then say --trust {factory}"
        )


def check_denoiser(
    denoiser: nn.Module, shape: Shape, task: DiffusionTask, sampler: SamplerConfig, layers: str = ALL
) -> dict[str, str]:
    """What tells the network from another one, as facts of the run; ValueError, in one sentence, for one that DP-SGD or
    the sampler could not work with.

    Args: the untrained network, the shape (H, W, C) of the images, what it will learn by and draw with, and which of
    its layers DP-SGD will train.
    """
    if not isinstance(denoiser, OwnDenoiser):
        engines.refuse_unsupported(few(denoiser, layers))
        return _learning(denoiser, layers)
    name = f"network.factory {denoiser.made_by.function}"
    own = copy.deepcopy(denoiser).train()

    def tried(words: str, f: Callable[[], Any]) -> Any:
        """`f()`; whatever a network that raysyn does not know may raise becomes a sentence."""
        try:
            return f()
        except Exception as error:
            raise ValueError(f"{name} {words}: {denoiser.made_by.told(error)}") from error

    if not engines.trained(own):
        raise ValueError(f"{name} has no parameters that learn: return a network that has")
    try:
        engines.refuse_unsupported(own.network)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    _shake(own)
    if layers != ALL:
        own = _with_few(own, layers, name)
    inputs = _made_up(task, shape)
    _check_answers(own, name, inputs, tried)
    _check_engines(own, name, task, inputs, tried)
    if layers != ALL:
        _check_merged(own, denoiser, name, layers, inputs)
    shown = " x ".join(map(str, shape))
    brief, labels = replace(sampler, steps=min(sampler.steps, 2)), torch.tensor([0, task.classes])
    tried(f"cannot draw images of {shown}", lambda: generate(own, brief, labels, shape, 0, torch.device("cpu")))
    first, again = denoiser.state_dict(), denoiser.made_again().state_dict()
    if first.keys() != again.keys() or not all(torch.equal(value, again[key]) for key, value in first.items()):
        raise ValueError(
            f"{name} begins with other weights each time, whatever torch.manual_seed says, so that a run could not be "
            "continued: draw them with torch's random numbers alone"
        )
    return {"network_source": denoiser.source(), **_learning(denoiser, layers)}


def refuse_lessened(layers: str, classes: int) -> None:
    """ValueError for few weights on a network of which a share alone is kept, as after images of no one class."""
    if layers != ALL and classes > 1:
        raise ValueError(
            f"finetune.layers is {layers}, but central.conditional is False with {classes} classes, after which little "
            "of what was learned is kept: give --central.conditional True, or all"
        )


def _learning(denoiser: nn.Module, layers: str) -> dict[str, str]:
    return {} if layers == ALL else {"learning": how_many(denoiser, layers)}


def _shake(own: nn.Module) -> None:
    """All zeros at first, as last layers often are, would hide what a layer does."""
    with torch.no_grad():
        for parameter in engines.trained(own):
            parameter.add_(0.05 * torch.randn(parameter.shape))


def _with_few(own: OwnDenoiser, layers: str, name: str) -> OwnDenoiser:
    """As DP-SGD will train it."""
    try:
        trained = few(own, layers)
        engines.refuse_unsupported(trained)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    _shake(trained)
    assert isinstance(trained, OwnDenoiser)
    return trained


def _check_merged(own: OwnDenoiser, denoiser: OwnDenoiser, name: str, layers: str, inputs: list[Tensor]) -> None:
    """Once its low-rank updates are put into its weights, it must answer as before."""
    plain = copy.deepcopy(denoiser).train()
    plain.load_state_dict(merged(own.state_dict()))
    noisy, _, sigma, labels = (value.flatten(0, 1) for value in inputs)
    with torch.no_grad():
        same = _alike(own(noisy, sigma, labels), plain(noisy, sigma, labels))
    if not same:
        raise ValueError(
            f"{name} answers otherwise once the updates of finetune.layers {layers} are put into its weights: give "
            "each layer one name, or give all"
        )


def _made_up(task: DiffusionTask, shape: Shape) -> list[Tensor]:
    """Two images with two copies each as the task draws them, one without its class: (2, 2, ...)."""
    images = torch.randint(256, (2, *shape), dtype=torch.uint8)
    *inputs, labels = task.draw(images, torch.tensor([0, task.classes - 1]), [1, 2], 2)
    return [*inputs, torch.tensor([[0, task.classes], [task.classes - 1, task.classes - 1]]).to(labels)]


def _check_answers(own: OwnDenoiser, name: str, inputs: list[Tensor], tried: Callable[..., Any]) -> None:
    """Called on four images, on one of them, and on nothing but shapes."""
    noisy, _, sigma, labels = (value.flatten(0, 1) for value in inputs)
    shown = f"noisy images {tuple(noisy.shape)}, noise levels {tuple(sigma.shape)} and labels {tuple(labels.shape)}"
    before = copy.deepcopy(own.state_dict())

    def call(*given: Tensor) -> Tensor:
        answer = tried(f"cannot be called with {shown}", lambda: own(*given))
        if not isinstance(answer, Tensor) or answer.shape != given[0].shape:
            told = tuple(answer.shape) if isinstance(answer, Tensor) else f"something of type {type(answer).__name__}"
            raise ValueError(f"{name} answers {shown} with {told}: return a tensor of the images' shape")
        return answer.detach()

    first, again = call(noisy, sigma, labels), call(noisy, sigma, labels)
    if not bool(torch.isfinite(first).all()):
        raise ValueError(f"{name} answers {shown} with what is no finite number: mend its layers or first weights")
    if not _alike(first, again):
        raise ValueError(f"{name} answers the same images differently each time: leave out dropout and random layers")
    if any(not torch.equal(value, before[key]) for key, value in own.state_dict().items()):
        raise ValueError(
            f"{name} changes its own state when it is called, which would leave without noise: keep nothing of what it "
            "is shown"
        )
    if not _alike(first[:1], call(noisy[:1], sigma[:1], labels[:1])):
        raise ValueError(
            f"{name} answers an image differently when others are in the batch, so that no image's influence is "
            "bounded: use GroupNorm, and nothing that goes over the first dimension"
        )
    nowhere = copy.deepcopy(own).to("meta")
    try:
        nowhere(*(value.to("meta") for value in (noisy, sigma, labels)))
    except Exception as error:
        raise ValueError(
            f"{name} cannot be called on another device than the CPU (tried: torch's meta, which tells how much memory "
            f"it will hold): {own.made_by.told(error)}; make new tensors on the device of its input"
        ) from error


def _check_engines(
    own: OwnDenoiser, name: str, task: DiffusionTask, inputs: list[Tensor], tried: Callable[..., Any]
) -> None:
    """Per-image gradients by one backward pass each, and all at once from the layers, must be the same."""
    alone = tried("cannot learn", lambda: engines.loop(own, task.loss, inputs, NEVER))
    if not bool(torch.isfinite(alone.sum_P).all()):
        raise ValueError(f"{name} has gradients that are no finite numbers: mend its layers or first weights")
    try:
        together = bookkeeping(own, task.loss, inputs, NEVER)
    except ValueError:
        return  # A layer that is called twice, say: the loop takes it, as --on.sgd.engine auto finds out.
    if not _alike(together.sum_P, alone.sum_P) or bool((together.norms_B < (1 - APART) * alone.norms_B).any()):
        raise ValueError(
            f"{name} uses the weights of a layer without calling that layer, so that per-image gradients would lack a "
            "part: call every layer that has weights, once"
        )


def _alike(one: Tensor, other: Tensor) -> bool:
    return float((one - other).norm()) <= APART * float(one.norm() + other.norm())
