"""LoRAs: read, checked against the transformer, and merged into its weights.

Belongs here: what a LoRA changes, by native layer name, and the sum. Does not belong here: spellings (lora_keys).

A merged LoRA costs nothing at run time. W becomes W + strength * (alpha / rank) * B @ A (Hu et al. 2021, arXiv
2106.09685, section 4.1), in float32, rounded once to the weight's own type.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from s2v_pipeline.artifacts import file_sha256
from s2v_pipeline.errors import WeightsError
from s2v_pipeline.generation.wan_s2v.checkpoint import TransformerConfig, expected_tensors, read_json
from s2v_pipeline.generation.wan_s2v.lora_keys import Part, layer_names, split_key
from s2v_pipeline.generation.wan_s2v.shards import DTYPES, StoredTensor, first_few, read_header, stream_tensors

_logger = logging.getLogger(__name__)

MAX_LORA_BYTES = 16 << 30
"""A LoRA of rank 1024 on every layer of the 14B model has about 12 GB in bf16."""
_MERGEABLE = (torch.bfloat16, torch.float16, torch.float32)
_PARAMETER: Mapping[Part, str] = {
    "down": "weight",
    "up": "weight",
    "alpha": "weight",
    "diff": "weight",
    "diff_bias": "bias",
    "diff_modulation": "modulation",
}


@dataclass(frozen=True)
class ParameterChange:
    """What a LoRA adds to one parameter: `scale * up @ down + diff`, whichever are there.

    Attributes:
        scale: alpha / rank; 1 without factors.
        down: [rank, ...the weight's shape but its first axis].
        up: [the weight's first axis, rank] (a convolution's: with ones behind).
        diff: the parameter's own shape.
    """

    scale: float
    down: torch.Tensor | None
    up: torch.Tensor | None
    diff: torch.Tensor | None

    def delta(self, shape: torch.Size, device: torch.device) -> torch.Tensor:
        """The sum in float32, on a device, in the parameter's shape."""
        total = torch.zeros(shape, dtype=torch.float32, device=device)
        if self.down is not None and self.up is not None:
            up, down = (each.to(device, torch.float32).flatten(1) for each in (self.up, self.down))
            total += (up @ down).mul_(self.scale).view(shape)
        if self.diff is not None:
            total += self.diff.to(device, torch.float32)
        return total


@dataclass(frozen=True)
class Lora:
    """One LoRA file, on the CPU, as stored.

    Attributes:
        path: where it came from.
        sha256: hash of the file.
        changes: native parameter name -> what is added to it.
        left_out: keys of the file that fit nothing; only there when that was allowed.
    """

    path: Path
    sha256: str
    changes: Mapping[str, ParameterChange]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class MergeReport:
    """What `merge_loras` did.

    Attributes:
        n_parameters: parameters that changed.
        notes: a line a LoRA that did not fit as a whole, for people to see.
    """

    n_parameters: int
    notes: tuple[str, ...]


@dataclass
class _Layer:
    """Keys of one parameter while they are gathered."""

    keys: list[str] = field(default_factory=list)
    parts: dict[Part, StoredTensor] = field(default_factory=dict)


def load_lora(
    path: Path, config: TransformerConfig, *, alpha: float | None = None, allow_partial: bool = False
) -> Lora:
    """Read a LoRA and account for every key in it.

    Args:
        alpha: for layers whose alpha the file does not give; None: PEFT's metadata when there, else the rank (scale 1).
        allow_partial: leave out what does not fit this transformer, and say so, instead of refusing the file. A LoRA of
            another Wan model (T2V, I2V) fits in part.

    Raises:
        WeightsError: no safetensors file, damaged, not of the plain low-rank kind, of another model.
    """
    if path.suffix != ".safetensors":
        cure = "Get it as safetensors, or convert it where you trust its maker: a pickle can run code."
        raise WeightsError("a LoRA must be a safetensors file", got=path.name, cure=cure)
    stored = read_header(path)
    if (n_bytes := sum(each.n_bytes for each in stored)) > MAX_LORA_BYTES:
        raise _refused(path, f"may have at most {MAX_LORA_BYTES} bytes", f"{n_bytes} bytes")
    if foreign := [each for each in stored if each.dtype not in DTYPES]:
        raise _refused(path, f"must be stored as {', '.join(DTYPES)}", f"{foreign[0].name}: {foreign[0].dtype}")

    shapes = expected_tensors(config)
    layers, left_out = _gather(path, stored, shapes)
    misfits = [name for name, layer in layers.items() if not _fits(layer, shapes[name])]
    left_out += [key for name in misfits for key in layers.pop(name).keys]
    if left_out and not (allow_partial and layers):
        rule = f"every key of {path.name} must fit the transformer"
        raise WeightsError(
            rule,
            got=f"a LoRA of another model: {len(left_out)} of {len(stored)} keys do not fit: {first_few(left_out)}",
            cure="Take a LoRA made for Wan2.2-S2V, or allow partial LoRAs to merge only what fits.",
        )
    wanted = [part for layer in layers.values() for part in layer.parts.values()]
    tensors = {each.name: tensor for each, tensor in stream_tensors(sorted(wanted, key=lambda each: each.start))}
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise _refused(path, "must hold finite numbers", first_few(bad))
    default_alpha = alpha if alpha is not None else _metadata_alpha(path)
    changes = {name: _change(path, layer, tensors, default_alpha) for name, layer in layers.items()}
    return Lora(path, file_sha256(path), changes, tuple(left_out))


def _gather(
    path: Path, stored: Sequence[StoredTensor], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, _Layer], list[str]]:
    """Keys by the parameter that they change, and keys of layers that the transformer does not have."""
    owners = {name.rpartition(".")[0] for name in shapes}
    spellings, layers, left_out = layer_names(owners), dict[str, _Layer](), list[str]()
    for each in stored:
        found = split_key(each.name)
        if found is None:
            rule = "must be of the plain kind (factors, alpha, differences)"
            raise _refused(path, rule, f"{each.name[:80]} (DoRA, LoKr and others are not merged)")
        spelt, part = found
        name = f"{spellings.get(spelt)}.{_PARAMETER[part]}"
        if name not in shapes:
            left_out.append(each.name)
            continue
        layer = layers.setdefault(name, _Layer())
        if part in layer.parts:
            raise _refused(path, "must name each layer once", f"{layer.parts[part].name} and {each.name}")
        layer.parts[part] = each
        layer.keys.append(each.name)
    for name, layer in layers.items():
        if ("down" in layer.parts) != ("up" in layer.parts) or layer.parts.keys() == {"alpha"}:
            raise _refused(path, "must have both factors of each layer", f"only {first_few(layer.keys)} for {name}")
    return layers, left_out


