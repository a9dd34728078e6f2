"""wav2vec2, the network's ear: loaded from a local folder, and run in windows where the speech is long.

Belongs here: the speech encoder's weights and its hidden states.
Does not belong here: what becomes of the hidden states (speech_features), reading and resampling a recording (audio).

The speech is 16 kHz mono; the encoder gives one hidden frame per 320 samples and layer (50 Hz), hidden frame i from
samples 320 i to 320 i + 399 and, through attention, from all others. Source of how it is used: Wan-Video/Wan2.2
wan/modules/s2v/audio_encoder.py.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from s2v_pipeline.errors import GenerationError, WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import read_json
from s2v_pipeline.generation.wan_s2v.shards import DTYPES, load_pickle, read_header, stream_tensors
from s2v_pipeline.timebase import FrameSpan

_log = logging.getLogger(__name__)

SPEECH_RATE_HZ = 16_000  # extract_audio_feat: librosa.load(sr=16000)
HIDDEN_HZ = 50  # linear_interpolation: input_fps
_HOP_SAMPLES = SPEECH_RATE_HZ // HIDDEN_HZ
# Attention takes time, and where its scores are kept memory, with the square of the length. 60 s are 3000 hidden
# frames: 1.7 GB beside the weights on a CPU. Speech that fits is encoded whole, as the official code encodes any.
MAX_WINDOW_S = 60
# What a longer recording's window hears before and after the frames that are kept. The encoder was trained on sentences
# of 5 to 10 s (Common Voice), so it hardly has a use for sound further away.
CONTEXT_S = 8

_MAX_LAYERS = 256  # the largest wav2vec2 has 48; building layers takes time before any weight is read
_MAX_PICKLE_BYTES = 8 << 30  # the real one has 1.3 GB
_PREFIX = "wav2vec2."
_UNUSED_PREFIX = "lm_head."  # turns hidden states into letters; no hidden state depends on it
# The positional convolution's magnitude and direction, before and since torch 2.0's parametrizations.
_RENAMED = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_SHOWN = 4  # names in a message
# What building a model from senseless numbers raises.
_BAD_CONFIG = (ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError)
_CURE = "Fetch the folder wav2vec2-large-xlsr-53-english again: s2v weights fetch FOLDER"


class SpeechEncoder:
    """wav2vec2 in float32, run in windows where the speech is long.

    Args:
        model: from `Wav2Vec2ForCTC` pass its `.wav2vec2`.
        max_window_s: longest piece that is encoded at once.
        context_s: what a piece of longer speech includes before and after the frames that it is encoded for.

    Raises:
        WeightsError: the model does not give 50 hidden frames a second.
        ValueError: `context_s` on both sides leaves nothing of `max_window_s`.
    """

    def __init__(
        self, model: Wav2Vec2Model, *, max_window_s: float = MAX_WINDOW_S, context_s: float = CONTEXT_S
    ) -> None:
        hop_samples = math.prod(model.config.conv_stride)
        if hop_samples != _HOP_SAMPLES:
            raise WeightsError(
                f"the speech encoder must give a hidden frame every {_HOP_SAMPLES} samples",
                got=f"one every {hop_samples}",
                cure=_CURE,
            )
        self._model = model.eval().requires_grad_(False)
        self._window_frames = int(max_window_s * HIDDEN_HZ)
        self._context_frames = int(context_s * HIDDEN_HZ)
        if not 0 <= 2 * self._context_frames < self._window_frames:
            raise ValueError(f"twice context_s must be below max_window_s; got {context_s} and {max_window_s}")

    def n_hidden_frames(self, n_samples: int) -> int:
        """Hidden frames that `n_samples` samples give; 0 where they are too few."""
        for kernel, stride in zip(self._model.config.conv_kernel, self._model.config.conv_stride, strict=True):
            n_samples = max(0, (n_samples - kernel) // stride + 1)
        return n_samples

    def hidden_states(self, samples: Tensor, start_frame: int = 0, stop_frame: int | None = None) -> Tensor:
        """Hidden frames [start_frame, stop_frame) of the speech: [layers + 1, frames, dim] float32, on the CPU.

        Speech longer than the window is encoded in windows that lie on a fixed grid, so a frame's values do not depend
        on which range is asked for; only the windows that the range touches are encoded.

        Args:
            samples: (n,) float32 at 16 kHz, normalised.

        Raises:
            GenerationError: the speech is too short for one hidden frame.
            ValueError: samples of another shape or dtype, or a range beyond the speech.
        """
        if samples.ndim != 1 or samples.dtype != torch.float32:
            raise ValueError(f"samples must be (n,) float32; got {tuple(samples.shape)} {samples.dtype}")
        n_frames = self.n_hidden_frames(len(samples))
        if n_frames < 1:
            raise too_short(len(samples))
        wanted = FrameSpan(start_frame, n_frames if stop_frame is None else stop_frame)
        if wanted.stop_frame > n_frames:
            raise ValueError(f"the speech has {n_frames} hidden frames; got {wanted}")
        config = self._model.config
        states = torch.empty(config.num_hidden_layers + 1, len(wanted), config.hidden_size)
        for kept, heard in self.windows(n_frames):
            start = max(kept.start_frame, wanted.start_frame)
            stop = min(kept.stop_frame, wanted.stop_frame)
            if start < stop:
                window = self._encoded(samples[self._samples_of(heard, n_frames)])
                in_window = slice(start - heard.start_frame, stop - heard.start_frame)
                states[:, start - wanted.start_frame : stop - wanted.start_frame] = window[:, in_window]
        return states

    def windows(self, n_frames: int) -> list[tuple[FrameSpan, FrameSpan]]:
        """(hidden frames that are kept, hidden frames that are encoded for them) of speech with `n_frames`."""
        whole = FrameSpan(0, n_frames)
        if n_frames <= self._window_frames:
            return [(whole, whole)]
        step = self._window_frames - 2 * self._context_frames
        spans = (FrameSpan(start, min(start + step, n_frames)) for start in range(0, n_frames, step))
        return [(kept, kept.widened(self._context_frames, whole)) for kept in spans]

    def _samples_of(self, frames: FrameSpan, n_frames: int) -> slice:
        """The samples whose hidden frames are exactly `frames`; up to the end of the speech for its last frames."""
        start = frames.start_frame * _HOP_SAMPLES
        return slice(start, None if frames.stop_frame == n_frames else start + self._samples_for(len(frames)))

    def _samples_for(self, n_frames: int) -> int:
        """The fewest samples that give `n_frames` hidden frames."""
        config = self._model.config
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            n_frames = (n_frames - 1) * stride + kernel
        return n_frames

    @torch.no_grad()
    def _encoded(self, samples: Tensor) -> Tensor:
        device = next(self._model.parameters()).device
        with torch.autocast(device.type, enabled=False):
            output = self._model(samples[None].to(device), output_hidden_states=True, return_dict=True)
        return torch.cat(output.hidden_states).float().cpu()


def load_speech_encoder(folder: Path, *, device: torch.device) -> SpeechEncoder:
    """The encoder in a local folder with `config.json` and `model.safetensors` or `pytorch_model.bin`; fetches nothing.

    Of the weights only `lm_head.*` is left out: no hidden state depends on it.

    Raises:
        WeightsError: a file is missing, damaged or too large; a weight is missing, unknown or of another shape.
    """
    model = _empty_model(folder / "config.json")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    path = folder / "model.safetensors"
    if path.is_file():
        stored = read_header(path)
        _check_names(path, {each.name: each.shape for each in stored}, shapes)
        _check_types(path, (each.dtype for each in stored))
        read: Iterable[tuple[str, Tensor]] = ((each.name, tensor) for each, tensor in stream_tensors(stored))
    else:
        path = folder / "pytorch_model.bin"
        tensors = load_pickle(path, max_bytes=_MAX_PICKLE_BYTES)
        _check_names(path, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, shapes)
        read = tensors.items()
    # A copy each, so that no weight lies in a mapped file that may change.
    weights = {_model_name(name): each.to(torch.float32, copy=True) for name, each in read if _is_needed(name)}
    model.load_state_dict(weights, strict=True, assign=True)
    _log.info("%s: %d weights read; %s* is not needed", path, len(weights), _UNUSED_PREFIX)
    return SpeechEncoder(model.to(device))


def _empty_model(path: Path) -> Wav2Vec2Model:
    """The model that a config.json describes, without memory for its weights."""
    values = read_json(path)
    n_layers = values.get("num_hidden_layers")
    if values.get("model_type") != "wav2vec2" or not isinstance(n_layers, int) or not 0 < n_layers <= _MAX_LAYERS:
        got = f"model_type {str(values.get('model_type'))[:40]!r}, num_hidden_layers {str(n_layers)[:40]}"
        raise WeightsError(f"{path} must describe a wav2vec2 of at most {_MAX_LAYERS} layers", got=got, cure=_CURE)
    try:
        with torch.device("meta"):
            return Wav2Vec2Model(Wav2Vec2Config.from_dict(values))
    except (*_BAD_CONFIG, StrictDataclassError) as error:
        got = f"{type(error).__name__}: {str(error)[:200]}"
        raise WeightsError(f"{path} must describe a wav2vec2", got=got, cure=_CURE) from error


def _is_needed(stored_name: str) -> bool:
    return not stored_name.startswith(_UNUSED_PREFIX)


def _model_name(stored_name: str) -> str:
    """Name in the model of a weight in a file."""
    stem, _, last = stored_name.removeprefix(_PREFIX).rpartition(".")
    return f"{stem}.{_RENAMED.get(last, last)}" if stem else last


def _check_names(path: Path, stored: Mapping[str, tuple[int, ...]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    found = {_model_name(name): shape for name, shape in stored.items() if _is_needed(name)}
    missing, unknown = sorted(shapes.keys() - found.keys()), sorted(found.keys() - shapes.keys())
    counts = Counter(_model_name(name) for name in stored if _is_needed(name))
    twice = sorted(name for name, count in counts.items() if count > 1)
    for fault, names in (("missing", missing), ("unknown", unknown), ("twice", twice)):
        if names:
            got = f"{len(names)} {fault}: {', '.join(name[:80] for name in names[:_SHOWN])}"
            raise WeightsError(f"{path} must have the {len(shapes)} weights of its config.json", got=got, cure=_CURE)
    for name, shape in found.items():
        if shape != shapes[name]:
            rule = f"{name} in {path} must have the shape {list(shapes[name])} of its config.json"
            raise WeightsError(rule, got=str(list(shape)), cure=_CURE)


def _check_types(path: Path, types: Iterable[str]) -> None:
    wrong = sorted(set(types) - DTYPES.keys())
    if wrong:
        raise WeightsError(f"{path} must be stored as {', '.join(DTYPES)}", got=wrong[0], cure=_CURE)


def too_short(n_samples: int) -> GenerationError:
    """The error of speech that is too short for one feature."""
    return GenerationError(
        "the speech must be long enough for one feature, 0.05 s",
        got=f"about {n_samples} samples at {SPEECH_RATE_HZ} Hz",
        cure="Give a longer recording.",
    )
