"""The sounds of one input beside its original: the cleaned one that is analysed, and the one that is delivered.

Belongs here: which files are made, their keys and names, the report of what was done.
Does not belong here: what is decided and how it is done (clean, normalise), the picture's side (video).

A file that would equal the original is not written, and one that was made once for the same samples and steps is found
and not made again. FLAC of 24 bits: its rounding lies 48 dB under that of 16-bit sound.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from s2v_pipeline import __version__
from s2v_pipeline.artifacts import ArtifactStore, content_key
from s2v_pipeline.audio.clean import CleanUpPlan, clean, plan_clean_up
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_blocks, read_mono_blocks, read_waveform
from s2v_pipeline.audio.normalise import SoundLevel, amplify, measure_level, normalisation
from s2v_pipeline.audio.separation import VoiceSeparator
from s2v_pipeline.audio.voice_activity import speech_probabilities
from s2v_pipeline.audio.windows import SoundBlocks
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.inputs.flac import FlacWriter, check_written
from s2v_pipeline.inputs.speech_input import ASSET as INPUTS_ASSET
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AudioSettings

ASSET = "audio_features"
"""Name of the Dagster asset whose folder holds the files."""

REPORT = "clean_up"
"""Where the feature table's `attrs` hold the report."""

CLEANED_PART = "cleaned.flac"
CLEANED_CHANNELS_PART = "cleaned_channels.flac"
NORMALISED_PART = "normalised.flac"

_VERSION = 1  # of the steps: another number makes every file anew
_FULL_SCALE_DBFS = -1e-6  # the largest positive sample is one step below 0 dBFS
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class SpeechTracks:
    """What the analysis starts from.

    Attributes:
        waveform16k: what is analysed.
        probabilities: of speech, as `speech_probabilities` gives them for it.
        report: plain JSON values: what was measured, decided and done, and which files hold what is analysed
            (`analysed`) and what is delivered (`delivered`), each as `asset`, `part` and `sha256`.
    """

    waveform16k: Waveform
    probabilities: NDArray[np.float32]
    report: Mapping[str, Any]


def make_tracks(
    speech: SpeechInput, settings: AudioSettings, store: ArtifactStore, *, separator: VoiceSeparator | None = None
) -> SpeechTracks:
    """Measure the recording, clean it where it needs that, and make the sound that is delivered.

    Raises:
        ArtifactError: the recording or a written file is missing or damaged, or the disk is full.
        AudioError: the recording's file is damaged.
    """
    original = _Track(INPUTS_ASSET, speech.speech.name, speech.speech.sha256)
    path = original.path(store, speech.input_id)
    waveform = read_waveform(path, rate_hz=SPEECH_RATE_HZ)
    if separator is not None:
        parted = np.concatenate(list(separator.voice([waveform.samples[None]], waveform.rate_hz)), axis=1)
        waveform = Waveform(parted[0], waveform.rate_hz)
    probabilities = speech_probabilities(waveform)
    plan = plan_clean_up(waveform, probabilities, settings)
    maker = _Maker(speech, plan, store, original, separator)
    analysed = maker.cleaned_mono()
    if analysed != original:
        waveform = read_waveform(analysed.path(store, speech.input_id), rate_hz=SPEECH_RATE_HZ)
        probabilities = speech_probabilities(waveform)
    delivered, about_delivered = maker.delivered(settings, analysed)
    report = {
        "high_pass_hz": plan.high_pass_hz,
        "hum_hz": [round(line.frequency_hz, 2) for line in plan.hum],
        "denoised": plan.denoise,
        "separated_by": None if separator is None else separator.name,
        "levels": None if plan.levels is None else _rounded(asdict(plan.levels)),
        "reasons": list(plan.reasons),
        "fallbacks": list(plan.fallbacks),
        "analysed": asdict(analysed),
        "delivered": {"choice": settings.delivered, **asdict(delivered), **about_delivered},
    }
    return SpeechTracks(waveform, probabilities, report)


def clean_up_report(attrs: Mapping[Any, Any], delivered: str | None = None) -> Mapping[str, Any]:
    """The report in the feature table's `attrs`; `delivered` is the choice that it must have been made for, if any.

    Raises:
        ArtifactError: the table was made by an earlier version, or for another choice.
    """
    report = attrs.get(REPORT)
    made_for = report["delivered"]["choice"] if isinstance(report, Mapping) else "an earlier version"
    if not isinstance(report, Mapping) or delivered not in (None, made_for):
        raise ArtifactError(
            f"{ASSET} must have been made with the present audio.delivered, {delivered or 'whichever it is'}",
            got=made_for,
            cure=f"Materialise {ASSET} for this partition again.",
        )
    return report


def analysed_path(attrs: Mapping[Any, Any], input_id: str, store: ArtifactStore) -> Path:
    """The sound that was analysed, from the feature table's `attrs`; its bytes are checked.

    Raises:
        ArtifactError: it is missing, damaged, or another one than the report names.
    """
    return _track_of(clean_up_report(attrs), "analysed").path(store, input_id)


def delivered_path(report: Mapping[str, Any], input_id: str, store: ArtifactStore) -> Path:
    """The sound that is delivered, from the report; its bytes are checked.

    Raises:
        ArtifactError: it is missing, damaged, or another one than the report names.
    """
    return _track_of(report, "delivered").path(store, input_id)


