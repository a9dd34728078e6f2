"""The graph with a chain that starts anew in a pause: what is planned, made, counted and said."""

from __future__ import annotations

import json
import os
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.chunk_steps import _segment_notes, placement_of
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.jobs import JOB_NAME
from s2v_pipeline.defs.launch import Project
from s2v_pipeline.settings import resolve_settings
from s2v_pipeline.video.manifest import FinalVideo
from s2v_pipeline_tests import chained_generator
from s2v_pipeline_tests.conftest import REPOSITORY, WITHOUT_GATE
from s2v_pipeline_tests.defs.test_chunk_cache import ASSETS, make, manifests_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTINGS = f"""
[video]
width_px = 192
height_px = 192
fps = 16
framing = "picture"
x264_preset = "ultrafast"
[generation]
generator = "{chained_generator.NAME}"
chunk_s = 2.0
new_segment_pause_s = 1.0
[credentials]
enabled = false
{WITHOUT_GATE}
[cluster]
num_cpus = 2
"""


WORDS = REPOSITORY / "s2v_pipeline_tests" / "data" / "flite_kal16_juice_of_lemons"
SAID = " ".join([WORDS.with_suffix(".txt").read_text().strip()] * 2)


@dataclass(frozen=True)
class Made:
    """One run of a speech that pauses once, and the run after it."""

    project: Project
    instance: dg.DagsterInstance
    first: dict[str, ChunkManifest]
    again: dict[str, ChunkManifest]
    documents: dict[str, dict[str, Any]]
    run_ids: tuple[str, str]


def speech_with_a_pause(path: Path) -> None:
    """Five and a half seconds, of which those from 2.0 to 3.5 are a pause."""
    words = read_waveform(WORDS.with_suffix(".flac"), rate_hz=16_000).samples[:32_000]
    pause = np.random.default_rng(0).normal(0, 1e-4, 24_000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.concatenate([words, pause, words]) * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("segments")
    (folder / "s2v.toml").write_text(SETTINGS + 'executor = "in_process"\n')
    project = Project(folder)
    speech_with_a_pause(folder / "speech.wav")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.setattr("s2v_pipeline.generation.registry._GENERATORS", dict(chained_generator.known_generators()))
        chained_generator.register()
        with project.instance() as instance:
            outcome = make(project, instance, sample / "portrait.png", folder / "speech.wav", "anna", SAID)
            assert outcome.error is None, outcome.error
            first, store = manifests_of(project, "anna"), project.pipeline.store()
            documents = {
                name: json.loads(store.read_path("final_videos", "anna", name).read_text())
                for name in ("generation_metadata.json", "generation_stats.json")
            }
            job = build_definitions(pipeline=project.pipeline).resolve_job_def(JOB_NAME)
            again = job.execute_in_process(
                instance=instance, partition_key="anna", asset_selection=[dg.AssetKey(asset) for asset in ASSETS]
            )
            assert again.success
            run_ids = (outcome.run_id, again.run_id)
            yield Made(project, instance, first, manifests_of(project, "anna"), documents, run_ids)
        os.environ.pop("DAGSTER_HOME", None)


def materialization(made: Made, asset: str, run_id: str) -> dict[str, Any]:
    records = made.instance.fetch_materializations(dg.AssetKey(asset), limit=10).records
    (found,) = [record.asset_materialization for record in records if record.run_id == run_id]
    assert found is not None
    return {name: value.value for name, value in found.metadata.items()}


def test_the_cut_is_in_the_plan_and_everywhere_it_is_looked_for(made: Made) -> None:
    for asset, manifest in made.first.items():
        start, cut = manifest.segment_starts
        assert start == 0
        assert abs(cut / 16 - 2.75) < 0.3  # the middle of 2.0 to 3.5, as voice activity hears it
        assert [chunk.frames.start_frame for chunk in manifest.chunks] == [0, 29, cut, cut + 29]
        shown = materialization(made, asset, made.run_ids[0])
        assert shown["segments"] == f"0-{cut}, {cut}-{manifest.n_frames}"
        assert [row.data["segment"] for row in shown["per_chunk"].records] == [0, 0, 1, 1]
        assert f"starts anew from the portrait in pauses at {cut / 16:.2f} s" in shown["notes"]
    said = made.documents["generation_metadata.json"]
    assert said["segments"] == [
        {"frames": [0, cut], "start_s": 0.0},
        {"frames": [cut, manifest.n_frames], "start_s": cut / 16},
    ]
    assert said["settings"]["generation"]["new_segment_pause_s"] == 1.0


def test_only_the_later_chunks_of_a_segment_continue_another(made: Made) -> None:
    store, chunks = made.project.pipeline.store(), made.first["chunk_latents"].chunks
    records = [store.provenance("chunk_latents", "anna", chunk.part) for chunk in chunks]
    before = [None if record is None else record.sources.get("previous") for record in records]
    assert before == [None, chunks[0].key, None, chunks[2].key]


def test_length_and_offset_stay_exact(made: Made) -> None:
    video = load_value(made.project.pipeline.store(), "final_videos", "anna")
    assert isinstance(video, FinalVideo)
    assert video.audio_s == Fraction(11, 2)
    assert video.video_s == Fraction(88, 16)
    assert made.documents["generation_metadata.json"]["video"]["video_minus_audio_ms"] == 0


def test_clips_encoded_ahead_count_as_made_and_once(made: Made) -> None:
    for asset in made.first:
        for run_id, manifest, n_made in ((made.run_ids[0], made.first, 4), (made.run_ids[1], made.again, 0)):
            assert (manifest[asset].n_made, manifest[asset].n_cached) == (n_made, 0)
            shown = materialization(made, asset, run_id)
            assert (shown["chunks_made"], shown["chunks_found"]) == (n_made, 4 - n_made)
            assert shown["chunk_facts"]["chunks"] == {"made": n_made, "found": 4 - n_made, "cache": 0}
            records = made.instance.fetch_observations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset)), limit=100
            ).records
            told = [each.asset_observation for each in records if each.run_id == run_id]
            counts = [
                sum(int(str(each.metadata[name].value)) for each in told if each is not None)
                for name in ("made", "found", "found_in_cache")
            ]
            assert counts == [n_made, 4 - n_made, 0]
        stage = made.documents["generation_stats.json"]["chunk_stages"][asset]
        assert (stage["made"], stage["found"], stage["found_in_cache"]) == (4, 0, 0)
    clips = made.documents["generation_stats.json"]["chunk_stages"]["rendered_clips"]
    assert clips["parts_s"]["encode"] > 0
    folder = made.project.pipeline.store().root / "rendered_clips" / "anna"
    assert not list(folder.glob(".*"))


