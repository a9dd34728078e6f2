"""wav2vec2 with a CTC head, from a local folder: how probable each symbol is in each 20 ms of speech.

Belongs here: reading the weights, running the network, which time a frame stands for.
Does not belong here: what symbols mean (ctc_vocabulary), placing words with them (ctc_search), any download.

This is the one module of the package that imports torch beside the generator `wan_s2v`; only `ctc_search` imports it,
when a checkpoint is asked for.
"""

from __future__ import annotations

import logging
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from s2v_pipeline.alignment.ctc_vocabulary import CURE, CtcVocabulary, read_json, read_vocabulary
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ
from s2v_pipeline.errors import WeightsError

_log = logging.getLogger(__name__)

_MAX_LAYERS, _MAX_WIDTH = 256, 16_384  # the largest wav2vec2 has 48 layers, 1920 wide
_MAX_HOP, _MAX_RECEPTIVE = 640, 6_400  # 40 ms and 0.4 s: coarser frames place no phones
_MAX_PICKLE_BYTES = 16 << 30  # the largest has 8 GB
_NORMALISE_EPS = 1e-7  # transformers Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm
# The positional convolution's magnitude and direction, before and since torch 2.0's parametrizations.
_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_ONLY_FOR_TRAINING = "wav2vec2.masked_spec_embed"
_SHOWN = 4  # names in a message
# What building a model from senseless numbers raises.
_BAD_CONFIG = (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError)


@dataclass(frozen=True, eq=False)
class CtcModel:
    """A network and its vocabulary.

    Frame i hears samples [hop i, hop i + receptive), without padding, and stands for the `hop_samples` in their middle:
    [hop i + offset, hop (i + 1) + offset). wav2vec2 has a hop of 320 and hears 400, so its offset is 40, 2.5 ms.

    Attributes:
        network: in evaluation mode.
        vocabulary: what its outputs mean.
        hop_samples, receptive_samples: at 16 kHz.
        is_normalised: whether the network expects sound of mean 0 and variance 1.
    """

    network: Any
    vocabulary: CtcVocabulary
    hop_samples: int
    receptive_samples: int
    is_normalised: bool

    @property
    def offset_samples(self) -> int:
        """Where the time that frame 0 stands for begins."""
        return (self.receptive_samples - self.hop_samples) // 2

    @torch.no_grad()
    def log_posteriors(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Natural logarithms of the symbols' probabilities, (frames, symbols); no frame for less than one hears.

        Args:
            samples: (n,) at 16 kHz; about 20 s at most, as time and memory grow with the square.
        """
        if len(samples) < self.receptive_samples:
            return np.zeros((0, len(self.vocabulary.tokens)), np.float32)
        sound = torch.from_numpy(samples.astype(np.float64))
        if self.is_normalised:
            sound = (sound - sound.mean()) / torch.sqrt(sound.var(correction=0) + _NORMALISE_EPS)
        logits = self.network(sound.float()[None]).logits[0].float()
        found: NDArray[np.float32] = torch.log_softmax(logits, dim=-1).numpy()
        return found


def load_ctc(folder: Path) -> CtcModel:
    """The model in a local folder with config.json, vocab.json and model.safetensors or pytorch_model.bin.

    Raises:
        WeightsError: a file is missing, damaged or of another model; a weight is missing, unknown or of another shape.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder} must be a folder with a CTC checkpoint", got="no folder", cure=CURE)
    values = read_json(folder / "config.json")
    network, config = _empty_network(folder / "config.json", values)
    vocabulary = read_vocabulary(folder, n_labels=config.vocab_size, pad_id=config.pad_token_id)
    preprocessing = folder / "preprocessor_config.json"
    hearing = read_json(preprocessing) if preprocessing.is_file() else {}
    if hearing.get("sampling_rate", SPEECH_RATE_HZ) != SPEECH_RATE_HZ:
        got = str(hearing["sampling_rate"])[:40]
        raise WeightsError(f"{preprocessing} must ask for {SPEECH_RATE_HZ} Hz", got=got, cure=CURE)
    weights, path = _read_weights(folder)
    _fill(network, weights, path)
    hop, receptive = _times(config)
    _log.info("%s: %d %s, a frame every %d samples", folder, sum(map(bool, vocabulary.tokens)), vocabulary.kind, hop)
    is_normalised = hearing.get("do_normalize", True) is not False
    return CtcModel(network.eval().requires_grad_(False), vocabulary, hop, receptive, is_normalised)


