"""Content credentials of the delivered video: marked as made by AI, then signed, then read back.

Belongs here: the order of the steps, c2pa's builder and signer, what generation_metadata.json says of it.
Does not belong here: certificates (certificate), what is claimed (claims), the reader (verification), XMP (xmp).

c2pa puts its box behind `ftyp` and moves the index's offsets by the box's length; it reads and writes in pieces. Its
manifests hold random salts, so no two signatures are the same bytes. A video whose file before signing, claims and
certificate are those of the file that is there already keeps that file: making a video again changes no byte of it.
"""

from __future__ import annotations

import io
import logging
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from s2v_pipeline import __version__
from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.errors import MediaError, SettingsError
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.certificate import SigningIdentity, load_identity, project_authority_pem
from s2v_pipeline.video.claims import PROGRAM, Claims, manifest_definition
from s2v_pipeline.video.essence import read_essence
from s2v_pipeline.video.probe import VideoProbe, probe_video
from s2v_pipeline.video.verification import OFFLINE, TrustedSigners, Verification, read_anchors, verify_file
from s2v_pipeline.video.xmp import AI_GENERATED, append_xmp, xmp_packet

OFF = "credentials.enabled = false"
MEDIA_TYPES: Mapping[str, str] = {".mp4": "video/mp4", ".mov": "video/quicktime"}
"""Containers that C2PA has a place in, by the file's suffix; there is none in WebM."""

# Nothing but what `claims` says: no picture of the video, no action of c2pa's own.
_NOTHING_BY_ITSELF = {"enabled": False}
_BUILDER: Mapping[str, Any] = {
    "thumbnail": _NOTHING_BY_ITSELF,
    "actions": {f"auto_{action}_action": _NOTHING_BY_ITSELF for action in ("created", "opened", "placed")},
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SealedVideo:
    """A video with its credentials, or without where they are off.

    Attributes:
        probe: what the file is now.
        report: for generation_metadata.json.
    """

    probe: VideoProbe
    report: Mapping[str, Any]

    @property
    def status(self) -> str:
        """In a few words: "signed", or "off" and why."""
        return ": ".join(filter(None, (self.report["status"], self.report.get("because"))))


@dataclass(frozen=True)
class Origin:
    """What a video was made from and by; see `Claims` for the fields."""

    title: str
    generator: str
    fingerprint: str
    portrait_sha256: str
    speech_sha256: str


def credentials_key(settings: Settings) -> Mapping[str, str]:
    """What of the credentials a delivered file depends on, for the key of its record."""
    if not settings.credentials.enabled:
        return {"credentials": "off"}
    return {"credentials": __version__, "certificate": load_identity(settings).sha256}


def container_tags(origin: Origin, name: str, *, enabled: bool) -> dict[str, str]:
    """The container's own tags, which any player shows."""
    marked = "AI-generated (IPTC trainedAlgorithmicMedia), " if enabled else ""
    return {"title": name, "comment": f"{marked}{PROGRAM} {__version__}, generator {origin.generator}"}


def trusted_signers(settings: Settings) -> TrustedSigners:
    """Whom `s2v verify` and the asset check trust.

    Raises:
        SettingsError: `credentials.trust_anchors` cannot be read.
    """
    return TrustedSigners(
        anchors_pem=read_anchors(settings.credentials.trust_anchors),
        project_pem=project_authority_pem(settings.paths.credentials) or "",
    )


def check_signer(settings: Settings) -> None:
    """Sign a picture of one pixel, so that what cannot sign is found before a video is made; asks no time stamp.

    Raises:
        SettingsError: the certificate or the key cannot be used, with c2pa's reason.
        ArtifactError: the test certificate cannot be written.
    """
    if not settings.credentials.enabled:
        return
    identity = load_identity(settings)
    picture, signed = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (1, 1)).save(picture, "png")
    picture.seek(0)
    nothing = Claims(*([""] * 9))
    try:
        _sign(picture, signed, "image/png", nothing, identity, timestamp_url=None)
    except MediaError as error:
        raise SettingsError(
            "credentials.certificate and credentials.private_key must be able to sign content credentials",
            got=error.got,
            cure="The certificate needs digitalSignature, the purpose C2PA claim signing or e-mail protection, and the "
            "certificates above it in the same file.",
        ) from error


