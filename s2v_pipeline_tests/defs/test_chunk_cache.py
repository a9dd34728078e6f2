"""The chunk cache in the graph, and what is seen of a run: where the time went, events, figures for Prometheus."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
import warnings
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from s2v_pipeline.api import command_source
from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.cache.chunk_cache import cache_of
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.executor import ExecutorInfo
from s2v_pipeline.defs import chunk_events, presentation
from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.jobs import JOB_NAME
from s2v_pipeline.defs.launch import Project, RunOutcome, register, run_here
from s2v_pipeline.defs.run_facts import METRICS_PATH, metrics_page
from s2v_pipeline.defs.unused_chunks import unused_chunks
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.fileserver import FileServer
from s2v_pipeline_tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ASSETS = ("chunk_latents", "rendered_clips")
DATA = REPOSITORY / "s2v_pipeline_tests" / "data"
SENTENCES = ("flite_kal16_juice_of_lemons", "flite_slt_depth_of_a_well")
SETTINGS = """
[video]
width_px = 192
height_px = 192
fps = 12
x264_preset = "ultrafast"
[generation]
chunk_s = 1.0
[cache]
url = "data/cache"
[cluster]
executor = "in_process"
[gate]
enabled = false
[credentials]
enabled = false
"""
ANYONE = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Cached:
    """A project with a cache, in which chunks were made three times.

    Attributes:
        outcomes: of the runs for the inputs "one" and "two"; what is said in "two" lacks the last word.
        manifests: of "one", of "one" again after its chunks' files were deleted, of "two".
        files: bytes of the chunks' files of "one" before and after.
    """

    project: Project
    instance: dg.DagsterInstance
    outcomes: tuple[RunOutcome, RunOutcome]
    manifests: tuple[dict[str, ChunkManifest], ...]
    files: tuple[list[bytes], list[bytes]]


def make(
    project: Project, instance: dg.DagsterInstance, portrait: Path, speech: Path, name: str, said: str
) -> RunOutcome:
    source = command_source(portrait, speech, prompt="calm", transcript=said, settings={}, name=name)
    (input_id,) = register(project, instance, [source])
    return run_here(project, instance, input_id, way_in="test")


def two_sentences(path: Path) -> str:
    """Write a short speech, long enough that its beginning does not see its end; what is said."""
    parts = [read_waveform(DATA / f"{name}.flac", rate_hz=16_000) for name in SENTENCES]
    samples = np.concatenate([part.samples for part in parts])
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return " ".join((DATA / f"{name}.txt").read_text().strip() for name in SENTENCES)


def manifests_of(project: Project, input_id: str) -> dict[str, ChunkManifest]:
    found = {}
    for asset in ASSETS:
        manifest = load_value(project.pipeline.store(), asset, input_id)
        assert isinstance(manifest, ChunkManifest)
        found[asset] = manifest
    return found


def chunk_bytes(project: Project, input_id: str) -> list[bytes]:
    store = project.pipeline.store()
    return [
        store.read_path(asset, input_id, chunk.part).read_bytes()
        for asset, manifest in manifests_of(project, input_id).items()
        for chunk in manifest.chunks
    ]


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Iterator[Cached]:
    before = os.environ.pop("DAGSTER_HOME", None)
    folder = tmp_path_factory.mktemp("cached")
    (folder / "s2v.toml").write_text(SETTINGS)
    project = Project(folder)
    speech = folder / "speech.wav"
    transcript = two_sentences(speech)
    with project.instance() as instance:
        first = make(project, instance, sample / "portrait.png", speech, "one", transcript)
        assert first.error is None
        manifests, files = [manifests_of(project, "one")], [chunk_bytes(project, "one")]
        for asset in ASSETS:
            shutil.rmtree(project.pipeline.store().root / asset)
        job = build_definitions(pipeline=project.pipeline).resolve_job_def(JOB_NAME)
        again = job.execute_in_process(
            instance=instance, partition_key="one", asset_selection=[dg.AssetKey(asset) for asset in ASSETS]
        )
        assert again.success
        manifests.append(manifests_of(project, "one"))
        files.append(chunk_bytes(project, "one"))
        other = make(project, instance, sample / "portrait.png", speech, "two", transcript.rpartition(" ")[0])
        assert other.error is None
        manifests.append(manifests_of(project, "two"))
        yield Cached(project, instance, (first, other), tuple(manifests), (files[0], files[1]))
    os.environ.pop("DAGSTER_HOME", None)
    if before is not None:
        os.environ["DAGSTER_HOME"] = before


@pytest.fixture
def s2v(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls the command line in the project's folder: the outcome, with `exit_code` and `output`."""
    monkeypatch.chdir(cached.project.folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what Typer's own imports of Click cause
        from typer.testing import CliRunner

        from s2v_pipeline.cli import app

    return lambda *arguments: CliRunner().invoke(app, ["cache", *arguments])


def test_what_was_deleted_comes_from_the_cache_to_the_byte(cached: Cached) -> None:
    first, second, _ = cached.manifests
    assert {file.origin for asset in ASSETS for file in first[asset].chunks} == {"made"}
    assert {file.origin for asset in ASSETS for file in second[asset].chunks} == {"found in cache"}
    assert cached.files[0] == cached.files[1]


def test_another_input_takes_what_is_the_same_and_makes_the_rest(cached: Cached) -> None:
    for asset in ASSETS:
        origins = [file.origin for file in cached.manifests[2][asset].chunks]
        n_found = origins.count("found in cache")
        assert n_found >= 1
        assert origins == ["found in cache"] * n_found + ["made"] * (len(origins) - n_found)
        assert origins[-1] == "made"


def test_the_metadata_of_a_step_say_what_came_from_where(cached: Cached) -> None:
    settings = cached.project.settings().settings
    info = ExecutorInfo("ray", "10.0.0.1:6379", 8, "http://10.0.0.1:8265")
    shown = presentation.chunks(cached.manifests[1]["rendered_clips"], info, settings)
    n_chunks = len(cached.manifests[1]["rendered_clips"].chunks)
    assert (shown["chunks_made"], shown["chunks_found"], shown["chunks_from_cache"]) == (0, 0, n_chunks)
    assert shown["ray_dashboard"].value == "http://10.0.0.1:8265"
    assert "ray_dashboard" not in presentation.chunks(
        cached.manifests[1]["rendered_clips"], replace(info, dashboard_url=""), settings
    )


def test_the_stats_say_where_the_time_went(cached: Cached) -> None:
    store = cached.project.pipeline.store()
    outcome = cached.outcomes[0]
    video = outcome.video
    assert video is not None
    document = json.loads(store.read_path("final_videos", "one", video.stats_part).read_text())
    assert document["run_id"] == outcome.run_id
    stages = {each["stage"]: each["seconds"] for each in document["stages"]}
    assert set(stages) == {*outcome.step_s.keys() & stages.keys(), "checks"}
    # Dagster's own times of the steps agree; the last one went on for a moment after the file was written.
    for stage in ("speech_inputs", "audio_features", "phoneme_alignments", *ASSETS):
        assert stages[stage] == pytest.approx(outcome.step_s[stage], abs=0.01)
    assert 0 < stages["final_videos"] <= outcome.step_s["final_videos"]
    assert sum(stages.values()) <= document["total_s"]
    assert document["real_time_factor"] == pytest.approx(document["total_s"] / float(video.video_s), abs=0.01)
    longest = max(stages, key=lambda stage: stages[stage])
    assert document["bottleneck"].startswith(longest)
    for asset in ASSETS:
        manifest = cached.manifests[0][asset]
        told = document["chunk_stages"][asset]
        assert (told["made"], told["found"], told["found_in_cache"]) == (len(manifest.chunks), 0, 0)
        assert [each["seconds"] for each in told["chunks"]] == [chunk.seconds_s for chunk in manifest.chunks]
        assert all({"wait", "cache"} <= set(each["parts_s"]) for each in told["chunks"])
        assert sum(entry["chunks"] for entry in told["workers"].values()) == len(manifest.chunks)


def test_every_chunk_is_told_in_an_event(cached: Cached) -> None:
    run_id = cached.outcomes[0].run_id
    logs = cached.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    observations = [entry.get_dagster_event().asset_observation_data.asset_observation for entry in logs]
    for asset in ASSETS:
        told = [each for each in observations if each.asset_key == dg.AssetKey(asset)]
        assert {each.partition for each in told} == {"one"}
        values = [{name: entry.value for name, entry in each.metadata.items()} for each in told]
        chunks = cached.manifests[0][asset].chunks
        assert ", ".join(value["chunk"] for value in values) == ", ".join(str(chunk.index) for chunk in chunks)
        assert sum(value["made"] for value in values) == len(chunks) == values[-1]["chunks_done"]
        assert sum(value["seconds"] for value in values) == pytest.approx(
            sum(chunk.seconds_s for chunk in chunks), abs=0.02
        )
        assert {value["worker"] for value in values} == {chunks[0].worker}


def test_many_chunks_are_told_in_a_hundred_events(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_events, "LEAST_INTERVAL_S", 0.0)
    told: list[dg.AssetObservation] = []
    context = SimpleNamespace(asset_key=dg.AssetKey("chunk_latents"), partition_key="one", log_event=told.append)
    events = chunk_events.ChunkEvents(cast("dg.AssetExecutionContext", context), 1000)
    for index in range(1000):
        events.add(replace(cached.manifests[0]["chunk_latents"].chunks[0], index=index))
    assert len(told) == chunk_events.MOST_EVENTS
    assert [told[-1].metadata[name].value for name in ("made", "chunks_done")] == [10, 1000]


def test_a_scrape_counts_what_the_manifests_say(cached: Cached) -> None:
    pages = {METRICS_PATH: metrics_page(cached.instance, cached.project.pipeline)}
    with FileServer(cached.project.pipeline.store().root, 0, pages) as server:
        url = f"http://127.0.0.1:{server.port}{METRICS_PATH}"
        texts = []
        for _ in range(2):  # the second reads on from where the first was
            with ANYONE.open(url, timeout=20) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                texts.append(answer.read().decode())
    assert texts[0] == texts[1]
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(texts[0])
        for sample in family.samples
    }
    for asset in ASSETS:
        files = [file for manifests in cached.manifests for file in manifests[asset].chunks]
        made = [file for file in files if file.made]
        for origin, number in (("made", len(made)), ("cache", sum(file.cached for file in files)), ("found", 0)):
            assert samples["s2v_chunks_total", *sorted((asset, "portrait", origin))] == number
        of = sorted((asset, "portrait"))
        assert samples["s2v_chunk_seconds_count", *of] == len(made)
        assert samples["s2v_chunk_seconds_sum", *of] == pytest.approx(sum(file.seconds_s for file in made), abs=0.01)
        below = sum(file.seconds_s <= 1.0 for file in made)
        assert samples["s2v_chunk_seconds_bucket", *sorted((*of, "1.0"))] == below
        assert samples["s2v_chunk_retries_total", *of] == 0
    assert samples["s2v_videos_total", "portrait"] == 2
    assert samples["s2v_real_time_factor_count", "portrait"] == 2
    assert samples["s2v_runs", "success"] == 3
    assert samples["s2v_runs", "started"] == samples["s2v_runs", "queued"] == 0
    cache = cache_of(cached.project.settings().settings.cache, cached.project.folder)
    assert cache is not None
    on_disk = sum(path.stat().st_size for path in Path(cache.url).rglob("*") if path.is_file())
    assert samples["s2v_cache_bytes",] == pytest.approx(on_disk, abs=200)  # the note of the last pruning
    assert samples["s2v_cache_entries",] > 0


