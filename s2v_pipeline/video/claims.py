"""What a video's content credentials claim: made by AI, by which program, from which files.

Belongs here: the claims as a value, as a C2PA manifest definition, and read back from one.
Does not belong here: signing and verifying (credentials), certificates (certificate), XMP (xmp).

Nothing is claimed about people: no names, no prompt, no transcript; of portrait and speech their hashes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from s2v_pipeline import __version__
from s2v_pipeline.video.xmp import AI_GENERATED

PROGRAM = "s2v_pipeline"
ASSERTION = "s2v.generation"
"""Label of the assertion that holds what C2PA has no place for."""

_CREATED = "c2pa.created"
_ACTIONS = "c2pa.actions"


@dataclass(frozen=True)
class Claims:
    """What is claimed of one video.

    Attributes:
        title: name of the file that was delivered.
        generator, fingerprint: what made the frames.
        portrait_sha256, speech_sha256: of the files that the video was made from, as the input's record has them.
        visible_label: text that was drawn into the frames; "" for none.
        unsigned_sha256: of the file before it was signed.
        picture_sha256, sound_sha256: of its packets, see `essence`.
        version: of this program.
    """

    title: str
    generator: str
    fingerprint: str
    portrait_sha256: str
    speech_sha256: str
    visible_label: str
    unsigned_sha256: str
    picture_sha256: str
    sound_sha256: str
    version: str = __version__


def manifest_definition(claims: Claims, *, media_type: str, when: str) -> dict[str, Any]:
    """The manifest that c2pa's Builder takes.

    Args:
        claims: what to say.
        media_type: of the file that is signed.
        when: UTC time of signing, RFC 3339.
    """
    agent = {"name": PROGRAM, "version": claims.version}
    action = {
        "action": _CREATED,
        "digitalSourceType": AI_GENERATED,
        "when": when,
        "softwareAgent": agent,
        "description": f"talking video made from a portrait and a speech recording by the generator {claims.generator}",
        "parameters": {"ingredientIds": ["portrait", "speech"]},
    }
    return {
        "title": claims.title,
        "format": media_type,
        "claim_generator_info": [agent],
        "ingredients": [
            _ingredient("portrait", "image/png", claims.portrait_sha256),
            _ingredient("speech", "audio/flac", claims.speech_sha256),
        ],
        "assertions": [
            {"label": f"{_ACTIONS}.v2", "created": True, "data": {"actions": [action]}},
            {"label": ASSERTION, "kind": "Json", "created": True, "data": asdict(claims)},
        ],
    }


def _ingredient(name: str, media_type: str, sha256: str) -> dict[str, str]:
    return {
        "label": name,
        "title": name,
        "format": media_type,
        "relationship": "inputTo",
        "instance_id": f"sha256:{sha256}",
        "description": f"SHA-256 {sha256}",
    }


def claims_of(manifest: Mapping[str, Any]) -> Claims | None:
    """The claims of a manifest that this program made; None of another's."""
    for assertion in manifest.get("assertions", []):
        data = assertion.get("data")
        if assertion.get("label") == ASSERTION and isinstance(data, Mapping):
            values = {field.name: data.get(field.name) for field in fields(Claims)}
            if all(isinstance(value, str) for value in values.values()):
                return Claims(**{name: str(value) for name, value in values.items()})
    return None


def created_action(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The action that says how the content came to be; empty where a manifest has none."""
    for assertion in manifest.get("assertions", []):
        data = assertion.get("data")
        if str(assertion.get("label", "")).startswith(_ACTIONS) and isinstance(data, Mapping):
            for action in data.get("actions", []):
                if isinstance(action, Mapping) and action.get("action") == _CREATED:
                    return action
    return {}
