"""Tiny instances of the real things, for tests and golden figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import PlanRow
from understudy.generators.mini.tokenizer import train_tokenizer
from understudy.sampling.plan import Planner
from understudy.sampling.settings import DrawSettings


def save_tiny_pipeline(folder, *, prediction_type="epsilon"):
    """A Stable Diffusion pipeline with random weights, a few thousand in each of its parts."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = CLIPTextModel(_text_config(tokenizer))
        vae = _vae()
        unet = _unet(cross_attention_dim=16)
        image_encoder = _image_encoder()  # after the others, whose random weights golden figures follow from
    scheduler = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=_image_processor(),
        image_encoder=image_encoder,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def save_tiny_sdxl(folder):
    """A Stable Diffusion XL pipeline: two text encoders, pooled states and image sizes."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = StableDiffusionXLPipeline(
            vae=_vae(),
            text_encoder=CLIPTextModel(_text_config(tokenizer)),
            tokenizer=tokenizer,
            text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer)),
            tokenizer_2=tokenizer,
            unet=_unet(
                cross_attention_dim=32,
                addition_embed_type="text_time",
                addition_time_embed_dim=4,
                projection_class_embeddings_input_dim=16 + 6 * 4,
            ),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
            ),
            image_encoder=_image_encoder(width=32),
            feature_extractor=_image_processor(),
        )
    pipeline.save_pretrained(folder)


def save_tiny_sd3(folder, *, t5=True):
    """A Stable Diffusion 3 pipeline, with T5 or without."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = StableDiffusion3Pipeline(
            vae=_flow_vae(),
            text_encoder=CLIPTextModelWithProjection(_text_config(tokenizer)),
            tokenizer=tokenizer,
            text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer)),
            tokenizer_2=tokenizer,
            text_encoder_3=T5EncoderModel(_t5_config()) if t5 else None,
            tokenizer_3=_t5_tokenizer() if t5 else None,
            transformer=SD3Transformer2DModel(
                sample_size=8,
                patch_size=1,
                in_channels=4,
                out_channels=4,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=32,
                caption_projection_dim=16,
                pooled_projection_dim=32,
                pos_embed_max_size=16,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        )
    pipeline.save_pretrained(folder)


def save_tiny_flux(folder, *, dev=True):
    """A FLUX.1 pipeline like dev, with guidance as an input and a shift by image size, or like schnell."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = FluxPipeline(
            vae=_flow_vae(),
            text_encoder=CLIPTextModel(_text_config(tokenizer)),
            tokenizer=tokenizer,
            text_encoder_2=T5EncoderModel(_t5_config()),
            tokenizer_2=_t5_tokenizer(),
            transformer=FluxTransformer2DModel(
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=8,
                num_attention_heads=2,
                joint_attention_dim=32,
                pooled_projection_dim=16,
                guidance_embeds=dev,
                axes_dims_rope=(2, 2, 4),
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(
                shift=3.0 if dev else 1.0,
                use_dynamic_shifting=dev,
                base_image_seq_len=4,
                max_image_seq_len=64,
            ),
        )
    pipeline.save_pretrained(folder)


def save_tiny_sana(folder):
    """A Sana pipeline with the scheduler that Sana is published with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = SanaPipeline(
            tokenizer=_gemma_tokenizer(),
            text_encoder=tiny_gemma(),
            vae=AutoencoderDC(
                latent_channels=4,
                attention_head_dim=2,
                encoder_block_types="ResBlock",
                decoder_block_types="ResBlock",
                encoder_block_out_channels=(8, 8, 8),
                decoder_block_out_channels=(8, 8, 8),
                encoder_layers_per_block=(1, 1, 1),
                decoder_layers_per_block=(1, 1, 1),
                encoder_qkv_multiscales=((), (), ()),
                decoder_qkv_multiscales=((), (), ()),
                scaling_factor=0.4,
            ),
            transformer=SanaTransformer2DModel(
                in_channels=4,
                out_channels=4,
                num_layers=1,
                num_attention_heads=2,
                attention_head_dim=8,
                num_cross_attention_heads=2,
                cross_attention_head_dim=8,
                cross_attention_dim=16,
                caption_channels=24,
                sample_size=8,
                timestep_scale=2.0,
            ),
            scheduler=DPMSolverMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
        )
    pipeline.save_pretrained(folder)


