"""The job that makes a video, whoever starts it.

Belongs here: the selection and its tags. Does not belong here: when it runs (sensors, cli, api, backfills).
"""

from __future__ import annotations

import dagster as dg

from s2v_pipeline.defs.assets import ASSETS

JOB_NAME = "make_video"

make_video = dg.define_asset_job(
    JOB_NAME,
    selection=dg.AssetSelection.assets(*ASSETS),
    tags={"s2v/flow": "speech-to-video"},
    description="From speech_inputs to final_videos with all checks, for one input.",
)
