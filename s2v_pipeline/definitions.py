"""The Dagster entry point: `defs` is what `dagster dev`, `dg` and workspace.yaml load.

Belongs here: nothing but the call that builds the definitions.
"""

from __future__ import annotations

from s2v_pipeline.defs.build import build_definitions

defs = build_definitions()
