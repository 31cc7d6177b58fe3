"""Draws flights as multiple exposures, several to a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL = (420, 280)
COLUMNS, MARGIN, CAPTION = 3, 12, 24
PAPER, INK = (250, 250, 247), (34, 36, 44)


def exposure(frames: Sequence[Any]) -> Image.Image:
    """Frames over one another, the brightest colour winning: the sky is black, so the craft remains."""
    return Image.fromarray(np.maximum.reduce(frames)).resize(CELL, Image.Resampling.LANCZOS)


def save(pictures: Sequence[tuple[str, Image.Image]], path: str) -> None:
    """Writes captioned pictures, three to a row, as a PNG with at most 128 colours."""
    rows = -(-len(pictures) // COLUMNS)
    columns = min(len(pictures), COLUMNS)
    pitch = (CELL[0] + MARGIN, CELL[1] + CAPTION + MARGIN)
    sheet = Image.new("RGB", (MARGIN + columns * pitch[0], MARGIN + rows * pitch[1]), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (caption, picture) in enumerate(pictures):
        left = MARGIN + number % COLUMNS * pitch[0]
        top = MARGIN + number // COLUMNS * pitch[1]
        sheet.paste(picture, (left, top))
        pen.text((left, top + CELL[1] + 3), caption, INK, font)
    sheet.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
