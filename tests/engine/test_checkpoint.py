import gzip
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.engine import checkpoint as checkpoints
from falaj.engine import resource_state
from falaj.engine.checkpoint import (
    Checkpoint,
    CustomTimeouts,
    OperationType,
    PendingOperation,
    ResourceState,
)
from falaj.engine.errors import StateError, UnsupportedError
from falaj.engine.integrity import problems
from falaj.engine.secrets import NoSecrets, PassphraseCrypter, provider_state
from falaj.engine.values import Secret
from tests.support.property_values import KNOWN_PROPERTIES, TEXTS

SAMPLES = Path(__file__).parent / "oracle" / "data" / "state-samples"
STACK = "urn:pulumi:dev::falaj::pulumi:pulumi:Stack::falaj-dev"
PROVIDER = "urn:pulumi:dev::falaj::pulumi:providers:aws::default"
OPEN = NoSecrets()
BUCKET = "urn:pulumi:dev::falaj::aws:s3/bucket:Bucket::"


class Reversing:
    """Ciphertexts that differ for each call and tell their plaintext when reversed."""

    def __init__(self) -> None:
        self.calls = 0

    def encrypt(self, plaintext: str) -> str:
        self.calls += 1
        return f"{self.calls}|{plaintext[::-1]}"

    def decrypt(self, ciphertext: str) -> str:
        return ciphertext.partition("|")[2][::-1]


def stack_state() -> ResourceState:
    return ResourceState(STACK, "pulumi:pulumi:Stack", False)


def provider() -> ResourceState:
    return ResourceState(PROVIDER, "pulumi:providers:aws", True, id="1")


def bucket(name: str, **changes: Any) -> ResourceState:
    changes = {"id": f"bucket-{name}", "parent": STACK, "provider": f"{PROVIDER}::1"} | changes
    return ResourceState(BUCKET + name, "aws:s3/bucket:Bucket", True, **changes)


def holding(*resources: ResourceState) -> Checkpoint:
    return Checkpoint("dev", "falaj", [stack_state(), provider(), *resources])


def fields(state: ResourceState) -> dict[str, Any]:
    """All fields; an empty list and an empty tuple are the same to a file."""
    values = {name: getattr(state, name) for name in ResourceState.__slots__ if name != "_encoded"}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def sample_files() -> Iterator[Any]:
    for folder in sorted(SAMPLES.iterdir()):
        for file in sorted((folder / "backend").rglob("*.json*")):
            kept = ".history." not in file.name and file.suffix != ".attrs"
            if kept and file.stat().st_size > 100:  # the first .bak of a new stack holds nothing
                yield pytest.param(folder, file, id=f"{folder.name}-{file.name}")


@pytest.mark.parametrize(("sample", "file"), list(sample_files()))
def test_files_of_the_cli_are_written_back_byte_for_byte(sample: Path, file: Path) -> None:
    data = file.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    parsed = checkpoints.parse(data, str(file))
    state = provider_state(parsed.secrets_provider)
    assert state is not None
    crypter = PassphraseCrypter("falaj", state)
    loaded = parsed.checkpoint(crypter)
    assert problems(loaded) == []
    assert loaded.encode(crypter, time=loaded.time) == data


STATES = st.builds(
    ResourceState,
    urn=TEXTS,
    type=TEXTS,
    custom=st.booleans(),
    id=TEXTS,
    delete=st.booleans(),
    inputs=KNOWN_PROPERTIES,
    outputs=KNOWN_PROPERTIES,
    parent=TEXTS,
    protect=st.booleans(),
    taint=st.booleans(),
    external=st.booleans(),
    dependencies=st.lists(TEXTS, max_size=2),
    init_errors=st.lists(TEXTS, max_size=2),
    provider=TEXTS,
    property_dependencies=st.dictionaries(TEXTS, st.lists(TEXTS, max_size=2), min_size=1, max_size=2) | st.none(),
    pending_replacement=st.booleans(),
    custom_timeouts=st.builds(CustomTimeouts, st.floats(0, 1e6), st.integers(0, 9), st.just(0), st.just(300)),
    replace_with=st.lists(TEXTS, max_size=1),
    stack_trace=st.lists(TEXTS, max_size=2),
    replacement_trigger=st.none() | st.booleans() | TEXTS,
    resource_hooks=st.dictionaries(TEXTS, st.lists(TEXTS, max_size=1), max_size=1),
    extra=st.dictionaries(st.just("futureKey"), st.integers(), max_size=1),
)


