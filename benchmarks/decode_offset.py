"""Does a sound stay at its time through every codec and container that the inputs stage reads?

Encodes the same signal (the sample's voice with irregular clicks and chirps in it) with PyAV, at 44.1 and 48 kHz, mono
and stereo, decodes the file as the inputs stage does, and measures by cross-correlation how far the sound has moved.

    python -m benchmarks.decode_offset
    python -m benchmarks.decode_offset --only opus --notes

Columns: rate and channels of the source, rate of the copy; offset (positive: later than in the source) in samples of
the copy and in ms; length of the copy minus length of the source, in samples of the copy; correlation at the best
offset; what the row must keep to, the offset that is asked for, and whether the row keeps to it. Exits with 1 where one
does not.

`exact` rows must keep to one sample, `tight` ones to 1 ms, in offset and in length; where a container does not state
the end of the last codec frame, the length may differ by such a frame. `heard` rows are files that do not state their
encoder's delay: a player plays the delay, and so do we, so that the offset asked for is the one that libavcodec's
decoder gives, with nothing added or taken away. In `moved` rows the sound starts later than the picture beside it, or
an edit list leaves its beginning out: the offset asked for is the one that a player shows.

Belongs here: the table of codecs and containers, the measurement.
Does not belong here: a pass or fail of the project: `s2v_pipeline_tests/inputs/test_decode_offset.py` runs some rows.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from scipy.signal import chirp, resample_poly

from s2v_pipeline.inputs.speech import SpeechInfo, copy_speech
from s2v_pipeline.setting_groups import InputSettings

VOICE = Path(__file__).parent.parent / "data" / "samples" / "astronaut" / "speech.wav"
LENGTH_S = Fraction(61_237, 16_000)  # no whole number of any codec's frames
MARKS_S = (0.137, 0.411, 0.873, 1.532, 1.978, 2.711, 3.459)  # irregular, so that no other lag fits
SECOND_CHANNEL = np.float32(0.6)
SEARCHED_S = 0.7
_FINER = 16  # steps a sample, by zero-padding the cross-spectrum
_BLOCK = 1024
_EXACT_SAMPLES = 1.0
_TIGHT_MS = 1.0

HALF_S = Fraction(1, 2)

Keeps = Literal["exact", "tight", "heard", "moved"]
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One file: its name, how it is made and what it must keep to.

    Attributes:
        codec, container: libav's names.
        encoded_hz: the only rate that the codec takes; None for the source's.
        with_picture: whether a picture track that starts at zero stands beside the sound.
        later_s: added to the sound's timestamps.
        cut_s: what the edit list is made to leave out of the beginning, beyond the encoder's delay.
        codec_frame: samples by which the length may differ, where the container does not state the end exactly.
        change: done to the file's bytes.
        channels: what the codec's encoder takes.
    """

    name: str
    codec: str
    container: str
    keeps: Keeps
    options: dict[str, str] = field(default_factory=dict)
    encoded_hz: int | None = None
    with_picture: bool = False
    later_s: Fraction = Fraction(0)
    cut_s: Fraction = Fraction(0)
    codec_frame: int = 0
    change: Callable[[bytes], bytes] | None = None
    channels: tuple[int, ...] = (1, 2)


def without_first_mp3_frame(content: bytes) -> bytes:
    """An mp3 whose header frame, the one with Xing or Info, is cut off, as streaming servers do."""
    mark = max(content.find(b"Xing"), content.find(b"Info"))
    start = content.rfind(b"\xff\xfb", 0, mark)
    following = content.find(content[start : start + 2], mark)
    return content[following:]


def with_later_edit(content: bytes, cut_s: Fraction, rate_hz: int) -> bytes:
    """An MP4 whose sound track's edit list (ISO/IEC 14496-12, 8.6.6; one entry) begins so much later."""
    entry = content.index(b"elst") + 12  # behind the name, version and flags, and the number of entries
    assert content[entry - 8 : entry] == struct.pack(">II", 0, 1)
    length_ms, media_time = struct.unpack_from(">Ii", content, entry)
    edit = struct.pack(">Ii", length_ms - round(cut_s * 1000), media_time + round(cut_s * rate_hz))
    return content[:entry] + edit + content[entry + 8 :]


