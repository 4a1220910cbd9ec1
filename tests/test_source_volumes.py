"""Volumes as sources come back as they were written, in their place, and damaged ones in one line."""

from __future__ import annotations

import sys

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from source_files import noise, pcd, refusal, written

from polyfield.data import volumes
from polyfield.data.volumes import open_volume
from polyfield.errors import PolyfieldError


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
    turned = open_volume(tmp_path / f"b.{suffix}")
    assert turned.origin == (0, 0, 0) and np.array_equal(turned.values[..., 0], values)
    assert len(turned.notes) == 1 and turned.notes[0].startswith(f"b.{suffix}: its axes are not the world's")


@pytest.mark.parametrize(
    "name", ["a.npy", "a.npz", "a.nii", "a.nii.gz", "a.tif", "deflate.tif", "imagej.tif"]
)
def test_no_cut_volume_is_taken_for_whole(tmp_path, name):
    stack = noise(5, 6, 7)
    path = tmp_path / name
    if "nii" in name:
        nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), path)
    elif "tif" in name:
        options = {"deflate.tif": {"compression": "zlib"}, "imagej.tif": {"imagej": True}}.get(name, {})
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
        assert "is truncated or damaged" in refusal(written(tmp_path / name, noise(300).tobytes()), "volume")
    tifffile.imwrite(tmp_path / "a.tif", noise(6, 7))
    assert "is a TIFF with a single page; give a stack" in refusal(tmp_path / "a.tif", "volume")
    first, second = Image.fromarray(noise(6, 7)), Image.fromarray(noise(6, 7))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second], compression="tiff_lzw")
    assert "is compressed in a way that is not read" in refusal(tmp_path / "a.tif", "volume")


def test_huge_volumes_are_refused_by_their_heads(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, "LARGEST", 8 * 5 * 6 * 7 - 1)
    stack = noise(5, 6, 7).astype(np.float64)
    np.save(tmp_path / "a.npy", stack)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), tmp_path / "a.nii")
    for name in ("a.npy", "a.tif", "a.nii"):
        assert "has shape (5, 6, 7), 0.0 GB; the limit is 0.0 GB" in refusal(tmp_path / name, "volume")


@pytest.mark.parametrize(
    ("name", "kind", "library"), [("a.pcd", "cloud", "open3d"), ("a.nii", "volume", "nibabel")]
)
def test_a_library_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch, name, kind, library):
    monkeypatch.setitem(sys.modules, library, None)
    path = written(tmp_path / name, pcd(noise(5, 3, dtype=np.float32), "binary"))
    assert "which cannot be loaded (" in refusal(path, kind)