@settings(max_examples=25)
@given(st.lists(STATES, max_size=2), st.lists(STATES, max_size=1))
def test_checkpoints_survive_their_file(states: list[ResourceState], goals: list[ResourceState]) -> None:
    crypter = Reversing()
    operations = [PendingOperation(goal, OperationType.CREATING) for goal in goals]
    written = Checkpoint("dev", "falaj", states, operations, metadata={"m": 1}, extra={"later": [1]})
    read = checkpoints.decode(written.encode(crypter), "test", crypter)
    assert list(map(fields, read.resources)) == list(map(fields, states))
    assert [fields(item.resource) for item in read.pending_operations] == list(map(fields, goals))
    assert (read.stack, read.project, read.metadata, read.extra) == ("dev", "falaj", {"m": 1}, {"later": [1]})


def test_unchanged_secrets_keep_their_ciphertext_through_changes_of_the_rest() -> None:
    crypter = Reversing()
    state = bucket("a", inputs={"p": Secret("x"), "q": Secret("x")}, outputs={"p": Secret("x")})
    state_file = holding(state)
    first = json.loads(state_file.encode(crypter))["checkpoint"]["latest"]["resources"][2]
    state.outputs = {"p": Secret("x"), "new": Secret("y")}
    second = json.loads(state_file.encode(crypter))["checkpoint"]["latest"]["resources"][2]
    assert second["inputs"] == first["inputs"]
    assert second["inputs"]["p"] != second["inputs"]["q"]  # the file does not tell that they are the same
    assert crypter.calls == 4


def test_a_changed_secret_gets_a_new_ciphertext() -> None:
    crypter = Reversing()
    state = bucket("a", inputs={"p": Secret("x")})
    before = holding(state).encode(crypter)
    state.inputs = {"p": Secret("z")}
    assert holding(state).encode(crypter) != before
    assert checkpoints.decode(holding(state).encode(crypter), "t", crypter).resources[2].inputs == {"p": Secret("z")}


def test_another_key_encrypts_everything_anew() -> None:
    state_file = holding(bucket("a", inputs={"p": Secret("x")}))
    first, second = Reversing(), Reversing()
    state_file.encode(first)
    state_file.encode(second)
    assert second.calls == 1


def test_only_changed_resources_are_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    original = resource_state.dump_json

    def counted(value: Any) -> bytes:
        if isinstance(value, dict) and "urn" in value:
            encoded.append(value["urn"])
        return original(value)

    monkeypatch.setattr(resource_state, "dump_json", counted)
    state_file = holding(*(bucket(str(number)) for number in range(1000)))
    state_file.encode(OPEN)
    encoded.clear()
    for number in range(0, 1000, 100):
        state_file.resources[number].outputs = {"changed": number}
        state_file.encode(OPEN)
    assert encoded == [state_file.resources[number].urn for number in range(0, 1000, 100)]


def test_the_cached_form_is_that_of_the_present_fields() -> None:
    state = bucket("a")
    state_file = holding(state)
    state_file.encode(OPEN)
    state.protect = True
    assert b'"protect":true' in state_file.encode(OPEN)
    assert b'"protect":true' not in holding(state.copy(protect=False)).encode(OPEN)
    assert state.protect


@pytest.mark.parametrize(
    ("change", "features"),
    [
        ({}, None),
        ({"taint": True}, ["taint"]),
        ({"resource_hooks": {"BeforeCreate": ["h"]}, "replace_with": [STACK]}, ["hooks", "replaceWith"]),
    ],
)
def test_version_four_is_written_only_for_its_features(change: dict[str, Any], features: list[str] | None) -> None:
    document = json.loads(holding(bucket("a", **change)).encode(OPEN))
    assert document["version"] == (4 if features else 3)
    assert document.get("features") == features


def test_the_exported_form_is_read_like_the_file() -> None:
    state_file = holding(bucket("a", outputs={"x": 1}))
    document = state_file.encode_deployment(OPEN)
    assert list(json.loads(document)) == ["version", "deployment"]
    read = checkpoints.decode(document, "export", OPEN)
    assert list(map(fields, read.resources)) == list(map(fields, state_file.resources))


def test_the_first_file_of_a_new_stack_is_an_empty_checkpoint() -> None:
    data = b'{"version":0,"checkpoint":{"stack":"organization/falaj/dev"}}'
    assert checkpoints.decode(data, "t", OPEN).resources == []


