"""`s2v config`, and the flags that stand for several settings.

Belongs here: printing settings and the Dagster folder, flags that more than one command has.
Does not belong here: the other commands (cli), what a setting does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from s2v_pipeline.settings import flatten, load_settings

EnhanceFlag = Annotated[
    bool | None, typer.Option("--enhance-quality/--no-enhance-quality", help="The generator's own set of `enhance`.")
]
StreamingFlag = Annotated[
    bool | None,
    typer.Option("--optimize-streaming/--no-optimize-streaming", help="HLS and DASH in several sizes beside the file."),
]

config_app = typer.Typer(no_args_is_help=True, help="Settings and where they come from.")


@config_app.command("show")
def config_show() -> None:
    """Print every setting, its value and the layer that it came from."""
    resolved = load_settings(project_dir=Path.cwd(), environment=os.environ)
    for name, value in flatten(resolved.settings.model_dump(mode="json")):
        print(f"{name:32} {value!s:24} {resolved.origins.get(name, 'default')}")


@config_app.command("home")
def config_home() -> None:
    """Print the folder of the Dagster instance, for DAGSTER_HOME; made and configured when it is not there."""
    from s2v_pipeline.artifacts import disk_errors
    from s2v_pipeline.defs.instance import dagster_home

    home = load_settings(project_dir=Path.cwd(), environment=os.environ).settings.paths.dagster_home
    with disk_errors(home):
        print(dagster_home(home))
