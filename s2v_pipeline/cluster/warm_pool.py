"""Who may use which warm worker next, and when one is ended.

Belongs here: leases of groups for one chunk each, the GPUs that groups hold, idle and forgotten ones.
Does not belong here: the actor that all runs of a cluster ask (warm_pool_actor); tasks, which runs send to a group
themselves (warm_worker); the order of runs (fair_queue).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from s2v_pipeline.cluster.fair_queue import FairQueue
from s2v_pipeline.cluster.rank_group import GroupSize

_SILENT_S = 15.0
"""A run that waits or works says so every two seconds; one silent for so long is dead; what it held is ended."""
_TENURE_S = 60.0
_GROW_AFTER_S = 10.0
"""A wish that waits no longer than a chunk or two is not worth a new machine."""
_SWITCH_IDLE_S = 2.0
"""Loading a model takes about a minute. One that works for a run keeps its GPUs for so long although another waits for
them, lest two runs load in turn for each chunk; a run's next chunk comes within this pause."""


@dataclass(frozen=True)
class Wish:
    """A run's wish to do one task.

    Attributes:
        ticket: names it.
        run: whose it is.
        key: of what is loaded: generator, weights, settings, code.
        label: of the generator, for people.
        size: of the group.
        is_split: whether all ranks do it; otherwise a larger group with the same key does as well.
        idle_s: how long the group stays when nobody uses it.
        last: name of the group that did the task before; rather that one again, as it may still work for it beside.
        node_ids: hosts that a new group may be on, fastest first; () for any.
        grow_to_gpus: that the cluster may have for it, all together; 0 where it is to stay as it is.
    """

    ticket: str
    run: str
    key: str
    label: str
    size: GroupSize
    is_split: bool
    idle_s: float
    last: str = ""
    node_ids: tuple[str, ...] = ()
    grow_to_gpus: int = 0

    @property
    def n_gpus(self) -> int:
        return self.size.n_ranks * self.size.n_gpus


@dataclass(frozen=True)
class Grant:
    """What a run may use for one task.

    Attributes:
        name: of the group.
        size: of it.
        is_new: it does not exist yet: the run asks Ray for it.
    """

    name: str
    size: GroupSize
    is_new: bool


@dataclass
class _Group:
    name: str
    key: str
    label: str
    size: GroupSize
    idle_s: float
    made_at: float
    idle_since: float
    holder: Wish | None = None
    heard_at: float = 0.0
    node_ids: tuple[str, ...] = ()  # where it may be; one, once that is known

    def may_be_on(self, node_ids: tuple[str, ...]) -> bool:
        return not node_ids or not self.node_ids or not set(node_ids).isdisjoint(self.node_ids)

    @property
    def n_gpus(self) -> int:
        return self.size.n_ranks * self.size.n_gpus


@dataclass(frozen=True)
class WarmState:
    """A group, as `s2v cluster status` shows it."""

    label: str
    key: str
    n_gpus: int
    is_busy: bool
    seconds_s: float
    n_waiting: int


