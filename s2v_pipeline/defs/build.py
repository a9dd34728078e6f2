"""One function that puts the definitions together.

Belongs here: the list of everything that the code location offers, with overrides for tests and other deployments.
Does not belong here: any of its parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from s2v_pipeline.defs.assets import ASSETS
from s2v_pipeline.defs.checks import CHECKS
from s2v_pipeline.defs.credential_checks import CREDENTIAL_CHECKS
from s2v_pipeline.defs.io_manager import StoreIOManager
from s2v_pipeline.defs.jobs import make_video
from s2v_pipeline.defs.lost_runs import recover_runs
from s2v_pipeline.defs.quality import quality_gate
from s2v_pipeline.defs.resources import ExecutorResource, PipelineResource
from s2v_pipeline.defs.sensors import watch_inputs

ALL_CHECKS = (*CHECKS, *CREDENTIAL_CHECKS, quality_gate)
"""Every asset check, along the flow."""


def build_definitions(
    *, pipeline: PipelineResource | None = None, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """All definitions of the code location.

    Args:
        pipeline: settings and folders; the working folder's when absent.
        resources: replaces resources by name.
    """
    pipeline = pipeline or PipelineResource()
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=ALL_CHECKS,
        jobs=[make_video],
        sensors=[watch_inputs, recover_runs],
        # Parallel work happens on Ray; a process for every step would cost seconds each and outlive a killed run.
        executor=dg.in_process_executor,
        resources={
            "pipeline": pipeline,
            "executor": ExecutorResource(pipeline=pipeline),
            "io_manager": StoreIOManager(pipeline=pipeline),
            **(resources or {}),
        },
    )
