import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.engine import urn

STACK = "urn:pulumi:dev::falaj::pulumi:pulumi:Stack::falaj-dev"
TYPES = st.sampled_from(["aws:s3/bucket:Bucket", "falaj:network:Network", "pulumi:providers:aws"])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)


def test_children_of_the_stack_carry_no_parent_type() -> None:
    assert urn.make_urn("dev", "falaj", STACK, "a:b:C", "x") == "urn:pulumi:dev::falaj::a:b:C::x"


def test_children_of_components_carry_the_types_of_all_their_ancestors() -> None:
    outer = urn.make_urn("dev", "falaj", STACK, "falaj:a:Outer", "o")
    inner = urn.make_urn("dev", "falaj", outer, "falaj:a:Inner", "i")
    leaf = urn.make_urn("dev", "falaj", inner, "aws:s3/bucket:Bucket", "b")
    assert leaf == "urn:pulumi:dev::falaj::falaj:a:Outer$falaj:a:Inner$aws:s3/bucket:Bucket::b"
    assert urn.urn_type(leaf) == "aws:s3/bucket:Bucket"
    assert urn.parent_type(leaf) == "falaj:a:Outer$falaj:a:Inner"


@given(TYPES, NAMES)
def test_a_urn_is_the_text_of_its_parts(type: str, name: str) -> None:
    text = urn.make_urn("dev", "falaj", "", type, name)
    parts = urn.parse_urn(text)
    assert str(parts) == text
    assert (parts.stack, parts.project, parts.type, parts.name) == ("dev", "falaj", type, name)


def test_names_may_contain_the_separator() -> None:
    assert urn.urn_name("urn:pulumi:dev::falaj::a:b:C::one::two") == "one::two"


@pytest.mark.parametrize(
    "text", ["", "urn:pulumi:dev", "urn:pulumi:dev::p::t", "urn:other:dev::p::t::n", "urn:pulumi:::p::t::n"]
)
def test_texts_that_are_no_urn_are_refused_by_name(text: str) -> None:
    assert not urn.is_urn(text)
    with pytest.raises(ValueError, match="is no URN"):
        urn.parse_urn(text)


@pytest.mark.parametrize(
    ("version", "url", "name"),
    [
        ("", "", "default"),
        ("1.0.0", "", "default_1_0_0"),
        ("7.51.1-alpha.2+build", "", "default_7_51_1_alpha_2_build"),
        ("1.0.0", "https://x.y/z", "default_1_0_0_https___x_y_z"),
    ],
)
def test_default_providers_are_named_by_version_and_url(version: str, url: str, name: str) -> None:
    assert urn.default_provider_name(version, url) == name
    assert urn.is_default_provider(urn.default_provider_urn("dev", "falaj", "aws", version, url))


def test_only_providers_count_as_default_providers() -> None:
    assert not urn.is_default_provider("urn:pulumi:dev::p::aws:s3/bucket:Bucket::default")
    assert not urn.is_default_provider("urn:pulumi:dev::p::pulumi:providers:aws::defaulted")


def test_a_provider_reference_is_split_at_the_last_separator() -> None:
    text = "urn:pulumi:dev::p::pulumi:providers:aws::a::b::04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    reference = urn.parse_reference(text)
    assert reference.urn.endswith("::a::b")
    assert reference.id == urn.UNKNOWN_ID
    assert str(reference) == text


@pytest.mark.parametrize("text", ["", "x::y", "urn:pulumi:dev::p::aws:s3/bucket:Bucket::b::id"])
def test_references_to_anything_but_a_provider_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no provider reference"):
        urn.parse_reference(text)


def test_the_package_of_a_type_is_also_known_for_provider_types() -> None:
    assert urn.package_of("aws:s3/bucket:Bucket") == urn.package_of("pulumi:providers:aws") == "aws"


def test_renaming_changes_only_the_named_parts() -> None:
    assert urn.renamed("urn:pulumi:dev::p::a:b:C::x", name="y", stack="prod") == "urn:pulumi:prod::p::a:b:C::y"
