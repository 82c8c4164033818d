"""`map` on plain Ray tasks: tried again when their process or node dies, with more room when their memory runs out,
each result durable the moment it exists."""

from __future__ import annotations

import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.exceptions
import torch

from raysyn.compute.doorway import Show, Tally, answers_of, groups, unit_failure, unit_files
from raysyn.compute.heard import heard
from raysyn.compute.peak import forget, held, largest
from raysyn.compute.told import failure
from raysyn.on_ray.dashboard import called, place
from raysyn.on_ray.process import settle
from raysyn.on_ray.scaling import EVERY_S, Watch, growth
from raysyn.runs.storage import Store

CRASHES, LOSSES = 3, 20
"""Further attempts after a process died, and after a node did: machines that may be taken away are taken away often,
but a unit that ends its process would end the next one too."""
TOLD_EVERY_S = 1.0
WINDOW, GROWING_WINDOW = 32, 1024
"""Units handed to Ray beyond two per CPU that is there: few, and where an autoscaler is to see how much there is to do,
as many as a large cluster takes at once."""

_COLOUR = re.compile(r"\x1b\[\d+m")
LOST = (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError, ray.exceptions.LocalRayletDiedError)


@dataclass
class Group:
    """Units that are handed out together, and how their attempts ended."""

    indices: list[int]
    room: int = 1
    """Times what a unit asks for: the more, the fewer others run beside it."""
    cpus: float = 1.0
    """What it was handed out with."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Under which the board has what it tells of itself."""
    crashes: int = 0
    losses: int = 0


