"""Each stage on its defect, on a clean sequence, and by the contract that all keep."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.timebase import frame_start_s, frames_for_samples
from s2v_pipeline.video.enhance.deflicker import Deflicker
from s2v_pipeline.video.enhance.denoise import FastDenoise, MotionDenoise, noise_level
from s2v_pipeline.video.enhance.drift import DriftCorrection, DriftSample, worst_drift
from s2v_pipeline.video.enhance.filter_graph import Filter, filtered
from s2v_pipeline.video.enhance.interpolate import Interpolate
from s2v_pipeline.video.enhance.sharpen import Sharpen
from s2v_pipeline.video.enhance.stage import Enhancement, Window, chained, sliding
from s2v_pipeline.video.enhance.tone import Tone, grey_world_gains
from s2v_pipeline.video.enhance.upscale import LanczosUpscale
from s2v_pipeline.video.frames import ShownFrame
from s2v_pipeline.video.join_repair import BlendJoins
from s2v_pipeline_tests.video.enhance.sequences import FPS, SIDE_PX, after, clean, psnr_db, shown, square_place_px

CLEAN = clean(40)
PORTRAIT = clean(1)[0]
STAGES: tuple[Enhancement, ...] = (
    FastDenoise(),
    MotionDenoise(),
    Deflicker(),
    DriftCorrection(PORTRAIT, FPS, (20,)),
    Tone(contrast=1.1, saturation=1.2),
    Sharpen(),
    LanczosUpscale(SIDE_PX * 2, SIDE_PX * 2),
    BlendJoins((20,)),
    Interpolate(FPS, FPS * 2, 40 * 640, 16000),
)
EVERY = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


def _noisy(level: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).normal(0, level, CLEAN.shape)
    return np.clip(np.rint(CLEAN + noise), 0, 255).astype(np.uint8)


def _coloured(gains: NDArray[np.float64], offsets: float | NDArray[np.float64] = 0.0) -> NDArray[np.uint8]:
    return np.clip(np.rint(CLEAN * gains + offsets), 0, 255).astype(np.uint8)


@EVERY
def test_the_same_frames_give_the_same_bytes(stage: Enhancement) -> None:
    noisy = _noisy(5)
    np.testing.assert_array_equal(after(stage, noisy), after(stage, noisy))


@EVERY
def test_frames_come_in_order_and_only_the_window_is_read_ahead(stage: Enhancement) -> None:
    n_read = 0

    def counting() -> Iterator[ShownFrame]:
        nonlocal n_read
        for frame in shown(_noisy(5)):
            n_read += 1
            yield frame

    first = next(iter(stage.apply(counting())))
    assert first.index == 0
    assert n_read <= stage.window.n_frames
    given = list(stage.apply(shown(_noisy(5))))
    assert [frame.index for frame in given] == list(range(len(given)))
    fps = Fraction(len(given), 40) * FPS
    assert [frame.time_s for frame in given] == [frame_start_s(index, fps) for index in range(len(given))]


@EVERY
def test_frames_that_come_in_are_not_changed(stage: Enhancement) -> None:
    noisy = _noisy(5)
    kept = noisy.copy()
    noisy.flags.writeable = False
    list(stage.apply(shown(noisy)))
    np.testing.assert_array_equal(noisy, kept)


def test_windows_slide_to_both_ends() -> None:
    seen = [
        (around[0].index, around[-1].index, around[position].index)
        for around, position in sliding(shown(CLEAN[:5]), Window(1, 3))
    ]
    assert seen == [(0, 2, 0), (0, 3, 1), (1, 4, 2), (2, 4, 3), (3, 4, 4)]
    with pytest.raises(ValueError, match="own frame"):
        Window(2, 0)


def test_stages_follow_each_other_and_none_is_none() -> None:
    np.testing.assert_array_equal(np.stack([f.pixels for f in chained([], shown(CLEAN))]), CLEAN)
    larger = list(chained([Tone(saturation=0.0), LanczosUpscale(64, 64)], shown(CLEAN[:3])))
    assert larger[2].pixels.shape == (64, 64, 3)
    assert np.ptp(larger[2].pixels, axis=2).max() <= 1


def test_a_filter_that_drops_frames_or_does_not_exist_is_refused() -> None:
    with pytest.raises(MediaError, match="as many frames"):
        list(filtered(shown(CLEAN[:6]), [Filter("framestep", "step=2")]))
    with pytest.raises(MediaError, match="no nosuchfilter"):
        list(filtered(shown(CLEAN[:6]), [Filter("nosuchfilter")]))
    with pytest.raises(MediaError, match="must take frames"):
        list(filtered(shown(CLEAN[:6]), [Filter("cas", "strength=7")]))


@pytest.mark.parametrize("level", [2.0, 6.0])
def test_noise_is_measured_and_taken_out(level: float) -> None:
    noisy = _noisy(level)
    assert noise_level(shown(noisy[:12])) == pytest.approx(level, rel=0.15)
    assert psnr_db(CLEAN, after(FastDenoise(), noisy)) > psnr_db(CLEAN, noisy) + 3
    assert psnr_db(CLEAN, after(MotionDenoise(), noisy)) > psnr_db(CLEAN, noisy) + 4


@pytest.mark.parametrize("stage", [FastDenoise(), MotionDenoise(), Deflicker(), BlendJoins(())])
def test_a_clean_picture_passes_as_it_is(stage: Enhancement) -> None:
    np.testing.assert_array_equal(after(stage, CLEAN), CLEAN)


def test_flicker_goes_and_lighting_stays() -> None:
    trembling = 1 + np.random.default_rng(2).normal(0, 0.03, (40, 1, 1, 1))
    flickering = _coloured(trembling)
    assert psnr_db(CLEAN, after(Deflicker(), flickering)) > psnr_db(CLEAN, flickering) + 6
    lamp = _coloured(np.where(np.arange(40) < 20, 0.75, 1.0)[:, None, None, None])
    np.testing.assert_array_equal(after(Deflicker(), lamp), lamp)
    fade = _coloured(np.linspace(1, 0.6, 40)[:, None, None, None])
    assert psnr_db(fade, after(Deflicker(), fade)) > 50


def test_drift_goes_at_the_join_and_a_clean_picture_stays() -> None:
    gains = np.where(np.arange(40)[:, None] < 20, 1.0, np.array([1.05, 0.97, 0.94]))[:, None, None, :]
    drifted = _coloured(gains, np.where(np.arange(40) < 20, 0.0, 3.0)[:, None, None, None])
    samples: list[DriftSample] = []
    corrected = after(DriftCorrection(PORTRAIT, FPS, (20,), samples.append), drifted)
    np.testing.assert_array_equal(corrected[:20], CLEAN[:20])
    assert psnr_db(CLEAN[20:], drifted[20:]) < 33
    assert psnr_db(CLEAN[20:], corrected[20:]) > 45
    worst = worst_drift(samples)
    assert worst is not None
    assert worst.index >= 20
    assert 5 < worst.levels < 20
    np.testing.assert_array_equal(after(DriftCorrection(PORTRAIT, FPS, (20,)), CLEAN), CLEAN)
    with pytest.raises(MediaError, match="frames' size"):
        list(DriftCorrection(PORTRAIT[:64], FPS).apply(shown(CLEAN)))


def test_drift_beyond_the_limits_is_said() -> None:
    samples: list[DriftSample] = []
    after(DriftCorrection(PORTRAIT, FPS, (), samples.append), _coloured(np.array(0.4)))
    assert all(sample.limited for sample in samples)


def test_tone_does_what_it_says() -> None:
    assert Tone(saturation=0).apply(shown(CLEAN[:1])).__next__().pixels.std(axis=2).max() < 1
    assert after(Tone(contrast=1.3), CLEAN[:1]).std() > 1.1 * CLEAN[:1].std()
    np.testing.assert_array_equal(after(Tone(), CLEAN[:1]), CLEAN[:1])
    cast = np.clip(CLEAN[0] * np.array([0.6, 1.0, 1.04]), 0, 255).astype(np.uint8)
    gains = grey_world_gains(cast)
    assert gains[0] == pytest.approx(1.12)
    assert all(0.88 <= gain <= 1.12 for gain in gains)
    with pytest.raises(ValueError, match="contrast"):
        Tone(contrast=5)


def test_sharpening_brings_a_blurred_picture_nearer_and_is_limited() -> None:
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.8) for frame in CLEAN[:5]]).astype(np.uint8)
    assert psnr_db(CLEAN[:5], after(Sharpen(0.6), blurred)) > psnr_db(CLEAN[:5], blurred) + 0.5
    with pytest.raises(ValueError, match="strength"):
        Sharpen(1.0)


def test_upscaling_is_nearer_the_truth_than_bilinear() -> None:
    small = np.stack([cv2.resize(f, (64, 64), interpolation=cv2.INTER_AREA) for f in CLEAN[:3]]).astype(np.uint8)
    bilinear = np.stack([cv2.resize(f, (SIDE_PX, SIDE_PX)) for f in small]).astype(np.uint8)
    assert psnr_db(CLEAN[:3], after(LanczosUpscale(SIDE_PX, SIDE_PX), small)) > psnr_db(CLEAN[:3], bilinear) + 0.5


@pytest.mark.parametrize("fps_out", [Fraction(25), Fraction(30), Fraction(50), Fraction(30000, 1001), Fraction(12)])
@pytest.mark.parametrize("n_samples", [15999, 16000, 16321])
def test_interpolation_keeps_the_sounds_length(fps_out: Fraction, n_samples: int) -> None:
    old = clean(frames_for_samples(n_samples, 16000, Fraction(16)), Fraction(16))
    stage = Interpolate(Fraction(16), fps_out, n_samples, 16000)
    new = list(stage.apply(shown(old, Fraction(16))))
    assert len(new) == frames_for_samples(n_samples, 16000, fps_out)
    assert abs(Fraction(len(new)) / fps_out - Fraction(n_samples, 16000)) <= 1 / (2 * fps_out)
    assert [frame.time_s for frame in new] == [frame_start_s(index, fps_out) for index in range(len(new))]


@pytest.mark.parametrize("fps_out", [25, 30, 50])
def test_a_moving_mark_stays_on_the_sounds_clock(fps_out: int) -> None:
    empty = clean(1)[0].copy()
    empty[50:74, 10:40] = clean(30)[29][50:74, 10:40]  # the ground under the square's first place
    old, truth = clean(20, Fraction(16)), clean(frames_for_samples(20000, 16000, Fraction(fps_out)), Fraction(fps_out))
    new = list(Interpolate(Fraction(16), Fraction(fps_out), 20000, 16000).apply(shown(old, Fraction(16))))
    late_ms = [
        1000 * (square_place_px(two, empty) - square_place_px(one.pixels, empty)) / 48.0
        for one, two in zip(new[3:-3], truth[3:-3], strict=True)
    ]
    assert abs(float(np.mean(late_ms))) < 5
    assert psnr_db(truth[3:-3], np.stack([frame.pixels for frame in new[3:-3]])) > 28


def test_interpolation_refuses_a_picture_of_another_length() -> None:
    with pytest.raises(MediaError, match="must have 16 frames"):
        list(Interpolate(Fraction(16), Fraction(25), 16000, 16000).apply(shown(CLEAN[:15], Fraction(16))))
