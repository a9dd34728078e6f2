import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Model

from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.errors import GenerationError, WeightsError
from s2v_pipeline.generation.wan_s2v.speech_encoder import SpeechEncoder, load_speech_encoder
from s2v_pipeline.generation.wan_s2v.speech_features import normalise
from s2v_pipeline_tests.generation.wan_s2v.golden_files import load_golden

VOICE = Path(__file__).parents[2] / "data" / "flite_slt_depth_of_a_well.flac"
_CPU = torch.device("cpu")
_NEW = "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original"
_OLD = "wav2vec2.encoder.pos_conv_embed.conv.weight_"

Weights = dict[str, Tensor]


def _config(n_layers: int = 2) -> Wav2Vec2Config:
    """A small model of the same kind as wav2vec2-large-xlsr-53."""
    return Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        vocab_size=5,
    )


@pytest.fixture(scope="module")
def original() -> Wav2Vec2ForCTC:
    torch.manual_seed(7)
    return Wav2Vec2ForCTC(_config()).eval()


@pytest.fixture
def folder(original: Wav2Vec2ForCTC, tmp_path: Path) -> Path:
    original.config.to_json_file(tmp_path / "config.json")
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    return tmp_path


def _rewrite(folder: Path, change: Callable[[Weights], Any]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    path.unlink()
    save_file(weights, path)


def _with_old_names(weights: Weights) -> Weights:
    return {name.replace(f"{_NEW}0", f"{_OLD}g").replace(f"{_NEW}1", f"{_OLD}v"): w for name, w in weights.items()}


def _speech(seconds: float) -> Tensor:
    return torch.randn(int(seconds * 16_000), generator=torch.Generator().manual_seed(1))


def test_all_hidden_states_as_transformers_gives_them(original: Wav2Vec2ForCTC, folder: Path) -> None:
    samples = _speech(2.01)
    with torch.no_grad():
        expected = torch.cat(original(samples[None], output_hidden_states=True).hidden_states)
    got = load_speech_encoder(folder, device=_CPU).hidden_states(samples)
    assert got.shape == (3, 100, 16)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_old_names_and_pickles_give_the_same(original: Wav2Vec2ForCTC, folder: Path, tmp_path: Path) -> None:
    samples = _speech(1)
    expected = load_speech_encoder(folder, device=_CPU).hidden_states(samples)
    old = _with_old_names(original.state_dict())
    assert f"{_OLD}g" in old
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    assert torch.equal(load_speech_encoder(folder, device=_CPU).hidden_states(samples), expected)
    save_file(old, folder / "model.safetensors")
    assert torch.equal(load_speech_encoder(folder, device=_CPU).hidden_states(samples), expected)


def test_a_model_without_its_letters_loads_too(original: Wav2Vec2ForCTC, folder: Path) -> None:
    expected = load_speech_encoder(folder, device=_CPU).hidden_states(_speech(1))
    (folder / "model.safetensors").unlink()
    save_file(original.wav2vec2.state_dict(), folder / "model.safetensors")
    assert torch.equal(load_speech_encoder(folder, device=_CPU).hidden_states(_speech(1)), expected)


def test_the_golden_pipelines_encoder_loads(tmp_path: Path) -> None:
    metadata, golden = load_golden("pipeline")
    (tmp_path / "config.json").write_text(json.dumps(metadata["wav2vec2"]), encoding="utf-8")
    # The vector's own prefix stands before each of its models' names.
    parts = [name.split(".", 1) for name in golden]
    weights = {name: golden[f"{part}.{name}"] for part, name in parts if part == "wav2vec2"}
    assert any(name.startswith("wav2vec2.") for name in weights)
    save_file(weights, tmp_path / "model.safetensors")
    states = load_speech_encoder(tmp_path, device=_CPU).hidden_states(golden["input.waveform"])
    assert states.shape == (25, 119, 32)
    assert bool(torch.isfinite(states).all())


def _drop(name: str) -> Callable[[Weights], Any]:
    return lambda weights: weights.pop(name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_drop(f"{_NEW}0"), "1 missing: encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
        (_drop("wav2vec2.encoder.layer_norm.bias"), "1 missing: encoder.layer_norm.bias"),
        (lambda w: w.update({"wav2vec2.adapter.x": torch.ones(1)}), "1 unknown: adapter.x"),
        (lambda w: w.update({f"{_OLD}g": torch.ones(1, 1, 16)}), "1 twice: encoder.pos_conv_embed.conv.parametr"),
        (lambda w: w.update({"encoder.layer_norm.bias": torch.ones(16)}), "1 twice: encoder.layer_norm.bias"),
        (lambda w: w.update({"wav2vec2.encoder.layer_norm.bias": torch.ones(17)}), r"shape \[16\].*got \[17\]"),
        (lambda w: w.update({"wav2vec2.encoder.layer_norm.bias": torch.ones(16, dtype=torch.int64)}), "got I64"),
    ],
)
def test_every_weight_is_accounted_for(folder: Path, change: Callable[[Weights], Any], says: str) -> None:
    _rewrite(folder, change)
    with pytest.raises(WeightsError, match=says):
        load_speech_encoder(folder, device=_CPU)


