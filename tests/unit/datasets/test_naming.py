"""Ids, videos and times from the names of images, and from a CSV."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tessera.datasets.naming import NamePattern, image_id, read_times
from tessera.errors import BadInput
from tessera.formats.keys import check_image_id

NAMES = ["cam1/000010.jpg", "cam1/000020.jpg", "cam2/000010.png"]


def test_an_id_joins_folders_and_leaves_out_the_extension():
    assert image_id("cam1/000120.jpg") == "cam1_000120"
    assert image_id("b.v2.PNG") == "b.v2"


@pytest.mark.parametrize("name", ["Straße 5.jpg", "_hidden/a.jpg", "a" * 300 + ".jpg", "ä.jpg", "--.png"])
def test_any_other_name_gets_a_usable_id_of_its_own(name):
    made = image_id(name)
    assert check_image_id(made, "test") == made
    assert re.search(r"-[0-9a-f]{8}$", made)
    assert image_id("x" + name) != made


def test_names_say_video_and_time_by_default():
    assert NamePattern(None, 10.0).place("town/seq1_000030.jpg") == ("town_seq1", 3.0)
    assert NamePattern(None, 10.0).place("town.jpg") == ("", 0.0)


def test_a_pattern_says_video_and_frame_or_seconds():
    frames = NamePattern(r"(?P<sequence>cam\d)/(?P<frame>\d+)", 10.0)
    assert frames.place("cam1/000015.jpg") == ("cam1", 1.5)
    assert frames.place("other.jpg") is None
    seconds = NamePattern(r"(?P<sequence>\w+)@(?P<time>[\d.]+)\.jpg", 10.0)
    assert seconds.place("a@12.5.jpg") == ("a", 12.5)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("(", "no regular expression"), ("(?P<frame>x)", "needs the groups"), ("a", "needs the groups")],
)
def test_a_pattern_that_cannot_be_one_is_named(pattern, said):
    with pytest.raises(BadInput, match=said):
        NamePattern(pattern, 10.0)


def test_a_pattern_that_finds_no_number_is_named():
    with pytest.raises(BadInput, match=r"finds 'x' in 'ax\.jpg', which is no number"):
        NamePattern(r"(?P<sequence>a)(?P<frame>.)", 10.0).place("ax.jpg")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "times.csv"
    path.write_text(text)
    return path


def test_a_csv_says_video_and_time(tmp_path):
    path = written(tmp_path, '\ufefftime,Image,sequence\n1.5,cam1/000010.jpg,a\n\n2,cam2/000010,"b, c"\n')
    assert read_times(path, NAMES) == {"cam1/000010.jpg": ("a", 1.5), "cam2/000010.png": ("b, c", 2.0)}


def test_every_bad_row_of_a_csv_is_named_by_its_line(tmp_path):
    rows = ["image,sequence,time", "nobody.jpg,a,1", "cam1/000010,a,soon", "cam1/000020,a,nan", "cam2/000010,a"]
    rows += ["cam2/000010,a,1", "cam2/000010.png,a,2"]
    with pytest.raises(BadInput) as caught:
        read_times(written(tmp_path, "\n".join(rows)), NAMES)
    text = str(caught.value)
    assert "5 problems" in text
    for line, said in ((2, "nobody.jpg"), (3, "'soon'"), (4, "'nan'"), (5, "2 values"), (7, "named before")):
        assert re.search(rf"line {line}: .*{said}", text), text


def test_a_csv_without_a_column_is_refused(tmp_path):
    with pytest.raises(BadInput, match="line 1: no column sequence, time"):
        read_times(written(tmp_path, "image,when\na,b\n"), NAMES)
