"""The umT5 text encoder: a prompt to the vectors that the transformer attends to.

Belongs here: the encoder, and its names in both layouts.
Does not belong here: cleaning a prompt and its tokenizer (prompt_tokens), which prompts there are and their padding for
the transformer (pipeline), reading pickles (shards).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import UMT5Config, UMT5EncoderModel

from s2v_pipeline.errors import GenerationError, WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import read_index, read_json
from s2v_pipeline.generation.wan_s2v.prompt_tokens import TOKENIZER_CURE, clean_prompt, load_tokenizer
from s2v_pipeline.generation.wan_s2v.shards import DTYPES, StoredTensor, read_header, stream_tensors
from s2v_pipeline.generation.wan_s2v.state_names import check_names

_logger = logging.getLogger(__name__)

MAX_TOKENS = 512
"""Tokens of a prompt, the end token included (wan/configs/shared_config.py, text_len)."""
MAX_DISTANCE = 128
"""Beyond this many tokens all distances share a bucket (wan/modules/t5.py, T5RelativeEmbedding)."""

_WHAT = "the umT5 text encoder"
_CURE = (
    "Give models_t5_umt5-xxl-enc-bf16.pth of Wan-AI/Wan2.2-S2V-14B (or the text_encoder folder of its Diffusers "
    "layout), fetched whole."
)
_MAX_LAYERS = 1000  # no umT5 is near it
_IN_BLOCK = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
"""Official name of a part of a block (wan/modules/t5.py) -> its name in transformers."""
_EMBEDDING = "shared.weight"
_EMBEDDING_AGAIN = "encoder.embed_tokens.weight"


class WanTextEncoder:
    """umT5's encoder and its tokenizer; keeps no state of a request.

    Args:
        model: on its device, in its type.
        tokenizer: taken over: its truncation and padding are set here.
        max_tokens: longer prompts are cut, as the official code cuts them, and a warning says so.
    """

    def __init__(self, model: UMT5EncoderModel, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        self._model: UMT5EncoderModel | None = model.eval().requires_grad_(False)
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    @property
    def released(self) -> bool:
        return self._model is None

    def encode(self, text: str) -> torch.Tensor:
        """The vectors of a prompt's own tokens, the end token included, without padding.

        Returns:
            [n_tokens, dim] in the model's type on its device; n_tokens is 1 for an empty prompt.

        Raises:
            GenerationError: the model was released.
        """
        return self.encode_ids(self.token_ids(text))

    def token_ids(self, text: str) -> list[int]:
        """The tokens of a prompt, cleaned first; at most `max_tokens`, the last one is the end token."""
        encoding = self._tokenizer.encode(clean_prompt(text))
        if encoding.overflowing:
            n_lost = sum(len(part.ids) - 1 for part in encoding.overflowing)  # each ends with an end token of its own
            _logger.warning("prompt cut at %d tokens; %d more are not used", self._max_tokens, n_lost)
        ids: list[int] = encoding.ids
        return ids

    @torch.no_grad()
    def encode_ids(self, ids: list[int]) -> torch.Tensor:
        """The same for tokens. No padding goes in, so none has to be masked.

        Raises:
            GenerationError: the model was released.
        """
        model = self._model
        if model is None:
            rule = "a text encoder can encode until it is released"
            raise GenerationError(rule, got="a released one", cure="Encode all prompts first, or load it again.")
        batch = torch.tensor([ids], dtype=torch.long, device=model.shared.weight.device)
        hidden: torch.Tensor = model(input_ids=batch, attention_mask=torch.ones_like(batch)).last_hidden_state
        return hidden[0]

    def release(self) -> None:
        """Gives the model's memory back; `encode` raises from now on. The tokenizer stays."""
        model, self._model = self._model, None
        on_cuda = model is not None and model.shared.weight.is_cuda
        del model
        if on_cuda:
            torch.cuda.empty_cache()


