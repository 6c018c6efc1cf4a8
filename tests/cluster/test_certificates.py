"""Certificates.  Guards: a key that others can read, a server without its address, a cluster that ends after a year."""

from __future__ import annotations

import datetime
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from falaj.cluster.certificates import CERTIFICATE_DAYS, RENEW_BEFORE_DAYS, Authority, Identity
from falaj.cluster.configuration import identities

NOW = datetime.datetime(2026, 11, 23, 12, tzinfo=datetime.UTC)
SERVER = Identity("server", "the-server", addresses=("127.0.0.1", "localhost"))
CLIENT = Identity("client", "amal", groups=("team-a", "engineers"))


def certificate(authority: Authority, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(authority.paths(name)[0].read_bytes())


def test_second_ensure_makes_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki", now=NOW)
    assert authority.ensure([SERVER, CLIENT]) == ["ca", "service-account", "server", "client"]
    assert authority.ensure([SERVER, CLIENT]) == []


def test_every_certificate_of_a_cluster_is_signed_by_its_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path, now=NOW)
    authority.ensure(identities())
    root = x509.load_pem_x509_certificate(authority.certificate_path.read_bytes())
    for identity in identities():
        certificate(authority, identity.name).verify_directly_issued_by(root)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki", now=NOW)
    authority.ensure([CLIENT])
    assert stat.S_IMODE((tmp_path / "pki").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "pki").iterdir()} == {0o600}


def test_user_and_groups_are_where_the_api_server_looks_for_them(tmp_path: Path) -> None:
    authority = Authority(tmp_path, now=NOW)
    authority.ensure([CLIENT])
    subject = certificate(authority, "client").subject
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["amal"]
    assert [part.value for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["team-a", "engineers"]


def test_certificate_about_to_expire_is_renewed_and_the_token_key_stays(tmp_path: Path) -> None:
    Authority(tmp_path, now=NOW).ensure([CLIENT])
    token_key = (tmp_path / "service-account.key").read_bytes()
    later = NOW + datetime.timedelta(days=CERTIFICATE_DAYS - RENEW_BEFORE_DAYS, seconds=1)
    authority = Authority(tmp_path, now=later)
    assert authority.ensure([CLIENT]) == ["client"]
    assert certificate(authority, "client").not_valid_after_utc > later + datetime.timedelta(days=CERTIFICATE_DAYS - 1)
    assert (tmp_path / "service-account.key").read_bytes() == token_key


def test_certificate_with_time_left_is_kept(tmp_path: Path) -> None:
    Authority(tmp_path, now=NOW).ensure([CLIENT])
    later = NOW + datetime.timedelta(days=CERTIFICATE_DAYS - RENEW_BEFORE_DAYS - 1)
    assert Authority(tmp_path, now=later).ensure([CLIENT]) == []


def test_new_authority_makes_everything_new(tmp_path: Path) -> None:
    authority = Authority(tmp_path, now=NOW)
    authority.ensure([SERVER, CLIENT])
    (tmp_path / "ca.key").write_bytes(b"torn")
    assert authority.ensure([SERVER, CLIENT]) == ["ca", "server", "client"]


@pytest.mark.parametrize("name", ["server.crt", "server.key"])
def test_torn_file_is_made_again(tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path, now=NOW)
    authority.ensure([SERVER])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    assert authority.ensure([SERVER]) == ["server"]


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    authority = Authority(tmp_path, now=NOW)
    authority.ensure([SERVER, CLIENT])
    (tmp_path / "server.key").write_bytes((tmp_path / "client.key").read_bytes())
    assert authority.ensure([SERVER, CLIENT]) == ["server"]
    key = load_pem_private_key((tmp_path / "server.key").read_bytes(), password=None)
    assert certificate(authority, "server").public_key() == key.public_key()


def test_server_with_another_address_gets_another_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path, now=NOW)
    authority.ensure([SERVER])
    assert authority.ensure([Identity("server", "the-server", addresses=("127.0.0.1",))]) == ["server"]


def handshake(authority: Authority, trusted: Authority) -> str:
    """The client's name as a server of ``authority`` sees it over a real connection; raises what the client meets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, authority.paths("server")))
    context.load_verify_locations(str(authority.certificate_path))
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[str] = []

    def serve(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        try:
            with context.wrap_socket(raw, server_side=True) as connection:
                subject = connection.getpeercert() or {}
                seen.extend(value for part in subject["subject"] for key, value in part if key == "commonName")
                connection.sendall(b"!")
        except OSError:
            raw.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        client = ssl.create_default_context(cafile=str(trusted.certificate_path))
        client.load_cert_chain(*map(str, authority.paths("client")))
        try:
            with (
                socket.create_connection(listener.getsockname()) as raw,
                client.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
            ):
                connection.recv(1)
        finally:
            thread.join()
    return seen[0]


def test_both_sides_of_a_connection_prove_who_they_are(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.ensure([SERVER, CLIENT])
    assert handshake(authority, authority) == "amal"


def test_server_of_another_cluster_is_not_trusted(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "two")
    authority.ensure([SERVER, CLIENT])
    other.ensure([])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, other)