def _fits(layer: _Layer, shape: tuple[int, ...]) -> bool:
    for part in ("diff", "diff_bias", "diff_modulation"):
        if part in layer.parts and layer.parts[part].shape != shape:
            return False
    if "down" not in layer.parts:
        return True
    down, up = layer.parts["down"].shape, layer.parts["up"].shape
    same_rank = len(shape) > 1 and len(down) == len(shape) and len(up) in (2, len(shape)) and down[0] == up[1] > 0
    return same_rank and down[1:] == shape[1:] and up[0] == shape[0] and all(size == 1 for size in up[2:])


def _change(
    path: Path, layer: _Layer, tensors: Mapping[str, torch.Tensor], default_alpha: float | None
) -> ParameterChange:
    held = {part: tensors[each.name] for part, each in layer.parts.items()}
    down, scale = held.get("down"), 1.0
    if down is not None:
        rank = down.shape[0]
        if "alpha" in held and held["alpha"].numel() != 1:
            raise _refused(path, "must have one number as alpha", f"{layer.parts['alpha'].name}")
        given = held["alpha"].item() if "alpha" in held else default_alpha
        scale = given / rank if given is not None else 1.0
    diff = next((held[part] for part in ("diff", "diff_bias", "diff_modulation") if part in held), None)
    return ParameterChange(scale, down, held.get("up"), diff)


def _metadata_alpha(path: Path) -> float | None:
    """`lora_alpha` as PEFT's adapter_config.json beside the file, or diffusers' metadata inside it, gives it."""
    beside = path.with_name("adapter_config.json")
    settings: dict[str, Any] = {}
    if path.name == "adapter_model.safetensors" and beside.is_file():
        settings = read_json(beside)
    else:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("lora_adapter_metadata", "{}")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _refused(path, "must have metadata that are JSON", text[:60]) from error
        if isinstance(found, dict):
            settings = {key.removeprefix("transformer."): value for key, value in found.items()}
    for switch in ("use_dora", "use_rslora", "alpha_pattern"):
        if settings.get(switch):
            raise _refused(path, "must be of the plain kind", f"{switch} in its metadata")
    alpha = settings.get("lora_alpha")
    if alpha is None:
        return None
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _refused(path, "must have a number as lora_alpha", repr(alpha)[:60])
    return float(alpha)


def merge_loras(transformer: torch.nn.Module, loras: Sequence[tuple[Lora, float]]) -> MergeReport:
    """Add LoRAs, each with its strength, to the transformer's parameters, where these lie, one at a time.

    The sum is made in float32 and rounded once, whatever the number of LoRAs.

    Raises:
        WeightsError: a strength that is not finite; a parameter that is quantised or has no values yet.
    """
    for lora, strength in loras:
        if not math.isfinite(strength):
            raise WeightsError(f"{lora.path.name}: its strength must be finite", got=str(strength), cure="Try 1.0.")
    parameters = dict(transformer.named_parameters())
    changed = {name: None for lora, _ in loras for name in lora.changes}  # in order, each once
    for name in changed:
        held = parameters.get(name)
        if held is None or held.dtype not in _MERGEABLE or held.is_meta:
            got = "no such parameter" if held is None else f"{held.dtype} on {held.device}"
            cure = "Merge LoRAs after the weights are loaded and before they are quantised or wrapped."
            raise WeightsError(f"{name} must hold plain weights", got=got, cure=cure)
    with torch.no_grad():
        for name in changed:
            weight = parameters[name]
            total = weight.to(torch.float32, copy=True)
            for lora, strength in loras:
                if change := lora.changes.get(name):
                    total += strength * change.delta(weight.shape, weight.device)
            weight.copy_(total)
    notes = tuple(
        f"{lora.path.name} fits in part: {len(lora.changes)} parameters merged, {len(lora.left_out)} keys left out "
        f"({first_few(lora.left_out)})"
        for lora, _ in loras
        if lora.left_out
    )
    for note in notes:
        _logger.warning(note)
    return MergeReport(len(changed), notes)


def _refused(path: Path, rule: str, got: str) -> WeightsError:
    return WeightsError(f"{path.name} {rule}", got=got, cure="Fetch it again, or take another LoRA.")
