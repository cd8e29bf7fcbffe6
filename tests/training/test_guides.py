"""Losses with a teacher or an extractor, where these networks come from, and what is refused."""

from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from tiny_sets import CLASS_NAMES, RECIPE, squares
from tiny_sets import fit as fit_on
from torch.nn import functional as F

import understudy
from understudy.core.errors import InputError
from understudy.functional.distillation import feature_distance, soft_label_loss
from understudy.training.arms import Arm
from understudy.training.backbones import Backbone, build_backbone, feature_extractor, seeded_globals
from understudy.training.classifier import TrainedClassifier
from understudy.training.fit import check_arms_fit
from understudy.training.guides import Guides
from understudy.training.losses import Loss, features_and_logits
from understudy.training.settings import CompareSettings, Phase

LETTERS = str(Path(understudy.__file__).parent / "generators/mini/letters_resnet")
SOFT = Phase(data="mixed", soft_labels=0.6, temperature=3.0)
X, Y = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])


def network(seed, *, classes=3, name="test_resnet", size=32, mean=0.5):
    with seeded_globals(seed):
        model = timm.create_model(name, num_classes=classes)
    return Backbone(model.eval(), name, {}, size, (mean, 0.4, 0.3), (0.2, 0.3, 0.25))


@cache
def teacher():
    return TrainedClassifier(network(7), CLASS_NAMES)


def fit(*phases, synthetic=None, asked=teacher, **options):
    return fit_on(
        Arm(name="x", phases=phases, summary=""),
        train=squares("train"),
        synthetic=synthetic or squares("synthetic", seed=1),
        teacher=asked,
        **options,
    )


def losses_of(*phases, **options):
    seen = []
    fit(*phases, watch=lambda step: seen.append(step.loss), **options)
    return seen


@pytest.mark.parametrize("num_real", [0, 2, 5])
@pytest.mark.parametrize("weight", [None, 0.5])
def test_soft_labels_are_of_the_synthetic_images(num_real, weight):
    student, guides = network(1), Guides(teacher=network(2))
    phase = SOFT.model_copy(update={"synthetic_weight": weight})
    got = Loss(student, phase, label_smoothing=0.1, guides=guides)(X, Y, num_real)
    z, v = student.model(X), guides.teacher.model(X)
    real = F.cross_entropy(z, Y, label_smoothing=0.1, reduction="none")[:num_real]
    synthetic = soft_label_loss(z, Y, v, share=0.6, temperature=3.0, label_smoothing=0.1)[num_real:]
    if weight is None:
        expected = torch.cat([real, synthetic]).mean()
    else:
        expected = sum(factor * part.mean() for factor, part in ((1, real), (weight, synthetic)) if len(part))
    torch.testing.assert_close(got, expected)
    gradients = torch.autograd.grad(got, list(student.model.parameters()), allow_unused=True)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert all(parameter.grad is None for parameter in guides.teacher.model.parameters())


@pytest.mark.parametrize("num_real", [0, 2, 5])
def test_the_distance_is_of_the_synthetic_images(num_real):
    student, extractor = network(1), network(2, name="test_efficientnet")
    phase = Phase(data="mixed", feature_distillation=0.7)
    loss = Loss(student, phase, label_smoothing=0.0, guides=Guides(extractor=extractor))
    wanted = extractor.features(X)
    assert torch.equal(loss.map.weight, torch.eye(wanted.shape[1], student.features(X).shape[1]))
    with torch.no_grad():
        loss.map.weight.copy_(torch.randn(loss.map.weight.shape, generator=torch.Generator().manual_seed(1)))
    expected = F.cross_entropy(student.model(X), Y)
    if num_real < 5:
        expected = expected + 0.7 * feature_distance(
            student.features(X)[num_real:] @ loss.map.weight.T, wanted[num_real:]
        )
    torch.testing.assert_close(loss(X, Y, num_real), expected)


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_vit", "test_convnext", "mobilenetv3_small_050", "test_byobnet"]
)
def test_one_pass_gives_features_and_logits(name):
    backbone = network(0, name=name)
    x, calls = torch.randn(2, 3, *backbone.model.pretrained_cfg["input_size"][1:]), []
    backbone.model.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    with torch.no_grad():
        features, logits = features_and_logits(backbone.model, x)
        assert len(calls) == 1
        torch.testing.assert_close(features, backbone.features(x))
        assert torch.equal(logits, backbone.model(x))


