"""Values, keys and times must be byte for byte what Feast writes, or a reader finds nothing, or something else."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.features import encoding

SCALARS = {
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "unix_timestamp": st.integers(-(2**40), 2**40),
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
    "string": st.text(max_size=40),
    "bytes": st.binary(max_size=40),
}
FEAST_FIELDS = {
    "bool": "bool_val",
    "int32": "int32_val",
    "int64": "int64_val",
    "unix_timestamp": "unix_timestamp_val",
    "float32": "float_val",
    "float64": "double_val",
    "string": "string_val",
    "bytes": "bytes_val",
}
typed_values = st.sampled_from(sorted(SCALARS)).flatmap(lambda kind: st.tuples(st.just(kind), SCALARS[kind]))


@given(typed_values)
def test_a_value_is_encoded_as_feast_encodes_it(typed: tuple[str, object]) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    kind, value = typed
    theirs = Value(**{FEAST_FIELDS[kind]: value}).SerializeToString()
    assert encoding.encode_value(value, kind) == theirs  # type: ignore[arg-type]
    assert encoding.decode_value(theirs) == value


def test_null_is_absent_empty_or_explicit() -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    explicit = Value(null_val=0).SerializeToString()
    assert [encoding.decode_value(data) for data in (None, b"", explicit)] == [None, None, None]
    assert encoding.encode_value(None, "int64") == Value().SerializeToString()


@given(typed_values.filter(lambda typed: typed[0] != "bool"), st.integers(1, 8))
def test_a_value_that_is_cut_short_is_an_error_and_not_another_value(typed: tuple[str, object], cut: int) -> None:
    kind, value = typed
    whole = encoding.encode_value(value, kind)  # type: ignore[arg-type]
    short = whole[: max(1, len(whole) - cut)]
    with pytest.raises(ValueError, match="cut short"):
        encoding.decode_value(short)


def test_a_list_is_refused() -> None:
    from feast.protos.feast.types.Value_pb2 import DoubleList, Value

    with pytest.raises(ValueError, match="no scalar"):
        encoding.decode_value(Value(double_list_val=DoubleList(val=[1.0])).SerializeToString())


keys = st.dictionaries(
    st.text(string.ascii_lowercase + "_", min_size=1, max_size=8),
    st.one_of(
        st.tuples(st.just("string"), st.text(max_size=12)),
        st.tuples(st.just("int64"), SCALARS["int64"]),
        st.tuples(st.just("int32"), SCALARS["int32"]),
    ),
    min_size=1,
    max_size=3,
)


@given(keys, st.sampled_from(["rides_g1", "a", "al_ain_g12"]))
def test_a_key_is_feasts_key_and_names_its_project(entity: dict[str, tuple[str, object]], project: str) -> None:
    from feast.infra.online_stores.helpers import _redis_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    theirs = _redis_key(
        project,
        EntityKey(
            join_keys=list(entity),
            entity_values=[Value(**{FEAST_FIELDS[kind]: value}) for kind, value in entity.values()],
        ),
    )
    encode = encoding.key_encoder([(name, kind) for name, (kind, _) in entity.items()], project)
    assert encode([value for _, value in entity.values()]) == theirs
    assert encoding.project_of_key(theirs) == project


def test_the_end_of_a_key_is_not_taken_for_its_project() -> None:
    encode = encoding.key_encoder([("tailnum", "string")], "other_rides_g1")
    assert encoding.project_of_key(encode(["N1"])) == "other_rides_g1"


@given(st.binary(max_size=60))
def test_bytes_that_are_no_key_are_no_project_or_a_whole_one(data: bytes) -> None:
    project = encoding.project_of_key(data)
    assert project is None or data.endswith(project.encode())


@given(st.text(max_size=30), st.text(max_size=30))
def test_hash_fields_are_feasts(view: str, feature: str) -> None:
    from feast.infra.online_stores.helpers import _mmh3

    assert encoding.hash_field(view, feature) == _mmh3(f"{view}:{feature}")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))
def test_times_are_protobuf_timestamps(moment: datetime) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    theirs = Timestamp()
    theirs.FromDatetime(moment.replace(tzinfo=UTC))
    assert encoding.encode_timestamp(theirs.seconds, theirs.nanos) == theirs.SerializeToString()
    assert encoding.decode_timestamp(theirs.SerializeToString()) == (theirs.seconds, theirs.nanos)


def test_a_time_before_1970_is_refused_because_scripts_could_not_order_it() -> None:
    with pytest.raises(ValueError, match="before 1970"):
        encoding.encode_timestamp(-1)
