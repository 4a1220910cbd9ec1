"""The heat map of conversions, with a square for each pair of teacher and student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_CELL, _MARGIN = (84, 44), (96, 40)  # width and height in pixels
_WORST = 4.0  # dB below what was to be reached: the darkest


def heat_map(rows: list[dict[str, Any]], photographs: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG picture of rows of conversions: the student's dB in each square, darker where more is lost.

    What is lost is what the student is below the lower of its teacher and, where there is one, the longest fit of its own
    to photographs.
    """
    longest = {row["architecture"]: _longest(row) for row in photographs}
    teachers, students = (list(dict.fromkeys(row[key] for row in rows)) for key in ("teacher", "student"))
    font = ImageFont.load_default(14)
    size = _MARGIN[0] + _CELL[0] * len(students), _MARGIN[1] + _CELL[1] * len(teachers)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for index, name in enumerate(students):
        draw.text((_MARGIN[0] + (index + 0.5) * _CELL[0], 24), name, "black", font, anchor="mm")
    for index, name in enumerate(teachers):
        draw.text((8, _MARGIN[1] + (index + 0.5) * _CELL[1]), name, "black", font, anchor="lm")
    draw.text((8, 8), "teacher \\ student", "grey", font)
    for row in rows:
        column, line = students.index(row["student"]), teachers.index(row["teacher"])
        x, y = _MARGIN[0] + column * _CELL[0], _MARGIN[1] + line * _CELL[1]
        below = min(row["teacher dB"], longest.get(row["student"], row["teacher dB"])) - row["student dB"]
        lost = min(max(below / _WORST, 0), 1)
        colour = tuple(round(a + (b - a) * lost) for a, b in zip((236, 246, 226), (200, 70, 50)))
        draw.rectangle((x + 1, y + 1, x + _CELL[0] - 2, y + _CELL[1] - 2), colour)
        centre = x + _CELL[0] / 2
        draw.text((centre, y + 15), f"{row['student dB']:.1f}", "black", font, anchor="mm")
        draw.text((centre, y + 31), f"{-below:+.1f}", (80, 80, 80), font, anchor="mm")
    image.save(path)


def _longest(row: dict[str, Any]) -> float:
    """Return the dB of the longest fit of a row, whose columns are named by seconds: '30 s, dB'."""
    found = {float(key.split()[0]): value for key, value in row.items() if key.endswith(" s, dB")}
    return float(found[max(found)])
