import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.errors import InputError
from understudy.sampling import batches, make_plan, quotas, read_part, write_parts
from understudy.settings import DrawSettings

NAMES = ("a cat", "a dog")


def plan(train, counts, *, seed=0, **changes):
    return make_plan(train, np.array(counts), settings=DrawSettings(**changes), prompt_names=NAMES, seed=seed)


def test_rows_say_everything(train):
    row = plan(train, [1, 2], prompt="photo of {class}", negative_prompt="no {class}", guidance_scale=3.0)[2]
    assert (row.label, row.class_name, row.prompt, row.negative_prompt) == (1, "dog", "photo of a dog", "no a dog")
    assert (row.sampler, row.steps, row.guidance_scale, row.strength, row.source_id) == ("unipc", 20, 3.0, 1.0, "")
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


def test_quotas(train):
    assert quotas(train, DrawSettings(times=2, min_per_class=1)).tolist() == [8, 8]
    assert quotas(train, DrawSettings(times=2)).tolist() == [100, 100]
    assert quotas(train, DrawSettings(per_class=3, times=9)).tolist() == [3, 3]


def test_parts_round_trip_and_are_not_rewritten(train, tmp_path):
    rows = plan(train, [3, 4])
    paths = write_parts(rows, tmp_path, part_size=3)
    assert [path.name for path in paths] == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    assert [row for path in paths for row in read_part(path)] == rows
    times = [path.stat().st_mtime_ns for path in paths]
    write_parts(rows, tmp_path, part_size=3)
    assert [path.stat().st_mtime_ns for path in paths] == times


def test_another_plan_is_refused(train, tmp_path):
    write_parts(plan(train, [3, 4]), tmp_path, part_size=3)
    with pytest.raises(InputError, match=r"part-00000.parquet holds another plan"):
        write_parts(plan(train, [3, 4], seed=1), tmp_path, part_size=3)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0]), st.sampled_from(["unipc", "ddim"])), max_size=20), st.integers(1, 6))
def test_batches_keep_order_and_share_settings(kinds, batch_size):
    base = make_row()
    rows = [dataclasses.replace(base, seed=i, guidance_scale=g, sampler=s) for i, (g, s) in enumerate(kinds)]
    parts = list(batches(rows, batch_size))
    assert [row for part in parts for row in part] == rows
    for part in parts:
        assert 0 < len(part) <= batch_size
        assert len({(row.guidance_scale, row.sampler) for row in part}) == 1


def make_row():
    from understudy.nouns import PlanRow

    return PlanRow(
        id="i", label=0, class_name="cat", prompt="", negative_prompt="", seed=0, sampler="unipc", steps=2, guidance_scale=1.0,
        strength=1.0, source_id="", visual="none", visual_id="", adapter="", adapter_scale=1.0,
    )  # fmt: skip
