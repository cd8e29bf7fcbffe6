"""Parts of another pipeline, found without building a network."""

import json
import shutil

import pytest

from understudy.core.errors import InputError
from understudy.generators.load import check_generator
from understudy.generators.settings import GeneratorSettings


@pytest.fixture
def folder(tiny_pipeline_folder, tmp_path):
    return shutil.copytree(tiny_pipeline_folder, tmp_path / "pipeline")


def check(folder):
    check_generator(GeneratorSettings(name=str(folder)))


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_pipeline(folder):
    check(folder)


@pytest.mark.parametrize(
    ("part", "name"), [("unet", "FluxTransformer2DModel"), ("vae", "AutoencoderDC"), ("unet", "UNet2DModel")]
)
def test_a_part_of_another_family(part, name, folder):
    change(folder / part / "config.json", _class_name=name)
    with pytest.raises(InputError, match=f"its folder {part} holds a {name}, and its model_index"):
        check(folder)


@pytest.mark.parametrize("stated", [None, [], ["diffusers", None], [None, None], ["a", 3], {}, "UNet"])
@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_part_without_a_class(part, stated, folder):
    change(folder / "model_index.json", **{part: stated})
    with pytest.raises(InputError, match=f"names no class for {part}"):
        check(folder)


def test_parts_that_a_pipeline_may_lack(folder):
    change(folder / "model_index.json", safety_checker=[None, None], feature_extractor=[None, None])
    check(folder)


def test_what_is_not_json_is_left_to_the_loader(folder):
    (folder / "unet" / "config.json").write_text("{")
    check(folder)
