"""Low-resolution logits at another size, and as labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def upsampled(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Logits (C, h, w) float32 at (C, H, W) for ``shape`` (H, W), bilinear (align_corners=False)."""
    import torch
    import torch.nn.functional as F

    with torch.inference_mode():
        return F.interpolate(torch.from_numpy(logits)[None], size=shape, mode="bilinear", align_corners=False)[
            0
        ].numpy()


def predict(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Class index (H, W) uint8 of the largest logit after bilinear upsampling (align_corners=False).

    ``logits`` is (C, h, w) float32, ``shape`` is (H, W). Ties go to the lowest class.
    """
    import torch

    return torch.from_numpy(upsampled(logits, shape)).argmax(0).to(torch.uint8).numpy()
