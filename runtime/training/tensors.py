"""Named tensors as bytes, in the public safetensors layout: a length, a JSON header, raw little-endian data.

Nothing in such a file can run code, so reading one from a store is safe; a file that does not add up is refused before
a tensor is made.  Layout: 8 bytes little-endian header length, UTF-8 JSON ``{name: {dtype, shape, data_offsets}}`` with
offsets into what follows the header.  Source: safetensors format description, huggingface/safetensors README.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import torch

from runtime.training.errors import ArtifactError

MOST_HEADER_BYTES: Final = 16 << 20
_DTYPES: Final[dict[str, torch.dtype]] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}


def encode(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Raises ValueError for a dtype outside the table above."""
    header: dict[str, Any] = {}
    parts: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        if tensor.dtype not in _NAMES:
            raise ValueError(f"tensor {name}: dtype {tensor.dtype} is not one of {', '.join(map(str, _NAMES))}")
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def decode(data: bytes, origin: str) -> dict[str, torch.Tensor]:
    """The tensors, each with memory of its own.  Raises ArtifactError, which names ``origin``, if anything is off."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MOST_HEADER_BYTES, len(data) - 8):
        raise ArtifactError(f"{origin}: cut short ({len(data)} bytes, header of {length} expected); use another copy")
    try:
        header = json.loads(data[8 : 8 + length])
    except ValueError:
        raise ArtifactError(f"{origin}: the header is not JSON; use another copy") from None
    body = memoryview(data)[8 + length :]
    tensors: dict[str, torch.Tensor] = {}
    end_of_last = 0
    try:
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        for name, entry in sorted(entries, key=lambda item: item[1]["data_offsets"][0]):
            begin, end = entry["data_offsets"]
            tensors[name] = _tensor(body, _DTYPES[entry["dtype"]], entry["shape"], begin, end, end_of_last)
            end_of_last = end
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtifactError(f"{origin}: an entry of the header is malformed ({error!r}); use another copy") from None
    if end_of_last != len(body):
        raise ArtifactError(f"{origin}: {len(body)} bytes of data where the header tells of {end_of_last}; cut short?")
    return tensors


def _tensor(
    body: memoryview, dtype: torch.dtype, shape: list[int], begin: int, end: int, expected_begin: int
) -> torch.Tensor:
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError("shape")
    if begin != expected_begin or end - begin != math.prod(shape) * dtype.itemsize or end > len(body):
        raise ValueError("offsets")
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(body[begin:end]), dtype=torch.uint8).view(dtype).reshape(shape)
