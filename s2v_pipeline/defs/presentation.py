"""What people see of an asset in the Dagster UI: pictures by URL, links, tables, durations, sizes.

Belongs here: turning values into Dagster metadata, in the order in which people look; what columns mean.
Does not belong here: making the values or the pictures.

Pictures are shown inline from the loopback file server of `s2v up` (base64 would bloat the event log; <video> tags are
stripped by the UI), so that they appear while it runs; the path beside each one always works. A click on a picture
opens it, or the video that it stands for, in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from s2v_pipeline.alignment.exports import WordFiles
from s2v_pipeline.artifacts import ArtifactStore
from s2v_pipeline.audio.features import MEL_COLUMNS
from s2v_pipeline.audio.tracks import clean_up_report
from s2v_pipeline.chunks.manifest import ChunkManifest
from s2v_pipeline.cluster.executor import ExecutorInfo
from s2v_pipeline.defs.previews import preview_part
from s2v_pipeline.defs.run_facts import CHUNK_FACTS, VIDEO_FACTS, chunk_facts, video_facts
from s2v_pipeline.fileserver import artifact_url
from s2v_pipeline.inputs.speech_input import SpeechInput
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.settings import ResolvedSettings, flatten
from s2v_pipeline.video.manifest import FinalVideo

Metadata = Mapping[str, Any]

_MOST_ROWS_SHOWN = 200  # the event log keeps every table; a longer one belongs into the Parquet file beside it
_NONE = "(none)"

# Said once a column, for the UI's list of columns.
_COLUMNS: Mapping[str, str] = {
    "frame": "number of the video frame, from 0",
    "time_s": "middle of the frame's time on screen, in seconds on the input's own clock",
    "rms_db": "level of the 40 ms around that time, in dBFS",
    "speech_probability": "0 to 1: somebody speaks",
    "f0_hz": "pitch of the voice in Hz, 0 where it is unvoiced",
    "voiced": "whether there is a pitch",
    "onset": "0 to 1: how suddenly the sound grows",
    "spectral_centroid_hz": "centre of the spectrum in Hz: high for s, low for m",
    **dict.fromkeys(MEL_COLUMNS, "level in this band of the mel scale, in dBFS; 00 is the lowest"),
    "phone": "ARPABET phone without stress; SIL is silence",
    "start_s": "in seconds on the input's own clock",
    "end_s": "in seconds; the next phone starts here",
    "word": "the word that the phone belongs to, as it was spoken",
    "word_index": "number of the word, from 0; -1 in silence",
    "confidence": "0 to 1: how well the sound fits the phone",
}
_WORD_COLUMNS: Mapping[str, str] = {
    "word": "as the transcript has it; empty where the sound was recognised",
    "spoken": "as it is said; IPA where the sound was recognised",
    "start_s": "in seconds on the input's own clock",
    "end_s": "in seconds",
    "confidence": "0 to 1: how well the sound fits the word",
    "phones": "ARPABET phones without stress",
}


def speech_input(value: SpeechInput, resolved: ResolvedSettings, machine: Settings) -> Metadata:
    """Of speech_inputs: the framed portrait, the sound, what was done to them, and where settings came from."""
    chosen = [
        (name, setting)
        for name, setting in flatten(resolved.settings.model_dump(mode="json"))
        if resolved.origins.get(name, "default") != "default"
    ]
    return {
        "portrait": _preview(machine, "speech_inputs", value.input_id, value.framed.name),
        "listen": _link(machine, "speech_inputs", value.input_id, value.speech.name),
        "transcript": value.transcript or f"{_NONE}: phonemes are recognised from the sound",
        "prompt": value.prompt or _NONE,
        "notes": _lines(value.notes),
        "duration_s": float(value.duration_s),
        "sound": f"{value.rate_hz} Hz, {value.channels} channel{'s' if value.channels > 1 else ''}",
        "picture": _picture_size(value.width_px, value.height_px, value.fps),
        "settings": dg.MetadataValue.table(
            [
                dg.TableRecord({"setting": name, "value": str(setting), "from": resolved.origins[name]})
                for name, setting in chosen
            ],
            schema=dg.TableSchema([dg.TableColumn(name) for name in ("setting", "value", "from")]),
        ),
    }


def features(table: pd.DataFrame, input_id: str, machine: Settings) -> Metadata:
    """Of audio_features: the summary of the speech, what was done to its sound, and the table's shape."""
    summary = {
        str(name): round(value, 3) if isinstance(value, float) else value
        for name, value in table.attrs.items()
        if isinstance(value, (int, float, str))
    }
    segments = table.attrs["segments"][:_MOST_ROWS_SHOWN]
    return {
        **summary,
        **_clean_up(clean_up_report(table.attrs), input_id, machine),
        "speech_segments": dg.MetadataValue.table(
            [dg.TableRecord({"start_s": round(a, 3), "end_s": round(b, 3), "s": round(b - a, 3)}) for a, b in segments],
            schema=dg.TableSchema([dg.TableColumn(name, "float") for name in ("start_s", "end_s", "s")]),
        ),
        **_table_shape(table),
    }


