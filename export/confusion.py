"""The picture of a confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from polyfield.files.atomic import write_bytes

_CELL, _FONT, _PAD = 46, 14, 10  # pixels
_DARK = (28, 78, 128)


def write_confusion(
    path: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str
) -> None:
    """Write a PNG of counts (C, C): a row for each class, a column for each answer, darker for a larger share of the row."""
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(_FONT), ImageFont.load_default(_FONT - 1)
    longest = round(max(font.getlength(name) for name in classes))
    left, top = longest + 2 * _PAD + 8, longest + 2 * _PAD + 52
    side = _CELL * len(classes)
    width = max(left + side + 64, round(font.getlength(title)) + 2 * _PAD)
    image = Image.new("RGB", (width, top + side + _PAD), "white")
    draw = ImageDraw.Draw(image)
    draw.text((_PAD, _PAD), title, "black", font)
    draw.text((_PAD, _PAD + 20), "rows: class; columns: answer", "grey", small)
    for k, (name, row) in enumerate(zip(classes, confusion)):
        middle = top + (k + 0.5) * _CELL
        draw.text((left - _PAD, middle), name, "black", font, anchor="rm")
        label = Image.new("L", (longest + 4, _FONT + 6))
        ImageDraw.Draw(label).text((0, 2), name, 255, font)
        upright = label.rotate(90, expand=True)
        image.paste(
            "black", (round(left + (k + 0.5) * _CELL - upright.width / 2), top - upright.height - 6), upright
        )
        for column, count in enumerate(row):
            share = count / max(sum(row), 1)
            x, y = left + column * _CELL, top + k * _CELL
            colour = tuple(round(245 + (dark - 245) * share**0.5) for dark in _DARK)
            draw.rectangle((x + 1, y + 1, x + _CELL - 2, y + _CELL - 2), colour)
            if count:
                ink = "white" if share > 0.25 else "black"
                draw.text((x + _CELL / 2, y + _CELL / 2), str(count), ink, font, anchor="mm")
        if sum(row):
            draw.text((left + side + 8, middle), f"{row[k] / sum(row):.0%}", "black", font, anchor="lm")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
