"""Rolls one episode out again and writes moments of it as one picture.

A program of its own, because a graphics driver that fails can take the process with it.
"""

from __future__ import annotations

import argparse
from typing import Any

from controllers import CONTROLLERS, STEP, make_env
from PIL import Image, ImageDraw, ImageFont

FRAME = (200, 150)
#: Pictures in one row, and steps of the first one of each row.
MOMENTS, ROW_STARTS = 7, (0, 120)
CAPTION, MARGIN = 22, 6
PAPER, INK = (250, 250, 247), (34, 36, 44)


def moments(controller: str, world: int) -> dict[int, tuple[Any, float]]:
    """Frame and place in metres at each step that is drawn."""
    act = CONTROLLERS[controller](world)
    drawn = {start + n for start in ROW_STARTS for n in range(MOMENTS)}
    found = {}
    view = {"camera_name": "track", "width": FRAME[0] * 2, "height": FRAME[1] * 2}
    with make_env(render_mode="rgb_array", **view) as env:
        env.reset(seed=world)
        for step in range(max(drawn) + 1):
            *_, info = env.step(act(step))
            if step in drawn:
                found[step] = (env.render(), info["x_position"])
    return found


def save(found: dict[int, tuple[Any, float]], path: str) -> None:
    """Writes the moments, a row for each start, as a PNG with at most 96 colours."""
    pitch = (FRAME[0] + MARGIN, FRAME[1] + CAPTION + MARGIN)
    strip = Image.new("RGB", (MARGIN + MOMENTS * pitch[0], MARGIN + len(ROW_STARTS) * pitch[1]), PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    for number, (step, (frame, place)) in enumerate(sorted(found.items())):
        left = MARGIN + number % MOMENTS * pitch[0]
        top = MARGIN + number // MOMENTS * pitch[1]
        strip.paste(Image.fromarray(frame).resize(FRAME, Image.Resampling.BOX), (left, top))
        pen.text((left + 2, top + FRAME[1] + 2), f"{(step + 1) * STEP:.2f} s   {place:.1f} m", INK, font)
    strip.quantize(96, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--controller", choices=sorted(CONTROLLERS), required=True)
    parser.add_argument("--world", type=int, required=True)
    parser.add_argument("--out", required=True)
    chosen = parser.parse_args()
    save(moments(chosen.controller, chosen.world), chosen.out)


if __name__ == "__main__":
    main()
