"""The command line's `s2v verify`.

Belongs here: its arguments and settings. Does not belong here: verifying, what is printed (video.verification_text).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from s2v_pipeline.settings import load_settings


def verify(
    files: Annotated[list[Path], typer.Argument(help="Videos, or other files that may hold C2PA credentials.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Say of each file whether its content credentials hold, who signed it, what they claim, what was changed.

    Exit code: 0 when all are valid, 1 when one is invalid or cannot be read, else 3 when one has no credentials.
    """
    from s2v_pipeline.video.certificate import credentials_at
    from s2v_pipeline.video.credentials import trusted_signers
    from s2v_pipeline.video.verification_text import verification_report

    folder = Path.cwd()
    settings = credentials_at(load_settings(project_dir=folder, environment=os.environ).settings, folder)
    text, exit_code = verification_report(files, trusted_signers(settings), as_json=as_json)
    typer.echo(text)
    if exit_code:
        raise typer.Exit(exit_code)
