"""What comes back from a Ray worker: a result, the pipeline's own error, or the news that the worker is gone.

Belongs here: telling these apart, their words, how often to look.
Does not belong here: submitting and waiting (ray_executor, gang).
"""

from __future__ import annotations

from typing import Any

from s2v_pipeline.cluster.executor import ResultT, Task
from s2v_pipeline.errors import ClusterError, S2VError

POLL_S = 0.1
"""Ray's own blocking waits swallow the interrupt by which Dagster terminates a run; polling lets it through. A tenth of
a second is short beside a chunk and costs nothing measurable."""
_FIRST_POLL_S = 0.001
_POLLS_PER_WAIT = 100
_NCCL_REASON = "Last error:"


def pause_s(waited_s: float) -> float:
    """Seconds until the next look at something that has been waited for so long.

    A hundredth of the wait at first: most questions to a worker are answered within milliseconds, and a chunk asks
    several of them one after the other.
    """
    return min(POLL_S, max(_FIRST_POLL_S, waited_s / _POLLS_PER_WAIT))


def task_result(ref: Any, task: Task[ResultT], task_retries: int) -> ResultT:
    """The result that a finished reference stands for.

    Raises:
        ClusterError: the worker died, more often than it may.
        Exception: whatever the task raised.
    """
    import ray

    try:
        result: ResultT = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        # Ray wraps what the task raised; the pipeline's own errors come out as themselves.
        if isinstance(error.cause, S2VError):
            raise error.cause from error
        raise
    except (ray.exceptions.RayError, ray.exceptions.RaySystemError) as error:
        raise ClusterError(
            f"the worker of {task.label} must live until its work is done, at most {task_retries} of them may die",
            got=first_words(error),
            cure="Finished chunks are kept: run it again. If it happens again, look at the worker's memory "
            "(`s2v doctor`) and lower cluster.num_cpus.",
        ) from error
    return result


def first_words(error: BaseException) -> str:
    """What an error says first, in one line; of what a task raised, not of what Ray says about it."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or ["no words"]
    # torch says first that NCCL failed, and last why.
    why = f" ({lines[-1]})" if _NCCL_REASON in lines[:-1] else ""
    return f"{type(cause).__name__}: {lines[0]}{why}"
