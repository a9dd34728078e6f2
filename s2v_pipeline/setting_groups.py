"""Every setting, its default and its reason, in groups; and the quality presets of each generator.

Belongs here: the typed groups, what each value may be, presets, which settings an input may set for itself.
Does not belong here: video and delivery (video_settings), layers and files (settings), acting on a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from s2v_pipeline.cache_settings import CacheSettings
from s2v_pipeline.credential_settings import CredentialSettings
from s2v_pipeline.enhance_settings import ENHANCED as ENHANCED
from s2v_pipeline.enhance_settings import EnhanceSettings
from s2v_pipeline.gate_settings import GateSettings
from s2v_pipeline.setting_values import Group, Texts
from s2v_pipeline.video_settings import DeliverySettings
from s2v_pipeline.video_settings import VideoSettings as VideoSettings

Quality = Literal["low", "medium", "high", "ultra"]
Layer = Mapping[str, Any]
"""Nested values as TOML gives them: {"video": {"width_px": 720}}."""


class InputSettings(Group):
    """Limits on what the user gives; checked before anything large is decoded."""

    max_image_mb: float = Field(64, gt=0, description="largest portrait file, in MB")
    max_image_mpx: float = Field(64, gt=0, description="most pixels of a portrait, in millions (64 = 8000x8000)")
    min_face_px: int = Field(60, ge=16, description="least width of the face; below it landmarks are guesses")
    max_audio_mb: float = Field(2048, gt=0, description="largest speech file, in MB (3 h of 48 kHz stereo WAV fit)")
    min_audio_s: float = Field(0.2, gt=0, description="shortest speech; below it there is not one syllable")
    max_audio_s: float = Field(4 * 3600, gt=0, description="longest speech")
    settle_s: float = Field(3, ge=0, description="a watched file counts as copied once unchanged for this long")
    runs_per_tick: int = Field(20, ge=1, description="run requests one sensor tick may make (each costs about 0.15 s)")


class AudioSettings(Group):
    """Clean-up of the recording, and which sound is delivered."""

    denoise: Literal["auto", "on", "off"] = Field(
        "auto", description="noise reduction; auto where the speech stands less than 15 dB above the noise"
    )
    derumble: Literal["auto", "on", "off"] = Field(
        "auto", description="cut off what is below the voice; auto where it is less than 12 dB under the speech"
    )
    high_pass_hz: float = Field(60, ge=20, le=150, description="where it is cut off; the lowest voices start at 60 Hz")
    dehum: Literal["auto", "off"] = Field(
        "auto", description="take out 50 or 60 Hz and multiples where they are found and can be heard"
    )
    delivered: Literal["original", "cleaned", "normalised"] = Field(
        "original",
        description="sound of the video; cleaned: what is analysed; normalised: that at loudness_lufs",
    )
    loudness_lufs: float = Field(
        -16, ge=-36, le=-9, description="of normalised: -14 streaming, -16 spoken word, -23 EBU broadcast"
    )


class AlignmentSettings(Group):
    """Which phoneme is said when."""

    aligner: Literal["auto", "pocketsphinx", "recogniser", "ctc"] = Field(
        "auto",
        description="pocketsphinx: English, with a transcript; recogniser: from the sound alone; ctc: your checkpoint; "
        "auto: ctc where a checkpoint is set, else the first two in turn",
    )
    ctc_checkpoint: Path | None = Field(
        None, description="folder of a Wav2Vec2ForCTC model for letters or phonemes of any language; never downloaded"
    )
    language: str = Field(
        "en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", description="of the speech, as a tag: en, en-GB, de, pt-BR"
    )


class GenerationSettings(Group):
    """How chunks are made."""

    generator: str = Field("portrait", description="name of a registered generator")
    quality: Quality = Field("medium", description="preset of size and encoding; explicit values win over it")
    enhance_quality: bool = Field(
        False, description="the generator's own set of `enhance`; explicit values win over it"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="of the input; a chunk's seed derives from it")
    chunk_s: float = Field(4.0, gt=0, le=60, description="length of a chunk: the most work that a crash can lose")
    new_segment_pause_s: float = Field(
        0.0, ge=0, description="a chain of chunks (wan_s2v) starts anew in pauses at least this long; 0: never"
    )


class WanSettings(Group):
    """The generator `wan_s2v` (Wan2.2-S2V-14B); the others do not look at these."""

    weights: Path | None = Field(None, description="folder of the model, in the official or the Diffusers layout")
    loras: Texts = Field(
        (), description="LoRA files merged at load, each `path` or `path@strength`; commas part them in a variable"
    )
    steps: int = Field(40, ge=1, le=1000, description="denoising steps of a chunk; time grows with them")
    solver: Literal["unipc", "dpm++", "euler"] = Field("unipc", description="euler is what few-step LoRAs learned with")
    shift: float = Field(3.0, gt=0, le=100, description="of the noise schedule; higher spends more steps on the layout")
    guidance: float = Field(
        4.5, ge=1, le=30, description="classifier-free guidance; 1 is none, with one forward a step instead of two"
    )
    negative_prompt: str | None = Field(None, max_length=10_000, description="none means the official one")
    precision: Literal["bfloat16", "float32"] = Field("bfloat16", description="of the weights; float32 needs 65 GB")
    fp8: bool = Field(False, description="8-bit linear layers: faster, an approximation")
    compile: bool = Field(True, description="torch.compile: a minute more before the first chunk, then faster")
    offload: Literal["auto", "none", "text_encoder", "layers"] = Field(
        "auto", description="what waits in host memory while it is not used; layers fits small cards and is slow"
    )
    step_cache: float = Field(
        0.0, ge=0, le=1, description="reuse a step's result while it changes less than this; 0 is off, an approximation"
    )
    vae_tiling: Literal["auto", "on", "off"] = Field("auto", description="decode in tiles: less memory, more time")
    device: Literal["auto", "cuda", "cpu"] = Field("auto", description="auto and cuda ask the cluster for a GPU")
    attention: Literal["auto", "cudnn", "flash", "math"] = Field("auto", description="kernel; auto takes the fastest")
    split: Literal["auto", "sequence", "guidance"] = Field(
        "auto", description="what several GPUs share first: tokens, or the two runs of a guided step (auto, if guided)"
    )


class ClusterSettings(Group):
    """Where chunks are made."""

    executor: Literal["ray", "in_process"] = Field("ray", description="in_process: no Ray, one chunk after another")
    address: str | None = Field(
        None,
        description="host:port of an existing Ray cluster; shared: a local one for all runs; none: one for each run",
    )
    num_cpus: int | None = Field(None, ge=1, description="CPUs that a local Ray may use; none means all")
    object_store_mb: int = Field(
        128, ge=80, description="local Ray's object store; chunks travel as files, so it stays small"
    )
    video_encoder: Literal["software", "auto", "hardware"] = Field(
        "software", description="auto: a graphics card's where one works (faster, larger files), else software"
    )
    task_retries: int = Field(3, ge=0, description="times a chunk is redone when its worker dies")
    gpus_per_video: int = Field(1, ge=1, le=8, description="GPUs of one host that make each chunk together (wan_s2v)")
    grow_to_gpus: int = Field(
        0,
        ge=0,
        description="GPUs up to which the cluster at `address` is asked to grow (autoscaler); 0: not at all",
    )
    segments_at_once: int | None = Field(
        None, ge=1, description="segments of one video made at the same time (wan_s2v); none: as many as there are GPUs"
    )
    rank_timeout_s: float = Field(
        120, gt=0, description="GPUs that make a chunk together give up when one does not answer for so long"
    )
    idle_s: float = Field(
        600, ge=0, description="how long a loaded model and the shared Ray stay when no run uses them; 0: not at all"
    )
    dashboard: bool = Field(False, description="of the shared Ray; takes 0.3 GB and 8 s more to start")
    connect_timeout_s: float = Field(5, gt=0, description="for the TCP probe of `address` before Ray is asked")


class PathSettings(Group):
    """Folders; relative ones start at the working folder."""

    inputs: Path = Field(Path("data/inputs"), description="the watched folder")
    artifacts: Path = Field(Path("data/artifacts"), description="what the stages make")
    dagster_home: Path = Field(Path("data/dagster"), description="Dagster's instance: run history, event logs")
    credentials: Path = Field(Path("data/credentials"), description="the project's own test certificate and its key")
    face_model: Path | None = Field(None, description="another copy of face_landmarker.task than the packaged one")


class ServerSettings(Group):
    """`s2v up`; both servers listen on loopback only."""

    dagster_port: int = Field(3000, ge=1, le=65535, description="of the Dagster UI")
    file_port: int = Field(3111, ge=1, le=65535, description="of the read-only file server (posters, previews, videos)")


class Settings(Group):
    """All settings, resolved."""

    inputs: InputSettings = InputSettings()
    video: VideoSettings = VideoSettings()
    delivery: DeliverySettings = DeliverySettings()
    enhance: EnhanceSettings = EnhanceSettings()
    audio: AudioSettings = AudioSettings()
    alignment: AlignmentSettings = AlignmentSettings()
    generation: GenerationSettings = GenerationSettings()
    wan: WanSettings = WanSettings()
    credentials: CredentialSettings = CredentialSettings()
    gate: GateSettings = GateSettings()
    cluster: ClusterSettings = ClusterSettings()
    cache: CacheSettings = CacheSettings()
    paths: PathSettings = PathSettings()
    server: ServerSettings = ServerSettings()


_WAN_VIDEO: Layer = {"framing": "picture", "fps": 16}  # the model knows one rate, and wants to see the whole picture
_WAN_CHUNK: Layer = {"chunk_s": 5.0}  # 80 frames: what the model was trained on
# What the gate knows of pictures comes from `portrait`: a model may move the camera, and then it only warns.
_WAN_GATE: Layer = {"blocking": ["container_is_as_ordered", "length_is_exact", "sound_is_the_speech", "captions_fit"]}

# Each chunk starts from the one before, so that colours can wander away from the portrait's.
_WAN_ENHANCE: Layer = {"drift": True}

PRESETS: Mapping[str, Mapping[Quality, Layer]] = {
    "portrait": {
        # A preview: a quarter of the pixels, so about a third of the time.
        "low": {"video": {"width_px": 256, "height_px": 256, "crf": 23, "x264_preset": "veryfast"}},
        "medium": {"video": {"width_px": 512, "height_px": 512, "crf": 18, "x264_preset": "veryfast"}},
        "high": {"video": {"width_px": 720, "height_px": 720, "crf": 17, "x264_preset": "fast"}},
        "ultra": {"video": {"width_px": 1080, "height_px": 1080, "crf": 16, "x264_preset": "medium"}},
    },
    "wan_s2v": {
        # Twenty times less work than high. Without a LoRA that was distilled for few steps the picture is poor.
        "low": {
            "video": {**_WAN_VIDEO, "width_px": 832, "height_px": 448, "crf": 23, "x264_preset": "veryfast"},
            "generation": _WAN_CHUNK,
            "enhance": _WAN_ENHANCE,
            "gate": _WAN_GATE,
            "wan": {"steps": 4, "solver": "euler", "shift": 3.0, "guidance": 1.0},
        },
        # Half of the official steps at the official settings.
        "medium": {
            "video": {**_WAN_VIDEO, "width_px": 832, "height_px": 448, "crf": 18, "x264_preset": "veryfast"},
            "generation": _WAN_CHUNK,
            "enhance": _WAN_ENHANCE,
            "gate": _WAN_GATE,
            "wan": {"steps": 20, "solver": "unipc", "shift": 3.0, "guidance": 4.5},
        },
        # The official settings (Wan-Video/Wan2.2 wan/configs/wan_s2v_14B.py) at 480p and at 720p.
        "high": {
            "video": {**_WAN_VIDEO, "width_px": 832, "height_px": 480, "crf": 17, "x264_preset": "fast"},
            "generation": _WAN_CHUNK,
            "enhance": _WAN_ENHANCE,
            "gate": _WAN_GATE,
            "wan": {"steps": 40, "solver": "unipc", "shift": 3.0, "guidance": 4.5},
        },
        "ultra": {
            "video": {**_WAN_VIDEO, "width_px": 1024, "height_px": 704, "crf": 16, "x264_preset": "medium"},
            "generation": _WAN_CHUNK,
            "enhance": _WAN_ENHANCE,
            "gate": _WAN_GATE,
            "wan": {"steps": 40, "solver": "unipc", "shift": 3.0, "guidance": 4.5},
        },
    },
}
"""Generator -> quality -> values. A generator without a row starts from the defaults."""

PER_INPUT = (
    *("video", "audio", "generation", "delivery", "enhance"),
    *("wan.steps", "wan.solver", "wan.shift", "wan.guidance", "wan.negative_prompt"),
    "alignment.language",
)
"""Groups and single settings that an input may set for itself.

The others belong to the machine: an input comes from somebody else, and must not name files of this machine or choose
its devices.
"""


def not_for_inputs(layer: Layer) -> tuple[str, ...]:
    """Names in an input's own settings that it may not set; a whole group counts as one."""
    partly = {name.partition(".")[0] for name in PER_INPUT if "." in name}
    refused = []
    for group, values in layer.items():
        if group in partly and isinstance(values, Mapping):
            refused += [f"{group}.{name}" for name in values if f"{group}.{name}" not in PER_INPUT]
        elif group not in PER_INPUT:
            refused.append(str(group))
    return tuple(sorted(refused))
