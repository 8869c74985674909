"""Keys of objects in the store, and the identifiers that may be part of a key.

Only this module builds keys, so an identifier that leads out of its folder is refused in one place.
"""

from __future__ import annotations

import re

from tessera.errors import BadInput

# \Z and not $: the latter also matches before a final newline.
_IMAGE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_KEY = re.compile(r"[a-z0-9][a-zA-Z0-9._/-]{0,511}\Z")
_SPLIT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z")
_SERIES = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def check_image_id(image_id: str, where: str) -> str:
    """Return ``image_id`` if it may be part of a key; BadInput naming ``where`` otherwise."""
    if not _IMAGE_ID.match(image_id):
        raise BadInput(
            f"{where}: image id {image_id!r} is not usable; rename the file to 1-128 characters of A-Z a-z 0-9 . _ - "
            "that start with a letter or digit"
        )
    return image_id


def check_split(split: str, where: str) -> str:
    """Return ``split`` if it may be part of a key; BadInput naming ``where`` otherwise."""
    if not _SPLIT.match(split):
        raise BadInput(f"{where}: split name {split!r} is not usable; use 1-32 characters of a-z 0-9 _ -")
    return split


def check_series(name: str, where: str) -> str:
    """Return ``name`` if a data set that grows may be called so; BadInput otherwise."""
    if not _SERIES.match(name):
        raise BadInput(f"{where}: name {name[:80]!r} is not usable; use 1-40 characters of a-z 0-9 -")
    return name


def check_key(key: str, where: str) -> str:
    """Return ``key`` if it is a valid object key; BadInput for other characters and for empty or dot segments."""
    if not _KEY.match(key) or any(part in ("", ".", "..") for part in key.split("/")):
        raise BadInput(
            f"{where}: object key {key[:80]!r} is not valid; use 1-512 characters of A-Z a-z 0-9 . _ - / "
            "without empty or dot segments"
        )
    return key


def check_sha256(digest: str, where: str) -> str:
    """Return ``digest`` if it is 64 lower-case hexadecimal digits; BadInput otherwise."""
    if not _SHA256.match(digest):
        raise BadInput(f"{where}: {digest[:80]!r} is not a sha256; it has 64 lower-case hexadecimal digits")
    return digest


def cas(sha256: str) -> str:
    """Return the key of content-addressed bytes: ``cas/sha256/<first 2>/<other 62 digits>``."""
    check_sha256(sha256, "content key")
    return f"cas/sha256/{sha256[:2]}/{sha256[2:]}"


def dataset_manifest(dataset_id: str) -> str:
    """Return the key of a data set's manifest."""
    return check_key(f"datasets/{dataset_id}/manifest.json", "data set")


def dataset_image(dataset_id: str, split: str, image_id: str, extension: str) -> str:
    """Return the key of an image; ``extension`` without the dot."""
    check_split(split, "data set")
    return check_key(
        f"datasets/{dataset_id}/images/{split}/{check_image_id(image_id, 'data set')}.{extension}", "data set"
    )


def dataset_label(dataset_id: str, split: str, image_id: str) -> str:
    """Return the key of an image's label map."""
    check_split(split, "data set")
    return check_key(f"datasets/{dataset_id}/labels/{split}/{check_image_id(image_id, 'data set')}.png", "data set")


def dataset_labels(dataset_id: str, split: str) -> str:
    """Return the key of a split's label manifest."""
    check_split(split, "data set")
    return check_key(f"datasets/{dataset_id}/labels/{split}.json", "data set")


def dataset_versions(name: str) -> str:
    """Return the prefix of the entries of a data set's versions."""
    return f"datasets/{check_series(name, 'data set')}/versions/"


def dataset_version(name: str, number: int, sha256: str) -> str:
    """Return the key of the entry of a version, whose manifest has this hash."""
    return check_key(f"{dataset_versions(name)}{number:06d}-{check_sha256(sha256, 'version')[:12]}.json", "data set")
