"""What the network hears: the speech encoder's hidden states, brought to one feature per video frame.

Belongs here: normalising, 50 Hz -> 30 Hz -> video frames, silence before the speech.
Does not belong here: the encoder itself (speech_encoder), which frames a clip needs (clock).

Facts and constants: Wan-Video/Wan2.2 wan/modules/s2v/audio_encoder.py.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from s2v_pipeline.generation.wan_s2v.speech_encoder import (
    HIDDEN_HZ,
    SPEECH_RATE_HZ,
    SpeechEncoder,
    load_speech_encoder,
    too_short,
)

__all__ = [
    "FEATURE_HZ",
    "HiddenStates",
    "SpeechEncoder",
    "clips_needed",
    "features_for_frames",
    "features_for_video",
    "load_speech_encoder",
    "n_features_30hz",
    "normalise",
    "to_30hz",
    "video_frame_features",
]

FEATURE_HZ = 30  # AudioEncoder.video_rate
_NORMALISE_EPS = 1e-7  # transformers Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm


class HiddenStates(Protocol):
    """What `features_for_video` needs of an encoder."""

    def n_hidden_frames(self, n_samples: int) -> int:
        """Hidden frames that `n_samples` samples give."""

    def hidden_states(self, samples: Tensor, start_frame: int = 0, stop_frame: int | None = None) -> Tensor:
        """Hidden frames [start_frame, stop_frame) of normalised speech (n,): [states, frames, dim] float32, CPU."""


def normalise(samples: Tensor, mean: float, std: float) -> Tensor:
    """Speech with mean 0 and variance 1, given its mean and standard deviation (biased): the encoder's `do_normalize`.

    Mean and deviation are those of the whole recording, also where `samples` is a part of it.
    """
    return ((samples.double() - mean) / math.sqrt(std**2 + _NORMALISE_EPS)).float()


def to_30hz(hidden: Tensor) -> Tensor:
    """Hidden states [states, frames, dim] at 50 Hz as [states, int(frames / 50 * 30), dim]: linear, ends on ends.

    Source: wan/modules/s2v/audio_encoder.py, linear_interpolation.

    Raises:
        GenerationError: fewer than 2 hidden frames.
    """
    n_features = n_features_30hz(hidden.shape[1])
    features = torch.nn.functional.interpolate(
        hidden.transpose(1, 2), size=n_features, mode="linear", align_corners=True
    )
    return features.transpose(1, 2)


def n_features_30hz(n_hidden_frames: int) -> int:
    """Number of 30 Hz features of so many hidden frames, in the official code's floating point.

    Raises:
        GenerationError: fewer than 2 hidden frames, which give no feature.
    """
    n_features = int(n_hidden_frames / float(HIDDEN_HZ) * FEATURE_HZ)
    if n_features < 1:
        raise too_short(n_hidden_frames * SPEECH_RATE_HZ // HIDDEN_HZ)
    return n_features


def clips_needed(n_features: int, fps: Fraction, clip_frames: int) -> int:
    """Clips that the official code makes of so many 30 Hz features: `min_batch_num` of get_audio_embed_bucket_fps."""
    return int(n_features * fps / (clip_frames * FEATURE_HZ)) + 1


def video_frame_features(features_30hz: Tensor, *, n_frames: int, fps: Fraction, first_frame: int = 0) -> Tensor:
    """The features [states, n, dim] at 30 Hz that video frames use: [n_frames, states, dim].

    Frame j uses feature round(j / fps * 30), halves to even as numpy rounds; frames past the end get zeros
    (wan/modules/s2v/audio_encoder.py, get_audio_embed_bucket_fps and get_sample_indices).
    """
    indices = _feature_indices(first_frame, n_frames, fps)
    known = indices < features_30hz.shape[1]
    frames = features_30hz.new_zeros(n_frames, features_30hz.shape[0], features_30hz.shape[2])
    frames[known] = features_30hz[:, indices[known]].transpose(0, 1)
    return frames


def features_for_video(
    encoder: HiddenStates, samples: Tensor, *, n_frames: int, fps: Fraction, lead_frames: int, tail_frames: int = 0
) -> Tensor:
    """Features of `lead_frames` frames of silence and then of `n_frames` frames: [lead_frames + n_frames, states, dim].

    Feature j belongs to audio time (j - lead_frames) / fps.

    Args:
        samples: (n,) float32 at 16 kHz, normalised: silence is zero there.
        tail_frames: frames of silence after the speech, or a little more. Without any, frames past the last feature
            get zero vectors as in the official code, and the last frame of the speech may be one of them.

    Raises:
        GenerationError: the speech is too short for one feature.
    """
    return features_for_frames(
        encoder,
        samples,
        first_frame=0,
        n_frames=lead_frames + n_frames,
        fps=fps,
        lead_frames=lead_frames,
        tail_frames=tail_frames,
    )


def features_for_frames(
    encoder: HiddenStates,
    samples: Tensor,
    *,
    first_frame: int,
    n_frames: int,
    fps: Fraction,
    lead_frames: int,
    tail_frames: int = 0,
) -> Tensor:
    """Rows [first_frame, first_frame + n_frames) of `features_for_video`, encoding only the speech that they need.

    An hour of hidden states takes 18 GB; the rows of one clip take 8 MB.

    Raises:
        GenerationError: the speech is too short for one feature.
    """
    padded = _padded(encoder, samples, fps, lead_frames, tail_frames)
    n_hidden = encoder.n_hidden_frames(len(padded))
    n_features = n_features_30hz(n_hidden)
    indices = _feature_indices(first_frame, n_frames, fps)
    known = indices < n_features
    # The same float32 arithmetic as torch's interpolate, so that both ways give the same values.
    scale = float(np.float32(n_hidden - 1) / np.float32(n_features - 1)) if n_features > 1 else 0.0
    # Where all frames lie past the end, the last feature still tells the shape of a row.
    positions = indices.clamp(max=n_features - 1).to(torch.float32) * scale
    left = positions.long().clamp(max=n_hidden - 1)
    right = (left + 1).clamp(max=n_hidden - 1)
    start_frame = int(left.min())
    hidden = encoder.hidden_states(padded, start_frame, int(right.max()) + 1)
    weight = (positions - left)[:, None]
    mixed = hidden[:, left - start_frame] * (1 - weight) + hidden[:, right - start_frame] * weight
    return mixed.transpose(0, 1) * known[:, None, None]


def _padded(encoder: HiddenStates, samples: Tensor, fps: Fraction, lead_frames: int, tail_frames: int) -> Tensor:
    """The speech with silence around it."""
    if min(lead_frames, tail_frames) < 0:
        raise ValueError(f"lead_frames and tail_frames must not be negative; got {lead_frames} and {tail_frames}")
    lead, tail = (round(n_frames / fps * SPEECH_RATE_HZ) for n_frames in (lead_frames, tail_frames))
    if tail_frames:
        # The ends of both grids are laid on each other, so the last features hear sound from 13 ms (where the hidden
        # frames are a multiple of 5) to 47 ms after their time.
        n_hidden = encoder.n_hidden_frames(lead + len(samples) + tail)
        tail += -n_hidden % (HIDDEN_HZ // math.gcd(HIDDEN_HZ, FEATURE_HZ)) * (SPEECH_RATE_HZ // HIDDEN_HZ)
    return torch.cat([samples.new_zeros(lead), samples, samples.new_zeros(tail)])


def _feature_indices(first_frame: int, n_frames: int, fps: Fraction) -> Tensor:
    """30 Hz feature of each video frame. Exact, where the official code rounds a float; at 16 fps both are the same."""
    if first_frame < 0 or n_frames < 1:
        raise ValueError(f"first_frame must not be negative and n_frames positive; got {first_frame} and {n_frames}")
    frames = range(first_frame, first_frame + n_frames)
    return torch.tensor([round(frame * FEATURE_HZ / fps) for frame in frames])
