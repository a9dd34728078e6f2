"""The delivered video: lengths, starts, sound, container."""

from __future__ import annotations

import hashlib
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.clips.container import open_mp4
from s2v_pipeline.errors import MediaError
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.timebase import FrameSpan
from s2v_pipeline.video.audio_difference import audio_difference
from s2v_pipeline.video.frames import iter_frames
from s2v_pipeline.video.mux import assemble_video
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline_tests.video.material import SETTINGS, Made, make_video, read_number, voice, write_clip, write_flac

RATES_HZ = (8000, 16000, 22050, 44100, 48000)
FRAME_RATES = (Fraction(25), Fraction(30000, 1001), Fraction(16))
FPS = Fraction(25)


def _cases() -> list[tuple[int, int, Fraction]]:
    chosen = random.Random(7)  # noqa: S311 - reproducible lengths, not secrets
    short = [(chosen.randint(hz // 5, 2 * hz), hz, fps) for hz in RATES_HZ for fps in FRAME_RATES]
    long = [(chosen.randint(4 * hz, 6 * hz), hz, chosen.choice(FRAME_RATES)) for hz in RATES_HZ]
    return short + long


@pytest.mark.parametrize(("n_samples", "rate_hz", "fps"), _cases())
def test_any_length_starts_at_zero_and_ends_within_half_a_frame(
    tmp_path: Path, n_samples: int, rate_hz: int, fps: Fraction
) -> None:
    made = make_video(tmp_path, n_samples=n_samples, rate_hz=rate_hz, fps=fps, chunk_frames=24)
    probe = made.assembled.probe
    speech_s = Fraction(n_samples, rate_hz)

    assert probe.n_frames == made.n_frames
    assert probe.video_start_s == probe.audio_start_s == 0
    assert probe.video_duration_s == made.n_frames / fps
    assert probe.audio_duration_s == speech_s == made.assembled.speech_duration_s
    assert abs(made.assembled.video_minus_audio_s) <= Fraction(1, 2) / fps
    assert probe.faststart
    assert (probe.codec, probe.audio_codec, probe.audio_rate_hz) == ("h264", "aac", rate_hz)
    assert not made.assembled.resampled

    difference = audio_difference(made.path, made.speech)
    assert difference.lag_samples == 0
    assert difference.length_difference_s == 0
    assert difference.snr_db > 15


@pytest.mark.parametrize("rate_hz", [8000, 44100])
def test_decoded_sound_is_the_speech_to_its_last_sample(tmp_path: Path, rate_hz: int) -> None:
    """The same question as `audio_difference`, asked of plain decoding and NumPy."""
    n_samples = 2 * rate_hz + 77
    made = make_video(tmp_path, n_samples=n_samples, rate_hz=rate_hz, fps=FPS)
    with made.path.open("rb") as file, av.open(file, "r", format="mp4") as container:
        stream = container.streams.audio[0]
        assert (stream.start_time, stream.duration, stream.time_base) == (0, n_samples, Fraction(1, rate_hz))
        assert container.streams.video[0].start_time == 0
        frames = list(container.decode(stream))
    decoded = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[0].astype(np.float64)
    speech = voice(n_samples, rate_hz)[0].astype(np.float64)

    assert frames[0].pts == 0
    assert n_samples <= len(decoded) < n_samples + 1024
    for part in (slice(0, rate_hz // 2), slice(n_samples - rate_hz // 2, n_samples)):
        products = np.correlate(decoded[part], speech[part], "full")
        assert int(np.argmax(products)) - (rate_hz // 2 - 1) == 0
    tail = slice(n_samples - 200, n_samples)
    assert np.sqrt(np.mean((decoded[tail] - speech[tail]) ** 2)) < 0.2 * np.sqrt(np.mean(speech[tail] ** 2))


@pytest.mark.parametrize("fps", FRAME_RATES)
def test_clips_follow_each_other_frame_by_frame(tmp_path: Path, fps: Fraction) -> None:
    """Also with a last clip of one frame."""
    n_frames = 41
    made = make_video(tmp_path, n_samples=int(n_frames / fps * 16000), rate_hz=16000, fps=fps, chunk_frames=20)
    assert [probe_video(clip).n_frames for clip in made.clips] == [20, 20, 1]
    shown = list(iter_frames(made.path))
    assert [read_number(frame.pixels) for frame in shown] == list(range(n_frames))
    assert [frame.time_s for frame in shown] == [index / fps for index in range(n_frames)]


def test_pictures_packets_are_those_of_the_clips(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=40000, rate_hz=16000, fps=FPS, chunk_frames=25)
    assert _packet_digests(made.path) == [digest for clip in made.clips for digest in _packet_digests(clip)]


def _packet_digests(path: Path) -> list[str]:
    with open_mp4(path) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return [hashlib.sha256(packet).hexdigest() for packet in packets]


def test_picture_and_sound_are_interleaved(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=6 * 16000, rate_hz=16000, fps=FPS)
    with open_mp4(made.path) as container:
        starts = [
            (packet.stream.type, packet.pos, float(packet.dts * packet.time_base))
            for packet in container.demux()
            if packet.size and packet.dts is not None and packet.pos is not None
        ]
    latest = {"video": 0.0, "audio": 0.0}
    worst = 0.0
    for kind, _, time_s in sorted(starts, key=lambda start: start[1]):
        latest[kind] = time_s
        worst = max(worst, abs(latest["video"] - latest["audio"]))
    assert worst < 1.0


def test_stereo_stays_stereo(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=50000, rate_hz=44100, fps=FPS, channels=2)
    assert made.assembled.probe.audio_channels == 2
    assert audio_difference(made.path, made.speech).lag_samples == 0


def test_a_rate_that_aac_lacks_is_resampled_and_said(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=61234, rate_hz=50000, fps=FPS)
    difference = audio_difference(made.path, made.speech)
    assert made.assembled.resampled
    assert made.assembled.probe.audio_rate_hz == 48000
    assert difference.lag_samples == 0
    assert abs(difference.length_difference_s) <= Fraction(1, 48000)
    assert difference.snr_db > 20


def test_metadata_and_progress(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=32000, rate_hz=16000, fps=FPS, chunk_frames=20)
    seen: list[tuple[int, int]] = []
    assemble_video(
        made.clips,
        made.speech,
        tmp_path / "again.mp4",
        frame_counts=[20, 20, 10],
        fps=FPS,
        settings=SETTINGS,
        metadata={"title": "Füße & <tags>", "comment": "x"},
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 50) for done in range(1, 51)]
    with open_mp4(tmp_path / "again.mp4") as container:
        assert container.metadata["title"] == "Füße & <tags>"
        assert container.metadata["comment"] == "x"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A video of 20, 20 and 10 frames at 25 frames a second."""
    return make_video(tmp_path, n_samples=32000, rate_hz=16000, fps=FPS, chunk_frames=20)


def _assemble(
    made: Made, folder: Path, *, clips: tuple[Path, ...] | None = None, counts: tuple[int, ...] = (20, 20, 10)
) -> None:
    assemble_video(
        clips or made.clips,
        made.speech,
        folder / "refused.mp4",
        frame_counts=counts,
        fps=FPS,
        settings=SETTINGS,
        metadata={},
    )


def test_a_clip_of_other_encoder_settings_is_refused(made: Made, tmp_path: Path) -> None:
    other = VideoSettings(x264_preset="slow")
    alien = write_clip(tmp_path / "alien.mp4", FrameSpan(20, 40), FPS, settings=other)
    with pytest.raises(MediaError, match="extradata") as caught:
        _assemble(made, tmp_path, clips=(made.clips[0], alien, made.clips[2]))
    assert "alien.mp4" in caught.value.rule


def test_clips_with_more_or_fewer_frames_than_planned_are_refused(made: Made, tmp_path: Path) -> None:
    for counts in ((20, 19, 11), (20, 21, 9)):
        with pytest.raises(MediaError, match="as planned"):
            _assemble(made, tmp_path, counts=counts)


def test_a_clip_at_another_rate_is_refused(made: Made, tmp_path: Path) -> None:
    alien = write_clip(tmp_path / "alien.mp4", FrameSpan(20, 40), Fraction(30000, 1001))
    with pytest.raises(MediaError, match=r"alien\.mp4"):
        _assemble(made, tmp_path, clips=(made.clips[0], alien, made.clips[2]))


def test_a_picture_that_does_not_fit_the_speech_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="frames for the speech"):
        _assemble(made, tmp_path, clips=made.clips[:2], counts=(20, 20))


def test_no_clip_and_miscounted_clips_are_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="2 counts"):
        _assemble(made, tmp_path, counts=(20, 20))


def test_a_cut_speech_file_is_refused(made: Made, tmp_path: Path) -> None:
    made.speech.write_bytes(made.speech.read_bytes()[: made.speech.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"speech\.flac"):
        _assemble(made, tmp_path)


def test_the_shortest_speech_and_an_odd_rate_work(tmp_path: Path) -> None:
    """A rate whose exact movie clock does not fit into 32 bits gets the sound's clock."""
    fps = Fraction(999983, 40000)
    made = make_video(tmp_path, n_samples=9602, rate_hz=48000, fps=fps)
    excess_s = made.assembled.probe.video_duration_s - made.n_frames / fps
    assert 0 <= excess_s < Fraction(1, 48000)
    assert made.assembled.probe.audio_duration_s == Fraction(9602, 48000)


def test_plan_and_speech_agree_for_one_frame(tmp_path: Path) -> None:
    speech = write_flac(tmp_path / "speech.flac", voice(100, 8000), 8000)
    clip = write_clip(tmp_path / "clip.mp4", plan_chunks(1, chunk_frames=1).chunks[0], FPS)
    assembled = assemble_video(
        [clip], speech, tmp_path / "out.mp4", frame_counts=[1], fps=FPS, settings=SETTINGS, metadata={}
    )
    assert assembled.probe.n_frames == 1
    assert assembled.probe.audio_duration_s == Fraction(100, 8000)
