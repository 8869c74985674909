"""The fastest dtype of a device."""

from __future__ import annotations

import torch


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 on CUDA and on processors with AVX-512 BF16 or AMX, float32 where bfloat16 would be emulated."""
    if device.type == "cuda":
        return torch.bfloat16
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    native = any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return torch.bfloat16 if native else torch.float32
