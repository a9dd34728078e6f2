"""The same weights in the other layout: official <-> diffusers.

Belongs here: which part becomes which file, renaming, the folder that appears whole or not at all.
Does not belong here: the names themselves (vae_names, text_encoder), tensors in files (shards, shard_writer).

No tensor's value changes unless a type is asked for: there and back gives the same bytes.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import (
    SPEECH_FOLDER,
    TEXT_ENCODER_FILE,
    TOKENIZER_FOLDER,
    TRANSFORMER_STEM,
    VAE_FILE,
    Checkpoint,
    Layout,
    find_checkpoint,
    read_transformer_config,
)
from s2v_pipeline.generation.wan_s2v.shard_writer import NewTensor, write_shards
from s2v_pipeline.generation.wan_s2v.shards import (
    DTYPES,
    StoredTensor,
    check_shards,
    load_pickle,
    read_header,
    stream_tensors,
)
from s2v_pipeline.generation.wan_s2v.text_encoder import MAX_DISTANCE, official_t5_to_transformers
from s2v_pipeline.generation.wan_s2v.text_encoder import _names as text_encoder_names
from s2v_pipeline.generation.wan_s2v.vae_names import (
    check_diffusers_names,
    diffusers_sizes,
    official_name,
    official_vae_to_diffusers,
    vae_skeleton,
)

OnProgress = Callable[[str, int, int], None]
"""Called with (part, bytes done, bytes in all)."""
CASTS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
"""What the transformer may be cast to, as people name it."""
_TEXT_STEM = "model"
_PROCESSOR_FILES = ("preprocessor_config.json", "vocab.json", "tokenizer_config.json", "special_tokens_map.json")
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MODEL_INDEX = {
    "_class_name": "WanSpeechToVideoPipeline",
    "transformer": ["diffusers", "WanModel_S2V"],
    "vae": ["diffusers", "AutoencoderKLWan"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"],
    "audio_encoder": ["transformers", "Wav2Vec2ForCTC"],
    "audio_processor": ["transformers", "Wav2Vec2Processor"],
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
}
"""Parts as FastVideo's Diffusers layout of the same model names them."""
_SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "flow_shift": 3.0,  # wan/configs/wan_s2v_14B.py, sample_shift
    "num_train_timesteps": 1000,
    "prediction_type": "flow_prediction",
    "solver_order": 2,
    "solver_type": "bh2",
    "use_flow_sigmas": True,
}


def convert_checkpoint(
    folder: Path, out: Path, *, to: Layout, dtype: torch.dtype | None = None, on_progress: OnProgress | None = None
) -> Checkpoint:
    """Write a checkpoint in the other layout; `out` appears when all of it is written.

    The transformer goes through memory tensor by tensor, the text encoder and the VAE as a whole (11.4 GB and 0.5 GB).

    Args:
        dtype: what the transformer is cast to; None keeps what is stored.

    Raises:
        WeightsError: the checkpoint is not whole, has that layout already, `out` exists, or there is too little room.
    """
    found = find_checkpoint(folder)
    if found.layout == to:
        raise WeightsError("a checkpoint is converted to the other layout", got=to, cure="Use it as it is.")
    if out.exists():
        raise WeightsError(f"{out} must not exist yet", got="a file or folder", cure="Give another name, or delete it.")
    stored = check_shards(found, read_transformer_config(found.transformer_config)).tensors
    if dtype is not None:
        stored_as = tuple((each, _DTYPE_NAMES[dtype]) for each in stored)
    else:
        stored_as = tuple((each, each.dtype) for each in stored)
    _check_room(found, out, stored_as)
    part = out.absolute().parent / f".{out.name}.{uuid.uuid4().hex}.partial"
    try:
        part.mkdir(parents=True)
        (_write_diffusers if to == "diffusers" else _write_official)(found, part, on_progress)
        where = part / "transformer" if to == "diffusers" else part
        tensors = (tensor if dtype is None else tensor.to(dtype) for _, tensor in stream_tensors(stored))
        _write(where, TRANSFORMER_STEM, stored_as, tensors, "transformer", on_progress)
        shutil.copyfile(found.transformer_config, where / "config.json")
        find_checkpoint(part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)  # nothing is there after the renaming
    return find_checkpoint(out)


def _check_room(found: Checkpoint, out: Path, stored_as: Iterable[tuple[StoredTensor, str]]) -> None:
    above = next(each for each in out.absolute().parents if each.exists())
    parts = {found.text_encoder, found.vae, found.tokenizer, found.speech_encoder, found.speech_processor}
    files = {file for each in parts for file in ([each] if each.is_file() else each.rglob("*")) if file.is_file()}
    size = {name: torch.empty(0, dtype=dtype).element_size() for name, dtype in DTYPES.items()}
    needed = sum(math.prod(each.shape) * size[dtype] for each, dtype in stored_as)
    needed += sum(file.stat().st_size for file in files)
    if (free := shutil.disk_usage(above).free) < needed:
        rule = f"{above} must have {needed / 1e9:.1f} GB of room"
        raise WeightsError(rule, got=f"{free / 1e9:.1f} GB free", cure="Free some, or write to another disk.")


