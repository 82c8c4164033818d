"""How much memory a step will hold, from shapes alone, before anything of that size exists; and how much there is.

A step is run on tensors that have a shape and no content (torch's `meta` device), while what PyTorch would have
allocated is counted. So attention's positions x positions, a batch and the backward pass count as they are.
"""

from __future__ import annotations

import os
import resource
import sys
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from raysyn.data.mapped import mapped_bytes
from raysyn.train.loop import Task

HEADROOM = 1.2
"""Of what is counted: libraries have workspaces, and an allocator does not find every gap."""
BOOKS = 1.25
"""DP-SGD's book-keeping beside a plain step: inputs and gradients of each layer stay until it has its norm."""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where Linux tells what a container may take."""
SMALL = 32 * 32
"""Pixels of an image up to which the batches of this package are as large as they are said to be."""


def at_once(most: int, shape: Sequence[int]) -> int:
    """Images of `shape` (H, W, C) to look at together, where that changes rounding at most: `most` of up to 32 x 32
    pixels, fewer of larger ones. Depends on the shape alone, so that a continued run repeats its bytes."""
    return max(1, most * SMALL // max(SMALL, shape[0] * shape[1]))


class _Held(TorchDispatchMode):
    """Counts the bytes of all tensors that live at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = _called(f, args, kwargs or {})
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._note(value)
        return out

    def _note(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: object) -> None:
            self.now -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, gone)


_MADE: dict[Any, Any] = {}
"""How calls on tensors without content ended, by all that this hangs on: PyTorch asks Python each time, slowly."""
MOST_MADE = 20_000


