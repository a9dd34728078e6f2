"""`s2v up` with a watched folder, whose own processes are killed: daemon, code server, UI, runs; it is started again
where it ends, and Dagster's retries do the rest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random

import dagster as dg
import pytest

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.defs.launch import Project
from s2v_pipeline.packaged import packaged_path
from s2v_pipeline_tests.chaos import audit
from s2v_pipeline_tests.chaos.families import Family, title
from s2v_pipeline_tests.chaos.journal import Journal
from s2v_pipeline_tests.chaos.ledger import Ledger
from s2v_pipeline_tests.chaos.runs import Wanted, environment, write_project
from s2v_pipeline_tests.conftest import copy_sample

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]

NAMES = ("anna", "berta")
UNDISTURBED = Wanted("clara", "portrait")  # what `portrait_undisturbed` is
# Words of the command lines, and how often each is killed beside the others.
KINDS: Mapping[str, tuple[str, ...]] = {
    "kill_daemon": ("_daemon", "daemon run"),
    "kill_code_server": ("api grpc", "code-server", "code_server"),
    "kill_webserver": ("dagster_webserver",),
    "kill_run_worker": ("multiprocessing.spawn",),
    "kill_up": ("",),
}
WEIGHTS = {"kill_daemon": 2, "kill_code_server": 2, "kill_webserver": 1, "kill_run_worker": 3, "kill_up": 0.5}
PAUSE_S = (8.0, 20.0)  # Dagster takes about ten seconds to start
MOST_S = 900
MOST_LINGER_S = 90
RETRIES = "max_retries: 20"  # more than faults: what is tested is that they are made, not how many are enough


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _project(folder: Path) -> Project:
    write_project(folder, "ray")
    settings = folder / "s2v.toml"
    ports = f"\n[server]\ndagster_port = {_free_port()}\nfile_port = {_free_port()}\n"
    settings.write_text(settings.read_text() + ports)
    project = Project(folder)
    home = folder / "data" / "dagster"
    home.mkdir(parents=True)
    text = packaged_path("dagster.yaml").read_text()
    assert "max_retries: 2" in text
    (home / "dagster.yaml").write_text(
        text.replace("max_retries: 2", RETRIES).replace("default_limit: 1", "default_limit: 2")
    )
    return project


def _up(project: Project, number: int) -> subprocess.Popen[bytes]:
    with (project.folder / f"up-{number}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from s2v_pipeline.cli import main; main()", "up"],
            cwd=project.folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _next_kind(random: Random) -> str:
    (kind,) = random.choices(list(WEIGHTS), list(WEIGHTS.values()))
    return kind


def _n_done(store: ArtifactStore) -> int:
    return sum((store.root / "final_videos" / name / "manifest.json.provenance.json").exists() for name in NAMES)


def _is_quiet(project: Project) -> bool:
    """Whether every video is there and no run is in progress."""
    with project.instance() as instance:
        unfinished = instance.get_runs(dg.RunsFilter(statuses=audit.UNFINISHED))
        return not unfinished and all(
            instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], tags={"dagster/partition": name}))
            for name in NAMES
        )


@pytest.mark.parametrize("seed", os.environ.get("CHAOS_SEEDS", "1 2").split())
def test_the_watched_folder_survives_its_own_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: str, portrait_undisturbed: ArtifactStore
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    project = _project(tmp_path / "project")
    for name in NAMES:
        (copy_sample(project.folder / "data" / "inputs" / name) / "prompt.txt").write_text(UNDISTURBED.prompt)
    journal = Journal(Path(os.environ.get("CHAOS_LOG", str(tmp_path))) / f"daemon-{seed}.jsonl")
    most_faults = int(os.environ.get("CHAOS_DAEMON_FAULTS", "12"))
    family, ledger = Family(), Ledger(project.pipeline.store().root, journal)
    random = Random(int(seed))  # noqa: S311 (not for secrets)
    family.start()
    ledger.start()
    n_hit, number, began_at = 0, 0, time.monotonic()
    up = _up(project, number)
    family.follow(up.pid)
    # Kept until there is such a process: a start has the code server first, and would else lose nothing else.
    next_fault_at, kind = time.monotonic() + random.uniform(*PAUSE_S), _next_kind(random)
    while time.monotonic() - began_at < MOST_S:
        time.sleep(1.0)
        if up.poll() is not None:
            journal.say("up_ended", number=number, exit_code=up.returncode)
            number += 1
            up = _up(project, number)
            family.follow(up.pid)
        elif n_hit < most_faults and _n_done(project.pipeline.store()) < len(NAMES):
            if time.monotonic() < next_fault_at:
                continue
            found = [
                each
                for each in family.members(up.pid)
                if (each.pid == up.pid if kind == "kill_up" else any(word in title(each) for word in KINDS[kind]))
            ]
            if found:
                victim = random.choice(found)
                named = title(victim)[:100]
                victim.kill()
                n_hit += 1
                journal.say("fault", kind=kind, pid=victim.pid, process=named)
                next_fault_at, kind = time.monotonic() + random.uniform(*PAUSE_S), _next_kind(random)
        elif _is_quiet(project):
            break
    up.send_signal(signal.SIGINT)
    exit_code = up.wait(60)
    left = family.left_after(MOST_LINGER_S)
    family.end()
    ledger.end()
    store = project.pipeline.store()
    with project.instance() as instance:
        statuses = [run.status.value for run in instance.get_runs()]
    journal.say(
        "judged",
        seed=seed,
        faults=dict(journal.faults_by_kind()),
        seconds_s=round(time.monotonic() - began_at),
        n_ups=number + 1,
        runs={status: statuses.count(status) for status in set(statuses)},
        n_made=ledger.n_made,
        n_made_twice=len(journal.of("made_twice")),
        left_processes=left,
        left_files=audit.left_files(store.root),
        unfinished_runs=audit.unfinished_runs(project),
        taken_slots=audit.taken_slots(project),
    )
    (judged,) = journal.of("judged")
    print(json.dumps(judged))  # noqa: T201 (what the test is for)
    assert n_hit > 0
    assert exit_code in (0, 130)  # 130: it had just been started again, and had nothing to end yet
    for name in NAMES:
        assert audit.video_of(store, name) == audit.video_of(portrait_undisturbed, UNDISTURBED.name)
    assert judged["n_made_twice"] == 0
    assert (left, judged["left_files"], judged["unfinished_runs"], judged["taken_slots"]) == ([], [], [], 0)
