"""Three videos at once by the command, in one project, while faults come: all the same, none twice, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.defs.launch import Project
from s2v_pipeline_tests.chaos import audit, slow_chained
from s2v_pipeline_tests.chaos.families import Family
from s2v_pipeline_tests.chaos.injector import Injector
from s2v_pipeline_tests.chaos.journal import Journal
from s2v_pipeline_tests.chaos.ledger import Ledger
from s2v_pipeline_tests.chaos.runs import AgainAndAgain, Wanted, write_project

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

VIDEOS = (Wanted("anna", slow_chained.NAME), Wanted("berta", slow_chained.NAME), Wanted("clara", "portrait"))
POISONED = Wanted("poison", slow_chained.NAME, slow_chained.POISON)
POISONED_TRIES = 3  # more than one, as a fault may come before the poison does
DISK = "size=48m"  # the four videos take a third of it
MOST_LINGER_S = 90  # Ray's agents try for a minute to reach a control store that is gone
# A seed a batch; CHAOS_SEEDS="7 8 9" chooses others, CHAOS_FAULTS how many faults a batch may have.
SEEDS = os.environ.get("CHAOS_SEEDS", "1 2 3 4").split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose artifacts lie on a small disk of their own, where this user may mount one."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project = write_project(tmp_path / "project", "ray")
    data = project / "data" / "artifacts"
    data.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(data)]
    mounting = subprocess.run(mount, capture_output=True, check=False)
    yield project
    if mounting.returncode == 0:
        subprocess.run(["umount", "-l", str(data)], check=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_videos_survive_faults(
    folder: Path, chained_undisturbed: ArtifactStore, portrait_undisturbed: ArtifactStore, seed: str
) -> None:
    most_faults = int(os.environ.get("CHAOS_FAULTS", "80"))
    log = Path(os.environ.get("CHAOS_LOG", str(folder.parent)))
    journal = Journal(log / f"commands-{seed}.jsonl")
    family = Family()
    project = Project(folder)
    root = project.pipeline.store().root
    ledger = Ledger(root, journal)
    runs = [AgainAndAgain(wanted, folder, family, journal) for wanted in VIDEOS]
    poisoned = AgainAndAgain(POISONED, folder, family, journal, most_tries=POISONED_TRIES)
    injector = Injector(runs, family, ledger, root, journal, seed=int(seed), most_faults=most_faults)
    if not os.path.ismount(root):
        journal.say("left_out", kinds=["fill_disk", "take_store_away", "make_store_read_only"], why="no mount")
    family.start()
    ledger.start()
    for run in (*runs, poisoned):
        run.start()
        time.sleep(1.0)
    injector.start()
    for run in (*runs, poisoned):
        run.join()
    injector.end()
    ledger.end()
    left = family.left_after(MOST_LINGER_S)
    family.end()
    journal.say(
        "judged",
        seed=seed,
        faults=dict(journal.faults_by_kind()),
        exit_codes={run.wanted.name: run.exit_codes for run in (*runs, poisoned)},
        n_made=ledger.n_made,
        n_made_twice=len(journal.of("made_twice")),
        left_processes=left,
        left_files=audit.left_files(root),
        unfinished_runs=audit.unfinished_runs(project),
        taken_slots=audit.taken_slots(project),
    )
    (judged,) = journal.of("judged")
    print(json.dumps(judged))  # noqa: T201 (what the test is for)

    for run in runs:
        assert run.succeeded, run.said
        portrait = run.wanted.generator == "portrait"
        store, name = (portrait_undisturbed, "clara") if portrait else (chained_undisturbed, "anna")
        assert audit.video_of(run.store, run.wanted.name) == audit.video_of(store, name)
    assert not poisoned.succeeded
    assert any("this input always breaks the generator" in said for said in poisoned.said)
    assert judged["n_made_twice"] == 0
    assert judged["left_processes"] == []
    # A chunk that was begun in vain and never made keeps the count of its tries.
    kept = f"chunk_latents/{POISONED.name}/."
    assert [file for file in judged["left_files"] if not (file.startswith(kept) and file.endswith(".tries"))] == []
    assert judged["unfinished_runs"] == []
    assert judged["taken_slots"] == 0
    assert journal.of("hung") == []
