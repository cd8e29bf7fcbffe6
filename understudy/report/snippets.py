"""The Python on the cards of exports, which loads them with other packages alone.

``FOLDER`` stands for the folder of the export and ``IMAGE`` for an image file; on the hub, the name of the
repository takes the place of the folder.
"""

from __future__ import annotations

from collections.abc import Sequence

_TIMM = """\
import timm
import torch
from PIL import Image, ImageOps

model = timm.create_model("{place}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
image = ImageOps.exif_transpose(Image.open("IMAGE")).convert("RGB")
with torch.inference_mode():
    probabilities = model(transform(image)[None]).softmax(dim=1)[0]
for name, probability in zip(model.pretrained_cfg["label_names"], probabilities.tolist()):
    print(f"{{probability:6.1%}}  {{name}}")
"""
_ONNX = """\
import json
{imports}
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession({place})
about = session.get_modelmeta().custom_metadata_map
size = int(about["input_size"])
image = ImageOps.exif_transpose(Image.open("IMAGE")).convert("RGB")
image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
(probabilities,) = session.run(None, {{"pixels": np.asarray(image).transpose(2, 0, 1)[None]}})
for name, probability in zip(json.loads(about["class_names"]), probabilities[0]):
    print(f"{{probability:6.1%}}  {{name}}")
"""
_CLEANLAB = """\
import pandas
from cleanlab.filter import find_label_issues

table = pandas.read_csv("FOLDER/{file}")
found = find_label_issues(
    table["label"].to_numpy(),
    table.filter(regex=r"^p_\\d+$").to_numpy(),
    return_indices_ranked_by="self_confidence",
)
print(table.loc[found, ["id", "class_name", "predicted"]])
"""
_ADAPTERS = {
    "pytorch_lora_weights.safetensors": 'pipeline.load_lora_weights("{place}")',
    "learned_embeds.safetensors": 'pipeline.load_textual_inversion("{place}")',
    "unet": 'pipeline.unet = type(pipeline.unet).from_pretrained("{place}", subfolder="unet")',
    "transformer": "pipeline.transformer = type(pipeline.transformer).from_pretrained("
    '"{place}", subfolder="transformer")',
    "class_conditional": "network = diffusers.UNet2DModel.from_pretrained("
    '"{place}", subfolder="class_conditional")',
}
"""By file of an adapter folder, how diffusers loads it."""


def classifier_snippet(form: str, hub: str | None) -> str:
    """Load a classifier, and print the probability of each class for an image.

    Args:
        form: ``timm`` or ``onnx``.
        hub: repository on the hub, ``owner/name``; None for a folder.
    """
    if form == "timm":
        return _TIMM.format(place="local-dir:FOLDER" if hub is None else f"hf-hub:{hub}")
    if hub is None:
        return _ONNX.format(imports="", place='"FOLDER/model.onnx"')
    return _ONNX.format(
        imports="\nimport huggingface_hub", place=f'huggingface_hub.hf_hub_download("{hub}", "model.onnx")'
    )


def adapter_snippet(base: str | None, files: Sequence[str], hub: str | None) -> str:
    """Load an adapter into the pipeline that it was made for.

    Args:
        base: hub name of the pipeline, ``mini`` or ``BASE``; None for a network trained from nothing.
        files: names of the files and folders of the adapter.
        hub: repository on the hub, ``owner/name``; None for a folder.
    """
    place = "FOLDER" if hub is None else hub
    imports = ["import diffusers"]
    lines = [line.format(place=place) for file, line in _ADAPTERS.items() if file in files]
    if base is not None:
        folder = "mini_folder()" if base == "mini" else f'"{base}"'
        lines.insert(0, f"pipeline = diffusers.DiffusionPipeline.from_pretrained({folder})")
    if base == "mini":
        imports.append("from understudy.generators.load import mini_folder")
    return "".join(f"{line}\n" for line in [*imports, "", *lines])


def predictions_snippet(file: str) -> str:
    """Let cleanlab find the images whose labels are probably wrong, the worst first."""
    return _CLEANLAB.format(file=file)
