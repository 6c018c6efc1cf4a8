"""Whole backends that the Pulumi CLI wrote open here, tell their secrets, and go back to disk without a loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from falaj.engine.backend import FileBackend, StackName
from falaj.engine.checkpoint import Checkpoint, decode
from falaj.engine.errors import PassphraseError, StateError
from falaj.engine.integrity import problems
from falaj.engine.project import configuration, load_project
from falaj.engine.resource_state import ResourceState
from falaj.engine.secrets import PassphraseCrypter
from falaj.engine.stack_settings import StackSettings
from falaj.engine.values import Secret
from tests.engine.oracle.normalise import Normaliser
from tests.engine.oracle.scenario import DATA, PASSPHRASE
from tests.engine.oracle.wire import to_wire, without_secrets

SAMPLES = ("empty", "destroyed", "rich", "gzip")


NAME = StackName("oracle", "dev")
STRUCTURED = ("oracle:list", "oracle:object")


def stack_file(sample: str) -> bytes:
    return FileBackend(DATA / "state-samples" / sample / "backend").read(NAME)


def described(sample: str) -> dict[str, Any]:
    return dict(json.loads((DATA / "state-samples" / sample / "expected.json").read_text()))


def salt(data: bytes) -> str:
    return str(json.loads(data)["checkpoint"]["latest"]["secrets_providers"]["state"]["salt"])


def opened(sample: str) -> Checkpoint:
    data = stack_file(sample)
    return decode(data, sample, PassphraseCrypter(PASSPHRASE, salt(data)))


def json_facts(state: ResourceState) -> dict[str, Any]:
    """The keys that expected.json lists of every resource, those that are not set left out."""
    facts = {
        "urn": state.urn,
        "id": state.id,
        "custom": state.custom,
        "delete": state.delete,
        "protect": state.protect,
        "external": state.external,
        "initErrors": list(state.init_errors),
        "parent": state.parent,
        "pendingReplacement": state.pending_replacement,
        "retainOnDelete": state.retain_on_delete,
    }
    return {key: value for key, value in facts.items() if value or key == "custom"}


def secrets_of(value: Any, path: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    if isinstance(value, Secret):
        return [{"path": list(path), "value": without_secrets(to_wire(value.value))}]
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in secrets_of(item, (*path, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in secrets_of(item, (*path, index))]
    return []


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_resources_are_those_of_the_cli_in_its_order(sample: str) -> None:
    checkpoint, expected = opened(sample), described(sample)
    assert [json_facts(state) for state in checkpoint.resources] == expected["resources"]
    assert [
        {"type": str(operation.type), "urn": operation.resource.urn} for operation in checkpoint.pending_operations
    ] == expected["pending_operations"]
    assert checkpoint.full_name == expected["checkpoint_stack"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_secret_of_the_state_is_read(sample: str) -> None:
    checkpoint, expected = opened(sample), described(sample)
    found = [
        {"urn": state.urn, **({"delete": True} if state.delete else {}), **secret}
        for state in checkpoint.resources
        for secret in secrets_of({"inputs": state.inputs, "outputs": state.outputs})
    ]
    found += [
        {"pending": True, "urn": operation.resource.urn, **secret}
        for operation in checkpoint.pending_operations
        for secret in secrets_of({"inputs": operation.resource.inputs, "outputs": operation.resource.outputs})
    ]
    assert found == expected["secrets"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_integrity_checker_finds_nothing_in_a_state_of_the_cli(sample: str) -> None:
    assert problems(opened(sample)) == []


@pytest.mark.parametrize("sample", SAMPLES)
def test_loading_and_saving_keeps_the_file_byte_for_byte(sample: str) -> None:
    data = stack_file(sample)
    crypter = PassphraseCrypter(PASSPHRASE, salt(data))
    checkpoint = decode(data, sample, crypter)
    assert checkpoint.encode(crypter, time=checkpoint.time) == data.rstrip(b"\n")


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_state_encrypted_anew_means_the_same(sample: str) -> None:
    data = stack_file(sample)
    checkpoint = opened(sample)
    checkpoint.texts = None
    checkpoint.resources = [state.copy() for state in checkpoint.resources]
    again = checkpoint.encode(PassphraseCrypter(PASSPHRASE, salt(data)), time=checkpoint.time)

    def meaning(raw: bytes) -> dict[str, Any]:
        return Normaliser(PASSPHRASE, {}).checkpoint(json.loads(raw))

    assert meaning(again) == meaning(data)
    order = [item["urn"] for item in json.loads(data)["checkpoint"]["latest"].get("resources", [])]
    assert [item["urn"] for item in json.loads(again)["checkpoint"]["latest"].get("resources", [])] == order


def test_keys_of_a_later_version_are_kept() -> None:
    document = json.loads(stack_file("rich"))
    latest = document["checkpoint"]["latest"]
    latest["fromTheFuture"] = {"a": [1, None, "é"]}
    latest["resources"][3]["fromTheFuture"] = {"b": True}
    data = json.dumps(document).encode()
    crypter = PassphraseCrypter(PASSPHRASE, salt(data))
    saved = json.loads(decode(data, "rich", crypter).encode(crypter))["checkpoint"]["latest"]
    assert saved["fromTheFuture"] == {"a": [1, None, "é"]}
    assert saved["resources"][3]["fromTheFuture"] == {"b": True}


def test_another_passphrase_opens_nothing() -> None:
    data = stack_file("rich")
    with pytest.raises(PassphraseError):
        decode(data, "rich", PassphraseCrypter("other", salt(data)))


@pytest.mark.parametrize("length", [0, 1, 100, 5000])
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    data = stack_file("rich")
    with pytest.raises(StateError, match=r"dev\.json"):
        decode(data[:length], "dev.json", PassphraseCrypter(PASSPHRASE, salt(data)))


def test_a_manifest_that_was_tampered_with_is_refused() -> None:
    data = stack_file("empty").replace(b'"version":"v3.250.0"', b'"version":"v3.251.0"')
    with pytest.raises(StateError, match="magic"):
        decode(data, "dev.json", PassphraseCrypter(PASSPHRASE, salt(data)))


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_backend_of_the_cli_takes_saves_in_its_own_format(sample: str, tmp_path: Path) -> None:
    shutil.copytree(DATA / "state-samples" / sample / "backend", tmp_path / "backend")
    backend = FileBackend(tmp_path / "backend")
    assert backend.stacks() == [NAME]
    file, data = backend.file(NAME), backend.read(NAME)
    crypter = PassphraseCrypter(PASSPHRASE, salt(data))
    checkpoint = decode(data, str(file), crypter)
    backend.save(NAME, checkpoint.encode(crypter, time=checkpoint.time))
    assert backend.file(NAME) == file
    assert FileBackend(tmp_path / "backend").read(NAME) == data.rstrip(b"\n")


def test_the_history_of_the_cli_is_read() -> None:
    kinds = [entry["kind"] for entry in FileBackend(DATA / "state-samples/destroyed/backend").history(NAME)]
    assert kinds == ["destroy", "update"]


def unmarked(value: Any) -> Any:
    """A configuration value of expected.json as a program sees it, without the marks of secrets."""
    if isinstance(value, dict):
        return value["secret"] if list(value) == ["secret"] else {key: unmarked(item) for key, item in value.items()}
    return [unmarked(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_configuration_of_the_cli_is_decrypted(sample: str) -> None:
    expected = described(sample)["config"]
    project = load_project(DATA / "state-samples" / sample / "program")
    settings = StackSettings(project, "dev")
    assert settings.encryption_salt is not None
    crypter = PassphraseCrypter(PASSPHRASE, settings.encryption_salt)
    found = configuration(project, "dev", settings.config, crypter.decrypt)
    assert {key: json.loads(text) if key in STRUCTURED else text for key, text in found.values.items()} == {
        key: unmarked(value) for key, value in expected.items()
    }
    assert found.secret_keys == {key for key, value in expected.items() if '"secret": ' in json.dumps(value)}
