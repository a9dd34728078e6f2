"""The one I/O manager: an asset's value is a file in the artifact store.

Belongs here: translating Dagster's contexts into (asset, input, part). Does not belong here: file formats (values).
"""

import dagster as dg

from s2v_pipeline import __version__
from s2v_pipeline.artifacts import ArtifactStore, content_key
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.values import MANIFEST_PART, TABLE_PART, AssetValue, read_value, value_part, write_value
from s2v_pipeline.errors import ArtifactError


class StoreIOManager(dg.ConfigurableIOManager):
    """Writes and reads asset values, one folder a partition."""

    pipeline: dg.ResourceDependency[PipelineResource]

    def handle_output(self, context: dg.OutputContext, obj: AssetValue) -> None:
        """Store a value with a provenance record that names the run and the values it was made from."""
        store = self.pipeline.store()
        asset, input_id, part = context.asset_key.path[-1], context.partition_key, value_part(obj)
        sources = {"run": context.run_id}
        path = store.write(
            asset,
            input_id,
            part,
            lambda temporary: write_value(temporary, obj),
            key=content_key({"asset": asset, "run": context.run_id}),
            made_by=f"s2v_pipeline {__version__}",
            sources=sources,
        )
        context.add_output_metadata({"stored_at": dg.MetadataValue.path(str(path))})

    def load_input(self, context: dg.InputContext) -> AssetValue:
        """Read a value whose bytes were checked against its record."""
        return load_value(self.pipeline.store(), context.asset_key.path[-1], context.partition_key)


def load_value(store: ArtifactStore, asset: str, input_id: str) -> AssetValue:
    """An asset's value for one input.

    Raises:
        ArtifactError: it was never made, or its file changed since.
    """
    for part in (TABLE_PART, MANIFEST_PART):
        if store.path(asset, input_id, part).exists():
            return read_value(store.read_path(asset, input_id, part))
    raise ArtifactError(
        f"{asset} must have been materialised for partition {input_id!r}",
        got=f"no file in {store.path(asset, input_id, MANIFEST_PART).parent.name!r}",
        cure=f"Materialise {asset} for it, or run the job make_video.",
    )
