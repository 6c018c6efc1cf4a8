import json
import math
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given

from falaj.engine import codec
from falaj.engine.properties import contains_secrets, contains_unknowns, unwrap_outputs
from falaj.engine.values import (
    ASSET_SIGNATURE,
    REFERENCE_SIGNATURE,
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    UNKNOWN,
    UNKNOWN_SENTINEL,
    Archive,
    Asset,
    Output,
    ResourceReference,
    Secret,
)
from tests.support.property_values import KNOWN_PROPERTIES, OUTPUTS, PROPERTIES, VALUES


def encrypt(text: str) -> str:
    return text[::-1]


def through_bytes(message: struct_pb2.Struct) -> struct_pb2.Struct:
    return struct_pb2.Struct.FromString(message.SerializeToString())


@given(PROPERTIES)
def test_values_survive_the_wire(properties: dict[str, Any]) -> None:
    assert codec.from_struct(through_bytes(codec.to_struct(properties))) == properties


@given(PROPERTIES)
def test_the_plain_form_is_what_the_standard_conversion_of_the_wire_form_gives(properties: dict[str, Any]) -> None:
    assert json_format.MessageToDict(codec.to_struct(properties)) == codec.to_wire(properties)


@given(PROPERTIES)
def test_values_survive_the_plain_form_as_json(properties: dict[str, Any]) -> None:
    assert codec.from_wire(json.loads(json.dumps(codec.to_wire(properties)))) == properties


@given(KNOWN_PROPERTIES)
def test_values_survive_the_state(properties: dict[str, Any]) -> None:
    text = json.dumps(codec.to_state(properties, encrypt))
    assert codec.from_state(json.loads(text), encrypt) == properties


@given(OUTPUTS)
def test_outputs_survive_the_wire_where_the_receiver_knows_them(output: Output) -> None:
    assert codec.from_value(codec.to_value(output, keep_outputs=True)) == output


@given(OUTPUTS)
def test_outputs_become_their_values_where_the_receiver_does_not_know_them(output: Output) -> None:
    assert codec.from_value(codec.to_value(output)) == unwrap_outputs(output)


@given(PROPERTIES)
def test_nothing_secret_or_unknown_goes_to_a_receiver_that_knows_neither(properties: dict[str, Any]) -> None:
    sent = codec.to_struct(properties, keep_secrets=False, keep_unknowns=False, keep_references=False)
    received = codec.from_struct(sent)
    assert not contains_secrets(received)
    assert not contains_unknowns(received)
    assert UNKNOWN_SENTINEL not in str(sent)


@given(VALUES)
def test_elided_assets_have_no_contents(value: Any) -> None:
    def has_contents(plain: Any) -> bool:
        if isinstance(plain, dict):
            is_asset = plain.get(SIGNATURE_KEY) == ASSET_SIGNATURE
            return bool(is_asset and set(plain) - {SIGNATURE_KEY, "hash"}) or any(map(has_contents, plain.values()))
        return isinstance(plain, list) and any(map(has_contents, plain))

    assert not has_contents(codec.to_wire(value, elide_assets=True))


@pytest.mark.parametrize("sentinel", sorted(codec.UNKNOWN_SENTINELS))
def test_every_sentinel_is_read_as_unknown_and_one_is_written(sentinel: str) -> None:
    assert codec.from_wire({"a": [sentinel]}) == {"a": [UNKNOWN]}
    assert codec.from_value(struct_pb2.Value(string_value=sentinel)) is UNKNOWN
    assert codec.from_state(sentinel, encrypt) is UNKNOWN
    assert codec.to_wire(UNKNOWN) == UNKNOWN_SENTINEL


@pytest.mark.parametrize(
    ("sent", "read"), [(3.0, int), (-(2.0**53), int), (2.0**60, float), (1.5, float), (1e300, float)]
)
def test_doubles_that_stand_for_whole_numbers_become_int(sent: float, read: type) -> None:
    value = codec.from_value(struct_pb2.Value(number_value=sent))
    assert type(value) is read
    assert value == sent


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_lacks_survive_the_state(number: float) -> None:
    stored = json.loads(json.dumps(codec.to_state([number], encrypt), allow_nan=False))
    assert repr(codec.from_state(stored, encrypt)) == repr([number])


