"""The six assets, in the order of the flow; each calls its stage's plain functions and says what came out.

Belongs here: wiring. Does not belong here: what a stage does (its package), how metadata looks (presentation),
checks.
"""

import dagster as dg
import pandas as pd

from s2v_pipeline.alignment.choose import align_speech
from s2v_pipeline.alignment.exports import write_word_files
from s2v_pipeline.alignment.figure import draw_alignment
from s2v_pipeline.audio.decode import read_waveform
from s2v_pipeline.audio.features import describe_speech, extract_features
from s2v_pipeline.audio.tracks import REPORT, analysed_path, clean_up_report, make_tracks
from s2v_pipeline.audio.voice_activity import speech_segments
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.executor import ChunkExecutor
from s2v_pipeline.defs import presentation as show
from s2v_pipeline.defs.chunk_steps import (
    alignment_settings,
    check_settings,
    chunk_cache,
    clip_tasks,
    latents_tasks,
    manifest_of,
    placement_of,
    placement_of_clips,
    plan_requests,
    settings_of,
)
from s2v_pipeline.defs.instance import GENERATOR_POOL
from s2v_pipeline.defs.partitions import INPUTS
from s2v_pipeline.defs.previews import write_portrait_preview, write_video_previews
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.run_times import with_stats
from s2v_pipeline.defs.running import frames_counted, report_progress, run_tasks, user_errors_are_final
from s2v_pipeline.defs.values import value_version
from s2v_pipeline.inputs.prepare import prepare_input
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.timebase import frames_for_samples
from s2v_pipeline.video.deliver import deliver_video
from s2v_pipeline.video.finish_plan import delivered_label
from s2v_pipeline.video.manifest import FinalVideo

ANALYSIS_RATE_HZ = 16_000  # what the voice-activity, phoneme and (later) wav2vec2 models take
# One group: the UI draws the graph at once. With a group a stage it would draw six closed boxes.
GROUP = "speech_to_video"
OWNERS = ["team:s2v"]
# A step is tried again when a worker or a file system failed, not when the input is bad (see user_errors_are_final).
RETRIES = dg.RetryPolicy(max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL)


