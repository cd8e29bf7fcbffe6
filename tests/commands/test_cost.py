"""What a run is said to cost, against what a run does."""

import itertools
import shutil

import pyarrow.parquet as pq
import pytest
from tiny_job import SECTIONS, Listener, tiny_settings, write_pets

from understudy.adaptation.inputs import AdaptData
from understudy.commands import cost
from understudy.commands.cost import Estimate, Pace, estimate
from understudy.commands.preview import preview
from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = pytest.mark.usefixtures("plain_report")

NOTHING = Pace(
    adaptations=0,
    images=1e-9,
    steps=0,
    private_steps=0,
    predictions=0,
    corruptions=0,
    image_bytes=0,
    classifier_bytes=0,
)
ARMS = [
    "real",
    "synthetic",
    "mixed@refresh",
    "synthetic@diverse",
    "bridged@coverage",
    "synthetic@several-generators",
]


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_pets(tmp_path_factory.mktemp("pets") / "pets", per_class=24)


@pytest.fixture(scope="module")
def settings(pets, tiny_pipeline_folder):
    """Everything that can be asked for; nothing is rejected, so nothing is drawn again."""
    return tiny_settings(
        pets,
        tiny_pipeline_folder,
        draw={"refresh_times": 2},
        curate={
            "score": "none",
            "threshold": None,
            "validation_pass": 1.0,
            "max_refills": 0,
            "firewall": "off",
        },
        compare={"arms": ARMS, "num_seeds": 3, "curve_points": 0, "learning_rate": 1e-5},
        tune={"learning_rates": [1e-3, 1e-4]},
        scale={"times": [0.25, 0.5], "real_shares": [0.5]},
        gap={"measure": True, "strengths": [0.5]},
        shift={"measure": True, "corruptions": ["noise", "blur"], "severities": [1, 3], "tests": {}},
        membership={
            "measure": True,
            "arms": ["real", "synthetic", "mixed"],
            "shadows": 6,
            "false_positive_rates": [0.5],
        },
    )


@pytest.fixture(scope="module")
def splits(settings):
    return load_splits(settings.data, seed=settings.seed)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    """The run itself, and who listened."""
    out, listener = tmp_path_factory.mktemp("runs") / "run", Listener()
    run(settings, out, observer=listener)
    return out, listener


def paced(settings, splits, **pace):
    return estimate(settings, splits, Pace(**{**vars(NOTHING), **pace}), strength=1).seconds


@pytest.mark.slow
def test_steps_are_those_of_the_run(settings, splits, finished):
    bars, trials = finished[1].bars, 2
    seconds = paced(settings, splits, steps=1)
    tuning = trials * settings.compare.steps
    assert {name: round(seconds[name]) for name in ("tune", "compare", "scale", "gap", "membership")} == {
        "tune": bars["tune"]["total"] * settings.compare.steps,
        **{name: bars[name]["total"] for name in ("compare", "scale", "gap")},
        # `mixed` is among the attacked arms alone, so that the audit tunes it.
        "membership": bars["membership"]["total"] + tuning,
    }


def test_classifiers_that_choose_images_are_counted_once(pets, tiny_pipeline_folder, splits):
    """Two arms share a set that is chosen in three rounds, so two more classifiers are trained."""
    all_pass = {"score": "none", "threshold": None, "validation_pass": 1.0, "rounds": 3}
    with_arms = {"arms": ["real", "synthetic@deliberate", "mixed@deliberate"]}
    plain, deliberate = (
        tiny_settings(
            pets,
            tiny_pipeline_folder,
            curate=all_pass | {"select": select},
            compare=with_arms if select == "first" else {"arms": ["real", "synthetic"]},
        )
        for select in ("first", "deliberate")
    )
    steps = plain.compare.steps
    assert round(paced(plain, splits, steps=1)["compare"]) == steps * (3 * plain.compare.num_seeds + 2)
    assert round(paced(deliberate, splits, steps=1)["curate"]) == 2 * steps


def test_sets_that_are_not_stored_are_chosen_anew_each_time(pets, tiny_pipeline_folder, splits):
    """By every shadow pipeline, and by every size, although one of them is that of the run."""

    def steps(select, **sections):
        all_pass = {"score": "none", "threshold": None, "validation_pass": 1.0, "rounds": 3}
        settings = tiny_settings(
            pets,
            tiny_pipeline_folder,
            curate=all_pass | {"select": select},
            compare={"arms": ["real", "synthetic"]},
            **sections,
        )
        return paced(settings, splits, steps=1 / settings.compare.steps)

    def added(stage, **sections):
        return round(steps("deliberate", **sections)[stage] - steps("first", **sections)[stage])

    attacked = {"arms": ["real", "synthetic"], "shadows": 6, "false_positive_rates": [0.5]}
    assert added("membership", membership={"measure": True, "target": "pipeline", **attacked}) == 6 * 2
    assert added("membership", membership={"measure": True, **attacked}) == 0, "the set of the run"
    per_class = len(splits.train) / splits.train.num_classes
    assert added("scale", scale={"times": [3 / per_class, 1.0]}) == 2 * 2


