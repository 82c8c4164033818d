"""What a GPU makes of raysyn, in nine minutes: steps of DP-SGD beside non-private ones, drawing, shadow models, hours.

    python benchmarks/gpu.py                       # everything; also writes gpu.json
    python benchmarks/gpu.py --small               # a minute, for a look; on a CPU it is always so

Needs neither Ray nor data. Each network is prepared in a process of its own, side by side, because compiling takes
longest; what is timed runs one after the other. "copies/s" counts the per-image gradients' copies (noise multiplicity);
"ratio" is to the fastest non-private step; "of peak" counts the operations of the network's matrix products and
convolutions against the card's dense bf16 rate. The last rows of a network are whole steps of `privacy.sgd.fit`, with
draws, noise and optimizer.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing as mp
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from dp_sgd import Case, opacus_step
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from raysyn.compute import worker
from raysyn.compute.worker import Alone, Clock, best_device
from raysyn.data.images import Images
from raysyn.methods.dp_feta import presets as dp_feta
from raysyn.methods.dp_imgsyn import presets as dp_imgsyn
from raysyn.methods.privimage import presets as privimage
from raysyn.models.private_discriminator import PrivateDiscriminator
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.models.teacher import Teacher
from raysyn.models.unet import UNet
from raysyn.privacy import engines, sgd
from raysyn.privacy.micro_batches import made_up
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import FUSED, Choice, SGDSpeed, fitting
from raysyn.train import recipe, samplers
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.naming import Naming
from raysyn.train.samplers import SamplerConfig, generate, network_calls

BF16_PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12}
"""Dense bf16 operations per second, from the vendor's data sheets."""
BOUNDS = {"float32": 2e-2, "bf16": 5e-2, "fused bf16": 5e-2}
"""Relative L2 error of a sum of clipped gradients that passes. A GPU forms float32 gradients from TF32 products, and
norms from Gram matrices are upper bounds."""
PATIENCE_S = 360.0
"""How long networks that are ready wait for others that still compile, if `--patience` does not say."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A network of the papers under DP-SGD as its preset trains it."""

    name: str
    preset: str
    shape: tuple[int, int, int]
    n: int
    config: SGDConfig
    network: Any
    kind: str

    def build(self) -> tuple[nn.Module, Any]:
        """The network with its first weights, none of them zero, and its task."""
        torch.manual_seed(0)
        if self.kind == "unet":
            model: nn.Module = UNet(self.network, self.shape[2], self.shape[:2], 10)
            task: Any = DiffusionTask(classes=10)
        elif self.kind == "teacher":
            model, task = Teacher(self.network, self.shape, 10), Naming()
        else:
            model, task = PrivateDiscriminator(self.network, self.shape, 10), Pairs()
        for parameter in model.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
        return model, task

    def images(self, count: int) -> Images:
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (count, *self.shape), dtype=np.uint8)
        return Images(pixels, random.integers(0, 10, count), tuple("0123456789"))


class Pairs:
    """What the discriminator of a private GAN is asked, with noise in place of generated images."""

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        real = images_BHWC.permute(0, 3, 1, 2).float()[:, None].expand(-1, copies, -1, -1, -1) / 255
        both = torch.cat([real, torch.rand_like(real)], 1)
        is_real = torch.arange(2 * copies, device=real.device).expand(len(real), -1) < copies
        return both, labels_B[:, None].expand(-1, 2 * copies), is_real.float()

    def loss(self, model: nn.Module, *inputs_M: Tensor) -> Tensor:
        images, labels, is_real = inputs_M
        return torch.relu(1 - (2 * is_real - 1) * model(images, labels))


def workloads() -> list[Workload]:
    """From the papers' presets."""
    mnist, colour = dp_feta.PAPER["paper-mnist-eps10"], privimage.PRESETS["paper-cifar10-eps10"]
    gan, teacher = privimage.PRESETS["paper-cifar10-gan-eps10"], dp_imgsyn.PRESETS["paper-mnist-eps10"]
    grey, rgb = (28, 28, 1), (32, 32, 3)
    return [
        Workload("MNIST U-Net", "DP-FETA paper-mnist", grey, 60_000, mnist.finetune, mnist.network, "unet"),
        Workload("CIFAR U-Net", "PrivImage paper-cifar10", rgb, 50_000, colour.finetune, colour.network, "unet"),
        Workload("residual net", "DP-ImgSyn paper-mnist", grey, 60_000, teacher.training, teacher.teacher, "teacher"),
        Workload(
            "discriminator", "PrivImage paper-cifar10-gan", rgb, 50_000, gan.finetune, gan.gan.discriminator, "gan"
        ),
    ]


