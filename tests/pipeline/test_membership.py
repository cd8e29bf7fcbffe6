"""Membership as a stage: a finished run gets it, together with shift, and keeps everything else."""

import json
import shutil

import pytest
from tiny import two_classes
from tiny_job import Listener, tiny_settings, tree, write_pets

from understudy.commands.chosen import privacy_budget
from understudy.core.config import check_effect
from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.report.terminal import membership_table, shift_table
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

SHIFT = {"measure": True, "corruptions": ["noise", "rotation"], "severities": [1, 3]}
MEMBERSHIP = {"measure": True, "arms": ["real", "synthetic"], "shadows": 6, "false_positive_rates": [0.5]}
FIDELITY = {"neighbours": 2, "resamples": 20}


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_pets(tmp_path_factory.mktemp("source") / "pets", per_class=24)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Pets that no run knows."""
    return write_pets(tmp_path_factory.mktemp("others") / "pets", per_class=5, seed=9)


@pytest.fixture(scope="module")
def plain(pets, tiny_pipeline_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "plain"
    run(tiny_settings(pets, tiny_pipeline_folder, fidelity=FIDELITY), out)
    return out


def added(out, **sections):
    return build(RunFolder.find(out).settings.model_dump(mode="json"), sections)


@pytest.fixture(scope="module")
def proven(plain, others, tmp_path_factory):
    """The same run with everything that can be added, and who listened."""
    out, listener = tmp_path_factory.mktemp("runs") / "proven", Listener()
    shutil.copytree(plain, out)
    settings = added(out, shift={**SHIFT, "tests": {"other-pets": str(others)}}, membership=MEMBERSHIP)
    return out, run(settings, out, observer=listener), listener


def test_what_is_added_leaves_the_run_as_it_was(plain, proven):
    out, results, listener = proven
    kept = tree(plain)
    assert not {"shift", "membership"} & json.loads((plain / "results.json").read_text()).keys()
    changed = {name for name, digest in tree(out).items() if name in kept and kept[name] != digest}
    assert changed <= {"settings.yaml", "stages/report.json", "results.json", "report.html", "README.md"}
    assert listener.bars["shift"] == {"done": 5, "total": 5}
    assert listener.bars["membership"] == {"done": 6 * 4, "total": 6 * 4}, (
        "the arm that is skipped does not count"
    )
    assert set(results["shift"]["corruptions"]) == {"noise", "rotation"}
    assert results["shift"]["tests"]["other-pets"]["images"] == 10
    assert set(results["shift"]["clean"]) == set(results["arms"])


def test_the_audit_says_what_it_left_out(proven):
    membership = proven[1]["membership"]
    assert set(membership["arms"]) == {"real"}
    assert "membership.target=pipeline" in membership["skipped"]["synthetic"]
    assert {attack: set(arms) for attack, arms in membership["attacks"].items()} == {
        "lira": {"real"},
        "rmia": {"real"},
    }
    page = (proven[0] / "report.html").read_text()
    assert 'id="membership"' in page
    assert 'id="shift"' in page
    assert membership_table(membership).row_count
    assert shift_table(proven[1]["shift"], proven[1]["data"]["classes"]).row_count == len(proven[1]["arms"])


def test_a_second_run_does_nothing(proven):
    out, results, _ = proven
    before, again = tree(out), Listener()
    assert run(RunFolder.find(out).settings, out, observer=again) == results
    assert tree(out) == before
    assert all(line.endswith("finished earlier, kept") for line in again.lines)


def test_every_shadow_pipeline_sees_its_half_alone(proven, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(proven[0], out)
    results = run(added(out, membership={**MEMBERSHIP, "target": "pipeline", "arms": ["synthetic"]}), out)
    assert set(results["membership"]["arms"]) == {"synthetic"}
    folders = sorted((out / "membership" / "pipeline-6").glob("pipeline-*"))
    assert len(folders) == 6
    for folder in folders:
        assert json.loads((folder / "stages" / "load.json").read_text())["train"] == 14


def test_what_does_not_fit_leaves_the_run_as_it_was(plain, tmp_path):
    out, zoo = tmp_path / "run", tmp_path / "zoo"
    shutil.copytree(plain, out)
    data = two_classes(4, seed=3)
    for index, name in enumerate(["zebra", "zebra", "cat", "cat"]):
        (zoo / name).mkdir(parents=True, exist_ok=True)
        (zoo / name / f"{index}.png").write_bytes(data.encoded(index))
    before = tree(out)
    with pytest.raises(InputError, match=r"must have classes of the run \(cat, dog\), got also zebra"):
        run(added(out, shift={**SHIFT, "tests": {"zoo": str(zoo)}}), out)
    with pytest.raises(InputError, match=r"needs 716 shadow models with 28 real images, got 6"):
        run(added(out, membership={**MEMBERSHIP, "false_positive_rates": [0.001]}), out)
    assert tree(out) == before


def test_an_audit_of_an_arm_like_others_leaves_the_run_as_it_was(pets, tiny_pipeline_folder, tmp_path):
    out = tmp_path / "run"
    run(tiny_settings(pets, tiny_pipeline_folder, curate={"threshold": None}), out, until="load")
    before = tree(out)
    with pytest.raises(
        InputError, match="'agreement-filter' of the arm 'synthetic@agreement-filter' has no effect"
    ):
        run(added(out, membership={**MEMBERSHIP, "arms": ["synthetic@agreement-filter"]}), out)
    assert tree(out) == before


def test_another_epsilon_is_another_model(proven, tmp_path):
    pytest.importorskip("opacus")
    out = tmp_path / "run"
    shutil.copytree(proven[0], out)
    arms, listener = [], Listener()
    for epsilon in (8.0, 2.0, None):
        settings = added(out, membership={**MEMBERSHIP, "arms": ["real"], "private_epsilon": epsilon})
        arms.append(run(settings, out, observer=listener)["membership"]["arms"])
    assert arms[0]["private"]["epsilon"] > 2 >= arms[1]["private"]["epsilon"]
    assert "private" not in arms[2]
    said = "\n".join(line for line in listener.lines if "reference" in line)
    assert "the private reference with epsilon 8 leaves the results. Nothing was private but" in said
    assert "whoever publishes both has spent epsilon 10 together" in said
    assert "the private reference with epsilon 2 leaves the results" in said
    assert len(list(out.glob("membership/*/private-*"))) == 12  # models stay until the user removes them


def test_epsilon_is_a_number_or_none():
    assert privacy_budget(None) == {}
    assert privacy_budget("8") == {"private_epsilon": 8.0}
    assert privacy_budget("none") == {"private_epsilon": None, "private_delta": None}
    with pytest.raises(InputError, match="a number above 0, such as 8, or 'none'"):
        privacy_budget("strong")


def test_settings_without_effect_are_refused():
    for name, section in (("severities", "shift"), ("shadows", "membership"), ("strengths", "gap")):
        with pytest.raises(
            InputError, match=f"{section}.{name} has no effect while {section}.measure is False"
        ):
            check_effect(build({"data": {"source": "digits"}}), [f"{section}.{name}"])
