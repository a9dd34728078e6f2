"""The quality gate of a finished video, as asset checks.

Belongs here: one measuring of the video, one check result for each question, the report's files, the trend in the UI.
Does not belong here: measures and limits (video.gate), checks of other stages (checks).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from s2v_pipeline.artifacts import content_key
from s2v_pipeline.defs.assets import final_videos
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.stored import stored_tables, stored_video
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.gate_settings import GateSettings
from s2v_pipeline.video.expected import expected_video
from s2v_pipeline.video.face_embedding import FaceEmbedder
from s2v_pipeline.video.gate import judge
from s2v_pipeline.video.inspection import Expected, Inspection, inspect_video
from s2v_pipeline.video.quality_report import PAGE_PART, REPORT_PART, write_page, write_report
from s2v_pipeline.video.verdict import CHECKS, Measured, passed

_WHAT = {
    "container_is_as_ordered": "Codec, size, frame rate and colour tags are what was ordered; the index comes first.",
    "length_is_exact": "All frames are there; picture and sound start at 0 and are as long as the speech.",
    "frames_are_whole": "No empty or damaged frame, no jump, nothing unlike the portrait.",
    "picture_moves": "The picture neither freezes nor stutters nor trembles.",
    "picture_is_clean": "No bars, no banding, no blur, no noise that the portrait has not.",
    "colours_are_kept": "Brightness and colours are the portrait's and stay so; nothing flickers.",
    "sound_is_the_speech": "The sound is the one chosen: same content, level and length, no delay.",
    "lips_follow_speech": "The mouth opens with the phonemes, at their time, and closes on P, B and M.",
    "lips_rest_in_silence": "Lips are still while nobody speaks.",
    "face_is_kept": "One face in every frame, of the portrait's shape.",
    "captions_fit": "Captions are readable, in order, and within the video.",
}
# Figures whose course over the inputs the UI draws.
_TREND = (
    "opening against phones",
    "lips closed on P, B, M",
    "lips' movement in pauses",
    "jitter of the head",
    "face's shape off the portrait's",
    "likeness to the portrait",
    "sound over its difference",
)


@dg.multi_asset_check(
    name="quality_gate",
    specs=[
        dg.AssetCheckSpec(name=check, asset=final_videos, description=_WHAT[check], blocking=True) for check in CHECKS
    ],
)
def quality_gate(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> Iterator[dg.AssetCheckResult]:
    """Measures the delivered file once; `gate.blocking` says which checks fail the run, the others warn."""
    speech, video, path = stored_video(context, pipeline)
    settings = pipeline.settings_for(pipeline.catalogue().get(speech.input_id)).settings
    limits = settings.gate
    if not limits.enabled:
        context.log.warning("gate.enabled is false: %s was not measured", path.name)
        for check in CHECKS:
            yield _result(check, True, {"not_measured": "gate.enabled is false"}, limits)
        return
    # 1. measure and judge
    _, features, phonemes = stored_tables(context, pipeline)
    expected = expected_video(speech, features.attrs, phonemes, video, settings, pipeline.store())
    embedder = None if limits.identity_model is None else FaceEmbedder(pipeline.folder() / limits.identity_model)
    found = inspect_video(path, expected, FaceLandmarker(settings.paths.face_model), embedder)
    measured = judge(found, expected, limits)
    # 2. the report, for people and for programs
    page = _write(pipeline, video.input_id, video.sha256, path, found, expected, measured, limits)
    # 3. what the UI shows
    context.op_execution_context.log_event(
        dg.AssetObservation(
            asset_key=final_videos.key,
            partition=video.input_id,
            metadata={
                measure.measure.replace("'", "").replace(",", "").replace(" ", "_"): measure.value
                for measure in measured
                if measure.measure in _TREND and measure.value is not None
            },
        )
    )
    for check in CHECKS:
        lines = [measure for measure in measured if measure.check == check]
        metadata: Mapping[str, dg.MetadataValue[Any] | str] = {
            "measures": dg.MetadataValue.md("\n".join(f"- {_mark(line)}{line.line}" for line in lines)),
            "report": dg.MetadataValue.path(str(page)),
        }
        yield _result(check, passed(measured, check), metadata, limits)


def _result(
    check: str, is_passed: bool, metadata: Mapping[str, dg.MetadataValue[Any] | str], limits: GateSettings
) -> dg.AssetCheckResult:
    blocks = check in limits.blocking
    return dg.AssetCheckResult(
        check_name=check,
        asset_key=final_videos.key,
        passed=is_passed,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def _mark(measure: Measured) -> str:
    return "" if measure.passed else "**fails** "


def _write(
    pipeline: PipelineResource,
    input_id: str,
    sha256: str,
    path: Path,
    found: Inspection,
    expected: Expected,
    measured: tuple[Measured, ...],
    limits: GateSettings,
) -> Path:
    """Both files beside the video; where the page lies."""
    store, key = pipeline.store(), content_key({"video": sha256, "limits": limits.model_dump(mode="json")})
    of = ("final_videos", input_id)
    store.write(*of, REPORT_PART, lambda file: write_report(file, path.name, measured), key=key, made_by="quality_gate")
    return store.write(
        *of,
        PAGE_PART,
        lambda file: write_page(file, path, path.name, found, expected, measured),
        key=key,
        made_by="quality_gate",
    )
