"""The sound of a video as a file of its own.

Belongs here: writing and checking the .m4a. Does not belong here: sound beside a picture (mux), AAC itself (sound).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.boxes import read_movie_layout
from s2v_pipeline.video.sound import SpeechTrack, add_sound_stream, delivered_format, flac_format


def write_audio_file(speech: Path, path: Path, *, kbps: int, channels: str, metadata: Mapping[str, str]) -> None:
    """Encode the speech to AAC-LC in an .m4a, its index first, its length the speech's to the sample.

    Args:
        speech: FLAC of one or two channels.
        path: the file to write.
        kbps: bit rate.
        channels: "source", "mono" or "stereo".
        metadata: tags such as title.

    Raises:
        MediaError: damaged speech, an encoder failure, or a written file of another length.
    """
    source = flac_format(speech)
    sound = delivered_format(source, "aac", channels)
    options = {"movflags": "+faststart", "movie_timescale": str(sound.rate_hz)}
    try:
        with av.open(str(path.resolve()), "w", format="ipod", container_options=options) as container:
            container.metadata.update(metadata)
            track = SpeechTrack(speech, add_sound_stream(container, sound, kbps))
            with closing(track.packets()) as packets:
                for packet in packets:
                    container.mux(packet)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(
            f"the sound must be written to {path.name}",
            got=f"{type(error).__name__}: {error}",
            cure="Check the free disk space and that the folder can be written.",
        ) from error
    edit = read_movie_layout(path).track("audio")
    speech_s = Fraction(track.n_samples, source.rate_hz)
    if edit is None or edit.start_s != 0 or abs(edit.duration_s - speech_s) > Fraction(1, sound.rate_hz):
        raise MediaError(
            f"{path.name} must start at 0 and last {speech_s} s",
            got="no sound" if edit is None else f"{edit.start_s} s, {edit.duration_s} s",
            cure="Materialise final_videos for this partition again.",
        )
