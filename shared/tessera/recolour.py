"""Brightness, contrast, saturation and hue of an image: duplicates of a pool and training samples change by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

# ITU-R 601 luma.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Colours:
    """Factors of brightness, contrast and saturation, 1 for none; ``hue`` turns by a share of the circle."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float | None = None
    """None leaves the hue unchanged; 0 still converts the image to 8-bit HSV and back."""


def recoloured(rgb: UInt8, colours: Colours) -> UInt8:
    """Return an image (H, W, 3) uint8 in other colours, the input unchanged.

    Brightness, contrast (around the mean luma), saturation (around each pixel's luma) and hue, in this order; values
    are cut to 0..255 after each.
    """
    from PIL import Image

    values = np.clip(rgb.astype(np.float32) * np.float32(colours.brightness), 0, 255)
    mean = np.float32((values @ _LUMA).mean())
    values = np.clip(mean + (values - mean) * np.float32(colours.contrast), 0, 255)
    luma = (values @ _LUMA)[..., None]
    values = np.clip(luma + (values - luma) * np.float32(colours.saturation), 0, 255)
    made: UInt8 = np.rint(values).astype(np.uint8)
    if colours.hue is None:
        return made
    hsv = np.array(Image.fromarray(made).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(colours.hue * 256)) % 256
    channels = [Image.fromarray(np.ascontiguousarray(hsv[..., at])) for at in range(3)]
    return np.array(Image.merge("HSV", channels).convert("RGB"))
