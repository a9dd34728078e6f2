"""The command line's `s2v verify`.

Belongs here: what is printed, the exit code. Does not belong here: verifying (video.verification).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2v_pipeline.errors import MediaError
from s2v_pipeline.settings import load_settings

if TYPE_CHECKING:
    from s2v_pipeline.video.verification import Verification

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


def verify(
    files: Annotated[list[Path], typer.Argument(help="Videos, or other files that may hold C2PA credentials.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Say of each file whether its content credentials hold, who signed it, what they claim, what was changed.

    Exit code: 0 when all are valid, 1 when one is invalid or cannot be read, else 3 when one has no credentials.
    """
    from s2v_pipeline.video.certificate import credentials_at
    from s2v_pipeline.video.credentials import trusted_signers
    from s2v_pipeline.video.verification import verify_file

    folder = Path.cwd()
    settings = credentials_at(load_settings(project_dir=folder, environment=os.environ).settings, folder)
    signers = trusted_signers(settings)
    found: dict[str, Verification | MediaError] = {}
    for path in files:
        try:
            found[str(path)] = verify_file(path, signers)
        except MediaError as error:
            found[str(path)] = error
    if as_json:
        typer.echo(json.dumps([_document(name, each) for name, each in found.items()], indent=1, ensure_ascii=False))
    else:
        for name, each in found.items():
            for line in _lines(name, each):
                typer.echo("".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in line))
    statuses = {each.status if not isinstance(each, MediaError) else "unreadable" for each in found.values()}
    if statuses & {"invalid", "unreadable"}:
        raise typer.Exit(EXIT_INVALID)
    if "absent" in statuses:
        raise typer.Exit(EXIT_ABSENT)


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
    if found.status != "absent" and (found.source_type or found.software):
        unproven = "" if found.status == "valid" else " (not proven: the credentials do not hold)"
        yield f"  claims: {found.source_type or 'no source type'}, made by {found.software or 'nobody named'}{unproven}"
    if found.claims is not None:
        yield f"  generator: {found.claims.generator}, fingerprint {found.claims.fingerprint}"
    for title, description in found.ingredients:
        yield f"  made from: {title}, {description or 'without a hash'}"
    yield f"  XMP digital source type: {found.xmp_source_type or 'none'}"
