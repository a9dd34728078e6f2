"""What a file's content credentials say, and whether they hold.

Belongs here: reading and verifying with c2pa's own reader, saying in words what is wrong and what was changed.
Does not belong here: signing (credentials), printing (verify_cli), deciding whether a video may go out (defs).

Nothing is fetched: no manifest from another place, no trust list, no state of a certificate. Whom to trust comes from
the settings and from the project's own test certificate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography import x509

from s2v_pipeline.errors import MediaError, SettingsError
from s2v_pipeline.video.claims import Claims, claims_of, created_action
from s2v_pipeline.video.essence import Essence, read_essence
from s2v_pipeline.video.xmp import digital_source_type, read_xmp

Status = Literal["valid", "invalid", "absent"]
Trust = Literal["anchors", "project", "unknown"]

OFFLINE: Mapping[str, Any] = {
    "version": 1,
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"decode_identity_assertions": False, "allowed_network_hosts": []},
}
"""c2pa's settings, with everything off that would use the network."""

_UNTRUSTED = "signingCredential.untrusted"  # says that the signer is not known; the signature may well hold
_FILE_CHANGED = "assertion.bmffHash.mismatch"
# Codes of the C2PA technical specification, "Returning validation results".
_WORDS = {
    _FILE_CHANGED: "the file was changed after it was signed",
    "assertion.dataHash.mismatch": "the file was changed after it was signed",
    "assertion.hashedURI.mismatch": "a claim was changed after it was signed",
    "assertion.missing": "a claim was taken out after it was signed",
    "claimSignature.mismatch": "the claims are not those that this signer signed",
    "claimSignature.outsideValidity": "it was signed outside of the certificate's validity",
    "signingCredential.invalid": "the signer's certificate is not one for content credentials",
    "signingCredential.expired": "the signer's certificate has expired",
    "signingCredential.revoked": "the signer's certificate was withdrawn",
}


@dataclass(frozen=True)
class TrustedSigners:
    """Whom to trust.

    Attributes:
        anchors_pem: certificates from `credentials.trust_anchors`; "" for none.
        project_pem: authority of the project's own test certificate; "" where there is none.
    """

    anchors_pem: str = ""
    project_pem: str = ""


@dataclass(frozen=True)
class Verification:
    """What came of one file.

    Attributes:
        status: valid: there are credentials, and the file is the one that was signed; invalid: it is not, or they
            contradict themselves; absent: there are none.
        trust: anchors: the signer is under one of `credentials.trust_anchors`; project: it is the project's own test
            certificate; unknown: anybody may have made the certificate.
        signer: organisation and name in the certificate, as it says itself.
        serial: of the certificate, decimal.
        signed_at: UTC time by the signer's own clock, or by a time-stamp authority where `time_stamped`.
        time_stamped: an authority confirmed the time.
        claims: what this program claimed; None for other programs' files.
        source_type: IPTC's code in the signed claims.
        software: the program that the claims name.
        ingredients: title and description of what it was made from.
        xmp_source_type: IPTC's code in the file's XMP packet.
        problems: why it is invalid, in words.
        codes: the same as codes of the C2PA specification.
        changed: where a video of this program was changed and its claims were not: picture and sound -> "as signed",
            "changed" or "unreadable".
    """

    status: Status
    trust: Trust = "unknown"
    signer: str = ""
    serial: str = ""
    signed_at: str = ""
    time_stamped: bool = False
    claims: Claims | None = None
    source_type: str | None = None
    software: str = ""
    ingredients: tuple[tuple[str, str], ...] = ()
    xmp_source_type: str | None = None
    problems: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    changed: Mapping[str, str] | None = None


def read_anchors(path: Path | None) -> str:
    """The certificates of `credentials.trust_anchors` as PEM; "" without a file.

    Raises:
        SettingsError: the file cannot be read or holds none.
    """
    if path is None:
        return ""
    try:
        content = path.read_bytes()
        x509.load_pem_x509_certificates(content)
    except (OSError, ValueError) as error:
        raise SettingsError(
            "credentials.trust_anchors must be a file of certificates as PEM",
            got=str(error),
            cure="Check the path; each certificate begins with -----BEGIN CERTIFICATE-----.",
        ) from error
    return content.decode("ascii", errors="ignore")


