"""The keys and certificates of the local control plane: one authority for each cluster, valid on this machine alone.

The authority signs what the programs serve with and who the clients are; the API server takes a client's name from the
common name and its groups from the organisations.  Nothing here is trusted by anything else, and every file is for its
owner alone.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from falaj.cluster.errors import ClusterError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 365
RENEW_BEFORE_DAYS: Final = 30
_BACKDATE: Final = datetime.timedelta(minutes=5)
"""A clock that is set back a little must not make a new certificate invalid."""


@dataclass(frozen=True)
class Identity:
    """A certificate to make: who it names, in which groups, and, for a server, where it is reached."""

    name: str
    """Of the files: ``<name>.crt`` and ``<name>.key``."""
    common_name: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    """Host names and IP addresses of a server; empty for a client."""
    both: bool = False
    """A server that is also a client: etcd, to itself."""


class Authority:
    """The certificate authority whose files lie in ``folder``; made on first use, kept afterwards."""

    def __init__(self, folder: Path, *, now: datetime.datetime | None = None) -> None:
        self._folder = folder
        self._now = now

    @property
    def certificate_path(self) -> Path:
        return self._folder / "ca.crt"

    @property
    def service_account_key_path(self) -> Path:
        """Private key that signs the tokens of service accounts."""
        return self._folder / "service-account.key"

    @property
    def service_account_public_path(self) -> Path:
        return self._folder / "service-account.pub"

    def paths(self, name: str) -> tuple[Path, Path]:
        """Certificate and key file of an identity."""
        return self._folder / f"{name}.crt", self._folder / f"{name}.key"

    def ensure(self, identities: Sequence[Identity]) -> list[str]:
        """Makes what is missing, unreadable, of another authority or about to expire; returns the names made.

        A new authority makes everything new.  The key of the service accounts stays as long as its file: every token in
        use depends on it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = []
        if not self._authority_is_good():
            self._make_authority()
            made.append("ca")
        if not (self.service_account_key_path.is_file() and self.service_account_public_path.is_file()):
            self._make_service_account_key()
            made.append("service-account")
        for identity in identities:
            if "ca" in made or not self._is_good(identity):
                self.issue(identity)
                made.append(identity.name)
        return made

    def issue(self, identity: Identity) -> tuple[Path, Path]:
        """Signs a new key for ``identity`` and writes both files."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        authority, authority_key = self._load_authority()
        key = ec.generate_private_key(ec.SECP256R1())
        usages = []
        if identity.addresses:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        if identity.both or not identity.addresses:
            usages.append(ExtendedKeyUsageOID.CLIENT_AUTH)
        now = self._time()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(identity))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
        )
        if identity.addresses:
            names = [_general_name(address) for address in identity.addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(authority_key, hashes.SHA256())
        certificate_path, key_path = self.paths(identity.name)
        write_private(key_path, _key_pem(key))
        write_private(certificate_path, _pem(certificate))
        return certificate_path, key_path

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _time(self) -> datetime.datetime:
        return self._now or datetime.datetime.now(datetime.UTC)

    def _make_authority(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "falaj local control plane")])
        now = self._time()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + datetime.timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(self._folder / "ca.key", _key_pem(key))
        write_private(self.certificate_path, _pem(certificate))

    def _make_service_account_key(self) -> None:
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(self.service_account_key_path, private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(self.service_account_public_path, public)

    def _load_authority(self) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
            key = load_pem_private_key((self._folder / "ca.key").read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"{self._folder}: the certificate authority of the cluster cannot be read; `falaj cluster up` makes "
                "a new one"
            ) from error
        assert isinstance(key, EllipticCurvePrivateKey)
        return certificate, key

    def _authority_is_good(self) -> bool:
        try:
            certificate, key = self._load_authority()
        except ClusterError:
            return False
        return certificate.public_key() == key.public_key() and self._lasts(certificate)

    def _is_good(self, identity: Identity) -> bool:
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        authority, _ = self._load_authority()
        certificate_path, key_path = self.paths(identity.name)
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = load_pem_private_key(key_path.read_bytes(), password=None)
            certificate.verify_directly_issued_by(authority)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return False
        return (
            self._lasts(certificate)
            and certificate.subject == _subject(identity)
            and certificate.public_key() == key.public_key()
            and _addresses(certificate) == set(identity.addresses)
        )

    def _lasts(self, certificate: x509.Certificate) -> bool:
        return certificate.not_valid_after_utc - self._time() > datetime.timedelta(days=RENEW_BEFORE_DAYS)


def write_private(path: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
    temporary.replace(path)


def _subject(identity: Identity) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, identity.common_name)])


def _general_name(address: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _addresses(certificate: x509.Certificate) -> set[str]:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in names}


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