@pytest.mark.slow
def test_images_are_those_of_the_run(settings, splits, finished):
    out, _ = finished
    drawn = sum(
        pq.read_metadata(path).num_rows for path in (out / "synthetic").glob("**/images/**/*.parquet")
    )
    found = estimate(settings, splits, Pace(**{**vars(NOTHING), "images": 1, "image_bytes": 1e6}), strength=1)
    assert found.images == 6
    assert found.disk_mb == drawn
    half = [
        pq.read_metadata(path).num_rows
        for path in (out / "synthetic").glob("supplies/strength=0.5/images/**/*.parquet")
    ]
    assert sum(half) == len(splits.train)
    assert sum(paced(settings, splits, images=1).values()) == pytest.approx(drawn - len(splits.train) / 2)


@pytest.mark.slow
def test_generators_are_adapted_as_often_as_in_the_run(settings, splits, finished):
    seconds = paced(settings, splits, adaptations=1)
    assert round(sum(seconds.values())) == 1 + len(list((finished[0] / "adapter").glob("member-*")))
    pipeline = settings.model_copy(
        update={"membership": settings.membership.model_copy(update={"target": "pipeline"})}
    )
    assert round(paced(pipeline, splits, adaptations=1)["membership"]) == 6
    assert round(paced(pipeline, splits, images=1)["membership"]) == 6 * 6


@pytest.mark.slow
def test_predictions_are_those_of_the_run(settings, splits, finished):
    seconds = paced(settings, splits, predictions=1, corruptions=1000)
    tests = finished[1].bars["shift"]["total"] * len(splits.test)
    assert round(seconds["shift"]) == 1000 * tests + 3 * len(ARMS) * (tests + len(splits.test))
    everything = len(splits.train) + len(splits.val) + len(splits.test)
    tuning = 2 * len(splits.val)
    assert round(seconds["membership"]) == 6 * 2 * everything + tuning, "synthetic is skipped"


def test_only_what_is_asked_for_has_a_row(pets, tiny_pipeline_folder, splits):
    plain = estimate(
        tiny_settings(
            pets,
            tiny_pipeline_folder,
            compare={"arms": ["real"]},
            curate={"score": "none", "threshold": None},
        ),
        splits,
        NOTHING,
        strength=1,
    )
    assert list(plain.seconds) == ["adapt", "draw", "curate", "compare"]
    assert [name for name, _ in plain.rows()] == ["adapt", "draw", "curate", "compare", "total", "disk"]
    judged = tiny_settings(pets, tiny_pipeline_folder)
    assert paced(judged, splits, steps=1)["curate"] == judged.compare.steps


@pytest.mark.parametrize(
    ("passing", "most", "refills"),
    [(1.0, 2, 0), (0.5, 0, 0), (0.5, 1, 6), (0.5, 3, 6), (0.1, 1, 22), (0.0, 2, 48)],
)
def test_rejected_images_are_drawn_again_as_by_a_run(
    passing, most, refills, pets, tiny_pipeline_folder, splits
):
    """Six images: 6 / 0.5 in all if half of them pass; a refill draws at most four times what is missing."""
    chosen = tiny_settings(pets, tiny_pipeline_folder, curate={"max_refills": most})
    pace = Pace(**{**vars(NOTHING), "images": 1, "image_bytes": 1e6})
    found = estimate(chosen, splits, pace, strength=1, passing=passing)
    assert found.refills == refills
    assert found.seconds["curate"] == refills
    told = f"with {refills} images in place of rejected ones"
    assert (told in dict(found.rows())["curate"]) == bool(refills)


def test_rows_add_up():
    found = Estimate(
        seconds={"draw": 60.0, "compare": 60.0, "membership": 7200.0},
        images=30,
        images_per_second=0.5,
        disk_mb=1.0,
    )
    assert found.rows() == [
        ("draw", "60 s for 30 images at 0.5 images/s"),
        ("compare", "60 s"),
        ("membership", "2.0 h"),
        ("total", "2.0 h"),
        ("disk", "1.0 MB of synthetic images and classifiers"),
    ]


@pytest.mark.slow
def test_a_preview_measures_all_of_it(settings, tmp_path):
    found = preview(settings, tmp_path / "sheet.png").estimate
    stages = ["adapt", "draw", "curate", "tune", "compare", "scale", "gap", "shift", "membership"]
    assert list(found.seconds) == stages
    assert all(0 < seconds < 3600 for name, seconds in found.seconds.items() if name != "curate")


