"""Remove from large libraries, of which we use a single function, the files that this function does not load.

``used.py`` removes; ``used.py images`` only calls every function of OpenCV, Pillow and scikit-image that our services
call, so that a build in which one is missing fails.
"""

import importlib.util
import io
import sys
from pathlib import Path

SLIC = ("skimage", "scipy", "scipy.libs", "networkx", "imageio", "tifffile")
"""scikit-image and what it requires. Where another package needs SciPy, all of it stays."""


def here(name: str) -> bool:
    """Return whether a package is installed."""
    return importlib.util.find_spec(name) is not None


def cut_superpixels() -> None:
    """Load of scikit-image what the partitioner loads (regions/slic.py)."""
    from skimage.segmentation._slic import _enforce_label_connectivity_cython, _slic_cython
    from skimage.util import regular_grid

    assert callable(_slic_cython) and callable(_enforce_label_connectivity_cython) and regular_grid((1, 9, 9), 4)


def use_images() -> None:
    """Call what is called of Pillow and OpenCV."""
    import cv2
    import numpy as np
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    for kind in ("png", "jpeg"):
        Image.fromarray(image).save(packed := io.BytesIO(), kind)
        assert Image.open(packed).convert("RGB").resize((8, 8)).size == (8, 8)
    for colours in (cv2.COLOR_RGB2LAB, cv2.COLOR_RGB2HSV):
        seeds = cv2.ximgproc.createSuperpixelSEEDS(64, 48, 3, 12, num_levels=2, prior=3, histogram_bins=5)
        seeds.iterate(cv2.cvtColor(image, colours), 2)
        assert seeds.getLabels().shape == (48, 64)
    mask = (image[:, :, 0] > 128).astype(np.uint8)
    cv2.connectedComponentsWithStats(mask, connectivity=8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    assert len(cv2.approxPolyDP(outlines[0], 1.0, True))
    for draw in (cv2.fillPoly, lambda *given: cv2.polylines(given[0], given[1], True, given[2])):
        draw(mask, [np.array([[1, 1], [9, 1], [9, 9]], np.int32)], 1)
    cv2.ellipse(image, (9, 9), (4, 5), 0, 0, 360, (1, 2, 3), -1, cv2.LINE_AA)
    assert cv2.GaussianBlur(cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA), (3, 3), 0).shape == (24, 32, 3)
    assert cv2.merge([mask, mask, mask]).shape == cv2.multiply(image, image).shape


def loaded(root: Path) -> set[Path]:
    """Return the files below a folder that this process has loaded."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files |= {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    return {path for path in map(Path, filter(None, files)) if path.is_relative_to(root)}


def reduce(root: Path, packages: tuple[str, ...]) -> None:
    """Remove from these packages what is not loaded. Stubs stay: scikit-image reads from them what to import."""
    keep = loaded(root)
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and path not in keep and path.suffix != ".pyi" and "__pycache__" not in path.parts:
                path.unlink()


def main() -> None:
    """Remove, or only call."""
    import minio  # reads Crypto

    root = Path(minio.__file__).parents[1]
    if here("skimage"):
        cut_superpixels()
    if sys.argv[1:] == ["images"]:
        use_images()
        return
    reduce(root, ("Crypto",))
    if here("skimage") and not here("sklearn"):
        reduce(root, SLIC)


main()
