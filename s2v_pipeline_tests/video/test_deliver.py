"""Captions beside the video; the rest of the delivery is tested where a whole video is made (defs)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.video.caption_files import copy_captions


def _table(**attrs: object) -> pd.DataFrame:
    table = pd.DataFrame({"phone": ["SIL"]})
    table.attrs.update(attrs)
    return table


def _with_captions(root: Path) -> ArtifactStore:
    store = ArtifactStore(root)
    for part, text in (("captions.srt", "1\n"), ("captions.vtt", "WEBVTT\n")):
        store.write(
            "phoneme_alignments", "anna", part, lambda path, text=text: path.write_text(text), key="k", made_by="t"
        )
    return store


def test_captions_lie_beside_the_video_under_its_name(tmp_path: Path) -> None:
    store = _with_captions(tmp_path)
    table = _table(captions=["captions.srt", "captions.vtt"], no_captions="")
    assert copy_captions(store, "anna", table, "t") == (("anna.srt", "anna.vtt"), "")
    assert store.read_path("final_videos", "anna", "anna.vtt").read_text() == "WEBVTT\n"


def test_captions_of_an_earlier_video_do_not_stay(tmp_path: Path) -> None:
    store = _with_captions(tmp_path)
    copy_captions(store, "anna", _table(captions=["captions.srt", "captions.vtt"]), "t")
    assert copy_captions(store, "anna", _table(captions=[], no_captions="no captions: why"), "t") == (
        (),
        "no captions: why",
    )
    assert list((tmp_path / "final_videos" / "anna").iterdir()) == []


def test_a_table_of_an_earlier_version_says_what_to_do(tmp_path: Path) -> None:
    parts, reason = copy_captions(ArtifactStore(tmp_path), "anna", _table(), "t")
    assert parts == ()
    assert "materialise it again" in reason


def test_damaged_captions_are_refused(tmp_path: Path) -> None:
    store = _with_captions(tmp_path)
    store.path("phoneme_alignments", "anna", "captions.srt").write_text("x")
    with pytest.raises(ArtifactError, match="must have the bytes"):
        copy_captions(store, "anna", _table(captions=["captions.srt", "captions.vtt"]), "t")
