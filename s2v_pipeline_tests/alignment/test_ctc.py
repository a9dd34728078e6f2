from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402  after torch is known to be there

from s2v_pipeline.alignment.ctc import CtcModel, load_ctc  # noqa: E402
from s2v_pipeline.errors import WeightsError  # noqa: E402
from s2v_pipeline_tests.alignment.ctc_checkpoints import PHONEMES, copied  # noqa: E402
from s2v_pipeline_tests.alignment.known_speech import NAMES, load  # noqa: E402


def _weights(folder: Path) -> dict[str, Any]:
    return dict(load_file(folder / "model.safetensors"))


def test_probabilities_that_sum_to_one() -> None:
    model = load_ctc(PHONEMES)
    samples = load(NAMES[0]).waveform.samples
    values = model.log_posteriors(samples)
    assert values.shape == ((len(samples) - model.receptive_samples) // model.hop_samples + 1, 44)
    assert np.exp(values).sum(axis=1) == pytest.approx(np.ones(len(values)), abs=1e-4)
    np.testing.assert_array_equal(values, load_ctc(PHONEMES).log_posteriors(samples))
    assert model.log_posteriors(samples[: model.receptive_samples - 1]).shape == (0, 44)
    assert model.log_posteriors(samples[: model.receptive_samples]).shape == (1, 44)


def test_a_frame_hears_what_its_times_say() -> None:
    """wav2vec2's own convolutions: 400 samples every 320, so a frame stands for samples 40 to 360 of what it hears."""
    config = transformers.Wav2Vec2Config(
        vocab_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(4,) * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
    )  # fmt: skip
    torch.manual_seed(0)
    network = transformers.Wav2Vec2ForCTC(config).eval()
    model = CtcModel(network, load_ctc(PHONEMES).vocabulary, 320, 400, is_normalised=True)
    assert model.offset_samples == 40
    sound = torch.randn(1, 4_000)
    for frame in (0, 3, 11):
        sound.requires_grad_(True)
        heard = network.wav2vec2.feature_extractor(sound)[0, :, frame].square().sum()
        (gradient,) = torch.autograd.grad(heard, sound)
        touched = torch.nonzero(gradient[0]).flatten()
        assert (int(touched[0]), int(touched[-1]) + 1) == (320 * frame, 320 * frame + 400)


def test_a_pickle_of_weights_and_the_old_names_of_the_positional_convolution(tmp_path: Path) -> None:
    folder = copied(tmp_path / "pickled")
    weights = _weights(folder)
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        stem = "wav2vec2.encoder.pos_conv_embed.conv"
        weights[f"{stem}.{old}"] = weights.pop(f"{stem}.{new}")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "preprocessor_config.json").unlink()
    samples = load(NAMES[0]).waveform.samples
    np.testing.assert_array_equal(load_ctc(folder).log_posteriors(samples), load_ctc(PHONEMES).log_posteriors(samples))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def test_a_pickle_with_code_in_it_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = copied(tmp_path / "evil")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(WeightsError, match="weights and nothing else"):
        load_ctc(folder)
    assert not (tmp_path / "touched").exists()


def _without(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _changed(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        weights = _weights(folder)
        for name, value in changes.items():
            key = name.replace("__", ".")
            if value is None:
                del weights[key]
            else:
                weights[key] = value
        save_file(weights, folder / "model.safetensors")

    return change


def _config(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**values, **changes}))

    return change


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (_without, r"must hold model\.safetensors"),
        (_truncated, "whole safetensors file"),
        (_changed(lm_head__bias=None), "must have the"),
        (_changed(lm_head__more=torch.zeros(3)), "must have the"),
        (_changed(lm_head__bias=torch.zeros(3)), "of the shape"),
        (_changed(lm_head__bias=torch.zeros(44, dtype=torch.int64)), "must be numbers"),
        (_changed(lm_head__bias=torch.full((44,), float("nan"))), "must be finite"),
        (_config(model_type="hubert"), "must describe a Wav2Vec2ForCTC"),
        (_config(num_hidden_layers=10**9), "must describe a Wav2Vec2ForCTC"),
        (_config(conv_stride=[16, 5, 400]), "must describe a Wav2Vec2ForCTC"),
        (_config(conv_stride="none"), "must describe a Wav2Vec2ForCTC"),
        (_config(adapter_attn_dim=16), "language adapters"),
        (_config(vocab_size=20), "must number 20 symbols"),
        (lambda folder: (folder / "config.json").write_text("{"), "must be a JSON file"),
        (lambda folder: (folder / "vocab.json").write_text("{}"), "must number 44 symbols"),
        (lambda folder: (folder / "vocab.json").unlink(), "must be a JSON file"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}'), "16000 Hz"),
    ],
)
def test_a_damaged_checkpoint_is_refused(damage: Any, rule: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "damaged")
    damage(folder)
    with pytest.raises(WeightsError, match=rule) as caught:
        load_ctc(folder)
    assert str(folder) in caught.value.rule
    assert caught.value.cure


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="must be a folder"):
        load_ctc(tmp_path / "nothing")
