"""Stored values of the input that a check is about.

Belongs here: reading them by the run's partition. Does not belong here: what is checked (checks, quality).
"""

from pathlib import Path

import dagster as dg
import pandas as pd

from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.defs.io_manager import load_value
from s2v_pipeline.defs.resources import PARTITION_TAG, PipelineResource
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.video.manifest import FinalVideo


def _partition(context: dg.AssetCheckExecutionContext) -> str:
    """The input that the run is about.

    Raises:
        dagster.Failure: the check was started without a partition.
    """
    key = context.run.tags.get(PARTITION_TAG)
    if key is None:
        raise dg.Failure(
            description="This check looks at one input; got a run without a partition. Materialise the asset for a "
            "partition: its checks run with it.",
            allow_retries=False,
        )
    return key


def _value(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource, asset: str) -> object:
    return load_value(pipeline.store(), asset, _partition(context))


def _speech(context: dg.AssetCheckExecutionContext, pipeline: PipelineResource) -> SpeechInput:
    value = _value(context, pipeline, "speech_inputs")
    if not isinstance(value, SpeechInput):
        raise TypeError(f"speech_inputs holds a SpeechInput; got {type(value).__name__}")
    return value


def stored_tables(
    context: dg.AssetCheckExecutionContext, pipeline: PipelineResource, *, with_phonemes: bool = True
) -> tuple[SpeechInput, pd.DataFrame, pd.DataFrame]:
    """speech_inputs, audio_features, and phoneme_alignments or an empty table."""
    features = _value(context, pipeline, "audio_features")
    phonemes = _value(context, pipeline, "phoneme_alignments") if with_phonemes else pd.DataFrame()
    if not isinstance(features, pd.DataFrame) or not isinstance(phonemes, pd.DataFrame):
        raise TypeError("audio_features and phoneme_alignments hold tables")
    return _speech(context, pipeline), features, phonemes


def stored_manifest(
    context: dg.AssetCheckExecutionContext, pipeline: PipelineResource, asset: str
) -> tuple[SpeechInput, ChunkManifest]:
    """speech_inputs, and what an asset of chunks made."""
    value = _value(context, pipeline, asset)
    if not isinstance(value, ChunkManifest):
        raise TypeError(f"{asset} holds a ChunkManifest; got {type(value).__name__}")
    return _speech(context, pipeline), value


def stored_video(
    context: dg.AssetCheckExecutionContext, pipeline: PipelineResource
) -> tuple[SpeechInput, FinalVideo, Path]:
    """speech_inputs, final_videos, and where the video lies; its bytes are those that were stored.

    Raises:
        ArtifactError: the video is missing or damaged.
    """
    value = _value(context, pipeline, "final_videos")
    if not isinstance(value, FinalVideo):
        raise TypeError(f"final_videos holds a FinalVideo; got {type(value).__name__}")
    path = pipeline.store().read_path("final_videos", value.input_id, value.video_part)
    return _speech(context, pipeline), value, path
