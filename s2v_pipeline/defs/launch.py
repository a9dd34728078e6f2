"""Starting the job for an input from a command or from Python: the same graph, on the same instance.

Belongs here: registering inputs, one run in this process, what came of it.
Does not belong here: flags and printing (cli), the public Python class (api), servers (up).
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy.exc import OperationalError

from s2v_pipeline import errors
from s2v_pipeline.artifacts import ArtifactStore, disk_errors
from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.instance import open_instance
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.jobs import JOB_NAME
from s2v_pipeline.defs.partitions import PARTITIONS_NAME
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.running import INTERRUPT_CAME, INTERRUPTED, is_interrupt
from s2v_pipeline.errors import ArtifactError, GenerationError, InputError, ManifestError, S2VError
from s2v_pipeline.inputs.source import InputSource
from s2v_pipeline.settings import ResolvedSettings, load_settings
from s2v_pipeline.video.manifest import FinalVideo

_CHECK_FAILED = "DagsterAssetCheckFailedError"  # Dagster's class, which it does not export
_INTERRUPT_POLL_S = 0.2  # how long the end of a run may wait for the thread that waits for Ctrl-C
_OWN_ERRORS = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, S2VError)
}


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
        """The Dagster instance of this project.

        Raises:
            ArtifactError: its folder is full, may not be written, or cannot be made.
        """
        home = self.folder / self.settings().settings.paths.dagster_home
        with disk_errors(home), _storage_errors(home):
            return open_instance(home)


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
        ManifestError: a key is taken by an input that came another way, or a file is gone; the others are registered.
        ArtifactError: the catalogue's folder or Dagster's is full or may not be written.
    """
    keys, refused = register_each(project, instance, sources)
    for error in refused.values():
        raise error
    return keys


def register_each(
    project: Project, instance: dg.DagsterInstance, sources: Iterable[InputSource]
) -> tuple[tuple[str, ...], Mapping[str, ManifestError]]:
    """As `register`, where one that cannot be registered harms no other: the partition keys, and name -> why not.

    Raises:
        ArtifactError: the catalogue's folder or Dagster's is full or may not be written.
    """
    catalogue = project.pipeline.catalogue()
    keys = []
    refused = {}
    for source in sources:
        try:
            catalogue.check_free(source)
            catalogue.add(source)
        except ManifestError as error:
            refused[source.name] = error
        else:
            keys.append(source.input_id)
    with _storage_errors(Path(instance.root_directory)):
        instance.add_dynamic_partitions(PARTITIONS_NAME, keys)
    return tuple(keys), refused


def run_here(project: Project, instance: dg.DagsterInstance, input_id: str, *, way_in: str) -> RunOutcome:
    """Run the job for one registered input in this process; the run is in the UI's history like any other.

    Raises:
        ArtifactError: Dagster's folder is full or may not be written.
        KeyboardInterrupt: the run was interrupted; it is in the history as failed.
    """
    with _storage_errors(Path(instance.root_directory)):
        return _run(project, instance, input_id, way_in)


def _run(project: Project, instance: dg.DagsterInstance, input_id: str, way_in: str) -> RunOutcome:
    job = build_definitions(pipeline=project.pipeline).resolve_job_def(JOB_NAME)
    result = job.execute_in_process(
        instance=instance,
        partition_key=input_id,
        # Whoever started it here starts it again; the daemon of a `s2v up` must not do so behind their back.
        tags={"s2v/way_in": way_in, "dagster/max_retries": "0"},
        # The event log has everything; the terminal belongs to the caller's progress bars.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        raise_on_error=False,
    )
    if not result.success and _was_interrupted(instance, result.run_id):
        raise KeyboardInterrupt
    store = project.pipeline.store()
    return RunOutcome(
        run_id=result.run_id,
        video=_video(store, input_id) if result.success else None,
        error=None if result.success else _error(instance, result.run_id, input_id),
        step_s=_step_seconds(instance, result.run_id),
    )


