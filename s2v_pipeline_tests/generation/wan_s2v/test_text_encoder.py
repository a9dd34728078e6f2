"""The text encoder: parity with the official one, names of both layouts, tokens, release, and bad files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import UMT5Config, UMT5EncoderModel

from s2v_pipeline.errors import GenerationError, WeightsError
from s2v_pipeline.generation.wan_s2v.prompt_tokens import END_TOKEN, TOKENIZER_FILE, clean_prompt, load_tokenizer
from s2v_pipeline.generation.wan_s2v.text_encoder import (
    WanTextEncoder,
    build_text_encoder,
    load_diffusers_text_encoder,
    official_t5_to_transformers,
)
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden
from s2v_pipeline_tests.generation.wan_s2v.tiny_text import (
    END_TOKEN_ID,
    TINY_VOCABULARY_SIZE,
    UNKNOWN_TOKEN_ID,
    write_tiny_tokenizer,
)

CPU = torch.device("cpu")
A_ID = 260  # "▁a": after four special tokens and 256 bytes; the other words follow
PROMPT = "A person talks to the camera, in soft light."


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("umt5")
    write_tiny_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def transformers_model() -> UMT5EncoderModel:
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=TINY_VOCABULARY_SIZE + 5, d_model=24, d_kv=4, d_ff=40, num_layers=2, num_heads=6)
    return UMT5EncoderModel(config).eval()


def official(model: UMT5EncoderModel) -> dict[str, torch.Tensor]:
    """The model's tensors under the official names, written out by hand."""
    state = model.state_dict()
    renamed = {
        "token_embedding.weight": state["shared.weight"],
        "norm.weight": state["encoder.final_layer_norm.weight"],
    }
    for layer in range(model.config.num_layers):
        attention, feed = f"encoder.block.{layer}.layer.0", f"encoder.block.{layer}.layer.1"
        for part in "qkvo":
            renamed[f"blocks.{layer}.attn.{part}.weight"] = state[f"{attention}.SelfAttention.{part}.weight"]
        distances = state[f"{attention}.SelfAttention.relative_attention_bias.weight"]
        renamed[f"blocks.{layer}.pos_embedding.embedding.weight"] = distances
        renamed[f"blocks.{layer}.norm1.weight"] = state[f"{attention}.layer_norm.weight"]
        renamed[f"blocks.{layer}.norm2.weight"] = state[f"{feed}.layer_norm.weight"]
        renamed[f"blocks.{layer}.ffn.gate.0.weight"] = state[f"{feed}.DenseReluDense.wi_0.weight"]
        renamed[f"blocks.{layer}.ffn.fc1.weight"] = state[f"{feed}.DenseReluDense.wi_1.weight"]
        renamed[f"blocks.{layer}.ffn.fc2.weight"] = state[f"{feed}.DenseReluDense.wo.weight"]
    return renamed


def test_official_vectors(tmp_path: Path) -> None:
    _, tensors = load_golden("text_encoder")
    state = {name[len("weights.") :]: value for name, value in tensors.items() if name.startswith("weights.")}
    Tokenizer(WordLevel({END_TOKEN: 0}, unk_token=END_TOKEN)).save(str(tmp_path / TOKENIZER_FILE))
    encoder = build_text_encoder(state, tmp_path, dtype=torch.float32, device=CPU)
    for ids, mask, hidden in zip(tensors["input.ids"], tensors["input.mask"], tensors["output.hidden"], strict=True):
        kept = mask.bool()
        made = encoder.encode_ids(ids[kept].tolist())
        assert made.shape == hidden[kept].shape
        assert (made - hidden[kept]).abs().max() <= 1e-5


def test_prompt_gives_what_the_padded_and_masked_model_gives(
    tokenizer_folder: Path, transformers_model: UMT5EncoderModel
) -> None:
    encoder = build_text_encoder(official(transformers_model), tokenizer_folder, dtype=torch.float32, device=CPU)
    ids = encoder.token_ids(PROMPT)
    made = encoder.encode(PROMPT)
    assert made.shape == (len(ids), 24)
    padded = torch.tensor([ids + [0] * 20])
    mask = torch.tensor([[1] * len(ids) + [0] * 20])
    with torch.no_grad():
        wanted = transformers_model(input_ids=padded, attention_mask=mask).last_hidden_state[0, : len(ids)]
    assert (made - wanted).abs().max() <= 1e-5


