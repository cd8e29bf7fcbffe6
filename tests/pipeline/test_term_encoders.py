"""The encoders of the distribution term: gradients flow to the pixels, and the weights want none."""

import pytest
import torch
from tiny import save_tiny_image_encoder
from tiny_job import BUNDLED, tiny_settings
from torch import nn

from understudy.pipeline.encoders import term_encoders


@pytest.fixture
def script(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    path = tmp_path / "copies.torchscript.pt"
    torch.jit.script(network.eval()).save(path)
    return path


def leaves(node, seen):
    """Tensors whose gradients a result would fill."""
    for before, _ in node.next_functions:
        if before is not None and before not in seen:
            seen.add(before)
            leaves(before, seen)
    return [each.variable for each in seen if hasattr(each, "variable")]


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_only_pixels_get_gradients(pets, tiny_pipeline_folder, script, tmp_path):
    save_tiny_image_encoder(tmp_path / "clip")
    names = ["generator", "mini", "backbone", str(tmp_path / "clip"), str(script)]
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        compare=BUNDLED,
        adapt={"distribution": "kernel", "distribution_encoders": names},
    )
    encoders = term_encoders(settings, device="cpu")
    assert list(encoders) == names[1:]
    for name, encode in encoders.items():
        pixels = torch.rand(2, 3, 32, 32, requires_grad=True)
        features = encode(pixels).square().sum()
        found = leaves(features.grad_fn, set())
        assert len(found) == 1, name
        assert found[0] is pixels, name
