"""Whether the processes of a cluster run the same code as the run that uses them.

Belongs here: what is compared, and the refusal. Does not belong here: connecting (ray_executor, shared_ray).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path

import s2v_pipeline
from s2v_pipeline.errors import ClusterError

_LETTERS_SHOWN = 12


@dataclass(frozen=True)
class Versions:
    """What must be equal on both sides: values cross by pickle, and one video is made by one code alone.

    Attributes:
        python: its version; of the third number Ray itself says that it must be equal, too.
        ray: its version.
        package: of s2v_pipeline.
        code: hash of s2v_pipeline's source files, which change without a new version while one works on them.
    """

    python: str
    ray: str
    package: str
    code: str


@functools.cache
def own_versions() -> Versions:
    """Of this process."""
    return Versions(
        python=platform.python_version(),
        ray=importlib.metadata.version("ray"),
        package=s2v_pipeline.__version__,
        code=_code_sha256(Path(s2v_pipeline.__file__).parent),
    )


def check_same(here: Versions, there: Versions, *, cure: str) -> None:
    """See that a cluster's processes fit.

    Raises:
        ClusterError: they do not; it names what differs.
    """
    names = (("python", "Python"), ("ray", "Ray"), ("package", "s2v_pipeline"), ("code", "s2v_pipeline's source files"))
    for name, words in names:
        own, other = getattr(here, name), getattr(there, name)
        if own != other:
            raise ClusterError(
                f"the cluster must have the same {words} as this run: {own[:_LETTERS_SHOWN]}",
                got=other[:_LETTERS_SHOWN],
                cure=cure,
            )


def _code_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
