"""How well the lips of any talking video follow its phonemes, and what else its face shows, on the delivered file.

    python -m benchmarks.lipsync VIDEO.mp4 ALIGNMENT.parquet [--portrait PICTURE]

ALIGNMENT is the table of phoneme_alignments (phone, start_s, end_s), as Parquet or CSV. Any generator's video will do.
What the figures mean is said where they are measured: s2v_pipeline/video/lip_sync.py, face_motion.py, identity.py,
sound_lag.py, tracker_noise.py. Lags and offsets are positive where the picture is late.

Belongs here: the print-out. Does not belong here: the measures (s2v_pipeline/video), thresholds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.setting_groups import VideoSettings
from s2v_pipeline.video.face_track import face_of_picture
from s2v_pipeline.video.talking_face import TalkingFace, measure_talking_face


def read_table(path: Path) -> pd.DataFrame:
    """A phoneme table from Parquet or CSV."""
    return pd.read_csv(path, keep_default_na=False) if path.suffix == ".csv" else pd.read_parquet(path)


def measure(video: Path, alignment: Path, portrait: Path | None) -> TalkingFace:
    """All measures of one video."""
    landmarker = FaceLandmarker()
    face = None
    if portrait is not None:
        with Image.open(portrait) as image:
            face = face_of_picture(np.asarray(image.convert("RGB")), landmarker)
    return measure_talking_face(video, read_table(alignment), landmarker, settings=VideoSettings(), portrait=face)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("alignment", type=Path)
    parser.add_argument("--portrait", type=Path, help="the picture that the video was made from")
    given = parser.parse_args()
    measured = measure(given.video, given.alignment, given.portrait)
    shown = {**asdict(measured), "silence_over_noise": measured.silence_over_noise}
    print(json.dumps(_plain(shown), indent=1))
