import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import AnyGenerator, captioned, plan_row

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.sampling.plan import Planner, batches, quotas, read_part, write_parts
from understudy.sampling.settings import DrawSettings

NAMES = ("a cat", "a dog")


def plan(train, counts, *, seed=0, visual="none", number=0, start=(0, 0), strength_found=1.0, **changes):
    planner = Planner(
        train=train,
        generator=AnyGenerator(strength_found),
        settings=DrawSettings(**changes),
        prompt_names=NAMES,
        seed=seed,
        visual=visual,
        generator_number=number,
    )
    return list(planner.rows(np.array(start), np.array(counts)))


def told_apart(data):
    """Every image's caption says which image it is of."""
    return captioned(data, data.ids)


def used(rows, label=0):
    """Start, caption, feature and exemplar of the rows of a class: ids of images."""
    return [
        (row.source_id, row.prompt.split(", ")[1], row.visual_id, row.exemplar_id)
        for row in rows
        if row.label == label
    ]


GUIDED = {"strength": 0.5, "visual": "per-image", "prompt": "{class}, {caption}", "exemplar_weight": 0.1}


def test_rows_say_everything(train):
    row = plan(train, [1, 2], prompt="photo of {class}", negative_prompt="no {class}", guidance_scale=3.0)[2]
    assert (row.label, row.class_name, row.prompt, row.negative_prompt) == (
        1,
        "dog",
        "photo of a dog",
        "no a dog",
    )
    assert (row.sampler, row.steps, row.guidance_scale, row.strength, row.source_id) == (
        "unipc",
        20,
        3.0,
        1.0,
        "",
    )
    assert row.id == "synthetic-0001-00-000001"


def test_a_larger_plan_holds_the_smaller_one(train):
    small, large = plan(train, [2, 3]), plan(train, [5, 7])
    assert set(small) < set(large)


def test_seeds_are_distinct_and_follow_the_run(train):
    rows = plan(train, [50, 50])
    assert len({row.seed for row in rows}) == 100
    assert all(0 <= row.seed < 2**63 for row in rows)
    assert {row.seed for row in rows}.isdisjoint(row.seed for row in plan(train, [50, 50], seed=1))


def test_sources_are_of_the_class_and_used_equally(train):
    rows = plan(train, [8, 8], strength=0.75)
    label_of = dict(zip(train.ids, train.labels, strict=True))
    assert all(label_of[row.source_id] == row.label for row in rows)
    sources = [row.source_id for row in rows]
    assert {sources.count(name) for name in train.ids} == {2}


def test_a_class_without_real_images_cannot_start_from_one(train):
    cats = train.select(np.flatnonzero(train.labels == 0))
    with pytest.raises(InputError, match="class 'dog' has none in the train split"):
        plan(cats, [1, 1], strength=0.5)
    assert len(plan(cats, [1, 1])) == 2


def test_only_the_train_split_is_planned_for(train):
    with pytest.raises(InputError, match="planning what to draw needs a train set, got a test set"):
        plan(train.with_split("test"), [1, 1])


def test_prompts_are_checked_once_each(train):
    generator = AnyGenerator()
    planner = Planner(
        train=train,
        generator=generator,
        settings=DrawSettings(guidance_scale=2, negative_prompt="ugly"),
        prompt_names=NAMES,
        seed=0,
        visual="class-mean",
    )
    planner.check(np.zeros(2, dtype=np.int64), np.array([3, 3]))
    assert generator.checked == [(["a photo of a cat", "a photo of a dog"], True), (["ugly"], False)]


def test_quotas(train):
    assert quotas(train, DrawSettings(times=2, min_per_class=1)).tolist() == [8, 8]
    assert quotas(train, DrawSettings(times=2)).tolist() == [100, 100]
    assert quotas(train, DrawSettings(per_class=3, times=9)).tolist() == [3, 3]


def test_single_classes_have_numbers_of_their_own(train):
    cat, dog = train.class_names
    assert quotas(train, DrawSettings(per_class=3, of_classes={dog: 70})).tolist() == [3, 70]
    assert quotas(train, DrawSettings(of_classes={cat: 1, dog: 7})).tolist() == [1, 7]
    with pytest.raises(InputError, match="draw.of_classes must name classes, .*, got 'dgo'"):
        quotas(train, DrawSettings(of_classes={"dgo": 7}))


