"""`map` on plain Ray tasks: retried when their process dies, each result durable the moment it exists."""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.exceptions

from raysyn.compute import Show, Tally, answers_of, groups, unit_failure, unit_files
from raysyn.on_ray.process import settle
from raysyn.on_ray.scaling import EVERY_S, Watch
from raysyn.storage import Store

RETRIES = 3
WINDOW = 32
"""Units handed to Ray beyond two per CPU that is there: enough for an autoscaler to see demand, which grows with what
it adds, too few to fill memory."""


_COLOUR = re.compile(r"\x1b\[\d+m")


class Units:
    """The units of one `map`; `cpu_s` counts what the finished ones have used."""

    def __init__(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any, gpus: float,
        together: int | None = None, keys: Sequence[str] | None = None, sizes: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self._sizes = sizes
        self._f, self._items, self._name, self._shared, self._together = f, items, name, shared, together
        self._files = unit_files(name, len(items), keys)
        self._bundle = {"CPU": 1.0, "GPU": gpus}
        self._unit = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(run_unit)
        self.cpu_s = 0.0

    def run(self, store: Store, show: Show) -> list[Any]:
        """Every result in the order of the items; those that storage holds are not computed again."""
        files = self._files
        missing = [index for index, file in enumerate(files) if file not in store]
        tally, failures = Tally(self._name, len(files), self._sizes, show), {}
        tally.add(sorted(set(range(len(files))) - set(missing)))
        for group, values, error in self._answers(groups(missing, self._together), tally):
            if error is not None:
                failures.update(dict.fromkeys(group, error))
                continue
            for index, value in zip(group, values, strict=True):
                # Written here, by the one process that surely reaches the run folder.
                store[files[index]] = value
                tally.add([index])
        if failures:
            raise unit_failure(self._name, failures, len(files))
        return [store[file] for file in files]

    def _answers(self, missing: Sequence[list[int]], tally: Tally) -> Iterator[tuple[list[int], list[Any], str | None]]:
        """(indices, values, error) of each group of missing units as it finishes."""
        common = ray.put((self._f, self._shared, self._together))
        todo, flying, watch = iter(missing), dict[Any, list[int]](), Watch(self._name, self._bundle)
        while True:
            window = WINDOW + 2 * int(ray.cluster_resources().get("CPU", 0))
            while len(flying) < window and (group := next(todo, None)) is not None:
                flying[self._unit.remote(common, [self._items[index] for index in group])] = group
            if not flying:
                return
            done = ray.wait(list(flying), timeout=EVERY_S)[0]
            if cluster := watch():
                tally.add([], **cluster)
            for ref in done:
                group = flying.pop(ref)
                try:
                    values, error, used_s = ray.get(ref)
                except ray.exceptions.RayError as lost:
                    values, error, used_s = [], f"{type(lost).__name__}: {_COLOUR.sub('', str(lost))}", 0.0
                self.cpu_s += used_s
                yield group, values, error


def run_unit(
    common: tuple[Callable[[Any, Any], Any], Any, int | None], items: Sequence[Any]
) -> tuple[list[Any], str | None, float]:
    """(results, None or the traceback, CPU seconds) of one group of units, in a worker process."""
    f, shared, together = common
    # Processes are reused, so a unit cannot trust the thread count it finds.
    settle(1)
    started = time.process_time()
    try:
        values, error = answers_of(f, items, shared, together), None
    except Exception:
        values, error = [], traceback.format_exc()
    return values, error, time.process_time() - started
