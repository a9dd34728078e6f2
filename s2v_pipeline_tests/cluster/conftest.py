"""Fixtures of a chunk's work that several files of this folder share."""

from s2v_pipeline_tests.cache.conftest import fresh, shaky  # noqa: F401
from s2v_pipeline_tests.cluster.test_tasks import ramp, request_, store  # noqa: F401
