"""The portrait that a chunk starts from, read and checked.

Belongs here: what every generator does with a request's picture before it looks at it.
Does not belong here: framing it (inputs), faces, any generator.
"""

from __future__ import annotations

import hashlib
import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from s2v_pipeline.chunks.request import ChunkRequest
from s2v_pipeline.errors import GenerationError

MAX_PORTRAIT_BYTES = 256_000_000  # a PNG of the largest video size, 4096 x 4096, is at most 50 MB plus little


def read_portrait(request: ChunkRequest) -> NDArray[np.uint8]:
    """The request's portrait, (height_px, width_px, 3) uint8 RGB.

    Raises:
        GenerationError: the file is missing, is not the PNG whose hash the request names, or has another size.
    """
    path = request.portrait.path
    cure = "Materialise speech_inputs for this partition again."
    try:
        if path.stat().st_size > MAX_PORTRAIT_BYTES:
            raise GenerationError(
                f"a framed portrait has at most {MAX_PORTRAIT_BYTES} bytes", got=f"{path.stat().st_size}", cure=cure
            )
        content = path.read_bytes()
    except OSError as error:
        raise GenerationError("the framed portrait must be readable", got=str(error), cure=cure) from error
    found = hashlib.sha256(content).hexdigest()
    if found != request.portrait.sha256:
        raise GenerationError(
            "the framed portrait must have the bytes that the request names",
            got=f"SHA-256 {found[:12]}… instead of {request.portrait.sha256[:12]}…",
            cure=cure,
        )
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and refuses huge ones; the size is checked against the request below,
            # before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=["PNG"])
        if image.size != (request.width_px, request.height_px):
            raise GenerationError(
                f"the framed portrait must be {request.width_px}x{request.height_px}",
                got=f"{image.size[0]}x{image.size[1]}",
                cure=cure,
            )
        return np.array(image.convert("RGB"), np.uint8)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise GenerationError("the framed portrait must be a PNG", got=str(error), cure=cure) from error
