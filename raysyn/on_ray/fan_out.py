"""`map` on plain Ray tasks: retried when their process dies, each result durable the moment it exists."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.exceptions
import torch

from raysyn.compute import Show, unit_failure
from raysyn.on_ray.storage import Store

RETRIES = 3
WINDOW = 32
"""Units handed to Ray beyond two per CPU: enough for an autoscaler to see demand, too few to fill memory."""


_COLOUR = re.compile(r"\x1b\[\d+m")


class Units:
    """The units of one `map`; `cpu_s` counts what the finished ones have used."""

    def __init__(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any, gpus: float
    ) -> None:
        self._f, self._items, self._name, self._shared = f, items, name, shared
        self._unit = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(run_unit)
        self.cpu_s = 0.0

    def run(self, store: Store, show: Show) -> list[Any]:
        """Every result in the order of the items; those that storage holds are not computed again."""
        keys = [f"units/{self._name}/{index:06d}.pt" for index in range(len(self._items))]
        missing = [index for index, key in enumerate(keys) if key not in store]
        done, failures = len(keys) - len(missing), {}
        show(self._name, done, len(keys), {})
        for index, value, error in self._answers(missing):
            if error is None:
                # Written here, by the one process that surely reaches the run folder.
                store[keys[index]] = value
                done += 1
                show(self._name, done, len(keys), {})
            else:
                failures[index] = error
        if failures:
            raise unit_failure(self._name, failures, len(keys))
        return [store[key] for key in keys]

    def _answers(self, missing: Sequence[int]) -> Iterator[tuple[int, Any, str | None]]:
        """(index, value, error) of each missing unit as it finishes."""
        common = ray.put((self._f, self._shared))
        todo, flying = iter(missing), dict[Any, int]()
        window = WINDOW + 2 * int(ray.cluster_resources().get("CPU", 0))
        while True:
            while len(flying) < window and (index := next(todo, None)) is not None:
                flying[self._unit.remote(common, self._items[index])] = index
            if not flying:
                return
            for ref in ray.wait(list(flying))[0]:
                index = flying.pop(ref)
                try:
                    value, error, used_s = ray.get(ref)
                except ray.exceptions.RayError as lost:
                    value, error, used_s = None, f"{type(lost).__name__}: {_COLOUR.sub('', str(lost))}", 0.0
                self.cpu_s += used_s
                yield index, value, error


def run_unit(common: tuple[Callable[[Any, Any], Any], Any], item: Any) -> tuple[Any, str | None, float]:
    """(result, None or the traceback, CPU seconds) of one unit, in a worker process."""
    f, shared = common
    # Processes are reused, so a unit cannot trust the thread count it finds.
    torch.set_num_threads(1)
    started = time.process_time()
    try:
        value, error = f(item, shared), None
    except Exception:
        value, error = None, traceback.format_exc()
    return value, error, time.process_time() - started