def verify_file(path: Path, signers: TrustedSigners) -> Verification:
    """Read and verify a file's credentials; a file of any kind may be given.

    Raises:
        MediaError: the file cannot be read at all.
    """
    try:
        report = _read(path, signers)
    except OSError as error:
        raise MediaError(
            f"{path.name} must be a readable file", got=str(error), cure="Check its name and permissions."
        ) from error
    xmp_source_type = digital_source_type(read_xmp(path))
    if report is None or isinstance(report, str):
        return Verification(
            status="absent" if report is None else "invalid",
            xmp_source_type=xmp_source_type,
            problems=("its content credentials cannot be read",) if report else (),
            codes=(report,) if report else (),
        )
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    signature, action = manifest.get("signature_info", {}), created_action(manifest)
    failures = [
        failure
        for failure in report.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
        if failure["code"] != _UNTRUSTED
    ]
    state, claims = report.get("validation_state"), claims_of(manifest)
    valid = state in ("Valid", "Trusted") and not failures
    agent: object = action.get("softwareAgent") or next(iter(manifest.get("claim_generator_info", [])), {})
    return Verification(
        status="valid" if valid else "invalid",
        trust=_trust(state, signature, signers) if valid else "unknown",
        signer=", ".join(filter(None, (signature.get("issuer"), signature.get("common_name")))),
        serial=str(signature.get("cert_serial_number") or ""),
        signed_at=str(signature.get("time") or action.get("when") or ""),
        time_stamped=bool(signature.get("time")),
        claims=claims,
        source_type=action.get("digitalSourceType"),
        software=f"{agent.get('name', '')} {agent.get('version', '')}".strip()
        if isinstance(agent, dict)
        else str(agent),
        ingredients=tuple(
            (str(each.get("title", "")), str(each.get("description", ""))) for each in manifest.get("ingredients", [])
        ),
        xmp_source_type=xmp_source_type,
        problems=tuple(dict.fromkeys(_WORDS.get(each["code"], each.get("explanation", "")) for each in failures)),
        codes=tuple(dict.fromkeys(each["code"] for each in failures)),
        changed=_changes(path, claims) if claims and failures and _claims_hold(failures) else None,
    )


def _read(path: Path, signers: TrustedSigners) -> Mapping[str, Any] | str | None:
    """c2pa's report; None where there are no credentials, what is wrong where they cannot be read."""
    import c2pa  # loads 23 MB of machine code, which most commands have no use for

    anchors = signers.anchors_pem + signers.project_pem
    settings = {**OFFLINE, "trust": {"user_anchors": anchors}} if anchors else dict(OFFLINE)
    with path.open("rb") as file, c2pa.Context(c2pa.Settings.from_dict(settings)) as context:
        try:
            reader = c2pa.Reader.try_create(None, file, context=context)
            if reader is None:
                return None
            with reader:
                report: Mapping[str, Any] = json.loads(reader.json())
                return report
        except c2pa.C2paError.NotSupported:
            return None  # a kind of file that C2PA has no place in
        except c2pa.C2paError as error:
            return str(error)


def _claims_hold(failures: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the claims themselves are as they were signed, so that the hashes among them can be used."""
    return {failure["code"] for failure in failures} <= {_FILE_CHANGED}


def _trust(state: str | None, signature: Mapping[str, Any], signers: TrustedSigners) -> Trust:
    """Whose certificate it is; c2pa says only whether one of all anchors stands above it."""
    if state != "Trusted":
        return "unknown"
    if not signers.project_pem:
        return "anchors"
    authority = x509.load_pem_x509_certificate(signers.project_pem.encode())
    # The names of a test certificate's authority hold a random mark, which its certificate shares.
    mark = authority.subject.rfc4514_string().partition("CN=authority ")[2].partition(",")[0]
    return "project" if signature.get("common_name") == f"project {mark}" else "anchors"


def _changes(path: Path, claims: Claims) -> Mapping[str, str]:
    """Which of picture and sound are not those that were signed, by the hashes among the claims."""
    try:
        found: Essence | None = read_essence(path)
    except MediaError:
        found = None
    pairs: Sequence[tuple[str, str, str]] = (
        ("picture", claims.picture_sha256, found.picture_sha256 if found else ""),
        ("sound", claims.sound_sha256, found.sound_sha256 if found else ""),
    )
    return {
        name: "unreadable" if found is None else "as signed" if signed == there else "changed"
        for name, signed, there in pairs
    }
