"""Draws the curves of the training and the dreams beside the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from world import SIZE

PAPER, INK, FAINT, RULE = (252, 252, 250), (32, 34, 42), (120, 124, 136), (226, 227, 230)
CURVES = ((38, 98, 180), (206, 92, 30), (44, 140, 84))
#: What is seen is blue, what happens then is grey, what is dreamed is orange.
SEEN, TRUE, DREAMED = (110, 180, 255), (240, 240, 240), (255, 176, 84)

Array = NDArray[Any]


def smooth(values: Sequence[float], width: int) -> Array:
    """Mean of the last `width` values at each place."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw_losses(curves: dict[str, Sequence[float]], path: str) -> None:
    """Curves by training step on a logarithmic scale, each smoothed over 10 steps and named at its end."""
    width, height, left, right, top, bottom = 760, 400, 62, 130, 40, 44
    lines = {name: np.maximum(smooth(values, 10), 1e-6) for name, values in curves.items()}
    steps = max(len(line) for line in lines.values())
    low = math.floor(min(math.log10(line.min()) for line in lines.values()))
    high = max(low + 1, math.ceil(max(math.log10(line.max()) for line in lines.values())))

    image = Image.new("RGB", (width * 2, height * 2), PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(26)

    def point(step: float, exponent: float) -> tuple[float, float]:
        across = left + (width - left - right) * step / max(1, steps - 1)
        down = top + (height - top - bottom) * (high - exponent) / (high - low)
        return across * 2, down * 2

    pen.text((left * 2, 16), "loss by training step", INK, ImageFont.load_default(30))
    for exponent in range(low, high + 1):
        pen.line([point(0, exponent), point(steps - 1, exponent)], RULE, 2)
        across, down = point(0, exponent)
        pen.text((across - 14, down), f"{10.0**exponent:g}", FAINT, font, anchor="rm")
    for number in sorted({max(1, round(share * steps / 4)) for share in range(5)}):
        across, down = point(number - 1, low)
        pen.text((across, down + 14), str(number), FAINT, font, anchor="ma")
    for (name, line), colour in zip(lines.items(), CURVES, strict=False):
        pen.line(
            [point(step, math.log10(value)) for step, value in enumerate(line)], colour, 4, joint="curve"
        )
        across, down = point(steps - 1, math.log10(line[-1]))
        pen.text((across + 14, down), name, colour, font, anchor="lm")
    image.resize((width, height), Image.Resampling.LANCZOS).save(path, optimize=True)


def tile(picture: Array, colour: tuple[int, int, int], scale: int) -> Image.Image:
    """One picture of the court in shades of a colour."""
    grey = np.clip(picture.reshape(SIZE, SIZE, 1), 0, 1)
    shades = np.rint(grey * np.array(colour) + (1 - grey) * np.array((18, 19, 26))).astype(np.uint8)
    return Image.fromarray(shades).resize((SIZE * scale, SIZE * scale), Image.Resampling.NEAREST)


def draw_dreams(seen: Array, truth: Array, dreamed: Array, path: str) -> None:
    """Games as pairs of rows: what happened, and below it what was dreamed.

    Args:
        seen: (step, game, pixel), pictures that the model was shown; the last four are drawn.
        truth: (step, game, pixel), what came after.
        dreamed: like truth, what the model expected.
    """
    scale, gap, left, top, pause = 4, 5, 80, 34, 14
    side, shown = SIZE * scale, seen[-4:]
    dream_left = left + len(shown) * (side + gap) + pause
    pair = 2 * (side + gap) + pause
    games = truth.shape[1]
    size = (dream_left + len(truth) * (side + gap) + gap, top + games * pair)
    image = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    pen.text((left, 12), "seen", INK, font)
    for step in range(len(truth)):
        across = dream_left + step * (side + gap) + side // 2
        pen.text((across, 12), f"+{step + 1}", INK, font, anchor="ma")
    for game in range(games):
        upper = top + game * pair
        lower = upper + side + gap
        pen.text((10, upper + side // 2), "truth", INK, font, anchor="lm")
        pen.text((10, lower + side // 2), "dreamed", INK, font, anchor="lm")
        for step, picture in enumerate(shown[:, game]):
            image.paste(tile(picture, SEEN, scale), (left + step * (side + gap), upper))
        for step, (real, dream) in enumerate(zip(truth[:, game], dreamed[:, game], strict=True)):
            across = dream_left + step * (side + gap)
            image.paste(tile(real, TRUE, scale), (across, upper))
            image.paste(tile(dream, DREAMED, scale), (across, lower))
    image.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
