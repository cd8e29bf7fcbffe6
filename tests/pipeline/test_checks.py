"""What is refused before anything is written."""

import re

import pytest
from tiny_job import tiny_settings

from understudy.core.errors import InputError
from understudy.pipeline.run import run

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"captions": {"source": "class-name"}},
            "captions.source 'class-name' has no effect, because no prompt contains {caption}",
        ),
        ({"scale": {"times": [1.0], "arms": ["real"]}}, "scale.arms must use synthetic images, got 'real'"),
        ({"draw": {"prompt": "a photo"}}, "{class}"),
        ({"adapt": {"distribution": "wasserstein"}}, "unknown distribution term 'wasserstein'"),
        ({"visual": {"kind": "pixel"}}, "unknown kind of visual guidance 'pixel'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    sections, message, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(InputError, match=re.escape(message)):
        run(tiny_settings(tmp_path / "nowhere", tiny_pipeline_folder, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_the_generator_is_refused_before_captioning(pets, tiny_pipeline_folder, tmp_path):
    """A captioning model that does not exist is never asked for."""
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        captions={"source": "model", "model": "nobody/nothing"},
        draw={"sampler": "flow-euler"},
        adapt={"prompt": "{class}, {caption}"},
    )
    with pytest.raises(InputError, match="flow-euler"):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"draw": {"prompt": "a very long photo " * 20 + "{class}"}}, "a prompt must have at most"),
        ({"draw": {"start_snr": 1e-9}}, "which is pure noise for this generator"),
        ({"adapt": {"method": "lora", "targets": ["attention", "convolution"]}}, "got 'convolution'"),
        ({"draw": {"sampler": "flow-euler"}}, "flow-euler"),
    ],
)
def test_what_does_not_fit_the_generator_leaves_no_folder(
    sections, message, pets, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(InputError, match=message):
        run(tiny_settings(pets, tiny_pipeline_folder, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


AUDIT = {"measure": True, "shadows": 6, "false_positive_rates": [0.5]}


@pytest.mark.parametrize(
    "sections",
    [
        {"compare": {"arms": ["real", "mixed@real-guidance"]}},
        {"membership": {**AUDIT, "arms": ["real", "mixed@real-guidance"]}},
    ],
    ids=["compared", "audited"],
)
def test_a_strategy_that_changes_nothing_for_so_many_images_leaves_no_folder(
    sections, pets, tiny_pipeline_folder, tmp_path
):
    """With 4 images per class real guidance starts at 0.35, with one at 0.5."""

    def load(strength):
        draw = {"steps": 20, "strength": strength}
        settings = tiny_settings(
            pets, tiny_pipeline_folder, data={"source": str(pets), "shots": 4}, draw=draw, **sections
        )
        run(settings, tmp_path / "run", until="load")

    with pytest.raises(InputError, match="'real-guidance' of the arm 'mixed@real-guidance' has no effect"):
        load(0.35)
    assert not (tmp_path / "run").exists()
    load(0.5)


def test_a_missing_clip_model_of_an_audited_arm_leaves_no_folder(pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        curate={"clip": str(tmp_path / "clip")},
        membership={**AUDIT, "arms": ["mixed@clip-filter"]},
    )
    with pytest.raises(InputError, match="clip"):
        run(settings, tmp_path / "run", until="load")
    assert not (tmp_path / "run").exists()


def test_an_adapter_is_used_as_it_was_made(finished, pets, tiny_pipeline_folder, tmp_path):
    out, _ = finished
    guided = tiny_settings(
        pets, tiny_pipeline_folder, visual={"kind": "per-image"}, adapt={"adapter": str(out / "adapter")}
    )
    with pytest.raises(InputError, match="the adapter in .* was made with visual.kind 'none'"):
        run(guided, tmp_path / "run")
    assert not (tmp_path / "run").exists()
