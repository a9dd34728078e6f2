"""Who signs: the user's certificate and key, or a test certificate that is made once for the project folder.

Belongs here: reading and checking certificate and key, making the test certificate, where settings' files lie.
Does not belong here: what is signed (claims), signing and reading signatures (credentials).

The test certificate comes from an authority that exists for one moment: its key signs one certificate and is forgotten,
never written. So nobody, this project included, can get another certificate under it; what it signed can be told
from what anybody else signed. It names nobody: it proves that a file is as it was made, not who made it.
"""

from __future__ import annotations

import logging
import os
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from s2v_pipeline.artifacts import atomic_path, disk_errors
from s2v_pipeline.credential_settings import CredentialSettings
from s2v_pipeline.errors import SettingsError
from s2v_pipeline.setting_groups import Settings

TEST_SIGNER = "test_signer.pem"
"""In the folder `paths.credentials`: private key, certificate, authority; readable for its owner alone."""
TEST_CERTIFICATES = "test_certificates.pem"
"""The same without the key, to give to others as their `credentials.trust_anchors`."""

_ORGANISATION = "s2v_pipeline test certificate"
# C2PA's own purpose "claim signing" (C2PA technical specification, certificate profile), and e-mail protection, which
# readers of earlier versions of the specification ask for.
_PURPOSES = (ObjectIdentifier("1.3.6.1.4.1.62558.2.1"), ExtendedKeyUsageOID.EMAIL_PROTECTION)
_VALID_FOR = timedelta(days=3650)  # without a time stamp, a signature is good for as long as its certificate
_CLOCKS_DIFFER_BY = timedelta(days=1)  # a file looked at on a machine whose clock is behind
_OWNER_ALONE = 0o600
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_RSA_ALGORITHMS = ("ps256", "ps384", "ps512")
_LEAST_RSA_BITS = 2048  # C2PA technical specification, allowed keys

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SigningIdentity:
    """A certificate with its key.

    Attributes:
        chain_pem: the signer's certificate, then those above it.
        private_key_pem: PKCS 8, without a passphrase.
        algorithm: C2PA's name: es256, es384, es512, ps256, ps384, ps512, ed25519.
        is_test: the project's own test certificate.
        name: of the signer, as the certificate says.
        serial: of the certificate.
        sha256: of the certificate.
        not_after: until when it is valid.
    """

    chain_pem: str
    private_key_pem: str = field(repr=False)
    algorithm: str
    is_test: bool
    name: str
    serial: int
    sha256: str
    not_after: datetime


def credentials_at(settings: Settings, folder: Path) -> Settings:
    """The same settings, whose relative files of credentials start at the project folder."""
    folder = folder.absolute()
    own = settings.credentials
    names = ("certificate", "private_key", "trust_anchors", "label_font")
    files = {name: folder / path for name in names if (path := getattr(own, name)) is not None}
    paths = settings.paths.model_copy(update={"credentials": folder / settings.paths.credentials})
    return settings.model_copy(update={"credentials": own.model_copy(update=files), "paths": paths})


def load_identity(settings: Settings) -> SigningIdentity:
    """The user's certificate and key where they are set, else the project's test certificate, made when missing.

    Raises:
        SettingsError: only one of the two is set, a file that cannot be read, a key that is not the certificate's, an
            algorithm that does not fit the key, a certificate that is not valid now.
        ArtifactError: the folder of the test certificate may not be written.
    """
    own = settings.credentials
    if (own.certificate is None) is not (own.private_key is None):
        raise SettingsError(
            "credentials.certificate and credentials.private_key must be set together",
            got="only " + ("credentials.private_key" if own.certificate is None else "credentials.certificate"),
            cure="Set both, or neither for the project's test certificate.",
        )
    if own.certificate is not None and own.private_key is not None:
        return _identity(_read(own.certificate), _read(own.private_key), own, is_test=False)
    return _test_identity(settings.paths.credentials, own)


def project_authority_pem(folder: Path) -> str | None:
    """The authority of the project's test certificate; None where none was made yet."""
    path = folder / TEST_CERTIFICATES
    if not path.is_file():
        return None
    return _pem(_certificates(path.read_bytes(), path.name)[-1])


