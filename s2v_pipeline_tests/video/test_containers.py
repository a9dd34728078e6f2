"""Every codec in every container that takes it: counts, clocks, sound, tags."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from s2v_pipeline.clips.container import open_video
from s2v_pipeline.errors import MediaError, SettingsError
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.settings import resolve_settings
from s2v_pipeline.video.audio_difference import audio_difference
from s2v_pipeline.video.ebml import cues_come_first
from s2v_pipeline.video.frames import grab_frames, iter_frames, write_contact_sheet
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline.video_settings import CODECS_OF, Codec, Container
from s2v_pipeline_tests.video.material import make_video, read_number, voice, write_flac

PAIRS = [(codec, container) for container, codecs in CODECS_OF.items() for codec in codecs]
NAMES = {"h264": "h264", "h265": "hevc", "av1": "av1", "vp9": "vp9"}


def _settings(**values: object) -> VideoSettings:
    return VideoSettings.model_validate({"width_px": 64, "height_px": 64, **values})


@pytest.mark.parametrize(("codec", "container"), PAIRS)
@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(16)])
def test_counts_starts_and_lengths_are_exact(tmp_path: Path, codec: Codec, container: Container, fps: Fraction) -> None:
    n_samples = 16077
    settings = _settings(codec=codec, container=container)
    made = make_video(tmp_path, n_samples=n_samples, rate_hz=16000, fps=fps, chunk_frames=12, settings=settings)
    probe = made.assembled.probe

    assert len(made.clips) >= 2
    assert [read_number(frame.pixels) for frame in iter_frames(made.path)] == list(range(made.n_frames))
    assert (probe.n_frames, probe.fps, probe.video_duration_s) == (made.n_frames, fps, made.n_frames / fps)
    assert probe.video_start_s == probe.audio_start_s == 0
    assert probe.audio_duration_s == Fraction(n_samples, 16000)
    assert (probe.codec, probe.audio_codec) == (NAMES[codec], "opus" if container == "webm" else "aac")
    assert (probe.color.primaries, probe.color.transfer, probe.color.matrix, probe.color.full_range) == (1, 1, 1, False)
    assert probe.faststart
    difference = audio_difference(made.path, made.speech)
    assert (difference.lag_samples, difference.length_difference_s) == (0, 0)
    assert difference.snr_db > 15


def test_pictures_can_be_grabbed_from_webm(tmp_path: Path) -> None:
    settings = _settings(codec="vp9", container="webm")
    made = make_video(tmp_path, n_samples=48000, rate_hz=16000, fps=Fraction(25), chunk_frames=40, settings=settings)
    shown = grab_frames(made.path, [Fraction(5, 2), Fraction(0), Fraction(41, 25)])
    assert [read_number(frame.pixels) for frame in shown] == [62, 0, 41]
    write_contact_sheet(made.path, tmp_path / "sheet.jpg")
    assert (tmp_path / "sheet.jpg").stat().st_size
    with pytest.raises(MediaError, match="frames of the video are 0 to 74"):
        grab_frames(made.path, [Fraction(3)])


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    settings = _settings(codec="av1", container="webm", bit_depth=10)
    made = make_video(tmp_path, n_samples=8000, rate_hz=16000, fps=Fraction(25), settings=settings)
    assert probe_video(made.path).pix_fmt == "yuv420p10le"


def test_h265_is_tagged_as_apple_wants_it(tmp_path: Path) -> None:
    made = make_video(tmp_path, n_samples=8000, rate_hz=16000, fps=Fraction(25), settings=_settings(codec="h265"))
    with open_video(made.path) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(("given", "wanted"), [(1, "stereo"), (2, "mono"), (2, "source"), (1, "mono")])
def test_sound_becomes_mono_or_stereo(tmp_path: Path, given: int, wanted: str) -> None:
    settings = _settings(audio_channels=wanted)
    made = make_video(tmp_path, n_samples=16000, rate_hz=16000, fps=Fraction(25), channels=given, settings=settings)
    with open_video(made.path) as container:
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)[:, :16000]
    speech = voice(16000, 16000, channels=given)
    expected = {1: speech.mean(axis=0, keepdims=True), 2: np.broadcast_to(speech, (2, 16000))}[len(decoded)]
    assert len(decoded) == {"mono": 1, "stereo": 2, "source": given}[wanted]
    assert 10 * np.log10(np.sum(expected**2) / np.sum((decoded - expected) ** 2)) > 15
    assert audio_difference(made.path, made.speech, channels=wanted).snr_db > 15


def test_another_sound_is_not_the_speech_in_other_channels(tmp_path: Path) -> None:
    settings = _settings(audio_channels="mono")
    made = make_video(tmp_path, n_samples=16000, rate_hz=16000, fps=Fraction(25), channels=2, settings=settings)
    other = write_flac(tmp_path / "other.flac", voice(16000, 16000, channels=2, seed=5), 16000)
    assert audio_difference(made.path, other, channels="mono").snr_db < 3


@pytest.mark.parametrize(
    ("codec", "container"),
    [(codec, container) for container in CODECS_OF for codec in NAMES if codec not in CODECS_OF[container]],
)
def test_a_codec_that_the_container_does_not_take_is_refused(codec: str, container: str) -> None:
    with pytest.raises(SettingsError, match=rf"video\.container \(from flags\) must be a container that takes {codec}"):
        resolve_settings({"s2v.toml": {"video": {"codec": codec}}, "flags": {"video": {"container": container}}})


def test_a_damaged_webm_is_refused(tmp_path: Path) -> None:
    settings = _settings(codec="vp9", container="webm")
    made = make_video(tmp_path, n_samples=8000, rate_hz=16000, fps=Fraction(25), settings=settings)
    content = made.path.read_bytes()
    for name, damaged in {"short": content[:40], "empty": b"", "other": b"RIFF" + content[4:]}.items():
        path = tmp_path / f"{name}.webm"
        path.write_bytes(damaged)
        with pytest.raises(MediaError, match="must be a readable WebM"):
            cues_come_first(path)
        with pytest.raises(MediaError, match="must be a readable"):
            probe_video(path)
