"""Clips one after another as one stream of packets, copied, never encoded again.

Belongs here: shifting packets to their place in the video, refusing clips that do not fit together.
Does not belong here: sound, writing the container (video.mux), encoding (clips.encode).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from av.packet import Packet
from av.video.stream import VideoStream

from s2v_pipeline.clips.container import only_video_stream, open_mp4
from s2v_pipeline.clips.probe import PictureFormat, picture_format
from s2v_pipeline.errors import MediaError

_REMAKE = "Materialise rendered_clips for this partition again."


def stitched_packets(
    clips: Sequence[Path], frame_counts: Sequence[int], *, fps: Fraction, picture: PictureFormat
) -> Generator[Packet[VideoStream]]:
    """Every clip's packets in order, pts and dts counted from the video's first frame; one clip is open at a time.

    Args:
        clips: the files in order.
        frame_counts: frames of each, as planned.
        fps: frames a second.
        picture: the format that every clip must have.

    Raises:
        MediaError: a clip of another format or number of frames, or one that does not start with a key frame, is
            reordered, or is not at the frame rate.
    """
    frame_ticks = ticks_per_frame(fps, picture.time_base)
    start_frame = 0
    for clip, n_frames in zip(clips, frame_counts, strict=True):
        yield from _clip_packets(clip, n_frames, start_frame, frame_ticks, picture)
        start_frame += n_frames


def ticks_per_frame(fps: Fraction, time_base: Fraction) -> int:
    """Length of a frame in ticks.

    Raises:
        MediaError: the clock cannot count the frame rate exactly.
    """
    ticks = 1 / (fps * time_base)
    if ticks.denominator != 1:
        raise MediaError(
            f"a clip's clock must count frames of 1/{fps} s exactly", got=f"ticks of {time_base} s", cure=_REMAKE
        )
    return int(ticks)


def _clip_packets(
    clip: Path, n_frames: int, start_frame: int, frame_ticks: int, picture: PictureFormat
) -> Iterator[Packet[VideoStream]]:
    with open_mp4(clip) as container:
        stream = only_video_stream(container, clip.name)
        _check_format(clip, picture_format(stream, clip.name), picture)
        n_read = 0
        for packet in container.demux(stream):
            if not packet.size:
                continue
            expected_tick = n_read * frame_ticks
            if packet.pts != expected_tick or packet.dts != expected_tick or (n_read == 0 and not packet.is_keyframe):
                raise MediaError(
                    f"frame {n_read} of {clip.name} must lie at tick {expected_tick}, and frame 0 be a key frame",
                    got=f"pts {packet.pts}, dts {packet.dts}, key frame {packet.is_keyframe}",
                    cure=_REMAKE,
                )
            n_read += 1
            if n_read <= n_frames:
                packet.pts = packet.dts = (start_frame * frame_ticks) + expected_tick
                packet.duration = frame_ticks
                yield packet
    if n_read != n_frames:
        raise MediaError(f"{clip.name} must hold {n_frames} frames as planned", got=f"{n_read}", cure=_REMAKE)


def _check_format(clip: Path, found: PictureFormat, expected: PictureFormat) -> None:
    if found == expected:
        return
    if (found.codec, found.width_px, found.height_px) != (expected.codec, expected.width_px, expected.height_px):
        difference = f"{found.codec} {found.width_px}x{found.height_px}"
    elif found.time_base != expected.time_base:
        difference = f"ticks of {found.time_base} s instead of {expected.time_base} s"
    else:
        difference = "other parameter sets (extradata)"
    raise MediaError(
        f"{clip.name} must have the first clip's format, {expected.codec} {expected.width_px}x{expected.height_px}",
        got=difference,
        cure=f"All clips of a video need the same settings. {_REMAKE}",
    )
