"""Lengths and offset of wan_s2v's clock beside the official one's, for random durations; no weights needed.

    python -m benchmarks.wan_clock [--n 200]

Lengths: frames, speech that is cut, frames made in vain. Offset: pulses of sound go through the real path of features,
with a stand-in for the speech model whose one hidden state is the loudness at its time. What counts is when the frame
that is conditioned on the pulse is shown. Exits with 1 where the aligned clock breaks a bound.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from fractions import Fraction

import torch
from torch import Tensor

from s2v_pipeline.generation.wan_s2v.clock import (
    CLIP_FRAMES,
    DROPPED_FIRST_FRAMES,
    Clock,
    lead_frames,
    official_clips,
    plan_clips,
    tail_frames,
)
from s2v_pipeline.generation.wan_s2v.speech_features import clips_needed, features_for_video, n_features_30hz
from s2v_pipeline.timebase import frames_for_samples

FPS = Fraction(16)
RATES_HZ = (16_000, 44_100, 48_000)
SHORTEST_S, LONGEST_S = 0.2, 600.0
N_PULSES = 200
FIRST_PULSE_S, LAST_PULSE_S = 0.3, 60.0  # from the first clip, whose frames are dropped, to the thirteenth
PULSE_S = 0.12  # features are points 1/30 s apart, of which every second is used: shorter pulses fall between


class Loudness:
    """The energy of the 400 samples that a hidden frame of wav2vec2 sees, on its 50 Hz grid."""

    def n_hidden_frames(self, n_samples: int) -> int:
        """Hidden frames of so many samples."""
        return max(0, (n_samples - 400) // 320 + 1)

    def hidden_states(self, samples: Tensor, start_frame: int = 0, stop_frame: int | None = None) -> Tensor:
        """[1, frames, 1]."""
        return samples.unfold(0, 400, 320).square().sum(dim=1)[None, start_frame:stop_frame, None]


def lengths(n: int) -> bool:
    """Print what both clocks make of random durations; whether ours keeps its bounds."""
    source = random.Random(1)  # noqa: S311 (no secret)
    worst_frames, vain = 0.0, []
    official_cut_s, official_vain = [], []
    for _ in range(n):
        rate_hz = source.choice(RATES_HZ)
        n_samples = round(source.uniform(SHORTEST_S, LONGEST_S) * rate_hz)
        audio_frames = Fraction(n_samples, rate_hz) * FPS
        n_frames = frames_for_samples(n_samples, rate_hz, FPS)
        clips = plan_clips(n_frames, clock="aligned")
        # What the clips show, not what was asked for, against the sound, all of which is delivered.
        worst_frames = max(worst_frames, abs(float(sum(len(clip.shown) for clip in clips) - audio_frames)))
        vain.append(sum(clip.generated_frames for clip in clips) - n_frames)
        # The official code hears the file at 16 kHz; its video ends with the shorter of both streams.
        heard = round(Fraction(n_samples, rate_hz) * 16_000)
        n_clips = clips_needed(n_features_30hz(Loudness().n_hidden_frames(heard)), FPS, CLIP_FRAMES)
        shown = official_clips(n_clips)[-1].shown.stop_frame
        official_cut_s.append(max(0.0, float((audio_frames - shown) / FPS)))
        official_vain.append(max(0.0, float(n_clips * CLIP_FRAMES - audio_frames)))
    losing = [seconds for seconds in official_cut_s if seconds > 0]
    say(f"{n} random durations, {SHORTEST_S} to {LONGEST_S:.0f} s at {', '.join(map(str, RATES_HZ))} Hz")
    say(f"  aligned : |video - audio| at most {worst_frames:.3f} frame")
    say(f"            made in vain: {statistics.mean(vain):.1f} frames on average, {max(vain)} at most, 3 on purpose")
    worst_ms, mean_vain = max(losing, default=0) * 1000, statistics.mean(official_vain)
    say(f"  official: speech cut in {len(losing)} of {n} videos, by {worst_ms:.0f} ms at most")
    say(f"            made in vain: {mean_vain:.1f} frames on average, {max(official_vain):.0f} at most")
    return worst_frames <= 0.5 and max(vain) <= DROPPED_FIRST_FRAMES + 3


def offsets_ms(clock: Clock) -> list[float]:
    """For each pulse: middle of the frame that shows it, minus its time."""
    source, found = random.Random(3), []  # noqa: S311 (no secret)
    for _ in range(N_PULSES):
        pulse_s = source.uniform(FIRST_PULSE_S, LAST_PULSE_S)
        n_samples = round((pulse_s + source.uniform(0.5, 6.0)) * 16_000)
        apart_s = torch.arange(n_samples, dtype=torch.float64) / 16_000 - pulse_s
        half_s = PULSE_S / 2
        samples = torch.cos(apart_s.clamp(-half_s, half_s) / PULSE_S * torch.pi).float()
        clips = plan_clips(frames_for_samples(n_samples, 16_000, FPS), clock=clock)
        n_features = clips[-1].first_feature_frame + clips[-1].n_feature_frames
        lead = lead_frames(clock)
        features = features_for_video(
            Loudness(), samples, n_frames=n_features - lead, fps=FPS, lead_frames=lead, tail_frames=tail_frames(clock)
        )
        shown = [
            float(features[clip.first_feature_frame + clip.drop_first_frames + index])
            for clip in clips
            for index in range(len(clip.shown))
        ]
        loudest = max(range(len(shown)), key=shown.__getitem__)
        found.append(float((loudest + 0.5) / FPS - pulse_s) * 1000)
    return found


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    is_right = lengths(parser.parse_args().n)
    say(
        f"{N_PULSES} pulses at {FIRST_PULSE_S} to {LAST_PULSE_S:.0f} s: "
        "middle of the frame that shows it, minus its time"
    )
    for clock in ("aligned", "official"):
        found = offsets_ms(clock)
        mean, least, most = statistics.mean(found), min(found), max(found)
        say(f"  {clock:8}: mean {mean:+.1f} ms, median {statistics.median(found):+.1f}, {least:+.1f} to {most:+.1f} ms")
        if clock == "aligned":
            is_right = is_right and max(abs(least), abs(most)) <= 1000 / FPS
    return 0 if is_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
