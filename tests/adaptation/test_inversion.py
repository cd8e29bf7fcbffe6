"""Learned tokens: what they change, what they see, and who can load them."""

import json
from itertools import pairwise

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate.hooks import CpuOffload
from diffusers import StableDiffusionPipeline
from tiny import captioned, plan_row, save_tiny_sdxl, two_classes
from tiny_adapt import NAMES, adapt_settings, adapting, drawn_plainly, first_of

from understudy.adaptation.adapter import (
    adapter_fingerprint,
    apply_adapter,
    check_tokens,
    read_adapter_report,
)
from understudy.adaptation.held_out import held_out_losses
from understudy.adaptation.inputs import AdaptData, Inputs
from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import min_snr_weight
from understudy.generators.learned_tokens import LearnedEmbedding
from understudy.generators.load import mini_folder
from understudy.generators.memory import Offload
from understudy.generators.settings import VisualSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.generators.stable_diffusion_xl import StableDiffusionXLGenerator

THREE = {"token": "s*", "num_vectors": 3}
STYLE = {
    "method": "style-inversion",
    "prompt": "A {class} photo in the style of {token}",
    "learning_rate": 0.1,
}


def settings(**changes):
    return adapt_settings(**STYLE | changes)


def run(folder, train, val, out, *, steps=None, generator=None, **changes):
    """Adapt a fresh generator, and return it with its steps; stops after ``steps``, as when it is killed."""
    generator = StableDiffusionGenerator.load(str(folder), **(generator or {}))
    return generator, first_of(adapting(generator, train, val, out, **STYLE | changes), steps)


def stored(folder):
    return safetensors.torch.load_file(folder / "learned_embeds.safetensors")


def weights(generator):
    networks = ("vae", "unet", "text_encoder", "image_encoder")
    return {
        f"{name}.{key}": value.clone()
        for name in networks
        for key, value in generator.pipeline.components[name].state_dict().items()
    }


def row(prompt, *, seed=5):
    drawn = {"negative_prompt": "blurry", "sampler": "ddim", "steps": 3, "guidance_scale": 2.0}
    return plan_row(prompt=prompt, seed=seed, **drawn)


