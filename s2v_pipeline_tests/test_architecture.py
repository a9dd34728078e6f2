"""The shape of the package, proved from its syntax trees: who may import whom, what a bare import loads, house rules.

Modules are found by looking, never listed: a new one is tested the day it appears, and one that no row of the table
covers fails. A row of the table that covers nothing fails too.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from s2v_pipeline.setting_groups import Settings

PACKAGE = "s2v_pipeline"
ROOT = Path(__file__).parent.parent
_MODULE_TEXT = re.compile(rf"{PACKAGE}(\.\w+)+(:\w+)?")
VERSION = f"{PACKAGE}.__version__"  # a plain string; anyone may name it in what they write
BASE = (
    *("errors", "timebase", "media", "artifacts", "credential_settings", "setting_groups", "settings"),
    "video_settings",
    "gate_settings",
    "cache_settings",
    "temporaries",
    "enhance_settings",
)

# What crosses the border between generators and the rest.
GENERATOR_VALUES = (
    *("generation.protocol", "generation.profile", "generation.spec", "generation.ranks"),
    "generation.framed_portrait",
    "generation.gpu_needs",
)

# Row: what a module, or all modules of a folder, may import besides itself. The longest name that fits a module is its
# row, so a line for a single module is an exception from its folder's line.
ARROWS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "timebase": (),
    "media": ("timebase",),
    "temporaries": (),
    "process_marks": (),
    "artifacts": ("errors", "temporaries"),
    "setting_values": (),
    "video_settings": ("setting_values",),
    "credential_settings": ("setting_values",),
    "gate_settings": ("setting_values",),
    "cache_settings": ("setting_values",),
    "enhance_settings": ("setting_values",),
    "setting_groups": (
        *("setting_values", "video_settings", "credential_settings", "gate_settings", "cache_settings"),
        "enhance_settings",
    ),
    "settings": ("errors", "setting_groups"),
    "packaged": BASE,
    "progress_bars": BASE,
    "served_files": (),
    "fileserver": (*BASE, "served_files"),
    "machine": (),
    "installed": (),
    "findings": (),
    "doctor_wan": (*BASE, "machine", "installed", "findings"),
    "doctor_ctc": (*BASE, "findings", "alignment.ctc"),
    "doctor_credentials": (*BASE, "installed", "findings", "video.certificate"),
    "doctor": (
        *(*BASE, "machine", "installed", "faces", "findings", "doctor_wan", "doctor_ctc", "doctor_credentials"),
    ),
    # The stages, along the flow.
    "faces": BASE,
    "inputs": (*BASE, "faces"),
    "audio": (*BASE, "inputs"),
    "alignment": (*BASE, "audio"),
    "chunks": (*BASE, "inputs", "audio", "alignment"),
    "generation": (*BASE, "chunks", "faces", "alignment.phonemes"),
    "generation.protocol": (*BASE, "chunks"),
    "generation.profile": (*BASE, "chunks"),
    "generation.spec": BASE,
    "generation.ranks": BASE,
    "generation.gpu_needs": (*BASE, "chunks"),
    "generation.framed_portrait": (*BASE, "chunks"),
    "generation.portrait": (*BASE, "chunks", "faces", "alignment.phonemes", *GENERATOR_VALUES),
    "generation.wan_s2v": (*BASE, "chunks", "inputs.picture_size", *GENERATOR_VALUES),
    "clips": (*BASE, "chunks", "generation.protocol", "generation.registry"),
    # The delivered video is put together from what the chunks' manifest lists.
    # Its measures hold the picture against the phones.
    "video": (*BASE, "chunks.manifest", "clips", "audio", "inputs", "faces", "alignment.phonemes"),
    "gpus": (),
    "metrics": ("gpus",),
    "cache": BASE,
    "cluster": (*BASE, "chunks", "generation", "clips", "cache", "gpus", "process_marks"),
    # The wiring, and the ways in.
    "defs": (
        *(*BASE, "packaged", "progress_bars", "fileserver", "faces", "inputs", "audio", "alignment", "chunks"),
        *("generation", "clips", "video", "cluster", "cache", "metrics", "gpus"),
    ),
    "definitions": ("defs",),
    "api": (*BASE, "inputs", "defs"),
    "dagster_processes": (*BASE, "packaged", "process_marks"),
    "up": (*BASE, "machine", "packaged", "fileserver", "cluster.shared_ray", "dagster_processes", "defs"),
    "cluster_cli": (*BASE, "cluster", "defs"),
    "weights_cli": (*BASE, "generation.wan_s2v"),
    "verify_cli": (*BASE, "video"),
    "cache_cli": (*BASE, "cache", "defs"),
    "config_cli": (*BASE, "defs"),
    "cli": (
        *(*BASE, "packaged", "progress_bars", "inputs", "defs", "api", "up", "doctor"),
        *("weights_cli", "verify_cli", "cache_cli", "cluster_cli", "config_cli"),
    ),
    "": ("api", "errors"),  # the package's own __init__: its lazy public names
}

# Third party: who may import it, wherever the import stands.
RESERVED: dict[str, tuple[str, ...]] = {
    "ray": ("cluster",),
    "dagster": ("defs", "definitions", "cli", "api"),
    "torch": ("generation.wan_s2v", "alignment.ctc"),
    "diffusers": ("generation.wan_s2v", "alignment.ctc"),
    "transformers": ("generation.wan_s2v", "alignment.ctc"),
}

# What importing a module must not load, in a process that has loaded nothing.
HEAVY = {
    "s2v_pipeline": ("torch", "ray", "cv2", "dagster", "numpy", "pandas"),
    "s2v_pipeline.definitions": ("torch", "diffusers", "transformers", "ray"),
    "s2v_pipeline.generation.portrait.generator": ("torch", "diffusers", "transformers", "ray", "dagster"),
    "s2v_pipeline.generation.wan_s2v.profile": ("torch", "diffusers", "transformers"),
    "s2v_pipeline.alignment.choose": ("torch", "transformers", "ray", "dagster"),
    "s2v_pipeline.alignment.ctc_aligner": ("torch", "transformers", "ray", "dagster"),
    "s2v_pipeline.cli": ("torch", "ray", "dagster"),
}

# The one file that may have more: what diffusers' readers expect of a model.
MODEL_FILE = "s2v_pipeline/generation/wan_s2v/transformer.py"

FORBIDDEN_NAMES = ("utils", "util", "helpers", "helper", "common", "core", "misc")
LINES, MOST_LINES = 300, 500
# Files over 300 lines: why they are one file. None may have more than 500.
LONG_FILES: dict[str, str] = {
    "s2v_pipeline/inputs/speech.py": "one state follows one decode; apart, its refusals would lose sight of it",
    "s2v_pipeline/inputs/scan.py": "one pass over the watched folder, with every reason to wait or to refuse",
}


@dataclass(frozen=True)
class Module:
    name: str  # within the package: "chunks.plan"; "" is the package itself
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def relative_path(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cache  # noqa: B019 (modules live as long as the tests)
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"))


def _find_modules() -> dict[str, Module]:
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = Module(name, path)
    return found


MODULES = _find_modules()
FILES = sorted(path for folder in (PACKAGE, f"{PACKAGE}_tests") for path in (ROOT / folder).rglob("*.py"))
EVERY_MODULE = pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name or PACKAGE)


def _lies_in(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _row(name: str) -> str | None:
    """The longest key of the table that a module lies in; the package itself has a row of its own."""
    rows = [row for row in ARROWS if (_lies_in(name, row) if row else not name)]
    return max(rows, key=len, default=None)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of every import, wherever it stands, and of every module named in a string.

    `from a.b import c` gives a.b.c, which may be a module or a name in one. Strings count because lazy imports
    (importlib.import_module, a registry's table) spell modules so.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _names_a_module(node.value):
            yield node.lineno, node.value.replace(":", ".")


def _names_a_module(text: str) -> bool:
    return bool(_MODULE_TEXT.fullmatch(text)) and re.split(r"[.:]", text)[1] in MODULES


def _own_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module within the package) of the imports that stay in the package."""
    for line, dotted in _imports(tree):
        if _lies_in(dotted, PACKAGE) and dotted != VERSION:
            name = dotted.removeprefix(PACKAGE).removeprefix(".")
            while name not in MODULES:
                name = name.rpartition(".")[0]  # a class or function: the module that holds it
            yield line, name


