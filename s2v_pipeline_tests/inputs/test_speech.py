"""Speech files of all sorts, good and bad."""

from __future__ import annotations

import os
import struct
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from s2v_pipeline.errors import AudioError
from s2v_pipeline.inputs.speech import SpeechInfo, copy_speech
from s2v_pipeline.setting_groups import InputSettings
from s2v_pipeline_tests.inputs.sound_files import (
    click_at,
    cut,
    encode,
    noise,
    onset_s,
    read_sound,
    write_silent_film,
    write_wav,
)

LIMITS = InputSettings()
RATE_HZ = 44_100
FOUR_S = 4 * RATE_HZ


def copied(path: Path, limits: InputSettings = LIMITS) -> tuple[SpeechInfo, np.ndarray]:
    info = copy_speech(path, path.with_name("copy.flac"), limits)
    samples, rate_hz = read_sound(path.with_name("copy.flac"))
    assert (info.channels, info.n_samples) == samples.shape
    assert info.rate_hz == rate_hz
    assert info.peak_dbfs == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=0.01)
    assert info.rms_dbfs == pytest.approx(10 * np.log10(np.square(samples).mean()), abs=0.01)
    return info, samples


def refusal(path: Path, limits: InputSettings = LIMITS) -> str:
    with tempfile.TemporaryDirectory() as folder:
        with pytest.raises(AudioError) as caught:
            copy_speech(path, Path(folder) / "copy.flac", limits)
        assert list(Path(folder).iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (11_025, 2), (16_000, 1), (48_000, 2)])
def test_16_bit_sound_is_kept_bit_for_bit(tmp_path: Path, rate_hz: int, channels: int) -> None:
    source = np.rint(noise(rate_hz + 17, channels=channels) * 32767).astype(np.int16)
    info, samples = copied(write_wav(tmp_path / "a.wav", source, rate_hz))
    assert np.array_equal(samples * 32768, source)
    assert info.duration_s == Fraction(rate_hz + 17, rate_hz)
    assert (info.source_codec, info.source_rate_hz, info.source_channels) == ("pcm_s16le", rate_hz, channels)
    assert info.notes == ()


def test_8_bit_sound(tmp_path: Path) -> None:
    source = np.rint(128 + noise(16_000) * 120).astype(np.uint8)
    info, samples = copied(write_wav(tmp_path / "a.wav", source, 16_000))
    assert np.array_equal(samples * 128, source.astype(int) - 128)
    assert info.source_format == "u8"


def test_24_bits_are_kept(tmp_path: Path) -> None:
    source = np.rint(noise(RATE_HZ) * 2**23).astype(np.int32) * 256
    _, samples = copied(write_wav(tmp_path / "a.wav", source, RATE_HZ))
    assert np.array_equal(samples * 2**31, source)


def test_float_5_1_at_192_khz_becomes_stereo_at_48_khz(tmp_path: Path) -> None:
    source = click_at(1.0, length_s=2.0, rate_hz=192_000, channels=6)
    info, samples = copied(write_wav(tmp_path / "a.wav", source, 192_000))
    assert (info.rate_hz, info.channels, info.source_channels) == (48_000, 2, 6)
    assert info.n_samples == pytest.approx(96_000, abs=1)
    assert onset_s(samples[0], 48_000) == pytest.approx(1.0, abs=0.001)
    assert "resampled from 192000 to 48000 Hz" in info.notes
    assert any("mixed to stereo" in note for note in info.notes)


def test_samples_above_full_scale_are_noted(tmp_path: Path) -> None:
    source = noise(RATE_HZ)
    source[0, 100:110] = 1.5
    info, samples = copied(write_wav(tmp_path / "a.wav", source, RATE_HZ))
    assert info.notes == ("10 samples above full scale are limited to it",)
    assert samples.max() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "options"),
    [
        ("a.mp3", "libmp3lame", RATE_HZ, {}),
        ("a.m4a", "aac", RATE_HZ, {}),
        ("faststart.m4a", "aac", RATE_HZ, {"movflags": "+faststart"}),
        ("a.flac", "flac", RATE_HZ, {}),
        ("a.aiff", "pcm_s16be", RATE_HZ, {}),
        ("a.caf", "pcm_s16be", RATE_HZ, {}),
        ("a.mov", "pcm_s16le", RATE_HZ, {}),
        ("a.opus", "libopus", 48_000, {}),
        ("a.mka", "libopus", 48_000, {}),
        ("a.webm", "libopus", 48_000, {}),
    ],
)
def test_a_click_stays_at_its_time(
    tmp_path: Path, name: str, codec: str, rate_hz: int, options: dict[str, str]
) -> None:
    source = click_at(2.0, length_s=4.0, rate_hz=rate_hz)
    info, samples = copied(encode(tmp_path / name, codec, source, rate_hz, options=options))
    assert onset_s(samples[0], info.rate_hz) == pytest.approx(onset_s(source[0], rate_hz), abs=0.001)
    assert info.n_samples == 4 * rate_hz