def test_damaged_and_missing_files_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(WeightsError, match="truncated"):
        load_speech_encoder(folder, device=_CPU)
    path.unlink()
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin"):
        load_speech_encoder(folder, device=_CPU)
    (folder / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_speech_encoder(folder, device=_CPU)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (shutil.rmtree, ("/nonexistent",))


def test_code_in_a_pickle_is_not_run(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"wav2vec2.x": _Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="code in it, which was not run"):
        load_speech_encoder(folder, device=_CPU)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "hubert"},
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": None},
        {"hidden_size": "many"},
        {"hidden_size": 20},
        {"num_attention_heads": 3},
        {"conv_stride": [5, 2]},
        {"hidden_act": "no such thing"},
        {"conv_stride": [5, 2, 2, 2, 2, 2, 1]},
    ],
)
def test_a_configuration_of_something_else_is_refused(folder: Path, change: dict[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(WeightsError):
        load_speech_encoder(folder, device=_CPU)


class _Recorded:
    """The lengths that a model is given."""

    def __init__(self, model: Wav2Vec2Model) -> None:
        self.lengths: list[int] = []
        model.register_forward_pre_hook(lambda _, inputs: self.lengths.append(inputs[0].shape[1]))


def _model() -> Wav2Vec2Model:
    torch.manual_seed(3)
    return Wav2Vec2Model(_config())


def test_short_speech_is_encoded_whole() -> None:
    model, samples = _model(), _speech(3.999)
    recorded = _Recorded(model)
    windowed = SpeechEncoder(model, max_window_s=4, context_s=1).hidden_states(samples)
    assert recorded.lengths == [len(samples)]
    assert torch.equal(windowed, SpeechEncoder(model).hidden_states(samples))


@pytest.mark.parametrize("n_samples", [64_401, 100_000, 160_000, 160_079, 160_080, 163_840])
def test_long_speech_is_encoded_in_windows(n_samples: int) -> None:
    model, samples = _model(), _speech(12)[:n_samples]
    encoder, whole = SpeechEncoder(model, max_window_s=4, context_s=1), SpeechEncoder(model)
    recorded = _Recorded(model)
    windowed = encoder.hidden_states(samples)
    assert len(recorded.lengths) == -(-windowed.shape[1] // 100)
    assert max(recorded.lengths) <= 4 * 16_000 + 400
    expected = whole.hidden_states(samples)
    assert windowed.shape == expected.shape
    # Before attention mixes the frames, only the positional convolution looks around: frame i is the whole's frame i,
    # also next to the seams.
    torch.testing.assert_close(windowed[0], expected[0], rtol=0, atol=1e-5)
    # With random weights attention is nearly the mean of all frames; this says nothing of trained ones.
    assert float((windowed - expected).abs().max()) < 0.3


def test_windows_of_a_real_voice_are_the_whole_within_a_tolerance() -> None:
    # The positional convolution of the real model: 128 hidden frames wide, 1.3 s to either side.
    config = _config()
    config.num_conv_pos_embeddings = 128
    torch.manual_seed(3)
    model = Wav2Vec2Model(config)
    voice = torch.from_numpy(read_waveform(VOICE, rate_hz=16_000).samples.copy())
    samples = normalise(voice.repeat(20)[: 45 * 16_000], float(voice.mean()), float(voice.std()))
    whole = SpeechEncoder(model).hidden_states(samples)
    windowed = SpeechEncoder(model, max_window_s=20, context_s=4).hidden_states(samples)
    torch.testing.assert_close(windowed[0], whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(windowed[1:], whole[1:], rtol=0, atol=5e-3)
    too_little = SpeechEncoder(model, max_window_s=20, context_s=1).hidden_states(samples)
    assert float((too_little[0] - whole[0]).abs().max()) > 1e-2


def test_windows_cover_all_frames_once() -> None:
    encoder = SpeechEncoder(_model(), max_window_s=4, context_s=1)
    for n_frames in [*range(190, 420), 1000, 2001]:
        windows = encoder.windows(n_frames)
        assert [i for kept, _ in windows for i in range(kept.start_frame, kept.stop_frame)] == list(range(n_frames))
        for kept, heard in windows:
            assert len(heard) <= 200
            assert heard.start_frame == max(0, kept.start_frame - 50) or len(windows) == 1
            assert heard.stop_frame == min(n_frames, kept.stop_frame + 50)


def test_a_range_is_a_part_of_the_whole_and_costs_only_its_windows() -> None:
    model, samples = _model(), _speech(20)
    encoder = SpeechEncoder(model, max_window_s=4, context_s=1)
    whole = encoder.hidden_states(samples)
    recorded = _Recorded(model)
    assert torch.equal(encoder.hidden_states(samples, 310, 390), whole[:, 310:390])
    assert len(recorded.lengths) == 1
    assert torch.equal(encoder.hidden_states(samples, 390, 410), whole[:, 390:410])
    assert len(recorded.lengths) == 3


def test_autocast_around_it_changes_nothing() -> None:
    encoder, samples = SpeechEncoder(_model()), _speech(1)
    expected = encoder.hidden_states(samples)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder.hidden_states(samples), expected)


def test_lengths_are_the_models_own() -> None:
    model = _model()
    encoder = SpeechEncoder(model)
    lengths = [*range(300, 1500, 7), 16_000, 80_000, 80_079, 80_080]
    with torch.no_grad():
        for n_samples in [400, 719, 720, 1039, 1040, 16_000]:
            assert model(torch.zeros(1, n_samples)).last_hidden_state.shape[1] == encoder.n_hidden_frames(n_samples)
    assert all(encoder.n_hidden_frames(n) == max(0, (n - 400) // 320 + 1) for n in lengths)


def test_bad_samples_and_ranges_are_refused() -> None:
    encoder = SpeechEncoder(_model())
    with pytest.raises(GenerationError, match="long enough"):
        encoder.hidden_states(torch.zeros(399))
    with pytest.raises(ValueError, match="float32"):
        encoder.hidden_states(torch.zeros(1000, dtype=torch.float64))
    with pytest.raises(ValueError, match="float32"):
        encoder.hidden_states(torch.zeros(1, 1000))
    with pytest.raises(ValueError, match="hidden frames"):
        encoder.hidden_states(torch.zeros(720), 0, 3)
    with pytest.raises(ValueError, match="max_window_s"):
        SpeechEncoder(_model(), max_window_s=4, context_s=2)
