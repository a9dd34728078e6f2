"""What the two steps that work chunk by chunk share: the plan's requests, their tasks, the manifest of what came out.

Belongs here: from stored values and settings to requests and tasks.
Does not belong here: the assets (assets), running tasks (running).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import dagster as dg
import pandas as pd

from s2v_pipeline.artifacts import ArtifactStore, content_key
from s2v_pipeline.audio.decode import SPEECH_RATE_HZ, read_waveform
from s2v_pipeline.audio.tracks import analysed_path
from s2v_pipeline.cache.chunk_cache import ChunkCache, cache_of
from s2v_pipeline.chunks.build import VideoRequest, build_requests, keys_before
from s2v_pipeline.chunks.manifest import ChunkFile, ChunkManifest
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.chunks.segments import pause_cuts
from s2v_pipeline.clips.clip_encoding import ClipEncoding
from s2v_pipeline.clips.encoders import choose_encoder
from s2v_pipeline.clips.label import label_stamp
from s2v_pipeline.cluster.executor import WarmKey
from s2v_pipeline.cluster.frame_counter import FrameCounter
from s2v_pipeline.cluster.tasks import GenerateChunk, RenderClip, gpu_fit
from s2v_pipeline.cluster.versions import own_versions
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.defs.running import Placement
from s2v_pipeline.generation.registry import check_generator, generator_profile, load_generator, spec_of
from s2v_pipeline.generation.spec import GeneratorSpec
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import AlignmentSettings, Settings
from s2v_pipeline.video.certificate import credentials_at
from s2v_pipeline.video.credentials import check_signer
from s2v_pipeline.video.finish_plan import clip_video, encodes_again, output_size
from s2v_pipeline.video.onnx_model import OnnxModel


def settings_of(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> Settings:
    """Settings of the input that the step is about; model files are named so that a worker finds them, too."""
    folder = pipeline.folder().absolute()
    settings = credentials_at(pipeline.settings_for(pipeline.catalogue().get(context.partition_key)).settings, folder)
    weights = None if settings.wan.weights is None else folder / settings.wan.weights
    loras = tuple(str(folder / lora) for lora in settings.wan.loras)
    model = settings.enhance.upscale_model
    return settings.model_copy(
        update={
            "wan": settings.wan.model_copy(update={"weights": weights, "loras": loras}),
            "enhance": settings.enhance.model_copy(update={"upscale_model": None if model is None else folder / model}),
        }
    )


def alignment_settings(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> AlignmentSettings:
    """Settings of the input's alignment; a relative checkpoint starts at the project folder."""
    own = pipeline.settings_for(pipeline.catalogue().get(context.partition_key)).settings.alignment
    if own.ctc_checkpoint is None:
        return own
    return own.model_copy(update={"ctc_checkpoint": pipeline.folder().absolute() / own.ctc_checkpoint})


def plan_requests(
    pipeline: PipelineResource,
    settings: Settings,
    speech: SpeechInput,
    features: pd.DataFrame,
    phonemes: pd.DataFrame,
) -> tuple[ChunkRequest, ...]:
    """The plan's requests; the same in every step and process, as they follow from stored values alone.

    Raises:
        SettingsError: the generator is not there, is not installed, or cannot make what the settings ask for; or no
            encoder can.
    """
    check_generator(settings)
    output_size(speech.width_px, speech.height_px, settings.enhance)
    encoder_of(settings)  # refuses before anything is made that could not be encoded
    profile = generator_profile(settings.generation.generator)
    store = pipeline.store()
    sound = None
    if profile.WANTS_SOUND:
        # What the analysis heard: its noise would move the mouth as well.
        sound = read_waveform(analysed_path(features.attrs, speech.input_id, store), rate_hz=SPEECH_RATE_HZ)
    video = VideoRequest(
        input_id=speech.input_id,
        fps=speech.fps,
        width_px=speech.width_px,
        height_px=speech.height_px,
        input_seed=settings.generation.seed,
        prompt=speech.prompt,
        portrait=FileRef(store.read_path("speech_inputs", speech.input_id, speech.framed.name), speech.framed.sha256),
        speech_level_db=features.attrs["speech_level_db"],
        median_f0_hz=features.attrs["median_f0_hz"],
    )
    cuts = pause_cuts(
        # What was heard, not what was read: a corrected transcript moves no cut.
        features.attrs["segments"],
        least_pause_s=settings.generation.new_segment_pause_s,
        n_frames=len(features),
        fps=speech.fps,
    )
    return build_requests(
        video,
        profile.chunk_plan(len(features), settings, cuts),
        phonemes=phonemes,
        features=features,
        context_s=profile.CONTEXT_S,
        with_tables=profile.WANTS_TABLES,
        sound=sound,
        chained=profile.CHAINED,
    )


def check_settings(settings: Settings, pipeline: PipelineResource) -> None:
    """Refuse what later stages could not do: now, not after the hours that a video may take.

    Raises:
        SettingsError: the generator, the signer, the chunk cache or a model cannot be used as it is set.
    """
    check_generator(settings)
    chunk_cache(pipeline)
    check_signer(settings)
    if settings.enhance.upscale_model is not None:
        OnnxModel(settings.enhance.upscale_model, "enhance.upscale_model")
    if settings.gate.identity_model is not None:
        OnnxModel(pipeline.folder().absolute() / settings.gate.identity_model, "gate.identity_model")


def chunk_cache(pipeline: PipelineResource) -> ChunkCache | None:
    """The project's chunk cache; None where it is off.

    Raises:
        SettingsError: nothing here opens its URL.
    """
    return cache_of(pipeline.settings().cache, pipeline.folder().absolute())