def test_parts_round_trip_and_are_not_rewritten(train, tmp_path):
    rows = plan(train, [3, 4])
    paths = write_parts(rows, tmp_path, part_size=3)
    assert [path.name for path in paths] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [row for path in paths for row in read_part(path)] == rows
    times = [path.stat().st_mtime_ns for path in paths]
    write_parts(rows, tmp_path, part_size=3)
    assert [path.stat().st_mtime_ns for path in paths] == times


def test_a_part_keeps_the_precision_of_the_machine_that_planned_it(train, tmp_path):
    rows = plan(train, [3, 4])
    (path,) = write_parts(rows, tmp_path, part_size=7)
    again = [dataclasses.replace(row, precision="bfloat16") for row in rows]
    assert write_parts(again, tmp_path, part_size=7) == [path]
    assert {row.precision for row in read_part(path)} == {"float32"}


def test_a_plan_of_version_0_1_is_drawn_in_float32(train, tmp_path):
    rows = plan(train, [3, 4])
    (path,) = write_parts(rows, tmp_path, part_size=7)
    new = ["precision", "exemplar_id", "exemplar_weight", "exemplar_every"]
    pq.write_table(pq.read_table(path).drop_columns(new), path)
    assert read_part(path) == rows


def test_another_plan_is_refused(train, tmp_path):
    write_parts(plan(train, [3, 4]), tmp_path, part_size=3)
    with pytest.raises(InputError, match=r"part-00000.parquet holds a different plan"):
        write_parts(plan(train, [3, 4], seed=1), tmp_path, part_size=3)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from([1.0, 2.0]), st.sampled_from(["unipc", "ddim"])), max_size=20),
    st.integers(1, 6),
)
def test_batches_keep_order_and_share_settings(kinds, batch_size):
    base = plan_row()
    rows = [dataclasses.replace(base, seed=i, guidance_scale=g, sampler=s) for i, (g, s) in enumerate(kinds)]
    parts = list(batches(rows, batch_size))
    assert [row for part in parts for row in part] == rows
    for part in parts:
        assert 0 < len(part) <= batch_size
        assert len({(row.guidance_scale, row.sampler) for row in part}) == 1


@pytest.mark.parametrize("pairing", ["paired", "random"])
def test_all_images_of_the_class_are_used_equally_often(pairing, train):
    """Whatever a row takes from a real image, and in every round of n rows."""
    cats = {name for name, label in zip(train.ids, train.labels, strict=True) if label == 0}
    rows = used(plan(told_apart(train), [12, 12], pairing=pairing, **GUIDED))
    for start in (0, 4, 8):
        for part in zip(*rows[start : start + 4], strict=True):
            assert len(part) == 4
            assert set(part) == cats


def test_paired_rows_come_from_one_image_and_random_ones_do_not(train):
    paired, random = (
        used(plan(told_apart(train), [12, 12], pairing=pairing, **GUIDED)) for pairing in ("paired", "random")
    )
    assert all(len(set(row)) == 1 for row in paired)
    for one in range(4):
        for other in range(one):
            assert [row[one] for row in random] != [row[other] for row in random]
    assert [row[0] for row in random[:4]] != [row[0] for row in random[4:8]], (
        "every n rows have an order of their own"
    )


