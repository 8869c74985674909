"""Remove from large libraries, of which we use a single function, the files that this function does not load.

``used.py`` removes; ``used.py check`` only loads every shared library and calls every function of OpenCV, Pillow and
scikit-image that our services call, so that a build in which one is missing fails.
"""

import ctypes
import importlib.util
import io
import sys
from pathlib import Path

SLIC = ("skimage", "scipy", "scipy.libs", "networkx", "imageio", "tifffile")
"""scikit-image and what it requires. Where another package needs SciPy, all of it stays."""
PLUGINS = ("omppool", "tbbpool")
"""Of numba: each needs a library of the machine, and another is taken where there is none."""


def here(name: str) -> bool:
    """Return whether a package is installed."""
    return importlib.util.find_spec(name) is not None


def cut_superpixels() -> None:
    """Load of scikit-image what the partitioner loads (regions/slic.py)."""
    from skimage.segmentation._slic import _enforce_label_connectivity_cython, _slic_cython
    from skimage.util import regular_grid

    assert callable(_slic_cython) and callable(_enforce_label_connectivity_cython) and regular_grid((1, 9, 9), 4)


def cut_highlighting() -> None:
    """Leave of pygments what rich shows a Python traceback with; other languages it then takes for plain text."""
    from pygments.lexers import _mapping
    from pygments.lexers.python import PythonLexer
    from pygments.lexers.special import TextLexer

    kept = (PythonLexer.__module__, TextLexer.__module__)
    path = Path(str(_mapping.__file__))
    cut = f"\nfor _name in [name for name, one in LEXERS.items() if one[0] not in {kept}]:\n    del LEXERS[_name]\n"
    if cut not in path.read_text():
        path.write_text(path.read_text() + cut)
        exec(cut, vars(_mapping))  # noqa: S102  # here, too: what follows loads no other
    use_rich()
    reduce(path.parents[2], ("pygments",))


def use_rich() -> None:
    """Show an error and code as the command line may."""
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.traceback import Traceback

    console = Console(file=io.StringIO(), force_terminal=True)
    for name, language in (("a.py", "python"), ("a.yaml", "yaml")):
        console.print(Syntax("def one(): return 1", language), Syntax.guess_lexer(name))
    try:
        raise ValueError("shown")
    except ValueError as error:
        console.print(Traceback.from_exception(ValueError, error, error.__traceback__))


def use_tracing() -> None:
    """Load what traces are sent with."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    assert OTLPSpanExporter and BatchSpanProcessor


def load_libraries(root: Path) -> None:
    """Load every shared library but those of torch and CUDA, which are as they came."""
    failed = []
    for path in sorted(root.rglob("*.so*")):
        apart = path.relative_to(root).parts[0] in ("torch", "nvidia", "triton", "functorch")
        if path.is_file() and not apart and not path.name.startswith(PLUGINS):
            try:
                ctypes.CDLL(str(path))
            except OSError as error:
                failed.append(f"{path}: {error}")
    assert not failed, "\n".join(failed)


def use_pictures() -> None:
    """Call what is called of Pillow."""
    import numpy as np
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    for kind in ("png", "jpeg"):
        Image.fromarray(image).save(packed := io.BytesIO(), kind)
        assert Image.open(packed).convert("RGB").resize((8, 8), Image.Resampling.HAMMING).size == (8, 8)


def use_images() -> None:
    """Call what is called of OpenCV."""
    import cv2
    import numpy as np

    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
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


def check(root: Path) -> None:
    """Load and call what is left."""
    load_libraries(root)
    # As SciPy does: of this, nothing may be missing.
    exec("from numpy import *", {})  # noqa: S102
    uses = {"PIL": use_pictures, "cv2": use_images, "skimage": cut_superpixels, "rich": use_rich}
    for name, use in {**uses, "opentelemetry": use_tracing}.items():
        if here(name):
            use()


def main() -> None:
    """Remove, or only check."""
    import minio  # reads Crypto

    root = Path(minio.__file__).parents[1]
    if sys.argv[1:] == ["check"]:
        check(root)
        return
    reduce(root, ("Crypto",))
    if here("skimage") and not here("sklearn"):
        cut_superpixels()
        reduce(root, SLIC)
    if here("pygments"):
        cut_highlighting()


main()
