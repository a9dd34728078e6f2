"""Good videos broken on purpose, one defect each.

Belongs here: a video in memory, the defects, writing a file that keeps them.
Does not belong here: judging (s2v_pipeline.video.gate), counting (gate).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.faces.landmarker import FaceLandmarker

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Film:
    """A video in memory.

    Attributes:
        frames: (n, h, w, 3) uint8 RGB.
        fps: of the file.
        sound: (channels, m) float32.
        rate_hz: of the sound.
        delay_s: by which the sound's track starts late in the file.
        codec, pixel_format, crf: of the picture.
        tagged, faststart: as they should be.
        captions: text of the .vtt file beside it.
        cut_at: share of the file's bytes that is kept.
    """

    frames: Pixels
    fps: Fraction
    sound: NDArray[np.float32]
    rate_hz: int
    captions: str
    delay_s: float = 0.0
    codec: str = "libx264"
    crf: int = 18
    tagged: bool = True
    faststart: bool = True
    cut_at: float = 1.0

    @property
    def n(self) -> int:
        """Frames."""
        return len(self.frames)


@dataclass(frozen=True)
class Material:
    """What defects are made with: a film, where somebody speaks, and another person's film of the same size.

    Attributes:
        mouth: rows and columns of the mouth's surroundings.
        pauses: half-open spans of frames in which nobody speaks.
        bilabials: half-open spans of frames of P, B and M.
    """

    film: Film
    other: Film
    mouth: tuple[slice, slice]
    pauses: tuple[tuple[int, int], ...]
    bilabials: tuple[tuple[int, int], ...]


Defect = Callable[[Material], Film]


def write_film(film: Film, path: Path) -> None:
    """Write an MP4 with AAC sound, as wrong as the film is."""
    options = {"movflags": "+faststart"} if film.faststart else {}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream(film.codec, rate=film.fps)
        video.height, video.width = film.frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        if film.codec == "libx264":
            video.options = {"crf": str(film.crf), "preset": "veryfast"}
        if film.tagged:
            video.codec_context.color_primaries = 1
            video.codec_context.color_trc = 1
            video.codec_context.colorspace = 1
            video.codec_context.color_range = 1
        layout = "mono" if len(film.sound) == 1 else "stereo"
        audio = container.add_stream("aac", rate=film.rate_hz, layout=layout)
        audio.bit_rate = 160_000
        packets = []
        for index, pixels in enumerate(film.frames):
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = index, 1 / film.fps
            packets += video.encode(frame)
        packets += video.encode(None)
        shift = round(film.delay_s * film.rate_hz)
        for start in range(0, film.sound.shape[1], 1024):
            block = np.ascontiguousarray(film.sound[:, start : start + 1024])
            sound = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            sound.sample_rate, sound.pts, sound.time_base = film.rate_hz, start + shift, Fraction(1, film.rate_hz)
            packets += audio.encode(sound)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    if film.cut_at < 1:
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * film.cut_at)])


def mouth_of(frame: Pixels, landmarker: FaceLandmarker) -> tuple[slice, slice]:
    """Rows and columns around the mouth, as far as the jaw moves."""
    points = landmarker.find(frame)[0].landmarks_px
    lips = points[[61, 291, 0, 17, 152]]
    (x0, y0), (x1, y1) = lips[:, :2].min(axis=0), lips[:, :2].max(axis=0)
    wide = 0.35 * (x1 - x0)
    return slice(int(y0 - wide / 2), int(y1)), slice(int(x0 - wide), int(x1 + wide))


def _frames(change: Callable[[Pixels, Material], Pixels]) -> Defect:
    """A defect of the picture alone; `change` gets a copy of all frames."""
    return lambda material: replace(material.film, frames=change(material.film.frames.copy(), material))


def _part(frames: Pixels, start: float, stop: float) -> slice:
    return slice(int(start * len(frames)), max(int(start * len(frames)) + 1, int(stop * len(frames))))


def _each(frames: Pixels, change: Callable[[Pixels, float], Pixels]) -> Pixels:
    """`change` of each frame and its place in the film, 0 to 1."""
    return np.stack([change(frame, index / max(1, len(frames) - 1)) for index, frame in enumerate(frames)])


def _lit(frame: Pixels, gain: float, offset: float = 0.0) -> Pixels:
    return np.clip(frame * gain + offset, 0, 255).astype(np.uint8)


def _fill(start: float, stop: float, colour: tuple[int, int, int]) -> Defect:
    def change(frames: Pixels, _: Material) -> Pixels:
        frames[_part(frames, start, stop)] = colour
        return frames

    return _frames(change)


def _freeze(start: float, stop: float) -> Defect:
    def change(frames: Pixels, _: Material) -> Pixels:
        span = _part(frames, start, stop)
        frames[span] = frames[span.start]
        return frames

    return _frames(change)


def _noise(sigma: float) -> Defect:
    def change(frames: Pixels, _: Material) -> Pixels:
        rng = np.random.default_rng(1)
        return _each(frames, lambda frame, _: _lit(frame, 1.0, rng.normal(0, sigma, frame.shape)))  # type: ignore[arg-type]

    return _frames(change)


def _blocks(n_frames: int, n_blocks: int) -> Defect:
    """Macroblocks as a damaged stream leaves them: elsewhere's content in the wrong place, for a few frames."""

    def change(frames: Pixels, _: Material) -> Pixels:
        rng, first = np.random.default_rng(2), len(frames) // 2
        side = frames.shape[1] // 16
        for _block in range(n_blocks):
            y, x, v, u = rng.integers(0, 15, 4) * side
            piece = frames[first, y : y + side, x : x + side][::-1].copy()
            frames[first : first + n_frames, v : v + side, u : u + side] = 255 - piece
        return frames

    return _frames(change)