def _called(f: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`f(*args, **kwargs)`; what it makes anew of tensors without content is made as it was the last time."""
    given: list[Tensor] = []
    key = (f, _like((args, kwargs), given))
    if not given or any(one.device.type != "meta" for one in given):
        return f(*args, **kwargs)
    if (made := _MADE.get(key)) is not None:
        again = tuple([_empty(*one) if one else None for one in made])
        return again if len(again) > 1 else again[0]
    out = f(*args, **kwargs)
    several = out if isinstance(out, tuple) and len(out) > 1 else (out,)
    if len(_MADE) < MOST_MADE and _all_new(several, given):
        _MADE[key] = [None if one is None else _like(one, []) for one in several]
    return out


def _empty(shape: Sequence[int], stride: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype, device="meta")


def _like(value: Any, given: list[Tensor]) -> Any:
    """What a call's end hangs on of `value`, to look it up by; its tensors are added to `given`."""
    if isinstance(value, Tensor):
        given.append(value)
        return value.shape, value.stride(), value.dtype
    if isinstance(value, tuple | list):
        return tuple([_like(one, given) for one in value])
    if isinstance(value, dict):
        return tuple([(name, _like(one, given)) for name, one in value.items()])
    # 1, 1.0 and True are one key, and not one argument.
    return type(value), value


def _all_new(made: Sequence[Any], given: Sequence[Tensor]) -> bool:
    """Whether `made` are tensors without content (or None), each with a storage of its own that is as large as it."""
    tensors = [one for one in made if one is not None]
    if not all(type(one) is Tensor and one.device.type == "meta" for one in tensors):
        return False
    theirs = {one.untyped_storage()._cdata for one in given}
    own = {one.untyped_storage()._cdata for one in tensors} - theirs
    return len(own) == len(tensors) and all(
        one.untyped_storage().nbytes() == _empty(*_like(one, [])).untyped_storage().nbytes() for one in tensors
    )


def peak_bytes(action: Callable[[], object]) -> int:
    """The most bytes of tensors that `action` makes and holds at once; what was there before does not count."""
    with _Held() as held:
        action()
    return held.peak


def step_bytes(networks: Sequence[nn.Module], loss: Callable[[], Tensor]) -> int:
    """Of one step on `loss()`, which has networks and inputs on the `meta` device: forward, backward, and the weights
    four times (themselves, Adam's two moments, an average), as their gradients are among what the step makes."""
    weights = sum(value.numel() * value.element_size() for one in networks for value in one.parameters())
    return peak_bytes(lambda: loss().sum().backward()) + 4 * weights


def made_up(task: Task, shape: tuple[int, int, int], images: int, copies: int = 1) -> list[Tensor]:
    """The task's inputs for so many images (H, W, C), (images * copies, ...), without content."""
    one = task.draw(torch.zeros(1, *shape, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), [0], copies)
    return [torch.empty(images * value.shape[1], *value.shape[2:], dtype=value.dtype, device="meta") for value in one]


def gradient_bytes(model: nn.Module, task: Task, shape: tuple[int, int, int], images: int, copies: int = 1) -> int:
    """Of one training step of `model` (a copy, which becomes weightless) on so many images with so many copies each."""
    inputs, model = made_up(task, shape, images, copies), model.to("meta")
    return step_bytes([model], lambda: task.loss(model, *inputs))


def call_bytes(model: nn.Module, task: Task, shape: tuple[int, int, int], images: int) -> int:
    """The same of one call without gradients."""
    inputs, model = made_up(task, shape, images), model.to("meta")
    with torch.no_grad():
        return peak_bytes(lambda: task.loss(model, *inputs))


@dataclass(frozen=True)
class Need:
    """What one stage holds at once, on one worker."""

    stage: str
    bytes: int
    of: str
    """What is in it: `a batch of 64 images`."""


Mend = tuple[str, Callable[[], Iterable[Need]]]
"""A flag with its value, and what the stages would need with it."""
ELSEWHERE = "a cluster whose workers have more (--on.address)"


def largest(needs: Iterable[Need]) -> Need:
    return max(needs, key=lambda need: need.bytes)


def check_memory(
    shape: Sequence[int], needs: Sequence[Need], mends: Iterable[Sequence[Mend]], available: int | None
) -> None:
    """ValueError, in one sentence, where the largest need exceeds the `available` bytes (None: not known), with the
    first of each group of mends that fits."""
    worst = largest(needs)
    if available is None or HEADROOM * worst.bytes <= available:
        return
    fitting = [found for group in mends if (found := _first_that_fits(group, available))]
    advice = " or ".join([*fitting, ELSEWHERE])
    raise ValueError(
        f"images are {shape[1]}x{shape[0]} pixels (data.size): {worst.stage} would hold about "
        f"{told(HEADROOM * worst.bytes)} at once ({worst.of}), and {told(available)} are free here; give {advice}"
    )


def _first_that_fits(group: Sequence[Mend], available: int) -> str | None:
    for flag, needed in group:
        # Networks do not take every size.
        with suppress(ValueError):
            if (size := HEADROOM * largest(needed()).bytes) <= available:
                return f"{flag} (about {told(size)})"
    return None


def told(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def available_bytes() -> int | None:
    """Bytes that this process may still take: of its GPU, or of this machine, its container and its own limit."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    found = [_free_of_machine(), _free_of_container(), _free_of_process()]
    return min((value for value in found if value is not None), default=None)


def held_bytes() -> int:
    """Most that this process has held so far, data and libraries, without images that lie in a file."""
    # Linux counts in KiB, macOS in bytes.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return max(most - mapped_bytes(), _anonymous_bytes())


def _anonymous_bytes() -> int:
    """What no file stands for of what this process holds now, where the system tells; else 0."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def _free_of_machine() -> int | None:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _free_of_container() -> int | None:
    """Control groups, version 2 or 1. Pages of files that were read count as used, and yet make way for whoever needs
    memory."""
    for folder, limit, used, pages in (
        (CONTROL_GROUPS, "memory.max", "memory.current", ("inactive_file", "active_file")),
        (
            CONTROL_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
            ("total_inactive_file", "total_active_file"),
        ),
    ):  # fmt: skip
        with suppress(OSError, ValueError):  # no such group, or the word `max`
            most, held = (int((folder / name).read_text()) for name in (limit, used))
            return max(0, most - max(0, held - _pages(folder / "memory.stat", pages)))
    return None


def _pages(told: Path, names: Collection[str]) -> int:
    """Sum of these lines of a group's memory.stat; 0 where that cannot be read."""
    with suppress(OSError, ValueError):
        lines = (line.split() for line in told.read_text().splitlines())
        return sum(int(size) for name, size in lines if name in names)
    return 0


def _free_of_process() -> int | None:
    """`ulimit -v`."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with suppress(OSError):
        return max(0, limit - int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"))
    return int(limit)