@dataclass
class WarmPool:
    """The bookkeeping; every call is quick. Without Ray, so that it can be tested with a clock of one's own.

    Attributes:
        prefix: of groups' names.
        count_gpus: GPUs of the cluster, or of the hosts that it is given.
        end_group: ends a group by name and number of ranks.
        clock: seconds.
    """

    prefix: str
    count_gpus: Callable[[tuple[str, ...]], int]
    end_group: Callable[[str, int], None]
    clock: Callable[[], float] = time.monotonic
    _queue: FairQueue[Wish] = field(default_factory=FairQueue)
    _groups: dict[str, _Group] = field(default_factory=dict)
    _granted: dict[str, Grant] = field(default_factory=dict)
    _heard_at: dict[str, float] = field(default_factory=dict)
    _asked_at: dict[str, float] = field(default_factory=dict)

    def ask(self, wish: Wish) -> None:
        """Put a wish into the queue."""
        self._heard_at[wish.ticket] = self._asked_at[wish.ticket] = self.clock()
        self._queue.add(wish.run, wish)
        self.serve()

    def beat(self, ticket: str) -> Grant | None:
        """Say that the one who asked lives; its grant, once there is one."""
        if ticket in self._heard_at:
            self._heard_at[ticket] = self.clock()
        self.serve()
        return self._granted.get(ticket)

    def give_back(self, ticket: str, *, is_usable: bool) -> None:
        """The task has ended, or is given up while it waits; a group that is not usable is ended."""
        self._heard_at.pop(ticket, None)
        self._asked_at.pop(ticket, None)
        grant = self._granted.pop(ticket, None)
        if grant is None:
            for wish in [wish for wish in self._queue if wish.ticket == ticket]:
                self._queue.remove(wish.run, wish)
        elif is_usable and grant.name in self._groups:
            group = self._groups[grant.name]
            group.holder, group.idle_since = None, self.clock()
        elif grant.name in self._groups:
            self._end(self._groups[grant.name])
        self.serve()

    def placed(self, ticket: str, node_id: str) -> None:
        """The group that was granted is on a host."""
        grant = self._granted.get(ticket)
        if grant is not None and grant.name in self._groups:
            self._groups[grant.name].node_ids = (node_id,)

    def leave(self) -> None:
        """A run has ended: what is to be kept for no time is ended, unless another run waits for it."""
        keys = {wish.key for wish in self._queue}
        for group in self._idle():
            if group.idle_s == 0 and group.key not in keys:
                self._end(group)

    def end_idle(self) -> int:
        """End every group that nobody uses; how many."""
        idle = self._idle()
        for group in idle:
            self._end(group)
        return len(idle)

    def status(self) -> list[WarmState]:
        """Of every group."""
        now = self.clock()
        return [
            WarmState(
                label=group.label,
                key=group.key,
                n_gpus=group.n_gpus,
                is_busy=group.holder is not None,
                seconds_s=round(now - group.idle_since, 1),
                n_waiting=sum(wish.key == group.key for wish in self._queue),
            )
            for group in self._groups.values()
        ]

    def tick(self) -> None:
        """What happens with time alone: dead runs lose what they held, idle groups are ended."""
        now = self.clock()
        silent = [ticket for ticket, heard_at in self._heard_at.items() if now - heard_at > _SILENT_S]
        # First those that wait: what the others held is not for them.
        for ticket in sorted(silent, key=lambda ticket: ticket in self._granted):
            self.give_back(ticket, is_usable=False)
        for group in self._idle():
            # Of no time: the run says when it ends. One that was killed does not.
            if now - group.idle_since > (group.idle_s or _TENURE_S):
                self._end(group)
        self.serve()

    def wanted(self) -> list[GroupSize]:
        """What the cluster is to have room for: groups that there are, and one for each wish that has waited for a
        while, as far as `Wish.grow_to_gpus` allows; [] where nobody wants the cluster to grow."""
        holders = [group.holder for group in self._groups.values() if group.holder is not None]
        if not any(wish.grow_to_gpus for wish in [*self._queue, *holders]):
            return []
        sizes = [group.size for group in self._groups.values()]
        n_gpus = sum(group.n_gpus for group in self._groups.values())
        for wish in self._queue:
            has_waited = self.clock() - self._asked_at[wish.ticket] >= _GROW_AFTER_S
            if has_waited and n_gpus + wish.n_gpus <= wish.grow_to_gpus:
                sizes.append(wish.size)
                n_gpus += wish.n_gpus
        return sizes

    def serve(self) -> None:
        """Grant what can be granted."""
        while (wish := self._queue.take(self._can_be)) is not None:
            group = self._fitting(wish)
            is_new = group is None
            if group is None:
                try:
                    self._make_room(wish)
                except Exception:  # raised again: whatever it is, a run must not wait for a wish that nobody has
                    self._queue.add(wish.run, wish)
                    raise
                now = self.clock()
                name = f"{self.prefix}-{uuid.uuid4().hex[:12]}"
                group = _Group(name, wish.key, wish.label, wish.size, wish.idle_s, made_at=now, idle_since=now)
                group.node_ids = wish.node_ids
                self._groups[name] = group
            group.holder, group.idle_s, group.idle_since = wish, wish.idle_s, self.clock()
            self._granted[wish.ticket] = Grant(group.name, group.size, is_new)

    def _can_be(self, wish: Wish) -> bool:
        if self._fitting(wish) is not None:
            return True
        return self._free_gpus(wish) + sum(group.n_gpus for group in self._replaceable(wish)) >= wish.n_gpus

    def _fitting(self, wish: Wish) -> _Group | None:
        order = {node_id: index for index, node_id in enumerate(wish.node_ids)}

        def worth(group: _Group) -> tuple[bool, int]:
            return group.name != wish.last, min((order.get(each, len(order)) for each in group.node_ids), default=0)

        for group in sorted(self._idle(), key=worth):
            fits = group.size.n_ranks == wish.size.n_ranks if wish.is_split else group.n_gpus >= wish.size.n_ranks
            if group.key == wish.key and fits:
                return group
        return None

    def _make_room(self, wish: Wish) -> None:
        for group in self._replaceable(wish):
            if self._free_gpus(wish) >= wish.n_gpus:
                return
            self._end(group)

    def _replaceable(self, wish: Wish) -> list[_Group]:
        """Idle groups that may be ended for a wish, the one that was used longest ago first."""
        now = self.clock()
        groups = [
            group
            for group in self._idle()
            if group.may_be_on(wish.node_ids)
            and (now - group.made_at >= _TENURE_S or now - group.idle_since >= _SWITCH_IDLE_S)
        ]
        return sorted(groups, key=lambda group: group.idle_since)

    def _idle(self) -> list[_Group]:
        return [group for group in self._groups.values() if group.holder is None]

    def _free_gpus(self, wish: Wish) -> int:
        taken = sum(group.n_gpus for group in self._groups.values() if group.may_be_on(wish.node_ids))
        return self.count_gpus(wish.node_ids) - taken

    def _end(self, group: _Group) -> None:
        # In the books until it has ended: where that fails, it is nobody's, and ended or found dead later.
        group.holder = None
        self.end_group(group.name, group.size.n_ranks)
        del self._groups[group.name]
