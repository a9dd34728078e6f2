"""Certificates as a user may have them: chains of any key, with one thing wrong where a test asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEYS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}
_PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class Given:
    """Files as the settings name them, and the authority's certificate for those who trust it."""

    certificate: Path
    private_key: Path
    authority: Path


def write_chain(
    folder: Path,
    key: str = "p256",
    *,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.EMAIL_PROTECTION,
    valid_days: tuple[int, int] = (-1, 30),
    passphrase: bytes | None = None,
    key_format: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
) -> Given:
    """Write a signer's certificate under an authority of its own."""
    authority_key, signer_key = ec.generate_private_key(ec.SECP256R1()), KEYS[key]()
    authority = _certificate("Authority", "Authority", authority_key.public_key(), authority_key, (-1, 30), None)
    signer = _certificate("Anna's Studio", "Authority", signer_key.public_key(), authority_key, valid_days, purpose)
    folder.mkdir(parents=True, exist_ok=True)
    given = Given(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    given.certificate.write_bytes(signer.public_bytes(_PEM) + authority.public_bytes(_PEM))
    given.authority.write_bytes(authority.public_bytes(_PEM))
    protection = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    given.private_key.write_bytes(signer_key.private_bytes(_PEM, key_format, protection))
    return given


def _certificate(
    subject: str,
    issuer: str,
    public_key: Any,
    issuer_key: Any,
    valid_days: tuple[int, int],
    purpose: x509.ObjectIdentifier | None,
) -> x509.Certificate:
    names = [
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in (subject, issuer)
    ]
    now = datetime.now(UTC)
    first, last = (now + timedelta(days=days) for days in valid_days)
    is_authority = purpose is None
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    usage["key_cert_sign" if is_authority else "digital_signature"] = True
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)
