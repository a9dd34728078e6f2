"""Asset checks; the blocking ones keep a wrong result from going on.

Belongs here: comparing a stored result with what it must be, one check a question.
Does not belong here: measuring (each stage's package), the full quality gate of a finished
    video (quality).
"""

from fractions import Fraction

import dagster as dg

from s2v_pipeline.audio.tracks import clean_up_report, delivered_path
from s2v_pipeline.chunks.latents import load_latents
from s2v_pipeline.defs.assets import (
    audio_features,
    chunk_latents,
    final_videos,
    phoneme_alignments,
    rendered_clips,
)
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.stored import stored_manifest, stored_tables, stored_video
from s2v_pipeline.timebase import frames_for_samples
from s2v_pipeline.video.audio_difference import audio_difference
from s2v_pipeline.video.picture_checks import check_picture
from s2v_pipeline.video.probe import probe_video

_EDGE_TOLERANCE_S = 1e-6  # tables hold float64 seconds; a microsecond is far below a sample
_LEAST_SHARE_LABELLED = 0.5  # of the time in which somebody speaks; below it the mouth stays shut through speech
# AAC of clean speech keeps over 20 dB at 160 kbit/s and about 9 dB at 32 kbit/s; sound of which little is speech keeps
# less. Other sound gives below 3 dB at no delay.
_LEAST_AUDIO_SNR_DB = 3.0
_MOST_AUDIO_LAG_SAMPLES = 1


