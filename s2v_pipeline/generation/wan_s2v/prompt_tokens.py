"""A prompt's text made clean, and the tokenizer that makes tokens of it.

Belongs here: cleaning a prompt, reading a tokenizer's file.
Does not belong here: how many tokens a prompt may have and what becomes of them (text_encoder).
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import ftfy
from tokenizers import Tokenizer

from s2v_pipeline.errors import WeightsError

END_TOKEN = "</s>"  # noqa: S105 (a token of the vocabulary)
TOKENIZER_FILE = "tokenizer.json"
MAX_TOKENIZER_BYTES = 1 << 26
"""Largest tokenizer.json that is read: several times what a vocabulary of 256 384 tokens takes."""
TOKENIZER_CURE = "Fetch the folder google/umt5-xxl of the checkpoint again: s2v weights fetch FOLDER"


def clean_prompt(text: str) -> str:
    """Mends mis-decoded text, resolves HTML entities (also doubled ones) and makes every run of white space one space.

    As `clean="whitespace"` of Wan-Video/Wan2.2 wan/modules/tokenizers.py.
    """
    mended = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", mended.strip()).strip()


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a local folder, exactly as its tokenizer.json says.

    transformers' T5Tokenizer is not used: since version 5 it takes the vocabulary out of the file and builds a
    tokenizer of its own around it, with token 2 as the unknown one and without bytes for unknown characters, whatever
    the file says; the official code ran with a version that followed the file.

    Raises:
        WeightsError: the file is missing, damaged, or does not end a text with the end token.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        raise WeightsError(f"{folder} must hold {TOKENIZER_FILE}", got="no such file", cure=TOKENIZER_CURE)
    try:
        n_bytes = path.stat().st_size
        content = path.read_bytes() if n_bytes <= MAX_TOKENIZER_BYTES else None
    except OSError as error:
        got = f"{type(error).__name__}: {error.strerror}"
        raise WeightsError(
            f"{path} must be readable", got=got, cure="Look at the file's rights and the disk."
        ) from error
    if content is None:
        rule = f"{path} may have at most {MAX_TOKENIZER_BYTES} bytes"
        raise WeightsError(rule, got=f"{n_bytes} bytes", cure=TOKENIZER_CURE)
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except ValueError as error:
        rule = f"{path} must be a tokenizer of the tokenizers library"
        raise WeightsError(rule, got=str(error)[:120], cure=TOKENIZER_CURE) from error
    if tokenizer.encode("a").tokens[-1:] != [END_TOKEN]:
        rule = f"{path} must end a text with {END_TOKEN}"
        raise WeightsError(rule, got=str(tokenizer.encode("a").tokens[-1:]), cure=TOKENIZER_CURE)
    return tokenizer
