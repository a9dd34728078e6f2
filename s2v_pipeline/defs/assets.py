"""The six assets, in the order of the flow; each calls its stage's plain functions and says what came out.

Belongs here: wiring. Does not belong here: what a stage does (its package), how metadata looks (presentation),
checks.
"""

import dagster as dg
import pandas as pd

from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.figure import draw_alignment
from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.audio.voice_activity import speech_probabilities, speech_segments
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.executor import ChunkExecutor
from s2v_pipeline.cluster.tasks import GenerateChunk, RenderClip
from s2v_pipeline.defs import presentation as show
from s2v_pipeline.defs.chunk_steps import generator_of, manifest_of, plan_requests, settings_of
from s2v_pipeline.defs.partitions import INPUTS
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.running import report_progress, run_tasks, user_errors_are_final
from s2v_pipeline.defs.values import value_version
from s2v_pipeline.inputs.prepare import prepare_input
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.timebase import frames_for_samples
from s2v_pipeline.video.deliver import deliver_video
from s2v_pipeline.video.manifest import FinalVideo

GENERATOR_POOL = "generator"
ANALYSIS_RATE_HZ = 16_000  # what the voice-activity, phoneme and (later) wav2vec2 models take
OWNERS = ["team:s2v"]
# A step is tried again when a worker or a file system failed, not when the input is bad (see user_errors_are_final).
RETRIES = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)