CASES = (
    Case("a.wav", "pcm_s16le", "wav", "exact"),
    Case("f32.wav", "pcm_f32le", "wav", "exact"),
    Case("a.w64", "pcm_s16le", "w64", "exact"),
    Case("a.aiff", "pcm_s16be", "aiff", "exact"),
    Case("a.caf", "pcm_s16be", "caf", "exact"),
    Case("a.flac", "flac", "flac", "exact"),
    Case("flac.ogg", "flac", "ogg", "exact"),
    Case("flac.mka", "flac", "matroska", "exact"),
    Case("alac.m4a", "alac", "ipod", "exact"),
    Case("alac.caf", "alac", "caf", "exact"),
    Case("pcm.mov", "pcm_s16le", "mov", "exact"),
    Case("pcm.mkv", "pcm_s16le", "matroska", "exact"),
    Case("pcm.avi", "pcm_s16le", "avi", "exact"),
    Case("a.mp3", "libmp3lame", "mp3", "tight"),
    Case("plain.mp3", "libmp3lame", "mp3", "heard", options={"write_xing": "0"}),
    Case("stripped.mp3", "libmp3lame", "mp3", "heard", change=without_first_mp3_frame),
    Case("mp3.avi", "libmp3lame", "avi", "heard"),
    Case("mp3.mkv", "libmp3lame", "matroska", "tight"),
    Case("mp3.mp4", "libmp3lame", "mp4", "tight"),
    Case("aac.m4a", "aac", "ipod", "tight"),
    Case("aac.mp4", "aac", "mp4", "tight"),
    Case("fast.mp4", "aac", "mp4", "tight", options={"movflags": "+faststart"}),
    Case("frag.mp4", "aac", "mp4", "tight", {"movflags": "+frag_keyframe+empty_moov+delay_moov"}, codec_frame=1024),
    Case("aac.mov", "aac", "mov", "tight"),
    Case("aac.mkv", "aac", "matroska", "tight", codec_frame=1024),
    Case("a.aac", "aac", "adts", "heard"),
    Case("a.opus", "libopus", "opus", "tight", encoded_hz=48_000),
    Case("opus.ogg", "libopus", "ogg", "tight", encoded_hz=48_000),
    Case("opus.webm", "libopus", "webm", "tight", encoded_hz=48_000),
    Case("opus.mka", "libopus", "matroska", "tight", encoded_hz=48_000),
    Case("opus.mp4", "libopus", "mp4", "tight", encoded_hz=48_000),
    Case("vorbis.ogg", "vorbis", "ogg", "tight", codec_frame=64, channels=(2,)),
    Case("vorbis.webm", "vorbis", "webm", "tight", codec_frame=64, channels=(2,)),
    Case("a.amr", "libopencore_amrnb", "amr", "heard", encoded_hz=8_000, channels=(1,)),
    Case("amr.3gp", "libopencore_amrnb", "3gp", "heard", encoded_hz=8_000, channels=(1,)),
    Case("a.wma", "wmav2", "asf", "heard"),
    Case("ac3.mkv", "ac3", "matroska", "tight", codec_frame=1536),
    Case("ac3.mp4", "ac3", "mp4", "tight", codec_frame=1536),
    Case("video.mp4", "aac", "mp4", "tight", with_picture=True),
    Case("video.mov", "aac", "mov", "tight", with_picture=True),
    Case("video.mkv", "aac", "matroska", "tight", with_picture=True, codec_frame=1024),
    Case("video.webm", "libopus", "webm", "tight", encoded_hz=48_000, with_picture=True),
    Case("later.mp4", "aac", "mp4", "moved", with_picture=True, later_s=HALF_S),
    Case("later.mkv", "aac", "matroska", "moved", with_picture=True, later_s=HALF_S, codec_frame=1024),
    Case("later.webm", "libopus", "webm", "moved", encoded_hz=48_000, with_picture=True, later_s=HALF_S),
    Case("edited.m4a", "aac", "ipod", "moved", cut_s=Fraction(1, 10)),
    Case("edited.mov", "pcm_s16le", "mov", "moved", cut_s=Fraction(1, 10)),
    Case("laterpcm.mov", "pcm_s16le", "mov", "moved", with_picture=True, later_s=HALF_S),
)