def _empty_network(path: Path, values: dict[str, Any]) -> tuple[Any, Any]:
    """The network that a config.json describes, without memory for its weights."""
    sizes = {name: values.get(name) for name in ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")}
    limits = {"num_hidden_layers": _MAX_LAYERS, "hidden_size": _MAX_WIDTH, "intermediate_size": _MAX_WIDTH}
    wrong = {
        name: value
        for name, value in sizes.items()
        if type(value) is not int or not 0 < value <= limits.get(name, 1 << 20)
    }
    if values.get("model_type") != "wav2vec2" or wrong:
        got = f"model_type {str(values.get('model_type'))[:40]!r}" + (f", {str(wrong)[:80]}" if wrong else "")
        raise WeightsError(f"{path} must describe a Wav2Vec2ForCTC", got=got, cure=CURE)
    if values.get("adapter_attn_dim") is not None:
        cure = "Merge the language's adapter into the model and save it, or take another checkpoint."
        raise WeightsError(f"{path} must describe a model without language adapters", got="adapters", cure=cure)
    try:
        config = Wav2Vec2Config.from_dict(values)
        hop, receptive = _times(config)
        if not (0 < hop <= _MAX_HOP and receptive <= _MAX_RECEPTIVE):
            raise ValueError(f"frames every {hop} samples that hear {receptive}")
        with torch.device("meta"):
            return Wav2Vec2ForCTC(config), config
    except (*_BAD_CONFIG, StrictDataclassError) as error:
        got = f"{type(error).__name__}: {str(error)[:200]}"
        raise WeightsError(f"{path} must describe a Wav2Vec2ForCTC", got=got, cure=CURE) from error


def _times(config: Any) -> tuple[int, int]:
    """(hop, receptive field) of the convolutions in samples."""
    receptive, hop = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        receptive, hop = receptive + (kernel - 1) * hop, hop * stride
    return math.prod(config.conv_stride), receptive


def _read_weights(folder: Path) -> tuple[dict[str, Tensor], Path]:
    path = folder / "model.safetensors"
    if path.is_file():
        try:
            return load_file(path), path
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(f"{path} must be a whole safetensors file", got=str(error)[:120], cure=CURE) from error
    path = folder / "pytorch_model.bin"
    if not path.is_file():
        got = "neither it nor pytorch_model.bin"
        raise WeightsError(f"{folder} must hold model.safetensors", got=got, cure=CURE)
    if path.stat().st_size > _MAX_PICKLE_BYTES:
        raise WeightsError(f"{path} may have at most {_MAX_PICKLE_BYTES >> 30} GiB", got="more", cure=CURE)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        got = f"{type(error).__name__}: {str(error)[:80]}"
        raise WeightsError(f"{path} must be a file of weights and nothing else", got=got, cure=CURE) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path} must be a file of weights by name", got=type(found).__name__, cure=CURE)
    return found, path


def _fill(network: Any, stored: dict[str, Tensor], path: Path) -> None:
    """Puts every weight in its place; a network that lacks one would answer, and wrongly."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    weights = {_model_name(name): value for name, value in stored.items()}
    if _ONLY_FOR_TRAINING in expected:
        weights.setdefault(_ONLY_FOR_TRAINING, torch.zeros(expected[_ONLY_FOR_TRAINING]))
    else:
        weights.pop(_ONLY_FOR_TRAINING, None)
    for fault, names in (("missing", expected.keys() - weights.keys()), ("unknown", weights.keys() - expected.keys())):
        if names:
            got = f"{len(names)} {fault}: {', '.join(name[:80] for name in sorted(names)[:_SHOWN])}"
            raise WeightsError(f"{path} must have the {len(expected)} weights of its config.json", got=got, cure=CURE)
    for name, value in weights.items():
        if tuple(value.shape) != expected[name] or not value.is_floating_point():
            rule = f"{name} in {path} must be numbers of the shape {list(expected[name])} of its config.json"
            raise WeightsError(rule, got=f"{value.dtype} {list(value.shape)}", cure=CURE)
        if not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{name} in {path} must be finite", got="infinite numbers, or none", cure=CURE)
    # A copy each, so that no weight lies in a mapped file that may change.
    network.load_state_dict(
        {name: value.to(torch.float32, copy=True) for name, value in weights.items()}, strict=True, assign=True
    )


def _model_name(stored_name: str) -> str:
    stem, _, last = stored_name.rpartition(".")
    return f"{stem}.{_RENAMED.get(last, last)}" if stem else last