def test_nothing_but_the_rows_of_the_token_changes(tiny_pipeline_folder, train, val, tmp_path):
    before = weights(StableDiffusionGenerator.load(str(tiny_pipeline_folder)))
    generator, records = run(tiny_pipeline_folder, train, val, tmp_path)
    after = weights(generator)
    table = next(name for name in before if name.endswith("token_embedding.weight"))
    rows, vocabulary = after.pop(table), before.pop(table)
    assert torch.equal(rows[:-1], vocabulary)
    assert not any(torch.equal(rows[-1], old) for old in vocabulary)
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert not any(parameter.requires_grad for parameter in generator.pipeline.text_encoder.parameters())
    assert [record.step for record in records] == [1, 2, 3, 4, 5, 6]

    (learned,) = stored(tmp_path).values()
    assert torch.equal(learned, rows[-1:])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tokens"] == ["S*"]
    assert report["trained_parameters"] == 16
    assert report["val_loss_after"] < report["val_loss_before"]
    loaded = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    state = torch.random.get_rng_state()
    apply_adapter(loaded, tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert loaded.fingerprint == generator.fingerprint
    assert not any(parameter.requires_grad for parameter in loaded.pipeline.text_encoder.parameters())


def inputs_of(generator, train, **changes):
    val = two_classes(4, split="val")
    data = AdaptData(train=train, val=val, prompt_names=NAMES)
    return Inputs(generator, data, settings=settings(**changes), guidance=None)


@pytest.mark.parametrize("method", ["style-inversion", "textual-inversion"])
def test_a_batch_is_of_one_class_and_all_classes_come_equally_often(method, tiny_generator):
    train = two_classes(12).select([0, 2, 4, 6, 8, 10, 1])  # six cats and a dog
    METHODS[method](tiny_generator, settings(method=method), seed=0, num_classes=2)
    inputs, chosen = inputs_of(tiny_generator, train, method=method, augmentation="none"), []
    for step in range(120):
        batch = inputs.train_batch(torch.Generator().manual_seed(step))
        (label,) = batch.labels.unique().tolist()
        token = {"style-inversion": "S*", "textual-inversion": f"S*-{label}"}[method]
        assert set(batch.prompts) == {f"A {NAMES[label]} photo in the style of {token}"}
        assert len(batch.labels) == 4
        assert len(batch.pixels.unique(dim=0)) == (1 if label else 4), (
            "images come again only where there are too few"
        )
        assert batch.conditioning is None
        chosen.append(label)
    assert 40 < sum(chosen) < 80, "60 +- 3.6 standard deviations"


@pytest.mark.parametrize(
    "changes", [{}, THREE, {"method": "textual-inversion"}, {"method": "textual-inversion", **THREE}]
)
def test_plain_diffusers_loads_it_and_draws_the_same(changes, tiny_pipeline_folder, train, val, tmp_path):
    generator, _ = run(tiny_pipeline_folder, train, val, tmp_path, **changes)
    tokens = settings(**changes).tokens(2)
    ours, plain = (
        StableDiffusionGenerator.load(str(tiny_pipeline_folder)),
        StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder),
    )
    prompt = f"A cat photo in the style of {tokens[1]}"
    without = ours.draw([row(prompt)])[0]
    apply_adapter(ours, tmp_path)
    if tokens[0] == tokens[1]:
        plain.load_textual_inversion(tmp_path)
    else:
        plain.load_textual_inversion([{name: value} for name, value in stored(tmp_path).items()])
    drawn = ours.draw([row(prompt)])[0]
    assert np.array_equal(drawn, drawn_plainly(plain, ours, row(prompt)))
    assert np.array_equal(drawn, generator.draw([row(prompt)])[0])
    assert not np.array_equal(drawn, without)
    written = ours.pipeline.maybe_convert_prompt(prompt, ours.pipeline.tokenizer)
    assert written == (
        prompt if len(changes) < 2 else prompt.replace(tokens[1], f"{tokens[1]} {tokens[1]}_1 {tokens[1]}_2")
    )
    assert {name: tuple(value.shape) for name, value in stored(tmp_path).items()} == {
        name: (settings(**changes).num_vectors, 16) for name in tokens
    }


def test_plain_diffusers_draws_with_mini_what_we_draw(tmp_path):
    ours = StableDiffusionGenerator.load(str(mini_folder()))
    (rows,) = METHODS["style-inversion"](ours, settings(**THREE), seed=0, num_classes=10)
    with torch.no_grad():
        rows += 0.1 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    ours.save_adapter(tmp_path, method="style-inversion")
    plain = StableDiffusionPipeline.from_pretrained(mini_folder(), safety_checker=None)
    plain.load_textual_inversion(tmp_path)
    prompt = "A digit 3 photo in the style of s*"
    assert np.array_equal(ours.draw([row(prompt)])[0], drawn_plainly(plain, ours, row(prompt)))


def test_a_class_without_images_leaves_its_token_as_it_was(tiny_pipeline_folder, train, val, tmp_path):
    """The optimiser neither decays it nor moves it on; one class of the two has images."""
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    initial = (
        METHODS["textual-inversion"](generator, settings(method="textual-inversion"), seed=0, num_classes=2)[
            0
        ]
        .detach()
        .clone()
    )
    cats = train.select([0, 2, 4, 6])
    run(
        tiny_pipeline_folder,
        cats,
        val,
        tmp_path,
        method="textual-inversion",
        prompt="a photo in the style of {token}",
    )
    learned = stored(tmp_path)
    assert torch.equal(learned["S*-1"], initial)
    assert not torch.equal(learned["S*-0"], initial)


