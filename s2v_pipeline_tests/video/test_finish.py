"""Clips through the stages: one encoding, exact lengths at another rate, cuts at chunks, drawn captions."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.clips.encode import encode_clip
from s2v_pipeline.clips.probe import probe_clip
from s2v_pipeline.enhance_settings import MEZZANINE_CRF, EnhanceSettings
from s2v_pipeline.errors import MediaError, SettingsError
from s2v_pipeline.media import FrameBatch
from s2v_pipeline.setting_groups import Settings, VideoSettings
from s2v_pipeline.settings import resolve_settings
from s2v_pipeline.timebase import FrameSpan, frames_for_samples
from s2v_pipeline.video.burned import BurnCaptions, caption_changes, cue_at, draw_caption, plain_text
from s2v_pipeline.video.captions import Cue
from s2v_pipeline.video.finish import finish_clips, frames_of_clips
from s2v_pipeline.video.finish_plan import PicturePlan, chunk_starts, clip_video, expected_look, finish_key, output_size
from s2v_pipeline.video.stitch import stitched_packets
from s2v_pipeline_tests.video.enhance.sequences import FPS, SIDE_PX, clean, psnr_db, shown

COUNTS = (10, 10, 6)
RATE_HZ = 16_000
N_SAMPLES = 26 * RATE_HZ // 25
PIXELS = clean(26)
VIDEO = VideoSettings(width_px=SIDE_PX, height_px=SIDE_PX)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Clips as they are made for one more encoding."""
    folder, made, start = tmp_path_factory.mktemp("clips"), [], 0
    video = clip_video(Settings(video=VIDEO, enhance=EnhanceSettings(sharpen=0.0)))
    for count in COUNTS:
        path = folder / f"{start}.mp4"
        batch = FrameBatch(PIXELS[start : start + count], FPS, start)
        span = FrameSpan(start, start + count)
        encode_clip(iter([batch]), path, frames=span, fps=FPS, width_px=SIDE_PX, height_px=SIDE_PX, settings=video)
        made.append(path)
        start += count
    return tuple(made)


def _plan(captions: BurnCaptions | None = None, **enhance: object) -> PicturePlan:
    wanted = EnhanceSettings.model_validate(enhance)
    return PicturePlan(wanted, PIXELS[0], COUNTS, FPS, N_SAMPLES, RATE_HZ, captions)


def test_without_a_stage_clips_and_keys_stay_as_they_are(clips: tuple[Path, ...], tmp_path: Path) -> None:
    done = finish_clips(clips, _plan(), tmp_path, video=VIDEO, encoder="libx264")
    assert (done.clips, done.frame_counts, done.fps, done.report) == (clips, COUNTS, FPS, {})
    assert list(tmp_path.iterdir()) == []
    assert finish_key(Settings(), "libx264", "", "") == {}
    assert clip_video(Settings()) == Settings().video


def test_clips_that_are_encoded_again_lose_next_to_nothing(clips: tuple[Path, ...]) -> None:
    read = list(frames_of_clips(clips, COUNTS, FPS))
    assert [frame.index for frame in read] == list(range(26))
    assert read[25].time_s == Fraction(1)
    assert clip_video(Settings(enhance=EnhanceSettings(deflicker=True))).crf == MEZZANINE_CRF
    # Lossless 4:2:0 has 40.8 dB of these pixels: half of the colours' resolution is all that is lost.
    assert min(psnr_db(PIXELS[frame.index], frame.pixels) for frame in read) > 40.3


def test_another_rate_and_size_are_exact_and_cut_at_chunks(clips: tuple[Path, ...], tmp_path: Path) -> None:
    plan = _plan(interpolate_fps=50, upscale=1.5, drift=True, deflicker=True, joins="blend", sharpen=0.0)
    done = finish_clips(clips, plan, tmp_path, video=VIDEO, encoder="libx264")
    assert sum(done.frame_counts) == plan.n_frames_out == frames_for_samples(N_SAMPLES, RATE_HZ, Fraction(50)) == 52
    assert done.frame_counts == (20, 20, 12)
    assert done.report["stages"] == ["drift", "deflicker", "upscale (lanczos)", "sharpen", "interpolate"]
    assert len(done.report["joins"]["joins"]) == 2
    assert done.report["drift"]["worst_levels"] < 3
    picture = probe_clip(done.clips[0]).picture
    assert (picture.width_px, picture.height_px) == (192, 192)
    packets = list(stitched_packets(done.clips, done.frame_counts, fps=done.fps, picture=picture))
    assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0, 20, 40]


def test_a_jump_is_found_across_clips_named_and_softened(
    tmp_path: Path, clips: tuple[Path, ...], caplog: pytest.LogCaptureFixture
) -> None:
    brighter = np.clip(PIXELS[10:20].astype(np.int16) + 8, 0, 255).astype(np.uint8)
    path = tmp_path / "jumping.mp4"
    batches = iter([FrameBatch(brighter, FPS, 10)])
    video = clip_video(Settings(video=VIDEO, enhance=EnhanceSettings(joins="blend")))
    encode_clip(batches, path, frames=FrameSpan(10, 20), fps=FPS, width_px=SIDE_PX, height_px=SIDE_PX, settings=video)
    jumping = (clips[0], path, clips[2])
    done = finish_clips(jumping, _plan(joins="blend"), tmp_path, video=VIDEO, encoder="libx264")
    assert [join["softened"] for join in done.report["joins"]["joins"]] == [True, True]
    assert "the picture jumps" in caplog.text
    named = finish_clips(jumping, _plan(joins="measure"), tmp_path, video=VIDEO, encoder="libx264")
    assert named.clips == jumping
    assert [bool(join["jumps"]) for join in named.report["joins"]["joins"]] == [True, True]


