"""Which generators there are; each is imported only when somebody asks for it.

Belongs here: their names, how one is made from a small value that can be sent to a worker, how much context one needs.
Does not belong here: any import of an implementation at the top of this file; what generators do (protocol).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.generation.protocol import Generator


@dataclass(frozen=True)
class GeneratorSpec:
    """What a worker needs to make a generator; picklable.

    Attributes:
        name: of a registered generator.
        face_model_path: another copy of face_landmarker.task; None takes the packaged one.
    """

    name: str
    face_model_path: Path | None = None


@dataclass(frozen=True)
class _Entry:
    """Modules of one generator.

    Attributes:
        factory_module: has `make_generator(face_model_path)`.
        context_module: has `CONTEXT_S`.
        prompt_module: has `style_from_prompt(prompt)`, whose value has `understood`.
    """

    factory_module: str
    context_module: str
    prompt_module: str


_GENERATORS: Mapping[str, _Entry] = {
    "portrait": _Entry(
        factory_module="s2v_pipeline.generation.portrait.generator",
        context_module="s2v_pipeline.generation.portrait.motion",
        prompt_module="s2v_pipeline.generation.portrait.style",
    ),
}

# One generator a process for each spec: loading the face model takes longer than a chunk's first frames. Generators
# keep no state of a request, so that sharing one changes no result.
_loaded: dict[GeneratorSpec, Generator] = {}
_loading = threading.Lock()


def generator_names() -> tuple[str, ...]:
    """Names of all registered generators, sorted."""
    return tuple(sorted(_GENERATORS))


def load_generator(spec: GeneratorSpec) -> Generator:
    """The generator of a spec; the same one for equal specs in a process.

    Raises:
        SettingsError: no generator has this name.
        ArtifactError: its model file is missing or damaged.
    """
    entry = _entry(spec.name)
    with _loading:
        if spec not in _loaded:
            generator = importlib.import_module(entry.factory_module).make_generator(spec.face_model_path)
            if not isinstance(generator, Generator):
                raise TypeError(f"{entry.factory_module} must make a Generator; made {type(generator).__name__}")
            _loaded[spec] = generator
        return _loaded[spec]


def import_generator(name: str) -> None:
    """Import a generator's code and what it needs, without loading a model.

    Raises:
        SettingsError: no generator has this name.
    """
    importlib.import_module(_entry(name).factory_module)


def generator_context_s(name: str) -> float:
    """Seconds of phonemes and features that a generator looks at before and after its frames.

    Raises:
        SettingsError: no generator has this name.
    """
    return float(importlib.import_module(_entry(name).context_module).CONTEXT_S)


def words_understood(name: str, prompt: str) -> tuple[str, ...]:
    """Words of a prompt that a generator acts on; the others change nothing.

    Raises:
        SettingsError: no generator has this name.
    """
    style = importlib.import_module(_entry(name).prompt_module).style_from_prompt(prompt)
    understood: tuple[str, ...] = style.understood
    return understood


def _entry(name: str) -> _Entry:
    entry = _GENERATORS.get(name)
    if entry is None:
        raise SettingsError(
            f"generation.generator must be one of {', '.join(generator_names())}",
            got=repr(name),
            cure="Set generation.generator in s2v.toml, or S2V_GENERATION__GENERATOR.",
        )
    return entry
