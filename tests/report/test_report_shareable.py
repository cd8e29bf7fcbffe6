"""The form of a report for those who must not see the real images."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_sample import Sample, make_sample, make_whole

from understudy.report.gallery import tile_size
from understudy.report.shareable import without_names

pytestmark = pytest.mark.usefixtures("without_figures")


def tiles_of(page: str, tile: int) -> Iterator[bytes]:
    """The pixels of every thumbnail on a page."""
    for data in re.findall(r'src="data:image/\w+;base64,([^"]+)"', page):
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        assert strip.shape[0] == tile
        for left in range(0, strip.shape[1], tile + max(1, tile // 16)):
            yield strip[:, left : left + tile].tobytes()


def named() -> Sample:
    """A run whose results name files."""
    sample = make_whole()
    data, shift = sample.results["data"], sample.results["shift"]
    shared = [
        {"split": "test", "in": "train", "images": 1, "of": 9, "examples": [["mueller.png", "meier.png"]]}
    ]
    data |= {
        "source": "mueller/patients.zip",
        "skipped": [["mueller-2.png", "no file 'meier.png' in the folder"]],
    }
    data["copies"] |= {"shared": shared}
    sample.results["fidelity"]["encoder"] |= {"name": "/home/mueller/encoder.safetensors"}
    sample.results["fidelity"]["warnings"] = [
        "Fidelity was not measured: no /home/mueller/encoder.safetensors"
    ]
    for measured in shift["tests"].values():
        measured["copies"] = {"shared": shared}
    return sample


def test_it_shows_no_real_image_and_no_other_synthetic_ones(tmp_path: Path) -> None:
    sample = make_sample(num_classes=3)
    tile = tile_size(sample.train, sample.synthetic)
    real = {pixels.transpose(1, 2, 0).tobytes() for pixels in sample.train.pixels(tile)}
    assert real & {*tiles_of(sample.write(tmp_path / "whole.html"), tile)}, "the search finds real images"
    some = sample.synthetic.select(range(0, len(sample.synthetic), 2))
    page = sample.write(tmp_path / "shareable.html", form="shareable", shareable=some)
    lossless = re.sub(r'src="data:image/webp[^"]+"', "", page)
    shown = {*tiles_of(lossless, tile)}
    assert shown and shown <= {pixels.transpose(1, 2, 0).tobytes() for pixels in some.pixels(tile)}
    assert "real images of class" not in page and "This page shows no real image" in page
    assert 'type="text/plain" class="sheet"' not in page and 'id="columns"' not in page


def test_it_shows_no_image_if_none_may_be_shown(tmp_path: Path) -> None:
    page = make_sample(num_classes=3).write(tmp_path / "report.html", form="shareable")
    assert "data:image/webp" not in page and "data:image/png" not in page
    assert 'id="images"' not in page and "This page shows no image" in page
    assert "gained and lost most" in page or "in each class" in page


def test_it_names_no_file_and_no_path(tmp_path: Path) -> None:
    sample = named()
    words = re.compile(r"mueller|meier|/home|understudy (?:run|report|export|gap|audit)")
    whole = {*words.findall(sample.write(tmp_path / "whole.html"))}
    assert {"mueller", "meier", "/home", "understudy run"} <= whole
    page = sample.write(tmp_path / "report.html", form="shareable", shareable=sample.synthetic)
    assert not words.findall(page)
    assert "</b> · patients</p>" in page and ">1 left out.<" in page and "patients.zip" not in page
    assert "1 of 9 test images have a changed copy among the train images." in page


def test_its_links_lead_to_sections_that_are_there(tmp_path: Path) -> None:
    page = named().write(tmp_path / "report.html", form="shareable")
    ids = {*re.findall(r'\bid="([^"]+)"', page)}
    assert {*re.findall(r'href="#([^"]+)"', page)} <= ids and "again" not in ids


def test_results_keep_every_figure() -> None:
    results = named().results
    found = without_names(results)
    assert {name for name in results if results[name] != found[name]} == {"data", "fidelity", "shift"}
    assert without_names(found) == found
