"""What a finished video must be: each measure against its limit.

Belongs here: which measure answers which check, and comparing it. Does not belong here: measuring (inspection), the
limits' numbers (gate_settings), what a verdict is (verdict), Dagster (defs).

A measure that could not be taken is said and passes: a video without speech has no lip sync. What makes it impossible
to measure at all (no face, no sound) is a fault of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from s2v_pipeline.gate_settings import GateSettings
from s2v_pipeline.video.inspection import Expected, Inspection
from s2v_pipeline.video.probe import ColorTags
from s2v_pipeline.video.verdict import Measured

_BT709 = ColorTags(primaries=1, transfer=1, matrix=1, full_range=False)


def judge(found: Inspection, expected: Expected, limits: GateSettings) -> tuple[Measured, ...]:
    """Every measure of every check."""
    return (
        *_container(found, expected),
        *_length(found, expected),
        *_frames(found, limits),
        *_motion(found, limits),
        *_cleanness(found, limits),
        *_colours(found, limits),
        *_sound(found, expected, limits),
        *_lips(found, limits),
        *_silence(found, limits),
        *_face(found, limits),
        Measured(
            "captions_fit",
            "faults of captions",
            float(len(found.captions)) if expected.captions else None,
            0,
            at_least=False,
            note="; ".join(found.captions) if expected.captions else "there are none",
        ),
    )


def _container(found: Inspection, expected: Expected) -> Iterator[Measured]:
    probe = found.probe
    differences = [
        f"{name} {got} instead of {wanted}"
        for name, got, wanted in (
            ("codec", probe.codec, expected.codec),
            ("pixels", probe.pix_fmt, expected.pix_fmt),
            ("size", f"{probe.width_px}x{probe.height_px}", f"{expected.width_px}x{expected.height_px}"),
            ("frames a second", probe.fps, expected.fps),
            ("colour tags", probe.color, _BT709),
            ("index before media", probe.faststart, True),
        )
        if got != wanted
    ]
    yield Measured(
        "container_is_as_ordered", "differences", len(differences), 0, at_least=False, note="; ".join(differences)
    )


def _length(found: Inspection, expected: Expected) -> Iterator[Measured]:
    probe, check = found.probe, "length_is_exact"
    frame_ms = 1000 / float(expected.fps)
    # One frame stays for a whole frame even where the speech is shorter.
    most_ms = frame_ms / 2 if expected.n_frames > 1 else frame_ms
    off_ms = abs(1000 * float(probe.video_duration_s - expected.speech_s))
    cut_ms = max(0.0, 1000 * float(expected.speech_s - probe.audio_duration_s))
    yield Measured(check, "frames missing or too many", abs(probe.n_frames - expected.n_frames), 0, at_least=False)
    yield Measured(check, "picture's length off the speech's", off_ms, most_ms + 1e-6, at_least=False, unit=" ms")
    yield Measured(check, "speech cut off", cut_ms, _SAMPLE_MS, at_least=False, unit=" ms")
    starts_ms = max(abs(float(probe.video_start_s)), abs(float(probe.audio_start_s))) * 1000
    yield Measured(check, "start of picture or sound", starts_ms, 0, at_least=False, unit=" ms")


def _frames(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    picture, fps, check = found.picture, float(found.probe.fps), "frames_are_whole"
    first_empty = picture.empty_frames[0] / fps if picture.empty_frames else None
    first_jump = picture.jumps[0] / fps if picture.jumps else None
    yield Measured(
        check, "black frames", found.alive.n_black, 0, at_least=False, at_s=_float(found.alive.first_black_s)
    )
    yield Measured(check, "empty frames", len(picture.empty_frames), 0, at_least=False, at_s=first_empty)
    yield Measured(check, "jumps", len(picture.jumps), limits.most_jumps, at_least=False, at_s=first_jump)
    yield Measured(
        check,
        "likeness to the portrait",
        picture.likeness_least,
        limits.least_likeness,
        at_least=True,
        at_s=picture.likeness_frame / fps,
    )
    usual = picture.likeness_usual
    yield Measured(check, "usual likeness to the portrait", usual, limits.least_usual_likeness, at_least=True)


def _motion(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    picture, alive, check = found.picture, found.alive, "picture_moves"
    longest_s, start_s = float(alive.frozen_longest_s), _float(alive.frozen_start_s)
    yield Measured(
        check, "longest time without change", longest_s, limits.most_frozen_s, at_least=False, unit=" s", at_s=start_s
    )
    yield Measured(check, "share of repeated frames", picture.repeated_share, limits.most_repeated, at_least=False)
    yield Measured(check, "share of frames out of order", picture.shaken_share, limits.most_shaken, at_least=False)
    yield Measured(check, "evenness of motion", picture.cadence, limits.least_cadence, at_least=True)
    jitter = found.face.jitter
    yield Measured(
        check,
        "jitter of the head",
        None if jitter is None else jitter.rms,
        limits.most_jitter,
        at_least=False,
        unit=" thousandths of the eyes' distance",
        at_s=None if jitter is None else jitter.worst_s,
        note="" if jitter else "too few frames",
    )


def _cleanness(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    picture, check = found.picture, "picture_is_clean"
    yield Measured(check, "flat bar at a side", picture.bar_share, limits.most_bar_share, at_least=False)
    yield Measured(
        check, "flat parts above the portrait's (banding)", picture.flat_more, limits.most_banding, at_least=False
    )
    sharpness = picture.sharpness_ratio
    yield Measured(check, "sharpness over the portrait's", sharpness, limits.least_sharpness, at_least=True)
    yield Measured(check, "noise above the portrait's", picture.grain_more, limits.most_noise, at_least=False)


def _colours(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    picture, check = found.picture, "colours_are_kept"
    yield Measured(
        check, "brightness off the portrait's", picture.brightness_off, limits.most_brightness, at_least=False
    )
    yield Measured(check, "colour off the portrait's", picture.colour_off, limits.most_colour, at_least=False)
    yield Measured(check, "drift of the whole picture", picture.drift, limits.most_picture_drift, at_least=False)
    yield Measured(check, "flicker", picture.flicker, limits.most_flicker, at_least=False)
    for part in found.face.colours:
        yield Measured(
            check,
            f"drift of the {part.part.replace('_', ' ')}",
            part.drift,
            limits.most_colour_drift,
            at_least=False,
            unit=" ΔE",
            at_s=part.drift_at_s,
        )


def _sound(found: Inspection, expected: Expected, limits: GateSettings) -> Iterator[Measured]:
    sound, check = found.sound, "sound_is_the_speech"
    yield Measured(check, "delay of the sound", abs(sound.lag_samples), 1, at_least=False, unit=" samples")
    yield Measured(
        check, "sound over its difference", sound.snr_db, limits.least_sound_snr_db, at_least=True, unit=" dB"
    )
    louder = abs(found.level.integrated_lufs - found.speech_level.integrated_lufs)
    yield Measured(
        check,
        "loudness off the speech's",
        louder if expected.channels == "source" else None,
        limits.most_loudness_lu,
        at_least=False,
        unit=" LU",
        note="" if expected.channels == "source" else "mixing changes it",
    )
    length_ms = abs(1000 * float(sound.length_difference_s))
    yield Measured(check, "length off the speech's", length_ms, _EDIT_LIST_MS, at_least=False, unit=" ms")


def _lips(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    lips, check = found.face.lips, "lips_follow_speech"
    why = "; ".join(lips.cannot_tell) or "too little speech"
    correlation = None if lips.opening is None else lips.opening.correlation
    yield Measured(
        check,
        "opening against phones",
        correlation,
        limits.least_openness,
        at_least=True,
        note=_if_none(correlation, why),
    )
    offset = found.face.offset
    # What lies within the measure's own 95 % range of a frame is not known to be more than a frame.
    beyond_ms = None if offset is None else 1000 * max(0.0, abs(offset.picture_minus_sound_s) - offset.uncertainty_95_s)
    frame_ms = 1000 * limits.most_offset_frames / float(found.probe.fps)
    yield Measured(
        check,
        "picture against sound, beyond doubt",
        beyond_ms,
        frame_ms,
        at_least=False,
        unit=" ms",
        note=why
        if offset is None
        else f"{1000 * offset.picture_minus_sound_s:+.0f} ± {1000 * offset.uncertainty_95_s:.0f} ms",
    )
    closures = lips.closures
    share = None if closures is None else closures.reached / max(1, closures.total)
    if closures is not None and closures.total < limits.fewest_closures:
        share, why = None, f"only {closures.total} of P, B and M"
    missed_s = None if closures is None or not closures.missed else closures.missed[0][1]
    yield Measured(
        check,
        "lips closed on P, B, M",
        share,
        limits.least_closures,
        at_least=True,
        at_s=missed_s,
        note=_if_none(share, why),
    )


def _silence(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    silence, noise, check = found.face.lips.silence, found.face.noise, "lips_rest_in_silence"
    deviation = None if silence is None else silence.deviation
    floor = 0.0 if noise is None else noise.opening_deviation
    yield Measured(
        check,
        "lips' movement in pauses",
        deviation,
        limits.most_silent_lips + limits.times_tracker_noise * floor,
        at_least=False,
        unit=" eye distances",
        note="no pause long enough" if deviation is None else "",
    )


def _face(found: Inspection, limits: GateSettings) -> Iterator[Measured]:
    faces, identity, check = found.face.faces, found.face.identity, "face_is_kept"
    share = faces.without_face / max(1, faces.frames)
    yield Measured(
        check, "share without a face", share, limits.most_without_face, at_least=False, at_s=faces.first_without_s
    )
    several_s = faces.several_at_s[0] if faces.several_at_s else None
    yield Measured(check, "faces at once", faces.most_faces, 1, at_least=False, at_s=several_s)
    why = "no face in the portrait" if not found.portrait_has_face else "no face in the video"
    worst = None if identity is None else identity.worst_against_portrait
    yield Measured(
        check,
        "face's shape off the portrait's",
        worst,
        limits.most_shape_off,
        at_least=False,
        unit=" thousandths of the eyes' distance",
        at_s=None if identity is None else identity.worst_s,
        note=_if_none(worst, why),
    )
    if limits.identity_model is not None:
        likeness = found.likeness
        yield Measured(
            check,
            "likeness of the face by the recognition model",
            None if likeness is None else likeness.worst,
            limits.least_identity,
            at_least=True,
            at_s=None if likeness is None else likeness.worst_s,
            note=_if_none(None if likeness is None else likeness.worst, why),
        )


_SAMPLE_MS = 0.13  # a sample of the lowest rate, 8 kHz, is 0.125 ms
_EDIT_LIST_MS = 1.0  # many writers of MP4 state lengths in whole ms


def _float(value: Fraction | None) -> float | None:
    return None if value is None else float(value)


def _if_none(value: float | None, why: str) -> str:
    return why if value is None else ""
