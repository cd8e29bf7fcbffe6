"""Auxiliary batch norm: which images change what, against timm's split batch norm, and how it ends."""

import copy

import pytest
import timm
import torch
from tiny_sets import RECIPE, squares
from tiny_sets import fit as fit_on
from torch import nn
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.training.arms import Arm
from understudy.training.auxiliary_batch_norm import AuxiliaryBatchNorm, _SplitBatchNorm, estimate_statistics
from understudy.training.backbones import seeded_globals
from understudy.training.classifier import TrainedClassifier
from understudy.training.fit import check_arms_fit
from understudy.training.settings import CompareSettings, Phase

KINDS = ("statistics", "affine", "both")
X = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def network(name="test_resnet"):
    with seeded_globals(0):
        return timm.create_model(name, num_classes=3)


def step(model, x, optimiser):
    optimiser.zero_grad()
    F.cross_entropy(model.train()(x), torch.arange(len(x)) % 3).backward()
    optimiser.step()


def changed(before, model):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    "name", ["test_resnet", "test_efficientnet"]
)  # plain batch norm, and timm's with an activation
def test_both_with_equal_parts_is_timms_split_batch_norm(name):
    ours, theirs = network(name), timm.layers.convert_splitbn_model(network(name), num_splits=2)
    auxiliary = AuxiliaryBatchNorm(ours, "both", name=name)
    auxiliary.route(3, 6)
    optimisers = [torch.optim.SGD(model.parameters(), lr=0.01) for model in (ours, theirs)]
    for _ in range(2):
        for model, optimiser in zip((ours, theirs), optimisers, strict=True):
            step(model, X, optimiser)
    auxiliary.remove()
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[key], msg=key)
    torch.testing.assert_close(ours.eval()(X), theirs.eval()(X))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_image_changes_only_its_part(kind):
    model = network()
    names = state(model).keys()
    auxiliary = AuxiliaryBatchNorm(model, kind, name="x")
    first = state(model)
    for name in first:  # it begins as a copy
        if ".auxiliary." in name:
            assert torch.equal(first[name], first[name.replace(".auxiliary.", ".main.")])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for num_real, part, other in ((6, ".main.", ".auxiliary."), (0, ".auxiliary.", ".main.")):
        before = state(model)
        auxiliary.route(num_real, 6)
        step(model, X, optimiser)
        of_norms = {name for name in changed(before, model) if ".main." in name or ".auxiliary." in name}
        statistics = {name for name in of_norms if name.endswith(STATISTICS)}
        affine = of_norms - statistics
        if kind == "affine":
            assert statistics == {name for name in before if ".main." in name and name.endswith(STATISTICS)}
        else:
            assert statistics == {name for name in before if part in name and name.endswith(STATISTICS)}
        assert any(part in name for name in affine)
        assert any(other in name for name in affine) == (
            kind == "statistics"
        )  # scale and shift are shared there
    auxiliary.remove()
    assert model.state_dict().keys() == names


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_does_not_know_the_auxiliary_part(kind):
    model = network()
    plain = copy.deepcopy(model).eval()(X)
    auxiliary = AuxiliaryBatchNorm(model, kind, name="x")
    for module in model.modules():
        if isinstance(module, _SplitBatchNorm):
            module.auxiliary = nn.Identity()
    auxiliary.route(2, 6)
    assert torch.equal(model.eval()(X), plain)


def test_affine_normalises_the_whole_batch():
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(norm)
    auxiliary = AuxiliaryBatchNorm(model, "affine", name="x")
    auxiliary.route(2, 6)
    nn.init.constant_(model[0].auxiliary.weight, 2.0)
    nn.init.constant_(model[0].auxiliary.bias, -1.0)
    whole = F.batch_norm(X, None, None, training=True)
    torch.testing.assert_close(model.train()(X), torch.cat([whole[:2], 2 * whole[2:] - 1]))
    torch.testing.assert_close(norm.running_mean, 0.1 * X.mean(dim=(0, 2, 3)))


