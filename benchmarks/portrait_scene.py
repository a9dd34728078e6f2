"""What the portrait generator's benchmarks draw: the sample's portrait in any size, two read sentences repeated.

Belongs here: pictures and requests. Does not belong here: timing (portrait_speed), any judgement.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_waveform
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.chunks.build import VideoRequest, build_requests
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.faces.landmarker import FaceLandmarker
from s2v_pipeline.generation.registry import generator_profile
from s2v_pipeline.inputs.framing import frame_portrait
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import GenerationSettings, Settings, VideoSettings

ROOT = Path(__file__).parent.parent
PORTRAIT = ROOT / "data" / "samples" / "astronaut" / "portrait.png"
VOICES = ROOT / "s2v_pipeline_tests" / "data"
SENTENCES = ("flite_slt_depth_of_a_well", "flite_kal16_juice_of_lemons")
UNIT_GRID_S = Fraction(1)  # a unit is a whole number of these long, so that it is a whole number of frames at any rate
FPS = Fraction(25)
GENERATOR = "portrait"


@dataclass(frozen=True, eq=False)
class Reading:
    """Both sentences, one after the other: the sound, padded with silence to whole seconds, and its phones."""

    waveform: Waveform
    phones: pd.DataFrame

    @classmethod
    def load(cls) -> Reading:
        """The files that the tests ship, with phone times that their synthesiser printed."""
        sounds, tables, end_s = [], [], 0.0
        for name in SENTENCES:
            sound = read_waveform(VOICES / f"{name}.flac", rate_hz=SPEECH_RATE_HZ)
            table = pd.read_csv(VOICES / f"{name}.csv")
            tables.append(table.assign(start_s=table["start_s"] + end_s, end_s=table["end_s"] + end_s))
            sounds.append(sound.samples)
            end_s += len(sound.samples) / SPEECH_RATE_HZ
        samples = np.concatenate(sounds)
        n_units = -(-len(samples) // int(UNIT_GRID_S * SPEECH_RATE_HZ))
        padded = np.pad(samples, (0, n_units * int(UNIT_GRID_S * SPEECH_RATE_HZ) - len(samples)))
        return cls(Waveform(padded.astype(np.float32), SPEECH_RATE_HZ), pd.concat(tables, ignore_index=True))

    @property
    def length_s(self) -> int:
        """Whole seconds."""
        return len(self.waveform.samples) // self.waveform.rate_hz

    def phones_until(self, end_s: float) -> pd.DataFrame:
        """Phones of the reading, again and again."""
        times = range(-int(-end_s // self.length_s))
        shifted = [
            self.phones.assign(
                start_s=self.phones["start_s"] + n * self.length_s, end_s=self.phones["end_s"] + n * self.length_s
            )
            for n in times
        ]
        return pd.concat(shifted, ignore_index=True)

    def features_until(self, end_s: float, fps: Fraction) -> pd.DataFrame:
        """One row a frame; those of the reading, again and again."""
        n_frames, n_own = int(end_s * fps), int(self.length_s * fps)
        own = extract_features(self.waveform, n_frames=n_own, fps=fps)
        table = own.iloc[np.arange(n_frames) % n_own].reset_index(drop=True)
        frames = np.arange(n_frames)
        return table.assign(frame=frames, time_s=(frames + 0.5) / float(fps))


def framed(width_px: int, height_px: int, folder: Path) -> tuple[NDArray[np.uint8], FileRef]:
    """The sample's portrait, framed as the inputs stage does, and the file that it was stored in."""
    import hashlib

    with Image.open(PORTRAIT) as image:
        pixels = np.array(image.convert("RGB"))
    picture = frame_portrait(pixels, FaceLandmarker().find(pixels)[0], width_px=width_px, height_px=height_px).pixels
    path = folder / f"portrait_{width_px}x{height_px}.png"
    Image.fromarray(picture).save(path)
    return picture, FileRef(path, hashlib.sha256(path.read_bytes()).hexdigest())


def requests_for(portrait: FileRef, size_px: tuple[int, int], length_s: float) -> tuple[ChunkRequest, ...]:
    """A video's requests, as the graph makes them."""
    reading = Reading.load()
    features = reading.features_until(length_s, FPS)
    profile = generator_profile(GENERATOR)
    summary = describe_speech(reading.waveform, features.head(int(reading.length_s * FPS)))
    settings = Settings(
        video=VideoSettings(width_px=size_px[0], height_px=size_px[1], fps=FPS), generation=GenerationSettings()
    )
    video = VideoRequest(
        input_id="benchmark",
        fps=FPS,
        width_px=size_px[0],
        height_px=size_px[1],
        input_seed=0,
        prompt="",
        portrait=portrait,
        speech_level_db=summary.speech_level_db,
        median_f0_hz=summary.median_f0_hz,
    )
    return build_requests(
        video,
        profile.chunk_plan(len(features), settings),
        phonemes=reading.phones_until(length_s),
        features=features,
        context_s=profile.CONTEXT_S,
    )