def test_bfloat16_on_the_cpu(tokenizer_folder: Path, transformers_model: UMT5EncoderModel) -> None:
    state = official(transformers_model)
    exact = build_text_encoder(state, tokenizer_folder, dtype=torch.float32, device=CPU).encode(PROMPT)
    coarse = build_text_encoder(state, tokenizer_folder, dtype=torch.bfloat16, device=CPU).encode(PROMPT)
    assert coarse.dtype == torch.bfloat16
    error = (coarse.float() - exact).norm() / exact.norm()
    assert 0 < error < 0.03


def test_weights_are_not_copied_and_the_embedding_is_one_parameter(
    tokenizer_folder: Path, transformers_model: UMT5EncoderModel
) -> None:
    state = official(transformers_model)
    encoder = build_text_encoder(state, tokenizer_folder, dtype=torch.float32, device=CPU)
    model = encoder._model
    assert model is not None
    assert model.shared.weight is model.encoder.embed_tokens.weight
    kept = {tensor.data_ptr() for tensor in state.values()}
    assert {parameter.data_ptr() for parameter in model.parameters()} == kept


def test_release(tokenizer_folder: Path, transformers_model: UMT5EncoderModel) -> None:
    encoder = build_text_encoder(official(transformers_model), tokenizer_folder, dtype=torch.float32, device=CPU)
    states = [encoder.released]
    for _ in range(2):
        encoder.release()
        states.append(encoder.released)
    assert states == [False, True, True]
    assert encoder.token_ids("a") == [A_ID, END_TOKEN_ID]
    with pytest.raises(GenerationError, match="until it is released"):
        encoder.encode("a")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a \t\n b\u3000c  ", "a b c"),
        ("a &amp;lt; b", "a < b"),
        ("caf\u00c3\u00a9", "caf\u00e9"),
        ("\u4e00\u4e2a\u4eba", "\u4e00\u4e2a\u4eba"),
        ("", ""),
    ],
)
def test_clean_prompt(text: str, cleaned: str) -> None:
    assert clean_prompt(text) == cleaned


def test_tokens(tokenizer_folder: Path, transformers_model: UMT5EncoderModel) -> None:
    encoder = build_text_encoder(official(transformers_model), tokenizer_folder, dtype=torch.float32, device=CPU)
    assert encoder.token_ids("") == [END_TOKEN_ID]
    assert encoder.token_ids("  a \n person ") == [A_ID, A_ID + 1, END_TOKEN_ID]
    assert encoder.encode("").shape == (1, 24)
    # An unknown character is its UTF-8 bytes, as the file says; the bytes follow the four special tokens.
    assert encoder.token_ids("a \U0001f600")[-5:] == [*(4 + byte for byte in "\U0001f600".encode()), END_TOKEN_ID]
    assert UNKNOWN_TOKEN_ID not in encoder.token_ids("a \U0001f600")


