"""The sensor on the input folder: what is whole and new becomes a partition and a run.

Belongs here: deciding which inputs of a scan are new, and asking for their runs.
Does not belong here: reading the folder (inputs.scan), registering inputs by hand (launch).
"""

import json
import time
from collections.abc import Mapping, Sequence

import dagster as dg

from s2v_pipeline.defs.jobs import make_video
from s2v_pipeline.defs.partitions import INPUTS
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.errors import ManifestError
from s2v_pipeline.inputs.scan import Refused, Scan, scan_inputs
from s2v_pipeline.inputs.slug import input_slug

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
    asked: Mapping[str, str] = json.loads(context.cursor) if context.cursor else {}
    catalogue = pipeline.catalogue()
    taken_up: dict[str, str] = {}
    requests: list[dg.RunRequest] = []
    refused = list(scan.refused)
    for source in scan.ready:
        if len(requests) == limits.runs_per_tick:
            break
        try:
            state = source.fingerprint()[:_FINGERPRINT_LETTERS]
            if asked.get(source.input_id) == state:
                continue
            catalogue.check_free(source)
            catalogue.add(source)
        except ManifestError as error:  # its name is taken, or its files went away since the scan
            refused.append(Refused(source.name, error))
            continue
        taken_up[source.input_id] = state
        requests.append(
            dg.RunRequest(
                run_key=f"{source.input_id}:{state}",
                partition_key=source.input_id,
                tags={"s2v/way_in": "watched folder", "s2v/input_name": source.name},
            )
        )
    for each in refused:
        context.log.warning("%s was refused: %s", each.name, each.error)
    # Inputs that vanished are forgotten, which bounds the cursor.
    there = {source.input_id for source in scan.ready} | {input_slug(waiting.name) for waiting in scan.waiting}
    still_asked = {input_id: state for input_id, state in asked.items() if input_id in there}
    return dg.SensorResult(
        run_requests=requests,
        dynamic_partitions_requests=[INPUTS.build_add_request(list(taken_up))] if taken_up else [],
        cursor=json.dumps({**still_asked, **taken_up}),
        skip_reason=None if requests else dg.SkipReason(_say(scan, refused)),
    )


def _say(scan: Scan, refused: Sequence[Refused]) -> str:
    """One line on what the folder holds, for the tick."""
    lines = [f"{len(scan.ready)} inputs known, nothing new"]
    lines += [f"{waiting.name}: {waiting.reason}" for waiting in scan.waiting[:_MOST_NAMES_SAID]]
    lines += [f"{each.name} refused: {each.error}" for each in refused[:_MOST_NAMES_SAID]]
    left_out = len(scan.waiting) + len(refused) - (len(lines) - 1)
    return "; ".join(lines) + (f"; and {left_out} more" if left_out else "")
