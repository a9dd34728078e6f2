"""Starting the job for an input from a command or from Python: the same graph, on the same instance.

Belongs here: registering inputs, one run in this process, what came of it.
Does not belong here: flags and printing (cli), the public Python class (api), servers (up).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.instance import open_instance, process_tags
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.jobs import JOB_NAME
from s2v_pipeline.defs.partitions import PARTITIONS_NAME
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.errors import GenerationError, InputError, ManifestError, S2VError
from s2v_pipeline.inputs.source import InputSource
from s2v_pipeline.settings import ResolvedSettings, load_settings
from s2v_pipeline.video.manifest import FinalVideo


@dataclass(frozen=True)
class Project:
    """A project folder with its settings: what every way in starts from."""

    folder: Path

    @property
    def pipeline(self) -> PipelineResource:
        """Settings, store and catalogue of the folder."""
        return PipelineResource(project_dir=str(self.folder))

    def settings(self) -> ResolvedSettings:
        """The machine's settings and where each came from."""
        return load_settings(project_dir=self.folder, environment=os.environ)

    def instance(self) -> dg.DagsterInstance:
        """The Dagster instance of this project."""
        return open_instance(self.folder / self.settings().settings.paths.dagster_home)


@dataclass(frozen=True)
class RunOutcome:
    """What came of one run.

    Attributes:
        run_id: of the Dagster run.
        video: the delivered video, None when the run failed.
        error: why it failed, None when it did not.
        step_s: wall seconds of each step, in the order in which they ended.
    """

    run_id: str
    video: FinalVideo | None
    error: S2VError | None
    step_s: Mapping[str, float]


def register(project: Project, instance: dg.DagsterInstance, sources: Iterable[InputSource]) -> tuple[str, ...]:
    """Put inputs into the catalogue and add their partitions; the partition keys.

    Raises:
        ManifestError: a key is taken by an input that came another way.
    """
    catalogue = project.pipeline.catalogue()
    known = catalogue.fingerprints()
    keys = []
    for source in sources:
        if source.input_id in known:
            present = catalogue.get(source.input_id)
            if present.origin != source.origin:
                raise ManifestError(
                    f"an input's name must be its own; {source.input_id!r} is taken",
                    got=f"{source.name!r} by {source.origin}, while {present.name!r} came by {present.origin}",
                    cure="Give it another name (--name, the id column, or the file's name).",
                )
        catalogue.add(source)
        keys.append(source.input_id)
    instance.add_dynamic_partitions(PARTITIONS_NAME, keys)
    return tuple(keys)


def run_here(project: Project, instance: dg.DagsterInstance, input_id: str, *, way_in: str) -> RunOutcome:
    """Run the job for one registered input in this process; the run is in the UI's history like any other."""
    job = build_definitions(pipeline=project.pipeline).resolve_job_def(JOB_NAME)
    result = job.execute_in_process(
        instance=instance,
        partition_key=input_id,
        tags={**process_tags(), "s2v/way_in": way_in},
        # The event log has everything; the terminal belongs to the caller's progress bars.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    store = project.pipeline.store()
    return RunOutcome(
        run_id=result.run_id,
        video=_video(store, input_id) if result.success else None,
        error=None if result.success else _error(instance, result.run_id, input_id),
        step_s=_step_seconds(instance, result.run_id),
    )


def with_flags(source: InputSource, flags: Mapping[str, object]) -> InputSource:
    """The source with flags on top of its own settings."""
    merged = {group: dict(values) for group, values in source.settings.items()}
    for group, values in flags.items():
        if isinstance(values, Mapping):
            merged.setdefault(group, {}).update(values)
    return replace(source, settings=merged)


def _video(store: ArtifactStore, input_id: str) -> FinalVideo:
    value = load_value(store, "final_videos", input_id)
    if not isinstance(value, FinalVideo):
        raise TypeError(f"final_videos holds a FinalVideo; got {type(value).__name__}")
    return value


def _step_seconds(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    ended = [
        (step.end_time, step.end_time - step.start_time, step.step_key)
        for step in instance.get_run_step_stats(run_id)
        if step.start_time is not None and step.end_time is not None
    ]
    return {step_key: seconds for _, seconds, step_key in sorted(ended)}


def _error(instance: dg.DagsterInstance, run_id: str, input_id: str) -> S2VError:
    """The first failure of a run, as the pipeline's own error where it was one."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data
        if failure.user_failure_data is not None:
            values = {name: entry_.value for name, entry_ in failure.user_failure_data.metadata.items()}
            if {"rule", "got", "cure"} <= set(values):
                return InputError(str(values["rule"]), got=str(values["got"]), cure=str(values["cure"]))
            return GenerationError(
                f"the run for {input_id!r} must go through",
                got=str(failure.user_failure_data.description),
                cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log.",
            )
        if failure.error is not None:
            return GenerationError(
                f"every step of the run for {input_id!r} must go through",
                got=f"in {entry.step_key}: {_innermost_message(failure.error)}",
                cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log. Finished chunks are kept.",
            )
    failed = [
        evaluation.check_name
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if not (evaluation := entry.get_dagster_event().asset_check_evaluation_data).passed
    ]
    if failed:
        return GenerationError(
            f"every blocking check of the run for {input_id!r} must pass",
            got=", ".join(failed),
            cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the figures.",
        )
    ends = [entry.get_dagster_event() for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)]
    causes = [end.job_failure_data.error for end in ends if end.job_failure_data.error is not None]
    return GenerationError(
        f"the run for {input_id!r} must start",
        got="; ".join(map(_innermost_message, causes)) or "no reason in its log",
        cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log.",
    )


def _innermost_message(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    return error.message.strip()
