"""Memory that runs out on a GPU although it was expected to suffice: what is tried, and when it is refused.

    python -m benchmarks.wan_memory FOLDER [--gib 40,8] [--expect 0.5] [--gpus 1] [--json FILE]

FOLDER holds a full-size checkpoint (`benchmarks.wan_load FOLDER --parts write` makes a random one). Each worker gets a
cap on its GPU memory, and expects a share of what it needs: it runs out for real, in torch's allocator.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.json_lines import say
from s2v_pipeline.chunks.manifest import ChunkFile
from s2v_pipeline.cluster.tasks import GenerateChunk
from s2v_pipeline.generation.gpu_needs import GIB
from s2v_pipeline.generation.ranks import Rank

SIZE = (832, 480)
TRIES = 8


@dataclass(frozen=True)
class CappedChunk(GenerateChunk):
    """A chunk whose process may have `cap_gib` of its GPU, and expects a share of what it needs."""

    cap_gib: float = 0.0
    share: float = 1.0

    def run(self) -> ChunkFile:
        """See `Task`."""
        self._cap()
        return super().run()

    def join(self, rank: Rank) -> None:
        """See `SplitTask`; called in each of several processes, before all else."""
        self._cap()
        super().join(rank)

    def _cap(self) -> None:
        from s2v_pipeline.generation.wan_s2v import device_memory, memory, models

        if vars(models)["usable_memory"] is not device_memory.usable_memory:
            return  # done in this process
        estimate, usable = memory.estimate_bytes, device_memory.usable_memory

        def expect_less(*args: Any, **named: Any) -> int:
            return int(estimate(*args, **named) * self.share)

        def capped(device: Any) -> tuple[str, int]:
            import torch

            total = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(self.cap_gib * GIB / total, device)
            return usable(device)

        memory.estimate_bytes = expect_less
        vars(models)["usable_memory"] = capped


def measure(folder: Path, cap_gib: float, share: float, n_gpus: int) -> list[dict[str, object]]:
    """Two chunks with one cap."""
    from benchmarks.wan_random import random_requests
    from s2v_pipeline.artifacts import ArtifactStore
    from s2v_pipeline.chunks.build import chain_keys
    from s2v_pipeline.cluster.ray_executor import RayExecutor
    from s2v_pipeline.errors import S2VError
    from s2v_pipeline.generation.gpu_needs import NEEDS_FOLDER
    from s2v_pipeline.generation.registry import load_generator
    from s2v_pipeline.generation.spec import GeneratorSpec
    from s2v_pipeline.setting_groups import ClusterSettings, WanSettings

    lines: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as home:
        requests = random_requests(Path(home), n_chunks=2, size=SIZE, seed=1)
        spec = GeneratorSpec("wan_s2v", wan=WanSettings(weights=folder, steps=4, solver="euler", guidance=1.0))
        keys = ["", *chain_keys(requests, load_generator(spec).fingerprint)[:-1]]
        store = ArtifactStore(Path(home) / "artifacts")
        tasks = [
            CappedChunk(spec, request, store, key, cap_gib=cap_gib, share=share)
            for request, key in zip(requests, keys, strict=True)
        ]
        executor = RayExecutor(ClusterSettings(num_cpus=n_gpus, task_retries=TRIES), local_gpus=n_gpus)
        began_at = time.monotonic()

        def on_done(chunk: ChunkFile) -> None:
            lines.append(say(cap_gib=cap_gib, chunk=chunk.index, after_s=time.monotonic() - began_at, **_use(chunk)))

        try:
            executor.run(tasks, on_done, in_order=True, n_gpus=n_gpus)
        except S2VError as error:
            lines.append(say(cap_gib=cap_gib, refused=str(error), kind=type(error).__name__))
        finally:
            executor.stop()
        notes = sorted((store.root / NEEDS_FOLDER).rglob("*.json"))
        lines += [say(cap_gib=cap_gib, note=json.loads(note.read_text())) for note in notes]
    return lines


def _use(chunk: ChunkFile) -> dict[str, object]:
    use = chunk.gpu_use
    if use is None:
        raise SystemExit("these runs need a GPU")
    gib = {"estimated_gib": use.estimated_bytes / GIB, "took_gib": use.took_bytes / GIB}
    return {"retries": chunk.retries, "way": use.way, **gib}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", default="40,8", help="caps")
    parser.add_argument("--expect", type=float, default=0.5, help="share of the estimate that workers expect")
    parser.add_argument("--gpus", type=int, default=1, help="on each chunk")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    lines = []
    for cap in arguments.gib.split(","):
        lines += measure(arguments.folder, float(cap), arguments.expect, arguments.gpus)
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
