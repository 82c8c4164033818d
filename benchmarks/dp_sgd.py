"""How fast are the per-image gradient engines? CPU time and peak memory beside a non-private step and Opacus.

    python benchmarks/dp_sgd.py                     # every model and K
    python benchmarks/dp_sgd.py --cases unet:16x8   # one case, batch x K
    python benchmarks/dp_sgd.py --repeats 1 --engines auto,bookkeeping
    python benchmarks/dp_sgd.py --engines auto,jax-privacy          # after pip install jax-privacy; a minute a step

All rows of a case run interleaved on made-up images; times are medians over the repeats. A step is forward,
backward and (where private) clip and sum; the noise and the optimiser are left out of every row. The ratio is
to the fastest non-private step among both memory layouts, whole and in micro-batches, in float32 and, where the device
has it, bfloat16 (--precision float32 leaves it out, as before there was bfloat16 on CPUs). Opacus knows no noise
multiplicity: its hooks' per-copy gradients are averaged here before the clip, while its ghost and fast modes
cannot average, so they clip each copy alone, which is less work than asked for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from measuring import peak_bytes, seconds_of
from opacus.grad_sample import GradSampleModule
from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from raysyn.compute.worker import best_device, has_bf16
from raysyn.models.unet import UNet, UNetConfig
from raysyn.privacy import trial
from raysyn.privacy.engines import Loss
from raysyn.privacy.trial import Choice, SGDSpeed
from raysyn.train.diffusion import DiffusionTask

CASES = "resnet:256x1,unet:16x1,unet:16x8,unet:16x32"
LAYOUTS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


class Residual(nn.Module):
    """GroupNorm, ReLU, convolution, twice, with a skip."""

    def __init__(self, wide_in: int, wide_out: int, stride: int) -> None:
        super().__init__()
        self.norm0, self.norm1 = nn.GroupNorm(8, wide_in), nn.GroupNorm(8, wide_out)
        self.conv0 = nn.Conv2d(wide_in, wide_out, 3, stride, 1)
        self.conv1 = nn.Conv2d(wide_out, wide_out, 3, 1, 1)
        self.skip = nn.Conv2d(wide_in, wide_out, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv0(F.relu(self.norm0(x)))
        return self.skip(x) + self.conv1(F.relu(self.norm1(h)))


def resnet() -> nn.Module:
    """A residual GroupNorm classifier for 28 x 28 grey images, 0.18 M parameters."""
    widths = [(16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    blocks = [Residual(*width) for width in widths]
    return nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def cross_entropy(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """(M,) losses."""
    return F.cross_entropy(model(x), labels, reduction="none")


@dataclass
class Case:
    """A model with inputs (B, K, ...) and its loss."""

    name: str
    model: nn.Module
    inputs_BK: Sequence[Tensor]
    loss: Loss

    @property
    def images(self) -> int:
        return len(self.inputs_BK[0])

    @property
    def copies(self) -> int:
        return self.inputs_BK[0].shape[1]

    def first(self, images: int) -> list[Tensor]:
        """The inputs of the first few images."""
        return [x[:images] for x in self.inputs_BK]


def build(text: str, device: torch.device) -> Case:
    """`unet:16x8` is the U-Net with 16 images of 8 copies each."""
    name, size = text.split(":")
    images, copies = (int(number) for number in size.split("x"))
    pixels = torch.randint(0, 256, (images, 28, 28, 1), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 10, (images,), device=device)
    if name == "resnet":
        x = pixels.permute(0, 3, 1, 2)[:, None].float().expand(-1, copies, -1, -1, -1) / 255
        inputs = (x.contiguous(), labels[:, None].expand(-1, copies))
        return Case(text, resnet().to(device), inputs, cross_entropy)
    task = DiffusionTask(classes=10)
    model = UNet(UNetConfig(patch=2), 1, 28, 10).to(device)
    return Case(text, model, task.draw(pixels, labels, range(images), copies), task.loss)


def randomise(model: nn.Module) -> None:
    """Zero-initialised layers would make gradients vanish, and vanishing numbers change the speed."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)


def plain_step(case: Case, layout: str, precision: str, micro_batch: int) -> Callable[[], None]:
    """Forward and backward of the mean loss."""
    device = case.inputs_BK[0].device.type

    def step() -> None:
        case.model.to(memory_format=LAYOUTS[layout])
        for start in range(0, case.images, micro_batch):
            inputs = [x[start : start + micro_batch].flatten(0, 1) for x in case.inputs_BK]
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                losses = case.loss(case.model, *inputs)
            losses.float().sum().backward()
        case.model.zero_grad()

    return step


def private_step(case: Case, choice: Choice) -> Callable[[], None]:
    """The sum of clipped gradients, as `sgd.fit` takes it."""

    def step() -> None:
        choice.lay_out(case.model)
        for start in range(0, case.images, choice.micro_batch):
            inputs = [x[start : start + choice.micro_batch] for x in case.inputs_BK]
            choice.clipped_sum(case.model, case.loss, inputs, 1.0)

    return step


