import hashlib
import itertools
import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from pydantic import ValidationError
from tiny import captioned, plan_row, save_tiny_image_encoder, two_classes
from tiny_adapt import adapt_settings, adapting, drawn_plainly, first_of
from torch import nn

from understudy.adaptation import state
from understudy.adaptation.adapter import (
    adapter_fingerprint,
    apply_adapter,
    copy_adapter,
    load_projection,
    read_adapter_report,
)
from understudy.adaptation.inputs import step_seed
from understudy.adaptation.methods import METHODS
from understudy.adaptation.settings import AdaptSettings
from understudy.adaptation.state import State
from understudy.core.errors import InputError
from understudy.functional.weight_average import power_exponent
from understudy.generators.settings import VisualSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator

settings = partial(adapt_settings, rank=2)


def run(folder, train, val, out, *, steps=None, generator=None, **changes):
    """Adapt a fresh generator; stops after ``steps`` steps, as when it is killed."""
    generator = StableDiffusionGenerator.load(str(folder), **(generator or {}))
    return first_of(adapting(generator, train, val, out, **{"rank": 2} | changes), steps)


@pytest.mark.parametrize("method", [name for name in METHODS if AdaptSettings(method=name).num_steps])
def test_the_loss_on_held_out_images_falls(method, tiny_pipeline_folder, train, val, tmp_path):
    prompt = (
        "a {class} photo in the style of {token}"
        if AdaptSettings(method=method).has_token
        else "a photo of {class}"
    )
    records = run(tiny_pipeline_folder, train, val, tmp_path, method=method, prompt=prompt, steps=None)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [record.step for record in records] == list(range(1, 7))
    assert report["val_loss_after"] < report["val_loss_before"]
    assert [step for step, _ in report["curve"]] == [0, 2, 4, 6]
    assert report["val_loss_after"] == min(loss for _, loss in report["curve"])
    assert report["fingerprint"] == adapter_fingerprint(tmp_path)


def test_full_trains_more_than_lora(tiny_generator):
    counts = {}
    for method in ("lora", "full"):
        parameters = METHODS[method](tiny_generator, settings(method=method), seed=0, num_classes=2)
        counts[method] = sum(parameter.numel() for parameter in parameters)
    assert 0 < counts["lora"] < counts["full"]


def test_attention_alone_is_less_than_attention_and_convolutions(tiny_pipeline_folder):
    counts = [
        sum(
            p.numel()
            for p in METHODS["lora"](
                StableDiffusionGenerator.load(str(tiny_pipeline_folder)),
                settings(targets=targets),
                seed=0,
                num_classes=2,
            )
        )
        for targets in (("attention",), ("attention", "convolutions"))
    ]
    assert 0 < counts[0] < counts[1]


def test_a_stopped_run_ends_with_the_same_weights(tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path / "whole", method="full")
    run(tiny_pipeline_folder, train, val, tmp_path / "stopped", method="full", steps=5)
    assert not (tmp_path / "stopped" / "report.json").exists()
    resumed = run(tiny_pipeline_folder, train, val, tmp_path / "stopped", method="full")
    assert resumed[0].step == 5, "goes on after the last checkpoint"
    assert adapter_fingerprint(tmp_path / "whole") == adapter_fingerprint(tmp_path / "stopped")


