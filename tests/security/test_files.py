"""Files that somebody else made: no alias bomb, no device, no pipe, no link that goes unnoticed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_trees import image, mask
from integration.loop import RECIPE, tessera, write_recipe
from tessera.cli.extending import read_yaml
from tessera.cli.recipes import overrides
from tessera.datasets.checking import check_headers
from tessera.datasets.reader import links_out, read_dataset
from tessera.datasets.samples import Problems, read_classes
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street
from tessera.errors import BadInput

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def street(tmp_path: Path) -> Path:
    return make_street(tmp_path / "street", StreetParams(height=40, width=56, train=1, val=1, test=1, frames=2))


def first(folder: Path, kind: str = "images") -> Path:
    return min((folder / kind / "train").iterdir())


def test_an_alias_bomb_is_refused_at_its_first_alias(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMB)
    with pytest.raises(BadInput, match=r"bomb\.yaml, line 2, column 8: .*alias \*a: aliases are not read"):
        read_yaml(path)
    with pytest.raises(BadInput, match=r"--set a: .* is not a value in YAML"):
        overrides(["a=[&a [1], *a]"])
    done = tessera("run", path, "--out", tmp_path / "out", timeout=60)
    assert done.returncode == 2
    assert "aliases are not read" in done.stderr
    assert overrides(["a=[1, 2]", "b={c: d}"]) == [("a", [1, 2]), ("b", {"c": "d"})]


@given(st.text(st.sampled_from("&*a[]{}:,-<>|!'\"2026 .\n\t%@#"), max_size=60))
def test_any_text_is_a_value_or_bad_input(text: str) -> None:
    with contextlib.suppress(BadInput):
        overrides([f"a={text}"])


@pytest.mark.parametrize("text", ["a=2026-99-99", "a=" + "9" * 5000, "a=" + "[" * 4000])
def test_values_that_do_not_exist_are_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="not a value in YAML"):
        overrides([text])


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def spoil(path: Path, how: str) -> None:
    path.unlink()
    match how:
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "FIFO":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        case "sparse":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "empty":
            path.touch()
        case "bomb":
            path.write_bytes(
                b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 0, 0, 0, 0))
            )


SPOILT = {
    "link to a device": "is a device, behind a link to /dev/zero; only regular files are read",
    "FIFO": "is a FIFO; only regular files are read",
    "socket": "is a socket; only regular files are read",
    "sparse": "has 1048576 MiB; at most 512 MiB are read",
    "empty": "the file is empty",
    "bomb": "20000×10000 pixels",
}


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_doctor_names_every_file_that_an_import_refuses(street: Path, kind: str) -> None:
    paths = sorted((street / kind / "train").iterdir())
    cases = list(SPOILT.items())
    while len(paths) < len(cases):
        for sort in ("images", "labels"):
            source = first(street, sort)
            shutil.copy(source, source.with_name(f"more_{len(paths)}{source.suffix}"))
        paths = sorted((street / kind / "train").iterdir())
    for path, (how, _) in zip(paths, cases, strict=False):
        spoil(path, how)
    done = tessera("doctor", "--data", street, timeout=60)
    assert done.returncode == 1, done.stdout
    for path, (_, words) in zip(paths, cases, strict=False):
        assert f"{path}: {words}" in done.stdout or (f"{path}: " in done.stdout and words in done.stdout)
    imported = tessera("data", "import", "auto", street, "--store", (street.parent / "store").as_uri(), timeout=60)
    assert imported.returncode == 2
    for path in paths[: len(cases)]:
        assert str(path) in imported.stderr


def test_the_size_of_a_label_map_is_compared_with_its_image(street: Path) -> None:
    image(street / "images" / "train" / "odd_1.png", (40, 56))
    mask(street / "labels" / "train" / "odd_1.png", shape=(40, 57))
    problems = Problems(str(street))
    check_headers(read_dataset(street), problems)
    assert len(problems.found) == 1
    assert "57×40" in problems.found[0]
    assert "56×40" in problems.found[0]
    sound = Problems(str(street))
    (street / "images" / "train" / "odd_1.png").unlink()
    (street / "labels" / "train" / "odd_1.png").unlink()
    check_headers(read_dataset(street), sound)
    assert sound.found == []


def test_links_that_leave_the_folder_are_told(street: Path, tmp_path: Path) -> None:
    assert links_out(read_dataset(street)) == ""
    inner = first(street)
    outside = tmp_path / "elsewhere" / inner.name
    outside.parent.mkdir()
    shutil.move(inner, outside)
    inner.symlink_to(outside)
    assert links_out(read_dataset(street)) == (
        f"1 file lies outside the data set's folder, behind links: {inner} → {outside}"
    )
    done = tessera("data", "import", "auto", street, "--store", (tmp_path / "store").as_uri())
    assert done.returncode == 0, done.stderr
    assert f"{inner} → {outside}" in done.stderr
    assert f"{inner} → {outside}" in tessera("doctor", "--data", street).stdout
    # A link of the folder itself, or one that stays inside, leads nowhere else.
    inner.unlink()
    shutil.move(outside, street / "kept.bin")
    inner.symlink_to(street / "kept.bin")
    (tmp_path / "again").symlink_to(street)
    assert links_out(read_dataset(tmp_path / "again")) == ""


def test_lists_and_recipes_are_regular_files_too(street: Path, tmp_path: Path) -> None:
    (street / "classes.json").unlink()
    os.mkfifo(street / "classes.json")
    with pytest.raises(BadInput, match=r"classes\.json: is a FIFO"):
        read_classes(street / "classes.json")
    recipe = write_recipe(tmp_path / "r")
    assert RECIPE["recipe"] in recipe.read_text()
    recipe.unlink()
    recipe.symlink_to("/dev/zero")
    done = tessera("run", recipe, "--out", tmp_path / "out", timeout=60)
    assert done.returncode == 2
