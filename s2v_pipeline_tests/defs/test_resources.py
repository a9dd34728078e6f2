"""What a run's resources do at its end: temporary files of killed workers are gone, whatever became of the run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dagster as dg
import pytest

from s2v_pipeline.cluster.executor import ChunkExecutor
from s2v_pipeline.defs.resources import ExecutorResource, PipelineResource
from s2v_pipeline.temporaries import temporary_prefix


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_ends_without_the_files_of_killed_workers(project_dir: Path, fails: bool) -> None:
    settings = project_dir / "s2v.toml"
    settings.write_text(settings.read_text().replace("[cluster]", '[cluster]\nexecutor = "in_process"'))
    pipeline = PipelineResource(project_dir=str(project_dir))

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["anna"]))
    def clips(executor: dg.ResourceParam[ChunkExecutor]) -> None:
        folder = pipeline.store().root / "rendered_clips" / "anna"
        folder.mkdir(parents=True)
        worker = subprocess.Popen(["true"])
        worker.wait()
        _, _, started_at, _ = temporary_prefix().split("-")
        host = temporary_prefix().split("-")[0]
        (folder / f"{host}-{worker.pid}-{started_at}-left.mp4").write_bytes(b"half")
        (folder / "whole.mp4").write_bytes(b"whole")
        if fails:
            raise RuntimeError("as it does now and then")

    resources = {"pipeline": pipeline, "executor": ExecutorResource(pipeline=pipeline)}
    result = dg.materialize([clips], partition_key="anna", resources=resources, raise_on_error=False)
    assert result.success is not fails
    assert [path.name for path in (pipeline.store().root / "rendered_clips" / "anna").iterdir()] == ["whole.mp4"]