def test_a_neutral_token_is_the_initial_word(tiny_pipeline_folder, train, val, tmp_path):
    generator, records = run(
        tiny_pipeline_folder, train, val, tmp_path, method="neutral-token", initial_word="a dog", **THREE
    )
    assert records == []
    tokenizer, vocabulary = (
        generator.pipeline.tokenizer,
        generator.pipeline.text_encoder.get_input_embeddings().weight,
    )
    ids = tokenizer("a dog", add_special_tokens=False).input_ids
    assert len(ids) == 2
    assert torch.equal(stored(tmp_path)["s*"], vocabulary[ids].mean(dim=0).expand(3, -1))
    report = read_adapter_report(tmp_path)
    assert (report["steps"], report["best_step"], report["trained_parameters"]) == (0, 0, 0)
    assert report["val_loss_before"] == report["val_loss_after"]
    run(tiny_pipeline_folder, train, val, tmp_path / "trained", initial_word="a dog", **THREE)
    assert read_adapter_report(tmp_path / "trained")["val_loss_before"] == report["val_loss_before"], (
        "where training begins"
    )


def test_one_token_of_one_word_reads_like_the_word(tiny_generator):
    METHODS["neutral-token"](tiny_generator, settings(initial_word="a"), seed=0, num_classes=2)
    states = tiny_generator.encode_prompts(["cat S* dog", "cat a dog"]).states
    torch.testing.assert_close(states[0], states[1])


@pytest.mark.parametrize("changes", [{}, {"method": "textual-inversion"}])
def test_a_stopped_run_ends_with_the_same_embedding(changes, tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path / "whole", **changes)
    run(tiny_pipeline_folder, train, val, tmp_path / "stopped", steps=5, **changes)
    assert not (tmp_path / "stopped" / "report.json").exists()
    _, records = run(tiny_pipeline_folder, train, val, tmp_path / "stopped", **changes)
    assert records[0].step == 5, "goes on after the last checkpoint"
    whole, stopped = stored(tmp_path / "whole"), stored(tmp_path / "stopped")
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())
    assert adapter_fingerprint(tmp_path / "whole") == adapter_fingerprint(tmp_path / "stopped")


def test_only_the_images_that_it_is_given_are_looked_at(tiny_pipeline_folder, val, tmp_path, monkeypatch):
    """Two shots of a larger set. Validation images choose the checkpoint, and no more."""
    shots = two_classes(12).select([0, 1, 4, 5])
    pixels, looked_at = LabelledSet.pixels, []
    monkeypatch.setattr(
        LabelledSet,
        "pixels",
        lambda data, size: looked_at.append((data.split, set(data.ids))) or pixels(data, size),
    )
    _, records = run(tiny_pipeline_folder, shots, val, tmp_path / "few")
    train_ids = {name for split, ids in looked_at if split == "train" for name in ids}
    assert train_ids == set(shots.ids)
    assert {split for split, _ in looked_at} == {"train", "val"}
    assert {name for split, ids in looked_at if split == "val" for name in ids} <= set(val.ids)

    # Other validation images: the same steps, bit for bit; only which of them is kept may differ.
    _, others = run(
        tiny_pipeline_folder, shots, two_classes(4, split="val", seed=7), tmp_path / "other", validate_every=6
    )
    assert [record.loss for record in records] == [record.loss for record in others]


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_learns_a_token_in_full_precision(
    precision, tiny_pipeline_folder, train, val, tmp_path
):
    half = {"precision": precision}
    generator, records = run(
        tiny_pipeline_folder, train, val, tmp_path / "half", generator=half, steps=3, micro_batch=2
    )
    _, expected = run(tiny_pipeline_folder, train, val, tmp_path / "full", steps=3)
    assert [record.loss for record in records] == pytest.approx(
        [record.loss for record in expected], rel=0.03
    )
    embedding = generator.pipeline.text_encoder.get_input_embeddings()
    assert isinstance(embedding, LearnedEmbedding)
    assert {rows.dtype for rows in embedding.rows} == {torch.float32}
    assert embedding.vocabulary.weight.dtype == getattr(torch, precision)


