"""Boxes of an image at one common size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray


def resized(rgb: NDArray[np.uint8], boxes: NDArray[Any] | Sequence[Sequence[int]], size: int) -> NDArray[np.uint8]:
    """Resize the half-open boxes (n, 4) of an image (H, W, 3) uint8 to (n, size, size, 3) uint8.

    Bilinear with antialiasing; a box that is not square is squeezed. One box at a time: no box depends on another.
    """
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None]
    made = np.empty((len(boxes), size, size, 3), np.uint8)
    for row, (y0, x0, y1, x1) in enumerate(np.asarray(boxes).tolist()):
        part = image[:, :, y0:y1, x0:x1].float()
        small = F.interpolate(part, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        made[row] = small[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return made