def seconds(step: Callable[[], Any], device: torch.device, least: int = 3, room_s: float = 1.0) -> float:
    """Median of a few runs after one that warms up."""

    def once() -> float:
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once()
    times = [once()]
    while len(times) < least or (sum(times) < room_s and len(times) < 30):
        times.append(once())
    return statistics.median(times)


def replayed(step: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """The step as a CUDA graph."""
    if device.type != "cuda":
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@contextmanager
def prepared(program: Any) -> Iterator[None]:
    """Within, the program is what `sgd.fit` would compile: the same network, task and shape."""
    if program is None:
        yield
        return
    from raysyn.privacy import fused

    before, fused.Program = fused.Program, lambda *_, **__: program  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        fused.Program = before  # type: ignore[misc]


def tf32(on: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = on


class Bench:
    """One workload: everything that takes long is done first, in `__init__`; `rows` only times."""

    def __init__(self, work: Workload, small: bool) -> None:
        self.work, self.device, self.small = work, best_device(), small
        self.config = replace(work.config, batch_size=4, noise_multiplicity=2) if small else work.config
        self.model, self.task = work.build()
        self.model.to(self.device).to(memory_format=torch.channels_last)
        self.like, self.copies = work.images(16), self.config.noise_multiplicity
        one = self._inputs(1)
        self.images = fitting(self.device, one[0], self.config.batch_size)
        self.inputs_BK = self._inputs(self.images)
        self.rows_of_network = self.images * one[0].shape[1]
        with FlopCounterMode(display=False) as counter:
            self._plain_loss([x[:1].flatten(0, 1) for x in self.inputs_BK]).backward()
        self.operations = counter.get_total_flops() * self.images
        self.model.zero_grad(set_to_none=True)
        self.compile_s: dict[str, float] = {}
        self.plain_compiled = self.program = None
        if self.device.type == "cuda":
            self.plain_compiled = self._timed("compiled", lambda: self._plain(True, compiled=True))
            self.program = self._timed("fused", self._fused)

    def _timed(self, name: str, make: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        try:
            return make()
        except Exception:  # one network must not cost the others' figures
            traceback.print_exc()
            return None
        finally:
            self.compile_s[name] = time.perf_counter() - started

    def _inputs(self, images: int) -> list[Tensor]:
        return [x.contiguous() for x in made_up(self.task, self.like, self.copies, images, self.device)]

    def _plain_loss(self, inputs_M: Sequence[Tensor]) -> Tensor:
        return self.task.loss(self.model, *inputs_M).mean()

    def _plain(self, bf16: bool, compiled: bool = False) -> Callable[[], Any]:
        inputs = [x.flatten(0, 1) for x in self.inputs_BK]
        loss = torch.compile(self._plain_loss, dynamic=False) if compiled else self._plain_loss
        weights = list(self.model.parameters())

        def step() -> None:
            with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if bf16 else nullcontext():
                value = loss(inputs)
            torch.autograd.grad(value, weights, allow_unused=True)

        return replayed(step, self.device) if compiled else step

    def _fused(self) -> Any:
        from raysyn.privacy.fused import Program

        return Program(self.model, self.task.loss, self.inputs_BK, self.config.max_grad_norm, bf16=True)

    def rows(self) -> list[Row]:
        """Non-private first."""
        cuda, found = self.device.type == "cuda", list[Row]()

        def add(what: str, precision: str, step: Callable[[], Any] | None, images: int = self.images) -> None:
            if step is None:
                return
            if cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            try:
                took = seconds(step, self.device)
            except Exception as error:
                found.append({"what": what, "precision": precision, "failed": str(error).split("\n")[0][:200]})
                return
            peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
            found.append(self._row(what, precision, took, images, peak))

        def by(engine: str, precision: str) -> Callable[[], Any]:
            choice = Choice(engine=engine, micro_batch=self.images, channels_last=True, precision=precision)
            return lambda: choice.clipped_sum(self.model, self.task.loss, self.inputs_BK, self.config.max_grad_norm)

        for name in ("float32", "TF32") if cuda else ("float32",):
            tf32(name == "TF32")
            add("non-private", name, self._plain(False))
        if cuda:
            add("non-private", "bf16", self._plain(True))
        add("non-private, compiled", "bf16", self.plain_compiled)
        for name in ("float32", "TF32") if cuda else ("float32",):
            tf32(name == "TF32")
            add("bookkeeping", name, by("bookkeeping", "float32"))
        if cuda:
            add("bookkeeping", "bf16", by("bookkeeping", "bf16"))
        add("fused", "bf16", self.program and (lambda: self.program(self.inputs_BK)))
        few = max(1, self.images // 4)
        case = Case(self.work.name, self.model, [x[:few] for x in self.inputs_BK], self.task.loss)
        for mode in ("hooks", "ghost", "fast"):
            add(f"Opacus, {mode}", "TF32" if cuda else "float32", opacus_step(case, mode, "NHWC", few), few)
        self._ratios(found)
        return found + self._whole_steps()

    def _row(self, what: str, precision: str, took: float, images: int, peak: float | None) -> Row:
        of_peak = None
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name()
            rate = next((rate for card, rate in BF16_PEAK.items() if card in name), None)
            of_peak = rate and self.operations * images / self.images / took / rate
        copies = images * self.copies
        steps = self.config.batch_size / images * took
        return {
            "what": what, "precision": precision, "step_s": steps, "copies_per_s": copies / took, "of_peak": of_peak,
            "peak_gb": peak,
        }  # fmt: skip

    def _ratios(self, found: list[Row]) -> None:
        plain = [row["step_s"] for row in found if row["what"].startswith("non-private") and "step_s" in row]
        for row in found:
            if "step_s" in row:
                row["ratio"] = row["step_s"] / min(plain)

    def _whole_steps(self) -> list[Row]:
        """Of `sgd.fit`, as a run takes them."""
        n = 8 if self.small else self.work.n
        images = self.work.images(n)
        steps = 3 if self.small or self.config.batch_size > 1000 else 40
        brief = replace(self.config, epochs=steps * self.config.batch_size / n)
        cost = replace(brief.cost(n), noise_multiplier=1.0)
        engine: Any = FUSED if self.program else "bookkeeping"
        clock = Clock()
        speed = SGDSpeed(engine=engine, micro_batch=self.images, channels_last=True)
        try:
            with prepared(self.program):
                sgd.fit(clock, self.model, self.task, images, brief, cost, bytes(32), speed)
        except Exception as error:
            return [{"what": f"whole step, {engine}", "failed": str(error).split("\n")[0][:200]}]
        row: Row = {"what": f"whole step, {engine}", "precision": speed.precisions_on(self.device, engine)[0]}
        row["step_s"] = statistics.median(b - a for a, b in pairwise(clock.times))
        row["copies_per_s"] = self.config.batch_size * self.copies / row["step_s"]
        return [row]

    def launches(self) -> list[Row]:
        """Kernels of a micro-batch: how many, and which take longest."""
        found = []
        for name, step in (("non-private, compiled", self.plain_compiled), ("fused", self.program)):
            if step is None:
                continue
            args = (self.inputs_BK,) if name == "fused" else ()
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
                step(*args)
                torch.cuda.synchronize()
            events = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
            found.append({"what": name, "launches": sum(event.count for event in events)})
            found[-1]["ms"] = sum(event.self_device_time_total for event in events) / 1000
            for event in events[:12]:
                ms = event.self_device_time_total / 1000
                found.append({"what": event.key[:60], "launches": event.count, "ms": ms})
        return found

    def equality(self) -> list[Row]:
        """Errors of sums of clipped gradients of four images, against `loop` in float32 on the CPU."""
        four = [x[:4] for x in self.inputs_BK]
        clip = self.config.max_grad_norm
        cpu, _ = self.work.build()
        want = engines.loop(cpu, self.task.loss, [x.cpu() for x in four], clip).sum_P
        tf32(False)
        kinds = ["float32", "bf16"] if self.device.type == "cuda" else ["float32"]
        found = []
        for kind in [*kinds, *(["fused bf16"] if self.program else [])]:
            choice = Choice(engine="bookkeeping", micro_batch=4, channels_last=True, precision=kind)
            if self.program is not None and kind.startswith("fused"):
                got = self.program(four).sum_P
            else:
                got = choice.clipped_sum(self.model, self.task.loss, four, clip).sum_P
            error = float((got.cpu() - want).norm() / want.norm())
            found.append({"what": kind, "error": error, "bound": BOUNDS[kind], "passes": error <= BOUNDS[kind]})
        return found


class Drawing:
    """Images per second of the MNIST U-Net by the default sampler, as a run draws them and with what may be gained."""

    def __init__(self, small: bool) -> None:
        self.device, self.work = best_device(), workloads()[0]
        self.model = self.work.build()[0].to(self.device).to(memory_format=torch.channels_last)
        self.count, self.sampler = (4 if small else 2048), SamplerConfig(steps=2 if small else 20)
        self.ways: dict[str, tuple[bool, bool]] = {"float32": (False, False)}
        if self.device.type == "cuda":
            self.ways |= {"TF32": (False, False), "bf16": (True, False), "bf16, compiled": (True, True)}
        for way in self.ways.values():
            self.draw(*way)

    def draw(self, bf16: bool, compiled: bool) -> Tensor:
        with (
            patch.object(worker, "has_bf16", lambda device: bf16),
            patch.object(samplers, "CALLS_WORTH_COMPILING", 0 if compiled else math.inf),
        ):
            return generate(self.model, self.sampler, torch.arange(self.count) % 10, self.work.shape, 0, self.device)

    def rows(self) -> list[Row]:
        found, reference = list[Row](), None
        for name, way in self.ways.items():
            tf32(name != "float32")
            images = self.draw(*way)
            took = seconds(partial(self.draw, *way), self.device)
            reference = images if reference is None else reference
            moved = float((images.double() - reference.double()).square().mean().sqrt())
            found.append({"what": name, "images_per_s": self.count / took, "moved": moved})
            found[-1]["calls"] = network_calls(self.sampler)
        return found


def shadows(small: bool) -> list[Row]:
    """ResNet-14 by Knowledge Recycling's recipe, one by one and stacked."""
    found = list[Row]()
    count, epochs = (64, 1) if small else (4096, 2)
    config = recipe.RecipeConfig(epochs=epochs, batch_size=64 if small else 128, learning_rate=0.2)
    images = workloads()[0].images(count)
    examples = recipe.one_hot(images.images_NHWC, images.labels_N, 10)
    network = ResNetConfig(width=8) if small else ResNetConfig()
    for stack in (1, 2) if small else (1, 8, 32):
        networks = [resnet(network, 1, 10) for _ in range(stack)]
        started = time.perf_counter()
        try:
            recipe.fit(Alone(), networks, lambda epoch, m: examples, count, config, list(range(stack)))
        except Exception as error:
            found.append({"what": f"{stack} at once", "failed": str(error).split("\n")[0][:200]})
            continue
        took = time.perf_counter() - started
        # A model of the paper sees 500 times the half of MNIST's pool of 60,000.
        passes = stack * count * epochs / took
        found.append({"what": f"{stack} at once", "images_per_s": passes, "models_per_hour": 3600 * passes / 15e6})
    return found


def hours(results: Sequence[Row]) -> list[Row]:
    """Of DP-SGD alone, for the presets whose network was measured: whole steps by the faster engine."""
    best = {
        one["name"]: min(
            (r["step_s"] for r in one["rows"] if r["what"].startswith("whole") and "step_s" in r), default=0
        )
        for one in results
    }
    works, found = {work.name: work for work in workloads()}, []
    presets: Mapping[str, Any]
    for family, presets in (
        ("dp_feta", dp_feta.PAPER),
        ("privimage", privimage.PRESETS),
        ("dp_imgsyn", dp_imgsyn.PRESETS),
    ):
        config: Any
        for name, config in presets.items():
            if not name.startswith("paper-"):
                continue
            tuning = config.training if family == "dp_imgsyn" else config.finetune
            gan = getattr(config, "generator", "") == "gan"
            network = config.teacher if family == "dp_imgsyn" else config.gan.discriminator if gan else config.network
            for work in works.values():
                same = work.network == network and tuning.noise_multiplicity == work.config.noise_multiplicity
                if not same or not best.get(work.name) or config.data.size is not None:
                    continue
                colour = config.data.name == "cifar10"
                if colour != (work.shape[2] == 3):
                    continue
                n = 50_000 if colour else 60_000
                each = best[work.name] * tuning.batch_size / work.config.batch_size
                found.append({"what": f"{family} {name}", "hours": tuning.cost(n).steps * each / 3600})
    return found


def one(work: Workload | None, small: bool, ready: Any, turn: Any, patience_s: float = 0) -> Row:
    """Prepare, wait for the others, time in turn: a network's steps, or without one drawing and shadow models."""
    bench = Drawing(small) if work is None else Bench(work, small)
    with suppress(BrokenBarrierError):  # somebody failed; go on without him
        ready.wait(patience_s)
    with turn:
        if isinstance(bench, Drawing):
            return {"name": "", "drawing": bench.rows(), "shadows": shadows(small)}
        assert work is not None
        equality, rows, launches = bench.equality(), bench.rows(), bench.launches()
        return {
            "name": work.name, "preset": work.preset, "batch": bench.config.batch_size, "copies": bench.copies,
            "parameters": sum(p.numel() for p in bench.model.parameters()), "micro_batch": bench.images,
            "compile_s": bench.compile_s, "rows": rows, "equality": equality, "launches": launches,
        }  # fmt: skip


def process(work: Workload | None, small: bool, ready: Any, turn: Any, patience_s: float, answers: Any) -> None:
    """`one` in a process of its own."""
    try:
        answers.put(one(work, small, ready, turn, patience_s))
    except Exception:
        traceback.print_exc()
        ready.abort()
        answers.put({"name": work.name if work else "", "rows": [], "failed": traceback.format_exc().splitlines()[-1]})


def measured(small: bool, names: Sequence[str], patience_s: float) -> list[Row]:
    """All workloads, prepared side by side on a GPU; on a CPU one after the other."""
    chosen: list[Workload | None] = [work for work in workloads() if not names or work.name in names]
    chosen += [None] * (not names or "drawing" in names)
    if best_device().type == "cpu":
        return [one(work, small, Barrier(1), nullcontext()) for work in chosen]
    context = mp.get_context("spawn")
    answers, turn, ready = context.Queue(), context.Lock(), context.Barrier(len(chosen))
    common = (small, ready, turn, patience_s, answers)
    processes = [context.Process(target=process, args=(work, *common)) for work in chosen]
    for each in processes:
        each.start()
    found = []
    for _ in processes:
        found.append(answers.get(timeout=2 * max(PATIENCE_S, patience_s)))
        print("#", found[-1]["name"] or "drawing", "measured", json.dumps(found[-1]), flush=True)
    for each in processes:
        each.join()
    return found


def machine() -> Row:
    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "memory_gb": torch.cuda.get_device_properties(0).total_memory / 2**30 if cuda else None,
        "torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """As tables in Markdown."""

    def table(title: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        print(f"\n### {title}\n")
        names = [name for name in dict.fromkeys(key for row in rows for key in row)]
        print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
        for row in rows:
            print("| " + " | ".join(told(row.get(name)) for name in names) + " |", flush=True)

    def told(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        return "" if value is None else str(value)

    print("#", ", ".join(f"{name} {told(value)}" for name, value in found["machine"].items()))
    for case in found["workloads"]:
        facts = [f"{name} {told(value)}" for name, value in case.items() if not isinstance(value, list)]
        table(", ".join(facts).removeprefix("name "), case["rows"])
        table("Equal to the CPU's float32", case.get("equality", []))
        table("Kernels of a micro-batch", case.get("launches", []))
    table("Drawing, MNIST U-Net", found["drawing"])
    table("Shadow models", found["shadows"])
    table("Hours of DP-SGD", found["hours"])


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="few images, two copies each: whether it runs")
    parser.add_argument("--only", default="", help="comma-separated names of networks, or drawing")
    parser.add_argument("--patience", type=float, default=PATIENCE_S, help="seconds to wait for who still compiles")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    args = parser.parse_args(arguments)
    small = args.small or best_device().type == "cpu"
    print("# python benchmarks/gpu.py", *(sys.argv[1:] if arguments is None else arguments), flush=True)
    torch.set_flush_denormal(True)
    found: dict[str, Any] = {"machine": machine(), "small": small}
    rows = measured(small, [name for name in args.only.split(",") if name], args.patience)
    found["workloads"] = [row for row in rows if row["name"]]
    for part in ("drawing", "shadows"):
        found[part] = next((row[part] for row in rows if part in row), [])
    found["hours"] = [] if small else hours(found["workloads"])
    args.out.write_text(json.dumps(found, indent=1))
    show(found)
    return found


if __name__ == "__main__":
    main()
