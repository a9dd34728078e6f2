"""The picture of a finished video in numbers, frame by frame.

Belongs here: decoding in one pass, what is kept of each frame, the track as a value.
Does not belong here: what the numbers mean (picture_faults), faces (face_track), limits.

One frame is held at a time; what is kept is less than 1 KB a frame whatever the picture's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.frames import ShownFrame, iter_frames
from s2v_pipeline.video.probe import probe_video

SMALL_PX = 96  # averages away noise of the encoder, keeps a mouth
BLOCKS = 12  # a side: a block of a face-framed portrait is as large as an eye
LOOKED_AT_EVERY_S = 0.4  # for what does not come and go within a few frames: banding, bars, sharpness
SIDES = ("top", "bottom", "left", "right")
_FLAT = 3.0  # standard deviation of luma along a row up to which it is one colour, after lossy encoding
_BAR_STEP = 3.0  # luma by which neighbouring rows of a bar may differ
_COMB_LEVELS = 5  # luma levels on each side that a level's count is compared with
_SHARPNESS_PX = 256  # of the longer side, at which pictures of different sizes are compared

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PictureTrack:
    """What a video's frames look like; n frames, of which k were looked at in full.

    Attributes:
        fps: frames a second.
        luma: (n,) float32, mean of the frame, 0-255.
        spread: (n,) float32, standard deviation over the frame at SMALL_PX.
        colour: (n, 3) float32, mean red, green and blue.
        change: (n, BLOCKS**2) float32, mean absolute difference of each block from the frame before; 0 for the first.
        undone: (n,) float32, of the same between a frame and the one before the last, mean over the picture.
        likeness: (n,) float32, correlation of the frame's RGB at SMALL_PX with the reference picture's.
        looked_at: (k,) int64, frames looked at in full.
        bars: (k, 4) float32, share of the picture that is one flat colour from each of SIDES inwards.
        comb: (k,) float32, share of luma levels that are nearly unused between used ones.
        sharpness: (k,) float32, RMS of the Laplacian at a common size.
        grain: (k,) float32, standard deviation of noise, robustly, at full size.

    Raises:
        ValueError: arrays of other shapes or dtypes.
    """

    fps: Fraction
    luma: Floats
    spread: Floats
    colour: Floats
    change: Floats
    undone: Floats
    likeness: Floats
    looked_at: NDArray[np.int64]
    bars: Floats
    comb: Floats
    sharpness: Floats
    grain: Floats

    def __post_init__(self) -> None:
        n, k = len(self.luma), len(self.looked_at)
        shapes = {
            "luma": (n,),
            "spread": (n,),
            "colour": (n, 3),
            "change": (n, BLOCKS**2),
            "undone": (n,),
            "likeness": (n,),
            "bars": (k, len(SIDES)),
            "comb": (k,),
            "sharpness": (k,),
            "grain": (k,),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} is float32 {shape}; got {array.dtype} {array.shape}")


@dataclass(frozen=True, eq=False)
class PictureLook:
    """One picture in full: what PictureTrack holds of frames looked at; see there."""

    bars: tuple[float, float, float, float]
    comb: float
    sharpness: float
    grain: float


def track_picture(video: Path, reference: NDArray[np.uint8]) -> PictureTrack:
    """Decode all frames of a file.

    Args:
        video: an MP4.
        reference: (h, w, 3) uint8 RGB, the portrait as framed for the video.

    Raises:
        MediaError: not a readable MP4 with one video stream and frames.
    """
    tracker = PictureTracker(reference, probe_video(video).fps)
    for shown in iter_frames(video):
        tracker.add(shown)
    return tracker.track()


class PictureTracker:
    """Takes frames one by one, so that others can look at the same decoded frames.

    Args:
        reference: as in `track_picture`.
        fps: of the video.
    """

    def __init__(self, reference: NDArray[np.uint8], fps: Fraction) -> None:
        self._fps = fps
        self._every = max(1, round(LOOKED_AT_EVERY_S * float(fps)))
        self._model = _standardised(small_picture(reference))
        self._rows: list[tuple[float, float, float, float]] = []
        self._colours: list[Floats] = []
        self._changes: list[Floats] = []
        self._looks: list[PictureLook] = []
        self._looked_at: list[int] = []
        self._before: list[Floats] = []

    def add(self, shown: ShownFrame) -> None:
        """Measure the next frame."""
        small = small_picture(shown.pixels)
        luma = small @ _LUMA
        last = self._before[-1] if self._before else luma
        undone = float(np.abs(luma - self._before[-2]).mean()) if len(self._before) > 1 else 0.0
        likeness = float((_standardised(small) * self._model).mean())
        self._rows.append((float(luma.mean()), float(luma.std()), undone, likeness))
        self._colours.append(np.asarray(small.mean(axis=(0, 1)), np.float32))
        self._changes.append(_blocks(np.abs(luma - last)))
        self._before = [*self._before[-1:], luma]
        if shown.index % self._every == 0:
            self._looks.append(look_at(shown.pixels))
            self._looked_at.append(shown.index)

    def track(self) -> PictureTrack:
        """What was measured.

        Raises:
            MediaError: there was no frame.
        """
        if not self._rows:
            raise MediaError("the video must hold frames", got="none", cure="Make the video again.")
        series, looks = np.array(self._rows, np.float32), self._looks
        return PictureTrack(
            fps=self._fps,
            luma=series[:, 0],
            spread=series[:, 1],
            colour=np.array(self._colours, np.float32),
            change=np.array(self._changes, np.float32),
            undone=series[:, 2],
            likeness=series[:, 3],
            looked_at=np.array(self._looked_at, np.int64),
            bars=np.array([look.bars for look in looks], np.float32),
            comb=np.array([look.comb for look in looks], np.float32),
            sharpness=np.array([look.sharpness for look in looks], np.float32),
            grain=np.array([look.grain for look in looks], np.float32),
        )


def small_picture(pixels: NDArray[np.uint8]) -> Floats:
    """(SMALL_PX, SMALL_PX, 3) float32, averaged over areas."""
    small = cv2.resize(pixels, (SMALL_PX, SMALL_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def look_at(pixels: NDArray[np.uint8]) -> PictureLook:
    """Measure one picture in full."""
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
    bars = (_bar(luma), _bar(luma[::-1]), _bar(luma.T), _bar(luma.T[::-1]))
    scale = _SHARPNESS_PX / max(luma.shape)
    size = (max(8, round(luma.shape[1] * scale)), max(8, round(luma.shape[0] * scale)))
    level = cv2.resize(luma, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    sharpness = float(np.sqrt(np.mean(np.square(cv2.Laplacian(level, cv2.CV_32F)))))
    return PictureLook(bars, _comb(luma), sharpness, _grain(luma))


_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709


def _standardised(small: Floats) -> Floats:
    centred = small - small.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-3), np.float32)


def _blocks(difference: Floats) -> Floats:
    side = SMALL_PX // BLOCKS
    return np.asarray(difference.reshape(BLOCKS, side, BLOCKS, side).mean(axis=(1, 3)).ravel(), np.float32)


def _bar(luma: Floats) -> float:
    """Share of rows from the top that are one flat colour, the same in all."""
    flat = luma.std(axis=1) <= _FLAT
    means = luma.mean(axis=1)
    same = flat & (np.abs(means - means[0]) <= _BAR_STEP)
    return float(np.argmin(same) / len(same)) if not same.all() else 1.0


def _comb(luma: Floats) -> float:
    """Share of the levels between the 2nd and the 98th percentile with under a tenth of their neighbourhood's count."""
    counts = np.bincount(np.clip(luma, 0, 255).astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    low, high = np.searchsorted(np.cumsum(counts) / counts.sum(), (0.02, 0.98))
    if high - low < 2 * _COMB_LEVELS:
        return 0.0
    kernel = np.ones(2 * _COMB_LEVELS + 1) / (2 * _COMB_LEVELS + 1)
    around = np.convolve(counts, kernel, mode="same")[low : high + 1]
    return float(np.mean(counts[low : high + 1] < 0.1 * around))


def _grain(luma: Floats) -> float:
    """Noise by the median of a difference operator that straight edges and slopes leave at zero.

    J. Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64, 1996; the median in
    place of the mean keeps texture out.
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    answer = np.abs(cv2.filter2D(luma, cv2.CV_32F, kernel))
    # The operator's norm is 6; the median of a normal deviate's absolute value is 0.6745 of its deviation.
    return float(np.median(answer) / (6 * 0.6745))
