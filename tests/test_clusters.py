"""The files of `clusters/`, without a cloud: by Ray's own schema and KubeRay's published fields, and the house's rules
on what listens where. (That the local one runs is tests/on_ray/test_submitted_jobs.py.)"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "clusters"
LAUNCHED = ["aws", "gcp"]
SCRIPTS = ["workstation.sh", "gpu-node.sh", "slurm.sbatch"]
KUBERAY = ["kuberay-cluster", "kuberay-job", "kueue-job"]

# https://ray-project.github.io/kuberay/reference/api/, as of version 1.6.
CLUSTER = set(
    "suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling gcsFaultToleranceOptions "
    "headGroupSpec rayVersion workerGroupSpecs authOptions".split()
)
FIELDS = {
    "RayCluster": CLUSTER,
    "rayClusterSpec": CLUSTER,
    "RayJob": set(
        "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector "
        "submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources "
        "entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend".split()
    ),
    "autoscalerOptions": set(
        "resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode version env envFrom "
        "volumeMounts".split()
    ),
    "authOptions": {"mode", "secretName", "enableK8sTokenAuth"},
    "headGroupSpec": {"template", "headService", "enableIngress", "rayStartParams", "serviceType"},
    "workerGroupSpecs": set(
        "groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams template scaleStrategy "
        "numOfHosts suspend".split()
    ),
    "submitterConfig": {"backoffLimit"},
}
CHOICES = {
    "upscalingMode": {"Default", "Aggressive", "Conservative"},
    "version": {"v1", "v2"},
    "mode": {"disabled", "token"},
    "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))


def parts(kind: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every described part of a KubeRay document, with the kind it is of."""
    for one in value if isinstance(value, list) else [value]:
        yield kind, one
        for field, inner in one.items():
            if field in FIELDS:
                yield from parts(field, inner)