def test_slow_steps_are_saved_after_a_minute_and_then_every_ten(
    tiny_pipeline_folder, train, val, tmp_path, monkeypatch
):
    """Each reading of the clock is 200 seconds later, and the same weights come out."""
    seconds = itertools.count(0, 200)
    monkeypatch.setattr(state, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    saved = []
    monkeypatch.setattr(State, "save", _noting(State.save, saved))
    rarely = {"method": "full", "checkpoint_every": 10**6}
    run(tiny_pipeline_folder, train, val, tmp_path / "stopped", **rarely, steps=5)
    assert saved == [1, 4]
    monkeypatch.undo()
    resumed = run(tiny_pipeline_folder, train, val, tmp_path / "stopped", **rarely)
    assert resumed[0].step == 5
    run(tiny_pipeline_folder, train, val, tmp_path / "whole", method="full")
    assert adapter_fingerprint(tmp_path / "whole") == adapter_fingerprint(tmp_path / "stopped")


def _noting(save, saved):
    def noting(self):
        saved.append(self.step)
        save(self)

    return noting


def test_the_best_or_the_last_weights_are_kept(tiny_pipeline_folder, train, val, tmp_path):
    """A rate that makes the loss worse, so that the best weights are the unchanged ones."""
    reports = {}
    for keep in ("best", "last"):
        run(tiny_pipeline_folder, train, val, tmp_path / keep, method="full", learning_rate=10.0, keep=keep)
        reports[keep] = json.loads((tmp_path / keep / "report.json").read_text())
    curve = reports["best"]["curve"]
    assert reports["last"]["curve"] == curve
    assert curve[-1][1] > curve[0][1]
    assert reports["best"]["best_step"] < reports["last"]["best_step"] == 6
    assert reports["last"]["val_loss_after"] == curve[-1][1]
    assert reports["best"]["fingerprint"] != reports["last"]["fingerprint"]


def test_the_seed_decides_and_the_global_generator_does_not(tiny_pipeline_folder, train, val, tmp_path):
    losses = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        state = torch.random.get_rng_state()
        losses[name] = [
            record.loss
            for record in run(
                tiny_pipeline_folder, train, val, tmp_path / name, seed=seed, method="lora", steps=2
            )
        ]
        assert torch.equal(state, torch.random.get_rng_state())
        torch.rand(3)
    assert losses["a"] == losses["b"] != losses["c"]


def test_captions_and_labels_matter(tiny_pipeline_folder, train, val, tmp_path):
    plain = run(tiny_pipeline_folder, train, val, tmp_path / "a", method="full", caption_dropout=0.0)
    other = run(
        tiny_pipeline_folder,
        train,
        val,
        tmp_path / "b",
        method="full",
        caption_dropout=0.0,
        prompt="{class} {class} {class}",
    )
    assert plain[0].loss != other[0].loss


def test_a_batch_larger_than_the_set(tiny_pipeline_folder, train, val, tmp_path):
    assert (
        len(run(tiny_pipeline_folder, train.select([0, 1, 2]), val, tmp_path, method="lora", batch_size=8))
        == 6
    )


def test_only_train_and_val_are_seen(tiny_generator, train, val, tmp_path):
    with pytest.raises(InputError, match="adapting a generator needs a train set, got a test set"):
        next(adapting(tiny_generator, train.with_split("test"), val, tmp_path))
    with pytest.raises(InputError, match="choosing the checkpoint .* needs a val set, got a test set"):
        next(adapting(tiny_generator, train, val.with_split("test"), tmp_path))
    assert not list(tmp_path.iterdir())


def test_none_and_unknown_methods(tiny_generator, train, val, tmp_path):
    with pytest.raises(InputError, match="adapt.method 'none' trains nothing"):
        next(adapting(tiny_generator, train, val, tmp_path, method="none"))
    with pytest.raises(
        InputError,
        match="unknown adaptation method 'dreambooth'; known: full, lora, neutral-token, none, style-",
    ):
        next(adapting(tiny_generator, train, val, tmp_path, method="dreambooth"))


def test_full_needs_full_precision(tiny_generator):
    with pytest.raises(InputError, match="'full' needs generator.precision float32, got bfloat16"):
        tiny_generator.denoiser.to(torch.bfloat16)
        METHODS["full"](tiny_generator, settings(method="full"), seed=0, num_classes=2)


def test_a_loss_that_is_not_finite_stops(tiny_generator, train, val, tmp_path):
    with torch.no_grad():
        next(iter(tiny_generator.denoiser.parameters())).fill_(np.nan)
    with pytest.raises(InputError, match="lower adapt.learning_rate"):
        list(adapting(tiny_generator, train, val, tmp_path, method="full"))


def plain_losses(folder, train, *, steps):
    """Plain LoRA fine-tuning with peft, AdamW and min-SNR weights; random numbers as in :func:`adapt`."""
    generator = StableDiffusionGenerator.load(str(folder))
    unet, scheduler = generator.pipeline.unet, generator.pipeline.scheduler
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights="gaussian", target_modules=targets))
    parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1e-2)
    texts = generator.encode_prompts(["a photo of a cat", "a photo of a dog"]).states
    losses = []
    for step in range(steps):
        rng = torch.Generator().manual_seed(step_seed(0, step))
        index = torch.randperm(len(train), generator=rng)[:4]
        torch.rand(4, generator=rng)  # decides which captions are dropped: none here
        x0 = generator.encode_images(torch.from_numpy(train.pixels(16))[index])
        eps = torch.randn(x0.shape, generator=rng)
        t = torch.randint(1000, (4,), generator=rng)
        states = texts[torch.from_numpy(train.labels)[index]]
        predicted = unet(scheduler.add_noise(x0, eps, t), t, encoder_hidden_states=states).sample
        alpha_bar = scheduler.alphas_cumprod[t]
        snr = alpha_bar / (1 - alpha_bar)
        loss = (snr.clamp(max=5) / snr * (predicted - eps).square().flatten(1).mean(dim=1)).mean()
        losses.append(loss.item())
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (step + 1) / 20
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def test_everything_new_switched_off_is_plain_fine_tuning(tiny_pipeline_folder, train, val, tmp_path):
    """Bit for bit what the defaults give, and what a loop written out with peft and diffusers gives.

    The loop agrees up to rounding, because it encodes images batch by batch.
    """
    plain = {"method": "lora", "targets": ("attention",), "augmentation": "none", "caption_dropout": 0.0}
    off = {"distribution": "none", "micro_batch": None, "alpha": None, "distribution_weight": None}
    one = run(tiny_pipeline_folder, train, val, tmp_path / "one", **plain)
    other = run(
        tiny_pipeline_folder,
        train,
        val,
        tmp_path / "other",
        visual=VisualSettings(kind="none"),
        **plain,
        **off,
    )
    assert one == other
    assert adapter_fingerprint(tmp_path / "one") == adapter_fingerprint(tmp_path / "other")
    expected = plain_losses(tiny_pipeline_folder, train, steps=6)
    assert [record.loss for record in one] == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def wide_encoder(tmp_path_factory):
    """An image encoder whose features are wider than the text states."""
    folder = tmp_path_factory.mktemp("encoder")
    save_tiny_image_encoder(folder, width=24)
    return {"image_encoder": str(folder)}