def test_several_rows_of_an_image():
    """Transformers with batch norm see a row per token."""
    model = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm1d(8))
    auxiliary = AuxiliaryBatchNorm(model, "both", name="x")
    auxiliary.route(2, 6)
    tokens = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(1))
    model(tokens)
    torch.testing.assert_close(model[1].main.running_mean, 0.1 * tokens[:2].mean(dim=(0, 1)))
    torch.testing.assert_close(model[1].auxiliary.running_mean, 0.1 * tokens[2:].mean(dim=(0, 1)))


def test_a_single_value_has_no_variance():
    model = nn.Sequential(nn.BatchNorm1d(3))
    auxiliary = AuxiliaryBatchNorm(model, "both", name="x")
    auxiliary.route(1, 4)
    rows = X[:4, :, 0, 0]
    torch.testing.assert_close(
        model.train()(rows)[0], rows[0] / (1 + 1e-5) ** 0.5
    )  # running statistics: mean 0 and variance 1
    auxiliary.route(2, 4)
    torch.testing.assert_close(model.train()(rows)[:2].mean(dim=0), torch.zeros(3))


def fit(*phases, watch=lambda step: None, train=None, **changes):
    return fit_on(
        Arm(name="x", phases=phases, summary=""),
        train=squares("train") if train is None else train,
        synthetic=squares("synthetic", seed=1),
        settings=RECIPE.model_copy(update={"label_smoothing": 0.0, **changes}),
        watch=watch,
    )


def is_split(classifier):
    return any(isinstance(module, _SplitBatchNorm) for module in classifier.backbone.model.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_classifier_has_plain_batch_norm(kind, tmp_path):
    seen = []
    classifier = fit(
        Phase(data="mixed", auxiliary_batch_norm=kind),
        Phase(data="real"),
        steps=4,
        watch=lambda step: seen.append(is_split(step.classifier)),
    )
    assert seen == [True, False, False, False]  # the last step of its phase takes it out
    classifier.save(tmp_path)
    loaded, test = TrainedClassifier.load(tmp_path), squares("test")
    assert (loaded.predict(test) == classifier.predict(test)).all()
    assert all(parameter.requires_grad for parameter in classifier.backbone.model.parameters())


def test_it_matters():
    weights = [
        fit(Phase(data="mixed", auxiliary_batch_norm=kind), steps=2).backbone.model.conv1[0].weight
        for kind in ("none", *KINDS)
    ]
    assert len({weight.sum().item() for weight in weights}) == 4


def test_without_real_images_the_statistics_come_from_them_unlabelled():
    train = squares("train", num=20)
    plain = fit(Phase(data="synthetic"), train=train).backbone.model
    estimated = fit(Phase(data="synthetic", auxiliary_batch_norm="statistics"), train=train).backbone
    differing = changed(state(plain), estimated.model)
    assert differing == {
        name for name in state(plain) if name.endswith(STATISTICS)
    }  # weights are trained on the batches in either case
    parts = estimated.normalise(torch.from_numpy(train.pixels(32))).tensor_split(
        3
    )  # as near to batches of eight as equal parts come
    expected = copy.deepcopy(plain)
    estimate_statistics(expected, parts)
    assert not changed(state(expected), estimated.model)
    means = torch.stack([plain.conv1[0](part).mean(dim=(0, 2, 3)) for part in parts]).mean(dim=0)
    torch.testing.assert_close(estimated.model.conv1[1].running_mean, means.detach())
    assert {
        module.momentum for module in estimated.model.modules() if isinstance(module, nn.BatchNorm2d)
    } == {0.1}


def test_a_network_without_batch_norm_is_refused_before_training():
    phase = Phase(data="mixed", auxiliary_batch_norm="both")
    settings = CompareSettings(
        backbone="test_vit",
        pretrained=False,
        resolution=32,
        arms=("real", "mine"),
        own_arms={"mine": (phase,)},
    )
    with pytest.raises(
        InputError, match="a network with batch normalisation, but compare.backbone 'test_vit' has none"
    ):
        check_arms_fit(settings, squares("train"), num_synthetic=12)
    with pytest.raises(InputError, match="'test_vit' has none"):
        fit(phase, backbone="test_vit")
    check_arms_fit(
        settings.model_copy(update={"backbone": "test_resnet"}), squares("train"), num_synthetic=12
    )
