"""The bundled miniature: what it is made of, and that its script still makes it."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPModel, CLIPTokenizer

from understudy.generators.load import mini_folder
from understudy.generators.mini import glyphs
from understudy.generators.mini.data import printed_glyphs
from understudy.generators.mini.tokenizer import MAX_LENGTH, train_tokenizer


@pytest.mark.slow
def test_plain_diffusers_loads_the_folder():
    code = f"""
import sys
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained({str(mini_folder())!r})
image = pipeline("a photo of digit 3", num_inference_steps=2, guidance_scale=2.0).images[0]
assert image.size == (32, 32)
assert pipeline.image_encoder.config.projection_dim == pipeline.text_encoder.config.hidden_size
assert not any(name.split(".")[0] == "understudy" for name in sys.modules)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_the_weights_stay_small():
    files = list(mini_folder().parent.rglob("*.safetensors"))
    assert len(files) == 5
    assert sum(path.stat().st_size for path in files) <= 12_000_000


def test_text_and_image_features_share_a_space():
    """Zero-shot naming of printed digits works far above chance, with features compared as CLIP does."""
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    text = CLIPTextModel.from_pretrained(mini_folder() / "text_encoder", dtype=torch.float32)
    vision = CLIPVisionModelWithProjection.from_pretrained(
        mini_folder() / "image_encoder", dtype=torch.float32
    )
    tokenizer = CLIPTokenizer.from_pretrained(mini_folder() / "tokenizer")
    data = printed_glyphs(300, seed=7)
    digits = data.labels < 10
    tokens = tokenizer(
        [f"a photo of digit {i}" for i in range(10)],
        padding="max_length",
        max_length=MAX_LENGTH,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        text_features = text(input_ids=tokens).pooler_output
        image_features = vision(pixel_values=data.images[digits] / 127.5 - 1).image_embeds
    assert text_features.shape[1] == image_features.shape[1]
    assert CLIPModel  # the class whose comparison this is
    similarity = torch.nn.functional.cosine_similarity(image_features[:, None], text_features[None], dim=2)
    assert (similarity.argmax(1) == data.labels[digits]).float().mean() > 0.8


def test_fonts_hold_every_character():
    assert len(glyphs.fonts()) >= 20
    blank = 0
    for font in glyphs.fonts():
        for character in glyphs.CHARACTERS:
            glyph = glyphs.Glyph(
                character=character,
                font=font,
                stroke=0,
                shear=0,
                rotation=0,
                height=0.8,
                offset=(0, 0),
                blur=0,
                ink=1,
                paper=0,
            )
            image = glyphs.render(glyph)
            blank += image.max() < 128
            assert image.shape == (32, 32, 3)
            assert image[0].max() < 200, f"{font} {character} runs out of the image"
    assert blank == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_glyphs_are_in_range_and_repeatable(seed):
    one, two = (glyphs.random_glyph(np.random.default_rng(seed)) for _ in range(2))
    assert one == two
    np.testing.assert_array_equal(glyphs.render(one), glyphs.render(two))
    caption = glyphs.caption(one, np.random.default_rng(seed))
    assert caption == caption.strip()


def test_a_glyph_depends_on_seed_and_index_alone():
    few, many = printed_glyphs(3, seed=5), printed_glyphs(6, seed=5)
    assert torch.equal(few.images, many.images[:3])
    assert few.captions == many.captions[:3]


def test_properties_name_what_is_seen():
    base = {
        "stroke": 0,
        "shear": 0,
        "rotation": 0,
        "height": 0.7,
        "offset": (0, 0),
        "blur": 0,
        "ink": 1,
        "paper": 0,
    }
    assert glyphs.Glyph(character="3", font="DejaVuSerif-BoldItalic.ttf", **base).properties == (
        "serif",
        "bold",
        "italic",
        "sharp",
        "white on black",
    )
    assert glyphs.Glyph(
        character="3", font="cmtt10.ttf", **{**base, "paper": 0.9, "ink": 0.5, "height": 0.9, "blur": 1}
    ).properties == (
        "mono",
        "regular",
        "large",
        "blurred",
        "faint",
        "black on white",
    )


@given(st.text(max_size=30))
@settings(deadline=None)
def test_any_text_can_be_written(text):
    tokenizer = CLIPTokenizer.from_pretrained(mini_folder() / "tokenizer")
    encoded = tokenizer(text, padding="max_length", max_length=MAX_LENGTH, truncation=True).input_ids
    assert len(encoded) == MAX_LENGTH
    assert encoded[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id in encoded


def test_captions_fit_and_are_short():
    tokenizer = train_tokenizer(printed_glyphs(200, seed=0).captions)
    rng = np.random.default_rng(1)
    lengths = [len(tokenizer(glyphs.caption(glyphs.random_glyph(rng), rng)).input_ids) for _ in range(200)]
    assert max(lengths) <= MAX_LENGTH


@pytest.mark.slow
def test_the_script_runs_and_goes_on_where_it_stopped(tmp_path):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "understudy.generators.mini.pretrain",
        "--smoke",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(command, check=True)
    before = {
        path: path.stat().st_mtime_ns for path in tmp_path.rglob("*diffusion_pytorch_model.safetensors")
    }
    assert json.loads((tmp_path / "figures" / "unet.json").read_text())["held_out_loss"] > 0
    again = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "loss" not in again, "a finished step was trained again"
    assert before
    assert (tmp_path / "pipeline" / "samples.png").exists()
    assert "zero-shot accuracy" in (tmp_path / "pipeline" / "README.md").read_text()
