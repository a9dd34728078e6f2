"""The value of the asset `speech_inputs`: a checked input, from which every later stage starts.

Belongs here: the value and its JSON form.
Does not belong here: checking and making one (prepare), the media themselves (the artifact store).

It stands apart from `prepare`, so that stages which only read it do not load what finds faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.timebase import duration_s

ASSET = "speech_inputs"
"""Name of the Dagster asset and of the folder in the artifact store."""


@dataclass(frozen=True)
class Part:
    """A file of the input in the artifact store, and the hash of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class FaceFacts:
    """The face that is animated, in pixels of the whole portrait.

    Attributes:
        box_px: x0, y0, x1, y1 of the detection.
        score, presence: how sure the detector and the landmark network are, 0..1.
        eye_distance_px: between the outer corners of the eyes.
        yaw_deg, roll_deg: how the head is turned, see `framing.HeadAngles`.
    """

    box_px: tuple[float, float, float, float]
    score: float
    presence: float
    eye_distance_px: float
    yaw_deg: float
    roll_deg: float


@dataclass(frozen=True)
class SpeechInput:
    """A checked input: what every later stage starts from.

    Attributes:
        input_id, name, prompt, transcript: as in `InputSource`.
        n_samples, rate_hz, channels: of `speech`; their quotient is the input's length.
        width_px, height_px, fps: of the video that will be made.
        portrait: PNG of the whole upright portrait.
        framed: PNG of exactly (height_px, width_px).
        speech: FLAC; its first sample is time zero.
        face: the face in `portrait`.
        crop_px: x0, y0, x1, y1 of `framed` in `portrait`.
        peak_dbfs, rms_dbfs: of `speech`.
        sources: "image" and "audio" -> SHA-256 of the user's file.
        notes: what was done to the user's files, one sentence each.

    Raises:
        ValueError: no samples, or a rate, size or number of channels that is not positive.
    """

    input_id: str
    name: str
    prompt: str
    transcript: str | None
    n_samples: int
    rate_hz: int
    channels: int
    width_px: int
    height_px: int
    fps: Fraction
    portrait: Part
    framed: Part
    speech: Part
    face: FaceFacts
    crop_px: tuple[int, int, int, int]
    peak_dbfs: float
    rms_dbfs: float
    sources: Mapping[str, str]
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if min(self.n_samples, self.rate_hz, self.channels, self.width_px, self.height_px) <= 0 or self.fps <= 0:
            raise ValueError(
                f"an input needs samples, a size and rates; got {self.n_samples} samples at {self.rate_hz} Hz in "
                f"{self.channels} channels, {self.width_px}x{self.height_px} at {self.fps}"
            )

    @property
    def duration_s(self) -> Fraction:
        """Exact length of the speech in seconds."""
        return duration_s(self.n_samples, self.rate_hz)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` turns them back."""
        return {**asdict(self), "fps": str(self.fps), "sources": dict(self.sources), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpeechInput:
        """What `to_json` gave.

        Raises:
            ArtifactError: other names or types than `to_json` writes.
        """
        try:
            parts = {name: Part(**values[name]) for name in ("portrait", "framed", "speech")}
            return cls(
                **{
                    **values,
                    **parts,
                    "fps": Fraction(values["fps"]),
                    "face": _face_facts(values["face"]),
                    "crop_px": tuple(values["crop_px"]),
                    "notes": tuple(values["notes"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"a {ASSET} manifest must hold what this version writes",
                got=f"{type(error).__name__}: {error}",
                cure=f"Materialise {ASSET} for this partition again.",
            ) from error


def _face_facts(values: Mapping[str, Any]) -> FaceFacts:
    x0, y0, x1, y1 = values["box_px"]
    return FaceFacts(**{**values, "box_px": (x0, y0, x1, y1)})