def _resized(frame: Pixels, width: float, height: float) -> Pixels:
    """The picture scaled about its middle, and cut or mirrored to its size."""
    h, w = frame.shape[:2]
    matrix = np.array([[width, 0, w / 2 * (1 - width)], [0, height, h / 2 * (1 - height)]])
    return np.asarray(cv2.warpAffine(frame, matrix, (w, h), borderMode=cv2.BORDER_REFLECT_101))


def _boxed(frame: Pixels, share: float) -> Pixels:
    h = frame.shape[0]
    bar = round(share * h)
    out = np.zeros_like(frame)
    out[bar : h - bar] = cv2.resize(frame, (frame.shape[1], h - 2 * bar))
    return out


def _shifted(frame: Pixels, dx: float, dy: float) -> Pixels:
    matrix = np.array([[1, 0, dx * frame.shape[1]], [0, 1, dy * frame.shape[0]]])
    moved = cv2.warpAffine(frame, matrix, frame.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved)


def _mouth(choose: Callable[[Material], NDArray[np.int64]]) -> Defect:
    """The mouth's surroundings of frame choose[i] in frame i, with a soft border."""

    def change(frames: Pixels, material: Material) -> Pixels:
        rows, columns = material.mouth
        mask = np.zeros(frames.shape[1:3], np.float32)
        mask[rows, columns] = 1
        mask = cv2.GaussianBlur(mask, (0, 0), frames.shape[1] / 60)[..., None]
        source = material.film.frames[choose(material)]
        for index in range(len(frames)):
            frames[index] = np.rint(frames[index] + (source[index] - frames[index].astype(np.float32)) * mask)
        return frames

    return _frames(change)


def _openest(material: Material) -> int:
    """A frame with the mouth wide open: the darkest and most changed mouth."""
    rows, columns = material.mouth
    mouths = material.film.frames[:, rows, columns].mean(axis=3)
    return int(np.argmin(np.percentile(mouths, 5, axis=(1, 2))))


def _chatter(material: Material) -> NDArray[np.int64]:
    """Speech's mouths in the pauses."""
    chosen = np.arange(material.film.n)
    talking = np.setdiff1d(chosen, np.concatenate([np.arange(a, b) for a, b in material.pauses]))
    for start, stop in material.pauses:
        chosen[start:stop] = talking[: stop - start]
    return chosen


def _open_bilabials(material: Material) -> NDArray[np.int64]:
    chosen = np.arange(material.film.n)
    for start, stop in material.bilabials:
        chosen[max(0, start - 2) : stop + 2] = _openest(material)
    return chosen


def _moved_mouths(delay_s: float) -> Defect:
    def change(material: Material) -> Film:
        film = material.film
        by = round(delay_s * film.fps)
        order = np.clip(np.arange(film.n) - by, 0, film.n - 1)
        return replace(film, frames=film.frames[order])

    return change


def _sound(change: Callable[[NDArray[np.float32], int], NDArray[np.float32]]) -> Defect:
    def defect(material: Material) -> Film:
        film = material.film
        return replace(film, sound=change(film.sound.copy(), film.rate_hz).astype(np.float32))

    return defect


