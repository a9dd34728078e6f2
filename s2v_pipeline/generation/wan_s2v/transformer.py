"""The diffusion transformer of Wan2.2-S2V-14B, for inference.

Belongs here: the module with the official parameter names, what is constant over a clip's steps, one forward.
Does not belong here: sampling, guidance, the clip loop (pipeline), reading weights (checkpoint), quantisation
(precision).

The architecture follows Wan-Video/Wan2.2 @ 42bf4cf, wan/modules/s2v/{model_s2v,audio_utils,auxi_blocks,motioner}.py.
Three values hold what a forward needs besides the noisy latents, so that the module keeps nothing of a request and two
requests may interleave on it:

    encode_text   -> TextTerms    once a prompt: keys and values of every block's cross-attention
    encode_audio  -> AudioTerms   once a clip and guidance branch: keys, values, AdaIN shift and scale of every injector
    encode_clip   -> ClipTerms    once a clip: reference and motion tokens, pose, rotary tables

Arithmetic: weights and products in the model's dtype (bfloat16); the residual stream, norms, modulation, time
embedding, audio encoder and head in float32, as the official code has them under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.attention import AttentionName, attend, choose_attention, choose_short_attention
from s2v_pipeline.generation.wan_s2v.layer_streaming import LayerStreamer
from s2v_pipeline.generation.wan_s2v.ranks import Peers
from s2v_pipeline.generation.wan_s2v.step_cache import StepCache
from s2v_pipeline.generation.wan_s2v.token_share import TokenShare

PATCH = (1, 2, 2)
N_HIDDEN_STATES = 25  # of wav2vec2-large: the input of its first layer and the outputs of its 24 layers
ROPE_THETA = 10_000.0
REFERENCE_TIME = 30  # temporal position of the reference latent; official model_s2v.py: ref grid from [30, 0, 0]
MOTION_BUCKETS = (1, 2, 16)  # latents packed at full, half and quarter resolution, newest first; motioner.py
MOTION_LATENTS = sum(MOTION_BUCKETS)
AUDIO_STRIDE = 4  # video frames a latent frame; the audio encoder halves time twice
_VIDEO, _REFERENCE, _MOTION = 0, 1, 2  # rows of trainable_cond_mask
_ADAIN_EPS = 1e-5  # diffusers' AdaLayerNorm default, which the official injector takes
_MODULATIONS = 6
_PAST_REPEATS_FIRST = 73  # the official default of motion_frames in pixels; any other is given to encode_audio

_FLOAT32_PARTS = ("modulation", "casual_audio_encoder.", "time_embedding.", "time_projection.", "head.")


def keeps_float32(name: str) -> bool:
    """Whether a parameter stays float32 in a 16-bit model: the official code's float32 islands."""
    return any(name.endswith(part) or name.startswith(part) for part in _FLOAT32_PARTS)


@dataclass(frozen=True, eq=False)
class TextTerms:
    """Keys and values (1, text_len, heads, channels) of every block's cross-attention."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class AudioTerms:
    """What the injectors need of a clip's sound; one row a latent frame.

    Attributes:
        keys, values: (frames, tokens, heads, channels), one an injector.
        shifts, scales: (frames, 1, dim) float32, one an injector.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    shifts: tuple[Tensor, ...]
    scales: tuple[Tensor, ...]

    @property
    def n_frames(self) -> int:
        """Latent frames."""
        return len(self.shifts[0])


@dataclass(frozen=True, eq=False)
class ClipTerms:
    """What is constant over a clip's steps besides text and sound.

    Attributes:
        grid: (latent frames, rows, columns) of video tokens.
        tail: (1, reference and motion tokens, dim) float32, condition embedding included.
        addend: (1, 1 or video tokens, dim) float32 added to the video tokens: pose (or its bias) and embedding.
        is_video: (1, tokens, 1) bool; False for reference, motion and padding.
        cosines, sines: (tokens, 1, channels / 2) float32 rotary table of one head.
        share: this rank's tokens, to which `is_video` and the table are cut; None where it has all.
    """

    grid: tuple[int, int, int]
    tail: Tensor
    addend: Tensor
    is_video: Tensor
    cosines: Tensor
    sines: Tensor
    share: TokenShare | None = None

    @property
    def n_video(self) -> int:
        """Video tokens."""
        return math.prod(self.grid)

    @property
    def n_tokens(self) -> int:
        """All tokens."""
        return self.n_video + self.tail.shape[1]


