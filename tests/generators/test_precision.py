"""Drawing in bfloat16: which machines do it, and what it changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import plan_row

from understudy.core.bfloat16 import has_fast_bfloat16
from understudy.generators.load import load_generator
from understudy.generators.precision import computing, drawing_precision
from understudy.generators.settings import GeneratorSettings


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, False),
        ({}, False),  # a processor of another kind
    ],
)
def test_a_processor_needs_amx(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_fast_bfloat16("cpu") is expected
    found = drawing_precision("auto", GeneratorSettings(), "cpu")
    assert found == ("bfloat16" if expected else "float32")


def test_what_is_asked_for_does_not_depend_on_the_machine():
    assert not has_fast_bfloat16("mps")
    for precision in ("float32", "bfloat16"):
        assert drawing_precision(precision, GeneratorSettings(), "cpu") == precision


def test_weights_in_16_bits_are_multiplied_as_they_are():
    settings = GeneratorSettings(precision="float16")
    assert drawing_precision("float32", settings, "cpu") == "float16"
    with computing("float16", torch.float16, torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
    with computing("float32", torch.bfloat16, torch.device("cpu")):  # a plan of version 0.1
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("settings", [GeneratorSettings(), GeneratorSettings(name="class_conditional")])
def test_bfloat16_moves_pixels_a_little(settings):
    generator = load_generator(settings, device="cpu")
    generator.learn_classes(["cat"], seed=0)
    generator.denoiser.requires_grad_(requires_grad=False)
    row = plan_row(seed=5, steps=8, prompt="the digit 3" if settings.name == "mini" else "cat")
    if settings.name == "class_conditional":
        row = replace(row, sampler="edm")
        with torch.random.fork_rng():  # an untrained network ends in zeros, which are alike in any format
            torch.manual_seed(0)
            for weights in generator.denoiser.parameters():
                weights.add_(0.02 * torch.randn_like(weights))
    exact = generator.draw([row]).astype(int)
    moved = generator.draw([replace(row, precision="bfloat16")]).astype(int)
    assert 0 < np.abs(exact - moved).mean() < 2
    np.testing.assert_array_equal(generator.draw([row]), exact)


def test_rows_of_a_batch_have_one_precision():
    generator = load_generator(GeneratorSettings(), device="cpu")
    with pytest.raises(ValueError, match="strength and precision"):
        generator.draw([plan_row(), plan_row(precision="bfloat16")])
