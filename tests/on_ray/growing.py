"""A cluster on this machine that grows and shrinks: a head without CPUs, and nodes of one CPU that autoscaler v2 starts
as processes. (Ray's own AutoscalingCluster needs a file that its wheel lacks, and ends every Ray of the machine.)"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray._private.services import get_node_ip_address
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from raysyn.on_ray.leftovers import end_processes

HEAD = "head-0"
# Ray takes this for every node of the machine, whatever it is told.
ADDRESS = get_node_ip_address()
# Nobody reads logs of workers at the driver.
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
RAY += ["--include-log-monitor=false"]
# Of every node but the head: many are to fit on one machine, without meeting at a port.
SMALL = ["--num-gpus=0", "--object-store-memory=104857600", "--dashboard-agent-listen-port=0"]
SMALL += ["--min-worker-port=0", "--max-worker-port=0"]


class Processes(NodeProvider):
    """Nodes that are processes of this machine; `provider_config` holds `gcs`, the head's address, and `logs`."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._tags = {HEAD: _tags(HEAD, NODE_KIND_HEAD, "head")}
        # Two that start at the same moment take the same socket.
        self._one_at_a_time = threading.Lock()

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: dict[str, str], count: int, resources: dict[str, float], labels: Any
    ) -> dict[str, Any]:
        with self._one_at_a_time:
            for _ in range(count):
                name, kind = f"node-{uuid.uuid4().hex[:8]}", tags[TAG_RAY_USER_NODE_TYPE]
                log = Path(self.provider_config["logs"]) / f"{name}.log"
                more = [f"--address={self.provider_config['gcs']}", f"--num-cpus={resources['CPU']:.0f}"]
                more += SMALL
                env = {**os.environ, "RAY_CLOUD_INSTANCE_ID": name, "RAY_NODE_TYPE_NAME": kind}
                with log.open("wb") as file:
                    node = subprocess.Popen(
                        [*RAY, *more], env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                    )
                self._nodes[name], self._tags[name] = node, {**tags, **_tags(name, NODE_KIND_WORKER, kind)}
                wait_for_start(node, log, 30)
        return {}

    create_node_with_resources = create_node_with_resources_and_labels

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        alive = [HEAD, *(name for name, node in self._nodes.items() if node.poll() is None)]
        return [name for name in alive if tag_filters.items() <= self._tags[name].items()]

    def is_running(self, node_id: str) -> bool:
        return node_id == HEAD or self._nodes[node_id].poll() is None

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._tags[node_id]

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._tags[node_id].update(tags)

    def internal_ip(self, node_id: str) -> str:
        return ADDRESS

    external_ip = internal_ip

    def terminate_node(self, node_id: str) -> None:
        if node_id != HEAD:
            end_session(self._nodes[node_id])

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        return cluster_config


def _tags(name: str, kind: str, node_type: str) -> dict[str, str]:
    return {
        TAG_RAY_NODE_NAME: name, TAG_RAY_NODE_KIND: kind, TAG_RAY_USER_NODE_TYPE: node_type,
        TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
    }  # fmt: skip


def wait_for_start(node: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Return where the node is there, has ended, or takes too long."""
    end = time.monotonic() + seconds
    while "Ray runtime started" not in log.read_text() and node.poll() is None and time.monotonic() < end:
        time.sleep(0.1)


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Terminate `process`; what is left of its session after 10 s is killed."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    kill_session(process)


def kill_session(leader: subprocess.Popen[bytes]) -> None:
    """SIGKILL for `leader` and every process that it has started, whatever group they are in."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[3]) == leader.pid:
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue
    leader.wait()


def clean_environment() -> dict[str, str]:
    """Ours, without what another cluster has left in it, with a token for a new one."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    return own | {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "PYTHONPATH": f"{here}:{root}",
    }  # fmt: skip


def free_ports(count: int) -> list[int]:
    """That nobody listens on at this moment, and that the system hands to nobody: below those of its own choice, above
    those of Ray's workers."""
    found = list[int]()
    for port in random.sample(range(20_000, 30_000), 1000):
        with socket.socket() as one, suppress(OSError):
            one.bind((ADDRESS, port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


@contextmanager
def growing_cluster(most: int, idle_s: float = 4.0) -> Iterator[dict[str, str]]:
    """A head that may add `most` nodes of one CPU; the environment in which drivers find it."""
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ports = free_ports(2)
        gcs = f"{ADDRESS}:{ports[0]}"
        lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
        config: dict[str, Any] = {
            "cluster_name": "growing", "max_workers": most, "upscaling_speed": 100.0,
            "idle_timeout_minutes": idle_s / 60,
            "provider": {
                "type": "external", "module": "growing.Processes", "disable_node_updaters": True,
                "gcs": gcs, "logs": folder, "head_node_id": HEAD,
            },
            "available_node_types": {
                "head": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
                "one": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": most},
            },
            "head_node_type": "head", "auth": {}, "docker": {}, "file_mounts": {}, "cluster_synced_files": [],
            "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
            **{f"{name}_commands": [] for name in lists},
        }  # fmt: skip
        (Path(folder) / "cluster.json").write_text(json.dumps(config))
        env = clean_environment() | {"RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        more = ["--head", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}", "--num-cpus=0"]
        more += [f"--autoscaling-config={folder}/cluster.json", f"--temp-dir={folder}", "--include-dashboard=false"]
        with (Path(folder) / "head.log").open("wb") as log:
            head = subprocess.Popen(
                [*RAY, *more], env=env | {"RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_NODE_TYPE_NAME": "head"},
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            # A head that has no node yet, not even itself, is joined by nobody.
            wait_for_start(head, Path(folder) / "head.log", 60)
            yield env | {"RAY_ADDRESS": gcs}
        finally:
            end_session(head)
            # Nodes outlive the head that started them.
            end_processes(Path(folder))