def _clean_up(report: Mapping[str, Any], input_id: str, machine: Settings) -> Metadata:
    """What was measured and decided about rumble, hum and noise, and which sounds came of it."""
    analysed, delivered = report["analysed"], report["delivered"]
    shown = {
        "clean_up": _lines(report["reasons"]),
        "clean_up_fallbacks": _lines(report["fallbacks"]),
        "listen_to_what_is_analysed": _link(machine, analysed["asset"], input_id, analysed["part"]),
        "delivered_sound": delivered["choice"],
        "listen_to_what_is_delivered": _link(machine, delivered["asset"], input_id, delivered["part"]),
    }
    if report["levels"] is not None:
        shown |= {f"measured_{name}": report["levels"][name] for name in ("speech_db", "noise_db", "snr_db")}
    if "level" in delivered:
        shown |= {f"delivered_{name}": value for name, value in delivered["level"].items()}
    if "gain" in delivered:
        shown |= {f"delivered_{name}": value for name, value in delivered["gain"].items()}
    return shown


def phonemes(table: pd.DataFrame, files: WordFiles, figure: Path, machine: Settings) -> Metadata:
    """Of phoneme_alignments: the drawn alignment, how it was made, the words, and the files for other programs."""
    shown = files.words[:_MOST_ROWS_SHOWN].round(3)
    kinds = {"start_s": "float", "end_s": "float", "confidence": "float"}
    asset, input_id = "phoneme_alignments", figure.parent.name
    links = [f"- [{part}]({_url(machine, asset, input_id, part)}) {figure.with_name(part)}" for part in files.parts]
    return {
        "alignment": _picture(machine, asset, input_id, figure.name),
        "method": table.attrs["method"],
        "fallbacks": _lines(table.attrs["fallbacks"]),
        "notes": _lines(table.attrs["notes"]),
        "captions": _lines((files.no_captions,) if files.no_captions else (*table.attrs["captions"], *files.notes)),
        "files": dg.MetadataValue.md("\n".join(links)),
        "n_words": len(files.words),
        "words": dg.MetadataValue.table(
            [dg.TableRecord(dict(zip(shown.columns, row, strict=True))) for row in shown.to_numpy().tolist()],
            schema=dg.TableSchema(
                [
                    dg.TableColumn(name, kinds.get(name, "string"), description=_WORD_COLUMNS[name])
                    for name in shown.columns
                ]
            ),
        ),
        **_table_shape(table),
    }


def chunks(value: ChunkManifest, executor: ExecutorInfo, machine: Settings) -> Metadata:
    """Of chunk_latents and rendered_clips: what was made, what was found, by whom and how fast."""
    rows = [
        dg.TableRecord(
            {
                "chunk": chunk.index,
                "frames": f"{chunk.frames.start_frame}-{chunk.frames.stop_frame}",
                "segment": value.segment_number(chunk),
                "made": chunk.made,
                "origin": chunk.origin,
                "seconds": round(chunk.seconds_s, 3),
                "worker": chunk.worker,
                "file": chunk.part,
            }
        )
        for chunk in value.chunks[:_MOST_ROWS_SHOWN]
    ]
    schema = [
        dg.TableColumn("chunk", "int"),
        dg.TableColumn("frames"),
        dg.TableColumn("segment", "int", description="0 until the chain of chunks starts anew in a pause, then 1 ..."),
        dg.TableColumn("made", "bool"),
        dg.TableColumn("origin"),
        dg.TableColumn("seconds", "float"),
        dg.TableColumn("worker"),
        dg.TableColumn("file"),
    ]
    return {
        "chunks": len(value.chunks),
        "chunks_made": value.n_made,
        "chunks_found": len(value.chunks) - value.n_made - value.n_cached,
        "chunks_from_cache": value.n_cached,
        "retries": sum(chunk.retries for chunk in value.chunks),
        "worker_seconds": round(sum(chunk.seconds_s for chunk in value.chunks), 3),
        "frames": value.n_frames,
        "segments": ", ".join(f"{each.start_frame}-{each.stop_frame}" for each in value.segments[:_MOST_ROWS_SHOWN]),
        "per_chunk": dg.MetadataValue.table(rows, schema=dg.TableSchema(schema)),
        "browse": dg.MetadataValue.url(_folder_url(machine, value.asset, value.input_id)),
        "generator": value.generator,
        "generator_fingerprint": value.fingerprint,
        "prompt_words_understood": ", ".join(value.prompt_words) or _NONE,
        "prompt_words_ignored": ", ".join(value.prompt_words_ignored) or _NONE,
        "notes": _lines(value.notes),
        "executor": f"{executor.kind} at {executor.address}, {executor.n_cpus} CPU",
        **({"ray_dashboard": dg.MetadataValue.url(executor.dashboard_url)} if executor.dashboard_url else {}),
        CHUNK_FACTS: dg.MetadataValue.json(chunk_facts(value)),
    }


