"""Who signs: the test certificate of a project, and certificates of the user, good and bad."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from s2v_pipeline.errors import SettingsError
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.certificate import (
    TEST_CERTIFICATES,
    TEST_SIGNER,
    credentials_at,
    load_identity,
    project_authority_pem,
)
from s2v_pipeline.video.credentials import check_signer
from s2v_pipeline_tests.video.certificates import Given, write_chain


def settings_in(folder: Path, **credentials: object) -> Settings:
    return credentials_at(Settings.model_validate({"credentials": credentials}), folder)


def given_settings(folder: Path, given: Given, **more: object) -> Settings:
    return settings_in(folder, certificate=given.certificate, private_key=given.private_key, **more)


def test_the_test_certificate_is_made_once_and_its_key_is_the_owner_s_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert project_authority_pem(settings.paths.credentials) is None
    before = os.umask(0)
    try:
        first = load_identity(settings)
    finally:
        os.umask(before)
    assert load_identity(settings) == first
    assert first.is_test
    assert first.algorithm == "es256"
    folder = tmp_path / "data" / "credentials"
    assert stat.S_IMODE((folder / TEST_SIGNER).stat().st_mode) == 0o600
    assert "PRIVATE KEY" not in (folder / TEST_CERTIFICATES).read_text()
    assert sorted(path.name for path in folder.iterdir()) == [TEST_CERTIFICATES, TEST_SIGNER]
    assert "PRIVATE" not in repr(first)


def test_nobody_keeps_the_key_of_the_authority(tmp_path: Path) -> None:
    identity = load_identity(settings_in(tmp_path))
    signer, authority = x509.load_pem_x509_certificates(identity.chain_pem.encode())
    signer.verify_directly_issued_by(authority)
    stored = (tmp_path / "data" / "credentials" / TEST_SIGNER).read_text()
    assert stored.count("PRIVATE KEY-----") == 2  # begin and end of one key
    assert signer.public_key() != authority.public_key()


def test_two_projects_have_two_certificates(tmp_path: Path) -> None:
    one, other = (load_identity(settings_in(tmp_path / name)) for name in ("a", "b"))
    assert one.sha256 != other.sha256
    assert one.name != other.name


def test_processes_that_start_at_once_use_one_certificate(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: load_identity(settings).sha256, range(8)))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("key", "asked", "algorithm"),
    [
        ("p256", "auto", "es256"),
        ("p384", "es384", "es384"),
        ("ed25519", "auto", "ed25519"),
        ("rsa", "auto", "ps256"),
        ("rsa", "ps512", "ps512"),
    ],
)
def test_the_user_s_own_key_signs(tmp_path: Path, key: str, asked: str, algorithm: str) -> None:
    settings = given_settings(tmp_path, write_chain(tmp_path, key), algorithm=asked)
    identity = load_identity(settings)
    assert (identity.algorithm, identity.is_test) == (algorithm, False)
    check_signer(settings)
    assert not (tmp_path / "data").exists()  # no test certificate is made where none is needed


def test_a_key_in_openssl_s_older_form_signs(tmp_path: Path) -> None:
    given = write_chain(tmp_path, key_format=PrivateFormat.TraditionalOpenSSL)
    assert "EC PRIVATE KEY" in given.private_key.read_text()
    check_signer(given_settings(tmp_path, given))


@pytest.mark.parametrize(
    ("chain", "asked", "words"),
    [
        ({"passphrase": b"secret"}, {}, "without a passphrase"),
        ({"valid_days": (-30, -1)}, {}, "valid now"),
        ({"valid_days": (2, 30)}, {}, "valid now"),
        ({"key": "k256"}, {}, "C2PA knows"),
        ({"key": "p256"}, {"algorithm": "es384"}, "must fit"),
        ({"key": "rsa"}, {"algorithm": "es256"}, "must fit"),
        ({"purpose": ExtendedKeyUsageOID.SERVER_AUTH}, {}, "able to sign"),
    ],
)
def test_what_cannot_sign_is_refused_before_a_video_is_made(
    tmp_path: Path, chain: Mapping[str, Any], asked: Mapping[str, object], words: str
) -> None:
    settings = given_settings(tmp_path, write_chain(tmp_path, **chain), **asked)
    with pytest.raises(SettingsError, match=words):
        check_signer(settings)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, other = write_chain(tmp_path / "a"), write_chain(tmp_path / "b")
    settings = settings_in(tmp_path, certificate=one.certificate, private_key=other.private_key)
    with pytest.raises(SettingsError, match="must belong to the first certificate"):
        check_signer(settings)


@pytest.mark.parametrize("name", ["certificate", "private_key"])
def test_one_without_the_other_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="set together"):
        check_signer(settings_in(tmp_path, **{name: tmp_path / "a.pem"}))


@pytest.mark.parametrize("name", ["certificate", "private_key"])
def test_a_file_that_is_not_there_or_not_pem_is_refused(tmp_path: Path, name: str) -> None:
    settings = given_settings(tmp_path, write_chain(tmp_path))
    path = getattr(settings.credentials, name)
    path.write_text("hello")
    with pytest.raises(SettingsError, match="as PEM"):
        check_signer(settings)
    path.unlink()
    with pytest.raises(SettingsError, match="must be readable"):
        check_signer(settings)


def test_switched_off_nothing_is_made(tmp_path: Path) -> None:
    check_signer(settings_in(tmp_path, enabled=False))
    assert list(tmp_path.iterdir()) == []


def test_relative_files_start_at_the_project_folder(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, certificate="mine/chain.pem", label_font="/fonts/a.ttf")
    assert settings.credentials.certificate == tmp_path / "mine" / "chain.pem"
    assert settings.credentials.label_font == Path("/fonts/a.ttf")
    assert settings.credentials.trust_anchors is None
    assert settings.paths.credentials == tmp_path / "data" / "credentials"
