"""A chunk's key follows everything that its pixels depend on, and nothing else."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from s2v_pipeline.chunks.request import FEATURE_COLUMNS, PHONEME_COLUMNS, ChunkRequest, FileRef
from s2v_pipeline.chunks.speech_window import SpeechWindow
from s2v_pipeline.timebase import FrameSpan

FINGERPRINT = "portrait 1"


def make_request() -> ChunkRequest:
    frames = np.arange(4)
    return ChunkRequest(
        input_id="obama",
        index=2,
        frames=FrameSpan(200, 204),
        fps=Fraction(30000, 1001),
        width_px=512,
        height_px=384,
        seed=11,
        input_seed=5,
        prompt="calm",
        portrait=FileRef(Path("/somewhere/portrait.png"), "ab" * 32),
        phonemes=pd.DataFrame({"phone": ["SIL", "AA"], "start_s": [0.0, 0.2], "end_s": [0.2, 0.5]}),
        features=pd.DataFrame(
            {
                "frame": frames + 200,
                "time_s": (frames + 200) / 25,
                "rms_db": [-20.0, -21.0, -22.0, -60.0],
                "speech_probability": [0.9, 0.9, 0.8, 0.1],
                "f0_hz": [110.0, 120.0, 0.0, 0.0],
                "onset": [0.0, 1.0, 0.0, 0.0],
            }
        ),
        speech_level_db=-23,
        median_f0_hz=115,
    )


def with_phoneme(column: str, value: object) -> ChunkRequest:
    request = make_request()
    table = request.phonemes.copy()
    table.loc[1, column] = value
    return replace(request, phonemes=table)


def with_feature(column: str, value: object) -> ChunkRequest:
    request = make_request()
    table = request.features.copy()
    table.loc[1, column] = value
    return replace(request, features=table)


REQUEST = make_request()
SOUND = SpeechWindow(np.array([0.5, -0.25, 0.0], np.float32), first_sample=7, rate_hz=16_000, level_rms=0.1)
LOUDER = SpeechWindow(np.array([0.5, -0.25, 0.1], np.float32), first_sample=7, rate_hz=16_000, level_rms=0.1)
DIFFERENT = {
    "frames": replace(REQUEST, frames=FrameSpan(200, 205)),
    "frames moved": replace(REQUEST, frames=FrameSpan(201, 205)),
    "fps": replace(REQUEST, fps=Fraction(2997, 100)),
    "width_px": replace(REQUEST, width_px=384),
    "height_px": replace(REQUEST, height_px=512),
    "sides exchanged": replace(REQUEST, width_px=384, height_px=512),
    "seed": replace(REQUEST, seed=12),
    "input_seed": replace(REQUEST, input_seed=6),
    "seeds exchanged": replace(REQUEST, seed=5, input_seed=11),
    "prompt": replace(REQUEST, prompt="Calm"),
    "portrait": replace(REQUEST, portrait=FileRef(REQUEST.portrait.path, "ac" * 32)),
    "speech_level_db": replace(REQUEST, speech_level_db=-24),
    "median_f0_hz": replace(REQUEST, median_f0_hz=120),
    "phone": with_phoneme("phone", "AE"),
    "start_s": with_phoneme("start_s", 0.2000001),
    "end_s": with_phoneme("end_s", 0.4999999),
    "one phoneme less": replace(REQUEST, phonemes=REQUEST.phonemes.head(1)),
    "phonemes in another order": replace(REQUEST, phonemes=REQUEST.phonemes.iloc[::-1]),
    **{f"feature {column}": with_feature(column, 77) for column in FEATURE_COLUMNS},
    "one feature row less": replace(REQUEST, features=REQUEST.features.head(3)),
    "sound": replace(REQUEST, sound=SOUND),
    "another sound": replace(REQUEST, sound=LOUDER),
    "sound from elsewhere": replace(REQUEST, sound=replace(SOUND, first_sample=8)),
    "sound at another rate": replace(REQUEST, sound=replace(SOUND, rate_hz=8_000)),
    "another level": replace(REQUEST, sound=replace(SOUND, level_rms=0.2)),
    "is_last": replace(REQUEST, is_last=True),
    "segment_start_frame at the chunk's own start": replace(REQUEST, segment_start_frame=200),
}
SAME = {
    "input_id": replace(REQUEST, input_id="another name"),
    "index": replace(REQUEST, index=3),
    "a segment that started before": replace(REQUEST, segment_start_frame=100),
    "portrait's path": replace(REQUEST, portrait=FileRef(Path("/elsewhere/p.png"), REQUEST.portrait.sha256)),
    "a column more": replace(REQUEST, phonemes=REQUEST.phonemes.assign(word="hello")),
    "columns in another order": replace(REQUEST, features=REQUEST.features[list(reversed(FEATURE_COLUMNS))]),
    "row labels": replace(REQUEST, phonemes=REQUEST.phonemes.set_axis([7, 9])),
    "integers as floats": replace(REQUEST, features=REQUEST.features.astype({"frame": "float64"})),
    "strings as objects": replace(REQUEST, phonemes=REQUEST.phonemes.astype({"phone": "object"})),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_pixels_depend_on_changes_the_key(name: str) -> None:
    assert DIFFERENT[name].key(FINGERPRINT) != REQUEST.key(FINGERPRINT)


def test_no_two_of_these_requests_share_a_key() -> None:
    keys = [request.key(FINGERPRINT) for request in (REQUEST, *DIFFERENT.values())]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", SAME)
def test_what_pixels_do_not_depend_on_leaves_the_key(name: str) -> None:
    assert SAME[name].key(FINGERPRINT) == REQUEST.key(FINGERPRINT)


def test_every_field_is_tried() -> None:
    # A field that is added later must be put into one of the tables above, or this fails.
    tried = " ".join((*DIFFERENT, *SAME))
    covered = {"portrait", "phonemes", "features"}
    assert [field.name for field in fields(ChunkRequest) if field.name not in tried and field.name not in covered] == []


def test_generator_and_carry_are_part_of_the_key() -> None:
    keys = {
        REQUEST.key(FINGERPRINT),
        REQUEST.key("portrait 2"),
        REQUEST.key(FINGERPRINT, "carry"),
        REQUEST.key(FINGERPRINT, "other carry"),
    }
    assert len(keys) == 4
    assert REQUEST.key(FINGERPRINT, "") == REQUEST.key(FINGERPRINT)


def test_keys_of_requests_without_sound_are_fixed_for_ever() -> None:
    # A change here would make every chunk of every video again.
    assert REQUEST.key(FINGERPRINT) == "d2d7bad045b55acc211efcb0d13f9a688575da0fbb12de7d11e083a68e1db3ed"
    assert REQUEST.key(FINGERPRINT, "carry") == "4a0cc5608956a503fcac896b6a0f844bff4e552dae7190d9e934a8507569e990"


def test_a_key_survives_the_journey_to_another_process(tmp_path: Path) -> None:
    (tmp_path / "request").write_bytes(pickle.dumps(REQUEST))
    code = "import pickle, pathlib, sys;print(pickle.loads(pathlib.Path(sys.argv[1]).read_bytes()).key(sys.argv[2]))"
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "request"), FINGERPRINT], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == REQUEST.key(FINGERPRINT)


def test_a_key_survives_parquet(tmp_path: Path) -> None:
    REQUEST.phonemes.to_parquet(tmp_path / "p")
    REQUEST.features.to_parquet(tmp_path / "f")
    back = replace(REQUEST, phonemes=pd.read_parquet(tmp_path / "p"), features=pd.read_parquet(tmp_path / "f"))
    assert back.key(FINGERPRINT) == REQUEST.key(FINGERPRINT)


def test_tables_without_rows_have_a_key() -> None:
    silent = replace(REQUEST, phonemes=REQUEST.phonemes.head(0))
    assert silent.key(FINGERPRINT) != REQUEST.key(FINGERPRINT)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": FrameSpan(3, 3)},
        {"fps": Fraction(0)},
        {"fps": Fraction(-25)},
        {"width_px": 0},
        {"height_px": -2},
    ],
)
def test_what_is_no_chunk(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a chunk needs frames, a rate and a size"):
        replace(REQUEST, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("start", [201, -1])
def test_a_chunk_lies_in_its_segment(start: int) -> None:
    with pytest.raises(ValueError, match="lies in its segment"):
        replace(REQUEST, segment_start_frame=start)


@pytest.mark.parametrize("column", PHONEME_COLUMNS)
def test_phoneme_columns_are_needed(column: str) -> None:
    with pytest.raises(ValueError, match=f"missing \\['{column}'\\]"):
        replace(REQUEST, phonemes=REQUEST.phonemes.drop(columns=column))


@pytest.mark.parametrize("column", FEATURE_COLUMNS)
def test_feature_columns_are_needed(column: str) -> None:
    with pytest.raises(ValueError, match=f"missing \\['{column}'\\]"):
        replace(REQUEST, features=REQUEST.features.drop(columns=column))
