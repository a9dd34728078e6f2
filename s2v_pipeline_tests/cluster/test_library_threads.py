"""What computes in one thread while another one forks goes on; a local Ray is started by forks."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from s2v_pipeline.cluster.library_threads import one_blas_thread
from s2v_pipeline.cluster.ray_executor import RayExecutor
from s2v_pipeline.setting_groups import ClusterSettings
from s2v_pipeline_tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="numpy may bring another library elsewhere")

FORK_AND_COMPUTE = """
import os, threading, time
import numpy as np
from s2v_pipeline.cluster.library_threads import one_blas_thread

one_thread = one_blas_thread()
one_thread.__enter__()

def fork_for_ever():
    while True:
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)

threading.Thread(target=fork_for_ever, daemon=True).start()
left, right = np.ones((200, 257)), np.ones((257, 26))
until = time.monotonic() + 5
while time.monotonic() < until:
    assert (left @ right == 257).all()
os._exit(0)  # no time to wait for a fork
"""


def threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_all_libraries_have_one_thread_until_they_are_let_go() -> None:
    import cv2  # noqa: F401 (brings a library of its own, as numpy and SciPy do)
    import scipy.linalg  # noqa: F401

    with threadpool_limits(limits=2, user_api="blas"):
        assert threads() == {2}
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {2}


def test_where_another_thread_decides_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    decides, may_end = threading.Event(), threading.Event()

    def decide() -> None:
        with threadpool_limits(limits=2, user_api="blas"):
            decides.set()
            may_end.wait(60)

    other = threading.Thread(target=decide)
    other.start()
    assert decides.wait(60)
    with one_blas_thread():
        assert threads() == {2}
    may_end.set()
    other.join()
    assert "they may hang in a fork" in caplog.text


def test_a_process_that_computes_while_it_forks_goes_on() -> None:
    """Without the limit it stands still within these five seconds, on two cores or more, with OpenBLAS 0.3.31."""
    variables = {"PATH": "/usr/bin:/bin"}  # none that limits threads
    subprocess.run([sys.executable, "-c", FORK_AND_COMPUTE], check=True, timeout=60, cwd=REPOSITORY, env=variables)


def test_a_local_ray_is_started_with_one_thread_of_them() -> None:
    executor = RayExecutor(ClusterSettings(num_cpus=1))
    with threadpool_limits(limits=2, user_api="blas"):
        executor.start()
        try:
            assert threads() == {1}
            executor.info()
            assert threads() == {2}
        finally:
            executor.stop()