def save_tiny_image_encoder(folder, *, width=16):
    """A CLIP vision model with projection, with its preprocessor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        _image_encoder(width=width).save_pretrained(folder)
    _image_processor().save_pretrained(folder)


def save_tiny_clip(folder):
    """A whole CLIP model with its processor; its towers differ in width, its features do not."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        CLIPModel(
            CLIPConfig(
                text_config=_text_config(tokenizer).to_dict(),
                vision_config=tiny_vision_config(hidden_size=24),
                projection_dim=8,
                logit_scale_init_value=3.0,
            )
        ).save_pretrained(folder)
    CLIPProcessor(_image_processor(), tokenizer).save_pretrained(folder)


def _tokenizer():
    return train_tokenizer(["a photo of a cat", "a photo of a dog"], num_merges=8)


def _text_config(tokenizer):
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=24,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _vae(**changes):
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=16,
        **changes,
    )


def _flow_vae():
    """As those of SD3 and FLUX.1: latents are shifted, and not convolved once more."""
    return _vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False)


def _unet(**changes):
    return UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **changes,
    )


def tiny_vision_config(**changes):
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 12, "patch_size": 4}
    return layers | {"hidden_size": 16, "intermediate_size": 16} | changes


def _image_encoder(width=16):
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**tiny_vision_config(projection_dim=width)))


def _image_processor():
    return CLIPImageProcessor(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})


def _t5_config():
    return T5Config(vocab_size=40, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)


def _t5_tokenizer():
    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], extra_ids=0)


def tiny_gemma(*, hidden_size=24):
    """The text encoder of Sana."""
    return Gemma2Model(
        Gemma2Config(
            vocab_size=40,
            hidden_size=hidden_size,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=12,
        )
    )


def _gemma_tokenizer():
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *"▁abcdefghijklmnopqrstuvwxyz"]
    return GemmaTokenizer(vocab={word: number for number, word in enumerate(words)}, add_bos_token=True)


def two_classes(num_images=8, *, split="train", seed=0, size=16):
    """Noisy images: class cat is bright on the left, class dog on the right."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 80, (num_images, 3, size, size), dtype=np.uint8)
    labels = np.arange(num_images) % 2
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, (size // 2) * label : size // 2 + (size // 2) * label] += 120
    return LabelledSet.from_images(
        pixels,
        labels,
        class_names=["cat", "dog"],
        split=split,
        ids=[f"{split}-{seed}-{i}" for i in range(num_images)],
    )


def captioned(data, captions):
    """The same images with a caption each."""
    return LabelledSet.from_images(
        data.pixels(16),
        data.labels,
        class_names=data.class_names,
        split=data.split,
        ids=data.ids,
        provenance={"caption": captions},
    )


def plan_row(**changes):
    """A cat from pure noise in two steps, unless ``changes`` say otherwise."""
    row = {"id": "i", "number": 0, "label": 0, "class_name": "cat", "prompt": "a cat", "negative_prompt": ""}
    row |= {"seed": 0, "sampler": "unipc", "steps": 2, "guidance_scale": 1.0, "noise_scale": 1.0}
    row |= {"strength": 1.0, "source_id": "", "visual": "none", "visual_id": ""}
    return PlanRow(**row | {"adapter": "", "adapter_scale": 1.0} | changes)


def plan_rows(count, train, **changes):
    """Rows with an id, a seed and a source image each."""
    return [
        plan_row(**{"id": f"i{i}", "seed": 100 + i, "source_id": train.ids[i % len(train)]} | changes)
        for i in range(count)
    ]


def missing(thing, *protocols):
    """Names that the protocols promise and the class of a thing lacks."""
    names = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}
    return sorted(name for name in names if not hasattr(type(thing), name))


class AnyGenerator:
    """A generator that fits every plan; ``strength`` is where ``draw.start_snr`` starts."""

    def __init__(self, strength=1.0, available=None):
        self._strength, self._available, self.checked = strength, available, []

    def strength_at(self, snr, *, sampler, steps):
        return self._strength

    def check_prompts(self, prompts, *, keep_last):
        self.checked.append((prompts, keep_last))

    def available(self, class_names):
        return self._available


def plan_of(train, counts, *, generator=None, prompt_names=("a cat", "a dog"), seed=0, visual="none", **draw):
    """Rows of a plan, from the first image of each class."""
    planner = Planner(
        train=train,
        generator=generator or AnyGenerator(),
        settings=DrawSettings(**draw),
        prompt_names=prompt_names,
        seed=seed,
        visual=visual,
    )
    return list(planner.rows(np.zeros(len(counts), dtype=np.int64), np.array(counts)))


@dataclass
class Loaded:
    """The generator of a run that is loaded already; see ``Networks`` in ``sampling/draw.py``."""

    generator: Any
    visual: Any = None
    files: tuple = ()

    def get(self, number):
        return self.generator

    def free(self):
        """It stays."""
