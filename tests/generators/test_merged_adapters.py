"""LoRA and textual-inversion files of other programs as people have them."""

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from tiny import plan_row, save_tiny_sana, save_tiny_sdxl

from understudy.core.errors import InputError
from understudy.generators.load import check_generator, load_generator
from understudy.generators.settings import GeneratorSettings


def load(folder, *adapters, **changes):
    settings = GeneratorSettings(name=str(folder), adapters=adapters, **changes)
    check_generator(settings)
    return load_generator(settings, device="cpu")


@pytest.fixture(scope="module")
def layers(tiny_pipeline_folder):
    """What a training of low-rank updates of the UNet ends with."""
    unet = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder).unet
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = LoraConfig(r=2, lora_alpha=1, target_modules=["to_q", "to_v"], init_lora_weights=False)
        unet.add_adapter(config)
    return get_peft_model_state_dict(unet), config.to_dict() | {"target_modules": ["to_q", "to_v"]}


@pytest.fixture
def of_diffusers(layers, tmp_path):
    """As training scripts of diffusers write it."""
    StableDiffusionPipeline.save_lora_weights(
        tmp_path, unet_lora_layers=layers[0], unet_lora_adapter_metadata=layers[1]
    )
    return tmp_path / "pytorch_lora_weights.safetensors"


@pytest.fixture
def of_kohya(layers, tmp_path):
    """The same in the names of kohya's scripts."""
    weights = {}
    for name, value in layers[0].items():
        layer, end = name.rsplit(".lora_", 1)
        key = f"lora_unet_{layer.replace('.', '_')}"
        weights[f"{key}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = value.contiguous()
        weights[f"{key}.alpha"] = torch.tensor(1.0)
    safetensors.torch.save_file(weights, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def test_loras_of_kohya_and_diffusers_draw_what_diffusers_draws(of_kohya, of_diffusers, tiny_pipeline_folder):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder)
    pipeline.load_lora_weights(of_diffusers)
    plain, theirs = load(tiny_pipeline_folder), load(tiny_pipeline_folder)
    theirs.pipeline.register_modules(unet=pipeline.unet)
    expected = theirs.draw([plan_row()]).astype(int)
    for path in (of_kohya, of_diffusers):
        generator = load(tiny_pipeline_folder, path)
        assert np.abs(generator.draw([plan_row()]) - expected).max() <= 1
        assert generator.denoiser.state_dict().keys() == plain.denoiser.state_dict().keys()
        assert generator.fingerprint != plain.fingerprint
    assert np.abs(plain.draw([plan_row()]) - expected).max() > 1


def test_layers_of_the_text_encoder_are_merged(tiny_pipeline_folder, tmp_path):
    down, up, weights = torch.ones(2, 16), torch.full((16, 2), 0.5), {}
    for name in ("q_proj", "out_proj"):
        key = f"lora_te_text_model_encoder_layers_0_self_attn_{name}"
        weights |= {f"{key}.lora_down.weight": down.clone(), f"{key}.lora_up.weight": up.clone()}
        weights[f"{key}.alpha"] = torch.tensor(1.0)
    safetensors.torch.save_file(weights, tmp_path / "words.safetensors")
    plain, merged = load(tiny_pipeline_folder), load(tiny_pipeline_folder, tmp_path / "words.safetensors")
    for name in ("q_proj", "out_proj"):
        before, after = (
            generator.pipeline.text_encoder.get_submodule(f"encoder.layers.0.self_attn.{name}").weight
            for generator in (plain, merged)
        )
        torch.testing.assert_close(after, before + up @ down / 2)  # alpha / rank


@pytest.mark.parametrize("form", ["of_kohya", "of_diffusers"])
def test_a_lora_of_another_base_is_refused(form, request, tmp_path):
    save_tiny_sdxl(tmp_path / "xl")
    path = request.getfixturevalue(form)
    with pytest.raises(
        InputError, match=r"must be made for a pipeline like this StableDiffusionXLPipeline, but"
    ):
        load(tmp_path / "xl", path)


def test_layers_that_the_pipeline_lacks_are_counted(of_diffusers, tiny_pipeline_folder):
    weights = safetensors.torch.load_file(of_diffusers)
    (first, *_) = (name for name in weights if "mid_block" in name and "lora_A" in name)
    for name in (first, first.replace("lora_A", "lora_B")):
        weights[name.replace("transformer_blocks.0", "transformer_blocks.5")] = weights[name].clone()
    safetensors.torch.save_file(weights, of_diffusers)
    with pytest.raises(InputError, match=r"does not fit: the pipeline has only \d+ of its \d+ layers: leave"):
        load(tiny_pipeline_folder, of_diffusers)


@pytest.mark.parametrize(
    ("name", "content", "token"),
    [
        ("learned_embeds.safetensors", {"<mine>": torch.ones(16)}, "<mine>"),
        ("learned_embeds.bin", {"<mine>": torch.ones(2, 16)}, "<mine>"),
        ("mytoken.safetensors", {"emb_params": torch.ones(2, 16)}, "mytoken"),
        (
            "x.pt",
            {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(2, 16)}, "name": "webui"},
            "webui",
        ),
    ],
)
def test_tokens_of_textual_inversion_can_be_used(name, content, token, tiny_pipeline_folder, tmp_path):
    save = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    save(content, tmp_path / name)
    plain, generator = load(tiny_pipeline_folder), load(tiny_pipeline_folder, tmp_path / name)
    rows = generator.pipeline.text_encoder.get_input_embeddings().weight
    count = len(generator.pipeline.tokenizer) - len(plain.pipeline.tokenizer)
    assert len(rows) == len(generator.pipeline.tokenizer)
    assert (rows[-count:] == 1).all()
    generator.check_prompts([f"a cat in the style of {token}"], keep_last=False)
    assert len(generator.pipeline.tokenizer(token, add_special_tokens=False).input_ids) == 1
    assert (
        generator.draw([plan_row(prompt=f"a {token}")]) != plain.draw([plan_row(prompt=f"a {token}")])
    ).any()


