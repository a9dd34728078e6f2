"""What `s2v doctor` says of content credentials.

Belongs here: judging them. Does not belong here: reading certificates (video.certificate), signing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from s2v_pipeline.errors import ArtifactError, SettingsError
from s2v_pipeline.findings import Finding
from s2v_pipeline.installed import installed_version
from s2v_pipeline.setting_groups import Settings

_NAME = "content credentials"
_SOON = timedelta(days=30)  # time to get another certificate


def credentials_finding(settings: Settings) -> Finding:
    """Whether videos can be signed, and by whom; a first test certificate is not made for it."""
    if not settings.credentials.enabled:
        cure = "Unset credentials.enabled, unless something else marks the videos as made by AI."
        return Finding(_NAME, "warning", "off: videos are not signed, nor marked as made by AI", cure)
    try:
        import c2pa

        from s2v_pipeline.video.certificate import TEST_SIGNER, load_identity

        version = f"c2pa-python {installed_version('c2pa-python')} (c2pa-rs {c2pa.sdk_version()})"
    except (ImportError, OSError) as error:  # OSError: no library for this machine
        return Finding(_NAME, "problem", f"c2pa: {error}", "pip install -c constraints.txt -e .")
    test_signer = settings.paths.credentials / TEST_SIGNER
    if settings.credentials.certificate is settings.credentials.private_key is None and not test_signer.exists():
        return Finding(_NAME, "ok", f"{version}; a test certificate will be made in {settings.paths.credentials}")
    try:
        identity = load_identity(settings)
    except (SettingsError, ArtifactError, OSError) as error:
        return Finding(_NAME, "problem", str(error), "Mend the settings of [credentials].")
    whose = "the project's test certificate (integrity, not identity)" if identity.is_test else identity.name
    detail = f"{version}; {whose}, {identity.algorithm}, until {identity.not_after:%Y-%m-%d}"
    if identity.not_after - datetime.now(UTC) < _SOON:
        return Finding(_NAME, "warning", detail, "Renew the certificate.")
    return Finding(_NAME, "ok", detail)
