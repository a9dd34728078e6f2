"""Runs that share warm workers on GPUs: seconds until the first chunk, two at once, drafts behind a long one, losses.

    python -m benchmarks.wan_runs FOLDER [--gpus 2] [--parts cold,warm,pair,drafts,kill,hang,stop] [--json FILE]

FOLDER holds a full-size checkpoint (`benchmarks.wan_load FOLDER --parts write` makes a random one). Each run is a
process of its own with the executor and the tasks that the asset graph uses, on a Ray that they share; a chunk is 80
frames of 832x480 in 4 forwards. Clips are not encoded here.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.json_lines import say

SIZE = (832, 480)
IDLE_S = 600.0
TIMEOUT_S = 400
RANK_TIMEOUT_S = 45.0  # a GPU may load and compile so much longer than the other


def one_run(arguments: argparse.Namespace) -> None:
    """What a run's process does: its chunks, one line for each."""
    began_at = time.time()
    from benchmarks.wan_random import random_requests
    from s2v_pipeline.artifacts import ArtifactStore
    from s2v_pipeline.chunks.build import chain_keys
    from s2v_pipeline.cluster.executor import WarmKey, make_executor
    from s2v_pipeline.cluster.tasks import GenerateChunk
    from s2v_pipeline.generation.registry import load_generator
    from s2v_pipeline.generation.spec import GeneratorSpec
    from s2v_pipeline.setting_groups import ClusterSettings, WanSettings

    home = Path(arguments.home)
    requests = random_requests(home, n_chunks=arguments.chunks, size=SIZE, seed=arguments.seed)
    wan = WanSettings(weights=Path(arguments.folder), steps=4, solver="euler", guidance=1.0, fp8=arguments.fp8)
    spec = GeneratorSpec("wan_s2v", wan=wan)
    keys = ["", *chain_keys(requests, load_generator(spec).fingerprint)[:-1]]
    store = ArtifactStore(home / "artifacts")
    tasks = [GenerateChunk(spec, request, store, key) for request, key in zip(requests, keys, strict=True)]
    settings = ClusterSettings(address="shared", idle_s=IDLE_S, rank_timeout_s=RANK_TIMEOUT_S)
    executor = make_executor(settings, shared_folder=home / "ray")
    executor.start()
    executor.info()
    say(run=arguments.name, connected_after_s=time.time() - began_at)

    def on_done(chunk: Any) -> None:
        say(
            run=arguments.name,
            chunk=chunk.index,
            done_after_s=time.time() - began_at,
            begun_after_s=time.time() - began_at - chunk.seconds_s,
            seconds_s=chunk.seconds_s,
            made=chunk.made,
            retries=chunk.retries,
            worker=chunk.worker,
            gpu_use=None if chunk.gpu_use is None else asdict(chunk.gpu_use),
            parts={name: round(seconds, 2) for name, seconds in chunk.timings_s},
        )

    try:
        executor.run(
            tasks, on_done, in_order=True, n_gpus=arguments.gpus, warm=WarmKey(f"bench{arguments.gpus}", "wan")
        )
    finally:
        executor.stop()
        say(run=arguments.name, ended_after_s=time.time() - began_at)


class Runs:
    """Starts runs and reads what they say."""

    def __init__(self, arguments: argparse.Namespace, home: Path) -> None:
        self._arguments, self._home, self._n = arguments, home, 0
        self.lines: list[dict[str, Any]] = []

    def start(self, name: str, *, chunks: int, gpus: int) -> subprocess.Popen[str]:
        """A run in a process of its own, with an input of its own."""
        self._n += 1
        command = [sys.executable, "-m", "benchmarks.wan_runs", self._arguments.folder, "--name", name]
        command += ["--chunks", str(chunks), "--gpus", str(gpus), "--seed", str(self._n), "--home", str(self._home)]
        command += ["--fp8"] if self._arguments.fp8 else []
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def in_second_chunk(self, name: str, *, gpus: int) -> tuple[subprocess.Popen[str], int]:
        """A run of three chunks that is 3 s into its second one, and the number of its worker's first process."""
        run = self.start(name, chunks=3, gpus=gpus)
        assert run.stdout is not None
        for _ in range(2):  # connected, first chunk
            line = say(**json.loads(run.stdout.readline()))
        time.sleep(3)
        return run, int(str(line["worker"]).split(":")[1])

    def read(self, run: subprocess.Popen[str]) -> list[dict[str, Any]]:
        """All that a run says, once it has ended."""
        out, _ = run.communicate(timeout=TIMEOUT_S)
        lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
        for line in lines:
            say(**line)
        self.lines += lines
        if run.returncode:
            self.lines.append(say(run="?", exit_code=run.returncode))
        return lines