# --- rotary positions ---------------------------------------------------------------------------------------------


def _axis_angles(positions: Sequence[int], channels: int) -> Tensor:
    """(positions, channels) float64 angles of one axis; negative positions turn the other way."""
    exponents = torch.arange(channels, dtype=torch.float64) / channels
    return torch.outer(torch.tensor(positions, dtype=torch.float64), ROPE_THETA**-exponents)


def _grid_angles(times: Sequence[int], rows: Sequence[int], columns: Sequence[int], channels: int) -> Tensor:
    """(times * rows * columns, channels) angles; a head's half is split into thirds, the remainder goes to time."""
    third = channels // 3
    shape = (len(times), len(rows), len(columns))
    parts = (
        _axis_angles(times, channels - 2 * third)[:, None, None, :].expand(*shape, -1),
        _axis_angles(rows, third)[None, :, None, :].expand(*shape, -1),
        _axis_angles(columns, third)[None, None, :, :].expand(*shape, -1),
    )
    return torch.cat(parts, dim=-1).flatten(0, 2)


def _spread(first: int, last: int, count: int) -> list[int]:
    """`count` positions from first to last, evenly spread and truncated to whole numbers, as the official table has
    them (wan/modules/s2v/s2v_utils.py: rope_precompute)."""
    positions: list[int] = np.linspace(first, last, count).astype(int).tolist()
    return positions


