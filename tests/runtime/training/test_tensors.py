"""Tensor files come from a store that others can write to: whatever does not add up must be refused, never guessed."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runtime.training.errors import ArtifactError
from runtime.training.tensors import decode, encode

DTYPES = [
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)),
        max_size=5,
    ),
    st.integers(0, 1000),
)
def test_what_is_written_is_read_bit_for_bit(shapes: dict[str, tuple[torch.dtype, list[int]]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: torch.randint(0, 2, shape, generator=generator).to(dtype) for name, (dtype, shape) in shapes.items()
    }
    read = decode(encode(tensors), "memory")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_keeps_nan_and_negative_zero() -> None:
    tensor = torch.tensor([float("nan"), -0.0, float("inf")])
    assert encode(decode(encode({"t": tensor}), "memory")) == encode({"t": tensor})


@given(st.integers(0, 200))
def test_every_cut_is_refused(length: int) -> None:
    data = encode({"a": torch.arange(10.0), "b": torch.ones(2, 3)})
    with pytest.raises(ArtifactError, match="shard-7"):
        decode(data[: min(length, len(data) - 1)], "shard-7")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "PICKLE", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]},
        {"shape": [2]},
        [],
    ],
)
def test_a_header_that_lies_is_refused(entry: object) -> None:
    header = json.dumps({"t": entry}).encode()
    with pytest.raises(ArtifactError):
        decode(len(header).to_bytes(8, "little") + header + bytes(8), "shard")
