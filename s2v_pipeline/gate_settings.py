"""The settings of the quality gate: what a finished video must measure.

Belongs here: nothing but the group; limits lie between what good and broken videos measure (`benchmarks/gate.py`).
Does not belong here: the other groups (setting_groups), measuring and judging (video.gate).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from s2v_pipeline.setting_values import Group, Texts


class GateSettings(Group):
    """What a finished video must be; limits lie between what good and broken videos measure (benchmarks/gate.py)."""

    enabled: bool = Field(True, description="measure every finished video; off is said in its metadata")
    blocking: Texts = Field(
        (
            *("container_is_as_ordered", "length_is_exact", "frames_are_whole", "picture_moves"),
            *("sound_is_the_speech", "face_is_kept", "captions_fit"),
        ),
        description="checks that fail a run; the others warn",
    )
    most_jumps: int = Field(0, ge=0, description="frames at which a part of the picture changes out of proportion")
    least_likeness: float = Field(0.6, ge=-1, le=1, description="correlation of any frame with the portrait")
    least_usual_likeness: float = Field(0.83, ge=-1, le=1, description="median of the same")
    most_frozen_s: float = Field(1.0, gt=0, description="longest time without any change")
    most_repeated: float = Field(0.15, ge=0, le=1, description="share of frames equal to the one before")
    most_shaken: float = Field(0.2, ge=0, le=1, description="share of frames out of the order of motion")
    least_cadence: float = Field(
        0.3, ge=0, le=1, description="stillest frame of a rhythm of 2 to 5, of the usual change"
    )
    most_jitter: float = Field(12.0, gt=0, description="of the head, in thousandths of the eyes' distance")
    most_bar_share: float = Field(0.02, ge=0, le=1, description="flat bar at a side that the portrait has not")
    most_banding: float = Field(0.14, ge=0, le=1, description="share of flat pixels more than in the portrait")
    least_sharpness: float = Field(0.5, ge=0, description="of the portrait's")
    most_noise: float = Field(2.0, gt=0, description="standard deviation of luma more than in the portrait")
    most_brightness: float = Field(6.0, gt=0, description="mean luma off the portrait's")
    most_colour: float = Field(3.0, gt=0, description="a mean channel off the portrait's, brightness taken out")
    most_picture_drift: float = Field(3.0, gt=0, description="change of a mean channel between seconds")
    most_flicker: float = Field(0.5, gt=0, description="second difference of the mean luma")
    most_colour_drift: float = Field(6.0, gt=0, description="of forehead, cheeks, background; 2.3 is just noticeable")
    least_sound_snr_db: float = Field(3.0, description="AAC keeps 9 dB and more; other sound has less than 3")
    most_loudness_lu: float = Field(1.0, gt=0, description="loudness off that of the sound chosen")
    least_openness: float = Field(0.5, ge=-1, le=1, description="correlation of the mouth's opening with the phones")
    most_offset_frames: float = Field(1.0, gt=0, description="picture against sound, beyond the measure's doubt")
    fewest_closures: int = Field(5, ge=1, description="of P, B and M; fewer say nothing")
    least_closures: float = Field(0.8, ge=0, le=1, description="share of P, B and M with lips closed")
    most_silent_lips: float = Field(0.01, ge=0, description="lips' movement in pauses, in eye distances, above noise")
    times_tracker_noise: float = Field(2.0, ge=0, description="of the tracker's own noise that is allowed besides")
    most_without_face: float = Field(0.02, ge=0, le=1, description="share of frames without a face")
    identity_model: Path | None = Field(
        None, description="ONNX face recognition model (112x112 RGB in, an embedding out), such as OpenCV's SFace"
    )
    least_identity: float = Field(
        0.363, ge=-1, le=1, description="cosine of any face with the portrait's; SFace's own limit for one person"
    )
    most_shape_off: float = Field(38.0, gt=0, description="rigid shape off the portrait's, thousandths of eye distance")
