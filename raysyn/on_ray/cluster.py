"""Start or join a Ray cluster, decide how its machines are shared out, and answer the verbs with it."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raysyn.compute.doorway import Compute, Machines, Show, silent
from raysyn.compute.local import Local
from raysyn.compute.peak import largest
from raysyn.compute.searches import Outcome, Search, Space
from raysyn.on_ray import leftovers
from raysyn.on_ray.board import new_board
from raysyn.on_ray.dashboard import Gauges
from raysyn.on_ray.process import our_modules
from raysyn.on_ray.shares import Shares, fitting, share_out, this_machine
from raysyn.runs.probe import check_writable
from raysyn.runs.storage import Store

MANY = 1 << 20
"""Units at once on a cluster that grows."""


class OnRay(Compute):
    """The verbs on a running Ray cluster; made by `connect`."""

    def __init__(self, machines: Machines, storage: str | Path, show: Show = silent) -> None:
        self._store, self._show = Store(machines.storage or storage), show
        self.shares = share_out(machines, self._nodes(machines))
        self.workers, self.device = self.shares.workers, "cuda" if self.shares.gpus else "cpu"
        self._board = new_board()
        self._unit_cpu_s = self._workers_cpu_s = 0.0
        self._unit_peaks = dict[str, int]()

    @staticmethod
    def _nodes(machines: Machines) -> list[Mapping[str, float]]:
        """Resources of every node alive; where these are too small for what is asked and an autoscaler will add what
        is missing, those that it was asked for."""
        # Imported where it is used, here and below: `here` does without Ray, and must not wait for it.
        import ray

        from raysyn.on_ray import scaling

        nodes: list[Mapping[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        wanted, gpus = machines.workers or 1, max(machines.gpus_per_worker or 0, machines.gpus_per_unit or 0)
        bundle = {"CPU": float(machines.cpus_per_worker or 1), "GPU": float(gpus)}
        if fitting(nodes, bundle["CPU"], bundle["GPU"]) < wanted and scaling.may_have(bundle, wanted):
            return [bundle] * wanted
        if not any(node.get("CPU") for node in nodes):
            raise ValueError(
                f"the cluster has no CPUs, and its autoscaler cannot add {wanted} times {scaling.words(bundle)} on one "
                "node: lower on.workers, on.cpus_per_worker, on.gpus_per_worker or on.gpus_per_unit"
            )
        return nodes

    def at_once(self) -> int:
        import ray

        from raysyn.on_ray import scaling

        if scaling.growth().seen:
            return MANY  # What is there now says nothing of what there will be.
        there, gpus = ray.cluster_resources(), self.shares.gpus_per_unit
        by_cpu = int(there.get("CPU", 1))
        return max(1, min(by_cpu, int(there.get("GPU", 0) / gpus)) if gpus else by_cpu)

    def train(self, f: Callable[..., Any], *args: Any, name: str, alone: bool = False) -> Any:
        return self._train(f, args, name, self.shares.alone() if alone else self.shares)

    def once(self, f: Callable[..., Any], *args: Any, name: str) -> Any:
        return self._train(f, args, name, self.shares.alone())

    def _train(self, f: Callable[..., Any], args: tuple[Any, ...], name: str, shares: Shares) -> Any:
        from raysyn.on_ray import train

        if shares.workers == 1:
            release()
        return train.run(f, args, name=name, shares=shares, store=self._store, board=self._board, show=self._show)

    def map(
        self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any = None,
        together: int | None = None, keys: Sequence[str] | None = None, sizes: Sequence[int] | None = None,
    ) -> list[Any]:  # fmt: skip
        from raysyn.on_ray.fan_out import Units

        release()
        todo = Units(
            f, items, name=name, shared=shared, together=together, keys=keys, sizes=sizes,
            gpus=self.shares.gpus_per_unit, board=self._board,
        )  # fmt: skip
        try:
            return todo.run(self._store, self._show)
        finally:
            self._unit_cpu_s += todo.cpu_s
            self._unit_peaks = largest([self._unit_peaks, todo.peaks])

    def search(self, f: Callable[..., Any], space: Space, search: Search, *, name: str, shared: Any) -> list[Outcome]:
        from raysyn.on_ray.search import Trials

        release()
        gpus = self.shares.gpus_per_unit
        trials = Trials(f, space, search, name=name, shared=shared, gpus=gpus, board=self._board)
        return trials.run(self._store, self._show)

    def kept(self, key: str) -> Any:
        return self._store[f"kept/{key}.pt"]

    def cpu_s(self) -> float:
        import ray.exceptions

        # Where the board is being restarted on another node: a clock is worth no failure.
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            _, self._workers_cpu_s, _ = ray.get(self._board.read.remote(""), timeout=5)
        return time.process_time() + self._workers_cpu_s + self._unit_cpu_s

    def forget_peaks(self) -> None:
        super().forget_peaks()
        self._unit_peaks = {}
        self._board.forget_peaks.remote()

    def peaks(self) -> dict[str, int]:
        import ray.exceptions

        found = [super().peaks(), self._unit_peaks]
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):  # as above
            found.append(ray.get(self._board.peaks.remote(), timeout=5))
        return largest(found)


def release(at_once: bool = False) -> None:
    """Give back the workers that stages of training have left for the next one, if any."""
    # Imported by whoever had such.
    if (group := sys.modules.get("raysyn.on_ray.group")) is not None:
        group.KEPT.release(at_once)


@contextmanager
def connect(machines: Machines, storage: str | Path, show: Show = silent) -> Iterator[Compute]:
    """A `Compute` on the cluster `machines.address` names, for the length of a `with` block.

    `local` starts a cluster for this process and ends it with the block, except inside `ray job submit` (or
    wherever RAY_ADDRESS is set), where the cluster around us is joined. Errors: ValueError where the cluster
    cannot hold the workers asked for, or for a `ray://` address. `here` needs no Ray at all.
    """
    if machines.storage is not None:
        check_writable(machines.storage)  # before anything is paid
    if machines.address == "here":
        _only_ours(machines.address, machines.temp, machines.spill)
        yield Local(machines.storage or storage, show)
        return
    # Said before what begins with seconds of imports.
    if ours := starts_one(machines.address):
        show("Ray is starting", 0, 0, {})
        share_out(machines, [this_machine()])  # What this machine cannot hold is refused before it starts anything.
    elif not connected():
        show("a Ray cluster is joined", 0, 0, {})
    with session(machines.address, temp=machines.temp, spill=machines.spill):
        # Nobody sees metrics of a cluster that lives as long as this run.
        compute = OnRay(machines, storage, show if ours else Gauges(str(storage), show))
        try:
            yield compute
            release()
        except BaseException:
            release(at_once=True)
            raise


@contextmanager
def session(address: str, cpus: int | None = None, temp: str | None = None, spill: str | None = None) -> Iterator[None]:
    """Be connected to `address` inside the block; a connection that exists already is used and kept."""
    if address.startswith("ray://"):
        raise ValueError(
            f"on.address is {address!r}, but training cannot be driven through Ray Client: send the whole "
            f"command with `ray job submit --address http://HOST:8265 -- python jobs/...`, or run it on the "
            f"head node with --on.address auto"
        )
    import ray

    from raysyn.on_ray import joining
    from raysyn.on_ray.fan_out import first_line
    from raysyn.on_ray.imports import OurJob

    if ray.is_initialized():
        yield
    elif not starts_one(address):
        _only_ours(os.environ.get("RAY_ADDRESS", address), temp, spill)
        with joining.found(address) as there, _closing(), _our_signals() as keep:
            try:
                ray.init(address=there, job_config=OurJob(ours=False), **_QUIET)
            except (ConnectionError, RuntimeError) as error:
                # As where its Ray is of another version.
                raise ValueError(f"on.address is {address!r}, and Ray does not join: {first_line(error)}") from error
            keep()
            yield
    else:
        _only_our_token()
        alone, folders = joining.loopback_alone(), leftovers.private_folders(temp, spill)
        with folders as (own, spilled), _closing(), our_modules(), _our_signals() as keep, alone:
            # Nobody else on the network has business with a cluster that lives for one run; without the switch
            # Ray takes this address for the machine's own.
            with joining.in_time():
                ray.init(
                    address="local",
                    num_cpus=cpus,
                    include_dashboard=False,
                    _temp_dir=str(own),
                    object_spilling_directory=str(spilled),
                    _node_ip_address="127.0.0.1",
                    job_config=OurJob(ours=True),
                    **_QUIET,
                )
            keep()
            yield


def starts_one(address: str) -> bool:
    """Whether there is no cluster yet that `address` means."""
    return address == "local" and not os.environ.get("RAY_ADDRESS") and not connected()


def connected() -> bool:
    """Whether this process has joined a cluster already; one that never imported Ray has not."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@contextmanager
def _our_signals() -> Iterator[Callable[[], None]]:
    """To be called after Ray has put handlers in the place of ours: one that exits with another status, and one below
    Python's that prints a stack of C++."""
    handler = signal.getsignal(signal.SIGTERM)

    def keep() -> None:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)

    yield keep


@contextmanager
def _closing() -> Iterator[None]:
    import ray

    try:
        yield
    finally:
        release(at_once=True)
        ray.shutdown()


def _only_ours(address: str, temp: str | None, spill: str | None) -> None:
    for field, value in {"temp": temp, "spill": spill}.items():
        if value is not None:
            raise ValueError(
                f"on.{field} is {value!r}, but no cluster is started here (on.address is {address!r}): nodes have that "
                "of their own `ray start`, leave it out"
            )


def _only_our_token() -> None:
    """Guard the cluster we start with a secret of this process (unless the user decided otherwise).

    Ray turns token authentication on by itself, but would keep its token in the home folder.
    """
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        # Once per process: Ray remembers the first token it reads.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