@cache
def voice_with_marks(rate_hz: int) -> Samples:
    """(n,) float32: the sample's voice at `rate_hz`, with a click or a chirp at each of MARKS_S."""
    with av.open(str(VOICE)) as container:
        voice = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)]) / 32768
    samples = 0.5 * resample_poly(voice[: int(LENGTH_S * 16_000)], rate_hz // 100, 160)
    samples = np.resize(samples, round(LENGTH_S * rate_hz))
    for index, mark_s in enumerate(MARKS_S):
        first = round(mark_s * rate_hz)
        if index % 2:
            time_s = np.arange(round(0.03 * rate_hz)) / rate_hz
            mark = chirp(time_s, 500, 0.03, 3000) * np.hanning(time_s.size)
        else:
            mark = np.hanning(rate_hz // 1000)  # 1 ms: within what an 8 kHz codec can carry
        samples[first : first + mark.size] += 0.4 * mark
    return np.asarray(samples, np.float32)


def encode(path: Path, case: Case, samples: Samples, rate_hz: int) -> Path:
    """(channels, n) float32 in a file of the case's kind."""
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(str(path), "w", format=case.container, options=case.options) as output:
        picture = _picture(output, float(LENGTH_S)) if case.with_picture else []
        stream = output.add_stream(case.codec, rate=rate_hz, layout=layout)
        if case.codec != "vorbis":
            stream.bit_rate = 12_200 if case.codec == "libopencore_amrnb" else 128_000
        else:
            stream.codec_context.options = {"strict": "experimental"}
        resampler = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate_hz)
        output.start_encoding()
        for packet in _interleaved(picture, _packets(stream, resampler, samples, layout, rate_hz, case.later_s)):
            output.mux(packet)
    if case.cut_s:
        path.write_bytes(with_later_edit(path.read_bytes(), case.cut_s, rate_hz))
    if case.change is not None:
        path.write_bytes(case.change(path.read_bytes()))
    return path


def _packets(
    stream: av.AudioStream,
    resampler: av.AudioResampler,
    samples: Samples,
    layout: str,
    rate_hz: int,
    later_s: Fraction,
) -> Iterator[av.Packet]:
    later = round(later_s * rate_hz)
    for first in range(0, samples.shape[1], _BLOCK):
        block = np.ascontiguousarray(samples[:, first : first + _BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), first + later
        for converted in resampler.resample(frame):
            yield from stream.encode(converted)
    yield from stream.encode(None)


def _picture(output: av.container.OutputContainer, length_s: float) -> list[av.Packet]:
    codec = "libvpx" if output.format.name == "webm" else "mpeg4"
    stream = output.add_stream(codec, rate=25)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    packets = []
    for index in range(int(length_s * 25)):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index % 256, np.uint8), format="rgb24")
        frame.pts = index
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _interleaved(picture: list[av.Packet], sound: Iterator[av.Packet]) -> Iterator[av.Packet]:
    waiting = iter(picture)
    following = next(waiting, None)
    for packet in sound:
        while (
            following is not None and (following.dts or 0) * following.time_base <= (packet.dts or 0) * packet.time_base
        ):
            yield following
            following = next(waiting, None)
        yield packet
    if following is not None:
        yield following
    yield from waiting


def _time_s(packet: av.Packet) -> Fraction:
    return (packet.dts or 0) * Fraction(packet.time_base or 0)


def offset_samples(found: Samples, source: Samples, rate_hz: int) -> tuple[float, float]:
    """(how much later the sound is in `found`, in samples with fractions; correlation there, 0..1), (n,) each."""
    n = 1 << (found.size + source.size).bit_length()
    cross = np.fft.rfft(found, n) * np.conj(np.fft.rfft(source, n))
    fine = np.fft.irfft(cross, n * _FINER) * _FINER
    reach = round(SEARCHED_S * rate_hz) * _FINER
    near = np.concatenate([fine[-reach:], fine[: reach + 1]])
    best = int(near.argmax())
    scale = float(np.sqrt(np.square(found, dtype=np.float64).sum() * np.square(source, dtype=np.float64).sum()))
    return (best - reach) / _FINER, float(near[best]) / scale


