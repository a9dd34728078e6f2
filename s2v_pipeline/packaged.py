"""Files that the package needs beside its code, in a checkout and in a wheel alike.

Belongs here: finding dagster.yaml, workspace.yaml and the sample.
Does not belong here: the face model (faces), reading them.
"""

from __future__ import annotations

from pathlib import Path

from s2v_pipeline.errors import ArtifactError

_PACKAGE = Path(__file__).parent
# name -> (where pyproject.toml puts it in a wheel, where it is in a checkout)
_PLACES = {
    "dagster.yaml": (_PACKAGE / "_packaged" / "dagster.yaml", _PACKAGE.parent / "deploy" / "dagster.yaml"),
    "workspace.yaml": (_PACKAGE / "_packaged" / "workspace.yaml", _PACKAGE.parent / "workspace.yaml"),
    "samples": (_PACKAGE / "_packaged" / "samples", _PACKAGE.parent / "data" / "samples"),
}


def packaged_path(name: str) -> Path:
    """Where a file or folder of the distribution lies.

    Raises:
        ArtifactError: the installation lacks it.
    """
    for place in _PLACES[name]:
        if place.exists():
            return place
    raise ArtifactError(
        f"the installation must hold {name}",
        got="neither a checkout nor a whole wheel",
        cure="Install it again: pip install --force-reinstall .",
    )
