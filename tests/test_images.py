"""Pictures from files: exact values of every kind of PNG and JPEG, orientation, and bad files in one line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from polyfield.data import images
from polyfield.errors import PolyfieldError

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # PNG colour types


def noise(*shape: int, high: int = 256, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, high, shape)
    return values.astype(np.uint8 if high == 256 else np.uint16)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, colour_type: int, *extra: bytes) -> bytes:
    """A PNG of 8 or 16 bits, written out by hand: Pillow cannot write 16-bit colour."""
    height, width = pixels.shape[:2]
    deep = pixels.dtype == np.uint16
    rows = [b"\0" + (row.astype(">u2") if deep else row).tobytes() for row in pixels]
    head = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, colour_type, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return images.PNG + chunk(b"IHDR", head) + b"".join(extra) + body + chunk(b"IEND", b"")


def premultiplied(straight: np.ndarray) -> np.ndarray:
    """The definition, in float64: round(65535 * c * a)."""
    top = float(np.iinfo(straight.dtype).max)
    colours = straight / top
    colours[..., :3] *= colours[..., 3:]
    return np.floor(65535 * colours + 0.5).astype(np.uint16)


def spread(pixels: np.ndarray, colour_type: int) -> np.ndarray:
    """Grey and opaque pixels as straight RGBA."""
    top = np.iinfo(pixels.dtype).max
    colour = pixels[..., :3] if colour_type in (RGB, RGBA) else np.repeat(pixels[..., :1], 3, axis=-1)
    alpha = pixels[..., -1:] if colour_type in (GREY_ALPHA, RGBA) else np.full_like(pixels[..., :1], top)
    return np.concatenate([colour, alpha], axis=-1)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("high", [256, 65536])
@pytest.mark.parametrize(("colour_type", "channels"), [(GREY, 1), (RGB, 3), (GREY_ALPHA, 2), (RGBA, 4)])
def test_png_values_are_exact(tmp_path, colour_type, channels, high):
    pixels = noise(13, 21, channels, high=high)
    (tmp_path / "a.png").write_bytes(png(pixels, colour_type))
    image = images.read_image(tmp_path / "a.png")
    assert image.dtype == np.uint16 and image.shape == (13, 21, 4)
    assert np.array_equal(image, premultiplied(spread(pixels, colour_type)))


def test_every_8_bit_colour_and_alpha_is_exact():
    grid = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1).astype(np.uint8)
    straight = grid[..., [0, 0, 0, 1]]
    assert np.array_equal(images.decode(png(straight, RGBA), "a"), premultiplied(straight))


def test_16_bit_colour_key_makes_pixels_transparent():
    pixels = noise(5, 6, 3, high=65536)
    image = images.decode(png(pixels, RGB, chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes())), "a")
    assert (image[2, 3] == 0).all() and (image[..., 3] == 65535).sum() == 29


def test_palette_with_transparency(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), mode="P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    path = saved(tmp_path / "a.png", picture, transparency=bytes([255, 0, 51]))
    assert images.read_image(path).tolist() == [
        [[65535, 0, 0, 65535], [0, 0, 0, 0]],
        [[0, 0, 13107, 13107], [0, 0, 0, 0]],
    ]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_what_pillow_shows(tmp_path, mode):
    picture = Image.fromarray(noise(16, 24, 3)).convert(mode)
    path = saved(tmp_path / "a.jpg", picture, quality=95)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(np.uint16) * 257
    image = images.read_image(path)
    assert np.array_equal(image[..., :3], expected) and (image[..., 3] == 65535).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise(6, 10, 3)), exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB")).astype(np.uint16) * 257
    assert np.array_equal(images.read_image(path)[..., :3], expected)
    assert images.read_size(path, "a") == (expected.shape[1], expected.shape[0])


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_animation_gives_its_first_frame(tmp_path, kind):
    first, second = (Image.new("RGB", (4, 3), colour) for colour in ("white", "black"))
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(tmp_path / f"a.{kind}", first, save_all=True, append_images=[second], **options)
    assert (images.read_image(path) == 65535).all()


def test_one_pixel(tmp_path):
    assert images.read_image(saved(tmp_path / "a.png", Image.new("1", (1, 1), 1))).tolist() == [[[65535] * 4]]


def test_large_pictures_pass_and_huge_ones_do_not(tmp_path):
    """The guard of Pillow would stop both; only the head is read here."""

    def head(width, height):
        body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"")
        return images.PNG + body

    path = tmp_path / "a.png"
    path.write_bytes(head(20000, 10000))
    assert images.read_size(path, "a.png") == (20000, 10000)
    path.write_bytes(head(20001, 20000))
    with pytest.raises(PolyfieldError, match=r"^a.png has 20001 x 20000 pixels; the limit is 400 million"):
        images.read_size(path, "a.png")


@pytest.mark.parametrize("k", [2, 3, 5])
def test_downscale_is_the_cropped_box_mean(k):
    image = noise(17, 23, 4, high=65536)
    height, width = 17 // k, 23 // k
    boxes = image[: height * k, : width * k].reshape(height, k, width, k, 4).astype(np.float64)
    assert np.array_equal(
        images.downscale(image, k), np.floor(boxes.mean(axis=(1, 3)) + 0.5).astype(np.uint16)
    )


def test_downscale_does_not_overflow():
    white = np.full((300, 300, 4), 65535, np.uint16)
    assert (images.downscale(white, 300) == 65535).all() and (images.downscale(white, 256) == 65535).all()


def test_mask_is_true_where_not_black_and_shrinks_to_whole_boxes(tmp_path):
    mask = np.full((5, 6), 255, np.uint8)
    mask[0, 0] = 0
    read = images.read_mask(saved(tmp_path / "m.png", Image.fromarray(mask)))
    assert np.array_equal(read, mask > 0)
    assert images.downscale_mask(read, 2).tolist() == [[False, True, True], [True, True, True]]


BAD = {
    "empty": (b"", "is empty (0 bytes); expected a picture"),
    "text": (b"hello, this is text\n", "is not a picture: it starts with b'hello, this is t'"),
    "html": (b"<!DOCTYPE html><html>", "is not a picture: it starts with"),
    "half": (png(noise(9, 9, 3), RGB)[:150], "is truncated or damaged"),
    "no end": (png(noise(9, 9, 3), RGB)[:-12], "is truncated or damaged"),
    "16-bit half": (png(noise(9, 9, 3, high=65536), RGB)[:250], "is truncated or damaged"),
    "head only": (images.PNG, "cannot be decoded ("),
    "jpeg head": (b"\xff\xd8\xff", "cannot be decoded ("),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_one_line_with_its_name(tmp_path, name):
    data, expected = BAD[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(PolyfieldError) as caught:
        images.read_image(path)
    assert str(caught.value).startswith(f"{path} {expected}") and "\n" not in str(caught.value)


def test_missing_file_is_one_line(tmp_path):
    with pytest.raises(PolyfieldError, match=r"none.png cannot be read \(no such file or directory\)$"):
        images.read_image(tmp_path / "none.png")


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
def test_no_cut_and_no_flipped_byte_escapes_as_another_error(kind):
    """A damaged file gives a picture or a PolyfieldError; a damaged PNG never gives a picture."""
    buffer = io.BytesIO()
    Image.fromarray(noise(12, 12, 3)).save(buffer, kind)
    data = buffer.getvalue()
    whole = images.decode(data, "a")
    generator = np.random.default_rng(1)
    cuts = [data[:length] for length in range(0, len(data), 7)]
    flips = []
    for place in generator.integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(generator.integers(8))
        flips.append(bytes(damaged))
    for damaged in cuts + flips:
        try:
            image = images.decode(damaged, "a")
        except PolyfieldError as error:
            assert "\n" not in str(error)
        else:
            assert kind != "png" or np.array_equal(image, whole)
