"""What people see of an asset in the Dagster UI: pictures by URL, tables, durations, sizes.

Belongs here: turning values into Dagster metadata. Does not belong here: making the values or the pictures.

Pictures are shown inline from the loopback file server of `s2v up` (base64 would bloat the event log; <video> tags are
stripped by the UI), so that they appear while it runs; the path beside each one always works.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.executor import ExecutorInfo
from s2v_pipeline.fileserver import artifact_url
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.settings import ResolvedSettings, Settings, flatten
from s2v_pipeline.video.manifest import FinalVideo

Metadata = Mapping[str, Any]
_MOST_ROWS_SHOWN = 200  # the event log keeps every table; a longer one belongs into the Parquet file beside it


def speech_input(value: SpeechInput, resolved: ResolvedSettings, machine: Settings) -> Metadata:
    """Of speech_inputs: the framed portrait, what came, what was done to it, and where settings came from."""
    chosen = [
        (name, setting)
        for name, setting in flatten(resolved.settings.model_dump(mode="json"))
        if resolved.origins.get(name, "default") != "default"
    ]
    return {
        "portrait": _picture(machine, "speech_inputs", value.input_id, value.framed.name),
        "duration_s": float(value.duration_s),
        "sample_rate_hz": value.rate_hz,
        "channels": value.channels,
        "size_px": f"{value.width_px} x {value.height_px} at {value.fps} frames/s",
        "prompt": value.prompt or "(none)",
        "transcript": value.transcript or "(none: phonemes are recognised from the sound)",
        "notes": "; ".join(value.notes) or "(none)",
        "settings": dg.MetadataValue.table(
            [
                dg.TableRecord({"setting": name, "value": str(setting), "from": resolved.origins[name]})
                for name, setting in chosen
            ],
            schema=dg.TableSchema([dg.TableColumn(name) for name in ("setting", "value", "from")]),
        ),
    }


def features(table: pd.DataFrame) -> Metadata:
    """Of audio_features: the summary of the speech and the table's shape."""
    summary = {str(name): value for name, value in table.attrs.items() if isinstance(value, (int, float, str))}
    segments = table.attrs["segments"]
    return {
        **summary,
        "speech_segments": dg.MetadataValue.json([[round(a, 3), round(b, 3)] for a, b in segments[:_MOST_ROWS_SHOWN]]),
        **_table_shape(table),
    }


def phonemes(table: pd.DataFrame, figure: Path, machine: Settings) -> Metadata:
    """Of phoneme_alignments: the drawn alignment, how it was made, and the words."""
    words = table[table["word_index"] >= 0].groupby("word_index", sort=True)
    rows = [
        dg.TableRecord(
            {
                "word": str(group["word"].iloc[0]),
                "start_s": round(float(group["start_s"].iloc[0]), 3),
                "end_s": round(float(group["end_s"].iloc[-1]), 3),
                "phones": " ".join(group["phone"]),
                "confidence": round(float(group["confidence"].mean()), 3),
            }
        )
        for _, group in list(words)[:_MOST_ROWS_SHOWN]
    ]
    return {
        "alignment": _picture(machine, "phoneme_alignments", figure.parent.name, figure.name),
        "method": table.attrs["method"],
        "fallbacks": "; ".join(table.attrs["fallbacks"]) or "(none)",
        "notes": "; ".join(table.attrs["notes"]) or "(none)",
        "words": dg.MetadataValue.table(
            rows,
            schema=dg.TableSchema(
                [
                    dg.TableColumn("word"),
                    dg.TableColumn("start_s", "float"),
                    dg.TableColumn("end_s", "float"),
                    dg.TableColumn("phones"),
                    dg.TableColumn("confidence", "float"),
                ]
            ),
        ),
        **_table_shape(table),
    }


def chunks(value: ChunkManifest, executor: ExecutorInfo) -> Metadata:
    """Of chunk_latents and rendered_clips: what was made, what was found, by whom and how fast."""
    rows = [
        dg.TableRecord(
            {
                "chunk": chunk.index,
                "frames": f"{chunk.frames.start_frame}-{chunk.frames.stop_frame}",
                "made": chunk.made,
                "seconds": chunk.seconds_s,
                "worker": chunk.worker,
                "file": chunk.part,
            }
        )
        for chunk in value.chunks[:_MOST_ROWS_SHOWN]
    ]
    schema = [
        dg.TableColumn("chunk", "int"),
        dg.TableColumn("frames"),
        dg.TableColumn("made", "bool"),
        dg.TableColumn("seconds", "float"),
        dg.TableColumn("worker"),
        dg.TableColumn("file"),
    ]
    return {
        "generator": value.generator,
        "generator_fingerprint": value.fingerprint,
        "frames": value.n_frames,
        "chunks": len(value.chunks),
        "chunks_made": value.n_made,
        "chunks_found": len(value.chunks) - value.n_made,
        "worker_seconds": round(sum(chunk.seconds_s for chunk in value.chunks), 3),
        "executor": f"{executor.kind} at {executor.address}, {executor.n_cpus} CPU",
        "per_chunk": dg.MetadataValue.table(rows, schema=dg.TableSchema(schema)),
    }


def final_video(value: FinalVideo, store: ArtifactStore, machine: Settings) -> Metadata:
    """Of final_videos: poster, contact sheet, the file, its lengths."""
    video = store.path("final_videos", value.input_id, value.video_part)
    return {
        "poster": _picture(machine, "final_videos", value.input_id, value.poster_part),
        "contact_sheet": _picture(machine, "final_videos", value.input_id, value.contact_sheet_part),
        "watch": dg.MetadataValue.url(_url(machine, "final_videos", value.input_id, value.video_part)),
        "file": dg.MetadataValue.path(str(video.resolve())),
        "size_bytes": value.size_bytes,
        "frames": value.n_frames,
        "size_px": f"{value.width_px} x {value.height_px} at {value.fps} frames/s",
        "video_s": float(value.video_s),
        "audio_s": float(value.audio_s),
        "video_minus_audio_ms": round(1000 * float(value.video_s - value.audio_s), 3),
        "sha256": value.sha256,
    }


def _picture(machine: Settings, asset: str, input_id: str, part: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"![{part}]({_url(machine, asset, input_id, part)})")


def _url(machine: Settings, asset: str, input_id: str, part: str) -> str:
    return artifact_url(machine.server.file_port, asset, input_id, part)


def _table_shape(table: pd.DataFrame) -> Metadata:
    columns = [dg.TableColumn(str(name), str(dtype)) for name, dtype in table.dtypes.items()]
    return {"dagster/row_count": len(table), "dagster/column_schema": dg.TableSchema(columns)}