def latents_tasks(
    settings: Settings,
    requests: Sequence[ChunkRequest],
    store: ArtifactStore,
    cache: ChunkCache | None,
    run_id: str,
) -> tuple[GenerateChunk, ...]:
    """One task a chunk; those of a chain know the key of the chunk before."""
    spec, clip = spec_of(settings), clip_encoding(settings, requests[0])
    previous: Sequence[str] = [""] * len(requests)
    if generator_profile(spec.name).CHAINED:
        previous = keys_before(requests, load_generator(spec).fingerprint)
    return tuple(
        GenerateChunk(spec, request, store, previous_key, cache, clip, run_id)
        for request, previous_key in zip(requests, previous, strict=True)
    )


def clip_tasks(
    settings: Settings,
    requests: Sequence[ChunkRequest],
    latents: ChunkManifest,
    store: ArtifactStore,
    counters: Sequence[FrameCounter],
    cache: ChunkCache | None,
    run_id: str,
) -> tuple[RenderClip, ...]:
    """One task and one counter a chunk."""
    spec, clip = spec_of(settings), clip_encoding(settings, requests[0])
    return tuple(
        RenderClip(spec, request, chunk, clip, store, counter, cache, run_id)
        for request, chunk, counter in zip(requests, latents.chunks, counters, strict=True)
    )


def clip_encoding(settings: Settings, request: ChunkRequest) -> ClipEncoding:
    """How all clips of a video are encoded: with the encoder that works where the run is, so that they fit together.

    Raises:
        SettingsError: no encoder works, or the label cannot be drawn.
    """
    if encodes_again(settings):
        # Clips that are encoded once more get the label then, in the delivered size and over all that is done to them.
        return ClipEncoding(clip_video(settings))
    stamp = label_stamp(settings.credentials, request.width_px, request.height_px)
    return ClipEncoding(settings.video, encoder_of(settings), stamp)


def encoder_of(settings: Settings) -> str:
    """FFmpeg's name of the encoder of all clips of a video.

    Raises:
        SettingsError: none works that makes what the settings ask for.
    """
    return choose_encoder(settings.video.codec, settings.video.bit_depth, settings.cluster.video_encoder)


def placement_of(settings: Settings, requests: Sequence[ChunkRequest], store: ArtifactStore | None = None) -> Placement:
    """Where latents are made: several GPUs may make a chunk together, and workers several segments at the same time.

    With the store, GPUs of hosts are chosen by what chunks took before.
    """
    profile = generator_profile(settings.generation.generator)
    at_once = settings.cluster.segments_at_once
    return Placement(
        in_order=profile.CHAINED or profile.ONE_WORKER,
        chain_starts=tuple(position for position, request in enumerate(requests) if not request.continues),
        most_workers=profile.most_workers(settings) if at_once is None else at_once,
        n_gpus=profile.n_gpus(settings),
        warm=_warm_key(spec_of(settings)) if profile.ONE_WORKER else None,
        fit=gpu_fit(spec_of(settings), requests, store, profile.n_gpus(settings)) if store and requests else None,
    )


def placement_of_clips(settings: Settings, tasks: Sequence[RenderClip]) -> Placement:
    """Where clips are rendered: one GPU decodes them, of each segment; none is needed where all were encoded ahead."""
    requests = [task.request for task in tasks]
    latents = placement_of(settings, requests)
    if latents.n_gpus and all(task.is_made() for task in tasks):
        return Placement(in_order=latents.in_order)
    n_gpus = min(1, latents.n_gpus)
    fit = gpu_fit(spec_of(settings), requests, tasks[0].store, n_gpus) if tasks else None
    return replace(latents, n_gpus=n_gpus, fit=fit)


def _warm_key(spec: GeneratorSpec) -> WarmKey:
    # Everything that a worker may keep of a spec; the code, too, as it may change under a cluster that stays up.
    return WarmKey(content_key({"spec": repr(spec), "code": asdict(own_versions())}), spec.name)


def manifest_of(
    asset: str,
    settings: Settings,
    speech: SpeechInput,
    requests: Sequence[ChunkRequest],
    chunks: Sequence[ChunkFile],
) -> ChunkManifest:
    """What a chunk step hands on."""
    profile = generator_profile(settings.generation.generator)
    return ChunkManifest(
        input_id=speech.input_id,
        asset=asset,
        generator=settings.generation.generator,
        fingerprint=load_generator(spec_of(settings)).fingerprint,
        fps=speech.fps,
        width_px=speech.width_px,
        height_px=speech.height_px,
        prompt_words=profile.words_understood(speech.prompt),
        notes=tuple(
            dict.fromkeys(
                [
                    *profile.notes(settings),
                    *_segment_notes(settings, requests),
                    *(note for chunk in chunks for note in chunk.notes),
                ]
            )
        ),
        chunks=tuple(chunks),
        prompt_words_ignored=profile.words_ignored(speech.prompt),
        segment_starts=tuple(dict.fromkeys(request.segment_start_frame for request in requests)),
    )


def _segment_notes(settings: Settings, requests: Sequence[ChunkRequest]) -> tuple[str, ...]:
    """What people should know of the segments that they asked for."""
    pause_s, name = settings.generation.new_segment_pause_s, "generation.new_segment_pause_s"
    if pause_s == 0:
        return ()
    if not generator_profile(settings.generation.generator).CHAINED:
        return (f"{name} changes nothing: every chunk of {settings.generation.generator} is independent of the others",)
    cuts = [request.frames.start_frame for request in requests if request.segment_start_frame and not request.continues]
    if not cuts:
        return (f"one segment: no pause between words is {pause_s:g} s long ({name})",)
    times = ", ".join(f"{float(cut / requests[0].fps):.2f} s" for cut in cuts)
    return (f"the picture starts anew from the portrait in pauses at {times} ({name})",)
