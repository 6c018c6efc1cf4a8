"""Packages on S3 are encrypted for their tenant, whole or invisible, and never believed before they are verified."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from components.grants import PACKAGE_READ, PACKAGE_TENANT, PACKAGE_WRITE, PACKAGES
from components.key_policies import KEY_USES
from runtime.errors import FalajError
from runtime.registry.errors import EnvelopeError, PackageError, RegistryAwayError, RequestError, SignatureError
from runtime.registry.package import Package
from runtime.registry.signing import load_trusted_keys
from runtime.registry.store import PackageStore
from runtime.settings import Settings
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.model_packages import Keys, make_keys, signature_of
from tests.support.runtime_servers import Aws


@pytest.fixture
def stored(store_settings: Settings, built: Package, keys: Keys) -> PackageStore:
    store = PackageStore(store_settings)
    store.put(built, signature_of(built, keys))
    return store


def objects(aws: Aws, settings: Settings) -> dict[str, bytes]:
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket=settings.model_bucket).get("Contents", [])
    return {each["Key"]: s3.get_object(Bucket=settings.model_bucket, Key=each["Key"])["Body"].read() for each in listed}


def put(aws: Aws, settings: Settings, key: str, data: bytes) -> None:
    aws.client("s3").put_object(Bucket=settings.model_bucket, Key=key, Body=data)


def fetch(store: PackageStore, settings: Settings, package: Package, directory: Path) -> Any:
    return store.fetch("arrivals", package.digest, directory, load_trusted_keys(settings))


def test_a_package_comes_back_as_it_went(
    stored: PackageStore, store_settings: Settings, built: Package, tmp_path: Path
) -> None:
    opened = fetch(stored, store_settings, built, tmp_path / "out")
    assert opened.package.digest == built.digest
    assert opened.verified.key_name == "release"
    for name in built.manifest.files:
        assert (tmp_path / "out" / name).read_bytes() == (built.directory / name).read_bytes()


def test_nothing_readable_of_a_package_lies_on_s3(
    stored: PackageStore, store_settings: Settings, built: Package, aws: Aws
) -> None:
    kept = objects(aws, store_settings)
    prefix = f"packages/tests/arrivals/{built.digest}/"
    assert all(key.startswith(prefix) for key in kept)
    bodies = b"".join(data for key, data in kept.items() if key.endswith(".enc"))
    assert b"arrivals team" not in bodies and b"PAR1" not in bodies


def test_one_data_key_is_asked_for_a_whole_package(
    store_settings: Settings, built: Package, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import aws as clients

    kms, asked = clients.client(store_settings, "kms"), []
    original = kms.generate_data_key
    monkeypatch.setattr(kms, "generate_data_key", lambda **given: asked.append(given) or original(**given))
    PackageStore(store_settings).put(built, signature_of(built, keys))
    assert len(asked) == 1
    context = asked[0]["EncryptionContext"]
    assert {"tenant": "tests", "model": "arrivals", "digest": built.digest}.items() <= context.items()


def asked_of_kms(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str]]]:
    """Fills with what is asked of KMS: the action as IAM writes it, and the encryption context."""
    import botocore.client

    asked: list[tuple[str, dict[str, str]]] = []
    call = botocore.client.BaseClient._make_api_call

    def note(client: Any, operation: str, given: dict[str, Any]) -> Any:
        if client.meta.service_model.service_name == "kms":
            asked.append((f"kms:{operation}", given.get("EncryptionContext", {})))
        return call(client, operation, given)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", note)
    return asked


def test_the_platforms_packages_ask_for_exactly_what_its_roles_may(
    store_settings: Settings,
    built: Package,
    keys: Keys,
    aws: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    untold = Settings.model_fields["tenant"].default
    assert untold == PACKAGE_TENANT
    own = store_settings.model_copy(update={"tenant": untold})
    asked = asked_of_kms(monkeypatch)
    PackageStore(own).put(built, signature_of(built, keys))
    written = len(asked)
    fetch(PackageStore(own), own, built, tmp_path / "out")
    assert {action for action, _ in asked} == set(PACKAGE_WRITE)
    assert {action for action, _ in asked[written:]} == set(PACKAGE_READ)
    assert all(context["tenant"] == PACKAGE_TENANT for _, context in asked)
    assert all(set(context) == set(KEY_USES["model"].envelope_context) for _, context in asked)
    assert all(key.startswith(PACKAGES) for key in objects(aws, own))


def test_storing_it_again_changes_nothing(
    stored: PackageStore, store_settings: Settings, built: Package, keys: Keys, aws: Aws
) -> None:
    before = objects(aws, store_settings)
    stored.put(built, signature_of(built, keys))
    assert objects(aws, store_settings) == before


def test_a_package_whose_writer_died_does_not_exist_and_is_made_whole_by_the_next(
    store_settings: Settings, built: Package, keys: Keys, tmp_path: Path
) -> None:
    store = PackageStore(store_settings)

    def die(name: str, done: int, total: int) -> None:
        if done == total - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put(built, signature_of(built, keys), die)
    assert not store.has("arrivals", built.digest)
    assert store.digests("arrivals") == ()
    with pytest.raises(RequestError, match="no such package"):
        fetch(store, store_settings, built, tmp_path / "out")
    store.put(built, signature_of(built, keys))
    assert store.digests("arrivals") == (built.digest,)
    fetch(store, store_settings, built, tmp_path / "out")


@pytest.mark.parametrize("change", ["byte", "cut", "missing", "swapped"])
def test_a_ciphertext_that_was_changed_is_refused(
    stored: PackageStore, store_settings: Settings, built: Package, aws: Aws, tmp_path: Path, change: str
) -> None:
    key = next(key for key in objects(aws, store_settings) if key.endswith("0003.enc"))
    data = objects(aws, store_settings)[key]
    if change == "missing":
        aws.client("s3").delete_object(Bucket=store_settings.model_bucket, Key=key)
    else:
        other = objects(aws, store_settings)[key.replace("0003", "0004")]
        put(aws, store_settings, key, {"byte": data[:-1] + b"\x00", "cut": data[:-20], "swapped": other}[change])
    with pytest.raises(PackageError):
        fetch(stored, store_settings, built, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", ["byte", "cut"])
def test_a_ciphertext_whose_index_was_changed_with_it_is_refused_by_the_key(
    stored: PackageStore, store_settings: Settings, built: Package, aws: Aws, tmp_path: Path, change: str
) -> None:
    from runtime.training.digests import sha256_bytes

    kept = objects(aws, store_settings)
    name = next(key for key in kept if key.endswith("index.json"))
    index = json.loads(kept[name])
    key = name.replace("index.json", "0003.enc")
    changed = kept[key][:-1] + b"\x00" if change == "byte" else kept[key][:-20]
    index["files"][3] |= {"ciphertext_sha256": sha256_bytes(changed), "ciphertext_bytes": len(changed)}
    put(aws, store_settings, key, changed)
    put(aws, store_settings, name, json.dumps(index).encode())
    with pytest.raises(EnvelopeError):
        fetch(stored, store_settings, built, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_files_that_changed_places_are_refused_by_the_signature_before_a_byte_is_parsed(
    stored: PackageStore,
    store_settings: Settings,
    built: Package,
    aws: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import runtime.registry.store as store_module

    parsed: list[Path] = []
    monkeypatch.setattr(store_module, "read_package", parsed.append)
    kept = objects(aws, store_settings)
    name = next(key for key in kept if key.endswith("index.json"))
    index = json.loads(kept[name])
    jsons = [entry for entry in index["files"] if entry["name"] in ("card.json", "features.json")]
    jsons[0]["name"], jsons[1]["name"] = jsons[1]["name"], jsons[0]["name"]
    put(aws, store_settings, name, json.dumps(index).encode())
    with pytest.raises(SignatureError, match="altered after it was signed"):
        fetch(stored, store_settings, built, tmp_path / "out")
    assert parsed == []


def test_a_package_signed_by_a_stranger_is_not_opened(store_settings: Settings, built: Package, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    store = PackageStore(store_settings)
    store.put(built, signature_of(built, make_keys(tmp_path / "other", "stranger")))
    with pytest.raises(SignatureError, match="not trusted"):
        fetch(store, store_settings, built, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_package_of_another_tenant_does_not_open(
    stored: PackageStore, store_settings: Settings, built: Package, aws: Aws, tmp_path: Path
) -> None:
    thief = store_settings.model_copy(update={"tenant": "thief"})
    for key, data in objects(aws, store_settings).items():
        stolen = data.replace(b'"tests"', b'"thief"') if key.endswith("index.json") else data
        put(aws, store_settings, key.replace("packages/tests/", "packages/thief/"), stolen)
    with pytest.raises(EnvelopeError, match="another package, model or tenant"):
        fetch(PackageStore(thief), thief, built, tmp_path / "out")


def test_another_key_does_not_open_it(
    stored: PackageStore, store_settings: Settings, built: Package, aws: Aws, tmp_path: Path
) -> None:
    other = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
    settings = store_settings.model_copy(update={"kms_key_arn": other})
    with pytest.raises(EnvelopeError):
        fetch(PackageStore(settings), settings, built, tmp_path / "out")


@pytest.mark.parametrize("index", [b"", b"{", b"[]", b'{"format_version": 1}', b"\x80\x04."])
def test_an_index_that_is_none_is_refused_in_one_line(
    stored: PackageStore, store_settings: Settings, built: Package, aws: Aws, tmp_path: Path, index: bytes
) -> None:
    name = next(key for key in objects(aws, store_settings) if key.endswith("index.json"))
    put(aws, store_settings, name, index)
    with pytest.raises(PackageError) as caught:
        fetch(stored, store_settings, built, tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(180)
def test_s3_away_leaves_nothing_and_the_same_command_works_when_it_is_back(
    store_settings: Settings, built: Package, keys: Keys, aws: Aws, tmp_path: Path
) -> None:
    with contextlib.closing(CuttableProxy(int(aws.endpoint_url.rpartition(":")[2]))) as proxy:
        settings = store_settings.model_copy(update={"aws_endpoint_url": f"http://127.0.0.1:{proxy.port}"})
        store = PackageStore(settings)

        def cut(name: str, done: int, total: int) -> None:
            if done == 3:
                proxy.cut()

        with pytest.raises(RegistryAwayError, match="try again") as caught:
            store.put(built, signature_of(built, keys), cut)
        assert isinstance(caught.value, FalajError) and "\n" not in str(caught.value)
        proxy.mend()
        assert not store.has("arrivals", built.digest)
        store.put(built, signature_of(built, keys))
        assert fetch(store, settings, built, tmp_path / "out").package.digest == built.digest
