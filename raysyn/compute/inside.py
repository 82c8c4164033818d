"""The verbs of `compute` inside one unit of a fan-out: everything here, nothing durable of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from raysyn.compute.doorway import Compute, answers_of, groups
from raysyn.compute.heard import tell
from raysyn.compute.searches import Outcome, Search, Space
from raysyn.compute.worker import Alone, best_device


class Hand(Alone):
    """Rank 0 of 1 in a unit; what it saves is shown to `watch`, and what it keeps is not asked for."""

    def __init__(self, name: str, watch: Callable[[dict[str, Any]], None] | None = None) -> None:
        super().__init__()
        self._name, self._watch = name, watch

    def save(self, state: dict[str, Any]) -> None:
        if self._watch is not None:
            self._watch(state)

    def keep(self, key: str, value: Any) -> None:
        pass


class Inside(Compute):
    """One unit, for pipelines that a unit goes through: its result is durable, and what it came from begins anew."""

    def __init__(self, watch: Callable[[str, dict[str, Any]], None] | None = None) -> None:
        """`watch(name, state)` is shown every state that a stage of training would save."""
        self.workers, self.device, self._watch = 1, str(best_device()), watch

    def at_once(self) -> int:
        return 1

    def train(self, f: Callable[..., Any], *args: Any, name: str, alone: bool = False) -> Any:
        return self.once(f, *args, name=name)

    def once(self, f: Callable[..., Any], *args: Any, name: str) -> Any:
        watch = self._watch
        return f(Hand(name, None if watch is None else lambda state: watch(name, state)), *args)

    def map(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any = None,
        together: int | None = None, keys: Sequence[str] | None = None, sizes: Sequence[int] | None = None,
    ) -> list[Any]:  # fmt: skip
        found = list[Any]()
        tell(name, 0, len(items))
        for part in groups(range(len(items)), together):
            found += answers_of(f, [items[at] for at in part], shared, together)
            tell(name, len(found), len(items))
        return found

    def search(self, f: Callable[..., Any], space: Space, search: Search, *, name: str, shared: Any) -> list[Outcome]:
        raise NotImplementedError("a unit of a fan-out searches nothing")

    def kept(self, key: str) -> Any:
        raise NotImplementedError("a unit of a fan-out keeps nothing but its result")

    def cpu_s(self) -> float:
        return time.process_time()
