import hashlib
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camvid import needs_camvid, rgb, samples, seeds_maps
from tessera.errors import BadInput
from tessera.regions import PARTITIONS, compact, implementation, needs_image, partition, region_table, seeds
from tessera.regions import slic as slic_core


def scene(height=360, width=480, seed=0):
    """Blocks of colour with some noise: something that superpixels can follow."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 200, (height // 40 + 1, width // 40 + 1, 3)), np.ones((40, 40, 1), int))
    return (blocks[:height, :width] + rng.integers(0, 40, (height, width, 3))).astype(np.uint8)


@pytest.mark.parametrize(("count", "levels", "real"), [(192, 5, 165), (169, 5, 70), (768, 5, 660)])
def test_seeds_gives_the_published_counts_at_camvid_size(count, levels, real):
    regions = partition("seeds", {"count": count, "levels": levels}, scene())
    assert len(region_table(regions)) == real


@pytest.mark.parametrize(("count", "levels", "real"), [(300, 4, 300), (48, 3, 48), (192, 4, 165), (128, 3, 108)])
def test_seeds_counts_at_fewer_levels(count, levels, real):
    regions = partition("seeds", {"count": count, "levels": levels}, scene())
    assert len(region_table(regions)) == real


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 2000), st.integers(2, 7))
def test_the_law_is_opencvs(height, width, count, levels):
    import cv2

    try:
        law = seeds.law((height, width), count, levels)
    except BadInput:
        return
    made = cv2.ximgproc.createSuperpixelSEEDS(width, height, 3, count, num_levels=levels)
    assert made.getNumberOfSuperpixels() == law.count


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(10, 300), st.integers(2, 6), st.booleans())
def test_any_image_gives_dense_ids_or_a_refusal(height, width, count, levels, flat):
    """Without the law's refusals OpenCV crashes the process on some of these."""
    image = scene(height, width) if not flat else np.full((height, width, 3), 7, np.uint8)
    try:
        regions = partition("seeds", {"count": count, "levels": levels}, image)
    except BadInput:
        return
    assert regions.shape == (height, width)
    assert regions.dtype == np.int32
    assert (compact(regions)[0] == regions).all(), "dense, in order of first appearance"


@pytest.mark.parametrize(("size", "real"), [(16, 660), (32, 165), (64, 35)])
def test_seeds_by_size(size, real):
    assert len(region_table(partition("seeds", {"size": size}, scene()))) == real
    assert seeds.law((360, 480), seeds.request((360, 480), size, 5), 5).size == (size, size)


def test_a_size_asks_for_the_published_numbers():
    assert seeds.request((360, 480), 32, 5) == 192
    assert seeds.request((1024, 2048), 32, 5) == 2048
    assert seeds.law((1024, 2048), 2048, 5).count == 2048
    assert seeds.law((375, 500), 150, 5).count == 70
    assert seeds.law((333, 500), 150, 5).count == 60


@settings(deadline=None, max_examples=200)
@given(st.integers(300, 2000), st.integers(300, 2000), st.sampled_from([16, 32, 64]))
def test_a_size_starts_as_squares_of_that_size(height, width, size):
    made = seeds.law((height, width), seeds.request((height, width), size, 5), 5)
    assert made.size == (size, size)


def test_the_pre_processing_is_the_published_one():
    """skimage's equalize_hist over all channels together, float32, cv2 HSV."""
    import cv2
    from skimage.exposure import equalize_hist

    for image in (scene(90, 120), np.full((4, 5, 3), 9, np.uint8), (scene(30, 40) // 2 + 60).astype(np.uint8)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # skimage asks whether a joint histogram is meant: it is
            published = cv2.cvtColor(equalize_hist(image).astype(np.float32), cv2.COLOR_RGB2HSV)
        assert (seeds.equalized_hsv(image) == published).all()


def test_seeds_is_the_published_call():
    import cv2

    image = scene()
    made = cv2.ximgproc.createSuperpixelSEEDS(
        480, 360, 3, 192, num_levels=5, prior=3, histogram_bins=10, double_step=True
    )
    made.iterate(seeds.equalized_hsv(image), 10)
    assert (partition("seeds", {"count": 192}, image) == compact(made.getLabels())[0]).all()
    changes = [{"prior": 0}, {"histogram_bins": 4}, {"iterations": 1}, {"double_step": False}, {"colour": "lab"}]
    for change in changes:
        other = partition("seeds", {"count": 192, **change}, image)
        assert (other != partition("seeds", {"count": 192}, image)).any(), change


def test_slic_is_the_published_call_in_dense_ids():
    from skimage.segmentation import slic

    image = scene(120, 160)
    expected, _ = compact(slic(image, n_segments=40, sigma=0, compactness=10, start_label=0))
    assert (partition("slic", {"count": 40}, image) == expected).all()
    by_size = partition("slic", {"size": 20}, image)
    assert (by_size == partition("slic", {"count": 6 * 8}, image)).all()
    assert len(region_table(partition("slic", {"size": 999}, image))) == 1


@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.0, 2.7])
@pytest.mark.parametrize(("height", "width", "count"), [(1, 1, 1), (7, 3, 5), (48, 64, 30), (33, 90, 2), (60, 45, 400)])
def test_slic_is_scikit_images_bit_for_bit(height, width, count, sigma):
    from skimage.segmentation import slic

    rng = np.random.default_rng(height * width)
    for image in (scene(height, width), rng.integers(0, 256, (height, width, 3)).astype(np.uint8)):
        for compactness, iterations in ((10.0, 10), (0.3, 3)):
            given = {"compactness": compactness, "sigma": sigma}
            expected = slic(image, n_segments=count, max_num_iter=iterations, start_label=0, channel_axis=-1, **given)
            found = slic_core.cut(image, count=count, iterations=iterations, **given)
            np.testing.assert_array_equal(found, expected)