@dataclass(frozen=True)
class _Track:
    """A sound in the store."""

    asset: str
    part: str
    sha256: str

    def path(self, store: ArtifactStore, input_id: str) -> Path:
        path = store.read_path(self.asset, input_id, self.part)
        record = store.provenance(self.asset, input_id, self.part)
        if record is None or record.sha256 != self.sha256:
            raise ArtifactError(
                f"{self.asset}/{input_id}/{self.part} must be the sound that {ASSET} was made with",
                got=f"SHA-256 {record.sha256[:12] if record else 'none'}… instead of {self.sha256[:12]}…",
                cure=f"Materialise {ASSET} for this partition again.",
            )
        return path


def _track_of(report: Mapping[str, Any], role: str) -> _Track:
    named = report[role]
    return _Track(named["asset"], named["part"], named["sha256"])


@dataclass(frozen=True, eq=False)
class _Maker:
    """Files of one input and plan."""

    speech: SpeechInput
    plan: CleanUpPlan
    store: ArtifactStore
    original: _Track
    separator: VoiceSeparator | None

    def cleaned_mono(self) -> _Track:
        if not self.plan.changes_anything and self.separator is None:
            return self.original
        return self._write(CLEANED_PART, self._steps(), lambda: self._cleaned(mono=True))

    def delivered(self, settings: AudioSettings, analysed: _Track) -> tuple[_Track, dict[str, Any]]:
        """The track, and what the report says about it."""
        if settings.delivered == "original":
            return self.original, {}
        cleaned = analysed
        if analysed != self.original and self.speech.channels > 1:
            cleaned = self._write(CLEANED_CHANNELS_PART, self._steps(), lambda: self._cleaned(mono=False))
        if settings.delivered == "cleaned":
            return cleaned, {"level": self._level(cleaned)}
        level = self._measure(cleaned)
        gain = normalisation(level, settings.loudness_lufs)
        report = {"gain": {**asdict(gain), "gain_db": round(gain.gain_db, 4)}, "level_before": _rounded(asdict(level))}
        if gain.limited:
            _logger.warning(
                "%s: the true peak lets the sound reach %.1f LUFS, not %.1f",
                *(self.speech.input_id, level.integrated_lufs + gain.gain_db, settings.loudness_lufs),
            )
        if gain.gain_db == 0.0:
            return cleaned, {**report, "level": report["level_before"]}
        normalised = self._write(
            NORMALISED_PART,
            {"of": cleaned.sha256, "gain_db": repr(gain.gain_db)},
            lambda: amplify(self._blocks(cleaned), gain.gain_db),
        )
        return normalised, {**report, "level": self._level(normalised)}

    def _steps(self) -> dict[str, Any]:
        name = None if self.separator is None else self.separator.name
        return {"of": self.original.sha256, "separator": name, **self.plan.steps()}

    def _cleaned(self, *, mono: bool) -> SoundBlocks:
        path = self.original.path(self.store, self.speech.input_id)
        blocks: SoundBlocks = read_mono_blocks(path) if mono else read_blocks(path)
        if self.separator is not None:
            blocks = self.separator.voice(blocks, self.speech.rate_hz)
        return clean(blocks, self.speech.rate_hz, self.plan, channels=1 if mono else self.speech.channels)

    def _blocks(self, track: _Track) -> Iterator[NDArray[np.float32]]:
        return read_blocks(track.path(self.store, self.speech.input_id))

    def _measure(self, track: _Track) -> SoundLevel:
        return measure_level(self._blocks(track), self.speech.rate_hz)

    def _level(self, track: _Track) -> dict[str, Any]:
        return _rounded(asdict(self._measure(track)))

    def _write(self, part: str, steps: Mapping[str, Any], make: Any) -> _Track:
        """The part, made unless it is there already."""
        input_id = self.speech.input_id
        key = content_key({**steps, "version": _VERSION})
        if not self.store.holds(ASSET, input_id, part, key=key):
            self.store.write(
                ASSET,
                input_id,
                part,
                lambda path: self._write_flac(path, make()),
                key=key,
                made_by=f"s2v_pipeline {__version__}",
                sources={"speech": self.original.sha256},
            )
        record = self.store.provenance(ASSET, input_id, part)
        if record is None:
            raise AssertionError("a part that was just written has its record")
        return _Track(ASSET, part, record.sha256)

    def _write_flac(self, path: Path, blocks: SoundBlocks) -> None:
        peak_dbfs = _write_flac(path, blocks, self.speech.rate_hz, self.speech.n_samples)
        if peak_dbfs > _FULL_SCALE_DBFS:
            _logger.warning("%s: %s reaches full scale; what is above is cut off", self.speech.input_id, path.name)


def _write_flac(path: Path, blocks: SoundBlocks, rate_hz: int, n_samples: int) -> float:
    """Write a sound of `n_samples` and give its sample peak.

    Raises:
        ArtifactError: it has another length.
    """
    source = (_frame(block, rate_hz) for block in blocks if block.shape[1])
    first = next(source)
    with path.open("wb") as file, FlacWriter(file, first) as writer:
        writer.add(first)
        for frame in source:
            writer.add(frame)
        writer.finish()
    check_written(path, n_samples)
    return writer.peak_dbfs


def _frame(block: NDArray[np.float32], rate_hz: int) -> av.AudioFrame:
    layout = "mono" if len(block) == 1 else "stereo"
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
    frame.sample_rate = rate_hz
    return frame


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