class MeanLoss(nn.Module):
    """The model and its loss as one module, so that `functional_call` can swap the parameters."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.model, self.loss = case.model, case.loss

    def forward(self, *inputs_K: Tensor) -> Tensor:
        return self.loss(self.model, *inputs_K).mean()


def vmap_step(case: Case, layout: str, micro_batch: int) -> Callable[[], None]:
    """The gradient function of one image mapped over images by torch.func."""
    whole = MeanLoss(case)

    def value(parameters: dict[str, Tensor], *inputs_K: Tensor) -> Tensor:
        return functional_call(whole, parameters, inputs_K)

    per_image = vmap(grad(value), in_dims=(None, *[0] * len(case.inputs_BK)))

    def step() -> None:
        case.model.to(memory_format=LAYOUTS[layout])
        parameters = {name: parameter.detach() for name, parameter in whole.named_parameters()}
        for start in range(0, case.images, micro_batch):
            inputs = [x[start : start + micro_batch] for x in case.inputs_BK]
            clip_and_sum([g.flatten(1) for g in per_image(parameters, *inputs).values()])

    return step


def clip_and_sum(grads_BP: Sequence[Tensor]) -> list[Tensor]:
    """What is left to do where all per-image gradients are in memory."""
    norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in grads_BP]).norm(dim=0)
    factors = 1.0 / norms.clamp(min=1.0)
    return [factors @ g for g in grads_BP]


def opacus_step(case: Case, mode: str, layout: str, micro_batch: int) -> Callable[[], None]:
    """One of Opacus' modes: `hooks`, `ghost` or `fast`. Hooks are attached for this step alone."""

    def wrapped() -> Any:
        if mode == "hooks":
            return GradSampleModule(case.model, loss_reduction="sum")
        return GradSampleModuleFastGradientClipping(
            case.model, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=mode == "ghost"
        )

    def step() -> None:
        case.model.to(memory_format=LAYOUTS[layout])
        outer = wrapped()
        for start in range(0, case.images, micro_batch):
            inputs = [x[start : start + micro_batch].flatten(0, 1) for x in case.inputs_BK]
            losses = case.loss(outer, *inputs)
            if mode == "hooks":
                (losses / case.copies).sum().backward()
                _clip_hooks(case.model, case.copies)
            else:
                losses.sum().backward(retain_graph=True)
                factors = outer.get_clipping_coef()
                outer.zero_grad()
                outer.disable_hooks()
                (losses * factors).sum().backward()
                outer.enable_hooks()
        outer.zero_grad()
        # Opacus leaves its hooks and attributes on the model until told to take them off.
        outer.to_standard_module()

    return step


def _clip_hooks(model: Any, copies: int) -> None:
    grads = []
    for parameter in model.parameters():
        rows = parameter.grad_sample.flatten(1)
        grads.append(rows.view(-1, copies, rows.shape[1]).sum(1) if copies > 1 else rows)
        parameter.grad_sample = None
    clip_and_sum(grads)


def steps_of(
    case: Case, engines: Sequence[str], device: torch.device, precisions: Sequence[str]
) -> dict[str, Callable[[], None]]:
    """Every row of one case's table."""
    whole = case.images
    part = min(whole, trial.fitting(device, case.first(1)[0], whole))
    steps = {
        f"plain {layout} {precision} /{size}": plain_step(case, layout, precision, size)
        for precision in precisions
        for layout in LAYOUTS
        for size in (whole, part)
    }
    for engine in engines:
        if engine == "auto":
            speed = SGDSpeed(precision="auto" if "bf16" in precisions else "float32")
            # As for a stage so long that the trial may take whole micro-batches, and too short to be compiled.
            length = 1 if device.type == "cuda" else 10_000
            choice = trial.measure(device, case.model, case.first, case.loss, whole, speed, length)
            layout = f"{'NHWC' if choice.channels_last else 'NCHW'} {choice.precision}"
            steps[f"auto = {choice.engine} {layout} /{choice.micro_batch}"] = private_step(case, choice)
            continue
        if engine == "jax-privacy":
            from jax_networks import clipped_step  # needs jax-privacy, which raysyn does not

            steps[f"{engine} NHWC /{part}"] = clipped_step(case.model, case.inputs_BK, part)
            continue
        for layout in LAYOUTS:
            name = f"{engine} {layout} /{part}"
            if engine == "vmap":
                steps[name] = vmap_step(case, layout, part)
            elif engine.startswith("opacus"):
                steps[name] = opacus_step(case, engine.removeprefix("opacus-"), layout, part)
            else:
                last = layout == "NHWC"
                choice = Choice(engine=engine, micro_batch=part, channels_last=last, precision="float32")
                steps[name] = private_step(case, choice)
    return steps


def run(case: Case, engines: Sequence[str], repeats: int, device: torch.device, precisions: Sequence[str]) -> None:
    """Measure one case and print its table."""
    steps = steps_of(case, engines, device, precisions)
    memory = {name: peak_bytes(step, device) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            times[name].append(seconds_of(step, device))
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    fastest = min(taken for name, taken in middle.items() if name.startswith("plain"))
    parameters = sum(p.numel() for p in case.model.parameters())
    print(f"\n{case.name}: {case.images} images x {case.copies} copies, {parameters / 1e6:.2f} M parameters")
    print(f"  {'engine, layout /micro-batch':36} {'seconds':>8} {'ratio':>6} {'peak MB':>8}")
    for name, taken in middle.items():
        print(f"  {name:36} {taken:8.3f} {taken / fastest:6.2f} {memory[name] / 2**20:8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES, help="comma-separated MODEL:BATCHxK, models resnet and unet")
    parser.add_argument("--engines", default="auto,loop,vmap,bookkeeping,opacus-hooks,opacus-ghost,opacus-fast")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved repeats, of which the median is shown")
    parser.add_argument("--precision", choices=["auto", "float32"], default="auto")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; ratios of CPU time need 1")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    device = best_device()
    print(f"python {' '.join(sys.argv)}   # torch {torch.__version__}, {device}, {options.threads} threads")
    coarse = has_bf16(device) and options.precision == "auto"
    for text in options.cases.split(","):
        case = build(text, device)
        randomise(case.model)
        run(case, options.engines.split(","), options.repeats, device, ["float32", *(["bf16"] if coarse else [])])


if __name__ == "__main__":
    main()
