"""Who injects faults: at random moments, of random kinds, into a random run that is in progress.

Belongs here: choosing, by a seeded generator; writing down what was hit.
Does not belong here: the faults themselves (faults).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random

from s2v_pipeline_tests.chaos.families import Family
from s2v_pipeline_tests.chaos.faults import KINDS, Scene
from s2v_pipeline_tests.chaos.journal import Journal
from s2v_pipeline_tests.chaos.ledger import Ledger
from s2v_pipeline_tests.chaos.runs import AgainAndAgain

PAUSE_S = (0.1, 0.8)


class Injector(threading.Thread):
    """Injects until it is ended or `most_faults` have hit. A fault that met nothing is not counted."""

    def __init__(
        self,
        runs: Sequence[AgainAndAgain],
        family: Family,
        ledger: Ledger,
        data: Path,
        journal: Journal,
        *,
        seed: int,
        most_faults: int,
    ) -> None:
        super().__init__(name="injector", daemon=True)
        self._runs = runs
        self._family = family
        self._ledger = ledger
        self._data = data
        self._journal = journal
        self._random = Random(seed)  # noqa: S311 (not for secrets)
        self._most_faults = most_faults
        self._ended = threading.Event()

    def run(self) -> None:
        n_hit = 0
        while n_hit < self._most_faults and not self._ended.wait(self._random.uniform(*PAUSE_S)):
            scenes = [Scene(run, self._family, self._ledger, self._data, self._random) for run in self._runs]
            at_chunks = [scene for scene in scenes if scene.is_at_chunks]
            if not at_chunks:
                continue
            scene = self._random.choice(at_chunks)
            (kind,) = self._random.choices(list(KINDS), list(KINDS.values()))
            hit = kind(scene)
            if hit is not None:
                n_hit += 1
                self._journal.say("fault", kind=kind.__name__, input=scene.run.wanted.name, **hit)

    def end(self) -> None:
        self._ended.set()
        self.join()
