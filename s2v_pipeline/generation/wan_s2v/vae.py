"""The Wan2.1 VAE: pixels to normalised latents and back.

Belongs here: encode, decode, and the decode of new frames only.
Does not belong here: loading it (vae_loading), its layers over time (vae_tail), tiles (vae_tiles).
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import nn

from s2v_pipeline.errors import GenerationError
from s2v_pipeline.generation.wan_s2v.fused_norm import NormSilu, compiled_norm_silu, norm_silu
from s2v_pipeline.generation.wan_s2v.ranks import Peers
from s2v_pipeline.generation.wan_s2v.vae_names import LATENT_CHANNELS
from s2v_pipeline.generation.wan_s2v.vae_rows import Rows
from s2v_pipeline.generation.wan_s2v.vae_stages import plan_stages, stage_reaches
from s2v_pipeline.generation.wan_s2v.vae_tail import decoder_steps, encoder_steps, walk
from s2v_pipeline.generation.wan_s2v.vae_tiles import LATENT_PX, Tiling, run_in_tiles

__all__ = ["BLOCK_LATENTS", "LATENT_FRAMES", "Tiling", "WanVae"]

LATENT_FRAMES = 4
"""Frames a latent, but for the first, which stands for one frame (vae_stride of wan/configs/wan_s2v_14B.py)."""
BLOCK_LATENTS = 2
"""Latents computed at once. More of them means fewer and larger kernels, and memory in proportion."""
_UPSAMPLE_REACH = 2
"""Earlier frames that the convolution of a temporal upsampling sees: its kernel is 3 frames long."""


class WanVae:
    """diffusers' AutoencoderKLWan without state of a request: one object may serve several threads.

    The model's own `encode` and `decode` keep their caches on the model and are not used; of the model only the weights
    count, all on one device. float32 gives the official results; bfloat16 is computed in bfloat16 but for norms.
    """

    def __init__(self, model: AutoencoderKLWan) -> None:
        self.model = model.eval().requires_grad_(False)
        self._norm_silu: NormSilu = norm_silu
        self._channels_last = False
        shape = (LATENT_CHANNELS, 1, 1, 1)
        self._mean = torch.tensor(model.config.latents_mean, dtype=torch.float32).view(shape)
        self._std = torch.tensor(model.config.latents_std, dtype=torch.float32).view(shape)

    @property
    def dtype(self) -> torch.dtype:
        weight: torch.Tensor = self.model.post_quant_conv.weight
        return weight.dtype

    @property
    def device(self) -> torch.device:
        weight: torch.Tensor = self.model.post_quant_conv.weight
        return weight.device

    def prepare(self, *, channels_last: bool, compile_norms: bool = False) -> None:
        """Chooses how it computes; results stay the same but for rounding. Not while another thread uses the object.

        Args:
            channels_last: weights and activations with the channels innermost, as tensor cores read them.
            compile_norms: norm and SiLU as one kernel, compiled at the first use (about 20 s on a GPU).
        """
        for layer in self.model.modules():
            if isinstance(layer, nn.Conv3d):
                layout = torch.channels_last_3d if channels_last else torch.contiguous_format
                layer.weight.data = layer.weight.data.contiguous(memory_format=layout)
            elif isinstance(layer, nn.Conv2d):
                layout = torch.channels_last if channels_last else torch.contiguous_format
                layer.weight.data = layer.weight.data.contiguous(memory_format=layout)
        self._channels_last = channels_last
        self._norm_silu = compiled_norm_silu() if compile_norms else norm_silu

    @torch.no_grad()
    def encode(
        self,
        pixels: torch.Tensor,
        *,
        tiling: Tiling | None = None,
        block_latents: int = BLOCK_LATENTS,
        peers: Peers | None = None,
    ) -> torch.Tensor:
        """The mode of the latents' distribution, normalised with the official mean and deviation.

        Args:
            pixels: [3, 1 + 4k, height, width] in -1..1, height and width multiples of 8.
            tiling: None: whole frames. Else approximate, see `Tiling`.
            block_latents: latents computed at once; bounds memory and changes no result.
            peers: who share the work on whole frames; each has all the pixels, and gets all of the result.

        Returns:
            [16, 1 + k, height / 8, width / 8] float32, on the model's device.

        Raises:
            GenerationError: another shape.
        """
        _check_block(block_latents)
        sides_fit = pixels.dim() == 4 and all(side and side % LATENT_PX == 0 for side in pixels.shape[2:])
        if not (sides_fit and pixels.shape[0] == 3 and pixels.shape[1] % LATENT_FRAMES == 1):
            rule = "pixels must be [3, 1 + 4k frames, height, width], height and width multiples of 8"
            raise GenerationError(rule, got=str(list(pixels.shape)), cure="Pad the frames and crop the picture.")

        rows = _rows(peers, tiling, pixels.shape[2] // LATENT_PX)

        def encode_tile(tile: torch.Tensor) -> torch.Tensor:
            steps = encoder_steps(self.model.encoder, self._norm_silu, rows=rows)
            if rows is not None:
                tile = rows.own(tile)
            first, later = tile.split([1, tile.shape[1] - 1], dim=1)
            blocks = [block for block in later.split(block_latents * LATENT_FRAMES, dim=1) if block.shape[1]]
            # The first latent goes with the first block: alone it would be a walk for one frame.
            blocks[:1] = [torch.cat([first, *blocks[:1]], dim=1)]
            moments = [walk(steps, self._batch(block)) for block in blocks]
            joined = torch.cat([each for each in moments if each is not None], dim=2)
            moments_of_tile = self.model.quant_conv(joined)[0, :LATENT_CHANNELS].float()
            return moments_of_tile if rows is None else rows.whole(moments_of_tile)

        latents = run_in_tiles(encode_tile, pixels, tiling, px_in=LATENT_PX, px_out=1)
        return (latents - self._mean.to(latents.device)) / self._std.to(latents.device)

    def decode(
        self, latents: torch.Tensor, *, tiling: Tiling | None = None, block_latents: int = BLOCK_LATENTS
    ) -> torch.Tensor:
        """All frames of a sequence of normalised latents; the first latent stands for one frame.

        Args:
            latents: [16, n, h, w].
            tiling: None: whole frames. Else approximate, see `Tiling`.
            block_latents: latents computed at once; bounds memory and changes no result.

        Returns:
            [3, 4n - 3, 8h, 8w] float32 in -1..1, on the model's device.

        Raises:
            GenerationError: another shape.
        """
        return self._decode_from(0, latents, tiling, block_latents)

    def decode_tail(
        self,
        context: torch.Tensor,
        latents: torch.Tensor,
        *,
        tiling: Tiling | None = None,
        block_latents: int = BLOCK_LATENTS,
        peers: Peers | None = None,
    ) -> torch.Tensor:
        """The frames of `latents` when they follow `context`: exactly the last 4n of `decode` of both.

        Each stage of the decoder computes only the frames that these depend on, see `plan_stages`.

        Args:
            context: [16, c, h, w], c at least 1: all latents before, from the start of the sequence.
            latents: [16, n, h, w], n at least 1.
            tiling: None: whole frames. Else approximate, see `Tiling`.
            block_latents: latents computed at once; bounds memory and changes no result.
            peers: who share the work on whole frames; each has all the latents, and gets all of the result.

        Returns:
            [3, 4n, 8h, 8w] float32 in -1..1, on the model's device.

        Raises:
            GenerationError: another shape.
        """
        for part in (context, latents):
            _check_latents(part)
        if context.shape[2:] != latents.shape[2:]:
            rule = "context and latents must have one height and width"
            got = f"{list(context.shape)} and {list(latents.shape)}"
            raise GenerationError(rule, got=got, cure="Encode the context at the size of the new latents.")
        first_frame = _n_frames(context.shape[1])
        joined = torch.cat([context.to(self.device, torch.float32), latents.to(self.device, torch.float32)], dim=1)
        return self._decode_from(first_frame, joined, tiling, block_latents, peers)

    @torch.no_grad()
    def _decode_from(
        self,
        first_frame: int,
        latents: torch.Tensor,
        tiling: Tiling | None,
        block_latents: int,
        peers: Peers | None = None,
    ) -> torch.Tensor:
        _check_latents(latents)
        _check_block(block_latents)
        decoder = self.model.decoder
        spans = plan_stages(stage_reaches(decoder), first_frame, upsample_reach=_UPSAMPLE_REACH)
        n_frames = _n_frames(latents.shape[1]) - first_frame

        rows = _rows(peers, tiling, latents.shape[2])

        def decode_tile(tile: torch.Tensor) -> torch.Tensor:
            steps = decoder_steps(decoder, spans, self._norm_silu, upsample_reach=_UPSAMPLE_REACH, rows=rows)
            if rows is not None:
                tile = rows.own(tile)
            frames: torch.Tensor | None = None
            n_done = 0
            for block in tile[:, spans[0].taken_from :].split(block_latents, dim=1):
                wide = block.to(self.device, torch.float32)
                wide = wide * self._std.to(self.device) + self._mean.to(self.device)
                made = walk(steps, self.model.post_quant_conv(self._batch(wide)))
                if made is None:
                    continue
                if frames is None:
                    frames = made.new_empty((made.shape[1], n_frames, *made.shape[3:]), dtype=torch.float32)
                frames[:, n_done : n_done + made.shape[2]] = made[0]
                n_done += made.shape[2]
            assert frames is not None  # noqa: S101 (every plan ends with the last latent's frames)
            assert n_done == n_frames  # noqa: S101
            frames = frames.clamp_(-1, 1)
            return frames if rows is None else rows.whole(frames)

        return run_in_tiles(decode_tile, latents, tiling, px_in=1, px_out=LATENT_PX)

    def _batch(self, block: torch.Tensor) -> torch.Tensor:
        """[channels, frames, height, width] -> a batch of one in the model's type, device and memory format."""
        layout = torch.channels_last_3d if self._channels_last else torch.contiguous_format
        return block.to(self.device, self.dtype)[None].contiguous(memory_format=layout)


def _rows(peers: Peers | None, tiling: Tiling | None, latent_rows: int) -> Rows | None:
    """How whole frames are shared; tiles are not, nor frames with fewer rows than there are peers."""
    if peers is None or tiling is not None or latent_rows < peers.n:
        return None
    return Rows(peers, latent_rows)


def _n_frames(n_latents: int) -> int:
    return LATENT_FRAMES * (n_latents - 1) + 1


def _check_latents(latents: torch.Tensor) -> None:
    if latents.dim() != 4 or latents.shape[0] != LATENT_CHANNELS or 0 in latents.shape:
        rule = f"latents must be [{LATENT_CHANNELS}, frames, height, width], none of them empty"
        raise GenerationError(rule, got=str(list(latents.shape)), cure="Give latents of this VAE, one sequence a call.")


def _check_block(block_latents: int) -> None:
    if block_latents < 1:
        raise GenerationError("a block must have at least one latent", got=str(block_latents), cure="Give 1 or more.")
