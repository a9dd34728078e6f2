"""Signed videos: what they say, that nothing else of them changed, and every way of tampering that is told."""

from __future__ import annotations

import logging
import shutil
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import c2pa
import pytest

from s2v_pipeline.errors import MediaError
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.boxes import read_movie_layout, top_level_boxes
from s2v_pipeline.video.certificate import credentials_at
from s2v_pipeline.video.credentials import Origin, SealedVideo, seal_video, trusted_signers
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline.video.verification import TrustedSigners, verify_file
from s2v_pipeline.video.xmp import AI_GENERATED, append_xmp, digital_source_type, read_xmp, xmp_packet
from s2v_pipeline_tests.video.certificates import write_chain
from s2v_pipeline_tests.video.material import make_video
from s2v_pipeline_tests.video.test_certificate import given_settings

ORIGIN = Origin("anna.mp4", "portrait", "portrait 1", "ab" * 32, "cd" * 32)
NOBODY = TrustedSigners()


class Sealed:
    """A project folder, a video, and the same video signed."""

    def __init__(self, folder: Path) -> None:
        self.settings = credentials_at(Settings(), folder)
        made = make_video(folder, n_samples=48_017, rate_hz=48_000, fps=Fraction(25), chunk_frames=13)
        self.unsigned = made.path
        self.path = Path(shutil.copyfile(made.path, folder / "anna.mp4"))
        self.video = self.seal(self.path)
        self.bytes = self.path.read_bytes()

    def seal(self, path: Path, *, earlier: Path | None = None, settings: Settings | None = None) -> SealedVideo:
        probe = probe_video(path)
        return seal_video(path, probe, ORIGIN, settings or self.settings, earlier=earlier)

    def again(self, folder: Path) -> Path:
        return Path(shutil.copyfile(self.unsigned, folder / "again.mp4"))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    return Sealed(tmp_path_factory.mktemp("sealed"))


