"""What workers on other machines must have."""

import pytest
from tiny_jobs import terms

from understudy.core.errors import InputError
from understudy.core.executors.alike import Demands


@pytest.fixture
def demands(tmp_path):
    return Demands.of(terms(tmp_path))


def hello(demands, versions=None, **changes):
    """What a worker says that is like this process but for some changes."""
    found = {**demands.versions, **(versions or {})}
    return {"node": "n7", "versions": found, "has_device": True, "lacks": []} | changes


def test_a_worker_on_this_machine_is_alike(demands):
    demands.check([demands.found_here(), hello(demands)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"versions": {"torch": "2.0.0"}}, "node n7 has torch 2.0.0, but the run was started with .*differ"),
        ({"versions": {"peft": "0.1"}}, "node n7 has peft 0.1, but"),
        ({"versions": {"torchvision": "not installed"}}, "node n7 has torchvision not installed, but"),
        ({"versions": {"timm": "0.1"}}, "node n7 has timm 0.1, but"),
        ({"versions": {"numpy": "1.0"}}, "node n7 has numpy 1.0, but"),
        ({"has_device": False}, "node n7 has no GPU that torch can use: give --device cpu"),
        ({"lacks": ["/models/sd"]}, "node n7 has no /models/sd, which .*: copy it to the same path on every"),
    ],
)
def test_a_worker_that_would_do_something_else(changes, message, demands):
    with pytest.raises(InputError, match=message):
        demands.check([hello(demands, node="n6"), hello(demands, **changes)])


def test_what_a_node_lacks(tmp_path):
    (tmp_path / "there").mkdir()
    needs = (tmp_path / "there", tmp_path / "missing")
    asked = Demands(versions={}, device="cpu", needs=needs)
    assert asked.found_here()["lacks"] == [str(tmp_path / "missing")]


@pytest.mark.parametrize(("device", "expected"), [("cpu", True), ("cuda", False)])
def test_whether_a_node_has_the_device(device, expected, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert Demands(versions={}, device=device, needs=()).found_here()["has_device"] is expected
