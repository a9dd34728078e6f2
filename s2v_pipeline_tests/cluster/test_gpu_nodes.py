"""Which hosts workers go to. The last test is real processes of Ray on two nodes of this machine, of which Ray
believes that they have GPUs; how much memory those have is said by labels."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from s2v_pipeline import gpus
from s2v_pipeline.cluster import gpu_nodes, ray_environment
from s2v_pipeline.cluster.executor import Fit, WarmKey
from s2v_pipeline.cluster.gpu_nodes import MEMORY_LABEL, GpuNode, choose_nodes, smallest_gpu
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.generation.gpu_needs import GIB, GpuFit
from s2v_pipeline.setting_groups import ClusterSettings

H100 = GpuNode("a", "NVIDIA H100", 79 * GIB, 4)
L40 = GpuNode("b", "NVIDIA L40", 44 * GIB, 2)
RTX = GpuNode("c", "NVIDIA RTX 4090", 24 * GIB, 2)
MUTE = GpuNode("d", "", 0, 8)


def fits(speeds: dict[str, float] | None = None, *, needed_gib: float = 40, least_gib: float = 10) -> Fit:
    """As it should be from `needed_gib` on, slower from `least_gib` on, not at all below."""

    def fit(gpu: str, total_bytes: int) -> GpuFit | None:
        if total_bytes < least_gib * GIB:
            return None
        level = int(total_bytes < needed_gib * GIB)
        way = ("none", "layers")[level]
        return GpuFit(level, way, int(needed_gib * GIB), bool(speeds), (speeds or {}).get(gpu))

    return fit


def test_memory_first_then_measured_speed() -> None:
    nodes = (L40, RTX, H100)
    assert choose_nodes(nodes, fits(), 1).node_ids == ("b", "a"), "nothing was measured"
    assert choose_nodes(nodes, fits({H100.gpu: 0.1, L40.gpu: 0.4, RTX.gpu: 0.05}), 1).node_ids == ("a", "b")
    assert choose_nodes(nodes, fits({H100.gpu: 0.1}), 1).node_ids == ("a", "b"), "what is known comes first"
    assert choose_nodes(nodes, fits(), 4).node_ids == (), "one host alone has so many"
    choice = choose_nodes(nodes, fits({H100.gpu: 0.1}), 1)
    assert not choice.is_poor
    assert choice.words == (
        "workers go to 2 of 3 hosts: 4 x NVIDIA H100, 79 GiB (offload none: 40.0 GiB measured, 0.10 s a frame); "
        "2 x NVIDIA L40, 44 GiB (offload none: 40.0 GiB measured); "
        "not to 2 x NVIDIA RTX 4090, 24 GiB (offload layers: 40.0 GiB measured)"
    )


def test_less_memory_than_needed_everywhere_is_seen() -> None:
    choice = choose_nodes((L40, RTX), fits(needed_gib=50), 1)
    assert choice.node_ids == ("b", "c")
    assert choice.is_poor
    assert "offload layers" in choice.words
    choice = choose_nodes((L40, RTX), fits(needed_gib=50, least_gib=30), 1)
    assert choice.node_ids == ("b",)
    assert "24 GiB (too small)" in choice.words
    # The worker that comes there refuses with figures.
    choice = choose_nodes((L40, RTX), fits(least_gib=60), 1)
    assert (choice.node_ids, choice.is_poor) == ((), True)
    assert "enough memory" in choice.words


def test_hosts_that_do_not_tell_are_not_hoped_for() -> None:
    choice = choose_nodes((MUTE, H100), fits(), 1)
    assert (choice.node_ids, choice.is_poor) == (("a",), True)
    assert "unknown (no answer)" in choice.words
    choice = choose_nodes((MUTE, MUTE), fits(), 1)
    assert choice.node_ids == ()
    assert "do not say" in choice.words


def test_the_gpu_with_the_least_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [gpus.GpuState(0, "NVIDIA H100", 0, 0, 80 * GIB), gpus.GpuState(1, "NVIDIA L40", 0, 0, 45 * GIB)]
    monkeypatch.setattr(gpu_nodes, "gpu_states", lambda: states)
    name, n_bytes = smallest_gpu()
    assert name == "NVIDIA L40"
    assert 44 * GIB < n_bytes < 45 * GIB
    states.clear()
    assert smallest_gpu() == ("", 0)


@dataclass(frozen=True)
class SayNode:
    """A task that says on which of Ray's nodes it runs."""

    label: str = "node"

    def run(self) -> str:
        import ray

        time.sleep(0.3)
        return str(ray.get_runtime_context().get_node_id())


@pytest.fixture(scope="module")
def unlike() -> Iterator[tuple[RayExecutor, dict[int, str]]]:
    """A run in a cluster, and GiB -> node id."""
    ray_environment.set_environment(local=True)
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 2, "num_gpus": 2, "include_dashboard": False, "object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"labels": {MEMORY_LABEL: "24"}, **options})
    cluster.add_node(labels={MEMORY_LABEL: "80"}, **options)
    executor = RayExecutor(ClusterSettings(address=cluster.address, task_retries=0, idle_s=0))
    try:
        executor.info()
        import ray

        found = {int(node["Labels"][MEMORY_LABEL]): node["NodeID"] for node in ray.nodes()}  # type: ignore[no-untyped-call]
        yield executor, found
    finally:
        executor.stop()
        cluster.shutdown()


def run(executor: RayExecutor, n_chains: int, fit: Fit, key: str) -> list[str]:
    return executor.run(
        [SayNode()] * n_chains,
        lambda _: None,
        in_order=True,
        chain_starts=range(n_chains),
        n_gpus=1,
        warm=WarmKey(key, "nodes"),
        fit=fit,
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ray_places_workers_by_memory_then_by_speed(
    unlike: tuple[RayExecutor, dict[int, str]], caplog: pytest.LogCaptureFixture
) -> None:
    executor, node_of = unlike
    caplog.set_level(logging.INFO)
    # Three segments and four GPUs, of which two have the memory: two workers do all.
    assert run(executor, 3, fits(), "large") == [node_of[80]] * 3
    assert "workers go to 1 of 2 hosts: 2 x GPU, 80 GiB" in caplog.text

    def small_is_faster(gpu: str, total_bytes: int) -> GpuFit:
        del gpu
        return GpuFit(0, "none", GIB, True, 0.1 if total_bytes < 40 * GIB else 0.5)

    assert run(executor, 1, small_is_faster, "fast") == [node_of[24]]
    assert gpu_nodes._asked([node_of[80]], Interrupts()) == {node_of[80]: smallest_gpu()}