@pytest.mark.parametrize("kind", ["class-mean", "per-image", "sampled"])
def test_guided_adaptation_learns_and_keeps_nothing_but_the_adapter(
    kind, tiny_pipeline_folder, train, val, tmp_path
):
    """The encoder of the pipeline has features as wide as the text states."""
    records = run(
        tiny_pipeline_folder,
        train,
        val,
        tmp_path,
        visual=VisualSettings(kind=kind, images=2),
        method="lora",
        steps=4,
    )
    assert load_projection(tmp_path) is None
    plain = run(tiny_pipeline_folder, train, val, tmp_path / "plain", method="lora", steps=1)
    assert records[0].loss != plain[0].loss


@pytest.mark.slow
def test_a_projection_is_learnt_and_a_stopped_run_ends_with_the_same(
    tiny_pipeline_folder, train, val, tmp_path, wide_encoder
):
    job = {
        "visual": VisualSettings(kind="sampled", projection=True),
        "generator": wide_encoder,
        "method": "lora",
        "micro_batch": 3,
        "validation_pairs": 4,
    }
    run(tiny_pipeline_folder, train, val, tmp_path / "whole", **job)
    run(tiny_pipeline_folder, train, val, tmp_path / "stopped", steps=5, **job)
    assert run(tiny_pipeline_folder, train, val, tmp_path / "stopped", **job)[0].step == 5
    assert adapter_fingerprint(tmp_path / "whole") == adapter_fingerprint(tmp_path / "stopped")

    projection = load_projection(tmp_path / "whole")
    assert (projection.in_features, projection.out_features) == (24, 16)
    assert not any(parameter.requires_grad for parameter in projection.parameters())
    torch.manual_seed(0)
    initial = torch.nn.Linear(24, 16)
    assert not torch.equal(projection.weight, initial.weight), "it was trained"
    assert (projection.weight - initial.weight).abs().max() < 0.1, "from where the seed puts it"
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder), **wide_encoder)
    apply_adapter(
        generator, tmp_path / "whole"
    )  # the file with the projection is not mistaken for the adapter


