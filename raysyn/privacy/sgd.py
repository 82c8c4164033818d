"""DP-SGD: who takes part, per-image gradients, clip, sum, noise and scale, all in this one place.

Each step draws its images by Poisson sampling, clips each image's gradient to `max_grad_norm`, sums over images
and ranks, adds Gaussian noise of standard deviation noise_multiplier * max_grad_norm once, and divides by the
expected batch (Abadi et al. 2016, algorithm 1; noise multiplicity after Dockhorn et al. 2023). The cost that
leaves with the answer is the one the steps were taken with.

Where persons are named, each step draws persons, and it is a person's gradient, the mean over copies each of which is
of one of their images, that is clipped: see `units.py` for why the price stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysyn.compute.doorway import Compute
from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.privacy import engines, units
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Release, plain, refuse_another_price
from raysyn.privacy.micro_batches import MicroBatches, made_up
from raysyn.privacy.noise_on_gpu import Noise
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.sgd_config import SGDConfig, marks
from raysyn.privacy.trial import Choice, SGDSpeed, measure
from raysyn.train.few_weights import few, merged
from raysyn.train.loop import Ema, Task, on_cpu


class Partner(Protocol):
    """What learns in turn with the private model, from nothing but that model's noised weights: a generator."""

    def join(self, worker: Worker) -> None:
        """Come to the worker's device; called once, before anything else."""
        ...

    def step(self, worker: Worker, model: nn.Module, done: int) -> None:
        """Learn from the model as it is after `done` steps; called on every rank."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a restart needs."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...

    def released(self) -> dict[str, Tensor]:
        """Its weights."""
        ...


def train(
    compute: Compute, model: nn.Module, task: Task, private: Images, config: SGDConfig, cost: Cost, secret: bytes,
    speed: SGDSpeed, *, name: str = "finetune", epsilon_at: Callable[[int], float] | None = None,
    partner: Partner | None = None, seed: int = 0, snapshots: Collection[int] = (),
) -> Release[dict[str, Any]]:  # fmt: skip
    """`fit` on every worker of `compute`; `name` names the stage and its random streams; `seed` decides the
    first weights of low-rank updates alone."""
    args = (model, task, private, config, cost, secret, speed, name, epsilon_at, partner, seed, snapshots)
    answer = compute.train(_plain_fit, *args, name=name)
    refuse_another_price(answer["cost"], cost)
    return Release(value=answer["value"], cost=cost)


def at(stage: str, step: int) -> str:
    """Under which `fit` keeps an average."""
    return f"{stage}-{step}"


def _plain_fit(worker: Worker, *args: Any) -> dict[str, Any]:
    return plain(fit(worker, *args))


def fit(
    worker: Worker,
    model: nn.Module,
    task: Task,
    private: Images,
    config: SGDConfig,
    cost: Cost,
    secret: bytes,
    speed: SGDSpeed,
    stage: str = "finetune",
    epsilon_at: Callable[[int], float] | None = None,
    partner: Partner | None = None,
    seed: int = 0,
    snapshots: Collection[int] = (),
) -> Release[dict[str, Any]]:
    """Train `model`, or a copy with those of its layers that `config` names, on private images and release its weights;
    call it on every rank.

    Returns {"model", "ema": state dicts on the CPU, "engine": the engine's choice, "history": rows with step and,
    where `epsilon_at(step)` is given, the epsilon spent by then; "partner": its weights, if there is one}. The value
    holds nothing else that was computed from `private`: losses and gradient norms go to the progress bar, inside the
    trust boundary, and nowhere else. The average as it is after so many steps (`snapshots`, where a state is saved) is
    kept as `at(stage, step)`: like the value it is covered by the cost, whose steps are published one by one.

    A run that was killed and continued gives the same bytes on the same machine; another number of ranks gives
    the same weights within float rounding. Raises ValueError for a model or a cost it cannot serve.
    """
    model = few(model, config.layers, seed)
    _check(model, config, cost, private.units)
    units.check(cost, private)
    # Denormal numbers, common in Adam's second moment and in clipped gradients, slow a CPU down many times.
    torch.set_flush_denormal(True)
    run = _Run(worker, model, task, private, config, cost, Stream(secret, stage), speed, partner)
    every = marks(cost.steps)
    spent: dict[str, float] = {}
    while run.done < cost.steps:
        if run.done in snapshots:  # also by whom a state of this step was left
            worker.keep(at(stage, run.done), merged(on_cpu(run.ema.weights)))
        started = time.monotonic()
        taking = units.present(private, participants(run.stream, run.done, private.units, cost.sampling_rate))
        loss = run.step(taking)
        at_mark = run.done % every == 0 or run.done == cost.steps
        if at_mark and worker.rank == 0:
            spent = {"epsilon": epsilon_at(run.done)} if epsilon_at else {}
            run.history.append({"step": run.done, **spent})
        if worker.leaving() or at_mark:
            worker.save(run.state())
        seconds = time.monotonic() - started
        worker.progress(run.done, cost.steps, loss=loss, examples_per_s=len(taking) / seconds, **spent)
    return Release(value=run.released(), cost=cost)


def _check(model: nn.Module, config: SGDConfig, cost: Cost, n: int) -> None:
    engines.refuse_unsupported(model)
    if cost.noise_multiplier is None or cost.noise_multiplier < 0:
        raise ValueError(f"noise_multiplier is {cost.noise_multiplier}: calibrate the cost before training")
    planned = config.cost(n)
    if (cost.sampling_rate, cost.steps) != (planned.sampling_rate, planned.steps):
        raise ValueError(
            f"cost is for rate {cost.sampling_rate} and {cost.steps} steps, but this config on {n} images takes "
            f"rate {planned.sampling_rate} and {planned.steps} steps: calibrate config.cost({n})"
        )


def _optimizer(model: nn.Module, config: SGDConfig, fused: bool) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(engines.trained(model), lr=config.learning_rate, momentum=config.beta1, fused=fused)
    return torch.optim.Adam(engines.trained(model), lr=config.learning_rate, betas=(config.beta1, 0.999), fused=fused)


class _Run:
    """One rank's share of a stage: the state that a checkpoint holds, and the step that advances it."""

    def __init__(
        self, worker: Worker, model: nn.Module, task: Task, private: Images, config: SGDConfig, cost: Cost,
        stream: Stream, speed: SGDSpeed, partner: Partner | None,
    ) -> None:  # fmt: skip
        self.worker, self.task, self.private, self.partner = worker, task, private, partner
        if partner is not None:
            partner.join(worker)
        self.config, self.cost, self.stream = config, cost, stream
        self.model = model.to(worker.device).train()
        self.done = 0
        self.history: list[dict[str, float]] = []
        saved = worker.resume()
        # Measured again after a restart the choice could differ, and with it the last bits of the weights.
        choice = (Choice(**saved["engine"]) if saved else self._measured(speed)).on(worker.device)
        choice.lay_out(self.model)
        self.size = sum(p.numel() for p in engines.trained(self.model))
        self.ema = Ema(self.model, config.ema)
        self.optimizer = _optimizer(self.model, config, fused=worker.device.type == "cuda")
        self.batches = MicroBatches(worker, self.model, task, private, config, choice, stream)
        self.choice = self.batches.choice
        on_gpu = worker.device.type == "cuda" and worker.rank == 0  # who alone draws it
        self.noise = Noise(stream, self.size, self._noise_std(), worker.device) if on_gpu else self._noise
        if saved:
            self._load(saved)
        else:
            # The choice becomes durable before the first step, so that a run killed early repeats it too.
            worker.save(self.state())

    def _measured(self, speed: SGDSpeed) -> Choice:
        """Rank 0's choice, on every rank: two clocks might disagree, and then so would the last bits."""
        if self.worker.rank > 0:
            return Choice(**self.worker.share(None))
        expected = math.ceil(self.config.batch_size / self.worker.world_size)
        loss, device = self.task.loss, self.worker.device
        if speed.leaves_open():
            self.worker.doing("timing ways to compute gradients")
        draw = partial(made_up, self.task, self.private, self.config.noise_multiplicity, device=device)
        best = measure(device, self.model, draw, loss, expected, speed, self.cost.steps)
        return Choice(**self.worker.share(best.as_dict()))

    def step(self, taking: NDArray[np.int64]) -> float:
        """Take one DP-SGD step; returns this rank's mean loss, the last known one where it drew no image."""
        mine = taking[self.worker.rank :: self.worker.world_size]
        sum_P = self.batches.clipped_sum(self.done, mine)
        if self.worker.rank == 0:
            # One rank adds all the noise before the sum over ranks, so its variance does not depend on their
            # number; a step in which nobody takes part is noisy too, or its emptiness would show.
            sum_P += self.noise(self.done).to(sum_P)
        self.worker.sum_(sum_P)
        # The expected batch, not the realised one, whose value would change the answer beyond its sensitivity.
        sum_P /= self.cost.sampling_rate * self.private.units
        parameters = engines.trained(self.model)
        for parameter, part in zip(parameters, sum_P.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)
            if parameter.is_cuda:  # whose optimizer is fused, and takes gradients of its weights' layout alone
                parameter.grad = torch.empty_like(parameter).copy_(parameter.grad)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate_at(self.done, self.cost.steps)
        self.optimizer.step()
        self.ema.update(self.model)
        self.done += 1
        if self.partner is not None:
            self.partner.step(self.worker, self.model, self.done)
        return self.batches.loss

    def _noise_std(self) -> float:
        assert self.cost.noise_multiplier is not None
        return self.cost.noise_multiplier * self.config.max_grad_norm

    def _noise(self, step: int) -> Tensor:
        return torch.from_numpy(self.stream.normal(step, "noise", self.size) * self._noise_std()).float()

    def state(self) -> dict[str, Any]:
        """All that a restart needs, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "done": self.done,
            "engine": self.choice.as_dict(),
            "history": self.history,
            "cost": asdict(self.cost),
            **({} if self.partner is None else {"partner": self.partner.state_dict()}),
        }

    def _load(self, saved: dict[str, Any]) -> None:
        refuse_another_price(saved["cost"], self.cost)
        self.model.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        # It would bring back the setting of the device that saved it, or of a version that had none.
        fused = {"fused": self.worker.device.type == "cuda"}
        groups = [group | fused for group in saved["optimizer"]["param_groups"]]
        self.optimizer.load_state_dict(saved["optimizer"] | {"param_groups": groups})
        self.done, self.history = saved["done"], list(saved["history"])
        if self.partner is not None:
            self.partner.load_state_dict(saved["partner"])

    def released(self) -> dict[str, Any]:
        """What leaves: noised weights, and facts that do not depend on the images."""
        return {
            "model": merged(on_cpu(self.model.state_dict())),
            "ema": merged(on_cpu(self.ema.weights)),
            "engine": self.choice.as_dict(),
            "history": self.history,
            **({} if self.partner is None else {"partner": on_cpu(self.partner.released())}),
        }
