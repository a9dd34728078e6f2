"""Every error that the package raises on purpose.

    S2VError                    rule, what came, cure
    ├── InputError              something that the user gave; never retried
    │   ├── ImageError          the portrait file
    │   ├── FaceError           the face in the portrait
    │   ├── AudioError          the speech file
    │   └── ManifestError       a dataset manifest, an input folder, an input's name
    ├── SettingsError           a value in s2v.toml, S2V_*, settings.toml or a flag; never retried
    ├── AlignmentError          phonemes could not be placed in the speech
    ├── ArtifactError           a file in the artifact store is missing, damaged or does not fit
    ├── GenerationError         a generator could not make or decode a chunk
    │   └── WeightsError        model weights are missing, damaged, of another model, or too large for the machine
    ├── CacheError              the chunk cache cannot be reached, or holds what it should not
    ├── MediaError              encoding, stitching, muxing or probing a video
    └── ClusterError            Ray could not be started, joined, or lost the work

Belongs here: the classes and how their message is put together.
Does not belong here: deciding when to raise one.
"""

from __future__ import annotations

from typing import Self


class S2VError(Exception):
    """An error that says the rule, what came instead, and the cure.

    Args:
        rule: what must hold, as a sentence without its full stop.
        got: what came instead.
        cure: what the reader can do, as a sentence.
    """

    def __init__(self, rule: str, *, got: str, cure: str) -> None:
        super().__init__(rule, got, cure)
        self.rule = rule
        self.got = got
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.rule}; got {self.got}. {self.cure}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray, Dagster) and must come out as they went in.
        return (_rebuild, (type(self), self.rule, self.got, self.cure))

    def about(self, subject: str) -> Self:
        """The same error with the subject (a file or an input's name) put in front of the rule."""
        return type(self)(f"{subject}: {self.rule}", got=self.got, cure=self.cure)


def _rebuild(kind: type[S2VError], rule: str, got: str, cure: str) -> S2VError:
    return kind(rule, got=got, cure=cure)


class InputError(S2VError):
    """Something that the user gave is not usable; trying again cannot help."""


class ImageError(InputError):
    """The portrait file."""


class FaceError(InputError):
    """The face in the portrait."""


class AudioError(InputError):
    """The speech file."""


class ManifestError(InputError):
    """A dataset manifest, an input folder or an input's name."""


class SettingsError(S2VError):
    """A setting has a value that cannot be used."""


class AlignmentError(S2VError):
    """Phonemes could not be placed in the speech."""


class ArtifactError(S2VError):
    """A stored artifact is missing, damaged or was made by something else."""


class CacheError(S2VError):
    """The chunk cache cannot be reached, or a record in it cannot be used; work goes on without it."""


class GenerationError(S2VError):
    """A generator could not make or decode a chunk."""


class WeightsError(GenerationError):
    """Model weights are missing, damaged, of another model, or too large for the machine; trying again cannot help."""


class MediaError(S2VError):
    """A video could not be encoded, stitched, muxed or probed."""


class ClusterError(S2VError):
    """Ray could not be started or joined, or lost the work."""
