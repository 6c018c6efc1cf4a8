"""Only what a trusted key signed is opened, and nothing of it is parsed before."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.grants import SIGN, VERIFY
from components.key_policies import SIGNING_ALGORITHM
from runtime.errors import FalajError
from runtime.registry.errors import RequestError, SignatureError
from runtime.registry.package import Package
from runtime.registry.signing import KmsSigner, LocalSigner, load_trusted_keys, open_signer, sign, trusted_key, verify
from runtime.settings import Settings
from tests.support.model_packages import Keys, make_keys, signature_of
from tests.support.runtime_servers import Aws


@pytest.fixture
def package(built: Package, tmp_path: Path) -> Package:
    shutil.copytree(built.directory, tmp_path / "package")
    return Package(tmp_path / "package", built.manifest)


def trusted(keys: Keys) -> tuple:  # type: ignore[type-arg]
    return load_trusted_keys(Settings(trusted_keys=str(keys.trusted)))


def test_a_signed_package_is_verified_with_its_key_named(package: Package, keys: Keys) -> None:
    verified = verify(package.directory, signature_of(package, keys), trusted(keys))
    assert verified.key_name == "release"
    assert set(verified.files) == {"manifest.json", *package.manifest.files}


def test_the_library_of_the_format_accepts_our_signature(package: Package, keys: Keys, tmp_path: Path) -> None:
    from model_signing import verifying

    (tmp_path / "signature").write_bytes(signature_of(package, keys))
    public = keys.trusted / "release.pem"
    verifying.Config().use_elliptic_key_verifier(public_key=public).verify(package.directory, tmp_path / "signature")


def test_we_accept_the_signature_of_the_library(package: Package, keys: Keys, tmp_path: Path) -> None:
    from model_signing import signing

    configuration = signing.Config().use_elliptic_key_signer(private_key=keys.private)
    configuration.sign(package.directory, tmp_path / "signature")
    assert verify(package.directory, (tmp_path / "signature").read_bytes(), trusted(keys)).key_name == "release"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("altered", "altered after it was signed"),
        ("extra", "not covered"),
        ("git", "not covered"),
        ("missing", "is missing"),
        ("link", "not covered"),
    ],
)
def test_a_changed_package_is_refused(package: Package, keys: Keys, change: str, reason: str) -> None:
    signature = signature_of(package, keys)
    target = package.directory / "model" / "model.onnx"
    if change == "altered":
        target.write_bytes(target.read_bytes()[:-1] + b"\x00")
    elif change == "missing":
        target.unlink()
    elif change == "link":
        (package.directory / "linked").symlink_to("/etc")
    else:
        extra = package.directory / (".git/config.txt" if change == "git" else "extra.txt")
        extra.parent.mkdir(exist_ok=True)
        extra.write_text("x")
    with pytest.raises(SignatureError, match=reason):
        verify(package.directory, signature, trusted(keys))


def test_an_unsigned_package_is_refused(package: Package, keys: Keys) -> None:
    for nothing in (None, b""):
        with pytest.raises(SignatureError, match="not signed"):
            verify(package.directory, nothing, trusted(keys))


def test_a_key_that_nobody_trusts_is_refused(package: Package, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = make_keys(tmp_path / "other", "stranger")
    with pytest.raises(SignatureError, match="not trusted"):
        verify(package.directory, signature_of(package, stranger), trusted(keys))


def test_a_signature_that_names_another_key_than_made_it_is_refused(
    package: Package, keys: Keys, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    bundle = json.loads(signature_of(package, make_keys(tmp_path / "other", "stranger")))
    bundle["verificationMaterial"]["publicKey"]["hint"] = trusted(keys)[0].key_id
    with pytest.raises(SignatureError, match="not by key release"):
        verify(package.directory, json.dumps(bundle).encode(), trusted(keys))


def test_a_payload_that_was_exchanged_is_refused(package: Package, keys: Keys) -> None:
    bundle = json.loads(signature_of(package, keys))
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"]).replace(b"sha256", b"SHA256", 1)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(SignatureError, match="not by key release"):
        verify(package.directory, json.dumps(bundle).encode(), trusted(keys))


def test_the_signature_of_another_package_is_refused(package: Package, keys: Keys, tmp_path: Path) -> None:
    other = tmp_path / "second"
    other.mkdir()
    (other / "a.json").write_text("{}")
    signature = sign(other, "arrivals", LocalSigner(keys.private))
    with pytest.raises(SignatureError, match="not covered"):
        verify(package.directory, signature, trusted(keys))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["dsseEnvelope", "payload", "signatures", "sig", "verificationMaterial", "publicKey", "hint"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary(min_size=1, max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_signature_is_refused_in_one_line(signature: bytes) -> None:
    with pytest.raises(SignatureError) as caught:
        verify(Path(), signature, ())
    assert "\n" not in str(caught.value)


def test_a_key_of_kms_signs_what_its_public_half_verifies(package: Package, settings: Settings, aws: Aws) -> None:
    created = aws.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
    arn = created["KeyMetadata"]["Arn"]
    signer = open_signer(settings.model_copy(update={"signing_key": f"kms:{arn}"}))
    assert isinstance(signer, KmsSigner)
    keys = (trusted_key("kms", signer.public_key_pem),)
    assert verify(package.directory, sign(package.directory, "arrivals", signer), keys).key_name == "kms"


def signing_key(aws: Aws) -> str:
    created = aws.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
    return str(created["KeyMetadata"]["Arn"])


def test_keys_of_kms_are_trusted_by_their_arns_and_no_other_is(package: Package, settings: Settings, aws: Aws) -> None:
    old, new, foreign = signing_key(aws), signing_key(aws), signing_key(aws)
    trusted = load_trusted_keys(settings.model_copy(update={"trusted_keys": f"kms:{old}, kms:{new}"}))
    by_new = sign(package.directory, "arrivals", open_signer(settings.model_copy(update={"signing_key": f"kms:{new}"})))
    assert verify(package.directory, by_new, trusted).key_name == new.rpartition("/")[2]
    signer = open_signer(settings.model_copy(update={"signing_key": f"kms:{foreign}"}))
    with pytest.raises(SignatureError, match="not trusted"):
        verify(package.directory, sign(package.directory, "arrivals", signer), trusted)


def test_signing_and_trusting_ask_kms_for_exactly_what_the_roles_may(
    package: Package, settings: Settings, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.client

    arn = f"kms:{signing_key(aws)}"
    asked: list[tuple[str, str]] = []
    call = botocore.client.BaseClient._make_api_call

    def note(client: Any, operation: str, given: dict[str, Any]) -> Any:
        asked.append((f"kms:{operation}", given.get("SigningAlgorithm", "")))
        return call(client, operation, given)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", note)
    trusted = load_trusted_keys(settings.model_copy(update={"trusted_keys": arn}))
    assert {action for action, _ in asked} == set(VERIFY)
    signature = sign(package.directory, "arrivals", open_signer(settings.model_copy(update={"signing_key": arn})))
    assert {action for action, _ in asked} == {*VERIFY, *SIGN}
    assert {algorithm for action, algorithm in asked if action in SIGN} == {SIGNING_ALGORITHM}
    assert verify(package.directory, signature, trusted)


@pytest.mark.parametrize(
    "value",
    [
        "kms:arn:aws:kms:me-central-1:123456789012:alias/package-signing",
        "kms:",
        "kms:arn:aws:kms:me-central-1:123456789012:key/1,/etc/keys",
    ],
)
def test_what_is_no_key_of_kms_is_not_trusted(settings: Settings, value: str) -> None:
    with pytest.raises(RequestError):
        load_trusted_keys(settings.model_copy(update={"trusted_keys": value}))


def test_a_key_of_kms_for_another_use_is_refused(settings: Settings, kms_key: str) -> None:
    with pytest.raises(FalajError) as caught:
        open_signer(settings.model_copy(update={"signing_key": f"kms:{kms_key}"}))
    assert kms_key in str(caught.value)


@pytest.mark.parametrize("value", ["file:", "kms:", "key.pem", "file:/absent/key.pem"])
def test_a_signing_key_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(RequestError):
        open_signer(Settings(signing_key=value))


def test_without_trusted_keys_nothing_is_opened(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no \*\.pem"):
        load_trusted_keys(Settings(trusted_keys=str(tmp_path)))


def test_a_key_is_never_overwritten_and_readable_by_its_owner_only(keys: Keys) -> None:
    from runtime.registry.signing import generate_key

    assert keys.private.stat().st_mode & 0o077 == 0
    before = keys.private.read_bytes()
    with pytest.raises(RequestError, match="exists"):
        generate_key(keys.private)
    assert keys.private.read_bytes() == before