@pytest.mark.parametrize("name", LAUNCHED)
def test_rays_launcher_takes_the_file(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    (config,) = documents(name)
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0} and types["gpu"]["resources"]["GPU"] == 1
    assert types["gpu"]["min_workers"] == 0 and 0 < config["idle_timeout_minutes"] <= 10
    nodes = {node: kind["node_config"] for node, kind in types.items()}
    # What Ray's schema does not look into: the head is not spot, the workers are, disks are encrypted.
    if name == "aws":
        assert all({"InstanceType", "BlockDeviceMappings"} <= one.keys() for one in nodes.values())
        assert nodes["gpu"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert "InstanceMarketOptions" not in nodes["head"]
        assert all(disk["Ebs"]["Encrypted"] for one in nodes.values() for disk in one["BlockDeviceMappings"])
    else:
        assert all({"machineType", "disks"} <= one.keys() for one in nodes.values())
        assert nodes["gpu"]["scheduling"][0]["preemptible"] and "scheduling" not in nodes["head"]


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_knows_every_field(name: str) -> None:
    (first, *others) = documents(name)
    assert first["apiVersion"] == "ray.io/v1" and first.keys() == {"apiVersion", "kind", "metadata", "spec"}
    seen = list(parts(first["kind"], first["spec"]))
    grows = name != "kueue-job"
    kinds = {"headGroupSpec", "workerGroupSpecs", "authOptions", *(["autoscalerOptions"] if grows else [])}
    assert kinds <= {kind for kind, _ in seen}
    for kind, part in seen:
        assert part.keys() <= FIELDS[kind], (kind, part.keys() - FIELDS[kind])
        for field, values in CHOICES.items():
            assert part.get(field, next(iter(values))) in values, field
        start = part.get("rayStartParams", {})
        assert all(isinstance(value, str) for value in start.values()), "KubeRay takes strings alone"
        if kind == "workerGroupSpecs" and grows:
            assert part["minReplicas"] == part["replicas"] == 0 < part["maxReplicas"]
    # Nothing lies open: loopback, or where the operator must reach it, a policy beside the token.
    cluster = first["spec"].get("rayClusterSpec", first["spec"])
    start = cluster["headGroupSpec"]["rayStartParams"]
    assert cluster["authOptions"]["mode"] == "token" and start["num-cpus"] == "0"
    assert start["dashboard-host"] == "127.0.0.1" or first["kind"] == "RayJob"
    (policy,) = others
    ours = {"matchLabels": cluster["headGroupSpec"]["template"]["metadata"]["labels"]}
    assert policy["kind"] == "NetworkPolicy" and policy["spec"]["podSelector"] == ours
    assert [group["template"]["metadata"]["labels"] for group in cluster["workerGroupSpecs"]] == [ours["matchLabels"]]
    assert policy["spec"]["ingress"][0] == {"from": [{"podSelector": ours}]}
    assert all(rule["ports"] == [{"protocol": "TCP", "port": 8265}] for rule in policy["spec"]["ingress"][1:])


def test_kueue_can_admit_the_job_and_a_refused_command_is_not_tried_on_new_nodes() -> None:
    """https://kueue.sigs.k8s.io/docs/tasks/run/rayjobs/: a queue, a cluster of its own that ends with the job, no
    autoscaler, and a request for everything that is counted."""
    first, _ = documents("kueue-job")
    spec = first["spec"]
    assert first["metadata"]["labels"].keys() == {"kueue.x-k8s.io/queue-name"} and spec["suspend"] is True
    assert spec["shutdownAfterJobFinishes"] and "clusterSelector" not in spec
    assert spec["backoffLimit"] == spec["submitterConfig"]["backoffLimit"] == 0
    cluster = spec["rayClusterSpec"]
    assert "enableInTreeAutoscaling" not in cluster and "autoscalerOptions" not in cluster
    (group,) = cluster["workerGroupSpecs"]
    workers = int(re.findall(r"--on.workers (\d+)", spec["entrypoint"])[0])
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == workers
    for part in (cluster["headGroupSpec"], group):
        assert all(one["resources"]["requests"] for one in part["template"]["spec"]["containers"])
    # But for what Kueue asks otherwise it is the other file.
    other, policy = documents("kuberay-job")
    assert other["spec"]["rayClusterSpec"]["headGroupSpec"] == cluster["headGroupSpec"]
    assert other["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"] == group["template"]
    assert policy == documents("kueue-job")[1]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_shell_takes_the_script(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(FOLDER / name)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("name", [*SCRIPTS, *(f"{one}.yaml" for one in LAUNCHED)])
def test_heads_ask_for_a_token_and_listen_on_loopback(name: str) -> None:
    lines = [line for line in (FOLDER / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ").replace("\n    --", " --")
    starts = [line for line in text.splitlines() if "ray start --head" in line or "ray symmetric-run" in line]
    joins = [line for line in text.splitlines() if "ray start --address" in line]
    assert len(starts) == 1 and len(joins) == (1 if name.endswith(".yaml") else 0)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    # Ray gives these flags to workers too, which refuse those of a head.
    if "ray symmetric-run" in starts[0]:
        assert not {"--head", "--port", "--include-dashboard", "--redis-shard-ports"} & set(
            re.split(r"[ =]", starts[0])
        )
    assert "--disable-usage-stats" in starts[0]
    if joins:
        assert all("RAY_AUTH_MODE=token ray start" in line for line in (*starts, *joins))
    else:
        assert "export RAY_AUTH_MODE=token" in text
        assert "RAY_AUTH_TOKEN=$(python" in text or "chmod 600 ~/.ray/auth_token" in text
        # Ray lets everybody into its temporary folder, which therefore lies in one that lets nobody in.
        assert '"$SCRATCH/ray"' in text or '"$scratch/ray"' in text
        assert "chmod 700" in text or "mkdir -m 700" in text
    # On a machine alone Ray Client is on loopback too.
    assert ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in text) == (name in ("workstation.sh", "gpu-node.sh"))


LOCAL = ["workstation.sh", "gpu-node.sh"]
RAY = """#!/bin/sh
[ "$1" = get-auth-token ] && exit 0
printf "%s\\n" "Ray runtime started." "Next steps" "  python my_script.py" "  --block" "Blocked" "$*"
"""


def launched(name: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The script, with a Ray that only talks."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/ray").write_text(RAY)
    (folder / "bin/ray").chmod(0o755)
    own = {"PATH": f"{folder}/bin:/usr/bin:/bin", "HOME": str(folder), "SCRATCH": str(folder / "scratch"), "UID": "1"}
    ports = {"PORT": "7001", "DASHBOARD_PORT": "7002", "CLIENT_PORT": "7003", "AGENT_PORT": "7004"}
    command = ["bash", str(FOLDER / name)]
    return subprocess.run(command, env=own | ports | env, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("name", LOCAL)
def test_a_launcher_says_how_a_job_gets_there(name: str, tmp_path: Path) -> None:
    done = launched(name, tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    said = done.stdout.replace("\\\n", " ")
    assert re.search(
        r"RAY_AUTH_MODE=token ray job submit --address http://127.0.0.1:7002 .*job_name.* -- +python", said
    )
    assert re.search(r"\n +python jobs/dp_feta.py .*--on.address 127.0.0.1:7001 ", said)
    assert "http://127.0.0.1:7002, which asks for the token that `ray get-auth-token` prints" in said
    assert "Ray runtime started." in said and "Blocked" in said and "my_script.py" not in said
    flags = "--port=7001 --dashboard-port=7002 --ray-client-server-port=7003 --dashboard-agent-listen-port=7004"
    assert set(flags.split()) <= set(said.splitlines()[-1].split())


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ({"CLIENT_PORT": "10002"}, "CLIENT_PORT is 10002: give a port from 1024 to 10001 or from 20000 to 65535"),
        ({"AGENT_PORT": "19999"}, "AGENT_PORT is 19999: give"),
        ({"PORT": "80"}, "PORT is 80: give"),
        ({"PORT": "99999"}, "PORT is 99999: give"),
        ({"DASHBOARD_PORT": "all"}, "DASHBOARD_PORT is all: give"),
        ({"DASHBOARD_PORT": "7001"}, "DASHBOARD_PORT is 7001, which is taken already"),
    ],
)
def test_a_launcher_refuses_a_port_that_ray_cannot_take(
    name: str, ports: dict[str, str], words: str, tmp_path: Path
) -> None:
    done = launched(name, tmp_path, **ports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {words}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", LOCAL)
def test_a_launcher_refuses_a_port_where_somebody_listens(name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = launched(name, tmp_path, PORT=str(other.getsockname()[1]))
    assert done.returncode == 2 and "which is taken already" in done.stderr


@pytest.mark.parametrize("name", [*LAUNCHED, *KUBERAY])
def test_commands_for_clusters_without_workers_say_what_each_worker_needs(name: str) -> None:
    """There is no GPU yet from which to tell."""
    text = (FOLDER / f"{name}.yaml").read_text().replace("\\\n#", " ").replace("\n    --", " --")
    commands = [line for line in text.splitlines() if "jobs/dp_feta.py" in line]
    assert commands and all("--on.workers" in one and "--on.gpus-per-worker 1" in one for one in commands)


def test_a_job_takes_code_along_and_nothing_that_lies_beside_it(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    code = {
        "raysyn/command.py",
        "raysyn/runs/folder.py",
        "raysyn/report.html.j2",
        "raysyn/methods/auto/measured.json",
        "jobs/dp_feta.py",
        "mynets.py",
        "pyproject.toml",
    }
    others = {"chest_xrays/train/a/jane.png", "net.pt", "scans.h5", "runs/x/internal/secret", "a.parquet", "tests/x.py"}
    others |= {"raysyn/mydata/1.png", "raysyn/a.b/c.json", "jobs/scans.parquet", "jobs/x/y.png"}
    for name in code | others:
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("x")
    for rules in (".rayignore", ".gitignore"):  # Ray heeds both
        shutil.copy(FOLDER.parent / rules, tmp_path / "here" / rules)
    create_package(str(tmp_path / "here"), tmp_path / "package.zip", include_gitignore=True)
    packed = {name for name in zipfile.ZipFile(tmp_path / "package.zip").namelist() if not name.endswith("/")}
    assert packed == code, packed ^ code


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_each_file_says_how_it_is_used(path: Path) -> None:
    """The command, what it costs, and what to change first; no science."""
    text = path.read_text()
    assert path.name in text or path.name == "Dockerfile"
    if path.name != "Dockerfile":
        assert "# Costs: " in text and "# Change first: " in text
    assert "epsilon" not in text and "noise" not in text
