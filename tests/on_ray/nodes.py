"""A cluster of nodes that are processes of this machine, to be taken away one by one."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growing import ADDRESS, RAY, SMALL, clean_environment, free_ports, kill_session

from raysyn.on_ray.leftovers import end_processes

# A dead node is noticed after 3 s rather than 14; less would take a busy one for dead.
HEALTH = {
    "health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}  # fmt: skip


class Nodes:
    """A head without CPUs, and nodes of one CPU."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(2)
        self._folder, self._gcs, self._env = folder, f"{ADDRESS}:{ports[0]}", clean_environment()
        self.env = self._env | {"RAY_ADDRESS": self._gcs}
        """In which drivers find the cluster."""
        self.workers: list[subprocess.Popen[bytes]] = []
        self._cpus: dict[int, int] = {}
        self._names: dict[int, str] = {}
        more = ["--head", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}", "--num-cpus=0"]
        more += [f"--system-config={json.dumps(HEALTH)}", f"--temp-dir={folder}", "--include-dashboard=false"]
        self.head = self._start(more)

    def add(self, cpus: int = 1, **env: str) -> subprocess.Popen[bytes]:
        """One more node; it is there when this returns."""
        name = f"node-{secrets.token_hex(4)}"
        more = [f"--address={self._gcs}", f"--num-cpus={cpus}", f"--node-name={name}", *SMALL]
        self.workers.append(self._start(more, **env))
        self._names[self.workers[-1].pid] = name
        self._cpus[self.workers[-1].pid] = cpus
        return self.workers[-1]

    def hold(self, *cpus: int) -> None:
        """Nodes of so many CPUs each, and no others; those that are there are kept."""
        if [self._cpus[node.pid] for node in self.workers] != list(cpus):
            while self.workers:
                self.lose(0)
            for count in cpus:
                self.add(count)

    def lose(self, at: int) -> None:
        """The machine of a node is gone: all of its processes at once."""
        kill_session(self.workers.pop(at))

    def preempt(self, at: int, notice_s: float) -> None:
        """SIGTERM, and gone after `notice_s`, as spot machines are taken."""
        node = self.workers.pop(at)
        node.terminate()
        time.sleep(notice_s)
        kill_session(node)

    def announce(self, at: int, notice_s: int) -> None:
        """The cluster is told that a node will be taken away, as a cloud's notice is handed on; it stays until it is
        lost."""
        look = "import ray; ray.init(log_to_driver=False); nodes = ray.nodes()"
        look += '; print(*(f\'{one["NodeName"]}={one["NodeID"]}\' for one in nodes))'
        done = subprocess.run([sys.executable, "-c", look], env=self.env, capture_output=True, text=True, check=True)
        ids = dict(pair.split("=") for pair in done.stdout.split())
        subprocess.run(
            [str(Path(sys.executable).with_name("ray")), "drain-node", f"--address={self._gcs}",
             f"--node-id={ids[self._names[self.workers[at].pid]]}", "--reason=DRAIN_NODE_REASON_PREEMPTION",
             "--reason-message=taken", f"--deadline-remaining-seconds={notice_s}"],
            env=self._env, capture_output=True, check=True,
        )  # fmt: skip

    def lose_head(self) -> None:
        """Everything is gone but the drivers."""
        for node in (self.head, *self.workers):
            kill_session(node)
        self.workers.clear()

    def close(self) -> None:
        # Asked politely, they would drain for many seconds.
        self.lose_head()
        end_processes(self._folder)

    def _start(self, more: list[str], **env: str) -> subprocess.Popen[bytes]:
        log = self._folder / f"node-{secrets.token_hex(4)}.log"
        with log.open("wb") as file:
            node = subprocess.Popen(
                [*RAY, *more], env=self._env | env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        end = time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            assert node.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        return node


@contextmanager
def cluster(workers: int, **env: str) -> Iterator[Nodes]:
    """A head and so many nodes, gone after the block."""
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as folder:
        nodes = Nodes(Path(folder))
        try:
            for _ in range(workers):
                nodes.add(**env)
            yield nodes
        finally:
            nodes.close()
