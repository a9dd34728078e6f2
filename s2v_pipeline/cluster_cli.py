"""The command line's `s2v cluster status | down`.

Belongs here: flags, tables. Does not belong here: the work (cluster).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

cluster_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="The Ray that runs share, and its warm workers."
)
_KEY_LETTERS = 12


@cluster_app.command()
def status() -> None:
    """Show where it is, what it has, and which models are loaded."""
    from s2v_pipeline.cluster.cluster_status import cluster_status
    from s2v_pipeline.defs.resources import PipelineResource

    pipeline = PipelineResource(project_dir=str(Path.cwd()))
    settings = pipeline.settings().cluster
    found = cluster_status(settings, pipeline.shared_ray_folder())
    if found is None:
        print("not up: " + ("the next run starts it" if settings.address else "each run has a Ray of its own"))
        return
    print(f"address    {found.address}")
    print(f"nodes      {found.n_nodes}, {found.n_cpus} CPUs")
    print(f"GPUs       {found.n_gpus}, {found.n_gpus_free} free")
    if found.n_runs is not None:
        print(f"runs       {found.n_runs}")
    if found.dashboard_url:
        print(f"dashboard  http://{found.dashboard_url}")
    for worker in found.workers:
        doing = f"{'busy' if worker.is_busy else 'idle'} for {worker.seconds_s:.0f} s, {worker.n_waiting} waiting"
        print(f"worker     {worker.label} {worker.key[:_KEY_LETTERS]} on {worker.n_gpus} GPUs, {doing}")
    if not found.workers:
        print("worker     none is warm")


@cluster_app.command()
def down(
    workers: Annotated[bool, typer.Option("--workers", help="Only its warm workers; Ray stays.")] = False,
) -> None:
    """End the shared Ray with all its processes; of a cluster by address, the warm workers alone."""
    from s2v_pipeline.cluster.cluster_status import end_workers
    from s2v_pipeline.cluster.shared_ray import SHARED, SharedRay
    from s2v_pipeline.defs.resources import PipelineResource

    pipeline = PipelineResource(project_dir=str(Path.cwd()))
    settings, folder = pipeline.settings().cluster, pipeline.shared_ray_folder()
    if workers or settings.address not in (None, SHARED):
        print(f"ended {end_workers(settings, folder)} processes of warm workers")
    if not workers:
        print("ended the shared Ray" if SharedRay(folder).down() else "no shared Ray was up")
