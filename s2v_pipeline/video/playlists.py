"""What the playlists of a stream say: FFmpeg's, made exact, with captions as a rendition of their own.

Belongs here: reading back what the muxer wrote, exact lengths, bit rates, captions in HLS and DASH.
Does not belong here: segments (streaming).

Rules of HLS: RFC 8216, section 4.3; of DASH: ISO/IEC 23009-1, section 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as Xml

from s2v_pipeline.errors import MediaError

MPD_NAME = "manifest.mpd"
HLS_NAME = "master.m3u8"
CAPTIONS_NAME = "captions.vtt"
_CAPTIONS_PLAYLIST = "captions.m3u8"
_NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
# WebVTT in HLS is mapped onto the clock of MPEG-2 streams (RFC 8216, section 3.5); fMP4 segments start at 0.
_TIMESTAMP_MAP = "X-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0"


def finish_playlists(
    folder: Path,
    *,
    starts_s: Sequence[Fraction],
    video_s: Fraction,
    audio_s: Fraction,
    fps: Fraction,
    codecs: str,
    channels: int,
    captions: str,
    language: str,
) -> None:
    """Rewrite FFmpeg's playlists in place.

    The lengths of segments are checked against the chunks' starts; the whole length is written to the microsecond where
    FFmpeg rounds to tenths; bit rates are those of the largest segment, as HLS asks for, not the encoder's target.
    `codecs` names the picture's codec where FFmpeg leaves it out.

    Raises:
        MediaError: a rendition's segments do not start where chunks do.
    """
    tree = Xml.fromstring((folder / MPD_NAME).read_bytes())  # noqa: S314 - written a moment ago by FFmpeg's muxer
    lengths_s = [end - start for start, end in zip(starts_s, [*starts_s[1:], video_s], strict=True)]
    renditions = []
    for representation in tree.iter(_name("Representation")):
        number = representation.attrib["id"]
        is_video = representation.attrib["mimeType"].startswith("video")
        found_s = _segment_lengths(representation)
        _check(folder, number, found_s, lengths_s, frame_s=1 / fps, exact=is_video)
        representation.set("bandwidth", str(_peak_bps(folder, number, found_s)))
        if is_video and not representation.attrib["codecs"]:
            representation.set("codecs", codecs)
        renditions.append(representation.attrib)
    tree.set("mediaPresentationDuration", f"PT{float(max(video_s, audio_s)):.6f}S")
    tree.set("maxSegmentDuration", f"PT{float(max(lengths_s)):.6f}S")
    tree.set("minBufferTime", "PT2S")
    if captions:
        (folder / CAPTIONS_NAME).write_text(captions, encoding="utf-8")
        _add_captions(tree, language)
        _write_captions_playlist(folder, captions, video_s)
    Xml.register_namespace("", _NAMESPACE)
    (folder / MPD_NAME).write_bytes(Xml.tostring(tree, encoding="utf-8", xml_declaration=True))
    _finish_media_playlists(folder, [each["id"] for each in renditions])
    _write_master(folder, renditions, fps, channels=channels, captions=bool(captions), language=language)


def _name(tag: str) -> str:
    return f"{{{_NAMESPACE}}}{tag}"


def _segment_lengths(representation: Xml.Element) -> list[Fraction]:
    template = representation.find(_name("SegmentTemplate"))
    if template is None:
        return []
    clock_hz = int(template.attrib["timescale"])
    lengths: list[Fraction] = []
    for each in template.iter(_name("S")):
        lengths += [Fraction(int(each.attrib["d"]), clock_hz)] * (1 + int(each.attrib.get("r", "0")))
    return lengths


def _check(
    folder: Path,
    number: str,
    found_s: Sequence[Fraction],
    lengths_s: Sequence[Fraction],
    *,
    frame_s: Fraction,
    exact: bool,
) -> None:
    """Pictures' segments must be the chunks; sound's packets do not end where frames do, so theirs nearly."""
    slack_s = (
        Fraction(0) if exact else max(frame_s, Fraction(1, 4))
    )  # a packet of AAC at 8 kHz lasts 0.128 s, and has two ends
    starts = [sum(lengths_s[:index], Fraction(0)) for index in range(len(lengths_s))]
    found = [sum(found_s[:index], Fraction(0)) for index in range(len(found_s))]
    if len(found) != len(starts) or any(abs(a - b) > slack_s for a, b in zip(found, starts, strict=False)):
        raise MediaError(
            f"segments of rendition {number} in {folder.name} must start at the chunks",
            got=f"{len(found)} segments at {', '.join(f'{float(each):.3f}' for each in found[:8])} s",
            cure="Materialise final_videos for this partition again.",
        )


def _peak_bps(folder: Path, number: str, lengths_s: Sequence[Fraction]) -> int:
    files = sorted(folder.glob(f"segment_{number}_*.m4s"))
    return max(
        math.ceil(8 * file.stat().st_size / length) for file, length in zip(files, lengths_s, strict=True) if length
    )


def _add_captions(tree: Xml.Element, language: str) -> None:
    period = tree.find(_name("Period"))
    if period is None:
        raise AssertionError("the muxer writes one period")
    adaptation = Xml.SubElement(
        period, _name("AdaptationSet"), {"id": "2", "contentType": "text", "mimeType": "text/vtt", "lang": language}
    )
    Xml.SubElement(adaptation, _name("Role"), {"schemeIdUri": "urn:mpeg:dash:role:2011", "value": "subtitle"})
    representation = Xml.SubElement(adaptation, _name("Representation"), {"id": "captions", "bandwidth": "1000"})
    Xml.SubElement(representation, _name("BaseURL")).text = CAPTIONS_NAME


def _write_captions_playlist(folder: Path, captions: str, video_s: Fraction) -> None:
    mapped = folder / "captions_hls.vtt"
    head, _, rest = captions.partition("\n")
    mapped.write_text(f"{head}\n{_TIMESTAMP_MAP}\n{rest}", encoding="utf-8")
    lines = [
        *("#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{math.ceil(video_s)}", "#EXT-X-MEDIA-SEQUENCE:0"),
        *("#EXT-X-PLAYLIST-TYPE:VOD", f"#EXTINF:{float(video_s):.6f},", mapped.name, "#EXT-X-ENDLIST"),
    ]
    (folder / _CAPTIONS_PLAYLIST).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _finish_media_playlists(folder: Path, numbers: Sequence[str]) -> None:
    """A finished recording, without the wall-clock times that the muxer writes for broadcasts."""
    for number in numbers:
        path = folder / f"media_{number}.m3u8"
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith("#EXT-X-PROGRAM-DATE-TIME")]
        kept[2:2] = ["#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS"]
        path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def _write_master(
    folder: Path,
    renditions: Sequence[Mapping[str, str]],
    fps: Fraction,
    *,
    channels: int,
    captions: bool,
    language: str,
) -> None:
    """The list of renditions; the muxer's own knows no captions, and not every codec's name."""
    *pictures, sound = renditions
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    lines.append(
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="{language}",LANGUAGE="{language}",DEFAULT=YES,AUTOSELECT=YES,'
        f'CHANNELS="{channels}",URI="media_{sound["id"]}.m3u8"'
    )
    if captions:
        lines.append(
            f'#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="captions",NAME="{language}",LANGUAGE="{language}",DEFAULT=NO,'
            f'AUTOSELECT=YES,URI="{_CAPTIONS_PLAYLIST}"'
        )
    for picture in pictures:
        together_bps = int(picture["bandwidth"]) + int(sound["bandwidth"])
        lines.append(
            f"#EXT-X-STREAM-INF:BANDWIDTH={together_bps},RESOLUTION={picture['width']}x{picture['height']},"
            f'FRAME-RATE={float(fps):.3f},CODECS="{picture["codecs"]},{sound["codecs"]}",AUDIO="sound"'
            + (',SUBTITLES="captions"' if captions else "")
        )
        lines.append(f"media_{picture['id']}.m3u8")
    (folder / HLS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def hevc_codecs(configuration: bytes) -> str:
    """The codecs parameter of H.265 from its configuration record (hvcC), which FFmpeg's muxer leaves empty.

    ISO/IEC 14496-15, sections 8.3.3.1 and E.3: profile, compatibility flags with their bits reversed, tier and level,
    constraint bytes without the zeros at their end.
    """
    profile_byte, level = configuration[1], configuration[12]
    space = ("", "A", "B", "C")[profile_byte >> 6]
    tier = "H" if profile_byte >> 5 & 1 else "L"
    compatibility = int(f"{int.from_bytes(configuration[2:6]):032b}"[::-1], 2)
    constraints = [f"{byte:X}" for byte in configuration[6:12].rstrip(b"\0")]
    return ".".join(["hvc1", f"{space}{profile_byte & 31}", f"{compatibility:X}", f"{tier}{level}", *constraints])
