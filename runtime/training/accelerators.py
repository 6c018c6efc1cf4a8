"""Peak speed of the accelerators of the region's GPU families, for model FLOPs utilisation (MFU).

Dense bfloat16 on the tensor cores, without structured sparsity: NVIDIA's sheets print the sparse figure, twice as high.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Accelerator:
    name_part: str
    """Found in what torch.cuda.get_device_name() returns."""
    bfloat16_tflops: float
    float32_tflops: float
    """Without TF32, which torch leaves off for matrix products by default."""
    source: str


# The first match wins: longer names stand before the names they contain.
ACCELERATORS: Final = (
    Accelerator("H200", 989.0, 67.0, "NVIDIA H200 datasheet: 1,979 TFLOPS with sparsity (p5en)"),
    Accelerator("H100 NVL", 835.0, 60.0, "NVIDIA H100 datasheet: 1,671 TFLOPS with sparsity"),
    Accelerator("H100 PCIe", 756.0, 51.0, "NVIDIA H100 PCIe product brief: 1,513 TFLOPS with sparsity"),
    Accelerator("H100", 989.0, 67.0, "NVIDIA H100 datasheet, SXM: 1,979 TFLOPS with sparsity (p5)"),
    Accelerator("A100", 312.0, 19.5, "NVIDIA A100 datasheet: 312 TFLOPS (p4d)"),
    Accelerator("A10G", 70.0, 35.0, "NVIDIA A10G datasheet: 70 TFLOPS (g5)"),
    Accelerator("L40S", 362.05, 91.6, "NVIDIA L40S datasheet: 733 TFLOPS with sparsity (g6e)"),
    Accelerator("L4", 121.0, 30.3, "NVIDIA L4 datasheet: 242 TFLOPS with sparsity (g6)"),
)


def peak_flops(device_name: str, *, bfloat16: bool) -> float | None:
    """FLOP/s at most, or None for a device that is not in the table (a CPU among them)."""
    words = device_name.replace("-", " ").split()
    for accelerator in ACCELERATORS:
        parts = accelerator.name_part.split()
        if all(any(word == part or (len(part) > 2 and word.startswith(part)) for word in words) for part in parts):
            return (accelerator.bfloat16_tflops if bfloat16 else accelerator.float32_tflops) * 1e12
    return None