def test_another_network_sees_the_same_images():
    pixels = torch.randint(
        0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    one, other, large = network(0), network(0, mean=0.1), network(0, size=48)
    torch.testing.assert_close(other.renormalise(one.normalise(pixels), one), other.normalise(pixels))
    flat = torch.full_like(pixels, 77)
    torch.testing.assert_close(
        large.renormalise(other.normalise(flat), other),
        large.normalise(flat[:, :, :1, :1].expand(2, 3, 48, 48)),
    )


def test_the_teacher_sees_images_as_the_classifier_does(monkeypatch):
    """Changed, mixed, and real ones not at all; mixing stays within a kind."""
    seen, taught = [], []
    real_first = fit_images("train")
    teach = TrainedClassifier(network(7, size=40), CLASS_NAMES)
    teach.backbone.model.register_forward_pre_hook(lambda module, inputs: taught.append(inputs[0]))
    monkeypatch.setattr(Loss, "_classification", spy(Loss._classification, seen))
    settings = RECIPE.model_copy(update={"augmentation": "none", "steps": 4})
    fit(Phase(data="mixed", soft_labels=0.5, mixup=0.5), settings=settings, asked=lambda: teach)
    assert len(taught) == len(seen) == 4
    for (backbone, x, num_real), shown in zip(seen, taught, strict=True):
        torch.testing.assert_close(shown, teach.backbone.renormalise(x[num_real:], backbone))
        spanned = real_first(backbone).flatten(1).double()
        residuals = torch.linalg.lstsq(
            spanned.T, x[:num_real].flatten(1).double().T
        ).solution.T @ spanned - x[:num_real].flatten(1)
        assert residuals.abs().max() < 1e-4  # what stands first is mixed of real images alone


def fit_images(split):
    return lambda backbone: backbone.normalise(torch.from_numpy(squares(split).pixels(32)))


def spy(method, seen):
    def watched(self, logits, x, y, num_real, share):
        seen.append((self._backbone, x, num_real))
        return method(self, logits, x, y, num_real, share)

    return watched


def test_with_the_teacher_alone_labels_of_synthetic_images_do_not_count():
    recipe, shifted = RECIPE.model_copy(update={"steps": 3}), squares("synthetic", seed=1)
    shifted = type(shifted).from_images(
        shifted.pixels(32), (shifted.labels + 1) % 3, class_names=CLASS_NAMES, split="synthetic"
    )
    for share, equal in ((1.0, True), (0.5, False)):
        phase = Phase(data="synthetic", soft_labels=share)
        assert (
            losses_of(phase, settings=recipe) == losses_of(phase, settings=recipe, synthetic=shifted)
        ) is equal


def test_the_teacher_is_asked_only_for_soft_labels():
    def never():
        raise AssertionError

    plain = losses_of(Phase(data="mixed"), asked=never)
    assert plain == losses_of(Phase(data="mixed"), asked=None)
    with pytest.raises(
        InputError, match="needs a classifier trained on the real train images, got none: pass one"
    ):
        losses_of(SOFT, asked=None)


def test_a_folder_teaches(tmp_path):
    teacher().save(tmp_path / "right")
    settings = RECIPE.model_copy(update={"teacher": str(tmp_path / "right")})
    assert losses_of(SOFT, settings=settings, asked=None) == losses_of(SOFT)
    TrainedClassifier(network(7), ("a", "b", "c")).save(tmp_path / "wrong")
    both = (
        r"compare.teacher must have the classes of the data, \('left', 'middle', 'right'\), "
        r"got \('a', 'b', 'c'\)"
    )
    for name, message in (
        ("wrong", both),
        ("none", "compare.teacher must be 'real' or the folder of a classifier: .*none"),
    ):
        settings = CompareSettings(
            arms=("real", "mine"), own_arms={"mine": (SOFT,)}, teacher=str(tmp_path / name)
        )
        with pytest.raises(InputError, match=message):
            check_arms_fit(settings, squares("train"), num_synthetic=12)
        with pytest.raises(InputError, match=message):
            fit(SOFT, settings=settings)
    check_arms_fit(settings.model_copy(update={"teacher": "real"}), squares("train"), num_synthetic=12)


def test_a_classifier_that_begins_as_the_extractor_is_at_distance_zero():
    settings = CompareSettings(backbone="mini")
    student, extractor = build_backbone(settings, 3, rng_seed=0), feature_extractor(settings)
    extractor.model.eval(), student.model.eval()
    loss = Loss(
        student,
        Phase(data="synthetic", feature_distillation=1.0),
        label_smoothing=0.0,
        guides=Guides(extractor=extractor),
    )
    torch.testing.assert_close(loss(X, Y, 0), F.cross_entropy(student.model(X), Y))


def test_features_stay_near_those_of_the_extractor():
    settings = RECIPE.model_copy(update={"backbone": "mini", "pretrained": True, "steps": 12})
    extractor, data = feature_extractor(settings), squares("synthetic", seed=1)
    wanted = torch.from_numpy(TrainedClassifier(extractor, CLASS_NAMES).features(data))
    distances = []
    for weight in (0.0, 100.0):
        trained = fit(Phase(data="synthetic", feature_distillation=weight), settings=settings)
        distances.append(feature_distance(torch.from_numpy(trained.features(data)), wanted).item())
        assert (
            trained.backbone.model.state_dict().keys() == extractor.model.state_dict().keys()
        )  # the map is gone
    assert distances[1] < 0.5 * distances[0]


def test_the_map_learns(monkeypatch):
    maps = []
    first = Loss.__call__
    monkeypatch.setattr(
        Loss, "__call__", lambda self, *batch: (maps.append(self.map.weight.clone()), first(self, *batch))[1]
    )
    fit(
        Phase(data="synthetic", feature_distillation=1.0),
        settings=RECIPE.model_copy(update={"extractor": LETTERS}),
    )
    assert not torch.equal(maps[0], maps[-1])


def test_extractors():
    folder = feature_extractor(RECIPE.model_copy(update={"extractor": LETTERS, "resolution": 48}))
    assert folder.input_size == 32
    same = feature_extractor(CompareSettings(backbone="mini"))
    assert all(
        torch.equal(a, b) for a, b in zip(folder.model.parameters(), same.model.parameters(), strict=True)
    )
    with pytest.raises(
        InputError, match=r"got compare.extractor=pretrained with compare.pretrained=false: give a folder"
    ):
        feature_extractor(RECIPE)
    missing = CompareSettings(
        arms=("real", "mine"),
        own_arms={"mine": (Phase(data="synthetic", feature_distillation=1),)},
        extractor="missing",
    )
    with pytest.raises(
        InputError, match="compare.extractor must be a folder .*, but missing is no folder: correct"
    ):
        check_arms_fit(missing, squares("train"), num_synthetic=12)
