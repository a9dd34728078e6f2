"""Our results against reference vectors of the official Wan2.2-S2V code: one line a file, float32 on the CPU.

    python -m s2v_pipeline_tests.golden [DIR]

DIR holds transformer, text_encoder, vae, audio_features, scheduler and pipeline as NAME.safetensors (or in parts) and
sizes.json; without it, the vectors that the tests use. Exits with 1 where an error is beyond its tolerance.

Belongs here: computing each vector's results anew from its inputs and weights, whatever its shapes, and comparing.
Does not belong here: reading the files (golden_files), the code that is compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from s2v_pipeline.generation.wan_s2v.pipeline import VideoClip, WanSpeechToVideoPipeline
from s2v_pipeline.generation.wan_s2v.prompt_tokens import END_TOKEN, TOKENIZER_FILE
from s2v_pipeline.generation.wan_s2v.sampling import Sampling
from s2v_pipeline.generation.wan_s2v.schedulers import make_scheduler
from s2v_pipeline.generation.wan_s2v.speech_encoder import SpeechEncoder
from s2v_pipeline.generation.wan_s2v.speech_features import clips_needed, to_30hz, video_frame_features
from s2v_pipeline.generation.wan_s2v.text_encoder import build_text_encoder
from s2v_pipeline.generation.wan_s2v.transformer import WanS2VTransformer3DModel
from s2v_pipeline.generation.wan_s2v.vae_loading import build_vae
from s2v_pipeline.inputs.picture_size import official_size
from s2v_pipeline.media import Waveform
from s2v_pipeline_tests.generation.wan_s2v.golden_files import GOLDEN_FOLDER, load_golden, load_sizes

PART_TOLERANCE = 1e-5
PIPELINE_TOLERANCE = 1e-4  # three clips of several steps each, every one continuing the one before
CPU = torch.device("cpu")

_CONFIG_NAMES = (
    "dim",
    "ffn_dim",
    "num_heads",
    "num_layers",
    "freq_dim",
    "text_dim",
    "text_len",
    "in_dim",
    "out_dim",
    "cond_dim",
    "audio_dim",
    "num_audio_token",
    "audio_inject_layers",
)


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def build_transformer(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> WanS2VTransformer3DModel:
    """A transformer of the official configuration with these weights, every key used."""
    model = WanS2VTransformer3DModel(**{name: config[name] for name in _CONFIG_NAMES if name in config})
    model.load_state_dict(state, strict=True)
    return model.eval()


def transformer_error(folder: Path) -> float:
    """Largest error of one forward over the cases."""
    metadata, tensors = load_golden("transformer", folder)
    model = build_transformer(metadata["config"], with_prefix(tensors, "weights."))
    text = model.encode_text(tensors["input.text"])
    features = tensors["input.audio"][0].permute(2, 0, 1)
    audio = model.encode_audio(features, past_frames=int(metadata["motion_frames"]))
    errors = []
    for index, case in enumerate(metadata["cases"]):
        clip = model.encode_clip(
            tensors["input.ref"][0],
            latent_frames=tensors["input.latents"].shape[1],
            motion=None if case["drop_motion"] else tensors["input.motion"][0],
            pose=tensors["input.pose"][0] if case["pose"] else None,
        )
        result = model(tensors["input.latents"], torch.tensor(case["timestep"]), clip, text, audio)
        errors.append(_error(result, tensors[f"output.{index}"]))
    return max(errors)


def text_encoder_error(folder: Path) -> float:
    """Largest error of the hidden states where the mask is 1."""
    _, tensors = load_golden("text_encoder", folder)
    errors = []
    with tempfile.TemporaryDirectory() as tokenizer_folder:
        # The vectors start at tokens: the tokenizer only has to be one.
        tokenizer = Tokenizer(WordLevel({END_TOKEN: 0}, unk_token=END_TOKEN))
        tokenizer.save(str(Path(tokenizer_folder) / TOKENIZER_FILE))
        state = with_prefix(tensors, "weights.")
        encoder = build_text_encoder(state, Path(tokenizer_folder), dtype=torch.float32, device=CPU)
    for ids, mask, expected in zip(tensors["input.ids"], tensors["input.mask"], tensors["output.hidden"], strict=True):
        known = mask.bool()
        errors.append(_error(encoder.encode_ids(ids[known].tolist()), expected[known]))
    return max(errors)


def vae_error(folder: Path) -> float:
    """Largest error of encoding and of decoding."""
    _, tensors = load_golden("vae", folder)
    vae = build_vae(with_prefix(tensors, "weights."), dtype=torch.float32, device=CPU)
    encoded = _error(vae.encode(tensors["input.pixels"]), tensors["output.latents"])
    return max(encoded, _error(vae.decode(tensors["output.latents"]), tensors["output.pixels"]))


def audio_features_error(folder: Path) -> float:
    """Largest error of the 30 Hz features and of the frames' features; infinite where the number of clips differs."""
    metadata, tensors = load_golden("audio_features", folder)
    errors = []
    for index, case in enumerate(metadata["cases"]):
        features = to_30hz(tensors[f"input.{index}.hidden"])
        fps, batch_frames = Fraction(case["fps"]), case["batch_frames"]
        n_clips = clips_needed(features.shape[1], fps, batch_frames)
        if n_clips != case["num_clips"]:
            return float("inf")
        frames = video_frame_features(features, n_frames=n_clips * batch_frames, fps=fps)
        errors.append(_error(features, tensors[f"output.{index}.features_30hz"]))
        errors.append(_error(frames, tensors[f"output.{index}.frames"]))
    return max(errors)