def test_embeddings_of_another_base_are_refused(tiny_pipeline_folder, tmp_path):
    safetensors.torch.save_file({"<mine>": torch.ones(24)}, tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match="but it does not fit: Loaded embeddings are of incorrect shape"):
        load(tiny_pipeline_folder, tmp_path / "mine.safetensors")
    for save, name in ((save_tiny_sdxl, "StableDiffusionXL"), (save_tiny_sana, "Sana")):
        save(tmp_path / name)
        with pytest.raises(InputError, match=f"whose only text encoder is CLIP, .* got {name}Pipeline"):
            load(tmp_path / name, tmp_path / "mine.safetensors")


def test_a_pickle_that_needs_code_is_refused(tiny_pipeline_folder, tmp_path):
    """As older versions of the web UI wrote it."""
    vectors = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 16))})
    content = {"string_to_token": {"*": 265}, "string_to_param": vectors, "name": "webui"}
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(
        InputError, match="cannot be read without executing code in it, .*: convert it to saf"
    ):
        load(tiny_pipeline_folder, tmp_path / "x.pt")


def test_a_lora_beside_its_pipeline_may_be_merged(of_diffusers, tiny_pipeline_folder, tmp_path):
    StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder).save_pretrained(tmp_path)
    assert load(tmp_path, of_diffusers, revision=None).fingerprint != load(tiny_pipeline_folder).fingerprint


def test_other_adapters_are_refused_with_what_to_do(tiny_pipeline_folder, tmp_path):
    name = "lora_unet_mid_block_attentions_0.hada_w1_a"
    safetensors.torch.save_file({name: torch.zeros(2, 2)}, tmp_path / "loha.safetensors")
    with pytest.raises(InputError, match=r"generator\.adapters must be .* is a LyCORIS adapter: fuse it"):
        load(tiny_pipeline_folder, tmp_path / "loha.safetensors")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "report.json").write_text('{"method": "lora"}')
    with pytest.raises(InputError, match=r"is an adapter of understudy: give it with --set adapt\.adapter="):
        load(tiny_pipeline_folder, tmp_path / "ours")


def put(name, content="{}"):
    def write(folder):
        (folder / name).write_text(content)

    return write


@pytest.mark.parametrize(
    ("write", "place", "message"),
    [
        (put("x.txt"), "nowhere", "but nothing is at .*nowhere: correct the path"),
        (
            put("x.txt"),
            "x.txt",
            r"is a file without weights: give a file such as style\.safetensors, or the .*",
        ),
        (put("x.txt"), ".", "is a folder without weights: give a file such as style.*"),
        (
            put("model_index.json"),
            ".",
            "is a whole pipeline of diffusers: give it with --generator, and leave .*",
        ),
        (
            put("settings.yaml"),
            ".",
            "is the folder of a run: give its adapter with --set adapt.adapter=.*adapter",
        ),
        (
            put("checkpoint.pt"),
            ".",
            "is an adapter that is not finished: let the run that makes it finish .*",
        ),
        (
            lambda folder: torch.save({"encoder.weight": torch.zeros(2, 2)}, folder / "x.pt"),
            "x.pt",
            "is a set of unknown weights: load their pipeline .*, and give its folder with --generator",
        ),
    ],
)
def test_advice_is_about_the_setting_that_was_given(write, place, message, tiny_pipeline_folder, tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match=rf"^generator\.adapters must be .*{message}$") as raised:
        load(tiny_pipeline_folder, tmp_path / place)
    assert "RUN/adapter" not in str(raised.value)