def packets(path: Path) -> list[tuple[int, int | None, int | None, bytes]]:
    with path.open("rb") as file, av.open(file, format="mp4") as container:
        return [(p.stream_index, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]


def box_names(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return [name for name, _, _ in top_level_boxes(file, path.stat().st_size)]


def test_it_verifies_and_says_what_it_is(sealed: Sealed) -> None:
    found = verify_file(sealed.path, trusted_signers(sealed.settings))
    assert (found.status, found.trust, found.problems) == ("valid", "project", ())
    assert found.source_type == found.xmp_source_type == AI_GENERATED
    assert found.software.startswith("s2v_pipeline ")
    assert found.claims is not None
    assert (found.claims.generator, found.claims.fingerprint) == ("portrait", "portrait 1")
    assert found.ingredients == (("portrait", f"SHA-256 {'ab' * 32}"), ("speech", f"SHA-256 {'cd' * 32}"))
    assert sealed.video.report["status"] == "signed"
    assert "not who made it" in sealed.video.report["proves"]


def test_picture_sound_and_layout_are_those_of_the_unsigned_file(sealed: Sealed) -> None:
    assert packets(sealed.path) == packets(sealed.unsigned)
    before, after = probe_video(sealed.unsigned), probe_video(sealed.path)
    assert replace(after, size_bytes=before.size_bytes) == before
    assert after.faststart
    assert read_movie_layout(sealed.path) == read_movie_layout(sealed.unsigned)
    assert box_names(sealed.unsigned) == [b"ftyp", b"moov", b"free", b"mdat"]
    assert box_names(sealed.path) == [b"ftyp", b"uuid", b"moov", b"free", b"mdat", b"uuid"]
    assert sealed.video.probe == after


def test_every_frame_still_decodes_to_the_same_pixels(sealed: Sealed) -> None:
    def pixels(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]

    assert pixels(sealed.path) == pixels(sealed.unsigned)


def test_another_reader_finds_the_source_type_in_the_metadata(sealed: Sealed) -> None:
    with av.open(str(sealed.path), options={"export_xmp": "1"}) as container:
        assert AI_GENERATED in container.metadata["xmp"]


def test_no_personal_data_is_in_the_credentials(sealed: Sealed) -> None:
    with sealed.path.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        text = reader.detailed_json().lower()
    assert "thumbnail" not in text
    assert "a title" not in text  # the input's name
    assert str(sealed.path.parent).lower() not in text


def test_making_it_again_changes_no_byte(sealed: Sealed, tmp_path: Path) -> None:
    path = sealed.again(tmp_path)
    video = sealed.seal(path, earlier=sealed.path)
    assert path.read_bytes() == sealed.bytes
    assert video.report["signature_of_an_earlier_run"] is True
    assert {**video.report, "signature_of_an_earlier_run": False} == sealed.video.report


def test_a_new_signature_differs_in_bytes_and_not_in_what_was_signed(sealed: Sealed, tmp_path: Path) -> None:
    path = sealed.again(tmp_path)
    video = sealed.seal(path)
    assert path.read_bytes() != sealed.bytes
    same = ("unsigned_sha256", "picture_sha256", "sound_sha256", "certificate_sha256")
    assert [video.report[name] for name in same] == [sealed.video.report[name] for name in same]


@pytest.mark.parametrize("how", ["damaged", "of another signer", "not a video", "of another generator"])
def test_an_earlier_file_that_does_not_fit_is_not_kept(sealed: Sealed, tmp_path: Path, how: str) -> None:
    earlier = tmp_path / "earlier.mp4"
    earlier.write_bytes(sealed.bytes[:-2000] + b"\0" + sealed.bytes[-1999:])
    if how == "not a video":
        earlier.write_text("hello")
    elif how == "of another signer":
        shutil.copyfile(sealed.unsigned, earlier)
        sealed.seal(earlier, settings=credentials_at(Settings(), tmp_path))
    elif how == "of another generator":
        shutil.copyfile(sealed.unsigned, earlier)
        seal_video(earlier, probe_video(earlier), replace(ORIGIN, generator="wan_s2v"), sealed.settings)
    path = sealed.again(tmp_path)
    assert sealed.seal(path, earlier=earlier).report["signature_of_an_earlier_run"] is False
    assert verify_file(path, trusted_signers(sealed.settings)).status == "valid"


def test_switched_off_the_file_is_left_alone_and_it_is_said(
    sealed: Sealed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = sealed.again(tmp_path)
    off = sealed.settings.model_copy(
        update={"credentials": sealed.settings.credentials.model_copy(update={"enabled": False})}
    )
    with caplog.at_level(logging.WARNING):
        video = sealed.seal(path, settings=off)
    assert video.report == {"status": "off", "because": "credentials.enabled = false"}
    assert "credentials.enabled = false" in caplog.text
    assert path.read_bytes() == sealed.unsigned.read_bytes()
    assert verify_file(path, NOBODY).status == "absent"


def mdat_middle(content: bytes) -> int:
    start = content.index(b"mdat")
    return (start + len(content)) // 2


@pytest.mark.parametrize("place", ["mdat", "moov", "xmp"])
def test_one_changed_bit_is_told(sealed: Sealed, tmp_path: Path, place: str) -> None:
    content = bytearray(sealed.bytes)
    at = {
        "mdat": mdat_middle(sealed.bytes),
        "moov": sealed.bytes.index(b"made in a test"),
        "xmp": sealed.bytes.rindex(b"trainedAlgorithmicMedia"),
    }[place]
    content[at] ^= 1
    path = tmp_path / "changed.mp4"
    path.write_bytes(content)
    found = verify_file(path, trusted_signers(sealed.settings))
    assert found.status == "invalid"
    assert found.trust == "unknown"
    assert found.problems == ("the file was changed after it was signed",)
    assert found.changed is not None
    changed = {name for name, how in found.changed.items() if how == "changed"}
    assert (len(changed) == 1) is (place == "mdat")


def test_a_cut_tail_is_told(sealed: Sealed, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(sealed.bytes[: mdat_middle(sealed.bytes)])
    found = verify_file(path, trusted_signers(sealed.settings))
    assert found.status == "invalid"
    assert found.changed != {"picture": "as signed", "sound": "as signed"}


def test_a_box_put_in_is_told(sealed: Sealed, tmp_path: Path) -> None:
    path = tmp_path / "more.mp4"
    path.write_bytes(sealed.bytes)
    append_xmp(path, xmp_packet(tool="x", version="1", system="y"))
    found = verify_file(path, NOBODY)
    assert (found.status, found.changed) == ("invalid", {"picture": "as signed", "sound": "as signed"})


def test_a_changed_claim_is_told_and_its_hashes_are_not_used(sealed: Sealed, tmp_path: Path) -> None:
    path = tmp_path / "claim.mp4"
    path.write_bytes(sealed.bytes.replace(b'"fingerprint":"portrait 1"', b'"fingerprint":"portrait 2"'))
    found = verify_file(path, trusted_signers(sealed.settings))
    assert (found.status, found.changed) == ("invalid", None)
    assert "a claim was changed after it was signed" in found.problems


def test_credentials_of_another_video_are_told(sealed: Sealed, tmp_path: Path) -> None:
    other = make_video(tmp_path, n_samples=48_017, rate_hz=48_000, fps=Fraction(25), chunk_frames=13, seed=5).path
    sealed.seal(other)
    start, length = _credentials_box(sealed.bytes)
    content = other.read_bytes()
    other_start, other_length = _credentials_box(content)
    assert (start, length) == (other_start, other_length)  # so that nothing but the manifest is out of place
    path = tmp_path / "swapped.mp4"
    path.write_bytes(content[:start] + sealed.bytes[start : start + length] + content[start + length :])
    found = verify_file(path, trusted_signers(sealed.settings))
    assert found.status == "invalid"
    assert found.changed == {"picture": "as signed", "sound": "changed"}  # the pictures of both are the same


def _credentials_box(content: bytes) -> tuple[int, int]:
    at = content.index(b"uuid") - 4
    return at, struct.unpack_from(">I", content, at)[0]


def remux(source_path: Path, path: Path) -> Path:
    options = {"movflags": "+faststart", "movie_timescale": "48000"}
    with av.open(str(source_path)) as source, av.open(str(path), "w", container_options=options) as target:
        streams = {each.index: target.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    return path


def test_a_quicktime_file_is_signed_too(sealed: Sealed, tmp_path: Path) -> None:
    path = remux(sealed.unsigned, tmp_path / "video.mov")
    before = packets(path)
    assert sealed.seal(path).report["status"] == "signed"
    assert packets(path) == before
    found = verify_file(path, trusted_signers(sealed.settings))
    assert (found.status, found.trust, found.xmp_source_type) == ("valid", "project", AI_GENERATED)


def test_a_container_without_a_place_for_them_is_left_alone_and_it_is_said(sealed: Sealed, tmp_path: Path) -> None:
    path = Path(shutil.copyfile(sealed.unsigned, tmp_path / "video.webm"))
    video = seal_video(path, probe_video(sealed.unsigned), ORIGIN, sealed.settings)
    assert video.status == "off: C2PA has no place in .webm files"
    assert path.read_bytes() == sealed.unsigned.read_bytes()


def test_a_file_written_anew_by_ffmpeg_has_lost_them(sealed: Sealed, tmp_path: Path) -> None:
    path = remux(sealed.path, tmp_path / "remuxed.mp4")
    found = verify_file(path, trusted_signers(sealed.settings))
    assert (found.status, found.signer, found.xmp_source_type) == ("absent", "", None)


def test_strangers_see_a_valid_file_of_an_unknown_signer(sealed: Sealed, tmp_path: Path) -> None:
    assert verify_file(sealed.path, NOBODY).trust == "unknown"
    other = credentials_at(Settings(), tmp_path)
    sealed.seal(sealed.again(tmp_path), settings=other)
    assert verify_file(sealed.path, trusted_signers(other)).trust == "unknown"


def test_the_public_half_of_a_test_certificate_can_be_trusted_elsewhere(sealed: Sealed, tmp_path: Path) -> None:
    public = sealed.settings.paths.credentials / "test_certificates.pem"
    elsewhere = credentials_at(Settings.model_validate({"credentials": {"trust_anchors": public}}), tmp_path)
    assert verify_file(sealed.path, trusted_signers(elsewhere)).trust == "anchors"


def test_the_user_s_certificate_signs_and_is_trusted_where_its_authority_is(sealed: Sealed, tmp_path: Path) -> None:
    given = write_chain(tmp_path)
    settings = given_settings(tmp_path, given, trust_anchors=given.authority)
    path = sealed.again(tmp_path)
    video = sealed.seal(path, settings=settings)
    assert video.report["proves"] == "that the file is as it was signed"
    found = verify_file(path, trusted_signers(settings))
    assert (found.status, found.trust, found.signer) == ("valid", "anchors", "Anna's Studio, Anna's Studio")
    assert verify_file(path, NOBODY).trust == "unknown"


def test_a_time_stamp_authority_that_does_not_answer_is_an_error_and_leaves_nothing(
    sealed: Sealed, tmp_path: Path
) -> None:
    folder = tmp_path / "video"
    folder.mkdir()
    path = sealed.again(folder)
    own = sealed.settings.credentials.model_copy(update={"timestamp_url": "http://127.0.0.1:9/stamp"})
    with pytest.raises(MediaError, match="time stamp of http://127"):
        sealed.seal(path, settings=sealed.settings.model_copy(update={"credentials": own}))
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"hello", b"\0\0\0\x18ftypisom", bytes(4096)])
def test_files_of_any_kind_may_be_looked_at(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    found = verify_file(path, NOBODY)
    assert found.status in ("absent", "invalid")
    assert found.xmp_source_type is None


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="must be a readable file"):
        verify_file(tmp_path / "none.mp4", NOBODY)


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (None, None),
        ("<x/>", None),
        ("<a Iptc4xmpExt:DigitalSourceType='http://x/y'/>", "http://x/y"),
        ("<Iptc4xmpExt:DigitalSourceType>http://x/y</Iptc4xmpExt:DigitalSourceType>", "http://x/y"),
    ],
)
def test_the_source_type_is_found_in_both_spellings(packet: str | None, found: str | None) -> None:
    assert digital_source_type(packet) == found


def test_names_in_a_packet_cannot_break_it(sealed: Sealed, tmp_path: Path) -> None:
    path = sealed.again(tmp_path)
    append_xmp(path, xmp_packet(tool='a"b<c>&', version="1", system="ä"))
    text = read_xmp(path)
    assert text is not None
    assert 'a"b&lt;c&gt;&amp;, generator ä' in text
    assert digital_source_type(text) == AI_GENERATED


def test_no_packet_goes_into_what_is_no_mp4(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"\0\0\0\x08ftyp\0\0\0\x08mdatrest")
    with pytest.raises(MediaError, match="metadata can be put into"):
        append_xmp(path, "x")
    assert path.read_bytes().endswith(b"rest")