def test_slic_imports_neither_scipy_nor_what_scikit_image_else_needs():
    code = (
        "import sys, numpy; from tessera.regions import partition\n"
        "partition('slic', {'count': 4}, numpy.zeros((20, 20, 3), numpy.uint8))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'scipy', 'networkx', 'imageio', 'tifffile'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


@pytest.mark.parametrize("name", ["seeds", "slic"])
def test_regions_are_equal_in_another_process(name):
    program = (
        "import hashlib, sys; from test_superpixels import scene; from tessera.regions import partition;"
        f"print(hashlib.sha256(partition({name!r}, {{'size': 32}}, scene()).tobytes()).hexdigest())"
    )
    here = hashlib.sha256(partition(name, {"size": 32}, scene()).tobytes()).hexdigest()
    path = os.pathsep.join([os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "..", "..")])
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert run.stdout.strip() == here, run.stderr


@pytest.mark.parametrize(("name", "library"), [("seeds", "opencv"), ("slic", "scikit-image")])
def test_the_library_is_a_parameter_and_another_one_is_refused(name, library):
    canonical = PARTITIONS.parameters(name, {"count": 40}).implementation
    assert canonical.startswith(f"1/{library}-")
    assert canonical in PARTITIONS.canonical(name, {"count": 40})
    other = f"1/{library}-1.2.3"
    with pytest.raises(BadInput, match=rf"(?s)names regions cut by '1/{library}-1\.2\.3'.*'{canonical}'.*install"):
        partition(name, {"count": 40, "implementation": other}, scene(90, 120))
    assert needs_image(name)


def test_a_recipe_read_without_the_library_means_the_tested_version(monkeypatch):
    monkeypatch.setattr(implementation, "installed", lambda *names: None)
    assert PARTITIONS.parameters("seeds", {}).implementation == "1/opencv-5.0.0"
    assert PARTITIONS.parameters("slic", {}).implementation == "1/scikit-image-0.26.0"


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("seeds", {"count": 192, "size": 32}, "either count or size"),
        ("seeds", {"size": 24}, "multiple of 16, or fewer levels"),
        ("seeds", {"count": 9}, "count"),
        ("seeds", {"count": 192, "colour": "rgb"}, "colour"),
        ("slic", {"count": 192, "size": 32}, "either count or size"),
        ("slic", {"compactness": 0}, "compactness"),
    ],
)
def test_parameters_that_make_no_sense(name, params, words):
    with pytest.raises(BadInput, match=words):
        PARTITIONS.parameters(name, params)


def test_images_too_small_are_refused_and_pixels_are_needed():
    with pytest.raises(BadInput, match=r"500 regions cannot be cut from an image of 12×9"):
        partition("seeds", {"count": 500}, scene(9, 12))
    with pytest.raises(BadInput, match="ask for fewer"):
        partition("slic", {"count": 500}, scene(9, 12))
    with pytest.raises(BadInput, match="needs the pixels"):
        partition("seeds", {}, (360, 480))


@needs_camvid
@pytest.mark.full
@pytest.mark.timeout(900)
def test_all_of_camvid_train_is_60555_regions():
    counts = [len(region_table(regions.astype(np.int32))) for regions in seeds_maps().values()]
    assert len(counts) == 367
    assert set(counts) == {165}
    assert sum(counts) == 60_555


@needs_camvid
def test_seeds_regions_are_nearly_all_in_one_piece():
    """The README of the partition says so; a few per cent consist of several pieces."""
    from skimage.measure import label

    pieces = regions = 0
    for sample in samples("train")[::90]:
        made = partition("seeds", {"count": 192}, rgb(sample))
        regions += int(made.max()) + 1
        pieces += int(label(made, connectivity=1, background=-1).max())
    assert regions < pieces < 1.1 * regions