def valid() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(holding(bucket("a")).encode(OPEN))
    return document


@pytest.mark.parametrize("version", [2, 5, "3", None])
def test_other_versions_are_refused_with_advice(version: Any) -> None:
    with pytest.raises(StateError, match=r"state version .*3 and 4 are known: "):
        checkpoints.parse(json.dumps(valid() | {"version": version}).encode(), "f")


def test_unknown_features_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="snippets-prototype"):
        checkpoints.parse(json.dumps(valid() | {"version": 4, "features": ["snippets-prototype"]}).encode(), "f")


def test_a_wrong_magic_is_refused() -> None:
    document = valid()
    document["checkpoint"]["latest"]["manifest"]["version"] = "v9"
    with pytest.raises(StateError, match="magic"):
        checkpoints.parse(json.dumps(document).encode(), "f")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"version":3,"checkpoint":5}'])
def test_what_is_no_state_file_is_refused_with_the_way_out(data: bytes) -> None:
    with pytest.raises(StateError, match=r"^dev\.json.*restore its \.bak"):
        checkpoints.parse(data, "dev.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [("custom", "yes"), ("inputs", []), ("dependencies", [1]), ("urn", None), ("propertyDependencies", {"a": "b"})],
)
def test_a_malformed_resource_is_refused_by_name(key: str, value: Any) -> None:
    document = valid()
    document["checkpoint"]["latest"]["resources"][2][key] = value
    with pytest.raises(StateError, match=f"malformed.*{key}"):
        checkpoints.decode(json.dumps(document).encode(), "f", OPEN)


def test_the_magic_is_the_digest_of_the_version() -> None:
    manifest = valid()["checkpoint"]["latest"]["manifest"]
    assert manifest["magic"] == hashlib.sha256(manifest["version"].encode()).hexdigest()


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_795_441_955_692_688_250, "2026-11-23T13:52:35.69268825Z"),
        (1_795_441_955_000_000_001, "2026-11-23T13:52:35.000000001Z"),
    ],
)
def test_times_are_written_as_go_does(nanoseconds: int, text: str) -> None:
    assert checkpoints.timestamp(nanoseconds) == text


def test_a_thousand_resources_are_saved_in_milliseconds() -> None:
    states = [bucket(str(n), inputs={"tags": {"a": "b", "n": n}}, outputs={"arn": "x" * 200}) for n in range(1000)]
    state_file = holding(*states)
    state_file.encode(OPEN)
    best = min(_seconds_of_one_save(state_file, states[n]) for n in range(20))
    assert best < 0.05


def _seconds_of_one_save(state_file: Checkpoint, state: ResourceState) -> float:
    state.outputs = {"arn": "y"}
    start = time.perf_counter()
    state_file.encode(OPEN)
    return time.perf_counter() - start


def test_a_sound_checkpoint_has_no_problems() -> None:
    first = bucket("a")
    second = bucket("b", dependencies=[first.urn], property_dependencies={"x": [first.urn]}, deleted_with=first.urn)
    assert problems(holding(first, second, bucket("a", delete=True, id="old"))) == []


@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ([bucket("a"), bucket("a")], "stands twice"),
        ([bucket("b", dependencies=[BUCKET + "a"]), bucket("a")], "comes later in the list"),
        ([bucket("b", dependencies=[BUCKET + "a"])], "is not in the state"),
        ([bucket("b", property_dependencies={"x": [BUCKET + "a"]})], "dependency by x"),
        ([bucket("b", parent=BUCKET + "a")], "its parent"),
        ([bucket("b", deleted_with=BUCKET + "a")], "its deletedWith"),
        ([bucket("b", replace_with=[BUCKET + "a"])], "its replaceWith"),
        ([bucket("b", provider=f"{PROVIDER}::2")], "its provider"),
        ([bucket("b", provider="nonsense")], "no provider reference"),
        ([ResourceState("urn:pulumi:dev::falaj::x:y:Z::c", "x:y:Z", False, id="i")], "is a component"),
        ([bucket("b").copy(type="aws:other:Type")], "has the type"),
        ([bucket("b").copy(urn="nonsense")], "is no URN"),
    ],
)
def test_each_breach_of_the_rules_is_found(resources: list[ResourceState], problem: str) -> None:
    found = problems(holding(*resources))
    assert any(problem in line for line in found), found
