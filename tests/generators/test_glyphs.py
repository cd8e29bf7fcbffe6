"""Rendered characters: the class decides the character, and the seed everything else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import missing, plan_row

from understudy.core.errors import InputError
from understudy.generators.generator import Generator
from understudy.generators.load import load_generator
from understudy.generators.mini import glyphs
from understudy.generators.settings import GeneratorSettings


def generator_of(**changes):
    return load_generator(GeneratorSettings(name="glyphs", **changes), device="cpu")


def row(name, seed, **changes):
    return plan_row(id=f"{name}-{seed}", class_name=name, seed=seed, **changes)


def test_it_fulfils_the_contract():
    generator = generator_of()
    assert missing(generator, Generator) == []
    assert generator.image_size == 32
    assert generator.strength_at(1.0, sampler="unipc", steps=20) == 1
    generator.check_prompts(["a cat " * 100], keep_last=True)
    generator.learn_classes(["a", "b"], seed=0)
    assert generator.fingerprint == generator_of(resolution=16).fingerprint


def test_it_renders_the_character_of_the_class_as_pretraining_does():
    drawn = generator_of().draw([row("digit 3", 7), row("letter a", 7), row("3", 8)])
    assert drawn.shape == (3, 3, 32, 32)
    for image, character, seed in zip(drawn, "3a3", (7, 7, 8), strict=True):
        expected = glyphs.render(glyphs.random_glyph(np.random.default_rng(seed), character))
        np.testing.assert_array_equal(image, expected.transpose(2, 0, 1))


def test_the_seed_decides_the_image_and_the_batch_does_not():
    generator = generator_of(resolution=16)
    rows = [row("digit 3", seed) for seed in range(4)]
    together = generator.draw(rows)
    assert together.shape == (4, 3, 16, 16)
    np.testing.assert_array_equal(together, np.concatenate([generator.draw([one]) for one in rows]))
    assert len({image.tobytes() for image in together}) == 4


def test_prompt_and_solver_have_no_effect():
    one = row("digit 3", 1)
    other = replace(one, prompt="something else", steps=50, guidance_scale=5.0)
    np.testing.assert_array_equal(generator_of().draw([one]), generator_of().draw([other]))


@pytest.mark.parametrize("names", [["digit 3", "cat"], ["digit 10"], [""]])
def test_other_classes_are_refused_by_name(names):
    with pytest.raises(InputError, match="must be printed characters, such as .digit 3.*: rename them, or"):
        generator_of().available(names)


def test_what_needs_a_network_is_refused():
    with pytest.raises(InputError, match="cannot start from real images"):
        generator_of().draw([row("digit 3", 0, strength=0.5)])
    with pytest.raises(InputError, match="cannot start from real images"):
        generator_of().strength_at(0.5, sampler="unipc", steps=20)
    with pytest.raises(InputError, match="guidance needs encoders, which rendered characters"):
        generator_of().draw([row("digit 3", 0)], tokens=torch.zeros(1, 4))
    with pytest.raises(InputError, match=r"generator\.precision has no effect"):
        generator_of(precision="bfloat16")