@dg.asset(
    partitions_def=INPUTS,
    group_name="inputs",
    kinds={"python"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    description="What the user gave, checked, normalised and hashed: the upright portrait, the framed one, the speech.",
)
def speech_inputs(
    context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.MaterializeResult[SpeechInput]:
    """Portrait and speech of one input, from the files that the catalogue names."""
    with user_errors_are_final(context):
        source = pipeline.catalogue().get(context.partition_key)
        resolved = pipeline.settings_for(source)
        value = prepare_input(source, resolved.settings, pipeline.store())
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.speech_input(value, resolved, pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name="audio",
    kinds={"pandas", "parquet"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    description="One row a video frame, at the frame's exact middle: loudness, pitch, speech probability, onsets.",
)
def audio_features(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    speech_inputs: SpeechInput,
) -> dg.MaterializeResult[pd.DataFrame]:
    """Features of the speech; the whole recording's summary is in the table's `attrs`."""
    with user_errors_are_final(context):
        # 1. the whole speech at the analysis rate, on the input's own clock
        speech = pipeline.store().read_path("speech_inputs", context.partition_key, speech_inputs.speech.name)
        waveform = read_waveform(speech, rate_hz=ANALYSIS_RATE_HZ)
        # 2. one row a frame of the video that will be delivered
        n_frames = frames_for_samples(speech_inputs.n_samples, speech_inputs.rate_hz, speech_inputs.fps)
        probabilities = speech_probabilities(waveform)
        table = extract_features(waveform, n_frames=n_frames, fps=speech_inputs.fps, probabilities=probabilities)
        segments = speech_segments(waveform, probabilities)
        table.attrs.update(describe_speech(waveform, table, segments).to_attrs())
    return dg.MaterializeResult(
        value=table,
        data_version=dg.DataVersion(value_version(table)),
        metadata=show.features(table),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name="alignment",
    kinds={"pandas", "parquet"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    description="One row a phoneme, start and end in seconds, silence included; from the transcript if there is one.",
)
def phoneme_alignments(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    speech_inputs: SpeechInput,
    audio_features: pd.DataFrame,
) -> dg.MaterializeResult[pd.DataFrame]:
    """Phonemes of the speech; how they were found is in the table's `attrs`."""
    store = pipeline.store()
    with user_errors_are_final(context):
        # 1. align
        speech = store.read_path("speech_inputs", context.partition_key, speech_inputs.speech.name)
        waveform = read_waveform(speech, rate_hz=ANALYSIS_RATE_HZ)
        alignment = align_speech(waveform, speech_inputs.transcript, audio_features.attrs["segments"])
        table = alignment.phonemes
        table.attrs.update(method=alignment.method, fallbacks=list(alignment.fallbacks), notes=list(alignment.notes))
        for fallback in alignment.fallbacks:
            context.log.warning("alignment fell back: %s", fallback)
        # 2. draw it
        figure = store.write(
            "phoneme_alignments",
            context.partition_key,
            "alignment.png",
            lambda path: draw_alignment(waveform, audio_features, table, path),
            key=value_version(table),
            made_by="phoneme_alignments",
        )
    return dg.MaterializeResult(
        value=table,
        data_version=dg.DataVersion(value_version(table)),
        metadata=show.phonemes(table, figure, pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name="chunks",
    kinds={"ray", "numpy"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    pool=GENERATOR_POOL,
    description="One safetensors file a chunk, made on the cluster; a chunk that was made once is not made again.",
)
def chunk_latents(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    executor: dg.ResourceParam[ChunkExecutor],
    speech_inputs: SpeechInput,
    audio_features: pd.DataFrame,
    phoneme_alignments: pd.DataFrame,
) -> dg.MaterializeResult[ChunkManifest]:
    """Latents of every chunk of the plan."""
    with user_errors_are_final(context):
        settings = settings_of(context, pipeline)
        spec = generator_of(settings)
        requests = plan_requests(pipeline, settings, speech_inputs, audio_features, phoneme_alignments)
        tasks = [GenerateChunk(spec, request, pipeline.store()) for request in requests]
        chunks = run_tasks(context, executor, tasks)
        value = manifest_of("chunk_latents", settings, speech_inputs, chunks)
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata={
            **show.chunks(value, executor.info()),
            "prompt_words_understood": ", ".join(value.prompt_words) or "(none)",
        },
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name="clips",
    kinds={"ray", "ffmpeg", "mp4"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    pool=GENERATOR_POOL,
    description="One H.264 clip a chunk: the only time that the picture is encoded with loss.",
)
def rendered_clips(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    executor: dg.ResourceParam[ChunkExecutor],
    speech_inputs: SpeechInput,
    audio_features: pd.DataFrame,
    phoneme_alignments: pd.DataFrame,
    chunk_latents: ChunkManifest,
) -> dg.MaterializeResult[ChunkManifest]:
    """Clips of every chunk of the plan."""
    with user_errors_are_final(context):
        settings = settings_of(context, pipeline)
        spec = generator_of(settings)
        requests = plan_requests(pipeline, settings, speech_inputs, audio_features, phoneme_alignments)
        video = settings.video
        tasks = [
            RenderClip(spec, request, latents, video, pipeline.store())
            for request, latents in zip(requests, chunk_latents.chunks, strict=True)
        ]
        clips = run_tasks(context, executor, tasks)
        value = manifest_of("rendered_clips", settings, speech_inputs, clips)
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.chunks(value, executor.info()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name="video",
    kinds={"ffmpeg", "mp4"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    description="The delivered mp4 (clips joined without re-encoding, the original sound), poster, metadata.",
)
def final_videos(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    speech_inputs: SpeechInput,
    phoneme_alignments: pd.DataFrame,
    rendered_clips: ChunkManifest,
) -> dg.MaterializeResult[FinalVideo]:
    """The video of one input and its sidecars."""
    with user_errors_are_final(context):
        settings = settings_of(context, pipeline)
        value = deliver_video(
            speech_inputs,
            phoneme_alignments,
            rendered_clips,
            settings,
            pipeline.store(),
            run_id=context.run.run_id,
            on_progress=report_progress(context),
        )
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.final_video(value, pipeline.store(), pipeline.settings()),
    )


ASSETS = (speech_inputs, audio_features, phoneme_alignments, chunk_latents, rendered_clips, final_videos)