@dg.asset(
    partitions_def=INPUTS,
    group_name=GROUP,
    kinds={"python"},
    owners=OWNERS,
    code_version="2",
    retry_policy=RETRIES,
)
def speech_inputs(
    context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[PipelineResource]
) -> dg.MaterializeResult[SpeechInput]:
    """What you gave, checked and normalised: upright portrait, framed portrait, speech as FLAC.

    Everything after starts from these files and their hashes, on the clock of the FLAC's samples.
    """
    with user_errors_are_final(context):
        source = pipeline.catalogue().get(context.partition_key)
        resolved = pipeline.settings_for(source)
        settings = settings_of(context, pipeline)
        check_settings(settings, pipeline)
        value = prepare_input(source, resolved.settings, pipeline.store())
        delivered_label(settings, value.width_px, value.height_px)
        write_portrait_preview(
            pipeline.store(), "speech_inputs", value.input_id, value.framed.name, key=value.framed.sha256
        )
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.speech_input(value, resolved, pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name=GROUP,
    kinds={"pandas", "parquet"},
    owners=OWNERS,
    code_version="2",
    retry_policy=RETRIES,
)
def audio_features(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    speech_inputs: SpeechInput,
) -> dg.MaterializeResult[pd.DataFrame]:
    """One row a video frame, at the middle of its time on screen: level, pitch, speech probability, onsets.

    Moves the head and the brows, and says how wide the mouth opens. The summary of the whole speech is in the table's
    `attrs`, with what was done about rumble, hum and noise; the cleaned sound lies beside the table where there is one.
    """
    with user_errors_are_final(context):
        # 1. the whole speech, cleaned where it needs that, at the analysis rate, on the input's own clock
        tracks = make_tracks(speech_inputs, settings_of(context, pipeline).audio, pipeline.store())
        for fallback in tracks.report["fallbacks"]:
            context.log.warning("%s", fallback)
        for reason in tracks.report["reasons"]:
            context.log.info("%s", reason)
        waveform = tracks.waveform16k
        # 2. one row a frame of the video that will be delivered
        n_frames = frames_for_samples(speech_inputs.n_samples, speech_inputs.rate_hz, speech_inputs.fps)
        table = extract_features(waveform, n_frames=n_frames, fps=speech_inputs.fps, probabilities=tracks.probabilities)
        segments = speech_segments(waveform, tracks.probabilities)
        table.attrs.update(describe_speech(waveform, table, segments).to_attrs())
        table.attrs[REPORT] = tracks.report
    return dg.MaterializeResult(
        value=table,
        data_version=dg.DataVersion(value_version(table)),
        metadata=show.features(table, context.partition_key, pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name=GROUP,
    kinds={"pandas", "parquet"},
    owners=OWNERS,
    code_version="3",
    retry_policy=RETRIES,
)
def phoneme_alignments(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    speech_inputs: SpeechInput,
    audio_features: pd.DataFrame,
) -> dg.MaterializeResult[pd.DataFrame]:
    """One row a phoneme with start and end in seconds, silence included; also as TextGrid, CTM, SRT and WebVTT.

    From the transcript where there is one, else recognised from the sound; how is in the table's `attrs`. Moves the
    lips.
    """
    store = pipeline.store()
    with user_errors_are_final(context):
        # 1. align
        speech = analysed_path(audio_features.attrs, context.partition_key, store)
        waveform = read_waveform(speech, rate_hz=ANALYSIS_RATE_HZ)
        segments, own = audio_features.attrs["segments"], alignment_settings(context, pipeline)
        denoised = bool(clean_up_report(audio_features.attrs)["denoised"])
        alignment = align_speech(waveform, speech_inputs.transcript, segments, own, is_denoised=denoised)
        table = alignment.phonemes
        table.attrs.update(method=alignment.method, fallbacks=list(alignment.fallbacks), notes=list(alignment.notes))
        for fallback in alignment.fallbacks:
            context.log.warning("alignment fell back: %s", fallback)
        # 2. as files for other programs, captions among them
        files = write_word_files(
            store,
            context.partition_key,
            table,
            speech_inputs.transcript,
            waveform.duration_s,
            key=value_version(table),
        )
        table.attrs.update(files.to_attrs())
        for note in filter(None, (files.no_captions, *files.notes)):
            context.log.warning("%s", note)
        # 3. draw it
        figure = store.write(
            "phoneme_alignments",
            context.partition_key,
            "alignment.png",
            lambda path: draw_alignment(waveform, audio_features, table, path, files.words),
            key=value_version(table),
            made_by="phoneme_alignments",
        )
    return dg.MaterializeResult(
        value=table,
        data_version=dg.DataVersion(value_version(table)),
        metadata=show.phonemes(table, files, figure, pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name=GROUP,
    kinds={"ray", "numpy"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    pool=GENERATOR_POOL,
)
def chunk_latents(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    executor: dg.ResourceParam[ChunkExecutor],
    speech_inputs: SpeechInput,
    audio_features: pd.DataFrame,
    phoneme_alignments: pd.DataFrame,
) -> dg.MaterializeResult[ChunkManifest]:
    """One safetensors file a chunk, made on Ray: side by side, or one from another where the generator chains them.

    Of the generator `portrait` it is the motion of the face, of `wan_s2v` what its video decoder takes.
    A chunk that was made once for the same request is found and not made again.
    """
    with user_errors_are_final(context):
        settings = settings_of(context, pipeline)
        requests = plan_requests(pipeline, settings, speech_inputs, audio_features, phoneme_alignments)
        tasks = latents_tasks(settings, requests, pipeline.store(), chunk_cache(pipeline), context.run.run_id)
        chunks = run_tasks(context, executor, tasks, placement_of(settings, requests, pipeline.store()))
        value = manifest_of("chunk_latents", settings, speech_inputs, requests, chunks)
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.chunks(value, executor.info(), pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name=GROUP,
    kinds={"ray", "ffmpeg", "mp4"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
    pool=GENERATOR_POOL,
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
    """One clip a chunk in the delivered codec, drawn and encoded on Ray.

    The only time that the picture is encoded with loss. A clip that was made once is found and not made again.
    """
    with user_errors_are_final(context):
        settings = settings_of(context, pipeline)
        requests = plan_requests(pipeline, settings, speech_inputs, audio_features, phoneme_alignments)
        with frames_counted(context, pipeline.store(), [len(request.frames) for request in requests]) as counters:
            store, run_id = pipeline.store(), context.run.run_id
            tasks = clip_tasks(settings, requests, chunk_latents, store, counters, chunk_cache(pipeline), run_id)
            clips = run_tasks(context, executor, tasks, placement_of_clips(settings, tasks), reports=False)
        value = manifest_of("rendered_clips", settings, speech_inputs, requests, clips)
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.chunks(value, executor.info(), pipeline.settings()),
    )


@dg.asset(
    partitions_def=INPUTS,
    group_name=GROUP,
    kinds={"ffmpeg", "mp4"},
    owners=OWNERS,
    code_version="1",
    retry_policy=RETRIES,
)
def final_videos(
    context: dg.AssetExecutionContext,
    pipeline: dg.ResourceParam[PipelineResource],
    speech_inputs: SpeechInput,
    audio_features: pd.DataFrame,
    phoneme_alignments: pd.DataFrame,
    rendered_clips: ChunkManifest,
) -> dg.MaterializeResult[FinalVideo]:
    """The delivered mp4; its captions, poster, contact sheet, `generation_metadata.json`, `generation_stats.json`.

    Clips are joined as they are, or after what `enhance` asks for; the sound is what `audio.delivered` says.
    """
    with user_errors_are_final(context):
        # 1. the video and its sidecars
        settings, store = settings_of(context, pipeline), pipeline.store()
        value = deliver_video(
            speech_inputs,
            clean_up_report(audio_features.attrs, settings.audio.delivered),
            phoneme_alignments,
            rendered_clips,
            settings,
            store,
            run_id=context.run.run_id,
            on_progress=report_progress(context),
        )
        # 2. what the UI shows of it
        write_video_previews(value, store)
        # 3. where the time went
        value, stats = with_stats(context, value, rendered_clips, store)
    return dg.MaterializeResult(
        value=value,
        data_version=dg.DataVersion(value_version(value)),
        metadata=show.final_video(value, stats, store, pipeline.settings()),
    )


ASSETS = (speech_inputs, audio_features, phoneme_alignments, chunk_latents, rendered_clips, final_videos)