def _write_diffusers(found: Checkpoint, out: Path, on_progress: OnProgress | None) -> None:
    vae = official_vae_to_diffusers(load_pickle(found.vae))
    _write_state(out / "vae", TRANSFORMER_STEM, vae, "VAE", on_progress)
    vae_skeleton(diffusers_sizes(vae)).save_config(out / "vae")
    text = load_pickle(found.text_encoder)
    renamed = official_t5_to_transformers(text)
    del renamed["encoder.embed_tokens.weight"]  # the same tensor as shared.weight, stored once
    _write_state(out / "text_encoder", _TEXT_STEM, renamed, "text encoder", on_progress)
    _write_json(out / "text_encoder" / "config.json", _text_config(text))
    shutil.copytree(found.tokenizer, out / "tokenizer")
    shutil.copytree(found.speech_encoder, out / "audio_encoder")
    (out / "audio_processor").mkdir()
    for name in _PROCESSOR_FILES:
        if (out / "audio_encoder" / name).is_file():
            (out / "audio_encoder" / name).rename(out / "audio_processor" / name)
    _write_json(out / "scheduler" / "scheduler_config.json", _SCHEDULER)
    _write_json(out / "model_index.json", _MODEL_INDEX)


def _text_config(state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """config.json of transformers' UMT5EncoderModel from the official tensors' shapes."""
    vocabulary, dim = state["token_embedding.weight"].shape
    buckets, heads = state["blocks.0.pos_embedding.embedding.weight"].shape
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "d_ff": state["blocks.0.ffn.fc1.weight"].shape[0],
        "d_kv": state["blocks.0.attn.q.weight"].shape[0] // heads,
        "d_model": dim,
        "dense_act_fn": "gelu_new",
        "dtype": str(state["token_embedding.weight"].dtype).removeprefix("torch."),
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "num_heads": heads,
        "num_layers": sum(name.endswith(".norm1.weight") for name in state),
        "relative_attention_max_distance": MAX_DISTANCE,
        "relative_attention_num_buckets": buckets,
        "vocab_size": vocabulary,
    }


def _write_official(found: Checkpoint, out: Path, on_progress: OnProgress | None) -> None:
    vae = _read(found.vae, TRANSFORMER_STEM)
    sizes = check_diffusers_names(vae)
    _save_pickle({official_name(name, sizes): tensor for name, tensor in vae.items()}, out / VAE_FILE)
    text = _read(found.text_encoder, _TEXT_STEM)
    if "shared.weight" not in text and "encoder.embed_tokens.weight" in text:
        text["shared.weight"] = text["encoder.embed_tokens.weight"]
    text.pop("encoder.embed_tokens.weight", None)
    n_layers = sum(name.endswith(".SelfAttention.q.weight") for name in text)
    official = {theirs: ours for ours, theirs in text_encoder_names(n_layers)}
    renamed = {official.get(name, name): tensor for name, tensor in text.items()}
    official_t5_to_transformers(renamed)  # holds every name and shape against the model
    _save_pickle(renamed, out / TEXT_ENCODER_FILE)
    if on_progress is not None:
        n_bytes = (out / TEXT_ENCODER_FILE).stat().st_size
        on_progress("text encoder", n_bytes, n_bytes)
    shutil.copytree(found.tokenizer, out / TOKENIZER_FOLDER)
    shutil.copytree(found.speech_encoder, out / SPEECH_FOLDER)
    for name in _PROCESSOR_FILES:
        if (found.speech_processor / name).is_file():
            shutil.copyfile(found.speech_processor / name, out / SPEECH_FOLDER / name)


def _read(folder: Path, stem: str) -> dict[str, torch.Tensor]:
    files = sorted(folder.glob(f"{stem}*.safetensors"))
    if not files:
        cure = "Give a whole Diffusers folder with safetensors files."
        raise WeightsError(f"{folder} must hold {stem}.safetensors or its shards", got="none", cure=cure)
    stored = [each for path in files for each in read_header(path)]
    if wrong := [each for each in stored if each.dtype not in DTYPES]:
        rule = f"{wrong[0].path} must be stored as {', '.join(DTYPES)}"
        raise WeightsError(rule, got=wrong[0].dtype, cure="Give a checkpoint that is not quantised.")
    return {each.name: tensor for each, tensor in stream_tensors(stored)}


def _save_pickle(state: Mapping[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), path)


def _write_state(
    folder: Path, stem: str, state: Mapping[str, torch.Tensor], part: str, on_progress: OnProgress | None
) -> None:
    named = [NewTensor(name, _DTYPE_NAMES[t.dtype], tuple(t.shape)) for name, t in state.items()]
    write_shards(folder, stem, named, iter(state.values()), on_progress=_of_part(part, on_progress))


def _write(
    folder: Path,
    stem: str,
    stored_as: Iterable[tuple[StoredTensor, str]],
    tensors: Iterator[torch.Tensor],
    part: str,
    on_progress: OnProgress | None,
) -> None:
    named = [NewTensor(each.name, dtype, each.shape) for each, dtype in stored_as]
    write_shards(folder, stem, named, tensors, on_progress=_of_part(part, on_progress))


def _of_part(part: str, on_progress: OnProgress | None) -> Callable[[int, int], None] | None:
    if on_progress is None:
        return None
    return lambda n_done, n_total: on_progress(part, n_done, n_total)


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
