"""What `s2v verify` prints of files, for people and as JSON, and its exit code.

Belongs here: the words. Does not belong here: verifying (verification), the command's arguments (verify_cli).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.verification import TrustedSigners, Verification, verify_file

EXIT_INVALID = 1
EXIT_ABSENT = 3  # 2 is the shell's for a command that was called wrongly

_STATUS = {
    "valid": "VALID: the file is as it was signed",
    "invalid": "INVALID",
    "absent": "ABSENT: no content credentials (never signed, or lost when another program wrote the file anew)",
}
_TRUST = {
    "anchors": "trusted: the signer is under one of credentials.trust_anchors",
    "project": "this project's own test certificate: proves that the file was not changed, not who made it",
    "unknown": "not trusted: anybody may have made this certificate; it proves that the file was not changed since",
}


def verification_report(files: Sequence[Path], signers: TrustedSigners, *, as_json: bool) -> tuple[str, int]:
    """(what to print, exit code): 0 all valid, 1 one invalid or unreadable, else 3 one without credentials."""
    found: list[tuple[str, Verification | MediaError]] = []
    for path in files:
        try:
            found.append((str(path), verify_file(path, signers)))
        except MediaError as error:
            found.append((str(path), error))
    if as_json:
        text = json.dumps([_document(name, each) for name, each in found], indent=1, ensure_ascii=False)
    else:
        text = "\n".join(_plain(line) for name, each in found for line in _lines(name, each))
    statuses = {"unreadable" if isinstance(each, MediaError) else each.status for _, each in found}
    if statuses & {"invalid", "unreadable"}:
        return text, EXIT_INVALID
    return text, EXIT_ABSENT if "absent" in statuses else 0


def _plain(line: str) -> str:
    """What files say, without characters that would steer the terminal."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in line)


def _document(name: str, found: Verification | MediaError) -> dict[str, object]:
    if isinstance(found, MediaError):
        return {"file": name, "status": "unreadable", "problems": [str(found)]}
    return {"file": name, **asdict(found)}


def _lines(name: str, found: Verification | MediaError) -> Iterator[str]:
    if isinstance(found, MediaError):
        yield f"{name}: UNREADABLE: {found}"
        return
    yield f"{name}: {_STATUS[found.status]}"
    for problem, code in zip(found.problems, found.codes, strict=False):
        yield f"  problem: {problem} ({code})"
    for what, how in (found.changed or {}).items():
        yield f"  {what}: {how}"
    if found.signer:
        yield f"  signer: {found.signer} (certificate {found.serial})"
    if found.status == "valid":
        yield f"  trust: {_TRUST[found.trust]}"
    if found.signed_at:
        by = "a time-stamp authority" if found.time_stamped else "the signer's own clock"
        yield f"  signed: {found.signed_at} by {by}"
    if found.source_type or found.software:
        unproven = "" if found.status == "valid" else " (not proven: the credentials do not hold)"
        yield f"  claims: {found.source_type or 'no source type'}, made by {found.software or 'nobody named'}{unproven}"
    if found.claims is not None:
        yield f"  generator: {found.claims.generator}, fingerprint {found.claims.fingerprint}"
    for title, description in found.ingredients:
        yield f"  made from: {title}, {description or 'without a hash'}"
    yield f"  XMP digital source type: {found.xmp_source_type or 'none'}"
