"""Which frames each stage of the VAE's decoder must compute for the frames that are wanted.

Belongs here: how far layers look back, the spans that follow.
Does not belong here: the layers (vae_tail).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffusers.models.autoencoders.autoencoder_kl_wan import WanDecoder3d
from torch import nn

UPSAMPLED = 2
"""Frames that a temporal upsampling makes of one."""


@dataclass(frozen=True)
class StageSpan:
    """The part of one decoder stage that a walk computes; a stage lies between two temporal upsamplings.

    Frames are counted from the start of the whole sequence, at the stage's own rate.

    Attributes:
        taken_from: first frame that goes into the stage; 0 is the true start of the sequence.
        made_from: first frame that comes out of it.
        kept_from: first of those that is used further.
    """

    taken_from: int
    made_from: int
    kept_from: int


def stage_reaches(decoder: WanDecoder3d) -> tuple[int, ...]:
    """Of each stage: how many frames before its own an output frame depends on, at the stage's rate."""
    reaches = [_reach(decoder.conv_in) + _reach(decoder.mid_block)]
    for block in decoder.up_blocks:
        reaches[-1] += _reach(block.resnets)
        reaches += [0 for resample in block.upsamplers or () if resample.mode == "upsample3d"]
    reaches[-1] += _reach(decoder.conv_out)
    return tuple(reaches)


def _reach(module: nn.Module) -> int:
    return sum(layer.kernel_size[0] - 1 for layer in module.modules() if isinstance(layer, nn.Conv3d))


def plan_stages(reaches: Sequence[int], first_frame: int, *, upsample_reach: int) -> tuple[StageSpan, ...]:
    """The span of each stage when the video's frames from `first_frame` on are wanted.

    A temporal upsampling hands the first frame of the sequence through and makes two of every later one: output 0 is
    input 0, output k comes from input 1 + (k - 1) // 2 and from the `upsample_reach` inputs before that, the first
    frame of the sequence left out (WanResample's cache "Rep").
    """
    spans: list[StageSpan] = []
    needed = first_frame
    for reach in reversed(reaches):
        taken_from = max(needed - reach, 0)
        made_from = taken_from + reach if taken_from else 0
        spans.append(StageSpan(taken_from, made_from, needed))
        # Frame 1 of the sequence is where the upsampling's own history begins.
        needed = max(1 + (taken_from - 1) // UPSAMPLED - upsample_reach, 1) if taken_from else 0
    return tuple(reversed(spans))
