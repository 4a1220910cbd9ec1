"""Volumes as sources come back as they were written, in their place, and damaged ones in one line."""

from __future__ import annotations

import itertools
import sys

import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from source_files import DATA, noise, refusal, written

from polyfield.data.formats import grid
from polyfield.data.volumes import open_volume
from polyfield.errors import PolyfieldError
from polyfield.fitting.points.volume_points import box_of, voxel_centres


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, np.int32, ">u2"])
@pytest.mark.parametrize("suffix", ["npy", "npz", "tif"])
@pytest.mark.parametrize("channels", [None, 3])
def test_stacks_are_indexed_by_x_y_z(tmp_path, dtype, suffix, channels):
    stack = noise(5, 6, 7, *([channels] if channels else []), dtype=np.uint8).astype(dtype)
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, stack, photometric="minisblack", planarconfig="contig" if channels else None)
    else:
        np.savez(path, a=stack) if suffix == "npz" else np.save(path, stack)
    volume = open_volume(path)
    kept = np.dtype(dtype).newbyteorder("=") in (np.uint8, np.uint16, np.int16, np.float32)
    assert volume.values.shape == (7, 6, 5, channels or 1) and volume.values.dtype.isnative
    assert volume.values.dtype == (np.dtype(dtype).newbyteorder("=") if kept else np.float32)
    assert volume.values[3, 2, 1].tolist() == np.atleast_1d(stack[1, 2, 3]).tolist()
    assert volume.spacing == (1, 1, 1) and volume.origin == (0, 0, 0) and (volume.notes == ()) == kept


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_has_spacing_and_place(tmp_path, suffix):
    values = noise(4, 5, 6, dtype=np.int16)
    affine = np.array([[2.0, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"a.{suffix}")
    volume = open_volume(tmp_path / f"a.{suffix}")
    assert volume.name == "a" and volume.spacing == (2, 3, 4) and volume.notes == ()
    # By the affine, voxel (1, 2, 3) has its centre at (12, 14, 42); found again from the low corner.
    index = (np.array([12, 14, 42]) - volume.origin) / volume.spacing - 0.5
    assert index.tolist() == [1, 2, 3] and volume.origin == (9, 6.5, 28)
    assert volume.values[1, 2, 3, 0] == values[1, 2, 3]
    affine[0, 1] = 0.5
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"b.{suffix}")
    sheared = open_volume(tmp_path / f"b.{suffix}")
    assert sheared.origin == (0, 0, 0) and np.array_equal(sheared.values[..., 0], values)
    assert sheared.notes == (
        f"b.{suffix}: Its axes are sheared; the volume is placed at the origin, along its own axes.",
    )


def world_of(volume, index) -> np.ndarray:
    """The centre of a voxel by the volume's own description."""
    domain = box_of(volume)
    return voxel_centres(torch.tensor(index)[:, None], volume.values.shape[:3], domain)[0].double().numpy()


def place_of(volume, value: int) -> list[int]:
    return np.argwhere(volume.values[..., 0] == value)[0].tolist()


def rotation(*turns: float) -> np.ndarray:
    found = np.eye(3)
    for axis, angle in enumerate(turns):
        c, s, (i, j) = np.cos(angle), np.sin(angle), [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        found = turn @ found
    return found


AXES = [
    np.eye(3)[list(order)].T * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(
    "axes", [*AXES, rotation(0.3, -0.2, 0.5), rotation(2, 1, -2), rotation(0.5, 0, 0) * [1, 1, -1]]
)
@pytest.mark.parametrize("error", [0, 1e-9, 1e-7])
def test_every_voxel_stands_where_its_affine_says(tmp_path, axes, error):
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    affine = np.eye(4)
    affine[:3, :3] = axes * [2, 3, 4] + error * np.random.default_rng(1).uniform(-1, 1, (3, 3))
    affine[:3, 3] = 10, -20, 30
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.notes == () and (volume.rotation is None) == ((axes == 0).sum() == 6)
    for index in [(0, 0, 0), (3, 1, 2), (1, 4, 5)]:
        place = place_of(volume, values[index])
        assert np.allclose(world_of(volume, place), affine[:3] @ [*index, 1], atol=1e-5)
    if volume.rotation is None:  # then its arrays are stored along the world's axes
        assert np.allclose(sorted(volume.spacing), [2, 3, 4])
    else:
        assert np.linalg.det(np.array(volume.rotation)) > 0


def test_times_of_a_nifti_are_refused_and_vectors_are_channels(tmp_path):
    nibabel.save(nibabel.Nifti1Image(noise(4, 5, 6, 3), np.eye(4)), tmp_path / "a.nii")
    assert "has 3 time points; expected one: save a single time point" in refusal(
        tmp_path / "a.nii", "volume"
    )
    nibabel.save(nibabel.Nifti1Image(noise(4, 5, 6, 1, 3), np.eye(4)), tmp_path / "b.nii")
    assert np.array_equal(open_volume(tmp_path / "b.nii").values, noise(4, 5, 6, 1, 3)[:, :, :, 0])


def test_an_affine_by_qform_alone(tmp_path):
    values = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    affine = np.diag([-2.0, -2, 3, 1])
    affine[:3, 3] = 10, 20, 30
    image = nibabel.Nifti1Image(values, None)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.notes == () and volume.rotation is None
    assert np.allclose(world_of(volume, place_of(volume, values[3, 1, 2])), affine[:3] @ [3, 1, 2, 1])
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "b.nii")
    volume = open_volume(tmp_path / "b.nii")
    assert np.array_equal(volume.values[..., 0], values) and volume.origin == (0, 0, 0)
    assert volume.notes == (
        "b.nii: It states no orientation; the volume is placed at the origin, along its own axes.",
    )


def test_affines_that_are_rounded_are_placed_as_the_exact_one():
    folder = DATA.parent / "cases" / "39-nifti-rounding"
    if not folder.exists():
        pytest.skip("../shared/cases/39-nifti-rounding is not here")
    exact = open_volume(folder / "exact.nii")
    for name in ("rounded_1e-9.nii.gz", "qform_only.nii", "rounded_3e-4.nii.gz"):
        volume = open_volume(folder / name)
        assert volume.notes == () and volume.rotation is None
        wanted = nibabel.load(folder / name)
        values, affine = np.asarray(wanted.dataobj), wanted.affine
        index = np.array(values.shape) - 1
        stored = [n - 1 if affine[a, a] > 0 else 0 for a, n in enumerate(values.shape)]
        assert volume.values[(*stored, 0)] == values[tuple(index)]
        assert np.allclose(world_of(volume, stored), affine[:3] @ [*index, 1], atol=0.02)
        if name == "rounded_1e-9.nii.gz":
            assert volume.spacing == exact.spacing and np.allclose(volume.origin, exact.origin)
            assert np.array_equal(volume.values, exact.values)


def test_tiff_spacing_of_imagej_and_ome(tmp_path):
    stack = noise(5, 6, 7)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack,
        imagej=True,
        resolution=(4, 2),
        metadata={"spacing": 1.5, "unit": "um", "axes": "ZYX"},
    )
    assert open_volume(tmp_path / "a.tif").spacing == (0.25, 0.5, 1.5)
    sizes = {"PhysicalSizeX": 0.2, "PhysicalSizeY": 0.3, "PhysicalSizeZ": 0.9}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", stack, photometric="minisblack", metadata={"axes": "ZYX", **sizes}
    )
    volume = open_volume(tmp_path / "a.ome.tif")
    assert volume.spacing == (0.2, 0.3, 0.9) and volume.notes == ()
    mixed = {**sizes, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(
        tmp_path / "b.ome.tif", stack, photometric="minisblack", metadata={"axes": "ZYX", **mixed}
    )
    volume = open_volume(tmp_path / "b.ome.tif")
    assert volume.spacing == (1, 1, 1) and "differ in unit" in volume.notes[0]
    tifffile.imwrite(
        tmp_path / "c.tif", stack, photometric="minisblack", resolution=(300, 300), resolutionunit=2
    )
    volume = open_volume(tmp_path / "c.tif")
    assert volume.spacing == (1, 1, 1) and "gives no spacing along z" in volume.notes[0]


def test_tiff_axes_that_are_not_depth(tmp_path):
    def saved(shape, axes, **options):
        tifffile.imwrite(tmp_path / "a.tif", noise(*shape), imagej=True, metadata={"axes": axes}, **options)
        return tmp_path / "a.tif"

    volume = open_volume(saved((5, 3, 6, 7), "ZCYX"))
    assert volume.values.shape == (7, 6, 5, 3) and volume.values[4, 3, 2, 1] == noise(5, 3, 6, 7)[2, 1, 3, 4]
    assert "its pages run along times (4)" in refusal(saved((4, 6, 7), "TYX"), "volume")
    assert "its pages run along times (4), Z (5)" in refusal(saved((4, 5, 6, 7), "TZYX"), "volume")
    assert "its pages run along channels (3)" in refusal(saved((3, 6, 7), "CYX"), "volume")
    assert open_volume(saved((1, 5, 6, 7), "TZYX")).values.shape == (7, 6, 5, 1)


@pytest.mark.parametrize(
    "name", ["a.npy", "a.npz", "a.nii", "a.nii.gz", "a.tif", "deflate.tif", "imagej.tif"]
)
def test_no_cut_volume_is_taken_for_whole(tmp_path, name):
    stack = noise(5, 6, 7)
    path = tmp_path / name
    if "nii" in name:
        nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), path)
    elif "tif" in name:
        options = {
            "deflate.tif": {"compression": "zlib"},
            "imagej.tif": {"imagej": True, "metadata": {"axes": "ZYX"}},
        }.get(name, {})
        tifffile.imwrite(path, stack, photometric="minisblack", **options)
    else:
        np.savez_compressed(path, a=stack) if name == "a.npz" else np.save(path, stack)
    data, whole = path.read_bytes(), open_volume(path)
    for length in [*range(0, len(data), max(1, len(data) // 30)), len(data) - 1]:
        written(path, data[:length])
        try:
            volume = open_volume(path)
        except PolyfieldError as error:
            assert "\n" not in str(error) and str(error).startswith(str(path))
        else:  # what was cut off is padding, a name or a checksum
            assert np.array_equal(volume.values, whole.values) and length > len(data) / 3


def test_bad_volumes_are_one_line(tmp_path):
    def saved(array):
        np.save(tmp_path / "a.npy", array)
        return refusal(tmp_path / "a.npy", "volume")

    holed = noise(3, 4, 5, dtype=np.float32)
    holed[0, 1] = np.nan
    assert "a.npy: 5 values are NaN or infinite" in saved(holed)
    assert "a.npy: 1 values are NaN or infinite in float32" in saved(
        np.where(np.arange(60).reshape(3, 4, 5) == 7, 1e60, 0.0)
    )
    assert "has (5, 4, 1) voxels; expected at least 2 along each axis" in saved(holed[:1])
    assert "has shape (4, 5); expected three axes" in saved(holed[0])
    assert "has shape (3, 4, 5, 5); expected three axes" in saved(np.zeros((3, 4, 5, 5), np.uint8))
    assert "its array is of type object; expected booleans, integers or real floats" in saved(
        np.full((2, 2, 2), None)
    )
    assert "its array is of type complex128" in saved(np.zeros((2, 2, 2), complex))
    for name in ("a.npy", "a.npz", "a.nii", "a.nii.gz", "a.tif"):
        assert "cannot be decoded (" in refusal(written(tmp_path / name, noise(300).tobytes()), "volume")
    tifffile.imwrite(tmp_path / "a.tif", noise(6, 7))
    assert "is a TIFF with a single page; give a stack" in refusal(tmp_path / "a.tif", "volume")
    first, second = Image.fromarray(noise(6, 7)), Image.fromarray(noise(6, 7))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], compression="tiff_lzw")
    assert "is compressed in a way that is not read" in refusal(tmp_path / "a.tif", "volume")


def test_huge_volumes_are_refused_by_their_heads(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "LARGEST", 8 * 5 * 6 * 7 - 1)
    stack = noise(5, 6, 7).astype(np.float64)
    np.save(tmp_path / "a.npy", stack)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), tmp_path / "a.nii")
    for name in ("a.npy", "a.tif", "a.nii"):
        assert "has shape (5, 6, 7), 0.0 GB; the limit is 0.0 GB" in refusal(tmp_path / name, "volume")


def test_a_library_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert "which cannot be loaded (" in refusal(written(tmp_path / "a.nii", b"x"), "volume")
