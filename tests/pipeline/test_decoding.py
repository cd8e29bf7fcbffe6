"""How often a run decodes each of its images."""

from collections import Counter

import pytest
from tiny_job import real_page, tiny_settings

from understudy.data import labelled_set
from understudy.data.recent import Recent
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import STAGE_NAMES, run, write_report_again

pytestmark = pytest.mark.slow  # whole jobs


@pytest.fixture
def decoded(monkeypatch):
    """How often each image file is decoded; nothing is remembered of earlier tests."""
    counts, decode = Counter(), labelled_set.decode

    def count(data):
        counts[data] += 1
        return decode(data)

    monkeypatch.setattr(labelled_set, "decode", count)
    monkeypatch.setattr(labelled_set, "_HASHES", Recent(labelled_set._HASHES._room, lambda pixels: 1))
    remember(monkeypatch, labelled_set._DECODED._room)
    return counts


def remember(monkeypatch, room):
    monkeypatch.setattr(
        labelled_set, "_DECODED", Recent(room, size=lambda image: 4 * image.width * image.height)
    )


ARMS = {"arms": ["real", "real+val", "synthetic"]}
MOST = {"load": 2, "draw": 2, "curate": 3, "fidelity": 2, "compare": 2}


def most(counts):
    return max(counts.values(), default=0)


def test_images_that_fit_into_memory_are_decoded_once(decoded, pets, tiny_pipeline_folder, tmp_path):
    with real_page():
        run(tiny_settings(pets, tiny_pipeline_folder, compare=ARMS), tmp_path / "run")
        assert most(decoded) == 1
        assert len(decoded) > 24  # real and synthetic ones
        write_report_again(RunFolder.find(tmp_path / "run"))
    assert most(decoded) == 1


def test_other_images_are_decoded_once_for_each_use(
    decoded, pets, tiny_pipeline_folder, tmp_path, monkeypatch
):
    """With room for a single image.

    Curation uses images twice, for the judge and the search for copies, and shows samples, as draw does.
    The comparison uses them twice: ``real+val`` joins the images of two sets. Load looks at up to a hundred
    images to tell characters from photographs, and fidelity has two measures.
    """
    remember(monkeypatch, 4 * 16 * 16)
    settings = tiny_settings(pets, tiny_pipeline_folder, compare=ARMS)
    for stage in STAGE_NAMES:
        if stage != "report":  # its galleries show some images several times
            decoded.clear()
            run(settings, tmp_path / "run", until=stage)
            assert most(decoded) <= MOST.get(stage, 1), stage
