"""What the code location offers, and that every tool finds the same one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import dagster as dg
import yaml

from s2v_pipeline.defs.build import build_definitions
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline_tests.conftest import REPOSITORY

ASSETS = ["audio_features", "chunk_latents", "final_videos", "phoneme_alignments", "rendered_clips", "speech_inputs"]


def test_definitions_load(tmp_path: Path) -> None:
    defs = build_definitions(pipeline=PipelineResource(project_dir=str(tmp_path)))
    dg.Definitions.validate_loadable(defs)
    assert sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()) == ASSETS


def test_every_asset_says_what_it_is(tmp_path: Path) -> None:
    defs = build_definitions(pipeline=PipelineResource(project_dir=str(tmp_path)))
    for spec in defs.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.group_name != "default", spec.key
        assert spec.code_version, spec.key
        assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition), spec.key


def test_dagster_and_dg_name_the_same_code_location() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())
    module = workspace["load_from"][0]["python_module"]
    assert module["location_name"] == project["code_location_name"]
    assert module["module_name"] == project["code_location_target_module"]