@pytest.mark.parametrize(
    ("name", "codec", "container", "options"),
    [
        ("a.aac", "aac", "adts", {}),
        ("plain.mp3", "libmp3lame", None, {"write_xing": "0"}),
        ("a.ogg", "flac", "ogg", {}),
        ("a.wma", "wmav2", "asf", {}),
        ("a.avi", "libmp3lame", None, {}),
        ("a.mkv", "aac", None, {}),
    ],
)
def test_other_containers(
    tmp_path: Path, name: str, codec: str, container: str | None, options: dict[str, str]
) -> None:
    path = encode(tmp_path / name, codec, noise(FOUR_S), RATE_HZ, container=container, options=options)
    info, _ = copied(path)
    # Without a statement in the file, an encoder's delay (up to three frames) stays in front.
    assert float(info.duration_s) == pytest.approx(4.0, abs=0.08)
    unstated = any("does not state its length" in note for note in info.notes)
    assert unstated == (name in ("a.aac", "plain.mp3", "a.ogg"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_sound_track_of_a_video(tmp_path: Path, name: str) -> None:
    # The picture is a second longer than the sound, which is no sign of a lost end.
    info, _ = copied(encode(tmp_path / name, "aac", noise(3 * RATE_HZ), RATE_HZ, with_video=True))
    assert float(info.duration_s) == pytest.approx(3.0, abs=0.05)
    assert info.source_codec == "aac"


def test_gaps_are_filled_with_silence(tmp_path: Path) -> None:
    path = encode(
        tmp_path / "a.mka", "flac", noise(FOUR_S), RATE_HZ, later_by=lambda first: RATE_HZ if first > 90_000 else 0
    )
    info, samples = copied(path)
    assert info.n_samples == pytest.approx(5 * RATE_HZ, abs=RATE_HZ // 1000 + 1)
    (note,) = info.notes
    assert note.startswith("1 stretch(es), 1.00 s in all, missing and filled with silence; the first at 2.09 s")
    assert not samples[0, 100_000:130_000].any()
    assert samples[0, :90_000].any()


def test_overlaps_are_kept_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for index in range(4):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE_HZ), 1000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), index * RATE_HZ // 2
            output.mux(stream.encode(frame))
    info, _ = copied(path)
    assert info.n_samples == FOUR_S
    assert info.notes[0].startswith("3 stretch(es), 1.50 s in all, stated twice and kept")


def test_several_tracks_and_odd_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=8_000, layout="mono") for _ in range(2)]
        for value, stream in enumerate(streams, start=1):
            frame = av.AudioFrame.from_ndarray(np.full((1, 8_000), 1000 * value, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 8_000, Fraction(1, 8_000), 0
            output.mux(stream.encode(frame))
    info, samples = copied(path)
    assert "the first of 2 sound tracks is used" in info.notes
    assert samples.max() == 1000 / 32768

    wav = write_wav(tmp_path / "b.wav", (noise(8_000) * 32767).astype(np.int16), 8_000).read_bytes()
    tagged = wav[:12] + b"LIST" + struct.pack("<I", 16) + b"INFOINAM" + struct.pack("<I", 4) + b"\xff\xfe\xfd\0"
    (tmp_path / "b.wav").write_bytes(tagged + wav[12:])
    assert copied(tmp_path / "b.wav")[0].n_samples == 8_000


@pytest.mark.parametrize("data_bytes", [0, 0x7FFFF000, 0xFFFFFFFF])
def test_wav_of_a_program_that_wrote_to_a_pipe(tmp_path: Path, data_bytes: int) -> None:
    source = (noise(16_000) * 32767).astype(np.int16)
    info, _ = copied(write_wav(tmp_path / "a.wav", source, 16_000, data_bytes=data_bytes))
    assert info.n_samples == 16_000
    assert any("does not state its length" in note for note in info.notes)


def test_bytes_behind_an_mp3_are_left_out(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp3", "libmp3lame", noise(FOUR_S), RATE_HZ)
    whole = path.read_bytes()
    path.write_bytes(whole + b"TAG" + b"x" * 125)
    assert copied(path)[0].n_samples == FOUR_S
    path.write_bytes(whole + bytes(3000))
    assert any("no sound are left out" in note for note in copied(path)[0].notes)


# --- refusals


@pytest.mark.parametrize(
    ("name", "codec", "container"),
    [
        ("a.wav", "pcm_s16le", None),
        ("a.mp3", "libmp3lame", None),
        ("a.m4a", "aac", None),
        ("a.flac", "flac", None),
        ("a.aiff", "pcm_s16be", None),
        ("a.caf", "pcm_s16be", None),
        ("a.mka", "flac", None),
        ("a.avi", "libmp3lame", None),
    ],
)
def test_truncated_files_are_refused(tmp_path: Path, name: str, codec: str, container: str | None) -> None:
    whole = encode(tmp_path / name, codec, noise(FOUR_S), RATE_HZ, container=container)
    message = refusal(cut(whole, 0.6))
    assert "truncated" in message or "cannot be opened" in message
    if name in ("a.wav", "a.mp3", "a.aiff", "a.mka"):
        assert "got 2." in message
        assert "s of the 4.0" in message


def test_truncated_file_whose_index_comes_first(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.m4a", "aac", noise(FOUR_S), RATE_HZ, options={"movflags": "+faststart"})
    message = refusal(cut(whole, 0.6))
    assert "truncated or damaged" in message
    assert "of 4.00 s" in message


def test_truncated_video_is_noticed_by_all_its_tracks(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mkv", "aac", noise(FOUR_S), RATE_HZ, with_video=True)
    assert "truncated" in refusal(cut(whole, 0.7))


def test_truncated_mp3_that_states_no_length_is_taken_with_a_note(tmp_path: Path) -> None:
    whole = encode(tmp_path / "a.mp3", "libmp3lame", noise(FOUR_S), RATE_HZ, options={"write_xing": "0"})
    info, _ = copied(cut(whole, 0.6))
    assert 2.0 < info.duration_s < 3.0
    assert any("lost end cannot be noticed" in note for note in info.notes)


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.flac", "flac")])
def test_damage_in_the_middle_is_refused(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, codec, noise(FOUR_S), RATE_HZ)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    path.write_bytes(content)
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
@pytest.mark.parametrize(
    "content",
    [
        b"hello world, this is no sound\n" * 2000,
        bytes(100_000),
        np.random.default_rng(3).bytes(200_000),
        b"RIFF\x24\0\0\0WAVE",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["text", "zeros", "random", "header", "png"],
)
def test_what_is_no_sound(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path)
    assert path.name in message


@pytest.mark.parametrize("name", ["list.wav", "list.m3u8", "list.mp4"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:4,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {other}\n",
        (
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 97\n"
            "a=rtpmap:97 opus/48000/2\n"
        ),
        (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
            "<Representation><BaseURL>{other}</BaseURL></Representation></AdaptationSet></Period></MPD>"
        ),
    ],
    ids=["hls", "concat", "sdp", "dash"],
)
def test_playlists_open_nothing(tmp_path: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wav(tmp_path / "other.wav", (noise(FOUR_S) * 32767).astype(np.int16), RATE_HZ)
    (tmp_path / name).write_text(text.format(other="other.wav"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "cannot be opened" in refusal(Path(tmp_path / name))


def test_image_is_no_sound(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.mp4")
    assert "cannot be opened" in refusal(tmp_path / "a.mp4")


def test_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    assert "got an empty file" in refusal(tmp_path / "empty.wav")
    assert "must be readable" in refusal(tmp_path / "none.wav")
    assert "got a folder" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    assert "a pipe" in refusal(tmp_path / "pipe.wav")


def test_video_without_sound(tmp_path: Path) -> None:
    assert "1 video track(s) and no sound" in refusal(write_silent_film(tmp_path / "a.mp4"))


def test_wav_without_samples(tmp_path: Path) -> None:
    assert "no sample" in refusal(write_wav(tmp_path / "a.wav", np.zeros((1, 0), np.int16), 8_000))


def test_samples_that_are_not_numbers(tmp_path: Path) -> None:
    source = noise(FOUR_S)
    source[0, RATE_HZ * 2] = np.nan
    source[0, RATE_HZ * 3 : RATE_HZ * 3 + 10] = np.inf
    assert "got 11 that are NaN or infinite, the first at 2.000 s" in refusal(
        write_wav(tmp_path / "a.wav", source, RATE_HZ)
    )


def test_silence_is_no_speech(tmp_path: Path) -> None:
    zeros = np.zeros((1, 16_000), np.int16)
    assert "a peak of -inf dBFS" in refusal(write_wav(tmp_path / "a.wav", zeros, 16_000))
    assert "a peak of -60.2 dBFS" in refusal(write_wav(tmp_path / "b.wav", zeros + 32, 16_000))
    assert copied(write_wav(tmp_path / "c.wav", zeros + 33, 16_000))[0].peak_dbfs > -60


def test_limits(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", (noise(16_000) * 32767).astype(np.int16), 16_000)
    assert "at most 0.03 MB; got 0.0 MB" in refusal(path, InputSettings(max_audio_mb=0.03))
    assert "at most 0.5 s long; got 1.00 s stated" in refusal(path, InputSettings(max_audio_s=0.5))
    assert "at least 1.5 s long; got 1.000 s" in refusal(path, InputSettings(min_audio_s=1.5))
    assert copied(path, InputSettings(min_audio_s=1.0, max_audio_s=1.0))[0].n_samples == 16_000
    unstated = encode(tmp_path / "b.aac", "aac", noise(FOUR_S), RATE_HZ, container="adts")
    assert "decoded so far" in refusal(unstated, InputSettings(max_audio_s=0.5))


def test_one_sample_less_than_the_limit(tmp_path: Path) -> None:
    source = (noise(3_200) * 32767).astype(np.int16)
    assert copied(write_wav(tmp_path / "a.wav", source, 16_000))[0].n_samples == 3_200
    assert "at least 0.2 s" in refusal(write_wav(tmp_path / "b.wav", source[:, 1:], 16_000))


@pytest.mark.parametrize("rate_hz", [1, 3_999, 768_001, 2_000_000_000])
def test_rates_that_no_speech_has(tmp_path: Path, rate_hz: int) -> None:
    source = (noise(8_000) * 32767).astype(np.int16)
    assert "4000 to 768000 Hz" in refusal(
        write_wav(tmp_path / "a.wav", source, rate_hz), InputSettings(max_audio_s=1e5)
    )


def test_seeks_that_a_damaged_header_asks_for_are_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = encode(tmp_path / "a.caf", "pcm_s16be", noise(FOUR_S), RATE_HZ).read_bytes()
    first_chunk = whole.index(b"desc") + 12 + 32  # behind the description's header and body
    endless = b"free" + struct.pack(">Q", 1 << 62)
    (tmp_path / "a.caf").write_bytes(whole[:first_chunk] + 2 * endless + whole[first_chunk:])
    assert copied(tmp_path / "a.caf")[0].n_samples == FOUR_S  # libav goes on behind a seek that failed
    assert capfd.readouterr().err == ""


def test_rate_that_changes_on_the_way(tmp_path: Path) -> None:
    slow = encode(tmp_path / "slow.aac", "aac", noise(RATE_HZ), RATE_HZ, container="adts").read_bytes()
    fast = encode(tmp_path / "fast.aac", "aac", noise(48_000), 48_000, container="adts").read_bytes()
    (tmp_path / "both.aac").write_bytes(slow + fast)
    assert "keep its rate and channels" in refusal(tmp_path / "both.aac")


def test_equal_sound_gives_equal_bytes(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", (noise(16_000) * 32767).astype(np.int16), 16_000)
    copies = []
    for name in ("one.flac", "two.flac"):
        copy_speech(path, tmp_path / name, LIMITS)
        copies.append((tmp_path / name).read_bytes())
    assert copies[0] == copies[1]
    assert b"Lavf" not in copies[0]
