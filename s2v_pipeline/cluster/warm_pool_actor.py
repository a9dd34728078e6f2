"""The actor that keeps a cluster's books of warm workers.

Belongs here: one call at a time, the passing of time, what else runs want to know of each other.
Does not belong here: the books (warm_pool).
"""

from __future__ import annotations

import logging
import threading
import time

from s2v_pipeline.cluster.gpu_demand import ask_autoscaler, count_gpus
from s2v_pipeline.cluster.rank_group import GroupSize, RankGroup, end_all_named
from s2v_pipeline.cluster.warm_pool import Grant, WarmPool, WarmState, Wish

_log = logging.getLogger(__name__)

_TICK_S = 1.0


class WarmPoolActor:
    """A `WarmPool` in a process of its own that every run of a cluster can ask; it watches the time itself.

    Args:
        prefix: of groups' names; what an earlier pool of this name left behind is ended.
    """

    def __init__(self, prefix: str) -> None:

        def end_group(name: str, n_ranks: int) -> None:
            group = RankGroup.find(name, n_ranks)
            if group is not None:
                group.end()

        end_all_named(prefix)
        self._pool = WarmPool(
            prefix,
            count_gpus=count_gpus,
            end_group=end_group,
        )
        self._lock = threading.Lock()
        self._gpus: dict[str, tuple[str, int]] = {}
        self._wanted: list[GroupSize] = []
        threading.Thread(target=self._tick_for_ever, name="tick", daemon=True).start()

    def ask(self, wish: Wish) -> None:
        with self._lock:
            self._pool.ask(wish)

    def beat(self, ticket: str) -> Grant | None:
        with self._lock:
            return self._pool.beat(ticket)

    def give_back(self, ticket: str, is_usable: bool) -> None:
        with self._lock:
            self._pool.give_back(ticket, is_usable=is_usable)

    def placed(self, ticket: str, node_id: str) -> None:
        with self._lock:
            self._pool.placed(ticket, node_id)

    def keep_gpus(self, gpus: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        """What hosts said of their GPUs, node id -> name and memory: what a run found out, and what all did."""
        self._gpus |= gpus
        return self._gpus

    def leave(self) -> None:
        with self._lock:
            self._pool.leave()

    def end_idle(self) -> int:
        with self._lock:
            return self._pool.end_idle()

    def status(self) -> list[WarmState]:
        with self._lock:
            return self._pool.status()

    def tick(self) -> None:
        """What happens with time alone; where Ray does not answer, that is said, and all the rest stays in force."""
        import ray

        try:
            with self._lock:
                self._pool.tick()
                wanted = self._pool.wanted()
            if wanted != self._wanted:
                ask_autoscaler(wanted)
                self._wanted = wanted
        except ray.exceptions.RayError as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            _log.warning("Ray did not answer, it is asked again in a second: %s", reason)

    def _tick_for_ever(self) -> None:
        while True:
            time.sleep(_TICK_S)
            self.tick()