def final_video(value: FinalVideo, stats: Mapping[str, Any], store: ArtifactStore, machine: Settings) -> Metadata:
    """Of final_videos: the way to the video, what it looks like, its lengths, and where the time went."""
    video = store.path("final_videos", value.input_id, value.video_part)
    watch = _url(machine, "final_videos", value.input_id, value.video_part)
    return {
        "watch": dg.MetadataValue.url(watch),
        "poster": _preview(machine, "final_videos", value.input_id, value.poster_part, opens=watch),
        "contact_sheet": _preview(machine, "final_videos", value.input_id, value.contact_sheet_part),
        "captions": value.no_captions or dg.MetadataValue.md(_part_links(machine, value, value.caption_parts)),
        "credentials": value.credentials,
        "extras": dg.MetadataValue.md(_part_links(machine, value, value.extra_parts)) if value.extra_parts else _NONE,
        "video_s": float(value.video_s),
        "audio_s": float(value.audio_s),
        "video_minus_audio_ms": round(1000 * float(value.video_s - value.audio_s), 3),
        "frames": value.n_frames,
        "picture": _picture_size(value.width_px, value.height_px, value.fps),
        "size_bytes": value.size_bytes,
        "file": dg.MetadataValue.path(str(video.resolve())),
        "browse": dg.MetadataValue.url(_folder_url(machine, "final_videos", value.input_id)),
        "sha256": value.sha256,
        "stats": _link(machine, "final_videos", value.input_id, value.stats_part),
        "bottleneck": stats["bottleneck"],
        "real_time_factor": stats["real_time_factor"],
        VIDEO_FACTS: dg.MetadataValue.json(video_facts(stats)),
    }


def _part_links(machine: Settings, value: FinalVideo, parts: Sequence[str]) -> str:
    return ", ".join(f"[{part}]({_url(machine, 'final_videos', value.input_id, part)})" for part in parts)


def _picture(machine: Settings, asset: str, input_id: str, part: str) -> dg.MarkdownMetadataValue:
    """A picture inline; a click opens it by itself."""
    return _linked_picture(_url(machine, asset, input_id, part), _url(machine, asset, input_id, part))


def _preview(
    machine: Settings, asset: str, input_id: str, part: str, *, opens: str | None = None
) -> dg.MarkdownMetadataValue:
    """The small copy of a picture inline; a click opens the picture, or what `opens` names."""
    shown = _url(machine, asset, input_id, preview_part(part))
    return _linked_picture(shown, opens or _url(machine, asset, input_id, part))


def _linked_picture(shown: str, opens: str) -> dg.MarkdownMetadataValue:
    return dg.MetadataValue.md(f"[![a picture, shown while s2v up runs]({shown})]({opens})")


def _url(machine: Settings, asset: str, input_id: str, part: str) -> str:
    return artifact_url(machine.server.file_port, asset, input_id, part)


def _link(machine: Settings, asset: str, input_id: str, part: str) -> dg.UrlMetadataValue:
    return dg.MetadataValue.url(_url(machine, asset, input_id, part))


def _folder_url(machine: Settings, asset: str, input_id: str) -> str:
    """The file server's listing of everything that an asset keeps for an input."""
    return _url(machine, asset, input_id, "x").removesuffix("x")


def _picture_size(width_px: int, height_px: int, fps: Any) -> str:
    return f"{width_px} x {height_px} at {fps} frames/s"


def _lines(texts: Any) -> str:
    return "; ".join(texts) or _NONE


def _table_shape(table: pd.DataFrame) -> Metadata:
    columns = [
        dg.TableColumn(str(name), str(dtype), description=_COLUMNS.get(str(name)))
        for name, dtype in table.dtypes.items()
    ]
    return {"dagster/row_count": len(table), "dagster/column_schema": dg.TableSchema(columns)}
