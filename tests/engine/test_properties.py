from typing import Any

from hypothesis import given

from falaj.engine import properties
from falaj.engine.values import UNKNOWN, Archive, Asset, Output, ResourceReference, Secret
from tests.support.property_values import PROPERTIES, VALUES


@given(VALUES)
def test_unwrapped_values_hold_no_secret_and_lose_nothing_else(value: Any) -> None:
    plain = properties.unwrap_secrets(value)
    assert not properties.contains_secrets(plain)
    assert properties.contains_unknowns(plain) == properties.contains_unknowns(value)
    assert properties.equal(plain, value, ignore_secrets=True)


@given(VALUES)
def test_equality_is_reflexive(value: Any) -> None:
    assert properties.equal(value, value)


@given(PROPERTIES)
def test_a_secret_input_marks_the_output_of_the_same_name(inputs: dict[str, Any]) -> None:
    outputs = properties.propagate_secrets(properties.unwrap_secrets(inputs), inputs)
    assert properties.unwrap_secrets(outputs) == properties.unwrap_secrets(inputs)
    for key, value in inputs.items():
        assert properties.contains_secrets(outputs[key]) == properties.contains_secrets(value)


def test_secrets_are_marked_as_deep_as_objects_go_and_lists_as_a_whole() -> None:
    inputs = {"tags": {"open": "o", "closed": Secret("c")}, "list": ["a", Secret("b")], "gone": Secret("x")}
    outputs = {"tags": {"open": "o", "closed": "c"}, "list": ["b", "a"], "other": 1}
    assert properties.propagate_secrets(outputs, inputs) == {
        "tags": {"open": "o", "closed": Secret("c")},
        "list": Secret(["b", "a"]),
        "other": 1,
    }


def test_additional_secret_outputs_are_marked_once_and_only_where_they_are() -> None:
    marked = properties.mark_secrets({"a": 1, "b": Secret(2), "c": [Secret(3)]}, ["a", "b", "c", "absent"])
    assert marked == {"a": Secret(1), "b": Secret(2), "c": Secret([3])}


def test_assets_are_compared_by_digest() -> None:
    assert properties.equal(Asset("h", path="a.txt"), Asset("h", path="b.txt"))
    assert properties.equal(Archive("h"), Archive("h", path="dir"))
    assert not properties.equal(Asset("h", text="x"), Asset("i", text="x"))
    assert not properties.equal(Asset("h"), Archive("h"))


def test_a_null_property_equals_an_absent_one_but_list_items_count() -> None:
    assert properties.equal({"a": 1, "b": None}, {"a": 1})
    assert not properties.equal([1, None], [1])


def test_numbers_are_no_booleans_and_int_equals_float() -> None:
    assert properties.equal(1, 1.0)
    assert not properties.equal(1, True)
    assert not properties.equal({"a": 0}, {"a": False})


def test_secrets_differ_from_their_plain_values_unless_asked_otherwise() -> None:
    assert not properties.equal({"a": Secret(1)}, {"a": 1})
    assert properties.equal({"a": Secret(1)}, {"a": 1}, ignore_secrets=True)


def test_references_are_compared_by_resource() -> None:
    assert properties.equal(ResourceReference("u", "i", "1.0"), ResourceReference("u", "i", "2.0"))
    assert not properties.equal(ResourceReference("u", "i"), ResourceReference("u", UNKNOWN))


def test_outputs_give_way_to_what_they_hold() -> None:
    value = {"a": Output("x", True), "b": Output(), "c": [Output({"d": Output(1)})]}
    assert properties.unwrap_outputs(value) == {"a": Secret("x"), "b": UNKNOWN, "c": [{"d": 1}]}


def test_eliding_keeps_digests_only() -> None:
    value = Secret([Asset("h", text="t"), Archive("i", assets={"x": Asset("j", text="t")})])
    assert properties.elide_assets(value) == Secret([Asset("h"), Archive("i")])