def official_t5_to_transformers(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of `models_t5_umt5-xxl-enc-bf16.pth` under the names of transformers' UMT5EncoderModel.

    That model has the token embedding under two names; both get the same tensor.

    Raises:
        WeightsError: tensors are missing, unknown or of another shape.
    """
    names = dict(_names(_count_layers(state, r"blocks\.(\d+)\.")))
    config = _config(state, lambda name: name, len(names))
    _check(state, config, {name: official for official, name in names.items()})
    renamed = {name: state[official] for official, name in names.items()}
    return {**renamed, _EMBEDDING_AGAIN: renamed[_EMBEDDING]}


def build_text_encoder(
    state: Mapping[str, torch.Tensor], tokenizer_folder: Path, *, dtype: torch.dtype, device: torch.device
) -> WanTextEncoder:
    """The text encoder from a state dict with the official names; its sizes are taken from the shapes.

    Tensors that have that type and device already are used as they are, not copied.

    Raises:
        WeightsError: see `official_t5_to_transformers` and `load_tokenizer`; the tokenizer has more tokens.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    return _build(official_t5_to_transformers(state), tokenizer, dtype=dtype, device=device)


def load_diffusers_text_encoder(
    folder: Path, tokenizer_folder: Path, *, dtype: torch.dtype, device: torch.device
) -> WanTextEncoder:
    """The text encoder from a folder of transformers: config.json and safetensors files, with an index or alone.

    Raises:
        WeightsError: a file is missing or damaged, the encoder is another one, or the tokenizer has more tokens.
    """
    tokenizer = load_tokenizer(tokenizer_folder)
    state: dict[str, torch.Tensor] = {}
    for stored, host in stream_tensors(_stored_tensors(folder)):
        if stored.name in state:
            rule = f"{folder} must hold each tensor once"
            raise WeightsError(rule, got=f"{stored.name[:120]} in two files", cure=_CURE)
        state[stored.name] = host.to(device=device, dtype=dtype)
    if _EMBEDDING not in state and _EMBEDDING_AGAIN in state:
        state[_EMBEDDING] = state[_EMBEDDING_AGAIN]
    state.pop(_EMBEDDING_AGAIN, None)
    names = dict(_names(_count_layers(state, r"encoder\.block\.(\d+)\.")))
    config = _config(state, lambda official: names[official], len(names))
    _check(state, config, {name: name for name in names.values()})
    values = read_json(folder / "config.json")
    told = {
        "model_type": "umt5",
        "num_heads": config.num_heads,
        "d_kv": config.d_kv,
        "feed_forward_proj": "gated-gelu",
        "relative_attention_max_distance": MAX_DISTANCE,
    }
    for name, value in told.items():
        if values.get(name, value) != value:
            rule = f"{name} in {folder / 'config.json'} must be {value}"
            raise WeightsError(rule, got=str(values[name])[:120], cure=_CURE)
    return _build({**state, _EMBEDDING_AGAIN: state[_EMBEDDING]}, tokenizer, dtype=dtype, device=device)


def _stored_tensors(folder: Path) -> list[StoredTensor]:
    index = folder / "model.safetensors.index.json"
    names = sorted(set(read_index(index).values())) if index.is_file() else ["model.safetensors"]
    stored = [each for name in names for each in read_header(folder / name)]
    for each in stored:
        if each.dtype not in DTYPES:
            rule = f"{each.name[:120]} in {each.path} must be stored as {', '.join(DTYPES)}"
            raise WeightsError(rule, got=each.dtype, cure=_CURE)
    return stored


def _names(n_layers: int) -> Iterator[tuple[str, str]]:
    """(official name, transformers' name) of every tensor."""
    yield "token_embedding.weight", _EMBEDDING
    for layer in range(n_layers):
        for official, name in _IN_BLOCK.items():
            yield f"blocks.{layer}.{official}.weight", f"encoder.block.{layer}.{name}.weight"
    yield "norm.weight", "encoder.final_layer_norm.weight"


def _count_layers(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    numbers = {int(match[1]) for name in state if (match := re.match(pattern, name)) and len(match[1]) < 4}
    if not 0 < len(numbers) <= _MAX_LAYERS:
        rule = f"{_WHAT} must have tensors of known names and shapes"
        raise WeightsError(rule, got=f"a state dict of {len(state)} tensors, none of them of a block", cure=_CURE)
    return len(numbers)


def _config(state: Mapping[str, torch.Tensor], name_of: Callable[[str], str], n_tensors: int) -> UMT5Config:
    """The configuration that the shapes tell; `_check` holds all shapes against it."""

    def shape(official: str) -> tuple[int, int]:
        name = name_of(official)
        if name not in state or state[name].dim() != 2 or 0 in state[name].shape:
            fault = "is missing" if name not in state else f"has the shape {list(state[name].shape)}"
            raise WeightsError(f"{_WHAT} must have {n_tensors} tensors", got=f"one where {name} {fault}", cure=_CURE)
        rows, columns = state[name].shape
        return rows, columns

    vocabulary, dim = shape("token_embedding.weight")
    buckets, heads = shape("blocks.0.pos_embedding.embedding.weight")
    width, _ = shape("blocks.0.attn.q.weight")
    ffn, _ = shape("blocks.0.ffn.fc1.weight")
    if width % heads:
        rule = f"{_WHAT} must have a whole number of channels a head"
        raise WeightsError(rule, got=f"{width} channels and {heads} heads", cure=_CURE)
    return UMT5Config(
        vocab_size=vocabulary,
        d_model=dim,
        d_kv=width // heads,
        d_ff=ffn,
        num_layers=(n_tensors - 2) // len(_IN_BLOCK),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=MAX_DISTANCE,
        feed_forward_proj="gated-gelu",
        use_cache=False,
        attn_implementation="eager",  # prompts are short, and it rounds where the official code rounds
    )


def _check(state: Mapping[str, torch.Tensor], config: UMT5Config, names: Mapping[str, str]) -> None:
    """Holds the state against a model of that configuration; `names`: transformers' name -> name in the state."""
    shapes = {name: tuple(tensor.shape) for name, tensor in _skeleton(config).state_dict().items()}
    expected = {names[name]: shape for name, shape in shapes.items() if name != _EMBEDDING_AGAIN}
    check_names(state, expected, what=_WHAT, cure=_CURE)


def _skeleton(config: UMT5Config) -> UMT5EncoderModel:
    with torch.device("meta"):
        return UMT5EncoderModel(config)


def _build(
    state: Mapping[str, torch.Tensor], tokenizer: Tokenizer, *, dtype: torch.dtype, device: torch.device
) -> WanTextEncoder:
    names = dict(_names(_count_layers(state, r"encoder\.block\.(\d+)\.")))
    model = _skeleton(_config(state, lambda official: names[official], len(names)))
    n_tokens = tokenizer.get_vocab_size()
    if n_tokens > model.config.vocab_size:
        rule = f"{_WHAT} must have a vector for each token of its tokenizer"
        raise WeightsError(rule, got=f"{model.config.vocab_size} vectors, {n_tokens} tokens", cure=TOKENIZER_CURE)
    placed = {name: tensor.to(device=device, dtype=dtype) for name, tensor in state.items() if name != _EMBEDDING_AGAIN}
    model.load_state_dict({**placed, _EMBEDDING_AGAIN: placed[_EMBEDDING]}, strict=True, assign=True)
    model.tie_weights()  # one parameter under both names, whatever moves the model later
    return WanTextEncoder(model, tokenizer)
