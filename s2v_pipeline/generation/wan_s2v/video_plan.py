"""The clips of a whole speech, and what each frame of them hears.

Belongs here: from a waveform to clips and features, for the pipeline that makes a video in one process.
Does not belong here: the arithmetic of clips (clock), the features (speech_features), the graph's chunks (profile).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.clock import ClipSpan, Clock, lead_frames, official_clips, plan_clips, tail_frames
from s2v_pipeline.generation.wan_s2v.profile import FPS
from s2v_pipeline.generation.wan_s2v.speech_encoder import SPEECH_RATE_HZ, SpeechEncoder
from s2v_pipeline.generation.wan_s2v.speech_features import clips_needed, features_for_video, n_features_30hz, normalise
from s2v_pipeline.media import Waveform
from s2v_pipeline.timebase import frames_for_samples


def plan_video(
    encoder: SpeechEncoder | None, speech: Waveform, *, clock: Clock, clip_frames: int, init_first_frame: bool
) -> tuple[Sequence[ClipSpan], Tensor]:
    """Clips of a speech, and features (frames, layers, channels) that their `first_feature_frame` counts in.

    Raises:
        GenerationError: speech of another rate, or no encoder.
    """
    if encoder is None or speech.rate_hz != SPEECH_RATE_HZ:
        raise GenerationError(
            f"speech must be at {SPEECH_RATE_HZ} Hz, and a speech encoder there to hear it",
            got=f"{speech.rate_hz} Hz and {'no encoder' if encoder is None else 'an encoder'}",
            cure="Read it with audio.decode.read_waveform(path, rate_hz=16000) and load the whole checkpoint.",
        )
    samples = torch.from_numpy(np.array(speech.samples))
    samples = normalise(samples, float(samples.double().mean()), float(samples.double().std(unbiased=False)))
    if clock == "official":
        n_features = n_features_30hz(encoder.n_hidden_frames(len(samples)))
        spans = official_clips(
            clips_needed(n_features, FPS, clip_frames), clip_frames=clip_frames, init_first_frame=init_first_frame
        )
    else:
        n_frames = frames_for_samples(len(samples), SPEECH_RATE_HZ, FPS)
        spans = plan_clips(n_frames, clip_frames=clip_frames, clock=clock, init_first_frame=init_first_frame)
    lead = lead_frames(clock, init_first_frame=init_first_frame)
    features = features_for_video(
        encoder,
        samples,
        n_frames=spans[-1].first_feature_frame + spans[-1].n_feature_frames - lead,
        fps=FPS,
        lead_frames=lead,
        tail_frames=tail_frames(clock),
    )
    return spans, features