def test_the_command_line_looks_after_the_cache(
    cached: Cached, s2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_hits = sum(file.cached for manifests in cached.manifests for asset in ASSETS for file in manifests[asset].chunks)
    info = s2v("info")
    assert info.exit_code == 0
    assert f"hits     {n_hits} of" in info.output
    assert s2v("verify").exit_code == 0
    damaged = next(iter((cached.project.folder / "data/cache/v1/rendered_clips").glob("*/*.json")))
    content = next(path for path in damaged.parent.glob(f"{damaged.stem}.*") if path.suffix not in (".json", ".read"))
    content.write_bytes(content.read_bytes()[1:])
    found = s2v("verify")
    assert found.exit_code == 1
    assert f"damaged and removed: rendered_clips {damaged.stem}" in found.output
    assert s2v("verify").exit_code == 0
    assert "0 bytes are left" in s2v("prune", "--max-gb", "0.000000001").output
    assert s2v("prune", "--older-than", "soon").exit_code == 2
    monkeypatch.setenv("S2V_CACHE__URL", "nothing-opens-this://x")
    assert isinstance(s2v("info").exception, SettingsError)


def test_chunk_files_of_earlier_settings_can_be_deleted_and_no_others(cached: Cached, s2v: Callable[..., Any]) -> None:
    project, instance, input_id = cached.project, cached.instance, "two"
    store = project.pipeline.store()
    manifest = manifests_of(project, input_id)["rendered_clips"]
    folder = store.path("rendered_clips", input_id, "x").parent
    older, younger = folder / "00000-0123456789abcdef.mp4", folder / "00001-0123456789abcdef.mp4"
    for path in (older, younger):
        path.write_bytes(b"a clip of another setting")
    written_s = (folder / "manifest.json").stat().st_mtime
    os.utime(older, (written_s - 100, written_s - 100))
    os.utime(younger, (written_s + 100, written_s + 100))
    assert [each.part for each in unused_chunks(store, instance).files] == [older.name]
    assert older.name in s2v("prune", "--artifacts").output
    assert older.exists()
    assert s2v("prune", "--artifacts", "--yes").exit_code == 0
    assert (older.exists(), younger.exists()) == (False, True)
    assert all(store.read_path("rendered_clips", input_id, chunk.part) for chunk in manifest.chunks)
    # While a run works on the input, nothing of it goes.
    os.utime(younger, (written_s - 100, written_s - 100))
    run = dg.DagsterRun(job_name="make_video", status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": input_id})
    instance.add_run(run)
    found = unused_chunks(store, instance)
    instance.delete_run(run.run_id)
    assert found.files == ()
    assert found.left_alone == {input_id: "a run of it waits or works"}