def test_features_that_do_not_fit_are_refused_before_anything_is_done(
    tiny_pipeline_folder, train, val, tmp_path, wide_encoder
):
    with pytest.raises(
        InputError, match=r"state of width 16 by an image feature of width 24: .*visual.projection=true"
    ):
        run(
            tiny_pipeline_folder,
            train,
            val,
            tmp_path / "out",
            visual=VisualSettings(kind="per-image"),
            generator=wide_encoder,
        )
    assert not (tmp_path / "out").exists()


def weights(folder):
    return safetensors.torch.load_file(folder / "pytorch_lora_weights.safetensors")


@pytest.mark.slow
def test_alpha_scales_the_update_and_plain_diffusers_draws_the_same(
    tiny_pipeline_folder, train, val, tmp_path
):
    """The default alpha is the rank; another alpha also counts when plain diffusers loads the adapter."""
    for name, alpha in (("default", None), ("equal", 2), ("large", 8)):
        run(
            tiny_pipeline_folder,
            train,
            val,
            tmp_path / name,
            method="lora",
            alpha=alpha,
            learning_rate=0.1,
            validate_every=6,
            validation_pairs=4,
        )
    default, equal, large = (weights(tmp_path / name) for name in ("default", "equal", "large"))
    assert all(torch.equal(value, equal[name]) for name, value in default.items())
    assert not all(torch.equal(value, large[name]) for name, value in default.items())

    ours = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    row = plan_row(seed=5, sampler="ddim", steps=3, guidance_scale=2.0)
    untouched = ours.draw([row])[0]
    apply_adapter(ours, tmp_path / "large")
    plain = StableDiffusionPipeline.from_pretrained(tiny_pipeline_folder)
    plain.load_lora_weights(tmp_path / "large")
    drawn = ours.draw([row])[0].astype(int)
    # Merged into the weights, or added at every step: that rounds differently.
    assert np.abs(drawn - drawn_plainly(plain, ours, row)).max() <= 1
    assert np.abs(drawn - untouched).max() > 2


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.slow
def test_half_precision_learns_with_lora(precision, tiny_pipeline_folder, train, val, tmp_path):
    """Losses agree with float32 to the digits that half precision has; what is trained stays float32."""
    half = {"precision": precision}
    job = {
        "method": "lora",
        "distribution": "batch-mean",
        "micro_batch": 2,
        "steps": 2,
        "visual": VisualSettings(kind="per-image"),
    }
    losses = [
        record.loss
        for record in run(tiny_pipeline_folder, train, val, tmp_path / "half", generator=half, **job)
    ]
    expected = [record.loss for record in run(tiny_pipeline_folder, train, val, tmp_path / "full", **job)]
    assert losses == pytest.approx(expected, rel=0.03)
    state = torch.load(tmp_path / "half" / "checkpoint.pt", weights_only=True)
    assert {value.dtype for value in state["parameters"]} == {torch.float32}
    assert any((value != 0).any() for name, value in enumerate(state["parameters"]) if name % 2), (
        "the second factors began as zeros"
    )
    assert ("scale" in state["scaler"]) == (precision == "float16")