def test_what_is_asked_for_in_vain_is_said() -> None:
    settings = resolve_settings({"test": {"generation": {"new_segment_pause_s": 2}}}).settings
    name = "generation.new_segment_pause_s"
    said = f"{name} changes nothing: every chunk of portrait is independent of the others"
    assert _segment_notes(settings, ()) == (said,)
    wan = resolve_settings({"test": {"generation": {"new_segment_pause_s": 2, "generator": "wan_s2v"}}}).settings
    assert _segment_notes(wan, ()) == (f"one segment: no pause between words is 2 s long ({name})",)
    assert _segment_notes(resolve_settings({}).settings, ()) == ()


@pytest.mark.parametrize(
    ("device", "at_once", "most"), [("auto", None, None), ("cpu", None, 1), ("cpu", 3, 3), ("cuda", 2, 2)]
)
def test_how_many_workers_a_video_may_have(device: str, at_once: int | None, most: int | None) -> None:
    layer = {"generation": {"generator": "wan_s2v"}, "wan": {"device": device}}
    settings = resolve_settings({"test": {**layer, "cluster": {"segments_at_once": at_once}}}).settings
    placement = placement_of(settings, ())
    assert (placement.most_workers, placement.in_order) == (most, True)
    assert placement.n_gpus == (0 if device == "cpu" else 1)


@pytest.mark.soak
def test_on_ray_two_workers_make_the_same_chunks(made: Made, project_dir: Path, sample: Path) -> None:
    (project_dir / "s2v.toml").write_text(SETTINGS)
    project = Project(project_dir)
    speech_with_a_pause(project_dir / "speech.wav")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ray.init", chained_generator.init_with_hook())
        with project.instance() as instance:
            outcome = make(project, instance, sample / "portrait.png", project_dir / "speech.wav", "anna", SAID)
        os.environ.pop("DAGSTER_HOME", None)
    assert outcome.error is None, outcome.error
    for asset, manifest in manifests_of(project, "anna").items():
        assert [chunk.key for chunk in manifest.chunks] == [chunk.key for chunk in made.first[asset].chunks]
        assert manifest.n_made == 4
        by_segment = [{chunk.worker for chunk in manifest.chunks[at : at + 2]} for at in (0, 2)]
        assert [len(workers) for workers in by_segment] == [1, 1]
        assert by_segment[0] != by_segment[1]
        for chunk in manifest.chunks:
            stores = [each.pipeline.store() for each in (project, made.project)]
            paths = [store.read_path(asset, "anna", chunk.part) for store in stores]
            assert paths[0].read_bytes() == paths[1].read_bytes()