def _wrong_arrows(module: Module, tree: ast.Module) -> list[str]:
    row = _row(module.name)
    assert row is not None, f"{module.relative_path} has no row in ARROWS: say what it may import"
    allowed = (*ARROWS[row], row or PACKAGE)
    return [
        f"{module.relative_path}:{line} imports {imported or PACKAGE}"
        for line, imported in _own_imports(tree)
        if not any(_lies_in(imported, place) for place in allowed)
    ]


def _wrong_reserved(module: Module, tree: ast.Module) -> list[str]:
    wrong = []
    for line, dotted in _imports(tree):
        top = dotted.partition(".")[0]
        for name, places in RESERVED.items():
            # dagster_graphql, torchaudio and the like count as what they belong to.
            if top.startswith(name) and not any(_lies_in(module.name, place) for place in places):
                wrong.append(f"{module.relative_path}:{line} imports {dotted}, which only {', '.join(places)} may")
    return wrong


@EVERY_MODULE
def test_imports_follow_the_arrows(module: Module) -> None:
    assert _wrong_arrows(module, module.tree()) == []


@EVERY_MODULE
def test_heavy_libraries_stay_in_their_rooms(module: Module) -> None:
    assert _wrong_reserved(module, module.tree()) == []


@pytest.mark.parametrize("row", [row for row in ARROWS if row])
def test_every_row_covers_a_module(row: str) -> None:
    assert any(_lies_in(name, row) and not module.is_package for name, module in MODULES.items())


@pytest.mark.parametrize("row", ARROWS)
def test_every_place_that_a_row_names_exists(row: str) -> None:
    assert [place for place in ARROWS[row] if place not in MODULES] == []


