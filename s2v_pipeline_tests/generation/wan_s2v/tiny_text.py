"""A tiny real tokenizer in the layout of the official checkpoint's `google/umt5-xxl` folder.

Belongs here: writing that folder, and the size of its vocabulary for whoever makes a text encoder to go with it.
Does not belong here: the text encoder's weights.
"""

from __future__ import annotations

import json
import string
from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram

# The unknown token is not at 2, where T5 has it, and unknown characters become bytes: a loader must follow the file.
SPECIAL_TOKENS = ("<pad>", "</s>", "<s>", "<unk>")
END_TOKEN_ID = 1
UNKNOWN_TOKEN_ID = 3
_WORDS = ("a", "person", "talks", "to", "the", "camera", "in", "soft", "light", "blurry", "low", "quality")
_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
_CHARACTERS = tuple(string.ascii_letters + string.digits + string.punctuation)
# Scores are log-likelihoods: whole words must win over their letters.
_WORD_SCORE = -2.0
_CHARACTER_SCORE = -8.0
_VOCABULARY = (
    *((token, 0.0) for token in (*SPECIAL_TOKENS, *_BYTES)),
    *((f"▁{word}", _WORD_SCORE) for word in _WORDS),
    *((character, _CHARACTER_SCORE) for character in ("▁", *_CHARACTERS)),
)
TINY_VOCABULARY_SIZE = len(_VOCABULARY)


def write_tiny_tokenizer(folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json; the folder is made where it is missing."""
    tokenizer = Tokenizer(Unigram(list(_VOCABULARY), unk_id=UNKNOWN_TOKEN_ID, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", END_TOKEN_ID)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "T5Tokenizer",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "bos_token": "<s>",
        "unk_token": "<unk>",
        "extra_ids": 0,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