@dg.asset_check(
    asset=phoneme_alignments,
    blocking=True,
    description="Phonemes follow each other from the first to the last sample and cover the speech that was heard.",
)
def alignment_covers_speech(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Contiguity and coverage."""
    speech, features, phonemes = stored_tables(context, pipeline)
    duration_s = float(speech.duration_s)
    starts, ends = phonemes["start_s"].to_numpy(), phonemes["end_s"].to_numpy()
    worst_gap_s = float(abs(starts[1:] - ends[:-1]).max()) if len(phonemes) > 1 else 0.0
    ends_off_s = max(abs(float(starts[0])), abs(float(ends[-1]) - duration_s))
    labelled_s, speech_s = 0.0, 0.0
    spoken = phonemes[phonemes["phone"] != "SIL"]
    for from_s, until_s in features.attrs["segments"]:
        speech_s += until_s - from_s
        overlap = spoken["end_s"].clip(upper=until_s) - spoken["start_s"].clip(lower=from_s)
        labelled_s += float(overlap.clip(lower=0).sum())
    share = labelled_s / speech_s if speech_s else 1.0
    return dg.AssetCheckResult(
        passed=worst_gap_s < _EDGE_TOLERANCE_S and ends_off_s < 1e-3 and share >= _LEAST_SHARE_LABELLED,
        metadata={
            "share_of_speech_with_phonemes": round(share, 4),
            "least_share": _LEAST_SHARE_LABELLED,
            "worst_gap_s": worst_gap_s,
            "ends_off_s": ends_off_s,
            "phonemes": len(spoken),
        },
    )


@dg.asset_check(
    asset=audio_features,
    blocking=True,
    description="One row for every video frame, no value that is not a number.",
)
def features_match_frames(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Row count and finiteness."""
    speech, features, _ = stored_tables(context, pipeline, with_phonemes=False)
    expected = frames_for_samples(speech.n_samples, speech.rate_hz, speech.fps)
    not_finite = int(features.select_dtypes("number").isna().sum().sum())
    return dg.AssetCheckResult(
        passed=len(features) == expected and not_finite == 0,
        metadata={"rows": len(features), "frames": expected, "values_not_finite": not_finite},
    )


@dg.asset_check(
    asset=chunk_latents,
    blocking=True,
    description="Every chunk's latents exist, are those that were written, and span the frames of the plan.",
)
def latents_match_plan(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Files against the manifest, and the manifest against the audio's length."""
    speech, manifest = stored_manifest(context, pipeline, "chunk_latents")
    expected = frames_for_samples(speech.n_samples, speech.rate_hz, speech.fps)
    wrong = []
    for chunk in manifest.chunks:
        path = pipeline.store().read_path("chunk_latents", manifest.input_id, chunk.part)
        frames, _ = load_latents(path)
        if frames != chunk.frames:
            wrong.append(chunk.part)
    return dg.AssetCheckResult(
        passed=manifest.n_frames == expected and not wrong,
        metadata={"frames": manifest.n_frames, "frames_of_audio": expected, "wrong_files": ", ".join(wrong)},
    )


@dg.asset_check(
    asset=rendered_clips,
    blocking=True,
    description="Every clip holds exactly the frames of its chunk, counted in the file.",
)
def clips_match_plan(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Frame counts of the files against the plan."""
    speech, manifest = stored_manifest(context, pipeline, "rendered_clips")
    expected = frames_for_samples(speech.n_samples, speech.rate_hz, speech.fps)
    wrong = []
    for clip in manifest.chunks:
        probe = probe_video(pipeline.store().read_path("rendered_clips", manifest.input_id, clip.part))
        if probe.n_frames != len(clip.frames):
            wrong.append(f"{clip.part}: {probe.n_frames} instead of {len(clip.frames)}")
    return dg.AssetCheckResult(
        passed=manifest.n_frames == expected and not wrong,
        metadata={"frames": manifest.n_frames, "frames_of_audio": expected, "wrong_files": "; ".join(wrong)},
    )


@dg.asset_check(
    asset=final_videos,
    blocking=True,
    description="Picture and sound start at zero and their lengths differ by half a frame at most.",
)
def video_length_is_exact(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Probe of the delivered file against the speech."""
    speech, video, path = stored_video(context, pipeline)
    probe = probe_video(path)
    off_s = probe.video_duration_s - speech.duration_s
    half_frame_s = Fraction(1, 2) / video.fps
    # A video of one frame cannot be shorter than its frame.
    close_enough = abs(off_s) <= half_frame_s or probe.n_frames == 1
    whole_speech = probe.audio_duration_s >= speech.duration_s - Fraction(1, speech.rate_hz)
    return dg.AssetCheckResult(
        passed=close_enough and whole_speech and probe.video_start_s == 0 and probe.audio_start_s == 0,
        metadata={
            "video_s": float(probe.video_duration_s),
            "audio_s": float(probe.audio_duration_s),
            "speech_s": float(speech.duration_s),
            "video_minus_speech_ms": round(1000 * float(off_s), 3),
            "half_a_frame_ms": round(1000 * float(half_frame_s), 3),
            "video_start_s": float(probe.video_start_s),
            "audio_start_s": float(probe.audio_start_s),
        },
    )


@dg.asset_check(
    asset=final_videos,
    blocking=True,
    description="No black picture and no frozen one, looked for in the decoded frames.",
)
def picture_is_alive(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Decoded-frame checks."""
    _, video, path = stored_video(context, pipeline)
    report = check_picture(path)
    return dg.AssetCheckResult(
        passed=report.passed and report.n_frames == video.n_frames,
        metadata={"frames_decoded": report.n_frames, "frames": video.n_frames, "report": report.summary},
    )


@dg.asset_check(
    asset=final_videos,
    blocking=True,
    description="The sound of the video is the one that was chosen (the original by default): same content, no delay.",
)
def sound_is_the_original(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """Decoded sound of the delivered file against the stored sound that `audio.delivered` chose.

    A cleaned or normalised sound must lie on the original's clock, too: it is compared with the recording as well,
    which it follows without delay, though not in its noise.
    """
    speech, video, path = stored_video(context, pipeline)
    _, features, _ = stored_tables(context, pipeline, with_phonemes=False)
    store, report = pipeline.store(), clean_up_report(features.attrs)
    given = store.read_path("speech_inputs", speech.input_id, speech.speech.name)
    chosen = delivered_path(report, speech.input_id, store)
    difference = lagged = audio_difference(path, chosen, channels=video.audio_channels)
    if chosen != given:
        lagged = audio_difference(path, given, channels=video.audio_channels)
    lag_to_original = lagged.lag_samples
    lags = (difference.lag_samples, lag_to_original)
    return dg.AssetCheckResult(
        passed=max(map(abs, lags)) <= _MOST_AUDIO_LAG_SAMPLES and difference.snr_db >= _LEAST_AUDIO_SNR_DB,
        metadata={
            "compared_with": report["delivered"]["choice"],
            "lag_to_original_samples": lag_to_original,
            "lag_samples": difference.lag_samples,
            "snr_db": round(difference.snr_db, 2),
            "least_snr_db": _LEAST_AUDIO_SNR_DB,
        },
    )


CHECKS = (
    features_match_frames,
    alignment_covers_speech,
    latents_match_plan,
    clips_match_plan,
    video_length_is_exact,
    picture_is_alive,
    sound_is_the_original,
)
