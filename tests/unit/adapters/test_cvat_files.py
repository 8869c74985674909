"""Files of CVAT: what it writes itself is read, and what cannot be read says why."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from adapter_rounds import round_of
from tessera.adapters.cvat import images_xml, masks_zip
from tessera.adapters.cvat.images_xml import CvatDocument
from tessera.adapters.cvat.scheme import scheme
from tessera.adapters.cvat.shapes import CvatImage, CvatShape, covered, layers
from tessera.adapters.tasks import ToolRound
from tessera.errors import BadInput
from tessera.formats import images as pictures


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotations", "is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "has a document type"),
        ('<?xml version="1.0" encoding="latin-1"?><annotations/>', "its encoding is 'latin-1'"),
        ("<opencv/>", "its root is <opencv>"),
        ("<annotations><track id='0'/></annotations>", "has tracks of a video"),
        ("<annotations><image name='a' width='x' height='2'/></annotations>", "'x' is no number"),
        ("<annotations><image name='a' width='0' height='2'/></annotations>", "is 0×2 pixels"),
        (
            "<annotations><image name='a' width='2' height='2'><polygon label='b' points='1,2;3'/></image>"
            "</annotations>",
            "",
        ),
        (
            "<annotations><image name='a' width='2' height='2'><mask label='b' rle='1;2' left='0' top='0' width='1'"
            " height='3'/></image></annotations>",
            "'1;2' is no number",
        ),
        (
            "<annotations><image name='a' width='2' height='2'><box label='b' rotation='3.0' xtl='0' ytl='0' xbr='1'"
            " ybr='1'/></image></annotations>",
            "is turned; draw a polygon",
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(text: str, reason: str) -> None:
    if not reason:
        (image,) = images_xml.read(text.encode(), "a.xml").images
        with pytest.raises(BadInput, match="3 numbers are no corners"):
            covered(image.shapes[0], (0, 0, 2, 2))
        return
    with pytest.raises(BadInput) as caught:
        images_xml.read(text.encode(), "a.xml")
    assert str(caught.value).startswith("a.xml")
    assert reason in str(caught.value)


def test_a_text_that_xml_cannot_hold_is_refused() -> None:
    with pytest.raises(BadInput, match="characters that XML cannot"):
        images_xml.write(CvatDocument((), (CvatImage("a\x00.png", 1, 1),)))


def test_a_file_of_cvat_itself_is_read() -> None:
    """As CVAT 2 dumps a job: nested meta, spaces after commas in runs, subset and task of a project."""
    text = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <job>
      <id>31</id><size>1</size><mode>annotation</mode><overlap>0</overlap><bugtracker></bugtracker>
      <start_frame>0</start_frame><stop_frame>0</stop_frame><frame_filter></frame_filter>
      <segments><segment><id>31</id><start>0</start><stop>0</stop><url>http://cvat/api/jobs/31</url></segment></segments>
      <owner><username>boss</username><email></email></owner><assignee><username>ann</username><email></email></assignee>
      <labels><label><name>car</name><color>#ff0000</color><type>any</type><attributes></attributes></label></labels>
    </job>
    <dumped>2026-01-01 00:00:00+00:00</dumped>
  </meta>
  <image id="0" name="a.png" subset="Train" task_id="4" width="4" height="3">
    <mask label="car" source="manual" occluded="0" rle="1, 2, 1" left="1" top="1" width="2" height="2" z_order="0">
    </mask>
    <polygon label="car" source="manual" occluded="0" points="0.00,0.00;4.00,0.00;4.00,1.00" z_order="3" group_id="1">
    </polygon>
    <tag label="car" source="manual"></tag>
  </image>
</annotations>"""
    found = images_xml.read(text.encode(), "annotations.xml")
    assert (found.source, found.assignee, [one.name for one in found.labels]) == ("job 31", "ann", ["car"])
    (image,) = found.images
    mask, polygon, tag = image.shapes
    assert covered(mask, (0, 0, 3, 4)).astype(int).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert mask.points[-4:] == (1, 1, 2, 2)
    assert (polygon.z_order, tag.kind) == (3, "tag")


def test_a_masks_file_that_cannot_be_read_says_why() -> None:
    labels = scheme(ToolRound.of(round_of("mask"))).labels
    image = CvatImage("a.png", 2, 2, (CvatShape("rectangle", "class 1", (0, 0, 1, 1)),))
    good = masks_zip.write(labels, [image])

    def changed(name: str, data: bytes | None) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(good)) as found, zipfile.ZipFile(out, "w") as made:
            for one in found.namelist():
                if one != name or data is not None:
                    made.writestr(one, found.read(one) if one != name or data is None else data)
        return out.getvalue()

    picture = pictures.encode_png(np.full((2, 2, 3), 77, np.uint8))
    for data, reason in (
        (b"nothing", "cannot be unpacked"),
        (good[:-30], "cannot be unpacked"),
        (changed("labelmap.txt", None), "has no labelmap.txt"),
        (changed("labelmap.txt", b"# nothing\n"), "names no label"),
        (changed("labelmap.txt", b"car:1,2::\n"), "line 1: 'car:1,2::' is no label"),
        (changed("SegmentationClass/a.png", picture), "colour #4d4d4d is none of labelmap.txt"),
        (changed("SegmentationClass/a.png", b"x"), "neither PNG nor JPEG"),
    ):
        with pytest.raises(BadInput) as caught:
            masks_zip.read(data, "masks.zip")
        assert str(caught.value).startswith("masks.zip")
        assert reason in str(caught.value)
    assert masks_zip.write(labels, [image]) == good
    with pytest.raises(BadInput, match="holds no ':'"):
        masks_zip.write([replace(labels[0], name="a:b")], [image])
    with pytest.raises(BadInput, match="has the colour"):
        masks_zip.write([labels[0], replace(labels[1], color=labels[0].color)], [image])


def test_gray_masks_are_numbers_of_the_label_lines() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr("task/labelmap.txt", "background:0,0,0::\nclass 0:9,9,9::\nclass 1:8,8,8::\n")
        made.writestr("task/SegmentationClass/image.png", pictures.encode_png(np.array([[0, 1], [2, 1]], np.uint8)))
    (image,) = masks_zip.read(out.getvalue(), "masks.zip")
    raster = np.full((2, 2), 9, np.uint8)
    for value, pixels in layers(image.shapes, {"class 0": 0, "class 1": 1}, (0, 0, 2, 2)):
        raster[pixels] = value
    assert raster.tolist() == [[9, 0], [1, 0]]


def test_the_colours_of_instances_are_pascal_vocs() -> None:
    assert [masks_zip.voc_color(index) for index in (0, 1, 2, 8, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0), (224, 224, 192),
    ]  # fmt: skip