def test_gradient_checkpointing_learns_the_same(tiny_pipeline_folder, train, val, tmp_path):
    losses = [
        [
            record.loss
            for record in run(
                tiny_pipeline_folder,
                train,
                val,
                tmp_path / str(on),
                generator={"gradient_checkpointing": on},
                steps=3,
            )
        ]
        for on in (False, True)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_an_adapter_of_another_generator_is_refused(tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path, method="lora", rank=1)
    other = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    base = other.fingerprint
    with torch.no_grad():
        next(other.denoiser.parameters()).add_(1e-3)
    before = other.fingerprint
    with pytest.raises(
        InputError,
        match=f"for a generator with fingerprint {base}, but this one has {before}: use the generator",
    ):
        apply_adapter(other, tmp_path)
    assert other.fingerprint == before


def test_a_copied_adapter_is_whole_and_leaves_checkpoints_behind(tiny_pipeline_folder, train, val, tmp_path):
    run(tiny_pipeline_folder, train, val, tmp_path / "from", method="full", steps=3)
    with pytest.raises(InputError, match=r"from holds no finished adapter: report.json is missing"):
        copy_adapter(tmp_path / "from", tmp_path / "to")
    assert not (tmp_path / "to").exists()
    run(tiny_pipeline_folder, train, val, tmp_path / "from", method="full")
    (tmp_path / "from" / ".report.json.tmp").write_text("half")
    copy_adapter(tmp_path / "from", tmp_path / "to")
    copy_adapter(tmp_path / "from", tmp_path / "to")
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["images.json", "report.json", "unet"]
    assert read_adapter_report(tmp_path / "to") == read_adapter_report(tmp_path / "from")
    assert adapter_fingerprint(tmp_path / "to") == read_adapter_report(tmp_path / "to")["fingerprint"]
    apply_adapter(StableDiffusionGenerator.load(str(tiny_pipeline_folder)), tmp_path / "to")


def test_layers_that_do_not_exist_are_named(tiny_generator):
    with pytest.raises(
        InputError,
        match="adapt.targets must be attention, convolutions or endings of the denoiser's module names, "
        "got 'mlp.fc7'",
    ):
        METHODS["lora"](tiny_generator, settings(targets=("mlp.fc7",)), seed=0, num_classes=2)


def numbered(data, words):
    return captioned(data, [f"{words} {number}" for number in range(len(data))])


def test_every_template_is_used_with_the_images_own_caption(tiny_generator, tmp_path, monkeypatch):
    (tmp_path / "prompts.txt").write_text("{class}, {caption}\n\nmy {class}\n")
    train, val = numbered(two_classes(4), "red"), numbered(two_classes(2, split="val", seed=1), "blue")
    told = []
    encode = tiny_generator.encode_prompts
    monkeypatch.setattr(
        tiny_generator, "encode_prompts", lambda prompts: told.extend(prompts) or encode(prompts)
    )
    job = {"method": "lora", "prompt": str(tmp_path / "prompts.txt"), "caption_dropout": 0.0}
    assert len(list(adapting(tiny_generator, train, val, tmp_path / "out", **job))) == 6
    filled = {
        "a cat, red 0",
        "a dog, red 1",
        "a cat, red 2",
        "a dog, red 3",
        "a cat, blue 0",
        "a dog, blue 1",
        "my a cat",
        "my a dog",
    }
    assert set(told) == {*filled, ""}
    assert len(told) == len(filled) + 1, "each is encoded once"


def test_a_low_rank_adapter_is_the_same_file_in_every_process(tiny_generator, tmp_path):
    """peft keeps the names of layers in a set, whose order follows from the interpreter's hash seed."""
    METHODS["lora"](tiny_generator, settings(method="lora"), seed=0, num_classes=2)
    tiny_generator.save_adapter(tmp_path, method="lora")
    with safetensors.safe_open(tmp_path / "pytorch_lora_weights.safetensors", framework="pt") as stored:
        names = json.loads(stored.metadata()["lora_adapter_metadata"])["unet.target_modules"]
    assert len(names) > 10
    assert names == sorted(names)


def test_the_fingerprint_is_of_the_files_up_to_the_order_of_their_metadata(tmp_path):
    """safetensors writes metadata in an order that differs from file to file."""
    found, tensors = set(), {"b": torch.ones(2), "a": torch.zeros(3)}
    for number in range(20):
        path = tmp_path / str(number) / "x.safetensors"
        path.parent.mkdir()
        safetensors.torch.save_file(
            tensors, path, metadata={"format": "pt", "lora_alpha": "4", "names": "é\n"}
        )
        found.add(adapter_fingerprint(path.parent))
    assert len(found) == 1
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    assert adapter_fingerprint(path.parent) == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert adapter_fingerprint(path.parent) not in found
    safetensors.torch.save_file(tensors | {"a": torch.ones(3)}, path, metadata={"format": "pt"})
    assert (
        adapter_fingerprint(path.parent)
        != hashlib.sha256(safetensors.torch.save(tensors, metadata={"format": "pt"})).hexdigest()[:16]
    )


@pytest.mark.parametrize("content", ["{bad", "[1]", "{}"])
def test_a_bad_report_is_refused(content, tmp_path):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(
        InputError, match=r"report\.json is damaged: to make it again, remove it and the record"
    ):
        copy_adapter(tmp_path, tmp_path / "to")


def state_at(tmp_path, step, losses, **changes):
    """An adaptation of 10 to 30 steps at a step, with these validation losses by step."""
    every = {"until": "plateau", "steps": 10, "max_steps": 30, "validate_every": 4} | changes
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = State([nn.Parameter(torch.ones(1))], settings(**every), tmp_path / "checkpoint.pt", scaler)
    for state.step, loss in losses.items():
        state.note_validation(loss)
    state.step = step
    return state


FLAT, FALLING = {0: 1.0, 4: 0.5, 8: 0.5}, {0: 1.0, 4: 0.5, 8: 0.4}


@pytest.mark.parametrize(
    ("step", "losses", "changes", "end"),
    [
        (8, FLAT, {}, None),
        (10, FLAT | {10: 0.496}, {}, "plateau"),
        (10, FLAT | {10: 0.6}, {}, "plateau"),
        (10, FLAT | {10: 0.494}, {}, None),
        (10, FALLING | {10: 0.39}, {}, None),
        (10, FLAT, {}, None),
        (11, FALLING | {10: 0.39}, {}, None),
        (12, FALLING | {10: 0.39, 12: 0.38}, {}, None),
        (20, FALLING | {10: 0.3, 12: 0.3, 16: 0.3, 20: 0.299}, {}, "plateau"),
        (30, FALLING | {10: 0.39, 12: 0.38, 28: 0.2, 30: 0.19}, {}, "max_steps"),
        (30, FALLING | {10: 0.1, 30: 0.1}, {}, "plateau"),
        (10, {0: 1.0}, {"validate_every": 100}, None),
        (10, {0: 1.0, 10: 0.9}, {"validate_every": 100}, None),
        (9, FLAT, {"until": "steps", "max_steps": None}, None),
        (10, FALLING | {10: 0.39}, {"until": "steps", "max_steps": None}, "steps"),
    ],
)
def test_training_ends_at_a_plateau_that_was_just_measured(step, losses, changes, end, tmp_path):
    """The lowest loss of the second half is compared with that of the first; 1% less is no plateau."""
    assert state_at(tmp_path, step, losses, **changes).end == end


@pytest.mark.parametrize(
    ("changes", "measured"),
    [
        ({"steps": 10, "max_steps": 15}, [4, 8, 10, 12, 15]),
        ({"steps": 3, "max_steps": None}, [3, 4, 8, 12, 15]),
        ({"steps": 10, "until": "steps", "max_steps": None}, [4, 8, 10]),
    ],
)
def test_the_loss_is_measured_at_every_step_that_may_be_the_last_one(changes, measured, tmp_path):
    state = state_at(tmp_path, 1, {0: 1.0}, **changes)
    found = []
    for step in range(1, state.settings.num_steps + 1):
        state.step = step
        found += [step] if state.is_validated else []
    assert found == measured


@pytest.mark.parametrize(("rate", "end"), [(1e-12, "plateau"), (1e-2, "max_steps")])
def test_an_adaptation_to_a_plateau_keeps_no_network_without_a_step(
    rate, end, tiny_pipeline_folder, train, val, tmp_path
):
    """The first steps lower the loss by more than 1%; a rate of 1e-12 changes nothing, which is a plateau."""
    few = {"until": "plateau", "max_steps": 8, "validate_every": 100, "learning_rate": rate}
    run(tiny_pipeline_folder, train, val, tmp_path, method="full", **few)
    report = json.loads((tmp_path / "report.json").read_text())
    steps = {"plateau": 6, "max_steps": 8}[end]
    assert (report["steps"], report["end"]) == (steps, end)
    assert [step for step, _ in report["curve"]] == [0, 6, 8][: 2 if end == "plateau" else 3]
    assert end == "plateau" or report["best_step"] > 0


def test_the_most_steps_are_at_least_the_fewest():
    assert settings(until="plateau", steps=4).num_steps == 20
    assert settings(until="plateau", steps=4, max_steps=4).num_steps == 4
    assert settings(until="plateau", steps=4, method="none").num_steps == 0
    with pytest.raises(ValidationError, match="max_steps must be at least adapt.steps, .* 4, got 3: raise"):
        settings(until="plateau", steps=4, max_steps=3)


def test_an_adaptation_at_its_plateau_takes_no_further_step(tiny_pipeline_folder, train, val, tmp_path):
    flat = {"method": "full", "until": "plateau", "learning_rate": 1e-12}
    run(tiny_pipeline_folder, train, val, tmp_path, **flat)
    (tmp_path / "report.json").unlink()
    assert run(tiny_pipeline_folder, train, val, tmp_path, **flat) == []
    assert json.loads((tmp_path / "report.json").read_text())["steps"] == 6


def by_power(step, count):
    """Share of the weights of a step in the average with width 0.1: the integral of tau^gamma over it."""
    power = power_exponent(0.1) + 1
    return (step**power - (step - 1) ** power) / count**power


def by_decay(step, count):
    """Share with decay 0.99, which is t / (t + 10) in the first steps; step 0 is the start."""
    kept = [1 - t / (t + 10) if t else 1.0 for t in range(count + 1)]
    return kept[step] * np.prod([t / (t + 10) for t in range(step + 1, count + 1)])


@pytest.mark.parametrize(
    ("changes", "share"), [({"ema_length": 0.1}, by_power), ({"ema_decay": 0.99}, by_decay)]
)
def test_the_kept_weights_are_the_average_over_all_steps(
    changes, share, tiny_generator, train, val, tmp_path
):
    def weights():
        return torch.cat([parameter.detach().flatten() for parameter in tiny_generator.denoiser.parameters()])

    seen = [weights()]
    for _ in adapting(tiny_generator, train, val, tmp_path, method="full", keep="last", **changes):
        seen.append(weights())
    first = 0 if share is by_decay else 1
    expected = sum(share(step, 6) * seen[step] for step in range(first, 7))
    torch.testing.assert_close(weights(), expected, rtol=1e-5, atol=1e-6)
    assert (weights() - seen[6]).abs().max() > 1e-4
