"""What a recording needs before it is analysed, decided by measurement; and doing it.

Belongs here: the decisions with their limits and reasons, the order of the steps.
Does not belong here: the steps (rumble, hum, denoise), files (tracks).

A recording that needs nothing is left alone to the bit. Where nobody is heard nothing is decided, as every limit is a
distance from the speech.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2v_pipeline.audio.denoise import DENOISER_NAME, denoise, denoiser_problem
from s2v_pipeline.audio.hum import MIN_DURATION_S, HumLine, find_hum, remove_hum
from s2v_pipeline.audio.low_spectrum import LowSpectrum, low_spectrum
from s2v_pipeline.audio.noise import NoiseLevels, measure_noise
from s2v_pipeline.audio.rumble import high_pass, rumble_level_db
from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks
from s2v_pipeline.media import Waveform
from s2v_pipeline.setting_groups import AudioSettings

DENOISE_BELOW_SNR_DB = 15.0
"""Measured on readings with pink noise (docs/benchmarks.md, Clean-up): up to 15 dB the denoiser brings the sound nearer
to the clean one in SI-SDR; at 20 dB it takes more from the voice than it takes from the noise."""

RUMBLE_BELOW_SPEECH_DB = 12.0
"""Weaker rumble is left: with speech at 60 dB SPL it lies under the threshold of hearing at 40 Hz (51 dB, ISO 226), and
it adds less than 0.3 dB to the level of speech."""

CONVERSATION_DB_SPL = 60.0
"""Level of normal speech at one metre (ISO 9921), at which a recording is taken to be heard."""

# Threshold of hearing of pure tones, ISO 226:2003, table 1: Hz and dB SPL.
_HEARING_HZ = (40, 50, 63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630)
_HEARING_DB_SPL = (51.1, 44.0, 37.5, 31.5, 26.5, 22.1, 17.9, 14.4, 11.4, 8.6, 6.2, 4.4, 3.0)


@dataclass(frozen=True)
class CleanUpPlan:
    """What is done to a recording, and why.

    Attributes:
        high_pass_hz: where rumble is cut off, or None.
        hum: lines that are taken out.
        denoise: whether noise is.
        levels: of speech and noise once rumble and hum are gone, or None where nobody is heard.
        reasons: one sentence a decision.
        fallbacks: what should have been done and could not be.
    """

    high_pass_hz: float | None
    hum: tuple[HumLine, ...]
    denoise: bool
    levels: NoiseLevels | None
    reasons: tuple[str, ...]
    fallbacks: tuple[str, ...]

    @property
    def changes_anything(self) -> bool:
        """Whether a single sample is touched."""
        return self.high_pass_hz is not None or bool(self.hum) or self.denoise

    def steps(self) -> dict[str, Any]:
        """What the cleaned samples follow from, besides the recording; plain JSON values."""
        return {
            "high_pass_hz": self.high_pass_hz,
            "hum": [asdict(line) for line in self.hum],
            "denoise": DENOISER_NAME if self.denoise else None,
        }


def plan_clean_up(
    waveform16k: Waveform,
    probabilities: NDArray[np.float32],
    settings: AudioSettings,
    *,
    find_denoiser_problem: Callable[[], str | None] = denoiser_problem,
) -> CleanUpPlan:
    """Decide from the whole recording at 16 kHz; `probabilities` are those of `speech_probabilities`."""
    spectrum = low_spectrum(waveform16k)
    levels = measure_noise(waveform16k, probabilities)
    cut_hz, about_rumble = _decide_high_pass(spectrum, levels, settings)
    lines, about_hum = _decide_hum(spectrum, levels, float(waveform16k.duration_s), settings)
    if cut_hz is not None or lines:
        # What is taken out must not count as noise.
        filtered = np.concatenate(list(_filter([waveform16k.samples[None]], waveform16k.rate_hz, cut_hz, lines)), 1)
        levels = measure_noise(Waveform(filtered[0], waveform16k.rate_hz), probabilities)
    wanted, about_noise = _decide_denoise(levels, settings)
    problem = find_denoiser_problem() if wanted else None
    fallbacks = () if problem is None else (f"not denoised, though it should be: {problem}",)
    return CleanUpPlan(
        high_pass_hz=cut_hz,
        hum=lines,
        denoise=wanted and problem is None,
        levels=levels,
        reasons=(about_rumble, about_hum, about_noise),
        fallbacks=fallbacks,
    )


def clean(blocks: SoundBlocks, rate_hz: int, plan: CleanUpPlan, *, channels: int) -> Iterator[SoundBlock]:
    """The recording with the plan carried out: as many samples, none of them moved; memory stays bounded.

    Raises:
        DenoiserError: the plan denoises and the library cannot be used any more.
    """
    filtered = _filter(blocks, rate_hz, plan.high_pass_hz, plan.hum)
    yield from denoise(filtered, rate_hz, channels=channels) if plan.denoise else filtered


def _filter(
    blocks: SoundBlocks, rate_hz: int, cut_hz: float | None, lines: tuple[HumLine, ...]
) -> Iterator[SoundBlock]:
    # Hum after rumble: the fit of a line is disturbed by strong sound beside it.
    without_rumble = blocks if cut_hz is None else high_pass(blocks, rate_hz, cut_hz=cut_hz)
    yield from remove_hum(without_rumble, rate_hz, lines) if lines else without_rumble


def _decide_high_pass(
    spectrum: LowSpectrum, levels: NoiseLevels | None, settings: AudioSettings
) -> tuple[float | None, str]:
    cut_hz = float(settings.high_pass_hz)
    if settings.derumble == "off":
        return None, "no high-pass: audio.derumble is off"
    if settings.derumble == "on":
        return cut_hz, f"high-pass at {cut_hz:g} Hz: audio.derumble is on"
    if levels is None:
        return None, "no high-pass: nobody was heard whose level rumble could be compared with"
    below_db = levels.speech_db - rumble_level_db(spectrum, cut_hz=cut_hz)
    measured = f"what is below {cut_hz:g} Hz lies {below_db:.1f} dB under the speech (limit {RUMBLE_BELOW_SPEECH_DB:g})"
    if below_db < RUMBLE_BELOW_SPEECH_DB:
        return cut_hz, f"high-pass at {cut_hz:g} Hz: {measured}"
    return None, f"no high-pass: {measured}"


def _decide_hum(
    spectrum: LowSpectrum, levels: NoiseLevels | None, duration_s: float, settings: AudioSettings
) -> tuple[tuple[HumLine, ...], str]:
    if settings.dehum == "off":
        return (), "hum was not looked for: audio.dehum is off"
    if levels is None:
        return (), "hum was not looked for: nobody was heard whose level it could be compared with"
    if duration_s < MIN_DURATION_S:
        return (), f"hum was not looked for: it takes {MIN_DURATION_S:g} s to tell it from a voice"
    lines = find_hum(spectrum, duration_s=duration_s)
    if not lines:
        return (), "no hum found"
    above_db, loudest = max((_above_hearing_db(line, levels.speech_db), line) for line in lines)
    measured = (
        f"the line at {loudest.frequency_hz:.1f} Hz is {abs(above_db):.1f} dB {'above' if above_db > 0 else 'below'} "
        f"the threshold of hearing with speech at {CONVERSATION_DB_SPL:g} dB SPL"
    )
    if above_db <= 0:
        return (), f"hum is left: {measured}"
    return lines, f"hum removed at {', '.join(f'{line.frequency_hz:.1f}' for line in lines)} Hz: {measured}"


def _above_hearing_db(line: HumLine, speech_db: float) -> float:
    heard_db_spl = CONVERSATION_DB_SPL + line.level_db - speech_db
    return heard_db_spl - float(np.interp(np.log(line.frequency_hz), np.log(_HEARING_HZ), _HEARING_DB_SPL))


def _decide_denoise(levels: NoiseLevels | None, settings: AudioSettings) -> tuple[bool, str]:
    measured = (
        "nobody was heard"
        if levels is None
        else (f"the speech stands {levels.snr_db:.1f} dB above the noise in {levels.noise_s:.2f} s of {levels.source}")
    )
    if settings.denoise != "auto":
        done = "denoised" if settings.denoise == "on" else "not denoised"
        return settings.denoise == "on", f"{done}: audio.denoise is {settings.denoise}; {measured}"
    if levels is None:
        return False, f"not denoised: {measured}"
    limit = (
        f"the limit is {DENOISE_BELOW_SNR_DB:g} dB, above which denoising takes as much from the voice as from noise"
    )
    if levels.snr_db < DENOISE_BELOW_SNR_DB:
        return True, f"denoised by {DENOISER_NAME}: {measured}; {limit}"
    return False, f"not denoised: {measured}; {limit}"