@pytest.mark.slow
def test_a_preview_measures_the_private_reference(pets, tiny_pipeline_folder, tmp_path):
    pytest.importorskip("opacus")
    audited = {"measure": True, "arms": ["real"], "shadows": 6, "false_positive_rates": [0.5]}
    one, two = (
        preview(
            tiny_settings(pets, tiny_pipeline_folder, membership={**audited, **more}), tmp_path / "sheet.png"
        ).estimate.seconds["membership"]
        for more in ({}, {"private_epsilon": 8.0})
    )
    assert 0 < one < two


def test_a_preview_refuses_an_audit_as_a_run_would(settings, tmp_path):
    few = settings.model_copy(
        update={"membership": settings.membership.model_copy(update={"false_positive_rates": (0.001,)})}
    )
    with pytest.raises(InputError, match="shadow models with 28 real images, got 6"):
        preview(few, tmp_path / "sheet.png")


@pytest.mark.parametrize(
    ("folder", "message"),
    [("wolf", "cat, wolf"), ("dog", "must not be val images")],
    ids=["classes", "copies"],
)
def test_a_preview_refuses_ready_made_images_as_a_run_would(folder, message, pets, tmp_path):
    made = shutil.copytree(pets, tmp_path / "made")
    (made / "dog").rename(made / folder)
    ready_made = {"generator": {"name": "folder", "images": [str(made)]}}
    settings = build(
        {key: value for key, value in SECTIONS.items() if key != "adapt"},
        {"data": {"source": str(pets)}},
        ready_made,
    )
    with pytest.raises(InputError, match=message):
        preview(settings, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_a_preview_refuses_a_strategy_without_effect_as_a_run_would(pets, tiny_pipeline_folder, tmp_path):
    """0.35 is what real guidance sets for four images per class."""
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        data={"source": str(pets), "shots": 4},
        draw={"steps": 20, "strength": 0.35},
        compare={"arms": ["real", "mixed@real-guidance"]},
    )
    with pytest.raises(InputError, match="'real-guidance' of the arm 'mixed@real-guidance' has no effect"):
        preview(settings, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_an_audited_arm_is_drawn_for_as_many_images_as_there_are(pets, tiny_pipeline_folder):
    """0.5 is what real guidance sets for one image per class, not for 14."""
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        draw={"steps": 20, "strength": 0.5},
        membership={
            "measure": True,
            "arms": ["mixed@real-guidance"],
            "shadows": 6,
            "false_positive_rates": [0.5],
        },
    )
    found = paced(settings, load_splits(settings.data, seed=settings.seed), steps=1)
    assert round(found["membership"]) == 6 * settings.compare.steps


def test_the_gap_is_counted_without_sets_that_would_be_the_plain_one(pets, tiny_pipeline_folder):
    def steps(noise_scale):
        gap = {"measure": True, "strengths": [0.5]}
        settings = tiny_settings(
            pets, tiny_pipeline_folder, draw={"noise_scale": noise_scale}, compare={"arms": ["real"]}, gap=gap
        )
        return paced(settings, load_splits(settings.data, seed=settings.seed), steps=1)["gap"]

    assert steps(1.0) / steps(1.1) == pytest.approx((7 + 2) / (6 + 2)), "sets and halves of the real images"


def test_steps_that_draw_images_are_timed_separately(tiny_generator, train, val, monkeypatch):
    """On a clock that counts the images that the network computes."""
    adapt = {
        "distribution": "drawn",
        "steps": 50,
        "batch_size": 4,
        "validate_every": 10,
        "validation_pairs": 16,
        "distribution_steps": 10,
        "drawn_images": 4,
        "drawn_steps": 3,
        "classes_per_batch": 2,
    }
    settings = build({"data": {"source": "digits"}, "adapt": adapt})
    counts, residual = [0], tiny_generator.denoising_residual

    def counted(x0, *arguments):
        counts.append(len(x0))
        return residual(x0, *arguments)

    monkeypatch.setattr(tiny_generator, "denoising_residual", counted)
    monkeypatch.setattr(cost.time, "monotonic", lambda: float(sum(counts)))
    data = AdaptData(train=train, val=val, prompt_names=("a cat", "a dog"))
    found = cost.time_adaptation(tiny_generator, data, settings).seconds(settings.adapt)
    # A plain step computes 4 images, a validation 16; drawing 4 images takes 3 steps, and 2 of them again
    # with gradients.
    assert found == 50 * 4 + 6 * 16 + 10 * 4 * (3 + 2)


def test_what_comes_before_the_first_step_is_not_part_of_every_step(train, monkeypatch):
    """The first training of a process imports libraries, which takes longer than many steps."""
    settings = build({"data": {"source": "digits"}, "compare": SECTIONS["compare"]})
    step_ends = itertools.count(1000.0)
    monkeypatch.setattr(cost.time, "monotonic", lambda: next(step_ends))
    _, seconds = cost.time_training(train, settings, device="cpu")
    assert seconds == 1
