"""How asset bodies run: progress, errors that no retry can mend, and an end to work when a run is terminated.

Belongs here: what every asset body needs around its stage's functions. Does not belong here: the assets.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.chunks.manifest import ChunkFile
from s2v_pipeline.cluster.chunk_place import NOT_READ, NOT_WRITTEN
from s2v_pipeline.cluster.executor import ChunkExecutor, Fit, Task, WarmKey
from s2v_pipeline.cluster.frame_counter import FrameCounter
from s2v_pipeline.defs.chunk_events import ChunkEvents
from s2v_pipeline.errors import AlignmentError, InputError, S2VError, SettingsError, WeightsError
from s2v_pipeline.progress_bars import PROGRESS_LOGGER
from s2v_pipeline.temporaries import temporary_prefix
from s2v_pipeline.video.generation_stats import WAIT
from s2v_pipeline.video.stragglers import stragglers

_progress = logging.getLogger(PROGRESS_LOGGER)

ProgressCallback = Callable[[int, int], None]
COUNTING_INTERVAL_S = 0.25  # a bar that moves four times a second feels alive; reading a size costs microseconds
INTERRUPTED = "Interrupted"
"""The `kind` in the metadata of a step's failure that an interrupt caused."""
INTERRUPT_CAME = threading.Event()
"""Set when Ctrl-C reaches this process (`launch.interrupts_for_this_process_alone`). The exception alone is not enough:
where it is raised inside a destructor or a library's callback, Python ignores it."""
_INTERRUPTS = (dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)


def report_progress(context: dg.AssetExecutionContext) -> ProgressCallback:
    """A callback (n_done, n_total) that tells whoever listens how far this asset is."""
    stage = context.asset_key.path[-1]

    def report(n_done: int, n_total: int) -> None:
        _progress.info("%s %d/%d", stage, n_done, n_total, extra={"stage": stage, "n_done": n_done, "n_total": n_total})

    return report


@contextmanager
def user_errors_are_final(context: dg.AssetExecutionContext) -> Generator[None, None, None]:
    """Turn errors that no retry can mend into failures that Dagster does not retry.

    Bad input, settings, transcripts and weights fail at once with their message. An interrupt (Terminate in the UI,
    Ctrl-C) must not become a step retry either (https://github.com/dagster-io/dagster/issues/15026). One that comes
    just before or after the body, as while the value is stored, has become one already, or got lost: the next body
    to start ends the run.

    Raises:
        dagster.Failure: instead of those; everything else passes as it is.
    """
    try:
        if INTERRUPT_CAME.is_set() or _run_was_interrupted(context):
            raise KeyboardInterrupt
        yield
    except (InputError, SettingsError, AlignmentError, WeightsError) as error:
        raise dg.Failure(
            description=str(error),
            metadata={
                "kind": type(error).__name__,
                "rule": error.rule,
                "got": error.got,
                "cure": error.cure,
                "input": context.partition_key,
            },
            allow_retries=False,
        ) from error
    except S2VError as error:
        context.log.error("%s", error)
        raise
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as interrupt:
        raise dg.Failure(
            description=f"Interrupted ({type(interrupt).__name__}). Finished chunks are kept; run it again to go on.",
            metadata={"kind": INTERRUPTED},
            allow_retries=False,
        ) from interrupt


def is_interrupt(error: SerializableErrorInfo | None) -> bool:
    """Whether an interrupt caused an error, however often it was wrapped on its way."""
    while error is not None:
        if error.cls_name in _INTERRUPTS:
            return True
        error = error.cause or error.context
    return False


def _run_was_interrupted(context: dg.AssetExecutionContext) -> bool:
    retries = context.instance.all_logs(context.run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    return any(is_interrupt(entry.get_dagster_event().step_retry_data.error) for entry in retries)


@contextmanager
def frames_counted(
    context: dg.AssetExecutionContext, store: ArtifactStore, n_frames: Sequence[int]
) -> Generator[tuple[FrameCounter, ...], None, None]:
    """A counter a chunk; while the block runs, what workers count in them is reported several times a second.

    The counters lie beside the artifacts, where every worker can write; they are gone when the block ends.
    """
    report, n_total, ended = report_progress(context), sum(n_frames), threading.Event()
    store.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(), dir=store.root, ignore_cleanup_errors=True) as folder:
        counters = tuple(FrameCounter(Path(folder) / str(index)) for index in range(len(n_frames)))

        def watch() -> None:
            n_shown = 0
            while not ended.wait(COUNTING_INTERVAL_S):
                n_done = sum(counter.read() for counter in counters)
                if n_done != n_shown:
                    n_shown = n_done
                    report(n_done, n_total)

        report(0, n_total)
        watcher = threading.Thread(target=watch, name="frame-counter", daemon=True)
        watcher.start()
        try:
            yield counters
        finally:
            ended.set()
            watcher.join()
        report(n_total, n_total)


def _no_report(n_done: int, n_total: int) -> None:
    """Somebody else reports."""


@dataclass(frozen=True)
class Placement:
    """Where the tasks of a step run; see `ChunkExecutor.run`."""

    in_order: bool = False
    chain_starts: tuple[int, ...] = (0,)
    most_workers: int | None = None
    n_gpus: int = 0
    warm: WarmKey | None = None
    fit: Fit | None = None


def run_tasks(
    context: dg.AssetExecutionContext,
    executor: ChunkExecutor,
    tasks: Sequence[Task[ChunkFile]],
    placement: Placement,
    *,
    reports: bool = True,
) -> list[ChunkFile]:
    """Run one task a chunk; each one that ends is logged, and reported as progress unless somebody else reports.

    How long each one waited for a worker, from the start of the step, is added to its timings.
    """
    report = report_progress(context) if reports else _no_report
    report(0, len(tasks))
    n_done = 0
    events, waits_s, warned = ChunkEvents(context, len(tasks)), dict[int, float](), set[str]()
    started_at = time.perf_counter()

    def on_done(chunk: ChunkFile) -> None:
        nonlocal n_done
        n_done += 1
        waits_s[chunk.index] = max(0.0, time.perf_counter() - started_at - chunk.seconds_s)
        context.log.info(
            "chunk %d (frames %d-%d) %s in %.1f s by %s; %d of %d done",
            chunk.index,
            chunk.frames.start_frame,
            chunk.frames.stop_frame,
            chunk.origin,
            chunk.seconds_s,
            chunk.worker,
            n_done,
            len(tasks),
        )
        for note in {NOT_READ, NOT_WRITTEN} & set(chunk.notes) - warned:
            warned.add(note)
            context.log.warning("%s (the worker's log of chunk %d has the reason)", note, chunk.index)
        events.add(chunk)
        report(n_done, len(tasks))
        if INTERRUPT_CAME.is_set():
            raise KeyboardInterrupt

    chunks = executor.run(
        tasks,
        on_done,
        in_order=placement.in_order,
        chain_starts=placement.chain_starts,
        most_workers=placement.most_workers,
        n_gpus=placement.n_gpus,
        warm=placement.warm,
        fit=placement.fit,
    )
    for straggler in stragglers(chunks):
        context.log.warning("%s", straggler)
    return [
        replace(chunk, timings_s=((WAIT, round(waits_s[chunk.index], 3)), *chunk.timings_s))
        if chunk.index in waits_s
        else chunk
        for chunk in chunks
    ]