def seal_video(
    path: Path, probe: VideoProbe, origin: Origin, settings: Settings, *, earlier: Path | None = None
) -> SealedVideo:
    """Mark and sign a written video in place (a temporary file; renaming it is the caller's), and read it back.

    Args:
        path: a video that nobody else reads yet.
        probe: what it is.
        origin: what it was made from.
        settings: with absolute paths of credentials, see `certificate.credentials_at`.
        earlier: the delivered file of before; kept, byte for byte, where it is the same video with the same claims
            under the same certificate.

    Raises:
        MediaError: it cannot be signed, or is not the same video afterwards, or does not verify.
        SettingsError: the certificate or the key cannot be used.
    """
    media_type = MEDIA_TYPES.get(path.suffix)
    if not settings.credentials.enabled or media_type is None:
        because = OFF if not settings.credentials.enabled else f"C2PA has no place in {path.suffix} files"
        _log.warning("%s: no content credentials, as %s", origin.title, because)
        return SealedVideo(probe, {"status": "off", "because": because})
    identity = load_identity(settings)
    # 1. mark it in its own metadata, and note what it is
    append_xmp(path, xmp_packet(tool=PROGRAM, version=__version__, system=origin.generator))
    essence = read_essence(path)
    claims = Claims(
        title=origin.title,
        generator=origin.generator,
        fingerprint=origin.fingerprint,
        portrait_sha256=origin.portrait_sha256,
        speech_sha256=origin.speech_sha256,
        visible_label=settings.credentials.label,
        unsigned_sha256=file_sha256(path),
        picture_sha256=essence.picture_sha256,
        sound_sha256=essence.sound_sha256,
    )
    # 2. keep the file that is there, or sign
    signers = TrustedSigners(project_pem=_root(identity))
    kept = earlier is not None and _is_signed_already(
        earlier, claims, identity, signers, stamped=settings.credentials.timestamp_url is not None
    )
    if kept and earlier is not None:
        shutil.copyfile(earlier, path)
    else:
        _sign_file(path, media_type, claims, identity, settings.credentials.timestamp_url)
    # 3. see what came out
    verified = verify_file(path, signers)
    signed_probe = probe_video(path)
    if verified.status != "valid" or verified.claims != claims or read_essence(path) != essence:
        raise MediaError(
            f"{origin.title} must verify after it was signed, with the same picture and sound",
            got=f"{verified.status}: {'; '.join((*verified.problems, *verified.codes)) or 'other claims or packets'}",
            cure="Materialise final_videos for this partition again; if it stays so, report it.",
        )
    if replace(signed_probe, size_bytes=probe.size_bytes) != probe:
        raise MediaError(
            f"{origin.title} must have the same lengths, starts and tags after it was signed",
            got=f"{signed_probe} instead of {probe}",
            cure="Report this: c2pa moved something that must not move.",
        )
    return SealedVideo(signed_probe, _report(verified, claims, identity, kept=kept))


def _is_signed_already(
    earlier: Path, claims: Claims, identity: SigningIdentity, signers: TrustedSigners, *, stamped: bool
) -> bool:
    if not earlier.is_file():
        return False
    found = verify_file(earlier, signers)
    same_signer = found.trust != "unknown" and found.serial == str(identity.serial)
    return found.status == "valid" and same_signer and found.claims == claims and found.time_stamped is stamped


def _sign_file(
    path: Path, media_type: str, claims: Claims, identity: SigningIdentity, timestamp_url: str | None
) -> None:
    signed = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        with path.open("rb") as source, signed.open("w+b") as destination:
            _sign(source, destination, media_type, claims, identity, timestamp_url=timestamp_url)
        signed.replace(path)
    except OSError as error:
        raise MediaError(
            f"the signed {claims.title} must be written",
            got=str(error),
            cure="Check the free disk space: signing needs the video's size once more.",
        ) from error
    finally:
        signed.unlink(missing_ok=True)


def _sign(
    source: BinaryIO,
    destination: BinaryIO,
    media_type: str,
    claims: Claims,
    identity: SigningIdentity,
    *,
    timestamp_url: str | None,
) -> None:
    import c2pa  # loads 23 MB of machine code, which most commands have no use for

    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    settings = {**OFFLINE, "builder": _BUILDER}
    if timestamp_url is not None:
        settings["core"] = {"decode_identity_assertions": False}  # the authority must be reached
    info = partial(c2pa.C2paSignerInfo, identity.algorithm, identity.chain_pem.encode())
    try:
        with (
            c2pa.Context(c2pa.Settings.from_dict(settings)) as context,
            c2pa.Signer.from_info(info(identity.private_key_pem.encode(), timestamp_url)) as signer,
            c2pa.Builder(manifest_definition(claims, media_type=media_type, when=when), context) as builder,
        ):
            builder.sign(signer, media_type, source, destination)
    except c2pa.C2paError as error:
        stamped = f" with a time stamp of {timestamp_url}" if timestamp_url else ""
        raise MediaError(
            f"{claims.title or 'a picture'} must be signed{stamped}",
            got=str(error),
            cure="Check the credentials' settings (`s2v doctor`), the time-stamp authority and the free disk space.",
        ) from error


def _root(identity: SigningIdentity) -> str:
    """The last certificate of a chain: what stands above the signer."""
    return "-----BEGIN CERTIFICATE-----" + identity.chain_pem.rpartition("-----BEGIN CERTIFICATE-----")[2]


def _report(verified: Verification, claims: Claims, identity: SigningIdentity, *, kept: bool) -> Mapping[str, Any]:
    return {
        "status": "signed",
        "signer": verified.signer,
        "certificate_sha256": identity.sha256,
        "test_certificate": identity.is_test,
        "proves": "that the file is as it was signed" + (", not who made it" if identity.is_test else ""),
        "signed_at": verified.signed_at,
        "time_stamped": verified.time_stamped,
        "signature_of_an_earlier_run": kept,
        "digital_source_type": AI_GENERATED,
        "visible_label": claims.visible_label or None,
        "unsigned_sha256": claims.unsigned_sha256,
        "picture_sha256": claims.picture_sha256,
        "sound_sha256": claims.sound_sha256,
    }
