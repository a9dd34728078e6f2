"""Which hosts of a cluster a worker goes to, where their GPUs are unlike: enough memory first, then speed.

Belongs here: what GPUs hosts have, choosing among hosts. Does not belong here: what a generator needs of a GPU
(generation.gpu_needs), counting GPUs (gpu_demand), placing (Ray, by what is chosen here; rank_group).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2v_pipeline.cluster.executor import Fit
from s2v_pipeline.cluster.interrupts import Interrupts
from s2v_pipeline.cluster.task_results import POLL_S, first_words
from s2v_pipeline.generation.gpu_needs import GIB, GpuFit
from s2v_pipeline.gpus import gpu_states

_log = logging.getLogger(__name__)

MEMORY_LABEL = "s2v/gpu-memory-gib"
KIND_LABEL = "ray.io/accelerator-type"
"""Labels of a Ray node: the first one says what a host does not tell itself, the second is Ray's own."""
_ANSWER_TIMEOUT_S = 20.0  # a process starts in seconds; a host that takes longer is not waited for
_USABLE = 0.99
"""Of the memory that the driver's library counts: CUDA reports 0.6 % less on an H100."""


@dataclass(frozen=True)
class GpuNode:
    """A host with GPUs.

    Attributes:
        node_id: Ray's.
        gpu: their name; "" where it is not known.
        total_bytes: memory of the smallest of them; 0 where it is not known.
        n_gpus: that Ray counts.
    """

    node_id: str
    gpu: str
    total_bytes: int
    n_gpus: int

    @property
    def is_known(self) -> bool:
        return self.total_bytes > 0

    def __str__(self) -> str:
        return f"{self.n_gpus} x {self.gpu or 'GPU'}, {self.total_bytes / GIB:.0f} GiB" if self.is_known else "unknown"


@dataclass(frozen=True)
class NodeChoice:
    """Hosts that workers may go to.

    Attributes:
        node_ids: fastest first, as far as that was measured; () for any.
        words: why, for the log.
        is_poor: whether that needs to be seen: none has enough memory, or some do not tell.
    """

    node_ids: tuple[str, ...] = ()
    words: str = ""
    is_poor: bool = False


def choose_nodes(nodes: Sequence[GpuNode], fit: Fit, n_gpus: int) -> NodeChoice:
    """The hosts on which so many GPUs make chunks best; any where there is nothing to choose by."""
    large = [node for node in nodes if node.n_gpus >= n_gpus]
    known = [node for node in large if node.is_known]
    fits = {node: found for node in known if (found := fit(node.gpu, node.total_bytes)) is not None}
    if len(large) < 2:
        return NodeChoice()
    if not fits:
        is_small = len(known) == len(large)
        words = "no host's GPUs have enough memory" if is_small else "hosts do not say what their GPUs are"
        return NodeChoice(words=f"{words}: workers go anywhere", is_poor=True)
    level = min(found.level for found in fits.values())
    chosen = sorted(
        (node for node, found in fits.items() if found.level == level),
        key=lambda node: (fits[node].s_per_frame is None, fits[node].s_per_frame or 0.0),
    )
    words = f"workers go to {len(chosen)} of {len(large)} hosts: " + "; ".join(
        dict.fromkeys(f"{node} ({_described(fits[node])})" for node in chosen)
    )
    others = [node for node in large if node not in chosen]
    if others:
        why = {node: _described(fits[node]) if node in fits else "too small" for node in others if node.is_known}
        words += "; not to " + "; ".join(dict.fromkeys(f"{node} ({why.get(node, 'no answer')})" for node in others))
    return NodeChoice(tuple(node.node_id for node in chosen), words, level > 0 or len(known) < len(large))


def gpu_nodes(known: Mapping[str, tuple[str, int]], interrupts: Interrupts) -> tuple[GpuNode, ...]:
    """Hosts with GPUs that are there now; () where there is one at most, as it need not be asked then.

    Args:
        known: node id -> name and memory, of hosts that were asked before.
        interrupts: end the waiting.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]  # type: ignore[no-untyped-call]
    if len(nodes) < 2:
        return ()
    labelled = {node["NodeID"]: _labelled(node["Labels"]) for node in nodes}
    found = {**known, **{name: said for name, said in labelled.items() if said is not None}}
    found |= _asked([node["NodeID"] for node in nodes if node["NodeID"] not in found], interrupts)
    return tuple(GpuNode(node["NodeID"], *found[node["NodeID"]], int(node["Resources"]["GPU"])) for node in nodes)


def with_room(node_ids: Sequence[str], n_gpus: int) -> str | None:
    """The first of some hosts that has so many GPUs free at the moment."""
    from ray._private.state import available_resources_per_node  # what `ray status` shows; nothing public tells it

    free: Mapping[str, Mapping[str, float]] = available_resources_per_node()  # type: ignore[no-untyped-call]
    return next((name for name in node_ids if free.get(name, {}).get("GPU", 0) >= n_gpus), None)


def smallest_gpu() -> tuple[str, int]:
    """Name and memory of this host's GPU with the least; ("", 0) where nobody tells."""
    states = [state for state in gpu_states() if state.total_bytes]
    if not states:
        return "", 0
    smallest = min(states, key=lambda state: state.total_bytes)
    return smallest.name, int(smallest.total_bytes * _USABLE)


def _labelled(labels: Mapping[str, str]) -> tuple[str, int] | None:
    try:
        return labels.get(KIND_LABEL, ""), int(float(labels[MEMORY_LABEL]) * GIB)
    except (KeyError, ValueError, OverflowError):
        return None


def _asked(node_ids: Sequence[str], interrupts: Interrupts) -> dict[str, tuple[str, int]]:
    """What hosts say of their GPUs, all asked at once; a host that does not answer has said nothing."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask: Any = ray.remote(num_cpus=0, max_retries=0)(smallest_gpu)
    refs = {
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(name, soft=False)).remote(): name
        for name in node_ids
    }
    give_up_at = time.monotonic() + _ANSWER_TIMEOUT_S
    pending, found = list(refs), dict.fromkeys(node_ids, ("", 0))
    while pending and time.monotonic() < give_up_at:
        done, pending = ray.wait(pending, num_returns=len(pending), timeout=0)
        for ref in done:
            try:
                found[refs[ref]] = ray.get(ref)
            except ray.exceptions.RayError as error:
                _log.warning("a host does not say what its GPUs are: %s", first_words(error))
        if pending:
            interrupts.sleep(POLL_S)
    for ref in pending:
        ray.cancel(ref, force=True)
        _log.warning("a host does not say within %.0f s what its GPUs are: %s", _ANSWER_TIMEOUT_S, refs[ref])
    return found


def _described(fit: GpuFit) -> str:
    speed = "" if fit.s_per_frame is None else f", {fit.s_per_frame:.2f} s a frame"
    return f"offload {fit.way}: {fit.n_bytes / GIB:.1f} GiB {'measured' if fit.is_measured else 'estimated'}{speed}"
