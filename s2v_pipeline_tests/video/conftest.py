"""What the tests of the face's measures share: one tracker, one talking video."""

from __future__ import annotations

import pytest

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline_tests.video.talking import Talking, make_talking


@pytest.fixture(scope="session")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="session")
def talking(tmp_path_factory: pytest.TempPathFactory, landmarker: FaceLandmarker) -> Talking:
    """Seven seconds of the sample's face, with sound and known phones."""
    return make_talking(tmp_path_factory.mktemp("talking"), landmarker)