def other_rank(first: int) -> psutil.Process:
    """Another process of the group that makes chunks with the process of this number."""
    others = (each for each in psutil.process_iter() if each.pid != first)
    return next(each for each in others if _actor_class(each) == _actor_class(psutil.Process(first)))


def _actor_class(process: psutil.Process) -> str:
    """`ray::RankProcess` of "ray::RankProcess.generate"."""
    title = " ".join(process.cmdline())
    return title.split(".")[0] if title.startswith("ray::") else ""


def memory_used_mib() -> list[int]:
    """Of each GPU."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]  # on the path of every driver
    out = subprocess.check_output(command, text=True)
    return [int(line) for line in out.split()]


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All parts."""
    parts, gpus = arguments.parts.split(","), arguments.gpus
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(arguments, Path(folder))
        if "cold" in parts:
            runs.read(runs.start("cold", chunks=2, gpus=gpus))
        if "warm" in parts:
            runs.read(runs.start("warm", chunks=2, gpus=gpus))
        if "drafts" in parts:
            long = runs.start("long", chunks=arguments.long, gpus=gpus)
            time.sleep(8)
            drafts = [runs.start(f"draft {index}", chunks=1, gpus=gpus) for index in range(arguments.drafts)]
            for each in (*drafts, long):
                runs.read(each)
        if "kill" in parts:
            run, first = runs.in_second_chunk("a worker is killed", gpus=gpus)
            os.kill(first, signal.SIGKILL)
            runs.lines.append(say(killed=first))
            runs.read(run)
        if "hang" in parts:
            run, first = runs.in_second_chunk("a GPU's process hangs", gpus=gpus)
            stopped = other_rank(first)
            stopped.suspend()
            runs.lines.append(say(stopped=stopped.pid))
            runs.read(run)
            runs.lines.append(say(stopped_process_is_gone=not stopped.is_running()))
        if "stop" in parts:
            run = runs.start("is interrupted", chunks=4, gpus=gpus)
            assert run.stdout is not None
            say(**json.loads(run.stdout.readline()), memory_used_mib=memory_used_mib())
            time.sleep(12)
            before, stopped_at = memory_used_mib(), time.time()
            run.send_signal(signal.SIGINT)
            while max(memory_used_mib()) > 2000 and time.time() - stopped_at < 60:
                time.sleep(0.2)
            free_s = time.time() - stopped_at
            runs.lines.append(say(before_mib=before, after_mib=memory_used_mib(), gpus_free_after_s=free_s))
            runs.read(run)
        if "pair" in parts:
            for each, name in ((gpus, "in turns on all GPUs"), (gpus // 2, "at once on half of the GPUs")):
                pair = [runs.start(f"two {name} ({index})", chunks=4, gpus=each) for index in range(2)]
                for run in pair:
                    runs.read(run)
        sys.stdout.write(
            subprocess.run(
                [sys.executable, "-c", _DOWN, str(Path(folder) / "ray")], check=False, capture_output=True, text=True
            ).stdout
        )
    return runs.lines


_DOWN = (
    "import sys; from pathlib import Path; from s2v_pipeline.cluster.shared_ray import SharedRay; "
    "print('down:', SharedRay(Path(sys.argv[1])).down())"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--parts", default="cold,warm,drafts,kill,hang,stop,pair")
    parser.add_argument("--drafts", type=int, default=3, help="how many come behind the long one")
    parser.add_argument("--long", type=int, default=6, help="its chunks")
    parser.add_argument("--fp8", action="store_true")
    parser.add_argument("--json", type=Path)
    for name in ("--name", "--home"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--chunks", "--seed"):
        parser.add_argument(name, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.name:
        one_run(arguments)
        return
    lines = measure(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
