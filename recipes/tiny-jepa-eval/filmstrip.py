"""Draws rows of small frames over time as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SCALE = 3
GAP, LEFT, TOP, BOTTOM, BETWEEN = 6, 118, 56, 12, 8
CAPTION = 18
#: Room for the title and the note beside it.
MIN_WIDTH = 960
BACKGROUND, INK, FAINT = (16, 17, 24), (232, 234, 240), (146, 151, 168)
#: Colours of the values 0, 1/4, 1/2, 3/4 and 1; between them, linear.
RAMP = np.array([(10, 10, 20), (58, 40, 110), (182, 54, 90), (247, 148, 60), (255, 250, 214)], float)

Frames = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One row of the strip.

    Attributes:
        title: what the row shows.
        note: second, fainter line.
        frames: (columns, height, width), values in [0, 1].
        captions: a short text below each frame; none when empty.
    """

    title: str
    note: str
    frames: Frames
    captions: Sequence[str] = ()


def coloured(frame: Frames) -> Image.Image:
    """A frame with values in [0, 1] as colours, each pixel a square of SCALE x SCALE."""
    position = np.clip(frame, 0.0, 1.0) * (len(RAMP) - 1)
    below = np.minimum(position.astype(int), len(RAMP) - 2)
    share = (position - below)[..., None]
    colours = RAMP[below] * (1 - share) + RAMP[below + 1] * share
    image = Image.fromarray(np.rint(colours).astype(np.uint8))
    return image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST)


def draw(title: str, note: str, columns: Sequence[str], rows: Sequence[Row], path: str) -> None:
    """Writes the rows below one another, with a heading over each column, as a PNG.

    All rows use one colour scale, so that a faint row is faint because its values are small.
    """
    side = rows[0].frames.shape[-1] * SCALE
    heights = [side + (CAPTION if row.captions else 0) + BETWEEN for row in rows]
    width = max(MIN_WIDTH, LEFT + len(columns) * (side + GAP) + GAP)
    image = Image.new("RGB", (width, TOP + sum(heights) + BOTTOM), BACKGROUND)
    pen = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    pen.text((12, 8), title, INK, large)
    pen.text((width - 12, 11), note, FAINT, small, anchor="ra")
    top = TOP
    for row, height in zip(rows, heights, strict=True):
        pen.text((12, top + side // 2 - 16), row.title, INK, large)
        pen.text((12, top + side // 2 + 4), row.note, FAINT, small)
        for column, frame in enumerate(row.frames):
            left = LEFT + column * (side + GAP)
            image.paste(coloured(frame), (left, top))
            if row.captions:
                pen.text((left + side // 2, top + side + 2), row.captions[column], FAINT, small, anchor="ma")
        top += height
    for column, heading in enumerate(columns):
        pen.text((LEFT + column * (side + GAP) + side // 2, TOP - 19), heading, FAINT, small, anchor="ma")
    image.save(path, optimize=True)