def test_the_table_has_no_circle() -> None:
    stages = {row.partition(".")[0]: set() for row in ARROWS}
    for row, places in ARROWS.items():
        stages[row.partition(".")[0]] |= {place.partition(".")[0] for place in places} - {row.partition(".")[0]}
    while stages:
        leaves = {name for name, needs in stages.items() if not needs & stages.keys()}
        assert leaves, f"these import each other: {sorted(stages)}"
        stages = {name: needs for name, needs in stages.items() if name not in leaves}


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("audio.x", "from s2v_pipeline.chunks import plan", True),
        ("audio.x", "from s2v_pipeline.chunks.plan import ChunkPlan", True),
        ("audio.x", "import s2v_pipeline.video.probe as p", True),
        ("audio.x", "def f():\n    from s2v_pipeline.alignment import phonemes", True),
        ("audio.x", "import importlib\nimportlib.import_module('s2v_pipeline.defs.build')", True),
        ("audio.x", "HOME = 's2v_pipeline.clips.encode:encode_clip'", True),
        ("audio.x", "from s2v_pipeline import SpeechToVideo", True),
        ("audio.x", "LOGGER = 's2v_pipeline.progress'", False),
        ("audio.x", "from s2v_pipeline import __version__", False),
        ("audio.x", "from s2v_pipeline.errors import AudioError", False),
        ("audio.x", "from s2v_pipeline import artifacts", False),
        ("audio.x", "from s2v_pipeline.inputs.source import InputSource", False),
        ("errors", "from s2v_pipeline.timebase import FrameSpan", True),
        ("cluster.x", "import s2v_pipeline.defs.build", True),
        ("generation.protocol", "from s2v_pipeline.generation.portrait import lips", True),
        ("generation.portrait.x", "from s2v_pipeline.alignment.aligner import Aligner", True),
        ("generation.portrait.x", "from s2v_pipeline.alignment.phonemes import SILENCE", False),
    ],
)
def test_the_arrow_test_itself_tells_wrong_from_right(name: str, source: str, wrong: bool) -> None:
    module = Module(name, ROOT / PACKAGE / "imagined.py")
    assert bool(_wrong_arrows(module, ast.parse(source))) is wrong


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("chunks.x", "def f():\n    import ray", True),
        ("chunks.x", "from dagster_graphql import client", True),
        ("chunks.x", "if TYPE_CHECKING:\n    from torch import Tensor", True),
        ("generation.portrait.x", "import torchaudio", True),
        ("cluster.ray_executor", "import ray", False),
        ("defs.assets", "import dagster as dg", False),
        ("alignment.ctc", "import torch", False),
        ("alignment.ctc_search", "def f():\n    import torch", True),
        ("generation.wan_s2v.vae", "from torch import nn", False),
    ],
)
def test_the_reservation_test_itself_tells_wrong_from_right(name: str, source: str, wrong: bool) -> None:
    module = Module(name, ROOT / PACKAGE / "imagined.py")
    assert bool(_wrong_reserved(module, ast.parse(source))) is wrong


@pytest.mark.parametrize("module", HEAVY)
def test_a_bare_import_stays_light(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert module.partition(".")[0] in loaded
    assert loaded & set(HEAVY[module]) == set()


@EVERY_MODULE
def test_docstrings_say_what_belongs_in_a_module(module: Module) -> None:
    docstring = ast.get_docstring(module.tree())
    assert docstring, f"{module.relative_path} has no docstring"
    if not module.is_package:
        assert "Belongs here:" in docstring, module.relative_path
        assert "Does not belong here:" in docstring or "nothing but" in docstring, module.relative_path


@EVERY_MODULE
def test_package_files_hold_their_docstring_and_nothing_else(module: Module) -> None:
    if module.is_package and module.name:
        assert len(module.tree().body) == 1


@EVERY_MODULE
def test_names_say_what_a_module_is(module: Module) -> None:
    assert not set(module.name.split(".")) & set(FORBIDDEN_NAMES)


@EVERY_MODULE
def test_constructors_take_no_unnamed_keywords(module: Module) -> None:
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            assert node.args.kwarg is None, f"{module.relative_path}:{node.lineno} hides its arguments in **"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_stay_short(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= MOST_LINES or name == MODEL_FILE
    if name.startswith(f"{PACKAGE}/") and name != MODEL_FILE:
        assert n_lines <= LINES or name in LONG_FILES, f"{n_lines} lines: split it, or say in LONG_FILES why not"


@pytest.mark.parametrize("name", LONG_FILES)
def test_the_list_of_long_files_is_not_stale(name: str) -> None:
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) > LINES


def _fields(group: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """(dotted name, description) of every setting; a group is described by its docstring."""
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name}", field.annotation.__doc__
            yield from _fields(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.description


SETTINGS = tuple(_fields(Settings))


@pytest.mark.parametrize(("name", "description"), SETTINGS, ids=[name for name, _ in SETTINGS])
def test_every_setting_is_described(name: str, description: str | None) -> None:
    assert description, name
