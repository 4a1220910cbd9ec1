"""Pictures as sources come back as they were written, and damaged ones in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image, ImageOps
from source_files import CHANNELS, DATA, chunk, noise, png, real, refusal, written

from polyfield.data import images, kept, pictures
from polyfield.data.pictures import open_picture
from polyfield.errors import PolyfieldError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("colour_type", CHANNELS)
def test_png_keeps_channels_and_depth(tmp_path, colour_type, dtype):
    pixels = noise(13, 21, CHANNELS[colour_type], dtype=dtype)
    picture = open_picture(written(tmp_path / "a.png", png(pixels, colour_type)))
    assert picture.values.dtype == dtype and np.array_equal(picture.values, pixels)
    assert picture.peak == np.iinfo(dtype).max and picture.name == "a" and len(picture.sha256) == 64


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("colour_type", "channels"), [(0, 2), (2, 4)])
def test_png_colour_key_becomes_alpha(tmp_path, colour_type, channels, dtype):
    pixels = noise(5, 6, channels - 1, dtype=dtype)
    key = chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes())
    values = open_picture(written(tmp_path / "a.png", png(pixels, colour_type, key))).values
    clear = (pixels == pixels[2, 3]).all(axis=-1)
    assert values.shape == (5, 6, channels) and np.array_equal(values[~clear][:, :-1], pixels[~clear])
    assert np.array_equal(values[..., -1], np.where(clear, 0, np.iinfo(dtype).max)) and clear[2, 3]


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [("bmp", "RGB", {}), ("bmp", "L", {}), ("webp", "RGB", {"lossless": True}), ("png", "1", {}),
     ("webp", "RGBA", {"lossless": True, "exact": True}), ("gif", "P", {}), ("png", "P", {}),
     ("png", "P", {"transparency": bytes(range(256))}), ("jpg", "L", {}), ("jpg", "RGB", {}), ("jpg", "CMYK", {})],
)  # fmt: skip
def test_other_pictures_are_what_pillow_shows(tmp_path, suffix, mode, options):
    picture = Image.fromarray(noise(16, 24, 3)).convert("RGB").quantize(64) if mode == "P" else None
    picture = picture or Image.fromarray(noise(16, 24, 4), "RGBA").convert(mode)
    picture.save(tmp_path / f"a.{suffix}", **options)
    grey, alpha = mode in ("1", "L"), mode == "RGBA" or "transparency" in options
    expected = np.asarray(
        Image.open(tmp_path / f"a.{suffix}").convert("L" if grey else "RGBA" if alpha else "RGB")
    )
    values = open_picture(tmp_path / f"a.{suffix}").values
    assert values.shape[2] == (1 if grey else 4 if alpha else 3)
    assert np.array_equal(values, expected.reshape(values.shape))


def exr(path: Path, channels: dict[str, np.ndarray]) -> Path:
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels).write(
        str(path)
    )
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_exr_keeps_its_floats(tmp_path, dtype):
    pixels = noise(11, 7, 4, dtype=dtype)
    colour = open_picture(
        exr(tmp_path / "a.exr", {"RGB": pixels[..., :3].copy(), "Z": pixels[..., 3].copy()})
    )
    assert colour.values.dtype == np.float32 and np.array_equal(colour.values, pixels[..., :3])
    assert (
        colour.peak == pixels[..., :3].max() > 1
        and f"of {8 * pixels.itemsize}-bit floats (without Z)" in colour.found
    )
    assert np.array_equal(open_picture(exr(tmp_path / "b.exr", {"RGBA": pixels})).values, pixels)
    grey = {"Y": pixels[..., 0].copy(), "A": pixels[..., 1].copy()}
    assert np.array_equal(open_picture(exr(tmp_path / "c.exr", grey)).values, pixels[..., :2])
    dark = open_picture(exr(tmp_path / "d.exr", {"Y": abs(pixels[..., 0]) / 8}))
    assert dark.peak == 1 and dark.values.shape == (11, 7, 1)
    halves = open_picture(
        tmp_path / "b.exr", downscale=3
    ).values  # alpha is premultiplied in EXR: a plain mean
    expected = pixels[:9, :6].astype(np.float64).reshape(3, 3, 2, 3, 4).mean(axis=(1, 3))
    assert np.allclose(halves, expected, atol=1e-6)


def test_exr_pixels_lie_in_the_display_window(tmp_path):
    pixels = noise(4, 5, 4, dtype=np.float32)

    def saved(corner, shown) -> Path:
        (left, top), (right, bottom) = corner, (corner[0] + 4, corner[1] + 3)
        windows = {"dataWindow": ((left, top), (right, bottom)), "displayWindow": shown}
        header = {"compression": OpenEXR.NO_COMPRESSION, "type": OpenEXR.scanlineimage, **windows}
        OpenEXR.File(header, {"RGBA": pixels}).write(str(tmp_path / "a.exr"))
        return tmp_path / "a.exr"

    picture = open_picture(saved((3, 2), ((0, 0), (9, 7))))  # a part was rendered
    wanted = np.zeros((8, 10, 4), np.float32)
    wanted[2:6, 3:8] = pixels
    assert np.array_equal(picture.values, wanted) and "data window 5 x 4 at (3, 2)" in picture.found
    picture = open_picture(saved((-1, -2), ((0, 0), (2, 1))))  # more than is shown was
    assert (
        np.array_equal(picture.values, pixels[2:4, 1:4]) and "data window 5 x 4 at (-1, -2)" in picture.found
    )
    picture = open_picture(saved((10, 10), ((10, 10), (14, 13))))
    assert np.array_equal(picture.values, pixels) and "data window" not in picture.found
    assert "its data window lies wholly outside its display window" in refusal(
        saved((20, 0), ((0, 0), (9, 7))), "picture"
    )
    assert "million; shrink it first" in refusal(saved((0, 0), ((0, 0), (999_999, 999_999))), "picture")


def test_exr_that_is_no_picture_is_refused(tmp_path):
    pixels = noise(4, 5, 3, dtype=np.float32)
    pixels[1, 2, 0], pixels[3, 3, 1] = np.nan, np.inf
    assert "a.exr: 2 values are NaN or infinite" in refusal(
        exr(tmp_path / "a.exr", {"RGB": pixels}), "picture"
    )
    depth = exr(tmp_path / "b.exr", {"Z": pixels[..., 2].copy()})
    assert "b.exr: its channels are Z; expected R, G and B" in refusal(depth, "picture")
    whole = exr(tmp_path / "c.exr", {"Y": np.ones((4, 5), np.uint32)})
    assert "c.exr: channel Y is of type uint32; expected floats" in refusal(whole, "picture")


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright_and_are_cropped_at_the_right_and_bottom(
    tmp_path, orientation, k, monkeypatch
):
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    monkeypatch.setattr(pictures, "STRIP", 100)  # several strips, and the last not whole
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    Image.fromarray(noise(7, 11, 3)).save(tmp_path / "a.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")).convert("RGB"))
    height, width = expected.shape[0] // k, expected.shape[1] // k
    boxes = expected[: height * k, : width * k].reshape(height, k, width, k, 3).astype(np.float64)
    picture = open_picture(tmp_path / "a.png", downscale=k)
    assert np.array_equal(picture.values, np.floor(boxes.mean(axis=(1, 3)) + 0.5))
    assert f"{expected.shape[1]} x {expected.shape[0]}, 3 channels of 8 bits" in picture.found


@pytest.mark.parametrize(("colour_type", "channels"), [(4, 2), (6, 4)])
def test_box_means_weight_colours_by_straight_alpha(tmp_path, colour_type, channels):
    pixels = noise(6, 7, channels, dtype=np.uint16)
    pixels[:2, :2, -1] = 0
    values = open_picture(written(tmp_path / "a.png", png(pixels, colour_type)), downscale=2).values
    for i in range(3):
        for j in range(3):
            box = pixels[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(4, channels).astype(np.float64)
            weight = box[:, -1].sum()
            colour = (box[:, :-1] * box[:, -1:]).sum(axis=0) / weight if weight else np.zeros(channels - 1)
            assert np.abs(values[i, j] - [*colour, weight / 4]).max() <= 0.5


def test_large_pictures_lie_in_a_file(tmp_path, monkeypatch):
    pixels = noise(60, 50, 3)
    path = written(tmp_path / "a.png", png(pixels, 2))
    assert not isinstance(open_picture(path).values, np.memmap)
    monkeypatch.setattr(kept, "IN_MEMORY", pixels.nbytes - 1)
    monkeypatch.setattr(pictures, "STRIP", 1000)
    calls: list[float] = []
    values = open_picture(path, progress=lambda share, doing="": calls.append(share)).values
    assert isinstance(values, np.memmap) and values.mode == "r" and np.array_equal(values, pixels)
    assert len(calls) == 10 and calls[-1] == 1 and calls == sorted(calls)
    monkeypatch.setattr(images, "LARGEST", 2999)
    assert "a.png has 50 x 60 pixels; the limit is" in refusal(path, "picture")
    monkeypatch.setattr(kept.tempfile, "TemporaryFile", no_room)
    monkeypatch.setattr(images, "LARGEST", 3000)
    assert "do not fit into" in refusal(path, "picture") and "point TMPDIR" in refusal(path, "picture")


def no_room():
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("k", [0, -1, True, 1.5])
def test_bad_downscale_is_one_line(tmp_path, k):
    with pytest.raises(PolyfieldError, match="^--downscale is .*; expected a whole number of at least 1$"):
        open_picture(tmp_path / "a.png", downscale=k)
    path = written(tmp_path / "a.png", png(noise(4, 5, 3), 2))
    assert refusal(path, "picture", downscale=5).endswith(
        "has 5 x 4 pixels; --downscale 5 is larger than one side"
    )


def test_real_pictures():
    kodak = open_picture(real("kodak/kodim01.png"))
    assert kodak.found == "kodim01.png is a picture: 768 x 512, 3 channels of 8 bits." and kodak.peak == 255
    assert np.array_equal(kodak.values, np.asarray(Image.open(DATA / "kodak/kodim01.png")))
    albert = open_picture(real("albert.exr"))
    assert albert.values.shape == (1024, 1024, 4) and albert.values.dtype == np.float32 and albert.peak == 1
