"""Resources: what turns Dagster's configuration into plain objects that the stages take.

Belongs here: settings, store and catalogue of this project folder; the executor that makes chunks.
Does not belong here: what any of them does.
"""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.cluster.executor import ChunkExecutor, make_executor
from s2v_pipeline.cluster.tasks import WarmUp
from s2v_pipeline.defs.instance import mark_process
from s2v_pipeline.errors import ArtifactError
from s2v_pipeline.inputs.catalogue import InputCatalogue
from s2v_pipeline.inputs.source import InputSource
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.settings import ResolvedSettings, load_settings

_log = logging.getLogger(__name__)

PARTITION_TAG = "dagster/partition"
CATALOGUE_FOLDER = "catalogue"


class PipelineResource(dg.ConfigurableResource["PipelineResource"]):
    """Settings, artifact store and input catalogue of one project folder.

    Attributes:
        project_dir: folder of s2v.toml; relative paths in the settings start here. Empty means the working folder.
    """

    project_dir: str = ""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """A run says which process executes it, whoever started it; sensors, which have no run, say nothing."""
        if context.run is not None and context.instance is not None:
            mark_process(context.instance, context.run.run_id)

    def folder(self) -> Path:
        """The project folder."""
        return Path(self.project_dir) if self.project_dir else Path.cwd()

    def settings(self) -> Settings:
        """Settings of the machine: everything but inputs' own and flags."""
        return load_settings(project_dir=self.folder(), environment=os.environ).settings

    def settings_for(self, source: InputSource) -> ResolvedSettings:
        """Settings of one input: its own settings.toml, or the flags that it was given with, win."""
        own = {"flags" if source.origin == "command" else "input_layer": source.settings}
        return load_settings(project_dir=self.folder(), environment=os.environ, **own)

    def store(self) -> ArtifactStore:
        """The artifact store."""
        return ArtifactStore(self.folder() / self.settings().paths.artifacts)

    def catalogue(self) -> InputCatalogue:
        """The record of which partition means which files."""
        return InputCatalogue(self.folder() / self.settings().paths.artifacts / CATALOGUE_FOLDER)

    def shared_ray_folder(self) -> Path:
        """Where the files of a Ray that the project's runs share lie; this machine's own, as Dagster's instance is."""
        return self.folder() / self.settings().paths.dagster_home / "ray"

    def inputs_folder(self) -> Path:
        """The watched folder."""
        return self.folder() / self.settings().paths.inputs


class ExecutorResource(dg.ConfigurableResource[ChunkExecutor]):
    """The executor of the settings; starts when the run starts, so that Ray comes up while audio is analysed."""

    pipeline: dg.ResourceDependency[PipelineResource]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[ChunkExecutor, None, None]:
        """Started executor; freed when the run ends, however it ends, with what its killed workers left on the disk."""
        settings = self.pipeline.settings()
        executor = make_executor(
            settings.cluster, WarmUp(settings.generation.generator), self.pipeline.shared_ray_folder().absolute()
        )
        executor.start()
        try:
            yield executor
        finally:
            executor.stop()
            _clear_up(context, self.pipeline.store())


def _clear_up(context: dg.InitResourceContext, store: ArtifactStore) -> None:
    """Remove temporary files of dead processes; the disk may be what made the run fail, so that it only says so."""
    input_id = None if context.run is None else context.run.tags.get(PARTITION_TAG)
    if input_id is None:
        return
    try:
        removed = store.remove_left_over(input_id)
    except (ArtifactError, OSError) as error:
        _log.warning("temporary files of %s stay until its next run: %s", input_id, error)
    else:
        if removed:
            _log.info("removed %d temporary files that killed processes left", len(removed))
