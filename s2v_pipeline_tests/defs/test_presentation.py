"""What people see of a run in the UI: every picture is there, small enough, and leads to what it stands for."""

from __future__ import annotations

import io
import re
import urllib.request
from urllib.parse import urlsplit

import dagster as dg
import pytest
from PIL import Image

from s2v_pipeline.defs.previews import COLUMN_PX, PORTRAIT_PX
from s2v_pipeline.fileserver import FileServer
from s2v_pipeline_tests.defs.conftest import MadeSample

pytestmark = pytest.mark.slow

LINKED_PICTURE = re.compile(r"\[!\[[^]]+\]\((http://[^)]+)\)\]\((http://[^)]+)\)")
LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def shown(made: MadeSample, asset: str) -> dict[str, dg.MetadataValue]:
    """Metadata of an asset's materialisation, in the order in which the UI lists it."""
    (event,) = (
        entry.get_dagster_event().step_materialization_data.materialization
        for entry in made.instance.all_logs(made.outcome.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        if entry.get_dagster_event().asset_key == dg.AssetKey(asset)
    )
    return dict(event.metadata)


def fetch(server: FileServer, url: str) -> tuple[str, bytes]:
    """Content type and body of a URL of the metadata, from a file server on another port."""
    with LOOPBACK.open(f"http://127.0.0.1:{server.port}{urlsplit(url).path}", timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read()


@pytest.mark.parametrize(
    ("asset", "name", "most_px", "opens"),
    [
        ("speech_inputs", "portrait", (COLUMN_PX, PORTRAIT_PX), "image/png"),
        ("final_videos", "poster", (COLUMN_PX, PORTRAIT_PX), "video/mp4"),
        ("final_videos", "contact_sheet", (COLUMN_PX, 2 * COLUMN_PX), "image/jpeg"),
        ("phoneme_alignments", "alignment", (1600, 4000), "image/png"),
    ],
)
def test_pictures_show_inline_and_lead_to_the_whole(
    made_sample: MadeSample, asset: str, name: str, most_px: tuple[int, int], opens: str
) -> None:
    text = shown(made_sample, asset)[name].value
    match = LINKED_PICTURE.fullmatch(str(text))
    assert match, text
    with FileServer(made_sample.project.pipeline.store().root, 0) as server:
        content_type, content = fetch(server, match[1])
        assert content_type.startswith("image/")
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.width <= most_px[0]
            assert picture.height <= most_px[1]
            assert min(picture.size) >= 100
        assert fetch(server, match[2])[0] == opens


def test_links_lead_somewhere(made_sample: MadeSample) -> None:
    with FileServer(made_sample.project.pipeline.store().root, 0) as server:
        for asset, name, content_type in [
            ("speech_inputs", "listen", "audio/flac"),
            ("rendered_clips", "browse", "text/html; charset=utf-8"),
            ("final_videos", "watch", "video/mp4"),
            ("final_videos", "browse", "text/html; charset=utf-8"),
        ]:
            assert fetch(server, str(shown(made_sample, asset)[name].value))[0] == content_type


def test_files_for_other_programs_are_linked(made_sample: MadeSample) -> None:
    links = dict(
        re.findall(r"\[([^]]+)\]\((http://[^)]+)\)", str(shown(made_sample, "phoneme_alignments")["files"].value))
    )
    with FileServer(made_sample.project.pipeline.store().root, 0) as server:
        content = {part: fetch(server, url)[1] for part, url in links.items()}
        captions = re.findall(r"\((http://[^)]+)\)", str(shown(made_sample, "final_videos")["captions"].value))
        assert [fetch(server, url)[1] for url in captions] == [content["captions.srt"], content["captions.vtt"]]
    assert set(content) == {"alignment.TextGrid", "words.ctm", "words.csv", "words.srt", "words.vtt"} | {
        "captions.srt",
        "captions.vtt",
    }
    assert content["captions.vtt"].startswith(b"WEBVTT")
    words = shown(made_sample, "phoneme_alignments")["words"].value
    assert [record.data["word"] for record in words.records][:3] == ["And", "Mister", "John"]


def test_the_video_comes_first_and_every_column_says_what_it_is(made_sample: MadeSample) -> None:
    assert list(shown(made_sample, "final_videos"))[:3] == ["watch", "poster", "contact_sheet"]
    for asset in ("audio_features", "phoneme_alignments"):
        schema = shown(made_sample, asset)["dagster/column_schema"].value
        assert isinstance(schema, dg.TableSchema)
        assert [column.name for column in schema.columns if not column.description] == []


def test_each_chunk_is_in_the_log_of_the_run(made_sample: MadeSample) -> None:
    messages = [
        entry.user_message
        for entry in made_sample.instance.all_logs(made_sample.outcome.run_id)
        if entry.step_key == "rendered_clips" and re.match(r"chunk \d+ \(frames ", entry.user_message)
    ]
    n_chunks = shown(made_sample, "rendered_clips")["chunks"].value
    assert len(messages) == n_chunks
    assert messages[-1].endswith(f"{n_chunks} of {n_chunks} done")
