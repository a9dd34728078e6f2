"""The settings of content credentials.

Belongs here: nothing but the group. Does not belong here: the other groups (setting_groups), acting on a setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from s2v_pipeline.setting_values import Group


class CredentialSettings(Group):
    """What the video says of itself: signed content credentials (C2PA), the IPTC source type, a visible label."""

    enabled: bool = Field(True, description="sign every video and mark it as made by AI; false leaves both out")
    certificate: Path | None = Field(
        None, description="PEM file with the signer's certificate, then those above it; none means the test certificate"
    )
    private_key: Path | None = Field(None, description="PEM file with its private key, without a passphrase")
    algorithm: Literal["auto", "es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"] = Field(
        "auto", description="of the signature; auto takes what fits the key (ps256 for RSA)"
    )
    timestamp_url: str | None = Field(
        None, pattern=r"^https?://", description="RFC 3161 time-stamp authority; it is asked for every video"
    )
    trust_anchors: Path | None = Field(
        None, description="PEM file with certificates that `s2v verify` trusts; no list is fetched"
    )
    label: str = Field("", max_length=80, description="text drawn into a corner of every frame; empty draws none")
    label_corner: Literal["top_left", "top_right", "bottom_left", "bottom_right"] = Field(
        "bottom_right", description="where"
    )
    label_font: Path | None = Field(
        None, description="TrueType or OpenType file; none means DejaVu Sans (Latin, Greek, Cyrillic)"
    )