def test_a_clip_of_another_length_is_refused(clips: tuple[Path, ...]) -> None:
    with pytest.raises(MediaError, match="9 frames as planned"):
        list(frames_of_clips(clips, (9, 10, 6), FPS))


def test_chunks_start_with_the_first_new_frame_that_is_theirs() -> None:
    assert chunk_starts((77, 80, 3), Fraction(16), Fraction(25)) == (0, 121, 246)
    assert chunk_starts((10, 10), FPS, FPS) == (0, 10)


def test_sizes_are_even_and_bounded() -> None:
    assert output_size(832, 448, EnhanceSettings(upscale_to_px=1080)) == (2006, 1080)
    assert output_size(512, 512, EnhanceSettings(upscale_to_px=360)) == (512, 512)
    assert output_size(512, 512, EnhanceSettings()) == (512, 512)
    with pytest.raises(SettingsError, match="4096"):
        output_size(2048, 2048, EnhanceSettings(upscale=4))


def test_the_gate_compares_with_the_portrait_as_it_is_to_look() -> None:
    look = expected_look(EnhanceSettings(saturation=0, upscale=2), PIXELS[0])
    assert look.shape == (256, 256, 3)
    assert np.ptp(look.astype(int), axis=2).max() <= 2
    np.testing.assert_array_equal(expected_look(EnhanceSettings(sharpen=0.3), PIXELS[0]), PIXELS[0])


def test_what_changes_pixels_changes_the_key() -> None:
    base = Settings(enhance=EnhanceSettings(sharpen=0.0))
    keys = [
        finish_key(base, "libx264", "", ""),
        finish_key(Settings(enhance=EnhanceSettings(sharpen=0.1)), "libx264", "", ""),
        finish_key(base, "libx265", "", ""),
        finish_key(base, "libx264", "", "label"),
        finish_key(base.model_copy(update={"video": VideoSettings(crf=20)}), "libx264", "", ""),
    ]
    assert all(one != two for index, one in enumerate(keys) for two in keys[index + 1 :])


def test_the_generator_s_own_set_lies_under_what_is_set() -> None:
    layers = {
        "flags": {"generation": {"enhance_quality": True, "generator": "wan_s2v"}, "enhance": {"deflicker": False}}
    }
    found = resolve_settings(layers)
    assert (found.settings.enhance.interpolate_fps, found.settings.enhance.deflicker) == (25, False)
    assert found.origins["enhance.joins"] == "enhance_quality"
    assert resolve_settings({}).settings.enhance == EnhanceSettings()
    wan = resolve_settings({"flags": {"generation": {"generator": "wan_s2v"}}}).settings.enhance
    assert wan == EnhanceSettings(drift=True)
    quoted = resolve_settings({"environment": {"generation": {"enhance_quality": "true"}}})
    assert quoted.settings.enhance == EnhanceSettings(sharpen=0.0)


CUES = (Cue(0, 400, "Fish &amp; <i>chips</i>"), Cue(500, 800, "and more"))


@pytest.mark.parametrize("style", ["box", "outline"])
@pytest.mark.parametrize("place", ["bottom", "top"])
def test_captions_are_drawn_where_and_when_they_belong(style: str, place: str) -> None:
    grey = np.full((20, SIDE_PX, SIDE_PX, 3), 90, np.uint8)
    stage = BurnCaptions(CUES, FPS, style, place)  # type: ignore[arg-type]
    drawn = [frame.pixels for frame in stage.apply(shown(grey))]
    changed = [bool((pixels != 90).any()) for pixels in drawn]
    assert changed == [index < 10 or 12 <= index < 20 for index in range(20)]
    rows = np.flatnonzero((drawn[0] != 90).any(axis=(1, 2)))
    assert bool(rows.min() >= SIDE_PX // 2) is (place == "bottom")
    assert drawn[0].max() > 200  # white letters
    assert drawn[0].min() < 60  # on a board, or with an outline
    assert caption_changes(CUES, 20, FPS) == (10, 12)


def test_the_text_of_a_cue_is_unescaped_and_broken_into_lines() -> None:
    assert plain_text(CUES[0]) == "Fish & chips"
    assert cue_at(CUES, Fraction(9, 20)) is None
    one, many = (draw_caption(text, 192, 192, "box", "bottom") for text in ("short", "word " * 12))
    assert many.rgb.shape[0] > one.rgb.shape[0]
    assert many.rgb.shape[1] <= 192
    with pytest.raises(SettingsError, match="burned in must be of letters"):
        draw_caption("생성", 192, 192, "box", "bottom")
