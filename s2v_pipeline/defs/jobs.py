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
    # Other ways in put their own name over it.
    tags={"s2v/way_in": "Dagster"},
    description="From speech_inputs to final_videos with all checks, for one input.",
)