@dataclass(frozen=True)
class Row:
    """What came of one file."""

    case: Case
    source_hz: int
    channels: int
    info: SpeechInfo
    offset: float
    expected: float
    longer: int
    correlation: float

    @property
    def is_kept(self) -> bool:
        """Whether offset and length are within what the case must keep to."""
        moved = abs(self.offset - self.expected)
        ms = self.info.rate_hz / 1000
        if self.case.keeps == "exact":
            return moved <= _EXACT_SAMPLES and abs(self.longer) <= _EXACT_SAMPLES
        if self.case.keeps == "heard":
            return moved <= _TIGHT_MS * ms
        length_slack = max(_TIGHT_MS * ms, self.case.codec_frame)
        return moved <= _TIGHT_MS * ms and abs(self.longer - self.expected) <= length_slack

    def text(self) -> str:
        """The row as it is printed."""
        ms = self.info.rate_hz / 1000
        return (
            f"{self.case.name:14} {self.case.codec:17} {self.source_hz:6} {self.channels} {self.info.rate_hz:6} "
            f"{self.offset:10.2f} {self.offset / ms:9.3f} {self.longer:7d} {self.correlation:6.3f} "
            f"{self.case.keeps:5} {self.expected / ms:8.2f} {'ok' if self.is_kept else 'BEYOND'}"
        )


def measure(case: Case, source_hz: int, channels: int, folder: Path) -> Row:
    """Make, decode and compare one file."""
    encoded_hz = case.encoded_hz or source_hz
    mono = voice_with_marks(encoded_hz)
    samples = np.stack([mono, SECOND_CHANNEL * mono])[:channels]
    path = encode(folder / case.name, case, samples, encoded_hz)
    copy = folder / "copy.flac"
    info = copy_speech(path, copy, InputSettings())
    found = read_first_channel(copy)
    source = voice_with_marks(info.rate_hz)
    offset, correlation = offset_samples(found, source, info.rate_hz)
    expected = float(case.later_s - case.cut_s) * info.rate_hz
    if case.keeps == "heard":
        expected = offset_samples(plainly_decoded(path), voice_with_marks(encoded_hz), encoded_hz)[0]
        expected *= info.rate_hz / encoded_hz
    longer = found.size - round(LENGTH_S * info.rate_hz)
    return Row(case, source_hz, channels, info, offset, expected, longer, correlation)


def plainly_decoded(path: Path) -> Samples:
    """(n,) float32 of the first channel: what libavcodec gives, frame after frame."""
    resampler = av.AudioResampler(format="fltp")
    with av.open(str(path)) as container:
        blocks = [each.to_ndarray()[0] for frame in container.decode(audio=0) for each in resampler.resample(frame)]
    return np.concatenate(blocks)


def read_first_channel(path: Path) -> Samples:
    """(n,) float32 of a FLAC file."""
    with av.open(str(path)) as container:
        channels = container.streams.audio[0].channels
        blocks = [frame.to_ndarray().reshape(-1, channels)[:, 0] for frame in container.decode(audio=0)]
    joined = np.concatenate(blocks)
    return np.asarray(joined / -float(np.iinfo(joined.dtype).min), np.float32)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="only files or codecs with this in their name")
    parser.add_argument("--notes", action="store_true", help="print what the inputs stage says of each file")
    arguments = parser.parse_args()
    print(
        f"{'file':14} {'codec':17} {'source':>6} c {'copy':>6} {'samples':>10} {'ms':>9} {'longer':>7} {'corr':>6} "
        f"{'keeps':5} {'ms asked':>8}"
    )
    n_beyond = 0
    with tempfile.TemporaryDirectory() as name:
        for case in CASES:
            if arguments.only not in case.name and arguments.only not in case.codec:
                continue
            for source_hz in (44_100, 48_000) if case.encoded_hz is None else (case.encoded_hz,):
                for channels in case.channels:
                    row = measure(case, source_hz, channels, Path(name))
                    print(row.text(), flush=True)
                    if arguments.notes:
                        print(*(f"    {note}" for note in row.info.notes), sep="\n")
                    n_beyond += not row.is_kept
    print(f"{n_beyond} rows beyond what they must keep to")
    return 1 if n_beyond else 0


if __name__ == "__main__":
    sys.exit(main())