def _rope_angles(grid: tuple[int, int, int], *, has_motion: bool, channels: int) -> Tensor:
    """Angles of all tokens: video from (0, 0, 0), the reference at its own time, motion at negative times."""
    frames, rows, columns = grid
    parts = [
        _grid_angles(range(frames), range(rows), range(columns), channels),
        _grid_angles([REFERENCE_TIME], range(rows), range(columns), channels),
    ]
    if has_motion:
        passed = 0
        for level, bucket in enumerate(MOTION_BUCKETS):
            factor = 2**level
            start, count = passed + bucket, max(1, bucket // factor)
            times = [-time for time in _spread(start, start - bucket + 1, count)]
            at_rows = _spread(0, rows - 1, rows // factor) if rows // factor else []
            at_columns = _spread(0, columns - 1, columns // factor) if columns // factor else []
            if at_rows and at_columns:
                parts.append(_grid_angles(times, at_rows, at_columns, channels))
            passed += bucket
    return torch.cat(parts)


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate neighbouring channels of (batch, tokens, heads, channels); float32 inside, the input's dtype outside."""
    even, odd = heads.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
    return turned.flatten(-2).to(heads.dtype)


# --- layers -------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Projections and query/key norms over all heads at once; self-attention, text and audio cross-attention alike."""

    def __init__(self, dim: int, n_heads: int, eps: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps=eps)
        self.norm_k = nn.RMSNorm(dim, eps=eps)

    def query(self, tokens: Tensor) -> Tensor:
        """(batch, tokens, dim) -> (batch, tokens, heads, channels)."""
        return self.norm_q(self.q(tokens)).unflatten(-1, (self.n_heads, -1))

    def key_value(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens, dim) -> key and value (batch, tokens, heads, channels)."""
        key = self.norm_k(self.k(tokens)).unflatten(-1, (self.n_heads, -1))
        return key, self.v(tokens).unflatten(-1, (self.n_heads, -1))


class Block(nn.Module):
    """Self-attention, text cross-attention, feed-forward; see `BlockRegions` for how they are cut for the compiler."""

    def __init__(self, dim: int, ffn_dim: int, n_heads: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.self_attn = Attention(dim, n_heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.cross_attn = Attention(dim, n_heads, eps)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, _MODULATIONS, dim) / dim**0.5)

    def forward(
        self,
        hidden: Tensor,
        modulation: Tensor,
        clip: ClipTerms,
        text: tuple[Tensor, Tensor],
        regions: BlockRegions,
        kernel: SDPBackend,
    ) -> Tensor:
        """One block.

        Args:
            hidden: (batch, tokens, dim) float32.
            modulation: (batch, 6, 2, dim) float32; of the real time for video tokens, of time 0 for the rest.
            clip: positions and which tokens are video.
            text: keys and values of the prompt for this block.
            regions: the pieces around attention, compiled or not.
            kernel: of both attentions.
        """
        query, key, value = regions.before_self(self, hidden, modulation, clip.is_video, clip.cosines, clip.sines)
        if clip.share is None:
            attended = attend(query, key, value, kernel)
        else:
            attended = clip.share.attend(query, key, value, kernel)
        hidden, query = regions.before_text(self, hidden, attended, modulation, clip.is_video)
        attended = attend(query, *text, kernel)
        return regions.after_text(self, hidden, attended, modulation, clip.is_video)


def _modulations(block: Block, modulation: Tensor, is_video: Tensor, rows: Sequence[int]) -> list[Tensor]:
    """Rows of the block's modulation, (batch, tokens, dim): the first column for video tokens, the second else."""
    both = block.modulation.float().unsqueeze(2) + modulation
    return [torch.where(is_video, both[:, row, :1], both[:, row, 1:]) for row in rows]


def _norm(hidden: Tensor, eps: float) -> Tensor:
    return functional.layer_norm(hidden, hidden.shape[-1:], eps=eps)


def _before_self(
    block: Block, hidden: Tensor, modulation: Tensor, is_video: Tensor, cosines: Tensor, sines: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    shift, scale = _modulations(block, modulation, is_video, (0, 1))
    attention = block.self_attn
    tokens = (_norm(hidden, block.eps) * (1 + scale) + shift).to(attention.norm_q.weight.dtype)
    key, value = attention.key_value(tokens)
    return rotate(attention.query(tokens), cosines, sines), rotate(key, cosines, sines), value


def _before_text(
    block: Block, hidden: Tensor, attended: Tensor, modulation: Tensor, is_video: Tensor
) -> tuple[Tensor, Tensor]:
    (gate,) = _modulations(block, modulation, is_video, (2,))
    hidden = hidden + block.self_attn.o(attended).float() * gate
    weight, bias = block.norm3.weight.float(), block.norm3.bias.float()
    normed = functional.layer_norm(hidden, hidden.shape[-1:], weight, bias, block.eps)
    return hidden, block.cross_attn.query(normed.to(block.cross_attn.norm_q.weight.dtype))


def _after_text(block: Block, hidden: Tensor, attended: Tensor, modulation: Tensor, is_video: Tensor) -> Tensor:
    shift, scale, gate = _modulations(block, modulation, is_video, (3, 4, 5))
    hidden = hidden + block.cross_attn.o(attended).float()
    tokens = (_norm(hidden, block.eps) * (1 + scale) + shift).to(block.norm3.weight.dtype)
    return hidden + block.ffn(tokens).float() * gate


def _audio_query(injector: Attention, video: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    tokens = _norm(video, _ADAIN_EPS) * (1 + scale) + shift
    return injector.query(tokens.to(injector.norm_q.weight.dtype))


def _audio_output(injector: Attention, attended: Tensor) -> Tensor:
    return injector.o(attended).float()


Region = Callable[..., Any]


@dataclass(frozen=True)
class BlockRegions:
    """The pieces between attentions: plain functions, or the same ones compiled; shared by all blocks."""

    before_self: Region = _before_self
    before_text: Region = _before_text
    after_text: Region = _after_text
    audio_query: Region = _audio_query
    audio_output: Region = _audio_output

    def compiled(self) -> BlockRegions:
        """Compiled once for every number of tokens: clips of other lengths and the first clip, which has no motion
        tokens, do not compile again; clips of one latent frame do, once."""
        return BlockRegions(
            before_self=torch.compile(self.before_self, dynamic=True, fullgraph=True),
            before_text=torch.compile(self.before_text, dynamic=True, fullgraph=True),
            after_text=torch.compile(self.after_text, dynamic=True, fullgraph=True),
            audio_query=torch.compile(self.audio_query, dynamic=True, fullgraph=True),
            audio_output=torch.compile(self.audio_output, dynamic=True, fullgraph=True),
        )


class Head(nn.Module):
    """Norm, modulation by the real time, projection to patches."""

    def __init__(self, dim: int, out_dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.head = nn.Linear(dim, math.prod(PATCH) * out_dim)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, hidden: Tensor, time: Tensor) -> Tensor:
        """(batch, tokens, dim) and (batch, dim) -> (batch, tokens, patch)."""
        shift, scale = (self.modulation.float() + time.unsqueeze(1)).chunk(2, dim=1)
        return self.head((_norm(hidden, self.eps) * (1 + scale) + shift).to(self.head.weight.dtype))


class CausalConv(nn.Module):
    """Convolution over time that sees the past alone; the first frame stands for all before it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size=3, stride=stride)

    def forward(self, frames: Tensor) -> Tensor:
        """(batch, time, in) -> (batch, time / stride, out)."""
        padded = functional.pad(frames.transpose(1, 2), (2, 0), mode="replicate")
        return self.conv(padded).transpose(1, 2)


class MotionEncoder(nn.Module):
    """Speech features to tokens, one group a latent frame (wan/modules/s2v/auxi_blocks.py: MotionEncoder_tc)."""

    def __init__(self, in_dim: int, dim: int, n_tokens: int) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.conv1_local = CausalConv(in_dim, dim // 4 * n_tokens, stride=1)
        self.conv1_global = CausalConv(in_dim, dim // 4, stride=1)
        self.conv2 = CausalConv(dim // 4, dim // 2, stride=2)
        self.conv3 = CausalConv(dim // 2, dim, stride=2)
        self.final_linear = nn.Linear(dim, dim)
        self.padding_tokens = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, time, in) -> global (batch, time / 4, 1, dim) and local (batch, time / 4, tokens + 1, dim)."""
        local = self.conv1_local(frames).unflatten(-1, (self.n_tokens, -1))  # (batch, time, tokens, channels)
        local = self._rest(local.transpose(1, 2).flatten(0, 1))
        local = local.unflatten(0, (-1, self.n_tokens)).transpose(1, 2)
        padding = self.padding_tokens.expand(local.shape[0], local.shape[1], -1, -1)
        overall = self.final_linear(self._rest(self.conv1_global(frames)))
        return overall.unsqueeze(2), torch.cat((local, padding), dim=2)

    def _rest(self, frames: Tensor) -> Tensor:
        for convolution in (self.conv2, self.conv3):
            frames = convolution(functional.silu(_norm(frames, 1e-6)))
        return functional.silu(_norm(frames, 1e-6))


class AudioEncoder(nn.Module):
    """A learnt mean over the speech model's layers, then `MotionEncoder`."""

    def __init__(self, audio_dim: int, dim: int, n_tokens: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(1, N_HIDDEN_STATES, 1, 1) * 0.01)
        self.encoder = MotionEncoder(audio_dim, dim, n_tokens)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, layers, channels, time) -> global and local tokens, see `MotionEncoder`."""
        weights = functional.silu(self.weights)
        mean = ((features * weights) / weights.sum(dim=1, keepdim=True)).sum(dim=1)
        return self.encoder(mean.transpose(1, 2))


class AdaIn(nn.Module):
    """Shift and scale of an injector's norm from the frame's global audio token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 2 * dim)

    def forward(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """(frames, 1, dim) -> shift and scale (frames, 1, dim) float32, in this order (diffusers' AdaLayerNorm)."""
        # Offloading may keep the weights on another device; these products are made once a clip.
        weight, bias = self.linear.weight.to(token.device), self.linear.bias.to(token.device)
        terms = functional.linear(functional.silu(token).to(weight.dtype), weight, bias).float()
        shift, scale = terms.chunk(2, dim=-1)
        return shift, scale


class AudioInjector(nn.Module):
    """Cross-attention to the sound after some blocks."""

    def __init__(self, dim: int, n_heads: int, eps: float, n_injectors: int) -> None:
        super().__init__()
        self.injector = nn.ModuleList(Attention(dim, n_heads, eps) for _ in range(n_injectors))
        self.injector_adain_layers = nn.ModuleList(AdaIn(dim) for _ in range(n_injectors))

    def pairs(self) -> list[tuple[Attention, AdaIn]]:
        """Each injector with the layer that modulates its norm."""
        attentions, adains = cast(list[Attention], self.injector), cast(list[AdaIn], self.injector_adain_layers)
        return list(zip(attentions, adains, strict=True))


class FramePacker(nn.Module):
    """Motion latents to tokens, the older the coarser (wan/modules/s2v/motioner.py: FramePackMotioner)."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_dim, dim, kernel_size=(1, 2, 2), stride=(1, 2, 2))
        self.proj_2x = nn.Conv3d(in_dim, dim, kernel_size=(2, 4, 4), stride=(2, 4, 4))
        self.proj_4x = nn.Conv3d(in_dim, dim, kernel_size=(4, 8, 8), stride=(4, 8, 8))

    def forward(self, motion: Tensor) -> Tensor:
        """(batch, channels, latents, height, width), newest last -> (batch, tokens, dim): near, mid, far."""
        missing = MOTION_LATENTS - motion.shape[2]
        padded = functional.pad(motion, (0, 0, 0, 0, max(0, missing), 0))[:, :, -MOTION_LATENTS:]
        far, mid, near = padded.split(MOTION_BUCKETS[::-1], dim=2)
        parts = ((self.proj, near), (self.proj_2x, mid), (self.proj_4x, far))
        # A latent smaller than a kernel gives no token, as the official integer division has it.
        seen = [
            (conv, part)
            for conv, part in parts
            if all(s >= k for s, k in zip(part.shape[2:], conv.kernel_size, strict=True))
        ]
        return torch.cat([conv(part).flatten(2).transpose(1, 2) for conv, part in seen], dim=1)


# --- the model ----------------------------------------------------------------------------------------------------


class WanS2VTransformer3DModel(ModelMixin, ConfigMixin):
    """Wan2.2-S2V's transformer with the official parameter names; defaults are the 14B model's.

    Args:
        dim, ffn_dim, num_heads, num_layers, eps: of the trunk.
        freq_dim: channels of the sinusoidal time embedding.
        text_dim, text_len: channels of the text encoder, tokens that a prompt is padded to with zeros.
        in_dim, out_dim, cond_dim: latent channels in, out, and of the pose.
        audio_dim, num_audio_token: channels of the speech model, local tokens a latent frame.
        audio_inject_layers: blocks after which the sound is injected.
    """

    _supports_gradient_checkpointing = False
    _no_split_modules = ["Block"]  # noqa: RUF012 (diffusers reads it from the class)
    _supports_group_offloading = True
    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        dim: int = 5120,
        ffn_dim: int = 13824,
        num_heads: int = 40,
        num_layers: int = 40,
        eps: float = 1e-6,
        freq_dim: int = 256,
        text_dim: int = 4096,
        text_len: int = 512,  # noqa: ARG002 (read from the config that the decorator keeps)
        in_dim: int = 16,
        out_dim: int = 16,
        cond_dim: int = 16,
        audio_dim: int = 1024,
        num_audio_token: int = 4,
        audio_inject_layers: Sequence[int] = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39),
    ) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv3d(in_dim, dim, kernel_size=PATCH, stride=PATCH)
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, _MODULATIONS * dim))
        self.blocks = nn.ModuleList(Block(dim, ffn_dim, num_heads, eps) for _ in range(num_layers))
        self.head = Head(dim, out_dim, eps)
        self.cond_encoder = nn.Conv3d(cond_dim, dim, kernel_size=PATCH, stride=PATCH)
        self.trainable_cond_mask = nn.Embedding(3, dim)
        self.frame_packer = FramePacker(in_dim, dim)
        self.casual_audio_encoder = AudioEncoder(audio_dim, dim, num_audio_token)
        self.audio_injector = AudioInjector(dim, num_heads, eps, len(audio_inject_layers))
        self.regions = BlockRegions()
        self.attention_name: AttentionName = "auto"
        self.peers: Peers | None = None
        self._streamer: LayerStreamer | None = None
        self._injector_of = {block: injector for injector, block in enumerate(audio_inject_layers)}

    def compile_regions(self) -> None:
        """Compile the pieces between attentions; happens at their first call, once for all lengths of clips."""
        self.regions = BlockRegions().compiled()

    def stream_layers(self, device: torch.device) -> LayerStreamer:
        """Move every block and injector to pinned host memory, the rest to `device`; forwards then copy them as they
        go, one forward at a time."""
        injectors = [attention for attention, _ in self.audio_injector.pairs()]
        layers = [
            [block, injectors[self._injector_of[index]]] if index in self._injector_of else [block]
            for index, block in enumerate(_blocks(self))
        ]
        streamer = LayerStreamer(layers, device)
        streamed = {id(tensor) for layer in layers for module in layer for tensor in module.parameters()}
        streamed |= {id(tensor) for layer in layers for module in layer for tensor in module.buffers()}
        # AdaIN layers work once a clip and hold 1.3 GB: they stay on the host and are moved when called.
        streamed |= {id(tensor) for tensor in self.audio_injector.injector_adain_layers.parameters()}
        for tensor in (*self.parameters(), *self.buffers()):
            if id(tensor) not in streamed:
                tensor.data = tensor.data.to(device)
        self._streamer = streamer
        return streamer

    @torch.no_grad()
    def encode_text(self, embeddings: Tensor) -> TextTerms:
        """Keys and values of a prompt.

        Args:
            embeddings: (tokens, text_dim) of the text encoder; at most text_len, padded with zeros that are attended
                to, as in training.

        Raises:
            GenerationError: more tokens, or other channels.
        """
        length, channels = self.config.text_len, self.config.text_dim
        if embeddings.ndim != 2 or embeddings.shape[1] != channels or len(embeddings) > length:
            raise GenerationError(
                f"a prompt's embedding must be (at most {length}, {channels})",
                got=str(tuple(embeddings.shape)),
                cure="Take the text encoder that belongs to these weights.",
            )
        padded = functional.pad(embeddings, (0, 0, 0, length - len(embeddings)))
        context = self.text_embedding(padded.to(self._device(), self.patch_embedding.weight.dtype)).unsqueeze(0)
        pairs = [_key_value(block.cross_attn, context) for block in _blocks(self)]
        return TextTerms(tuple(key for key, _ in pairs), tuple(value for _, value in pairs))

    @torch.no_grad()
    def encode_audio(self, features: Tensor, *, past_frames: int = _PAST_REPEATS_FIRST) -> AudioTerms:
        """Keys, values and AdaIN terms of a clip's sound.

        Args:
            features: (frames, layers, audio_dim), one row a video frame; frames a multiple of 4.
            past_frames: video frames of motion before the clip; the first feature stands for them.

        Raises:
            GenerationError: another shape.
        """
        expected = (N_HIDDEN_STATES, self.config.audio_dim)
        if features.ndim != 3 or features.shape[1:] != expected or not len(features) or len(features) % AUDIO_STRIDE:
            raise GenerationError(
                f"speech features must be (frames, {expected[0]}, {expected[1]}), frames a multiple of {AUDIO_STRIDE}",
                got=str(tuple(features.shape)),
                cure="Take the speech model that belongs to these weights.",
            )
        past = features[:1].expand(past_frames, -1, -1)
        layers_first = torch.cat((past, features)).permute(1, 2, 0).unsqueeze(0)
        encoder = self.casual_audio_encoder
        overall, local = encoder(layers_first.to(self._device(), encoder.weights.dtype))
        n_latents = len(features) // AUDIO_STRIDE
        overall, local = overall[0, -n_latents:], local[0, -n_latents:]
        keys, values, shifts, scales = [], [], [], []
        for attention, adain in self.audio_injector.pairs():
            key, value = _key_value(attention, local.to(attention.norm_q.weight.dtype))
            shift, scale = adain(overall)
            keys.append(key)
            values.append(value)
            shifts.append(shift)
            scales.append(scale)
        return AudioTerms(tuple(keys), tuple(values), tuple(shifts), tuple(scales))

    @torch.no_grad()
    def encode_clip(
        self, reference: Tensor, *, latent_frames: int, motion: Tensor | None = None, pose: Tensor | None = None
    ) -> ClipTerms:
        """Tokens and positions of a clip.

        Args:
            reference: (channels, 1, height, width) latent of the portrait; height and width even.
            latent_frames: of the clip.
            motion: (channels, latents, height, width) of the frames before the clip, newest last; None in a clip that
                continues nothing: its motion tokens are absent, not zero.
            pose: (channels, latent_frames, height, width); None adds the pose encoder's bias alone.

        Raises:
            GenerationError: shapes that do not fit each other.
        """
        height, width = (*reference.shape, 0, 0)[2:4]
        _check_latents("the reference", reference, (self.config.in_dim, 1, height, width))
        if latent_frames < 1:
            raise GenerationError("a clip must have latent frames", got=str(latent_frames), cure="Ask for one or more.")
        if not height or not width or height % PATCH[1] or width % PATCH[2]:
            raise GenerationError(
                "latents must have an even height and width (pixels a multiple of 16)",
                got=f"{height}x{width}",
                cure="Choose a width and a height that are multiples of 16.",
            )
        device, dtype = self._device(), self.patch_embedding.weight.dtype
        grid = (latent_frames, height // PATCH[1], width // PATCH[2])
        masks = self.trainable_cond_mask.weight.float()
        tail = [_tokens(self.patch_embedding, reference) + masks[_REFERENCE]]
        if motion is not None:
            n_motion = max(1, (*motion.shape, 0)[1])
            _check_latents("motion", motion, (self.config.in_dim, n_motion, height, width))
            packed = self.frame_packer(motion.unsqueeze(0).to(device, dtype))
            tail.append(packed.float() + masks[_MOTION])
        if pose is None:
            addend = cast(Tensor, self.cond_encoder.bias).float().reshape(1, 1, -1) + masks[_VIDEO]
        else:
            _check_latents("the pose", pose, (self.config.cond_dim, latent_frames, height, width))
            addend = _tokens(self.cond_encoder, pose) + masks[_VIDEO]
        tail_tokens = torch.cat(tail, dim=1)
        channels = self.config.dim // self.config.num_heads // 2
        angles = _rope_angles(grid, has_motion=motion is not None, channels=channels).unsqueeze(1)
        n_video = math.prod(grid)
        n_tokens = n_video + tail_tokens.shape[1]
        is_video = (torch.arange(n_tokens, device=device) < n_video).reshape(1, -1, 1)
        cosines, sines = angles.cos().float().to(device), angles.sin().float().to(device)
        share = None
        if self.peers is not None:
            share = TokenShare(self.peers, n_tokens)
            is_video, cosines, sines = share.own(is_video, 1), share.own(cosines, 0), share.own(sines, 0)
        return ClipTerms(grid, tail_tokens, addend, is_video, cosines, sines, share)

    @torch.no_grad()
    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        clip: ClipTerms,
        text: TextTerms,
        audio: AudioTerms,
        cache: StepCache | None = None,
    ) -> Tensor:
        """Velocity of the noisy latents.

        Args:
            latents: (channels, frames, height, width).
            timestep: () of 0 to 1000.
            clip, text, audio: see the module's first lines.
            cache: of earlier steps of the same clip and guidance branch; None computes every block (exact).

        Returns:
            (channels, frames, height, width) float32.

        Raises:
            GenerationError: latents that do not fit the clip.
        """
        frames, rows, columns = clip.grid
        _check_latents("latents", latents, (self.config.in_dim, frames, rows * PATCH[1], columns * PATCH[2]))
        if audio.n_frames != frames:
            raise GenerationError(
                "a clip's sound must have a row for each latent frame",
                got=f"{audio.n_frames} for {frames}",
                cure="Give the features of exactly these frames.",
            )
        # 1. tokens
        video = _tokens(self.patch_embedding, latents.to(self._device())) + clip.addend
        hidden = torch.cat((video, clip.tail), dim=1)
        if clip.share is not None:
            hidden = clip.share.own(hidden, 1)
        # 2. time, and time zero for what is not noisy
        time, modulation = self._time(timestep.to(self._device()))
        # 3. blocks
        kernel = choose_attention(self.attention_name, hidden.device, self.patch_embedding.weight.dtype)
        for index, block in enumerate(_blocks(self)):
            if cache is not None and index == 1 and (reused := cache.reuse(hidden)) is not None:
                hidden = reused
                break
            text_pair = (text.keys[index], text.values[index])
            with self._streamer.at_work(index) if self._streamer else nullcontext():
                hidden = block(hidden, modulation, clip, text_pair, self.regions, kernel)
                if index in self._injector_of:
                    self._inject_audio(hidden, self._injector_of[index], clip, audio, kernel)
        else:
            if cache is not None and len(self.blocks) > 1:
                cache.keep(hidden)
        # 4. patches
        if clip.share is None:
            patches = self.head(hidden[:, : clip.n_video], time)
        else:
            patches = clip.share.whole(self.head(hidden, time))[:, : clip.n_video]
        channels = self.config.out_dim
        unpatched = patches.float().reshape(frames, rows, columns, *PATCH, channels)
        return unpatched.permute(6, 0, 3, 1, 4, 2, 5).reshape(
            channels, frames * PATCH[0], rows * PATCH[1], columns * PATCH[2]
        )

    def _time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (1, dim) of the real time, and modulation (1, 6, 2, dim) of the real time and of zero."""
        half = self.config.freq_dim // 2
        exponents = torch.arange(half, dtype=torch.float64, device=timestep.device) / half
        both = torch.stack(
            (timestep.double().reshape(()), torch.zeros((), dtype=torch.float64, device=timestep.device))
        )
        angles = torch.outer(both, ROPE_THETA**-exponents)
        sinusoid = torch.cat((angles.cos(), angles.sin()), dim=1)
        embedding = self.time_embedding(sinusoid.to(self.head.modulation.dtype))
        projected = self.time_projection(embedding).float().unflatten(1, (_MODULATIONS, -1))
        return embedding[:1].float(), projected.permute(1, 0, 2).unsqueeze(0)

    def _inject_audio(
        self, hidden: Tensor, injector: int, clip: ClipTerms, audio: AudioTerms, kernel: SDPBackend
    ) -> None:
        """Add the sound to the video tokens of `hidden`, in place: it is this forward's own tensor."""
        attention = self.audio_injector.pairs()[injector][0]
        _, rows, columns = clip.grid
        # 1. the own video tokens, filled up to whole frames: each frame hears its own sound
        start = 0 if clip.share is None else clip.share.start
        n_own = min(hidden.shape[1], clip.n_video - start)
        if n_own <= 0:
            return
        first, ahead = divmod(start, rows * columns)
        last = -(-(start + n_own) // (rows * columns))
        behind = last * rows * columns - start - n_own
        video = hidden[:, :n_own]
        if ahead or behind:
            video = functional.pad(video, (0, 0, ahead, behind))
        video = video.reshape(last - first, rows * columns, -1)
        # 2. cross-attention
        shift, scale = audio.shifts[injector][first:last], audio.scales[injector][first:last]
        query = self.regions.audio_query(attention, video, shift, scale)
        key, value = audio.keys[injector][first:last], audio.values[injector][first:last]
        attended = attend(query, key, value, choose_short_attention(kernel))
        added = self.regions.audio_output(attention, attended).flatten(0, 1)
        hidden[:, :n_own] += added[None, ahead : ahead + n_own]

    def _device(self) -> torch.device:
        """Where inputs go: the head stays on the GPU also where layers are streamed."""
        return self.head.modulation.device


def _blocks(model: WanS2VTransformer3DModel) -> list[Block]:
    """The blocks, typed."""
    return cast(list[Block], model.blocks)


def _tokens(convolution: nn.Conv3d, latents: Tensor) -> Tensor:
    """(channels, frames, height, width) -> (1, tokens, dim) float32."""
    weight = convolution.weight
    patches = convolution(latents.unsqueeze(0).to(weight.dtype))
    return patches.flatten(2).transpose(1, 2).float()


def _key_value(attention: Attention, context: Tensor) -> tuple[Tensor, Tensor]:
    """`Attention.key_value`, also where offloading keeps this attention's weights on another device."""
    if attention.k.weight.device == context.device:
        return attention.key_value(context)
    moved = [parameter.to(context.device) for parameter in (attention.k.weight, attention.k.bias)]
    key = functional.rms_norm(
        functional.linear(context, *moved),
        attention.norm_k.normalized_shape,
        attention.norm_k.weight.to(context.device),
        attention.norm_k.eps,
    )
    value = functional.linear(
        context, *(parameter.to(context.device) for parameter in (attention.v.weight, attention.v.bias))
    )
    return key.unflatten(-1, (attention.n_heads, -1)), value.unflatten(-1, (attention.n_heads, -1))


def _check_latents(name: str, latents: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(latents.shape) != expected:
        raise GenerationError(
            f"{name} must be (channels, frames, height, width) = {expected}",
            got=str(tuple(latents.shape)),
            cure="Encode it at the size of the clip.",
        )
