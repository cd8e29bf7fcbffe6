"""Weights of a pipeline as its authors published them: one file, with the names of latent-diffusion.

The reverse of what diffusers does when it reads such a file, for the shape of the tiny pipelines.
"""

from pathlib import Path

import safetensors.torch
from diffusers import DiffusionPipeline

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def save_single_file(folder, path):
    """Write the UNet, autoencoder and text encoder of the Stable Diffusion pipeline in ``folder``."""
    pipeline = DiffusionPipeline.from_pretrained(folder)
    layers = pipeline.unet.config.layers_per_block
    state = {
        f"model.diffusion_model.{_unet_name(name, layers)}": value
        for name, value in pipeline.unet.state_dict().items()
    }
    for name, value in pipeline.vae.state_dict().items():
        is_attention = ".attentions." in name and name.endswith("weight") and "norm" not in name
        new = f"first_stage_model.{_vae_name(name, len(pipeline.vae.config.block_out_channels))}"
        state[new] = value[..., None, None] if is_attention else value
    for name, value in pipeline.text_encoder.state_dict().items():
        name = name if name.startswith("text_model.") else f"text_model.{name}"
        state[f"cond_stage_model.transformer.{name}"] = value
    safetensors.torch.save_file({name: value.contiguous() for name, value in state.items()}, path)
    return Path(path)


def _replaced(name, names):
    return next((new + name[len(old) :] for old, new in names.items() if name.startswith(old + ".")), name)


def _unet_name(name, layers):
    kind, *rest = name.split(".")
    if kind == "mid_block":
        block, index, *rest = rest
        place = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[block, index]
        return f"middle_block.{place}.{_replaced('.'.join(rest), _RESNET)}"
    if kind not in ("down_blocks", "up_blocks"):
        return _replaced(name, _UNET_ENDS)
    number, block, index, *rest = rest
    rest = _replaced(".".join(rest), _RESNET if block == "resnets" else {"conv": "op"})
    first = int(number) * (layers + 1)
    if block == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.{rest}"
    place = int(block == "attentions")
    if kind == "down_blocks":
        return f"input_blocks.{first + int(index) + 1}.{place}.{rest}"
    if block == "upsamplers":  # the tiny UNet upsamples after attention alone
        return f"output_blocks.{first + layers}.2.{name.split('.', 4)[4]}"
    return f"output_blocks.{first + int(index)}.{place}.{rest}"


def _vae_name(name, blocks):
    if not name.startswith(("encoder.", "decoder.")):
        return name  # quant_conv and post_quant_conv
    side, kind, *rest = name.split(".")
    if kind == "mid_block":
        block, index, *rest = rest
        place = f"attn_{int(index) + 1}" if block == "attentions" else f"block_{int(index) + 1}"
        return f"{side}.mid.{place}.{_replaced('.'.join(rest), _VAE_ATTENTION)}"
    if kind not in ("down_blocks", "up_blocks"):
        return name.replace("conv_norm_out", "norm_out")
    number, block, index, *rest = rest
    rest = ".".join(rest).replace("conv_shortcut", "nin_shortcut")
    place = f"{side}.down.{number}" if kind == "down_blocks" else f"{side}.up.{blocks - 1 - int(number)}"
    if block == "resnets":
        return f"{place}.block.{index}.{rest}"
    return f"{place}.{'downsample' if kind == 'down_blocks' else 'upsample'}.{rest}"
