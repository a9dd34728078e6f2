"""Inputs whose videos are made by the real command, which is given again as often as faults end it.

Belongs here: the project folder, starting the command again and again. Does not belong here: faults, judgement.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline_tests.chaos import slow_chained
from s2v_pipeline_tests.chaos.families import Family
from s2v_pipeline_tests.chaos.journal import Journal
from s2v_pipeline_tests.conftest import REPOSITORY, SAMPLE, WITHOUT_GATE

SETTINGS = """
[video]
width_px = 160
height_px = 160
fps = 16
framing = "picture"
x264_preset = "ultrafast"
[generation]
chunk_s = 0.7
[inputs]
settle_s = 0
"""
N_CHUNKS = {slow_chained.NAME: 11, "portrait": 11}
CLUSTER = '[cluster]\nexecutor = "{executor}"\nnum_cpus = 2\ntask_retries = 3\n'
MOST_TRIES = 40
MOST_RUN_S = 400
_SAID_LETTERS = 500
# Each local Ray makes a token of its own; what is left of a killed one must not know the next one's.
_NOT_INHERITED = ("DAGSTER_HOME", "RAY_AUTH_TOKEN", "RAY_ADDRESS")


def write_project(folder: Path, executor: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s2v.toml").write_text(f"{SETTINGS}{WITHOUT_GATE}{CLUSTER.format(executor=executor)}")
    return folder


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def command(name: str, generator: str, prompt: str, executor: str) -> list[str]:
    """`s2v generate` on the sample, in a process that knows the chained generator."""
    knows = "register_with_ray" if executor == "ray" else "register"
    code = (
        f"from s2v_pipeline_tests.chaos import slow_chained; slow_chained.{knows}()\n"
        "from s2v_pipeline.cli import main; main()"
    )
    return [
        *(sys.executable, "-c", code, "generate", "--name", name, "--prompt", prompt, "--generator", generator),
        *("--image", str(SAMPLE / "portrait.png"), "--audio", str(SAMPLE / "speech.wav")),
        *("--transcript", str(SAMPLE / "transcript.txt")),
    ]


@dataclass(frozen=True)
class Wanted:
    """One video that is asked for."""

    name: str
    generator: str
    prompt: str = "calm"


class AgainAndAgain(threading.Thread):
    """Gives the command of one video until it succeeds, or `most_tries` times."""

    def __init__(
        self, wanted: Wanted, folder: Path, family: Family, journal: Journal, *, most_tries: int = MOST_TRIES
    ) -> None:
        super().__init__(name=wanted.name, daemon=True)
        self.wanted = wanted
        self.store = ArtifactStore(folder / "data" / "artifacts")
        self.process: subprocess.Popen[bytes] | None = None
        self.exit_codes: list[int] = []
        self.said: list[str] = []
        self._folder = folder
        self._family = family
        self._journal = journal
        self._most_tries = most_tries

    @property
    def succeeded(self) -> bool:
        return bool(self.exit_codes) and self.exit_codes[-1] == 0

    @property
    def pid(self) -> int | None:
        """Of the run's process while it lives."""
        process = self.process
        return None if process is None or process.poll() is not None else process.pid

    @property
    def makes_chunks(self) -> bool:
        """Whether the run has come to its chunks and has not yet finished them."""
        n_clips = len(list(self.store.root.glob(f"rendered_clips/{self.wanted.name}/[0-9]*.mp4.provenance.json")))
        phonemes = self.store.root / "phoneme_alignments" / self.wanted.name / "table.parquet"
        return self.pid is not None and phonemes.exists() and n_clips < N_CHUNKS[self.wanted.generator]

    def run(self) -> None:
        for number in range(self._most_tries):
            log = self._folder / f"{self.wanted.name}-{number}.log"
            began_at = time.monotonic()
            with log.open("wb") as output:
                self.process = subprocess.Popen(
                    command(self.wanted.name, self.wanted.generator, self.wanted.prompt, "ray"),
                    cwd=self._folder,
                    env=environment(),
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                self._family.follow(self.process.pid)
                self._journal.say("run", input=self.wanted.name, number=number, pid=self.process.pid)
                try:
                    code = self.process.wait(MOST_RUN_S)
                except subprocess.TimeoutExpired:
                    # A run that hangs is a finding: it is ended, and counted as one that did not end by itself.
                    self._journal.say("hung", input=self.wanted.name, number=number)
                    self.process.kill()
                    code = self.process.wait()
            self.said.append(_last_words(log))
            self.exit_codes.append(code)
            self._journal.say(
                "run_end",
                input=self.wanted.name,
                number=number,
                exit_code=code,
                seconds_s=round(time.monotonic() - began_at, 1),
                said="" if code == 0 else self.said[-1],
            )
            if code == 0:
                return


def _last_words(log: Path) -> str:
    """What the command said at its end, without progress bars."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line for line in text.splitlines() if line.strip() and "%|" not in line]
    return "\n".join(lines)[-_SAID_LETTERS:]


def make_undisturbed(folder: Path, wanted: Wanted) -> ArtifactStore:
    """The same video in a project of its own, without Ray and without faults."""
    write_project(folder, "in_process")
    made = subprocess.run(
        command(wanted.name, wanted.generator, wanted.prompt, "in_process"),
        cwd=folder,
        env=environment(),
        check=False,
        capture_output=True,
        timeout=MOST_RUN_S,
    )
    assert made.returncode == 0, made.stderr.decode(errors="replace")
    return ArtifactStore(folder / "data" / "artifacts")
