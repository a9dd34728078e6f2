"""The gate lets a good video pass, and says what is wrong with a broken one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.gate_settings import GateSettings
from s2v_pipeline.video.caption_faults import caption_faults
from s2v_pipeline.video.face_embedding import FaceLikeness
from s2v_pipeline.video.frames import ShownFrame, iter_frames
from s2v_pipeline.video.gate import judge
from s2v_pipeline.video.inspection import Expected, Inspection, inspect_video
from s2v_pipeline.video.picture_faults import PictureFaults, picture_faults
from s2v_pipeline.video.picture_track import PictureTracker, look_at, small_picture
from s2v_pipeline.video.quality_report import write_page, write_report
from s2v_pipeline.video.verdict import CHECKS, Measured, passed
from s2v_pipeline_tests.video.material import write_flac
from s2v_pipeline_tests.video.talking import FPS, RATE_HZ, SETTINGS, SIZE_PX, Talking, portrait

Pixels = NDArray[np.uint8]
LIMITS = GateSettings()


@pytest.fixture(scope="module")
def expected(talking: Talking, tmp_path_factory: pytest.TempPathFactory) -> Expected:
    speech = write_flac(tmp_path_factory.mktemp("gate") / "speech.flac", talking.speech.samples[None], RATE_HZ)
    return Expected(
        n_frames=len(talking.track.frames),
        fps=FPS,
        width_px=SIZE_PX,
        height_px=SIZE_PX,
        codec="h264",
        pix_fmt="yuv420p",
        speech_s=Fraction(len(talking.speech.samples), RATE_HZ),
        speech=speech,
        channels="source",
        phonemes=talking.phones,
        portrait=portrait(),
        captions=(),
        settings=SETTINGS,
    )


@pytest.fixture(scope="module")
def found(talking: Talking, expected: Expected, landmarker: FaceLandmarker) -> Inspection:
    return inspect_video(talking.path, expected, landmarker)


@pytest.fixture(scope="module")
def frames(talking: Talking) -> Pixels:
    return np.stack([shown.pixels for shown in iter_frames(talking.path)])


def failed(measured: tuple[Measured, ...]) -> set[str]:
    return {check for check in CHECKS if not passed(measured, check)}


def faults_of(frames: Pixels) -> PictureFaults:
    tracker, reference = PictureTracker(portrait(), FPS), portrait()
    for index, pixels in enumerate(frames):
        tracker.add(ShownFrame(index, Fraction(index) / FPS, pixels))
    return picture_faults(tracker.track(), look_at(reference), small_picture(reference).mean(axis=(0, 1)))


def test_a_good_video_passes_every_check(found: Inspection, expected: Expected) -> None:
    measured = judge(found, expected, LIMITS)
    assert failed(measured) == set()
    assert {measure.check for measure in measured} == set(CHECKS)
    taken = {measure.measure for measure in measured if measure.value is not None}
    assert {"opening against phones", "picture against sound, beyond doubt", "lips' movement in pauses"} <= taken


def test_a_recognition_model_is_asked_where_there_is_one(found: Inspection, expected: Expected) -> None:
    limits = LIMITS.model_copy(update={"identity_model": Path("model.onnx")})
    own, other = (
        replace(found, likeness=FaceLikeness(median=0.9, worst=worst, worst_s=1.5, frames=24)) for worst in (0.8, 0.2)
    )
    assert failed(judge(own, expected, limits)) == set()
    assert failed(judge(other, expected, limits)) == {"face_is_kept"}
    (line,) = [measure for measure in judge(other, expected, limits) if "recognition" in measure.measure]
    assert (line.value, line.at_s, line.passed) == (0.2, 1.5, False)
    assert not any("recognition" in measure.measure for measure in judge(other, expected, LIMITS))


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"n_frames": 170}, "length_is_exact"),
        ({"speech_s": Fraction(9)}, "length_is_exact"),
        ({"codec": "hevc"}, "container_is_as_ordered"),
        ({"pix_fmt": "yuv420p10le"}, "container_is_as_ordered"),
        ({"width_px": 226}, "container_is_as_ordered"),
        ({"fps": Fraction(24)}, "container_is_as_ordered"),
    ],
)
def test_what_was_ordered_is_compared(
    found: Inspection, expected: Expected, changes: dict[str, object], check: str
) -> None:
    assert failed(judge(found, replace(expected, **changes), LIMITS)) == {check}


@pytest.mark.parametrize(
    ("limit", "value", "check"),
    [
        ("least_openness", 0.999, "lips_follow_speech"),
        ("least_closures", 1.0, None),
        ("most_shape_off", 0.001, "face_is_kept"),
        ("most_jitter", 0.0001, "picture_moves"),
        ("least_likeness", 0.9999, "frames_are_whole"),
        ("least_sound_snr_db", 199.0, "sound_is_the_speech"),
        ("most_colour_drift", 0.0001, "colours_are_kept"),
    ],
)
def test_limits_are_settings(
    found: Inspection, expected: Expected, limit: str, value: float, check: str | None
) -> None:
    measured = judge(found, expected, LIMITS.model_copy(update={limit: value}))
    assert failed(measured) == ({check} if check else set())


def spoilt(frames: Pixels, index: int, value: int) -> Pixels:
    frames = frames.copy()
    frames[index] = value
    return frames


def lit(frames: Pixels, gains: NDArray[np.float64]) -> Pixels:
    return np.stack([np.clip(frame * gain, 0, 255).astype(np.uint8) for frame, gain in zip(frames, gains, strict=True)])


@pytest.mark.parametrize(
    ("spoil", "shows"),
    [
        (lambda frames: spoilt(frames, 80, 0), lambda faults: faults.empty_frames == (80,)),
        (lambda frames: spoilt(frames, 80, 255), lambda faults: faults.empty_frames == (80,)),
        (
            lambda frames: np.concatenate([frames[:80], frames[80:, :, ::-1]]),
            lambda faults: 80 in faults.jumps,
        ),
        (lambda frames: frames[:, ::-1], lambda faults: faults.likeness_least < LIMITS.least_likeness),
        (lambda frames: frames[..., ::-1], lambda faults: faults.colour_off > LIMITS.most_colour),
        (lambda frames: frames // 16 * 16, lambda faults: faults.flat_more > LIMITS.most_banding),
        (
            lambda frames: frames[np.arange(len(frames)) // 2 * 2],
            lambda faults: faults.cadence < LIMITS.least_cadence,
        ),
        (
            lambda frames: lit(frames, 1 + 0.03 * (-1.0) ** np.arange(len(frames))),
            lambda faults: faults.flicker > LIMITS.most_flicker,
        ),
        (
            lambda frames: np.pad(frames[:, 20:-20], ((0, 0), (20, 20), (0, 0), (0, 0))),
            lambda faults: faults.bar_share > LIMITS.most_bar_share,
        ),
        (
            lambda frames: lit(frames, np.linspace(1, 0.85, len(frames))),
            lambda faults: faults.drift > LIMITS.most_picture_drift,
        ),
    ],
    ids=["black", "white", "mirrored", "upside down", "red for blue", "levels", "twice", "flicker", "bars", "darker"],
)  # fmt: skip
def test_faults_of_the_picture_show(
    frames: Pixels, spoil: Callable[[Pixels], Pixels], shows: Callable[[PictureFaults], bool]
) -> None:
    assert shows(faults_of(spoil(frames)))
    assert not shows(faults_of(frames))


GOOD_SRT = "1\n00:00:00,100 --> 00:00:01,000\nIt's easy\n\n2\n00:00:01,000 --> 00:00:02,500\nto tell.\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD_SRT, None),
        (GOOD_SRT.replace("02,500", "04,500"), "after the video"),
        (GOOD_SRT.replace("01,000 -->", "00,500 -->"), "before the one before it ends"),
        (GOOD_SRT.replace("02,500", "00,900"), "not after its start"),
        ("", "has no caption"),
        ("1\n00:00:00 -> 1\nIt's easy\n", "not readable"),
    ],
)
def test_captions_are_read_as_a_player_does(tmp_path: Path, text: str, says: str | None) -> None:
    path = tmp_path / "video.srt"
    path.write_text(text, encoding="utf-8")
    faults = caption_faults((path,), Fraction(3))
    assert bool(faults) == (says is not None)
    assert says is None or says in faults[0]


def test_the_report_says_what_failed_and_shows_where(
    talking: Talking, found: Inspection, expected: Expected, tmp_path: Path
) -> None:
    measured = judge(found, replace(expected, n_frames=170), LIMITS.model_copy(update={"least_likeness": 0.9999}))
    write_report(tmp_path / "report.json", "<talking>.mp4", measured)
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["passed"] is False
    assert {check for check, verdict in document["checks"].items() if not verdict["passed"]} == {
        "length_is_exact",
        "frames_are_whole",
    }
    write_page(tmp_path / "report.html", talking.path, "<talking>.mp4", found, expected, measured)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<talking>" not in page
    assert "&lt;talking&gt;.mp4" in page
    assert "fails: length is exact, frames are whole" in page
    assert page.count("<figure>") >= 3
    assert "<svg" in page
    assert "likeness to the portrait (fails)" in page