def scheduler_error(folder: Path) -> float:
    """Largest error of sigmas and samples; infinite where a timestep differs."""
    metadata, tensors = load_golden("scheduler", folder)
    errors = []
    for index, case in enumerate(metadata["cases"]):
        scheduler = make_scheduler(case["solver"], steps=case["steps"], shift=case["shift"])
        if not torch.equal(scheduler.timesteps.float(), tensors[f"output.{index}.timesteps"].float()):
            return float("inf")
        errors.append(_error(scheduler.sigmas, tensors[f"output.{index}.sigmas"]))
        sample = tensors["input.noise"]
        for timestep in scheduler.timesteps:
            # The stand-in for the network that the vector's metadata names.
            velocity = torch.tanh(1.3 * sample + timestep / 1000) - 0.1 * sample
            sample = scheduler.step(velocity, timestep, sample, return_dict=False)[0]
        errors.append(_error(sample, tensors[f"output.{index}.sample"]))
    return max(errors)


def sizes_error(folder: Path) -> float:
    """How many sizes differ."""
    rows = load_sizes(folder)
    return float(sum(official_size(height, width, area) != (h, w) for height, width, area, h, w in rows))


def pipeline_error(folder: Path) -> float:
    """Largest error of the video of the whole pipeline, official clock."""
    metadata, tensors = load_golden("pipeline", folder)
    clips = pipeline_clips(metadata, tensors)
    video = torch.cat([clip.pixels for clip in clips], dim=1)
    expected = tensors["output.video"]
    return _error(video, expected) if video.shape == expected.shape else float("inf")


def build_pipeline(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> WanSpeechToVideoPipeline:
    """The pipeline with the vector's weights; prompts come as embeddings."""
    speech_model = Wav2Vec2Model(Wav2Vec2Config.from_dict(metadata["wav2vec2"]))
    speech_model.load_state_dict(_without_head(with_prefix(tensors, "wav2vec2.")), strict=True)
    return WanSpeechToVideoPipeline(
        build_transformer(metadata["transformer"], with_prefix(tensors, "transformer.")),
        build_vae(with_prefix(tensors, "vae."), dtype=torch.float32, device=CPU),
        speech_encoder=SpeechEncoder(speech_model.eval()),
        motion_frames=int(metadata["motion_frames"]),
    )


def pipeline_clips(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[VideoClip]:
    """The clips of the vector `pipeline`, made anew."""
    expected, n_clips = tensors["output.video"], int(metadata["clips"])
    clips: list[VideoClip] = []
    build_pipeline(metadata, tensors)(
        tensors["input.image"].numpy(),
        Waveform(tensors["input.waveform"].numpy().copy(), 16_000),
        tensors["input.text"],
        negative_prompt=tensors["input.negative_text"],
        size_px=(expected.shape[2], expected.shape[3]),
        sampling=Sampling(
            steps=int(metadata["steps"]),
            solver=metadata["solver"],
            shift=float(metadata["shift"]),
            guidance=float(metadata["guidance"]),
        ),
        clock="official",
        clip_frames=int(metadata["infer_frames"]),
        max_clips=n_clips,
        noise=[tensors[f"input.noise.{index}"] for index in range(n_clips)],
        on_clip=clips.append,
    )
    return clips


def _without_head(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("wav2vec2."): tensor for name, tensor in state.items() if not name.startswith("lm_head.")}


def _error(result: Tensor, expected: Tensor) -> float:
    if result.shape != expected.shape:
        return float("inf")
    return float((result.double() - expected.double()).abs().max())


CHECKS: Mapping[str, tuple[Callable[[Path], float], float]] = {
    "transformer": (transformer_error, PART_TOLERANCE),
    "text_encoder": (text_encoder_error, PART_TOLERANCE),
    "vae": (vae_error, PART_TOLERANCE),
    "audio_features": (audio_features_error, PART_TOLERANCE),
    "scheduler": (scheduler_error, PART_TOLERANCE),
    "sizes": (sizes_error, 0.0),
    "pipeline": (pipeline_error, PIPELINE_TOLERANCE),
}
"""Name of the vector -> how its largest absolute error is found, and what it may be."""


def main() -> int:
    """Print one line a vector."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=GOLDEN_FOLDER, metavar="DIR")
    folder = parser.parse_args().folder
    n_beyond = 0
    for name, (measure, tolerance) in CHECKS.items():
        error = measure(folder)
        is_within = error <= tolerance
        n_beyond += not is_within
        line = f"{name:15} max abs error {error:.2e}  tolerance {tolerance:.0e}  {'ok' if is_within else 'BEYOND'}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
    return 1 if n_beyond else 0


if __name__ == "__main__":
    raise SystemExit(main())