def test_slices_of_a_batch_give_what_the_batch_gives(tiny_pipeline_folder, train, val, tmp_path):
    rare = {"validate_every": 9, "checkpoint_every": 9}
    losses = [
        [
            record.loss
            for record in run(
                tiny_pipeline_folder,
                train,
                val,
                tmp_path,
                steps=2,
                micro_batch=size,
                distribution=term,
                **rare,
            )[1]
        ]
        for term in ("none", "class-mean")
        for size in (None, 1)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[2] == pytest.approx(losses[3], rel=1e-4)
    assert losses[0] != losses[2]


def test_captions_and_image_features_go_with_a_token(tiny_pipeline_folder, train, val, tmp_path):
    described = [captioned(data, [f"sits {number}" for number in range(len(data))]) for data in (train, val)]
    job = {
        "prompt": "{class}, {caption}, {token}",
        "visual": VisualSettings(kind="per-image", projection=True),
        "steps": 3,
    }
    _, guided = run(tiny_pipeline_folder, *described, tmp_path / "a", **job)
    _, plain = run(tiny_pipeline_folder, *described, tmp_path / "b", **job | {"visual": None})
    assert len(guided) == len(plain) == 3
    assert guided[0].loss != plain[0].loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"token": "x"},
            "adapt.token must be new to the tokenizer, got 'x', which is in its vocabulary: try '<x>'",
        ),
        ({"token": "<|endoftext|>"}, "must be new to the tokenizer"),
        ({"initial_word": " "}, "adapt.initial_word must be a word, got ' ', which has no token"),
        (
            {"num_vectors": 2},
            (
                r"2, adapt.token must be spelled as the tokenizer writes it, 's\*', got "
                r"'S\*': diffusers would"
            ),
        ),
        ({"prompt": "a photo of {class}"}, r"a prompt must have \{token\}, got 'a photo of \{class\}'"),
        ({"prompt": "photographs"}, r"a prompt must have \{token\}, got 'a photo of \{class\}'"),
        ({"prompt": "{token}"}, r"a prompt must have \{class\}"),
        (
            {"prompt": "{class} s* {token}"},
            r"adapt.token must not occur in class names, captions or other text of a prompt, got 'S\*' in",
        ),
        (
            {"token": "s*", "num_vectors": 20},
            r"a prompt must have at most 24 tokens, .*, got \d\d for 'A a cat photo in the style of s\*'",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused(changes, message, tiny_pipeline_folder, train, val, tmp_path):
    with pytest.raises(InputError, match=message):
        run(tiny_pipeline_folder, train, val, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_names_that_a_loaded_adapter_takes(tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path)
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    generator.load_adapter(tmp_path, method="style-inversion")
    with pytest.raises(InputError, match=r"must be new to the tokenizer, got 'S\*'"):
        generator.load_adapter(tmp_path, method="style-inversion")
    fresh = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    with pytest.raises(InputError, match=r"draw.adapter_scale must be 1 for learned tokens, got 0.5"):
        fresh.load_adapter(tmp_path, method="style-inversion", scale=0.5)
    with pytest.raises(
        InputError, match="but learned_embeds.safetensors in it is missing: copy the whole folder"
    ):
        fresh.load_adapter(tmp_path / "nowhere", method="textual-inversion")
    check_tokens(tmp_path, ("S*", "S*"))
    with pytest.raises(
        InputError, match=r"was made with the tokens S\*, but this run has no learned token: use the same"
    ):
        check_tokens(tmp_path, ("", ""))
    with pytest.raises(
        InputError,
        match=r"made with the tokens S\*, but this run has the tokens S\*-0, S\*-1, S\*-2, S\*-3: use",
    ):
        check_tokens(tmp_path, [f"S*-{label}" for label in range(4)])


def test_families_with_several_text_encoders_refuse(train, val, tmp_path):
    save_tiny_sdxl(tmp_path / "xl")
    generator = StableDiffusionXLGenerator.load(str(tmp_path / "xl"))
    with pytest.raises(
        InputError,
        match="needs a pipeline whose only text encoder is CLIP, .*, got StableDiffusionXLPipeline: choose",
    ):
        next(adapting(generator, train, val, tmp_path / "out", **STYLE))


def test_offloading_leaves_the_text_encoder_while_a_token_is_learned(
    tiny_pipeline_folder, train, val, tmp_path
):
    """Parts that wait on the CPU while the device is the CPU too: which of them have hooks is what counts."""
    run(tiny_pipeline_folder, train, val, tmp_path)

    def offloaded():
        generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
        generator._offload = Offload(
            [generator.pipeline.text_encoder, generator.pipeline.vae], torch.device("cpu")
        )
        return generator

    def hooked(generator):
        hooks = {
            name: getattr(generator.pipeline.components[name], "_hf_hook", None)
            for name in ("text_encoder", "vae")
        }
        return [name for name, hook in hooks.items() if isinstance(hook, CpuOffload)]

    learning, loading = offloaded(), offloaded()
    assert hooked(learning) == ["text_encoder", "vae"]
    METHODS["style-inversion"](learning, settings(), seed=0, num_classes=2)
    assert hooked(learning) == ["vae"]
    apply_adapter(loading, tmp_path)
    assert hooked(loading) == ["text_encoder", "vae"]
    plain = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    apply_adapter(plain, tmp_path)
    assert np.array_equal(loading.draw([row("a cat S*")]), plain.draw([row("a cat S*")]))


def test_held_out_losses_compare_adapters_in_pairs(tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path)
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    apply_adapter(generator, tmp_path)
    job = {"prompt_names": NAMES, "repeats": 4}
    first = held_out_losses(generator, val, settings=settings(), seed=0, **job)
    assert first.shape == (4,)
    assert first.dtype == np.float64
    sliced = held_out_losses(generator, val, settings=settings(micro_batch=3), seed=0, **job)
    np.testing.assert_allclose(first, sliced, rtol=1e-4)
    assert not np.allclose(first, held_out_losses(generator, val, settings=settings(), seed=1, **job))
    same = held_out_losses(
        StableDiffusionGenerator.load(str(tiny_pipeline_folder)), val, settings=AdaptSettings(), seed=0, **job
    )
    # Nearly all of the difference between images is in the noise, which both have in common.
    assert np.abs(first - same).max() < 0.2 * np.ptp([*first, *same]) + 0.2 * first.mean()
    with pytest.raises(
        InputError, match="measuring the loss on held-out images needs a val or test set, got a train set"
    ):
        held_out_losses(generator, train, settings=settings(), seed=0, **job)


def test_the_loss_of_held_out_images_is_that_of_the_noise(tiny_generator, val, monkeypatch):
    """A denoiser that is off by one everywhere has loss 1; timesteps lie one in each part of the schedule."""
    times = []

    def off_by_one(x0, eps, t, conditioning):
        times.append(t)
        return torch.ones_like(x0)

    monkeypatch.setattr(tiny_generator, "denoising_residual", off_by_one)
    losses = held_out_losses(
        tiny_generator, val, prompt_names=NAMES, settings=AdaptSettings(), seed=0, repeats=4
    )
    np.testing.assert_allclose(losses, 1.0, rtol=1e-5)
    assert all((later > earlier).all() for earlier, later in pairwise(times))
    assert [set((t // 250).tolist()) for t in times] == [{0}, {1}, {2}, {3}]


def test_the_gradient_of_a_token_is_that_of_the_loss_written_out(tiny_generator, train):
    """The gradient of a row is the one that writing the loss out gives."""
    (rows,) = METHODS["style-inversion"](tiny_generator, settings(), seed=0, num_classes=2)
    x0 = tiny_generator.encode_images(torch.from_numpy(train.pixels(16)[:2]))
    eps, t = torch.ones_like(x0), torch.tensor([10, 700])

    def loss():
        conditioning = tiny_generator.encode_prompts(["a S* cat", "S*"], gradients=True)
        residual = tiny_generator.denoising_residual(x0, eps, t, conditioning)
        weight = min_snr_weight(tiny_generator.snr[t], 5.0)
        return (weight * residual.square().flatten(1).mean(dim=1)).mean()

    loss().backward()
    gradient, step = rows.grad[0].clone(), 1e-2
    direction = gradient / gradient.norm()
    with torch.no_grad():
        rows += step * direction
        above = loss()
        rows -= 2 * step * direction
        below = loss()
    assert ((above - below) / (2 * step)).item() == pytest.approx(gradient.norm().item(), rel=0.05)
    assert not tiny_generator.encode_prompts(["S*"]).states.requires_grad
