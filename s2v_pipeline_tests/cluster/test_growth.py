"""GPUs that a cluster does not have yet: Ray's own autoscaler makes hosts, which are processes of this machine here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from s2v_pipeline.cluster import ray_environment
from s2v_pipeline.cluster.executor import WarmKey
from s2v_pipeline.cluster.gpu_demand import GpuError
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.test_up import free_ports

pytestmark = [pytest.mark.soak]

HEAD = "f" * 51 + "00000"  # the name that Ray's provider for tests gives the first host
HOST = {"CPU": 1, "GPU": 1, "object_store_memory": 80_000_000}
GONE_S = 120.0


@dataclass(frozen=True)
class SayNodeAndSleep:
    """A task that says on which of Ray's nodes it ran."""

    label: str = "node"

    def run(self) -> str:
        import ray

        time.sleep(15)  # the other one waits long enough for a host of its own
        return str(ray.get_runtime_context().get_node_id())


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a cluster without a GPU, whose autoscaler can make two hosts with one."""
    ray_environment.set_environment(local=True)
    import ray

    address = f"{ray.util.get_node_ip_address()}:{free_ports(1)[0]}"  # type: ignore[no-untyped-call]
    lists = (
        *("cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands"),
        *("worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"),
    )
    nothing: dict[str, object] = {name: [] for name in lists}
    nothing |= {name: {} for name in ("auth", "docker", "file_mounts")}
    provider = {"type": "fake_multinode", "launch_multiple": True, "head_node_id": HEAD, "gcs_address": address}
    config = nothing | {
        "cluster_name": "growing",
        "provider": provider | {"disable_node_updaters": True, "disable_launch_config_check": True},
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": HOST, "node_config": {}, "min_workers": 0, "max_workers": 2},
        },
        "head_node_type": "ray.head.default",
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "file_mounts_sync_continuously": False,
    }
    (tmp_path / "cluster.json").write_text(json.dumps(config))
    folder = Path(tempfile.mkdtemp(prefix="s2v-"))  # Ray's sockets need a short path
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={address.rpartition(':')[2]}"]
    start += [f"--autoscaling-config={tmp_path / 'cluster.json'}", "--num-cpus=2", "--num-gpus=0"]
    start += ["--object-store-memory=80000000", f"--temp-dir={folder}", "--include-dashboard=false"]
    variables = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
    try:
        subprocess.run(start, env={**os.environ, **variables}, check=True, timeout=120)
        yield address, folder
    finally:
        for process in psutil.process_iter(["pid", "cmdline"]):
            if str(folder) in " ".join(process.info["cmdline"] or ()):
                process.kill()  # Ray's workers end when their raylet is gone
        shutil.rmtree(folder, ignore_errors=True)


def executor_of(address: str, grow_to_gpus: int) -> RayExecutor:
    return RayExecutor(ClusterSettings(address=address, grow_to_gpus=grow_to_gpus, idle_s=0, connect_timeout_s=20))


def run(executor: RayExecutor, n_chains: int) -> list[str]:
    return executor.run(
        [SayNodeAndSleep()] * n_chains,
        lambda _: None,
        in_order=True,
        chain_starts=range(n_chains),
        n_gpus=1,
        warm=WarmKey("model", "node"),
    )


def gpu_hosts() -> set[str]:
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return {node["NodeID"] for node in nodes if node["Resources"].get("GPU", 0)}


def requests(folder: Path) -> str:
    """What the autoscaler says it is asked to have room for."""
    log = (folder / "session_latest" / "logs" / "monitor.log").read_text(encoding="utf-8")
    return log.rpartition("From request_resources:\n")[2].splitlines()[0].strip()


def test_a_cluster_gets_gpus_for_what_waits_and_asks_no_more_after(growing: tuple[str, Path]) -> None:
    address, folder = growing
    executor = executor_of(address, grow_to_gpus=0)
    with pytest.raises(GpuError, match="must have 1 GPU"):
        run(executor, 1)
    executor.stop()

    executor = executor_of(address, grow_to_gpus=2)
    try:
        executor.info()
        assert gpu_hosts() == set()
        assert len(set(run(executor, 2))) == 2
        assert len(gpu_hosts()) == 2
        assert requests(folder) != "(none)"
    finally:
        executor.stop()

    # Ray's provider for tests counts the hosts that it has made as pending, and takes none away: what is asked of it is
    # what can be seen.
    deadline = time.monotonic() + GONE_S
    while requests(folder) != "(none)":
        assert time.monotonic() < deadline, "GPUs are still asked for although nobody works"
        time.sleep(1)
