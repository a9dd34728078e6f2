"""Leaves these tests out where what they need is not installed; the header of the run says so (../../conftest.py)."""

from s2v_pipeline_tests.conftest import MISSING_FOR_WAN

collect_ignore_glob = ["test_*.py"] if MISSING_FOR_WAN else []
