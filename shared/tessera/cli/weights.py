"""Find the initial weights of a recipe: an explicit file, the weights folder, then the configured download."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from tessera.cli.processes import write_atomically
from tessera.errors import BadInput, Unavailable
from tessera.models import ARCHITECTURES

MAX_BYTES = 1 << 30
TIMEOUT_SECONDS = 30.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def find(pretrained: str, architecture: str, key: str = "model.pretrained") -> Path | None:
    """Return the weights file that ``pretrained`` names; None for "random", which a recipe must ask for by name.

    "street" is the small backbone of the built-in scenes, which comes with the package (tools/pretrain_street.py).
    "imagenet" is searched in $TESSERA_WEIGHTS_DIR, then downloaded from $TESSERA_WEIGHTS_URL (checked against
    $TESSERA_WEIGHTS_SHA256) into the user's cache. Anything else is a path. BadInput when there is no file, never a
    silent random start; messages call the setting ``key``.
    """
    if pretrained == "random":
        return None
    if pretrained == "street":
        return Path(str(resources.files("tessera.datasets.street") / "backbone.safetensors"))
    if pretrained != "imagenet":
        path = Path(pretrained).expanduser()
        if not path.is_file():
            raise BadInput(f"{key}: {path} is not a file; give imagenet, street, random or a safetensors file")
        return path
    name = ARCHITECTURES.entry(architecture).traits.imagenet or f"{architecture}_imagenet.safetensors"
    given = os.environ.get("TESSERA_WEIGHTS_DIR")
    folders = [Path(given)] if given else []
    folders.append(cache_folder())
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    url = os.environ.get("TESSERA_WEIGHTS_URL")
    if url:
        return download(url, os.environ.get("TESSERA_WEIGHTS_SHA256", ""), folders[-1] / name)
    raise BadInput(
        f"{key}: no ImageNet weights; looked for {name} in {', '.join(str(folder) for folder in folders)}. "
        "Set TESSERA_WEIGHTS_DIR to its folder. Or set TESSERA_WEIGHTS_URL and TESSERA_WEIGHTS_SHA256 to download it. "
        f"Or start from other weights: --set {key}=FILE, street (small, included) or random"
    )


def cache_folder() -> Path:
    """Return the folder for downloaded weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tessera" / "weights"


def download(url: str, sha256: str, into: Path) -> Path:
    """Fetch ``url`` to ``into`` when its bytes have this sha256; BadInput or Unavailable otherwise, with no file."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadInput(f"TESSERA_WEIGHTS_URL {url!r}: not an http or https address")
    if not _SHA256.fullmatch(sha256):
        raise BadInput(
            "TESSERA_WEIGHTS_SHA256: set it to the 64 hexadecimal digits of the file behind TESSERA_WEIGHTS_URL"
        )
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - scheme checked above
            data = response.read(MAX_BYTES + 1)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise Unavailable(
            f"weights: cannot download {url} ({error}); fetch the file yourself and set TESSERA_WEIGHTS_DIR"
        ) from None
    if len(data) > MAX_BYTES:
        raise BadInput(f"weights: {url} is larger than {MAX_BYTES >> 30} GiB; that is not a weights file")
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise BadInput(f"weights: {url} has sha256 {actual}, TESSERA_WEIGHTS_SHA256 says {sha256}; nothing was kept")
    write_atomically(into, data)
    return into
