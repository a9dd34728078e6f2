"""Which generators there are; each is imported only when somebody asks for it.

Belongs here: their names, how one is made from a small value that can be sent to a worker, what is known of
one without loading it.
Does not belong here: any import of an implementation at the top of this file; what generators do (protocol).
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.generation.profile import GeneratorProfile
from s2v_pipeline.generation.protocol import Generator
from s2v_pipeline.generation.ranks import Rank
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.setting_groups import Settings


@dataclass(frozen=True)
class _Entry:
    """Modules of one generator.

    Attributes:
        factory_module: has `make_generator(spec)`, which is cheap: weights are loaded when the first chunk needs them;
            where several GPUs can make one chunk, also `join_ranks(rank)`.
        profile_module: is a `GeneratorProfile`.
    """

    factory_module: str
    profile_module: str


_GENERATORS: Mapping[str, _Entry] = {
    "portrait": _Entry(
        factory_module="s2v_pipeline.generation.portrait.generator",
        profile_module="s2v_pipeline.generation.portrait.profile",
    ),
    "wan_s2v": _Entry(
        factory_module="s2v_pipeline.generation.wan_s2v.generator",
        profile_module="s2v_pipeline.generation.wan_s2v.profile",
    ),
}

# One generator a process for each spec: loading the face model takes longer than a chunk's first frames. Generators
# keep no state of a request, so that sharing one changes no result. Of those that one worker loads alone, only the
# latest is kept: two would not fit.
_loaded: dict[GeneratorSpec, Generator] = {}
_loading = threading.Lock()


def generator_names() -> tuple[str, ...]:
    """Names of all registered generators, sorted."""
    return tuple(sorted(_GENERATORS))


def spec_of(settings: Settings) -> GeneratorSpec:
    """The generator that the settings name, with those of them that it looks at."""
    name = settings.generation.generator
    return (
        GeneratorSpec(name, wan=settings.wan) if name == "wan_s2v" else GeneratorSpec(name, settings.paths.face_model)
    )


def generator_profile(name: str) -> GeneratorProfile:
    """What is known of a generator without loading it.

    Raises:
        SettingsError: no generator has this name.
    """
    profile: GeneratorProfile = importlib.import_module(_entry(name).profile_module)
    return profile


def check_generator(settings: Settings) -> None:
    """See that the generator of the settings can run here and make what they ask for, before any work is done.

    Raises:
        SettingsError: it is not there, is not installed, or cannot make such a video.
    """
    _check_installed(settings.generation.generator)
    generator_profile(settings.generation.generator).check_video(settings)


def load_generator(spec: GeneratorSpec) -> Generator:
    """The generator of a spec; the same one for equal specs in a process.

    Raises:
        SettingsError: no generator has this name, or what it needs is not installed.
        ArtifactError, WeightsError: its model files are missing or damaged.
    """
    entry = _entry(spec.name)
    with _loading:
        if spec not in _loaded:
            _check_installed(spec.name)
            if generator_profile(spec.name).ONE_WORKER:
                for other in [each for each in _loaded if each.name == spec.name]:
                    del _loaded[other]
            generator = importlib.import_module(entry.factory_module).make_generator(spec)
            if not isinstance(generator, Generator):
                raise TypeError(f"{entry.factory_module} must make a Generator; made {type(generator).__name__}")
            _loaded[spec] = generator
        return _loaded[spec]


def import_generator(name: str) -> None:
    """Import a generator's code and what it needs, without loading a model.

    Raises:
        SettingsError: no generator has this name, or what it needs is not installed.
    """
    _check_installed(name)
    importlib.import_module(_entry(name).factory_module)


def join_ranks(name: str, rank: Rank) -> None:
    """Make this process one of those that make chunks together; returns when all have joined.

    Raises:
        SettingsError: no generator has this name, what it needs is not installed, or it works on one GPU alone.
        ClusterError: the others did not come in time.
    """
    _check_installed(name)
    module = importlib.import_module(_entry(name).factory_module)
    if not hasattr(module, "join_ranks"):
        raise SettingsError(
            f"the generator {name} makes a chunk in one process",
            got=f"{rank.n_ranks} processes",
            cure="Leave cluster.gpus_per_video out.",
        )
    module.join_ranks(rank)


def _check_installed(name: str) -> None:
    missing = [package for package in generator_profile(name).PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SettingsError(
            f"the generator {name} needs what the extra 'wan' installs",
            got=f"no {', '.join(missing)}",
            cure="pip install 's2v_pipeline[wan]'",
        )


def _entry(name: str) -> _Entry:
    entry = _GENERATORS.get(name)
    if entry is None:
        raise SettingsError(
            f"generation.generator must be one of {', '.join(generator_names())}",
            got=repr(name),
            cure="Set generation.generator in s2v.toml, or S2V_GENERATION__GENERATOR.",
        )
    return entry
