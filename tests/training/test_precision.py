"""Number formats and waiting of trainings on a GPU, as far as a CPU can show them."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from devices import Copied, Fetched, Wide
from tiny_sets import squares
from torch import nn

from understudy.data.decoded_images import DecodedImages
from understudy.training import batches, loop
from understudy.training import classifier as classifier_module
from understudy.training import precision as precision_module
from understudy.training.backbones import build_backbone, seeded_globals
from understudy.training.batches import Images, phase_images
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import TrainingData
from understudy.training.loop import DivergedError, phase_rng, train_phase
from understudy.training.optimisers import build_optimiser
from understudy.training.precision import Precision, precision_of
from understudy.training.settings import CompareSettings, Phase

# Float32: in bfloat16 a CPU gives NaN gradients at random steps (torch 2.14).
LIKE_A_GPU = Precision("cpu", channels_last=True, waits=False)


def training(monkeypatch, precision, *, num_steps=8, device="cpu", pixels=None, **changes):
    monkeypatch.setattr(loop, "precision_of", lambda *_: precision)
    settings = CompareSettings(
        backbone="test_resnet",
        pretrained=False,
        resolution=16,
        batch_size=8,
        **{"augmentation": "flip-crop"} | changes,
    )
    backbone = build_backbone(settings, 2, rng_seed=0)
    backbone.model.to(device)
    labels = torch.arange(24) % 2
    noise = torch.randint(60, (24, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    images = (noise + 150 * labels[:, None, None, None]).to(torch.uint8)
    steps = train_phase(
        backbone,
        Images(images.to(pixels or device), labels.to(device), 24),
        Phase(data="real"),
        settings=settings,
        num_steps=num_steps,
        rng=phase_rng(0, 0),
    )
    return backbone, steps


def test_a_cpu_computes_in_float32_and_knows_each_loss():
    assert precision_of("cpu", 224) == Precision("cpu", None, channels_last=True, waits=True)


def test_the_layout_changes_only_rounding(monkeypatch):
    exact = [float(loss) for loss, _ in training(monkeypatch, Precision("cpu"), num_steps=20)[1]]
    backbone, steps = training(monkeypatch, LIKE_A_GPU, num_steps=20)
    np.testing.assert_allclose([float(loss) for loss, _ in steps], exact, atol=0.01)
    assert {parameter.dtype for parameter in backbone.model.parameters()} == {torch.float32}


def test_no_step_waits_for_the_device(monkeypatch):
    _, steps = training(monkeypatch, LIKE_A_GPU, optimiser="sgd")
    next(steps)
    with Fetched() as fetched:
        for _ in range(6):
            next(steps)
    assert fetched.count == 0


@pytest.mark.parametrize("pixels", ["meta", "cpu"])
@pytest.mark.parametrize("augmentation", ["affine", "flip-crop", "random-resized-crop", "none"])
def test_no_copy_waits_for_the_device(monkeypatch, augmentation, pixels):
    """On the device ``meta``, which has no values, fetching one would be an error."""
    _, steps = training(monkeypatch, LIKE_A_GPU, device="meta", pixels=pixels, augmentation=augmentation)
    with Copied() as copied:
        for _ in range(2):
            next(steps)
    assert len(copied.waits) >= 2
    assert not any(copied.waits)
    assert copied.bytes.count(8 * 3 * 16 * 16) == (0 if pixels == "meta" else 2)  # batches of pixels


def place_of(pixels):
    return "cpu" if isinstance(pixels, DecodedImages) else pixels.device.type


@pytest.mark.parametrize(("free", "place"), [(None, "meta"), (10**6, "meta"), (10**4, "cpu")])
@pytest.mark.parametrize("statistics", ["none", "statistics"])
def test_images_that_do_not_fit_stay_in_main_memory(monkeypatch, free, place, statistics):
    monkeypatch.setattr(batches, "free_bytes", lambda device: free)
    data = TrainingData(train=squares("train"), synthetic=squares("synthetic"))
    phase = Phase(data="synthetic", auxiliary_batch_norm=statistics)
    images = phase_images(phase, data, size=32, device="meta")
    assert place_of(images.pixels) == place
    assert images.device.type == "meta"
    if statistics != "none":
        assert place_of(images.unlabelled) == place
    x, numbers = images.chosen(torch.tensor([3, 0]))
    assert x.shape == (2, 3, 32, 32)
    assert x.device.type == numbers.device.type == "meta"


def test_predictions_go_on_with_fewer_images_at_once(monkeypatch, val):
    backbone, _ = training(monkeypatch, Precision("cpu"))
    trained = TrainedClassifier(backbone, val.class_names)
    expected = trained.predict(val)

    def small(module, inputs):
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    backbone.model.register_forward_pre_hook(small)
    with pytest.warns(UserWarning, match="a prediction ran out of memory"):
        np.testing.assert_allclose(trained.predict(val), expected, atol=1e-6)
    with warnings.catch_warnings(action="error"):  # halved for good
        trained.predict(val)
        trained.features(val)


@pytest.mark.parametrize("precision", [Precision("cpu"), LIKE_A_GPU])
def test_a_loss_that_is_not_finite_names_its_step(precision, monkeypatch):
    _, steps = training(monkeypatch, precision, num_steps=60, learning_rate=1e30, optimiser="sgd")
    with pytest.raises(
        DivergedError,
        match=r"must stay finite, got (nan|inf) at step [2-9]: lower compare\.learning_rate",
    ):
        list(steps)


def test_predictions_in_sixteen_bits_agree(monkeypatch, val):
    backbone, steps = training(monkeypatch, Precision("cpu"), num_steps=20)
    list(steps)
    trained = TrainedClassifier(backbone, val.class_names)
    exact = trained.predict(val)
    monkeypatch.setattr(classifier_module, "precision_of", lambda *_: Precision("cpu", torch.bfloat16))
    found = trained.predict(val)
    np.testing.assert_allclose(found, exact, atol=0.03)
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize(
    "changes",
    [{"augmentation": name} for name in ("affine", "flip-crop", "random-resized-crop")]
    + [{"micro_batch": 3}],
)
def test_a_training_needs_no_float64_on_the_device(monkeypatch, changes):
    _, steps = training(monkeypatch, precision_of("meta", 224), device="meta", **changes)
    with Wide() as wide:
        for _ in range(3):
            next(steps)
    assert wide.count > 100
    assert wide.found == []


@pytest.mark.parametrize(
    ("device", "size", "bfloat16", "expected"),
    [
        ("cuda:1", 224, True, Precision("cuda", torch.bfloat16, channels_last=True, waits=False)),
        ("cuda", 224, False, Precision("cuda", channels_last=True, waits=False)),
        ("cuda", 32, True, Precision("cuda", waits=False)),
        ("mps", 224, False, Precision("mps", waits=False)),
        ("cpu", 224, True, Precision("cpu", channels_last=True, waits=True)),
    ],
)
def test_number_format_and_layout(monkeypatch, device, size, bfloat16, expected):
    monkeypatch.setattr(precision_module, "has_fast_bfloat16", lambda device: bfloat16)
    assert precision_of(device, size) == expected


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_generators_of_a_device_are_seeded_and_restored(monkeypatch, device):
    """This machine may lack the device, so the functions of its module only record what they are given."""
    calls, module = [], torch.get_device_module(torch.device(device).type)
    monkeypatch.setattr(module, "get_rng_state", lambda place: "before")
    monkeypatch.setattr(module, "set_rng_state", lambda state, place: calls.append((state, place)))
    monkeypatch.setattr(module, "manual_seed", calls.append)
    monkeypatch.setattr(torch.accelerator, "device_index", lambda index: calls.append(index) or nullcontext())
    before = torch.get_rng_state()
    with seeded_globals(7, device):
        assert torch.initial_seed() == 7
        calls.append("inside")
    place = torch.device(device)
    assert calls == [place.index, 7, "inside", ("before", place)]
    assert torch.equal(torch.get_rng_state(), before)


def test_one_kernel_updates_all_weights():
    settings = CompareSettings()
    assert build_optimiser(nn.Linear(2, 2), settings).defaults["fused"] is True
    assert not build_optimiser(nn.Linear(2, 2, device="meta"), settings).defaults["fused"]
