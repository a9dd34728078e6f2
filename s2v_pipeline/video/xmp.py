"""The IPTC digital source type in the file's own metadata: an XMP packet in a box of its own.

Belongs here: the packet's text, putting it at the end of an MP4, finding it again.
Does not belong here: signed claims (claims, credentials), the container's tags (mux).

The box is `uuid` with XMP's UUID at the outermost level (XMP specification, part 3, "MPEG-4"). It stands last, so no
offset of the index moves. The properties' names are IPTC's (Video Metadata Hub; Photo Metadata Standard 2025.1).
"""

from __future__ import annotations

import re
import struct
import uuid
from pathlib import Path
from xml.sax.saxutils import quoteattr

from s2v_pipeline.errors import MediaError
from s2v_pipeline.video.boxes import top_level_boxes

AI_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's news code for media that a trained model made."""

_XMP_BOX = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes
_PACKET_ID = "W5M0MpCehiHzreSzNTczkc9d"  # the same for every packet (XMP specification, part 1)
_MOST_PACKET_BYTES = 1 << 20  # this pipeline's has under 1 kB; a bound on hostile files
_SOURCE_TYPE = re.compile(r"DigitalSourceType(?:\s*=\s*[\"']([^\"']+)[\"']|\s*>\s*([^<\s]+)\s*<)")


def xmp_packet(*, tool: str, version: str, system: str) -> str:
    """The packet that marks a video as made by AI.

    Args:
        tool, version: the program that wrote the file.
        system: what generated the picture.
    """
    return (
        f'<?xpacket begin="\ufeff" id="{_PACKET_ID}"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""\n'
        '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"\n'
        '    xmlns:xmp="http://ns.adobe.com/xap/1.0/"\n'
        f"    Iptc4xmpExt:DigitalSourceType={quoteattr(AI_GENERATED)}\n"
        f"    Iptc4xmpExt:AISystemUsed={quoteattr(f'{tool}, generator {system}')}\n"
        f"    Iptc4xmpExt:AISystemVersionUsed={quoteattr(version)}\n"
        f"    xmp:CreatorTool={quoteattr(f'{tool} {version}')}/>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="r"?>'
    )


def append_xmp(path: Path, packet: str) -> None:
    """Put a packet at the end of an MP4, in place.

    Raises:
        MediaError: the file cannot be written, or its last box is open-ended.
    """
    content = packet.encode()
    try:
        with path.open("r+b") as file:
            boxes = list(top_level_boxes(file, path.stat().st_size))
            if not boxes or boxes[-1][2] != path.stat().st_size:
                raise ValueError("boxes that do not fill the file")
            file.seek(0, 2)
            file.write(struct.pack(">I4s", 8 + len(_XMP_BOX) + len(content), b"uuid") + _XMP_BOX + content)
    except (OSError, ValueError, struct.error) as error:
        raise MediaError(
            f"{path.name} must be an MP4 that metadata can be put into",
            got=str(error),
            cure="Check the free disk space, and make the video again.",
        ) from error


def read_xmp(path: Path) -> str | None:
    """The first packet of an MP4; None where there is none or the boxes cannot be read to it."""
    try:
        with path.open("rb") as file:
            for name, start, end in top_level_boxes(file, path.stat().st_size):
                if name != b"uuid" or not len(_XMP_BOX) <= end - start <= _MOST_PACKET_BYTES:
                    continue
                file.seek(start)
                body = file.read(end - start)
                if body.startswith(_XMP_BOX):
                    return body[len(_XMP_BOX) :].decode("utf-8", errors="replace")
    except (OSError, ValueError, struct.error):
        return None
    return None


def digital_source_type(packet: str | None) -> str | None:
    """The source type that a packet names, as an attribute or as an element.

    Looked for in the text: a foreign packet is hostile XML until proven, and one value is wanted of it.
    """
    found = _SOURCE_TYPE.search(packet or "")
    return next(filter(None, found.groups()), None) if found else None