def test_long_prompts_are_cut_and_said_to_be(
    tokenizer_folder: Path, transformers_model: UMT5EncoderModel, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = WanTextEncoder(transformers_model, load_tokenizer(tokenizer_folder), max_tokens=8)
    with caplog.at_level(logging.WARNING):
        assert encoder.token_ids("a person talks to the camera in") == [*range(A_ID, A_ID + 7), END_TOKEN_ID]
        assert not caplog.records
        assert encoder.token_ids("a " * 30) == [A_ID] * 7 + [END_TOKEN_ID]
    assert [record.getMessage() for record in caplog.records] == ["prompt cut at 8 tokens; 23 more are not used"]


def test_transformers_layout(tmp_path: Path, tokenizer_folder: Path, transformers_model: UMT5EncoderModel) -> None:
    transformers_model.save_pretrained(tmp_path / "whole")
    transformers_model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    wanted = build_text_encoder(official(transformers_model), tokenizer_folder, dtype=torch.float32, device=CPU)
    for name in ("whole", "shards"):
        loaded = load_diffusers_text_encoder(tmp_path / name, tokenizer_folder, dtype=torch.float32, device=CPU)
        assert torch.equal(loaded.encode(PROMPT), wanted.encode(PROMPT))


def test_transformers_layout_of_another_model(
    tmp_path: Path, tokenizer_folder: Path, transformers_model: UMT5EncoderModel
) -> None:
    def load() -> WanTextEncoder:
        return load_diffusers_text_encoder(tmp_path, tokenizer_folder, dtype=torch.float32, device=CPU)

    with pytest.raises(WeightsError, match="must be readable"):
        load()
    transformers_model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "feed_forward_proj": "relu"}), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"feed_forward_proj in .* must be gated-gelu; got relu"):
        load()
    state = {name: value for name, value in transformers_model.state_dict().items() if "embed_tokens" not in name}
    save_file({**state, "decoder.block.0": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 of another model: decoder\.block\.0"):
        load()
    save_file({**state, "shared.weight": state["shared.weight"].long()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"shared.weight .* must be stored as BF16, F16, F32; got I64"):
        load()


def test_every_tensor_is_accounted_for(transformers_model: UMT5EncoderModel) -> None:
    state = official(transformers_model)
    assert set(official_t5_to_transformers(state)) == set(transformers_model.state_dict())
    query, gate = "blocks.1.attn.q.weight", "blocks.0.ffn.gate.0.weight"
    faults: list[tuple[dict[str, torch.Tensor], str]] = [
        ({name: value for name, value in state.items() if name != query}, f"1 missing: {query}"),
        ({**state, "lm_head.weight": torch.zeros(2, 2)}, "1 of another model: lm_head.weight"),
        ({**state, gate: torch.zeros(39, 24)}, rf"1 of another shape: {gate} \[39, 24\] instead of \[40, 24\]"),
        ({**state, gate: torch.zeros(40, 24, dtype=torch.int8)}, r"1 not floating point: .*\(torch.int8\)"),
        ({}, "a state dict of 0 tensors"),
        ({**state, "token_embedding.weight": torch.zeros(3)}, r"token_embedding.weight has the shape \[3\]"),
        ({**state, "blocks.0.pos_embedding.embedding.weight": torch.zeros(32, 5)}, "24 channels and 5 heads"),
        ({name: value for name, value in state.items() if "blocks.0." not in name}, "blocks.0.* is missing"),
    ]
    for faulty, message in faults:
        with pytest.raises(WeightsError, match=message):
            official_t5_to_transformers(faulty)


def test_bad_tokenizers(tmp_path: Path, transformers_model: UMT5EncoderModel) -> None:
    with pytest.raises(WeightsError, match=r"must hold tokenizer.json; got no such file. Fetch .* s2v weights fetch"):
        load_tokenizer(tmp_path)
    (tmp_path / TOKENIZER_FILE).write_text("{}", encoding="utf-8")
    with pytest.raises(WeightsError, match="must be a tokenizer of the tokenizers library"):
        load_tokenizer(tmp_path)
    Tokenizer(WordLevel({"a": 0})).save(str(tmp_path / TOKENIZER_FILE))
    with pytest.raises(WeightsError, match="must end a text with </s>"):
        load_tokenizer(tmp_path)
    write_tiny_tokenizer(tmp_path)
    state = official(transformers_model)
    state["token_embedding.weight"] = state["token_embedding.weight"][: TINY_VOCABULARY_SIZE - 1]
    with pytest.raises(WeightsError, match=f"got {TINY_VOCABULARY_SIZE - 1} vectors, {TINY_VOCABULARY_SIZE} tokens"):
        build_text_encoder(state, tmp_path, dtype=torch.float32, device=CPU)
    with (tmp_path / TOKENIZER_FILE).open("ab") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(WeightsError, match="may have at most 67108864 bytes"):
        load_tokenizer(tmp_path)
