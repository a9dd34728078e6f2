"""The sensor that finds runs which Dagster was to try again and did not, and lets it do so.

Belongs here: telling such runs, having Dagster look at them once more, runs whose process is gone, a tick at a time.
Does not belong here: retries themselves (Dagster's daemon, by the instance's `run_retries`), inputs (sensors).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from s2v_pipeline.defs.instance import close_dead_runs

INTERVAL_S = 30
# Dagster's daemon looks for failed runs every 5 s; one that it has not tried again after a minute it will not.
WAIT_S = 60.0
# As often Dagster is asked for one run; what it does not try then (its job is gone, its backfill has ended) stays.
MOST_TIMES = 5
# What failed longer ago is no longer waited for by anybody; who still wants it runs it again.
_WITHIN = timedelta(days=7)
_MOST_LOOKED_AT = 500  # a tick stays short after a large backfill that failed
# Names of Dagster's tags and the words of its event, which it does not export; the tests run its own code against them.
_WILL_RETRY_TAG = "dagster/will_retry"
_MAX_RETRIES_TAG = "dagster/max_retries"
_REASON_TAG = "dagster/failure_reason"
_PARTITION_TAG = "dagster/partition"
_PARENT_TAG = "dagster/parent_run_id"
_STEP_FAILURE = "STEP_FAILURE"
_RETRY_FAILED = "Failed to retry run"


@dataclass(frozen=True)
class LostRun:
    """A failed run that was to be tried again, and was not.

    Attributes:
        run: the run.
        n_reports: how often its failure has been reported, the first time included.
    """

    run: dg.DagsterRun
    n_reports: int

    @property
    def is_given_up(self) -> bool:
        """Whether Dagster was asked often enough."""
        return self.n_reports > MOST_TIMES


def find_lost_runs(instance: dg.DagsterInstance, *, now_s: float) -> list[LostRun]:
    """Failed runs that Dagster was to try again and did not, newest first.

    Dagster (1.13) loses a retry in two ways. Its daemon meets a run's failure in the event log before the run's own
    record says that it failed, and passes it by for good. Or the code server is away when the daemon makes the new run,
    which it takes for a decision not to.

    Runs that somebody started again, or whose input a later run of the same job has taken up, are not lost.

    Args:
        now_s: seconds since the epoch.
    """
    if not instance.run_retries_enabled:
        return []
    failed = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=datetime.fromtimestamp(now_s, UTC) - _WITHIN
    )
    found = []
    for record in instance.get_run_records(failed, limit=_MOST_LOOKED_AT):
        run = record.dagster_run
        if record.end_time is None or now_s - record.end_time < WAIT_S:
            continue
        if _was_to_be_tried_again(instance, run) and not _is_followed(instance, record):
            reports = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
            found.append(LostRun(run, n_reports=len(reports)))
    return found


def _was_to_be_tried_again(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    decision = run.tags.get(_WILL_RETRY_TAG)
    if decision is None:  # the process was killed between the failure and the decision
        return True
    if decision == "true":
        return bool(run.is_complete_and_waiting_to_retry)
    is_step_failure = run.tags.get(_REASON_TAG) == _STEP_FAILURE
    if run.tags.get(_MAX_RETRIES_TAG) == "0" or (
        is_step_failure and not instance.run_retries_retry_on_asset_or_op_failure
    ):
        return False
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return any(event.get_dagster_event().message == _RETRY_FAILED for event in events)


def _is_followed(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    run = record.dagster_run
    if instance.get_runs(dg.RunsFilter(tags={_PARENT_TAG: run.run_id}), limit=1):
        return True
    partition = run.tags.get(_PARTITION_TAG)
    if partition is None:
        return False
    later = dg.RunsFilter(
        job_name=run.job_name, tags={_PARTITION_TAG: partition}, created_after=record.create_timestamp
    )
    return any(other.run_id != run.run_id for other in instance.get_runs(later, limit=2))


def report_lost_runs(instance: dg.DagsterInstance, *, now_s: float) -> list[LostRun]:
    """Report the failure of lost runs once more, as far as they are not given up; all that were found.

    The daemon takes the report for a new failure and does the retry itself, by its own rules. Nothing else starts a
    run, and it looks for a retry that is already there, so that reporting once too often starts nothing twice.

    Args:
        now_s: seconds since the epoch.
    """
    found = find_lost_runs(instance, now_s=now_s)
    for lost in found:
        if not lost.is_given_up:
            instance.report_run_failed(
                lost.run,
                "Dagster was to try this run again and did not. Its failure is reported once more "
                f"({lost.n_reports} of at most {MOST_TIMES} times), so that Dagster looks at it again.",
            )
    return found


@dg.sensor(
    minimum_interval_seconds=INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone, and has Dagster try again what it was to try again and did not.",
)
def recover_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """One look at the instance's runs; it starts none itself, so each tick is a skipped one that says what it did."""
    closed = close_dead_runs(context.instance)
    found = report_lost_runs(context.instance, now_s=time.time())
    for lost in found:
        if not lost.is_given_up:  # the others are in each tick for days, which is enough
            context.log.warning("run %s was to be tried again and was not; Dagster is asked to", lost.run.run_id)
    said = [f"ended {run_id}, whose process is gone" for run_id in closed]
    said += [
        f"{lost.run.run_id} was not tried again, run it again by hand"
        if lost.is_given_up
        else f"asked Dagster to try {lost.run.run_id} again"
        for lost in found
    ]
    return dg.SkipReason("; ".join(said) or "nothing to recover")
