"""Make the pictures of the README from a finished run: ``python docs/pictures.py RUN`` after ``make demo``.

Writes ``docs/images/digits.png``, real and synthetic images with one class per column, and
``docs/images/report.png``, the top of the report as Chromium shows it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from understudy.data.labelled_set import LabelledSet

IMAGES = Path(__file__).parent / "images"
SIDE, GAP, MARGIN = 64, 8, 120
"""Width of an image, space between images, and width of the row labels, in pixels."""


def strip(run: Path) -> Image.Image:
    """Two rows of real train images and two of synthetic images, one class per column."""
    rows = []
    for name, file in (("real", "data/train"), ("synthetic", "synthetic/curated")):
        data = LabelledSet.load(run / f"{file}.parquet")
        of_class = [np.flatnonzero(data.labels == label) for label in range(data.num_classes)]
        for row, label in enumerate((name, "")):
            rows.append((label, [data.image(int(found[row])) for found in of_class]))
    step = SIDE + GAP
    picture = Image.new("RGB", (MARGIN + step * len(rows[0][1]), step * len(rows) + GAP), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(20)
    for row, (name, images) in enumerate(rows):
        top = row * step + (GAP if row >= 2 else 0)
        draw.text((0, top + SIDE // 2), name, "black", font, anchor="lm")
        for column, image in enumerate(images):
            enlarged = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            picture.paste(enlarged, (MARGIN + column * step, top))
    return picture


def screenshot(page: Path, *, width: int = 1100, height: int = 1590) -> Image.Image:
    """The top of a page as a browser shows it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is needed for the screenshot: install it, then run this again")
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        options += ["--hide-scrollbars", f"--window-size={width},{height}", f"--screenshot={to}"]
        subprocess.run([browser, *options, page.resolve().as_uri()], check=True, capture_output=True)
        return Image.open(to).convert("RGB")


if __name__ == "__main__":
    (run,) = map(Path, sys.argv[1:])
    IMAGES.mkdir(exist_ok=True)
    for name, picture in (("digits", strip(run)), ("report", screenshot(run / "report.html"))):
        picture.quantize(32).save(IMAGES / f"{name}.png", optimize=True)
