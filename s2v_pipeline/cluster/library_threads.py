"""In how many threads libraries work, where their own choice does harm.

Belongs here: OpenBLAS, which numpy, SciPy and OpenCV bring along, each its own, in a process that forks; OpenCV in a
worker. Does not belong here: Ray, which forks and has the workers.

OpenBLAS ends its threads before a fork and starts them anew at the next call. A call of another thread that comes in
between waits for ever, on a full core (seen with OpenBLAS 0.3.31; that the two race is said in
https://github.com/OpenMathLib/OpenBLAS/pull/3111). A call that works in one thread hands nothing to others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits

from s2v_pipeline.cluster.executor import ResultT, Task

_log = logging.getLogger(__name__)

_VARIABLE = "OPENBLAS_NUM_THREADS"
_API = "blas"


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Linear algebra works in one thread; left by the thread that entered, as the library has it.

    A library that is loaded meanwhile keeps to one thread for good, unless the environment says another number.
    """
    os.environ.setdefault(_VARIABLE, "1")
    with threadpool_limits(limits=1, user_api=_API):
        more = [each["filepath"] for each in threadpool_info() if each["user_api"] == _API and each["num_threads"] > 1]
        if more:
            # threadpoolctl lets one thread of a process set limits.
            _log.warning("another thread decides how many threads these have, they may hang in a fork: %s", more)
        yield


def run_task(task: Task[ResultT]) -> ResultT:
    """What a Ray worker with one CPU runs."""
    import cv2

    # OpenCV's own threads would fight with the other workers.
    cv2.setNumThreads(1)
    return task.run()
