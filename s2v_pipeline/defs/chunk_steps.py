"""What the two steps that work chunk by chunk share: the plan's requests and the manifest of what came of them.

Belongs here: from stored values and settings to requests.
Does not belong here: the assets (assets), running tasks (running).
"""

from __future__ import annotations

from fractions import Fraction

import dagster as dg
import pandas as pd

from s2v_pipeline.chunks.build import VideoRequest, build_requests
from s2v_pipeline.chunks.manifest import ChunkFile, ChunkManifest
from s2v_pipeline.chunks.plan import plan_chunks
from s2v_pipeline.chunks.request import ChunkRequest, FileRef
from s2v_pipeline.defs.resources import PipelineResource
from s2v_pipeline.generation.registry import GeneratorSpec, generator_context_s, load_generator, words_understood
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.settings import Settings


def settings_of(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> Settings:
    """Settings of the input that the step is about."""
    return pipeline.settings_for(pipeline.catalogue().get(context.partition_key)).settings


def generator_of(settings: Settings) -> GeneratorSpec:
    """The generator that the settings name, as workers take it."""
    return GeneratorSpec(settings.generation.generator, settings.paths.face_model)


def plan_requests(
    pipeline: PipelineResource,
    settings: Settings,
    speech: SpeechInput,
    features: pd.DataFrame,
    phonemes: pd.DataFrame,
) -> tuple[ChunkRequest, ...]:
    """The plan's requests; the same in every step and process, as they follow from stored values alone."""
    chunk_frames = max(1, round(Fraction(repr(settings.generation.chunk_s)) * speech.fps))
    video = VideoRequest(
        input_id=speech.input_id,
        fps=speech.fps,
        width_px=speech.width_px,
        height_px=speech.height_px,
        input_seed=settings.generation.seed,
        prompt=speech.prompt,
        portrait=FileRef(
            pipeline.store().read_path("speech_inputs", speech.input_id, speech.framed.name), speech.framed.sha256
        ),
        speech_level_db=features.attrs["speech_level_db"],
        median_f0_hz=features.attrs["median_f0_hz"],
    )
    return build_requests(
        video,
        plan_chunks(len(features), chunk_frames=chunk_frames),
        phonemes=phonemes,
        features=features,
        context_s=generator_context_s(settings.generation.generator),
    )


def manifest_of(asset: str, settings: Settings, speech: SpeechInput, chunks: list[ChunkFile]) -> ChunkManifest:
    """What a chunk step hands on."""
    return ChunkManifest(
        input_id=speech.input_id,
        asset=asset,
        generator=settings.generation.generator,
        fingerprint=load_generator(generator_of(settings)).fingerprint,
        fps=speech.fps,
        width_px=speech.width_px,
        height_px=speech.height_px,
        prompt_words=words_understood(settings.generation.generator, speech.prompt),
        chunks=tuple(chunks),
    )
