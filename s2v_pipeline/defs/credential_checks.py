"""The asset check of the delivered video's content credentials.

Belongs here: what must hold of them. Does not belong here: verifying (video.verification), other checks (checks).
"""

from pathlib import Path

import dagster as dg

from s2v_pipeline.defs.assets import final_videos
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.stored import stored_video
from s2v_pipeline.video.certificate import credentials_at
from s2v_pipeline.video.credentials import MEDIA_TYPES, trusted_signers
from s2v_pipeline.video.verification import verify_file
from s2v_pipeline.video.xmp import AI_GENERATED


@dg.asset_check(
    asset=final_videos,
    blocking=True,
    description="The content credentials verify, say that AI made the video, and name this portrait and this speech.",
)
def credentials_verify(
    context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.AssetCheckResult:
    """The file as it lies in the store, read by c2pa's own reader.

    Without credentials because a setting says so or the container has no place for them, the check does not pass, but
    only warns.
    """
    speech, video, path = stored_video(context, pipeline)
    settings = credentials_at(pipeline.settings(), pipeline.folder())
    found = verify_file(path, trusted_signers(settings))
    may_lack_them = not settings.credentials.enabled or Path(video.video_part).suffix not in MEDIA_TYPES
    if found.status == "absent" and may_lack_them:
        return dg.AssetCheckResult(
            passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"credentials": video.credentials}
        )
    sources = found.claims and (found.claims.portrait_sha256, found.claims.speech_sha256)
    return dg.AssetCheckResult(
        passed=found.status == "valid"
        and found.source_type == found.xmp_source_type == AI_GENERATED
        and sources == (speech.portrait.sha256, speech.speech.sha256),
        metadata={
            "credentials": found.status,
            "signer": found.signer,
            "trust": found.trust,
            "signed_at": found.signed_at,
            "time_stamped": found.time_stamped,
            "digital_source_type": str(found.source_type),
            "problems": "; ".join((*found.problems, *found.codes)),
        },
    )


CREDENTIAL_CHECKS = (credentials_verify,)