@contextmanager
def interrupts_for_this_process_alone() -> Iterator[None]:
    """Ctrl-C reaches this process alone, which then ends in order what the block started.

    Those processes inherit the signal mask, so that none dies with a traceback; a thread waits for what it holds back.
    Does nothing where the system has no signal masks (Windows).
    """
    if not hasattr(signal, "sigpending"):
        yield
        return
    ended = threading.Event()

    def wait_for_interrupt() -> None:
        # Not sigtimedwait: when the process is stopped and goes on (Ctrl-Z, `fg`) after its timeout, Python's returns a
        # signal that never came.
        while not ended.wait(_INTERRUPT_POLL_S):
            if signal.SIGINT in signal.sigpending():
                signal.sigwait({signal.SIGINT})
                INTERRUPT_CAME.set()
                _thread.interrupt_main()

    waiting = threading.Thread(target=wait_for_interrupt, name="interrupts", daemon=True)
    INTERRUPT_CAME.clear()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    waiting.start()
    try:
        yield
    finally:
        ended.set()
        waiting.join()
        INTERRUPT_CAME.clear()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _storage_errors(home: Path) -> Iterator[None]:
    """Say which folder it is that Dagster's database cannot use."""
    try:
        yield
    except OperationalError as error:
        raise ArtifactError(
            f"Dagster's instance in {home.absolute()} must be a database that can be read and written",
            got=str(error.orig),
            cure="Check the folder's free space and permissions, or choose another: DAGSTER_HOME, paths.dagster_home.",
        ) from error


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


def _was_interrupted(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether Ctrl-C or SIGTERM ended a run, in a step or between two of them."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status is dg.DagsterRunStatus.CANCELED:
        return True
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data
        if failure.user_failure_data is not None:
            kind = failure.user_failure_data.metadata.get("kind")
            if kind is not None and kind.value == INTERRUPTED:
                return True
        elif is_interrupt(failure.error):
            return True
    return False


def _error(instance: dg.DagsterInstance, run_id: str, input_id: str) -> S2VError:
    """The first failure of a run, as the pipeline's own error where it was one."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        failure = entry.get_dagster_event().step_failure_data
        if failure.user_failure_data is not None:
            values = {name: entry_.value for name, entry_ in failure.user_failure_data.metadata.items()}
            if {"kind", "rule", "got", "cure"} <= set(values):
                kind = _OWN_ERRORS.get(str(values["kind"]), InputError)
                return kind(str(values["rule"]), got=str(values["got"]), cure=str(values["cure"]))
            return GenerationError(
                f"the run for {input_id!r} must go through",
                got=str(failure.user_failure_data.description),
                cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log.",
            )
        if failure.error is not None and failure.error.cls_name != _CHECK_FAILED:
            return GenerationError(
                f"every step of the run for {input_id!r} must go through",
                got=f"in {entry.step_key}: {_telling_message(failure.error)}",
                cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log. Finished chunks are kept.",
            )
    failed = [
        f"{evaluation.check_name} ({_figures(evaluation.metadata)})"
        for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if not (evaluation := entry.get_dagster_event().asset_check_evaluation_data).passed
    ]
    if failed:
        return GenerationError(
            f"every blocking check of the run for {input_id!r} must pass",
            got=", ".join(failed),
            cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log. Try other settings or another input.",
        )
    ends = [entry.get_dagster_event() for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)]
    causes = [end.job_failure_data.error for end in ends if end.job_failure_data.error is not None]
    return GenerationError(
        f"the run for {input_id!r} must start",
        got="; ".join(map(_telling_message, causes)) or "no reason in its log",
        cure=f"Run {run_id} in the Dagster UI (`s2v up`) has the whole log.",
    )


def _figures(metadata: Mapping[str, dg.MetadataValue]) -> str:
    return ", ".join(f"{name} {entry.value}" for name, entry in metadata.items())


def _telling_message(error: SerializableErrorInfo) -> str:
    """What the pipeline itself said, with its cure; where it said nothing, the first cause."""
    while error.cause is not None and error.cls_name not in _OWN_ERRORS:
        error = error.cause
    message = error.message.strip()
    # Dagster puts the class in front of the message, whose own last full stop would meet another.
    return message.partition(": ")[2].removesuffix(".") if error.cls_name in _OWN_ERRORS else message