def _late(sound: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    moved = np.roll(sound, n, axis=1)
    moved[:, : max(0, n)] = 0
    return moved


def _stretched(sound: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    n = sound.shape[1]
    at = np.clip(np.arange(n) * factor, 0, n - 1)
    return np.stack([np.interp(at, np.arange(n), channel) for channel in sound])


def _reordered(order: Callable[[int], NDArray[np.int64]]) -> Defect:
    return lambda material: replace(material.film, frames=material.film.frames[order(material.film.n)])


def _swap_pairs(n: int) -> NDArray[np.int64]:
    order = np.arange(n)
    middle = slice(n // 4 // 2 * 2, 3 * n // 4 // 2 * 2)
    order[middle] = order[middle].reshape(-1, 2)[:, ::-1].ravel()
    return order


def _stuttering(n: int) -> NDArray[np.int64]:
    return np.asarray(np.arange(n) // 2 * 2)


def _half_swapped(n: int) -> NDArray[np.int64]:
    return np.concatenate([np.arange(n // 2, n), np.arange(n // 2)])


def _repeated_chunk(n: int) -> NDArray[np.int64]:
    order = np.arange(n)
    order[n // 2 :] = np.resize(order[: n // 2], n - n // 2)
    return order


def _other_from(start: float) -> Defect:
    def change(frames: Pixels, material: Material) -> Pixels:
        first = int(start * len(frames))
        frames[first:] = np.resize(material.other.frames, frames.shape)[first:]
        return frames

    return _frames(change)


def _morphing(frames: Pixels, material: Material) -> Pixels:
    """The face's proportions change slowly: wider eyes' part, narrower jaw."""
    del material

    def change(frame: Pixels, place: float) -> Pixels:
        h, w = frame.shape[:2]
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        squeeze = 1 + 0.28 * place * (y / h - 0.45)
        return np.asarray(
            cv2.remap(frame, (x - w / 2) * squeeze + w / 2, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        )

    return _each(frames, change)


def _two_faces(frames: Pixels, material: Material) -> Pixels:
    h, w = frames.shape[1:3]
    half = (w // 2, h // 2)
    for index in range(len(frames)):
        small = cv2.resize(frames[index], half)
        frames[index] = cv2.copyMakeBorder(
            np.hstack([small, cv2.resize(material.other.frames[0], half)]),
            h // 4,
            h - h // 2 - h // 4,
            0,
            w % 2,
            cv2.BORDER_REPLICATE,
        )
    return frames


def _without_face(frames: Pixels, material: Material) -> Pixels:
    del material
    return _each(frames, lambda frame, _: np.asarray(cv2.GaussianBlur(frame, (0, 0), frame.shape[1] / 12)))


DEFECTS: dict[str, Defect] = {
    "black throughout": _fill(0, 1, (0, 0, 0)),
    "black for one frame": _fill(0.5, 0.5, (0, 0, 0)),
    "black last fifth": _fill(0.8, 1, (0, 0, 0)),
    "white for one frame": _fill(0.5, 0.5, (255, 255, 255)),
    "green for three frames": _fill(0.5, 0.512, (0, 135, 0)),
    "nearly black": _frames(lambda frames, _: _each(frames, lambda frame, _: _lit(frame, 0.06))),
    "fades to black": _frames(
        lambda frames, _: _each(frames, lambda frame, place: _lit(frame, min(1.0, 3 * (1 - place))))
    ),
    "frozen for 1.5 s": lambda m: _freeze(0.3, 0.3 + 1.5 * float(m.film.fps) / m.film.n)(m),
    "frozen from the middle": _freeze(0.5, 1),
    "frozen throughout": _freeze(0, 1),
    "every frame twice": _reordered(_stuttering),
    "frames in swapped pairs": _reordered(_swap_pairs),
    "halves swapped": _reordered(_half_swapped),
    "first half repeated": _reordered(_repeated_chunk),
    "backwards": _reordered(lambda n: np.arange(n)[::-1]),
    "one damaged block": _blocks(3, 1),
    "damaged blocks": _blocks(5, 12),
    "noise frame": _frames(
        lambda frames, _: np.where(
            (np.arange(len(frames)) == len(frames) // 2)[:, None, None, None],
            np.random.default_rng(3).integers(0, 256, frames.shape[1:], np.uint8),
            frames,
        )
    ),
    "noise, sigma 8": _noise(8),
    "noise, sigma 20": _noise(20),
    "16 levels a channel": _frames(lambda frames, _: frames // 16 * 16 + 8),
    "32 levels a channel": _frames(lambda frames, _: frames // 8 * 8 + 4),
    "letterbox of 12 %": _frames(lambda frames, _: _each(frames, lambda frame, _: _boxed(frame, 0.12))),
    "letterbox of 4 %": _frames(lambda frames, _: _each(frames, lambda frame, _: _boxed(frame, 0.04))),
    "upside down": _frames(lambda frames, _: frames[:, ::-1]),
    "mirrored": _frames(lambda frames, _: frames[:, :, ::-1]),
    "red and blue swapped": _frames(lambda frames, _: frames[..., ::-1]),
    "grey": _frames(lambda frames, _: np.repeat(frames.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)),
    "blurred": _frames(
        lambda frames, _: _each(
            frames, lambda frame, _: np.asarray(cv2.GaussianBlur(frame, (0, 0), frame.shape[1] / 160))
        )
    ),
    "stretched by 15 %": _frames(lambda frames, _: _each(frames, lambda frame, _: _resized(frame, 1.15, 1.0))),
    "colours drift": _frames(
        lambda frames, _: _each(frames, lambda frame, place: _lit(frame, 1.0, np.array([12, 0, -12]) * place))
    ),  # type: ignore[arg-type]
    "grows darker": _frames(lambda frames, _: _each(frames, lambda frame, place: _lit(frame, 1 - 0.15 * place))),
    "brighter from the middle": _frames(
        lambda frames, _: _each(frames, lambda frame, place: _lit(frame, 1.1 if place > 0.5 else 1))
    ),
    "flickers by 4 %": lambda m: replace(
        m.film, frames=np.stack([_lit(frame, 1 + 0.04 * (-1) ** i) for i, frame in enumerate(m.film.frames)])
    ),
    "jumps by 6 % of the width": _frames(
        lambda frames, _: _each(frames, lambda frame, place: _shifted(frame, 0.06, 0.0) if place > 0.5 else frame)
    ),
    "jumps by 2 % of the width": _frames(
        lambda frames, _: _each(frames, lambda frame, place: _shifted(frame, 0.02, 0.0) if place > 0.5 else frame)
    ),
    "trembles by 1 % of the width": lambda m: replace(
        m.film, frames=np.stack([_shifted(frame, 0.01 * (-1) ** i, 0) for i, frame in enumerate(m.film.frames)])
    ),
    "another person throughout": _other_from(0),
    "another person from the middle": _other_from(0.5),
    "face changes its shape": _frames(_morphing),
    "two faces": _frames(_two_faces),
    "no face to be seen": _frames(_without_face),
    "lips frozen": _mouth(lambda m: np.zeros(m.film.n, np.int64)),
    "lips of other words": _mouth(lambda m: np.roll(np.arange(m.film.n), m.film.n // 2)),
    "lips move in pauses": _mouth(_chatter),
    "lips open on P, B, M": _mouth(_open_bilabials),
    "picture 120 ms late": _moved_mouths(0.12),
    "picture 160 ms early": _moved_mouths(-0.16),
    "picture 300 ms late": _moved_mouths(0.3),
    "sound 40 ms late": _sound(lambda sound, rate_hz: _late(sound, rate_hz * 40 // 1000)),
    "sound 1 % too slow": _sound(lambda sound, _: _stretched(sound, 0.99)),
    "sound of another recording": lambda m: replace(
        m.film, sound=np.resize(m.other.sound.mean(axis=0), m.film.sound.shape).astype(np.float32)
    ),
    "silent": _sound(lambda sound, _: 0 * sound),
    "sound at half": _sound(lambda sound, _: 0.5 * sound),
    "sound clipped": _sound(lambda sound, _: np.clip(6 * sound, -0.5, 0.5)),
    "last 0.3 s of the sound missing": _sound(lambda sound, rate_hz: sound[:, : -int(0.3 * rate_hz)]),
    "sound's track starts 0.2 s late": lambda m: replace(m.film, delay_s=0.2),
    "two frames short": lambda m: replace(m.film, frames=m.film.frames[:-2]),
    "three frames too many": lambda m: replace(m.film, frames=np.concatenate([m.film.frames, m.film.frames[-3:]])),
    "1 frame a second slower": lambda m: replace(m.film, fps=m.film.fps - 1),
    "another codec": lambda m: replace(m.film, codec="mpeg4"),
    "index at the end": lambda m: replace(m.film, faststart=False),
    "file cut off": lambda m: replace(m.film, cut_at=0.9),
    "captions after the end": lambda m: replace(
        m.film, captions=m.film.captions + "\n00:59:00.000 --> 00:59:01.000\nlater\n"
    ),
    "captions without times": lambda m: replace(m.film, captions="WEBVTT\n\nsome words\n"),
    "encoded at crf 45": lambda m: replace(m.film, crf=45),
}
"""Name -> what breaks a good video so."""
