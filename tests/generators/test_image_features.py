import numpy as np
import pytest
import torch
from tiny import save_tiny_image_encoder, save_tiny_sd3
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from understudy.core.errors import InputError
from understudy.generators.image_features import load_image_encoder
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator


@pytest.mark.parametrize("size", [(24, 24), (12, 12), (20, 36), (37, 24)])
def test_features_are_those_of_the_clip_processor(size, tmp_path):
    save_tiny_image_encoder(tmp_path)
    smooth = torch.nn.functional.interpolate(
        torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), size=size, mode="bilinear"
    )
    pixels = (smooth * 255).round().to(torch.uint8)
    encoder = CLIPVisionModelWithProjection.from_pretrained(tmp_path)
    inputs = CLIPImageProcessor.from_pretrained(tmp_path)(pixels[0], return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = encoder(pixel_values=inputs).image_embeds
    features = load_image_encoder(str(tmp_path), torch.float32)(
        pixels / 127.5 - 1, device=torch.device("cpu")
    )
    torch.testing.assert_close(
        features, expected, rtol=0.02, atol=0.01 * expected.abs().max().item()
    )  # the processor rounds to grey levels


def test_the_pipelines_own_encoder_is_used(tiny_generator):
    assert tiny_generator.feature_width == tiny_generator.token_width == 16
    pixels = torch.zeros(2, 3, 16, 16)
    expected = tiny_generator.pipeline.image_encoder(
        pixel_values=((0.5 - tiny_generator._features.mean) / tiny_generator._features.std).expand(
            2, 3, 12, 12
        )
    )
    torch.testing.assert_close(tiny_generator.encode_features(pixels), expected.image_embeds)
    np.testing.assert_allclose(
        tiny_generator._features.mean.flatten(), tiny_generator.pipeline.feature_extractor.image_mean
    )


def test_an_encoder_without_preprocessor_gets_clips_figures(tmp_path):
    save_tiny_image_encoder(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    np.testing.assert_allclose(
        load_image_encoder(str(tmp_path), torch.float32).mean.flatten(), [0.48145466, 0.4578275, 0.40821073]
    )


def test_a_missing_encoder_is_named(tmp_path, tiny_pipeline_folder):
    save_tiny_sd3(tmp_path)
    generator = load_generator(GeneratorSettings(name=str(tmp_path)), device="cpu")
    for ask in (
        lambda: generator.feature_width,
        lambda: generator.encode_features(torch.zeros(1, 3, 16, 16)),
    ):
        with pytest.raises(InputError, match="set generator.image_encoder to a CLIP vision model"):
            ask()
    with pytest.raises(
        InputError, match="generator.image_encoder must be a folder or hub name of a CLIP vision model"
    ):
        StableDiffusionGenerator.load(str(tiny_pipeline_folder), image_encoder=str(tmp_path / "nothing"))