@pytest.mark.parametrize("pairing", ["paired", "random"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_larger_plan_holds_the_smaller_one_whatever_it_pairs(pairing, number, train):
    options = {"pairing": pairing, "number": number, **GUIDED}
    small, large = plan(told_apart(train), [3, 5], **options), plan(told_apart(train), [9, 5], **options)
    assert large[:3] == small[:3]
    assert large[9:] == small[3:]


@pytest.mark.parametrize("pairing", ["paired", "random"])
def test_refills_use_an_order_of_their_own(pairing, train):
    """A refill of one or two images would else always take the first ones of the class."""
    many = LabelledSet.from_images(
        train.pixels(16)[[0] * 20], [0] * 19 + [1], class_names=train.class_names, split="train"
    )
    rounds = [
        used(plan(told_apart(many), [19, 0], pairing=pairing, number=number, **GUIDED)) for number in range(3)
    ]
    assert len({tuple(row[0] for row in rows) for rows in rounds}) == 3
    for rows in rounds:
        assert {row[0] for row in rows} == set(many.ids[:19])
        assert all(len(set(row)) == 1 for row in rows) == (pairing == "paired")


@pytest.mark.parametrize("pairing", ["paired", "random"])
@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (3, 3), (99, 4)])
def test_exemplars_take_turns(pairing, limit, expected, train):
    rows = plan(train, [24, 24], pairing=pairing, exemplar_weight=0.1, exemplars=limit, exemplar_every=3)
    for label in (0, 1):
        ids = [row.exemplar_id for row in rows if row.label == label]
        assert len(set(ids)) == expected
        assert ids == ids[:expected] * (24 // expected)
        assert set(ids) <= {name for name, of in zip(train.ids, train.labels, strict=True) if of == label}
    assert {(row.exemplar_weight, row.exemplar_every) for row in rows} == {(0.1, 3)}


def test_without_guidance_rows_are_those_of_earlier_plans(train):
    rows = plan(train, [3, 3], exemplar_weight=0.0)
    assert {(row.exemplar_id, row.exemplar_weight, row.exemplar_every) for row in rows} == {("", 0.0, 1)}


def test_captions_stand_in_both_prompts(train):
    rows = plan(
        told_apart(train),
        [4, 4],
        prompt="photo of {class}, {caption}",
        negative_prompt="ugly {caption}",
        guidance_scale=2,
    )
    assert rows[0].prompt == "photo of a cat, train-0-0"
    assert rows[4].negative_prompt == "ugly train-0-1"
    without = plan(train, [1, 1], prompt="photo of {class}, {caption}")
    assert without[0].prompt == "photo of a cat"


def test_templates_are_chosen_by_the_row_alone(train):
    rows = plan(train, [60, 0], prompt="photographs")
    assert len({row.prompt for row in rows}) > 20
    assert plan(train, [7, 0], prompt="photographs") == rows[:7]


def test_a_list_of_strengths_gives_each_an_equal_share(train):
    """In every run of as many images; a real image is noised differently from round to round."""
    strengths = (0.3, 0.5, 0.75, 1.0)
    rows = plan(train, [40, 40], strength=strengths)
    for start in range(0, 80, 4):
        assert sorted(row.strength for row in rows[start : start + 4]) == list(strengths)
    assert all((row.source_id == "") == (row.strength == 1) for row in rows)
    of_one = {row.strength for row in rows if row.source_id == train.ids[0]}
    assert of_one == {0.3, 0.5, 0.75}
    assert plan(train, [40, 40], strength=strengths)[:7] == plan(train, [7, 0], strength=strengths)
    assert plan(train, [9, 9], strength=(0.5,)) == plan(train, [9, 9], strength=0.5)


def test_a_strength_found_from_the_noise_level_is_used(train):
    rows = plan(train, [1, 1], start_snr=0.07, strength_found=0.7)
    assert {(row.strength, row.source_id) for row in rows} == {(0.7, train.ids[0]), (0.7, train.ids[1])}
    assert {row.source_id for row in plan(train, [1, 1], start_snr=1e-9, strength_found=1.0)} == {""}


@pytest.mark.parametrize(
    ("kind", "named"), [("none", False), ("class-mean", False), ("per-image", True), ("sampled", False)]
)
def test_only_features_of_single_images_name_one(kind, named, train):
    rows = plan(train, [2, 2], visual=kind)
    assert {row.visual for row in rows} == {kind}
    assert [bool(row.visual_id) for row in rows] == [named] * 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"strength": 0.5}, "draw.strength below 1 starts from real images"),
        ({"start_snr": 0.1, "strength_found": 0.5}, "draw.strength below 1 starts from real images"),
        ({"visual": "class-mean"}, "visual guidance needs real images"),
        ({"exemplar_weight": 0.1}, "draw.exemplar_weight above 0 needs real images"),
        ({"prompt": "{class} {caption}"}, "a prompt with {caption} needs real images"),
        ({"negative_prompt": "{caption}", "guidance_scale": 2}, "a prompt with {caption} needs real images"),
    ],
)
def test_what_needs_real_images_says_so(options, reason, train):
    cats = told_apart(train.select(np.flatnonzero(train.labels == 0)))
    with pytest.raises(InputError, match=f"{reason}, and class 'dog' has none in the train split"):
        plan(cats, [1, 1], **options)
    assert len(plan(cats, [2, 0], **options)) == 2, "no image of the class is wanted"


def test_rows_are_planned_and_written_a_part_at_a_time(train, tmp_path):
    made = []

    def counted(rows):
        for row in rows:
            made.append(len(list(tmp_path.iterdir())))
            yield row

    rows = plan(train, [5, 5])
    paths = write_parts(counted(iter(rows)), tmp_path, part_size=4)
    assert made == [0] * 4 + [1] * 4 + [2] * 2
    assert [row for path in paths for row in read_part(path)] == rows
