"""The command line: `s2v demo | generate | inputs | up | verify | cache | cluster | doctor | config`.

Belongs here: flags, progress bars, what is printed. Does not belong here: any work (defs.launch, api, up, doctor).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2v_pipeline.cache_cli import cache_app
from s2v_pipeline.cluster_cli import cluster_app
from s2v_pipeline.config_cli import EnhanceFlag, StreamingFlag, config_app
from s2v_pipeline.errors import S2VError
from s2v_pipeline.setting_groups import Quality
from s2v_pipeline.settings import load_settings
from s2v_pipeline.verify_cli import verify
from s2v_pipeline.video_settings import CODECS_OF
from s2v_pipeline.weights_cli import weights_app

if TYPE_CHECKING:
    from s2v_pipeline.defs.launch import Project, RunOutcome
    from s2v_pipeline.inputs.source import InputSource
    from s2v_pipeline.setting_groups import Settings

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130  # the shell's convention: 128 + SIGINT
SAMPLE_NAME = "astronaut"

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Portrait and speech in, talking video out."
)
inputs_app = typer.Typer(no_args_is_help=True, help="Register inputs; each is a Dagster partition.")
app.add_typer(inputs_app, name="inputs")
app.add_typer(config_app, name="config")
app.add_typer(weights_app, name="weights")
app.add_typer(cache_app, name="cache")
app.add_typer(cluster_app, name="cluster")
app.command()(verify)


@app.command()
def demo(enhance_quality: EnhanceFlag = None, optimize_streaming: StreamingFlag = None) -> None:
    """Make a video from the sample that comes with the package."""
    from s2v_pipeline.api import flag_layer
    from s2v_pipeline.inputs.scan import scan_inputs
    from s2v_pipeline.packaged import packaged_path

    samples = scan_inputs(packaged_path("samples"), settle_s=0, now_s=time.time())
    source = next(source for source in samples.ready if source.input_id == SAMPLE_NAME)
    flags = flag_layer(enhance_quality=enhance_quality, optimize_streaming=optimize_streaming)
    _generate(replace(source, origin="command", settings=flags or source.settings), output=None, way_in="s2v demo")


@app.command()
def generate(
    image: Annotated[Path, typer.Option(help="Portrait: PNG, JPEG, WebP, BMP, TIFF, GIF.")],
    audio: Annotated[Path, typer.Option(help="Speech: anything FFmpeg decodes, a video's sound track too.")],
    prompt: Annotated[str, typer.Option(help="Style in plain words: calm, energetic, smiling, serious ...")] = "",
    transcript: Annotated[
        Path | None, typer.Option(help="Text file with what is said; recognised from the sound when absent.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where a copy of the video goes; its captions beside it, .srt and .vtt.")
    ] = None,
    quality: Annotated[Quality | None, typer.Option(help="Preset of size and encoding.")] = None,
    width: Annotated[int | None, typer.Option(help="Width in pixels, even.")] = None,
    height: Annotated[int | None, typer.Option(help="Height in pixels, even.")] = None,
    fps: Annotated[str | None, typer.Option(help="Frames a second, such as 25 or 30000/1001.")] = None,
    generator: Annotated[str | None, typer.Option(help="Name of a registered generator.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the input.")] = None,
    enhance_quality: EnhanceFlag = None,
    optimize_streaming: StreamingFlag = None,
    name: Annotated[str | None, typer.Option(help="What the input is called in Dagster.")] = None,
) -> None:
    """Make one video. The same command goes on where it was interrupted."""
    from s2v_pipeline.api import command_source, flag_layer
    from s2v_pipeline.inputs.source import MAX_TRANSCRIPT_BYTES, read_text

    for path in (image, audio, transcript):
        if path is not None and not path.is_file():
            raise typer.BadParameter(f"no file {path}")
    _check_output(output)
    source = command_source(
        image,
        audio,
        prompt=prompt,
        transcript=read_text(transcript, max_bytes=MAX_TRANSCRIPT_BYTES) if transcript else None,
        settings=flag_layer(
            quality=quality,
            width=width,
            height=height,
            fps=fps,
            generator=generator,
            seed=seed,
            enhance_quality=enhance_quality,
            optimize_streaming=optimize_streaming,
        ),
        name=name,
    )
    _generate(source, output=output, way_in="s2v generate")


@inputs_app.command("add")
def inputs_add(
    image: Annotated[Path, typer.Option(help="Portrait.")],
    audio: Annotated[Path, typer.Option(help="Speech.")],
    name: Annotated[str, typer.Option(help="What the input is called in Dagster.")],
    prompt: Annotated[str, typer.Option(help="Style in plain words.")] = "",
    transcript: Annotated[Path | None, typer.Option(help="Text file with what is said.")] = None,
) -> None:
    """Register one input without making its video."""
    from s2v_pipeline.defs.launch import register
    from s2v_pipeline.inputs.source import MAX_TRANSCRIPT_BYTES, given_source, read_text

    source = given_source(
        name,
        image=image,
        audio=audio,
        prompt=prompt,
        transcript=read_text(transcript, max_bytes=MAX_TRANSCRIPT_BYTES) if transcript else None,
    )
    project = _project()
    with project.instance() as instance:
        (input_id,) = register(project, instance, [source])
    print(f"registered {source.name!r} as partition {input_id}")
    print(f"make its video: dg launch --job make_video --partition {input_id}, or Materialize in `s2v up`")


@inputs_app.command("list")
def inputs_list() -> None:
    """Show registered inputs and what the watched folder holds."""
    from s2v_pipeline.inputs.scan import scan_inputs

    project = _project()
    sources = project.pipeline.catalogue().list()
    store = project.pipeline.store()
    for source in sources:
        places = [store.path("final_videos", source.input_id, f"{source.input_id}.{each}") for each in CODECS_OF]
        done = next((place for place in places if place.exists()), None)
        print(f"{source.input_id:40} {source.origin:9} {'no video yet' if done is None else f'video {done}'}")
    folder = project.pipeline.inputs_folder()
    if not folder.exists():
        print(f"no watched folder {folder} yet: `s2v up` makes it")
        return
    scan = scan_inputs(folder, settle_s=project.settings().settings.inputs.settle_s, now_s=time.time())
    known = {source.input_id for source in sources}
    for source in scan.ready:
        if source.input_id not in known:
            where = "in the watched folder, not taken up yet (is `s2v up` running?)"
            print(f"{source.input_id:40} {source.origin:9} {where}")
    for waiting in scan.waiting:
        print(_plain(f"{waiting.name}: waiting: {waiting.reason}"))
    for refused in scan.refused:
        print(_plain(f"{refused.name}: refused: {refused.error}"))


@inputs_app.command("register-dataset")
def inputs_register_dataset(
    manifest: Annotated[Path, typer.Argument(help="CSV or Parquet: id, image, audio, prompt, transcript, settings.")],
) -> None:
    """Register every row of a dataset manifest as a partition; a backfill in Dagster then makes the videos."""
    from s2v_pipeline.defs.launch import register_each
    from s2v_pipeline.inputs.manifest import read_manifest

    rows = read_manifest(manifest)
    project = _project()
    with project.instance() as instance:
        keys, taken = register_each(project, instance, rows.sources)
    refusals = [(f"row {each.row} ({each.id})", each.error) for each in rows.refused] + list(taken.items())
    print(f"registered {len(keys)} inputs, refused {len(refusals)} rows")
    for what, error in refusals:
        print(_plain(f"{what}: {error}"), file=sys.stderr)
    if keys:
        print(
            "make their videos: in `s2v up` open Jobs > make_video > Materialize, or\n"
            f"  dagster job backfill -w workspace.yaml -j make_video --noprompt --partitions {','.join(keys[:3])}..."
        )
    if refusals:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def up() -> None:
    """Start the Dagster UI, its daemon with the sensor, and the file server; Ctrl-C ends them all."""
    from s2v_pipeline.up import serve

    project = _project()
    raise typer.Exit(serve(project, say=print))


@app.command()
def doctor() -> None:
    """Say what is installed, what is missing and the cure."""
    from s2v_pipeline.doctor import diagnose

    findings = diagnose(_settings())
    for finding in findings:
        print(f"{finding.status:8} {finding.name}: {finding.detail}")
        if finding.status != "ok" and finding.cure:
            print(f"{'':8} -> {finding.cure}")
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def main() -> None:
    """Entry point: the pipeline's own errors become one message and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except S2VError as error:
        # A cure may have lines of its own, as with commands to copy; names of files in the rest may not.
        cure = "\n".join(_plain(line) for line in error.cure.split("\n"))
        print(f"s2v: {_plain(f'{error.rule}; got {error.got}.')} {cure}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from error
    except SystemExit as end:  # as which typer passes an interrupt on
        if end.code == EXIT_INTERRUPTED:
            print("s2v: interrupted; finished chunks are kept, the same command goes on from there", file=sys.stderr)
        raise


def _plain(text: str) -> str:
    """Text from users' files and names, without characters that would steer the terminal."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _project() -> Project:
    from s2v_pipeline.defs.launch import Project

    return Project(Path.cwd())


def _settings() -> Settings:
    return load_settings(project_dir=Path.cwd(), environment=os.environ).settings


def _check_output(output: Path | None) -> None:
    """See that the video's copy can be written, before time is spent on the video."""
    if output is None:
        return
    if output.exists() and not output.is_file():
        raise typer.BadParameter(f"--output must name a file; {output} is a folder or a device")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise typer.BadParameter(f"--output must lie in a folder that can be written: {error}") from error


def _generate(source: InputSource, *, output: Path | None, way_in: str) -> None:
    from s2v_pipeline.api import copy_files
    from s2v_pipeline.defs.launch import interrupts_for_this_process_alone, register, run_here
    from s2v_pipeline.progress_bars import progress_bars

    project = _project()
    started_at = time.perf_counter()
    with project.instance() as instance:
        (input_id,) = register(project, instance, [source])
        with progress_bars(), interrupts_for_this_process_alone():
            outcome = run_here(project, instance, input_id, way_in=way_in)
    if outcome.error is not None or outcome.video is None:
        raise outcome.error or AssertionError("a run without an error has a video")
    store = project.pipeline.store()
    files = tuple(store.read_path("final_videos", input_id, part) for part in outcome.video.delivered_parts)
    if output is not None:
        files = copy_files(files, output)
    took_s, port = time.perf_counter() - started_at, project.settings().settings.server.dagster_port
    _print_outcome(outcome, files, length_s=float(outcome.video.video_s), took_s=took_s, port=port)


def _print_outcome(outcome: RunOutcome, files: Sequence[Path], *, length_s: float, took_s: float, port: int) -> None:
    print("\nseconds by step:")
    for step, seconds in outcome.step_s.items():
        print(f"  {step:44} {seconds:7.2f}")
    print(f"  {'all, start-up included':44} {took_s:7.2f}  ({took_s / length_s:.2f} x the video's {length_s:.2f} s)")
    print(f"\nvideo: {files[0]}")
    no_captions = outcome.video.no_captions if outcome.video else ""
    print(f"captions: {', '.join(map(str, files[1:]))}" if files[1:] else no_captions)
    print(f"content credentials: {outcome.video.credentials if outcome.video else 'none'}; s2v verify {files[0]}")
    print(f"see it in the Dagster UI: s2v up, then http://127.0.0.1:{port}/runs/{outcome.run_id}")
