"""Arms: what they are made of, and that every registered one trains on equal terms."""

import numpy as np
import pytest
import torch
from tiny_sets import RECIPE, squares

from understudy.errors import InputError
from understudy.training import ARMS, Arm, Phase, fit_arm


@pytest.mark.parametrize("name", list(ARMS))
def test_contract(name):
    arm = ARMS[name]
    assert arm.name == name
    assert arm.summary == ARMS.summary(name)
    assert "%" in arm.describe()
    for steps in (10, 301):
        assert sum(arm.phase_steps(steps)) == steps
    seen, state = [], torch.get_rng_state()
    classifier = fit_arm(
        name,
        train=squares("train"),
        synthetic=squares("synthetic", seed=1) if arm.uses_synthetic else None,
        settings=RECIPE,
        seed=3,
        device="cpu",
        on_step=seen.append,
    )
    assert [step.step for step in seen] == list(range(1, RECIPE.steps + 1))
    assert all(np.isfinite(step.loss) and step.learning_rate > 0 for step in seen)
    assert torch.equal(state, torch.get_rng_state())
    probabilities = classifier.predict(squares("test", seed=2))
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (12, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_describe():
    assert ARMS["real"].describe() == "100% real"
    assert not ARMS["real"].uses_synthetic
    arm = Arm(name="x", phases=(Phase(data="mixed", share=0.25), Phase(data="real", share=0.75, reset_head=True)), summary="")
    assert arm.describe() == "25% mixed, then 75% real with a fresh head"


def test_shares_must_make_a_whole():
    with pytest.raises(ValueError, match="must sum to 1"):
        Arm(name="x", phases=(Phase(data="real", share=0.5),), summary="")
    with pytest.raises(ValueError, match="must be in"):
        Phase(data="real", share=0.0)


def test_too_few_steps_for_the_phases():
    arm = Arm(name="x", phases=(Phase(data="synthetic", share=0.1), Phase(data="real", share=0.9)), summary="")
    with pytest.raises(InputError, match=r"each phase of the arm 'x' a step, got 2"):
        arm.phase_steps(2)


def test_reset_head_starts_the_layer_anew():
    phases = (Phase(data="real", share=0.5), Phase(data="real", share=0.5, reset_head=True))
    frozen = RECIPE.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    once, anew = (
        fit_arm(
            Arm(name="x", phases=(phases[0], phases[index]), summary=""),
            train=squares("train"),
            synthetic=None,
            settings=frozen,
            seed=0,
            device="cpu",
        )
        for index in (0, 1)
    )
    for (name, before), after in zip(once.backbone.model.named_parameters(), anew.backbone.model.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-6) != name.startswith("fc.")
