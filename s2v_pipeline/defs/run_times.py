"""When the steps of a run began and ended, as the event log has it, and the file that says where the time went.

Belongs here: asking Dagster, writing generation_stats.json. Does not belong here: what the file says
(video.generation_stats).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from s2v_pipeline import __version__
from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.tasks import LATENTS_ASSET
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.video.generation_stats import STATS_PART, RunTimes, generation_stats
from s2v_pipeline.video.manifest import FinalVideo

CHECKS = "checks"
STAGES = ("speech_inputs", "audio_features", "phoneme_alignments", "chunk_latents", "rendered_clips", "final_videos")


def run_times(instance: dg.DagsterInstance, run_id: str, *, now_s: float) -> RunTimes:
    """Times of a run up to now (seconds since 1970); a step that works now counts up to now."""
    record = instance.get_run_record_by_id(run_id)
    spans_s = [
        (step.step_key, step.start_time, step.end_time or now_s)
        for step in instance.get_run_step_stats(run_id)
        if step.start_time is not None
    ]
    first_step_s = min((start_s for _, start_s, _ in spans_s), default=now_s)
    if record is None or record.start_time is None:  # a step called by itself, without a run
        started_s = requested_s = first_step_s
    else:
        started_s, requested_s = record.start_time, record.create_timestamp.timestamp()
    stages_s = dict.fromkeys((*STAGES, CHECKS), 0.0)
    for step_key, start_s, end_s in spans_s:
        stages_s[step_key if step_key in STAGES else CHECKS] += max(0.0, end_s - start_s)
    return RunTimes(
        run_id=run_id,
        queue_s=max(0.0, started_s - requested_s),
        start_up_s=max(0.0, first_step_s - started_s),
        total_s=max(now_s - started_s, 1e-3),
        stages_s={stage: seconds for stage, seconds in stages_s.items() if seconds > 0},
    )


def with_stats(
    context: dg.AssetExecutionContext, value: FinalVideo, clips: ChunkManifest, store: ArtifactStore
) -> tuple[FinalVideo, Mapping[str, Any]]:
    """The video with generation_stats.json beside it, and what that says."""
    manifests, notes = [clips], []
    try:
        latents = load_value(store, LATENTS_ASSET, value.input_id)
        if isinstance(latents, ChunkManifest):
            manifests.insert(0, latents)
    except ArtifactError as error:  # deleted since the clips were made
        notes.append(f"nothing is known of {LATENTS_ASSET}: {error}")
    times = run_times(context.instance, context.run.run_id, now_s=time.time())
    document = generation_stats(times, manifests, video_s=value.video_s, notes=notes)

    def write(path: Path) -> None:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    made_by = f"s2v_pipeline {__version__}"
    store.write("final_videos", value.input_id, STATS_PART, write, key=value.sha256, made_by=made_by)
    return replace(value, stats_part=STATS_PART), document