def _test_identity(folder: Path, own: CredentialSettings) -> SigningIdentity:
    path = folder / TEST_SIGNER
    with disk_errors(folder):
        if path.is_file():
            content = path.read_bytes()
            if _certificates(content, path.name)[0].not_valid_after_utc > datetime.now(UTC):
                return _identity(content, content, own, is_test=True)
            _log.warning("the test certificate in %s has expired; another is made", path)
            path.replace(path.with_name(f"expired_{TEST_SIGNER}"))
        _make_test_certificate(folder)
        content = path.read_bytes()
        with atomic_path(folder / TEST_CERTIFICATES) as temporary:
            temporary.write_text("".join(map(_pem, _certificates(content, path.name))))
    return _identity(content, content, own, is_test=True)


def _make_test_certificate(folder: Path) -> None:
    """Write key and certificates; of two processes that do so at once, one wins and both use what it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    chain, key = _new_test_chain(datetime.now(UTC))
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain_pem = "".join(map(_pem, chain)).encode()
    temporary = folder / f".{uuid.uuid4().hex}"
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _OWNER_ALONE), "wb") as file:
            file.write(key_pem + chain_pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, folder / TEST_SIGNER)
    except FileExistsError:
        return
    finally:
        temporary.unlink(missing_ok=True)
    _log.info("made the test certificate %s", folder / TEST_SIGNER)


def _new_test_chain(now: datetime) -> tuple[tuple[x509.Certificate, x509.Certificate], ec.EllipticCurvePrivateKey]:
    """(certificate, its authority), key of the certificate."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    mark = uuid.uuid4().hex[:8]  # so that certificates of two projects can be told apart by their names
    authority_name = _name(f"authority {mark}")
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        _builder(_name(f"project {mark}"), authority_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_PURPOSES), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return (certificate, authority), key


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER_BY)
        .not_valid_after(now + _VALID_FOR)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _identity(chain: bytes, key_pem: bytes, own: CredentialSettings, *, is_test: bool) -> SigningIdentity:
    names = (TEST_SIGNER,) * 2 if is_test else ("credentials.certificate", "credentials.private_key")
    certificates = _certificates(chain, names[0])
    first = certificates[0]
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"{names[1]} must be a private key as PEM, without a passphrase",
            got=str(error),
            cure="Take the passphrase off (`openssl pkey -in key.pem -out open.pem`) and protect the file by its mode.",
        ) from error
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*spki) != first.public_key().public_bytes(*spki):
        raise SettingsError(
            f"{names[1]} must belong to the first certificate of {names[0]}",
            got=f"another key than that of {first.subject.rfc4514_string()}",
            cure="Put the signer's certificate first, those above it after it.",
        )
    now = datetime.now(UTC)
    if not first.not_valid_before_utc <= now <= first.not_valid_after_utc:
        raise SettingsError(
            f"{names[0]} must be valid now",
            got=f"{first.not_valid_before_utc:%Y-%m-%d} to {first.not_valid_after_utc:%Y-%m-%d}",
            cure="Renew the certificate, or look at this machine's clock.",
        )
    return SigningIdentity(
        chain_pem="".join(map(_pem, certificates)),
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        algorithm=_algorithm(key, "auto" if is_test else own.algorithm),
        is_test=is_test,
        name=first.subject.rfc4514_string(),
        serial=first.serial_number,
        sha256=first.fingerprint(hashes.SHA256()).hex(),
        not_after=first.not_valid_after_utc,
    )


def _algorithm(key: object, asked: str) -> str:
    """C2PA's name of the signature's algorithm."""
    fitting: tuple[str, ...] = ()
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        fitting = (_CURVES[key.curve.name],)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        fitting = ("ed25519",)
    elif isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        fitting = _RSA_ALGORITHMS
    if not fitting or asked not in ("auto", *fitting):
        raise SettingsError(
            "credentials.private_key must be a key that C2PA knows, and credentials.algorithm must fit it",
            got=f"{type(key).__name__} with {asked}; it takes {', '.join(fitting) or 'none'}",
            cure="Use a P-256, P-384, P-521, Ed25519 or RSA key (2048 bits or more), and algorithm = 'auto'.",
        )
    return fitting[0] if asked == "auto" else asked


def _certificates(content: bytes, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise SettingsError(
            f"{name} must hold certificates as PEM", got=str(error), cure="It begins with -----BEGIN CERTIFICATE-----."
        ) from error


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            "files of credentials must be readable", got=str(error), cure="Check the path and its permissions."
        ) from error
