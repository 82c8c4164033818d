"""Wrong DP-SGD and wrong questions, made of the right ones: each is a change that somebody could make, and that the
audit must see."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysyn.audits.sgd_games import ALBUM
from raysyn.privacy import bookkeeping, engines, sgd, trial
from raysyn.privacy.engines import Clipped
from raysyn.privacy.poisson import participants

Change = tuple[object, str, Any]


def _rewritten(method: str, *changes: tuple[str, str]) -> Change:
    """A method of a rank's run with some of its text replaced."""
    text = textwrap.dedent(inspect.getsource(getattr(sgd._Run, method)))
    for old, new in changes:
        assert text.count(old) == 1, f"{method} has changed: {old!r} is no longer in it once"
        text = text.replace(old, new)
    made: dict[str, Any] = {}
    exec(compile("from __future__ import annotations\n" + text, "mutant", "exec"), vars(sgd), made)
    return sgd._Run, method, made[method]


def _noise(factor: str) -> Change:
    return _rewritten("_noise_std", ("return self", f"return {factor} * self"))


def _sampled(take: Callable[..., Any]) -> Change:
    return sgd, "participants", take


def _each_copy(joined: Callable[[Tensor, int], Tensor]) -> list[Change]:
    """Each copy is clipped as if it were an image."""

    def of(engine: Callable[..., Clipped]) -> Callable[..., Clipped]:
        def clip(model: Any, loss: Any, inputs_BK: Any, most: float) -> Clipped:
            copies = inputs_BK[0].shape[1]
            alone = engine(model, loss, [x.flatten(0, 1)[:, None] for x in inputs_BK], most)
            return alone._replace(sum_P=joined(alone.sum_P, copies), doubtful_B=None)

        return clip

    return [(trial, "ENGINES", {name: of(engine) for name, engine in trial.ENGINES.items()})]


def _no_clip(norms_B: Tensor, max_grad_norm: float) -> Tensor:
    return torch.ones_like(norms_B)


DRAWN = 'self.stream.normal(step, "noise", self.size)'


def _drawn(instead: str) -> list[Change]:
    return [_rewritten("_noise", (DRAWN, instead))]


UNIFORM = f"torch.special.ndtr(torch.from_numpy({DRAWN}))"
"""The same numbers as parts of 1, of which another noise of variance 1 is made."""


def _clip_each_tensor() -> list[Change]:
    """To the clip norm, each as if it were all."""

    def of(engine: Callable[..., Clipped]) -> Callable[..., Clipped]:
        def clip(model: Any, loss: Any, inputs_BK: Any, most: float) -> Clipped:
            # Of two tensors with the same norm, a clip of both together leaves each 1 / sqrt(2).
            return engine(model, loss, inputs_BK, most * 2**0.5)

        return clip

    return [(trial, "ENGINES", {name: of(engine) for name, engine in trial.ENGINES.items()})]


def rewritten(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, old: str, new: str) -> None:
    """A function of a module with some of its text replaced."""
    text = inspect.getsource(getattr(module, name))
    assert text.count(old) == 1, f"{name} has changed: {old!r} is no longer in it once"
    made: dict[str, Any] = {}
    exec(compile("from __future__ import annotations\n" + text.replace(old, new), "mutant", "exec"), vars(module), made)
    monkeypatch.setattr(module, name, made[name])


ON_EVERY_RANK = ("if self.worker.rank == 0:", "if True:")
MUTANTS: dict[str, list[Change]] = {
    "noise x 0.5": [_noise("0.5")],
    "noise x 0.8": [_noise("0.8")],
    "noise x 1.2": [_noise("1.2")],
    "noise x 2": [_noise("2.0")],
    "uniform noise": _drawn(f"12**0.5 * ({UNIFORM}.numpy() - 0.5)"),
    "Laplace noise": _drawn(f"torch.distributions.Laplace(0.0, 0.5**0.5).icdf({UNIFORM}).numpy()"),
    "noise without the clip norm": [_rewritten("_noise_std", (" * self.config.max_grad_norm", ""))],
    "noise on every rank": [_rewritten("step", ON_EVERY_RANK)],
    "a part of the noise on every rank": [
        _rewritten("step", ON_EVERY_RANK),
        _rewritten("_noise", ('"noise"', 'f"noise {self.worker.rank}"')),
        _noise("1 / 3"),
    ],
    "realised batch as denominator": [
        _rewritten("step", ("self.cost.sampling_rate * self.private.units", "max(1, len(taking))"))
    ],
    "no clip": [(engines, "clip_factors", _no_clip), (bookkeeping, "clip_factors", _no_clip)],
    "clip per copy, summed": _each_copy(lambda sum_P, copies: sum_P),
    "clip per copy, averaged": _each_copy(lambda sum_P, copies: sum_P / copies),
    "clip of each tensor": _clip_each_tensor(),
    "no noise every 8th step": _drawn(f"{DRAWN} * (step % 8 != 3)"),
    "no noise in every 16th coordinate": _drawn(f"{DRAWN} * (np.arange(self.size) % 16 > 0)"),
    "the same noise each step": _drawn(DRAWN.replace("step", "0")),
    "noise that the next step takes back": _drawn(f"{DRAWN.replace('step', 'step // 2')} * (1 - 2 * (step % 2))"),
    "the same noise in each run": _drawn("type(self.stream)(bytes(32), 'x')" + DRAWN.removeprefix("self.stream")),
    "one number for all coordinates": _drawn(f"np.repeat({DRAWN.replace('self.size', '1')}, self.size)"),
    "second half of the noise as the first": _drawn(
        f"np.resize({DRAWN.replace('self.size', 'self.size // 2')}, self.size)"
    ),
    "noise the other way round": _drawn(f"{DRAWN} + {DRAWN}[::-1]"),
    "no number": _drawn(f"{DRAWN} * np.where(np.arange(self.size) % 300, 1.0, np.nan)"),
    "same Poisson mask each step": [_sampled(lambda stream, step, n, rate: participants(stream, 0, n, rate))],
    "twice the rate": [_sampled(lambda stream, step, n, rate: participants(stream, step, n, 2 * rate))],
    "no noise on empty batches": [_rewritten("step", ("worker.rank == 0:", "worker.rank == 0 and len(taking):"))],
    "images sampled instead of persons": [
        _sampled(lambda stream, step, n, rate: np.unique(participants(stream, step, ALBUM * n, rate) // ALBUM))
    ],
    "denominators in images": [_rewritten("step", ("self.private.units", "len(self.private)"))],
}