def test_the_state_has_sorted_keys_at_every_depth() -> None:
    stored = codec.to_state({"b": {"z": 1, "a": [{"y": 1, "x": 2}]}, "a": Asset("h", text="t")}, encrypt)
    assert json.dumps(stored) == json.dumps(stored, sort_keys=True)


def test_a_secret_in_the_state_is_the_ciphertext_of_its_json() -> None:
    stored = codec.to_state({"a": Secret({"k": [1, "é"]})}, encrypt)
    assert stored == {"a": {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": encrypt('{"k":[1,"é"]}')}}


def test_a_state_exported_with_its_secrets_shown_is_read_as_well() -> None:
    assert codec.from_state({SIGNATURE_KEY: SECRET_SIGNATURE, "plaintext": '"x"'}, encrypt) == Secret("x")


def test_secrets_within_secrets_are_one_secret() -> None:
    inner = {SIGNATURE_KEY: SECRET_SIGNATURE, "value": "x"}
    assert codec.from_wire({SIGNATURE_KEY: SECRET_SIGNATURE, "value": {"a": [inner]}}) == Secret({"a": ["x"]})


def test_an_asset_of_unknown_or_secret_text_is_so_as_a_whole() -> None:
    assert codec.from_wire({SIGNATURE_KEY: ASSET_SIGNATURE, "text": UNKNOWN_SENTINEL}) is UNKNOWN
    secret = {SIGNATURE_KEY: SECRET_SIGNATURE, "value": "x"}
    assert codec.from_wire({SIGNATURE_KEY: ASSET_SIGNATURE, "text": secret}) == Secret(Asset(text="x"))


def test_an_empty_text_of_an_asset_stays() -> None:
    assert codec.to_wire(Asset("h", text="")) == {SIGNATURE_KEY: ASSET_SIGNATURE, "hash": "h", "text": ""}


def test_empty_containers_and_nulls_stay() -> None:
    properties = {"none": None, "object": {}, "list": [], "deep": {"list": [{}, [], None]}}
    assert codec.from_struct(through_bytes(codec.to_struct(properties))) == properties


def test_a_reference_to_a_component_has_no_id_and_an_unborn_resource_an_empty_one() -> None:
    component, unborn = ResourceReference("u"), ResourceReference("u", UNKNOWN)
    assert codec.to_wire(component) == {SIGNATURE_KEY: REFERENCE_SIGNATURE, "urn": "u"}
    assert codec.to_wire(unborn) == {SIGNATURE_KEY: REFERENCE_SIGNATURE, "urn": "u", "id": ""}


def test_references_become_ids_or_urns_where_the_receiver_does_not_know_them() -> None:
    references = [ResourceReference("u", "i"), ResourceReference("u"), ResourceReference("u", UNKNOWN)]
    assert codec.to_wire(references, keep_references=False) == ["i", "u", UNKNOWN_SENTINEL]


@pytest.mark.parametrize(
    "malformed",
    [
        {SIGNATURE_KEY: "no such signature"},
        {SIGNATURE_KEY: SECRET_SIGNATURE},
        {SIGNATURE_KEY: ASSET_SIGNATURE, "text": 5},
        {SIGNATURE_KEY: "0def7320c3a5731c473e5ecbe6d01bc7", "assets": {"a": "text"}},
        {SIGNATURE_KEY: REFERENCE_SIGNATURE, "urn": "u", "id": 5},
        {SIGNATURE_KEY: codec.FLOAT_SIGNATURE, "value": "00"},
    ],
)
def test_malformed_signature_objects_are_refused(malformed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"signature|secret|archive|reference|number"):
        codec.from_wire({"a": malformed})


def test_foreign_objects_are_refused_rather_than_written_as_text() -> None:
    with pytest.raises(TypeError, match="object is no property value"):
        codec.to_struct({"a": object()})


def test_archives_keep_their_members() -> None:
    archive = Archive("h", assets={"b": Asset("1", text="x"), "a": Archive("2", path="p")})
    assert codec.from_wire(codec.to_wire(archive)) == archive
