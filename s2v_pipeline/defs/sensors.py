"""The sensor on the input folder: what is whole and new becomes a partition and a run.

Belongs here: deciding which inputs of a scan are new, and asking for their runs.
Does not belong here: reading the folder (inputs.scan), registering inputs by hand (launch).
"""

import json
import time
from collections.abc import Mapping

import dagster as dg

from s2v_pipeline.defs.jobs import make_video
from s2v_pipeline.defs.partitions import INPUTS
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.inputs.scan import Scan, scan_inputs
from s2v_pipeline.inputs.source import InputSource

INTERVAL_S = 10
_FINGERPRINT_LETTERS = 16  # 64 bits tell one state of an input from the next
_MOST_NAMES_SAID = 10  # a tick's message is read by people


@dg.sensor(
    job=make_video,
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Watches the input folder. Files that still change are left alone; an input that lacks its other half "
    "waits and says so; a changed input is made anew.",
)
def watch_inputs(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[PipelineResource]) -> dg.SensorResult:
    """One evaluation: at most `inputs.runs_per_tick` runs, the rest at the next ticks.

    The cursor maps input -> fingerprint of the state for which a run was asked, so it is committed together with the
    run requests: a crash in between loses nothing and repeats nothing.
    """
    limits = pipeline.settings().inputs
    scan = scan_inputs(pipeline.inputs_folder(), settle_s=limits.settle_s, now_s=time.time())
    for refused in scan.refused:
        context.log.warning("%s was refused: %s", refused.name, refused.error)

    asked: Mapping[str, str] = json.loads(context.cursor) if context.cursor else {}
    present = {source.input_id: source for source in scan.ready}
    news = [source for source in scan.ready if asked.get(source.input_id) != _state(source)][: limits.runs_per_tick]
    requests = []
    catalogue = pipeline.catalogue()
    for source in news:
        catalogue.add(source)
        requests.append(
            dg.RunRequest(
                run_key=f"{source.input_id}:{_state(source)}",
                partition_key=source.input_id,
                tags={"s2v/way_in": "watched folder", "s2v/input_name": source.name},
            )
        )
    # Inputs that vanished are forgotten, which bounds the cursor; coming back, they are made again.
    still_asked = {
        input_id: state for input_id, state in asked.items() if input_id in present or _hidden(scan, input_id)
    }
    cursor = json.dumps({**still_asked, **{source.input_id: _state(source) for source in news}})
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[INPUTS.build_add_request([source.input_id for source in news])] if news else [],
        cursor=cursor,
        skip_reason=None if requests else dg.SkipReason(_say(scan)),
    )


def _state(source: InputSource) -> str:
    return source.fingerprint()[:_FINGERPRINT_LETTERS]


def _hidden(scan: Scan, input_id: str) -> bool:
    """Whether an input is there but not ready, such as while it is being replaced."""
    return any(waiting.name == input_id for waiting in scan.waiting)


def _say(scan: Scan) -> str:
    """One line on what the folder holds, for the tick."""
    lines = [f"{len(scan.ready)} inputs known, nothing new"]
    lines += [f"{waiting.name}: {waiting.reason}" for waiting in scan.waiting[:_MOST_NAMES_SAID]]
    lines += [f"{refused.name} refused: {refused.error}" for refused in scan.refused[:_MOST_NAMES_SAID]]
    left_out = len(scan.waiting) + len(scan.refused) - (len(lines) - 1)
    return "; ".join(lines) + (f"; and {left_out} more" if left_out else "")