class Units:
    """The units of one `map`; `cpu_s` counts what the finished ones have used, `peaks` is the most memory of one."""

    def __init__(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any, gpus: float,
        board: Any = None, together: int | None = None, keys: Sequence[str] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        self._sizes = sizes
        self._f, self._items, self._name, self._shared, self._together = f, items, name, shared, together
        self._files = unit_files(name, len(items), keys)
        self._gpus, self._board = gpus, board
        # Ray would try a unit that ran out of memory again for ever, beside as many others as before.
        self._unit: Any = ray.remote(max_retries=0)(run_unit)
        self.cpu_s, self.peaks = 0.0, dict[str, int]()

    def run(self, store: Store, show: Show) -> list[Any]:
        """Every result in the order of the items; those that storage holds are not computed again."""
        files = self._files
        there = set(store.names(f"units/{self._name}"))
        missing = [index for index, file in enumerate(files) if file not in there]
        tally, failures = Tally(self._name, len(files), self._sizes, show), {}
        tally.add(sorted(set(range(len(files))) - set(missing)))
        for indices, values, error in self._answers(groups(missing, self._together), tally):
            if error is not None:
                failures.update(dict.fromkeys(indices, error))
                continue
            for index, value in zip(indices, values, strict=True):
                # Written here, by the one process that surely reaches the run folder.
                store[files[index]] = value
                tally.add([index])
        if failures:
            raise unit_failure(self._name, failures, len(files))
        return [store[file] for file in files]

    def _answers(self, missing: Sequence[list[int]], tally: Tally) -> Iterator[tuple[list[int], list[Any], str | None]]:
        """(indices, values, error) of each group of missing units as it finishes."""
        common = ray.put((self._f, self._shared, self._together))
        todo, flying, again = deque(map(Group, missing)), dict[Any, Group](), 0
        watch, beyond = Watch(self._name, self._asked(1)), GROWING_WINDOW if growth().seen else WINDOW
        while True:
            window = beyond + 2 * int(ray.cluster_resources().get("CPU", 0))
            while len(flying) < window and todo:
                group = todo.popleft()
                asked, items = self._asked(group.room), [self._items[index] for index in group.indices]
                name = f"{called(self._name)} {place(group.indices, len(self._files))}"
                unit = self._unit.options(num_cpus=asked["CPU"], num_gpus=asked["GPU"], name=name)
                group.cpus = asked["CPU"]
                flying[unit.remote(common, items, self._board, group.key)] = group
            if not flying:
                return
            done = ray.wait(list(flying), timeout=EVERY_S)[0]
            if cluster := watch():
                tally.add([], **cluster, **({"again": again} if again else {}))
            if not done and (told := self._told(flying)) is not None:
                tally.within(*told)
            for ref in self._too_large(flying) if not done else []:
                ray.cancel(ref, force=True)
                todo.appendleft(flying.pop(ref))
            for ref in done:
                group = flying.pop(ref)
                values, error, failure = self._fetch(ref)
                if error is not None and self._may_try_again(group, failure):
                    again += 1
                    todo.appendleft(group)
                    continue
                yield group.indices, values, error

    def _told(self, flying: Mapping[Any, Group]) -> tuple[str, int, int] | None:
        """(stage, done, total) of the first that was handed out and has told any; nothing is worth a failure."""
        if self._board is None:
            return None
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            told = ray.get(self._board.first_of.remote([group.key for group in flying.values()]), timeout=5)
            return None if told is None else told[:3]
        return None

    def _too_large(self, flying: Mapping[Any, Group]) -> list[Any]:
        """What asks for more than any node has by now: the largest has been lost meanwhile."""
        return [ref for ref, group in flying.items() if group.cpus > self._asked(group.room)["CPU"]]

    def _fetch(self, ref: Any) -> tuple[list[Any], str | None, Exception | None]:
        """(values, error, what went wrong with the machine rather than with the unit)."""
        try:
            values, error, used_s, hungry, peaks = ray.get(ref)
        except ray.exceptions.OutOfMemoryError as short:
            advice = "it had as much of a node to itself as there is, and the node ran out of memory"
            return [], f"OutOfMemoryError: {advice}: {first_line(short)}", short
        except ray.exceptions.RayError as lost:
            return [], f"{type(lost).__name__}: {_COLOUR.sub('', str(lost))}", lost
        self.cpu_s, self.peaks = self.cpu_s + used_s, largest([self.peaks, peaks])
        return values, error, MemoryError() if hungry else None

    def _may_try_again(self, group: Group, failure: Exception | None) -> bool:
        """Whether another attempt is worth it; where memory ran out, or may have, it has more room."""
        if isinstance(failure, MemoryError | ray.exceptions.OutOfMemoryError):
            return self._give_room(group)
        if isinstance(failure, ray.exceptions.WorkerCrashedError):
            group.crashes += 1
            # The system's own killer says nothing when it takes a process whose memory it needs.
            if group.crashes > 1:
                self._give_room(group)
            return group.crashes <= CRASHES
        if isinstance(failure, LOST):
            group.losses += 1
            return group.losses <= LOSSES
        return False

    def _give_room(self, group: Group) -> bool:
        """Ask for twice as much; False where the largest node has no more, and it was tried twice."""
        group.room *= 2
        return group.room == 2 or self._asked(group.room)["CPU"] > group.cpus

    def _asked(self, room: int) -> dict[str, float]:
        """What a unit with so much room asks for: at most one GPU, and the CPUs of the largest node that has as much
        of one."""
        gpu = min(room * self._gpus, 1.0)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]] if room > 1 else []
        cpus = [node.get("CPU", 0.0) for node in nodes if node.get("GPU", 0.0) >= gpu]
        return {"CPU": min(float(room), max([*cpus, 1.0])), "GPU": gpu}


def first_line(error: Exception) -> str:
    """Of Ray's sixty on memory."""
    return _COLOUR.sub("", str(error)).strip().partition("\n")[0]


def run_unit(
    common: tuple[Callable[[Any, Any], Any], Any, int | None], items: Sequence[Any], board: Any, key: str
) -> tuple[list[Any], str | None, float, bool, dict[str, int]]:
    """(results, None or the traceback, CPU seconds, whether memory ran out, the most of it held) of one group of units,
    in a worker."""
    f, shared, together = common

    def tell(stage: str, done: int, total: int) -> None:
        board.progress.remote(key, (stage, done, total, {}))

    # Processes are reused, so a unit cannot trust the thread count it finds.
    settle(1)
    started, hungry = time.process_time(), False
    forget()
    try:
        with nullcontext() if board is None else heard(tell, TOLD_EVERY_S):
            values, error = answers_of(f, items, shared, together), None
    except Exception as raised:
        values, error, hungry = [], failure(raised), _out_of_memory(raised)
    return values, error, time.process_time() - started, hungry, held()


def _out_of_memory(failure: Exception) -> bool:
    # On a CPU, torch has no class of its own for it.
    return isinstance(failure, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(failure)
