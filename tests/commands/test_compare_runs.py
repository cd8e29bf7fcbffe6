"""Two runs side by side: what is paired, what differs, and what cannot be compared."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from tiny_job import tiny_settings, tree

from understudy.commands.compare_runs import compare_runs
from understudy.core.errors import InputError
from understudy.core.files import write_json
from understudy.data.labelled_set import LabelledSet
from understudy.functional.intervals import paired_difference
from understudy.functional.unpaired import unpaired_difference
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.report.compared import compared_tables, write_comparison

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]  # whole jobs

ARMS = {"arms": ["real", "synthetic", "mixed"]}


@pytest.fixture(scope="module")
def job(pets, tiny_pipeline_folder, tmp_path_factory):
    """Runs by their settings. Tests only copy them."""
    made = {}

    def finished(**sections):
        key = json.dumps(sections, sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("runs") / "run"
            run(tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, **sections), made[key])
        return RunFolder.find(made[key])

    return finished


@pytest.fixture
def a(job):
    return job(compare=ARMS)


@pytest.fixture
def b(job):
    return job(compare=ARMS | {"steps": 8})


def right(folder, arm):
    labels = LabelledSet.load(folder.path / "data" / "test.parquet").labels
    records = [
        np.load(folder.path / "arms" / f"{arm}-seed{index}.npz")
        for index in range(folder.settings.compare.num_seeds)
    ]
    return np.stack([record["probabilities"].argmax(1) == labels for record in records])


def test_equal_data_and_seeds_are_paired(a, b):
    found = compare_runs(a, b)
    assert found["settings"] == {"compare.steps": [4, 8]}
    assert all(counts["a"] == counts["b"] == counts["both"] > 0 for counts in found["data"].values())
    assert list(found["arms"]) == ["real", "synthetic", "mixed"]
    assert {arm["paired"] for arm in found["arms"].values()} == {"images and seeds"}
    assert found["pairing"] == "paired by test image and by seed"
    expected = paired_difference(right(b, "mixed"), right(a, "mixed"))
    assert tuple(found["arms"]["mixed"]["difference"].values()) == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def with_groups(folder, to):
    """The same run, of three test images of each patient."""
    out = shutil.copytree(folder.path, to)
    test = LabelledSet.load(out / "data" / "test.parquet")
    patients = pa.array([f"p{index // 3}" for index in range(len(test))])
    test.with_column("group", patients).save(out / "data" / "test.parquet")
    return RunFolder.find(out)


def test_differences_count_groups_if_a_run_has_them(a, b, tmp_path):
    grouped = with_groups(b, tmp_path / "run")
    groups = np.arange(len(right(b, "mixed")[0])) // 3
    found = compare_runs(a, grouped)["arms"]["mixed"]
    expected = paired_difference(right(b, "mixed"), right(a, "mixed"), groups)
    assert tuple(found["difference"].values()) == pytest.approx(expected)
    back = compare_runs(grouped, a)["arms"]["mixed"]["difference"]
    assert back["high"] - back["low"] == pytest.approx(expected[2] - expected[1])
    test = LabelledSet.load(grouped.path / "data" / "test.parquet")
    LabelledSet.from_images(
        255 - test.pixels(16),
        test.labels,
        class_names=test.class_names,
        split="test",
        ids=test.ids,
        provenance={"group": test.provenance("group")},
    ).save(grouped.path / "data" / "test.parquet")
    unpaired = compare_runs(a, grouped)["arms"]["mixed"]
    assert unpaired["paired"] == "nothing"
    expected = unpaired_difference(right(grouped, "mixed"), right(a, "mixed"), (groups, None))
    assert tuple(unpaired["difference"].values()) == pytest.approx(expected)


def test_exchanging_the_runs_turns_the_differences_round(a, b):
    there, back = compare_runs(a, b), compare_runs(b, a)
    for name, arm in there["arms"].items():
        assert arm["difference"]["mean"] == pytest.approx(-back["arms"][name]["difference"]["mean"])
        assert (arm["a"], arm["b"]) == (back["arms"][name]["b"], back["arms"][name]["a"])


def test_the_order_of_test_images_does_not_matter(a, b, tmp_path):
    out = shutil.copytree(b.path, tmp_path / "run")
    test = LabelledSet.load(out / "data" / "test.parquet")
    order = np.random.default_rng(0).permutation(len(test))
    test.select(order).save(out / "data" / "test.parquet")
    for path in out.glob("arms/*-seed*.npz"):
        with np.load(path) as record:
            np.savez(path, **(dict(record) | {"probabilities": record["probabilities"][order]}))
    assert compare_runs(a, RunFolder.find(out))["arms"] == compare_runs(a, b)["arms"]


def test_other_seeds_are_paired_by_image_and_other_images_not_at_all(a, b, tmp_path):
    out = shutil.copytree(b.path, tmp_path / "run")
    for index, path in enumerate(sorted(out.glob("arms/*-seed*.npz"))):
        with np.load(path) as record:
            np.savez(path, **(dict(record) | {"seed": 5000 + index}))
    by_image = compare_runs(a, RunFolder.find(out))
    assert {arm["paired"] for arm in by_image["arms"].values()} == {"images"}
    assert by_image["pairing"] == "paired by test image; the seeds of the trainings differ"
    test = LabelledSet.load(out / "data" / "test.parquet")
    LabelledSet.from_images(
        255 - test.pixels(16), test.labels, class_names=test.class_names, split="test", ids=test.ids
    ).save(out / "data" / "test.parquet")
    unpaired = compare_runs(a, RunFolder.find(out))
    assert unpaired["data"]["test"]["both"] == 0
    assert {arm["paired"] for arm in unpaired["arms"].values()} == {"nothing"}
    assert "not paired" in unpaired["pairing"]
    for name, arm in unpaired["arms"].items():
        assert arm["difference"]["mean"] == pytest.approx(by_image["arms"][name]["difference"]["mean"])


def test_another_number_of_trainings_is_not_paired(a, job):
    found = compare_runs(a, job(compare=ARMS | {"num_seeds": 4}))
    assert {arm["paired"] for arm in found["arms"].values()} == {"nothing"}


def test_arms_of_one_run_only_and_deleted_predictions(a, job, tmp_path):
    out = shutil.copytree(job(compare={"arms": ["real", "bridged"]}).path, tmp_path / "run")
    found = compare_runs(a, RunFolder.find(out))
    assert found["arms"]["mixed"]["b"] is None and found["arms"]["bridged"]["a"] is None
    assert found["arms"]["mixed"]["difference"] is None
    assert found["arms"]["real"]["difference"] is not None
    for path in out.glob("arms/*-seed*.npz"):
        path.unlink()
    deleted = compare_runs(a, RunFolder.find(out))
    assert {arm["paired"] for arm in deleted["arms"].values()} == {None}
    assert "their predictions were deleted" in deleted["sentence"]
    tables(deleted)
    write_comparison(tmp_path / "page.html", deleted)
    assert "none could be formed" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ((0, 1), "mixed of B beats mixed of A by 100.0 points"),
        ((1, 0), "mixed of A beats mixed of B"),
        ((1, 1), "No difference can be shown"),
    ],
)
def test_the_sentence_says_who_is_better(rates, words, a, tmp_path):
    """On predictions that are all right or all wrong."""
    made = []
    for name, rate in zip("ab", rates, strict=True):
        out = shutil.copytree(a.path, tmp_path / name)
        labels = LabelledSet.load(out / "data" / "test.parquet").labels
        for path in out.glob("arms/*-seed*.npz"):
            with np.load(path) as record:
                np.savez(
                    path, **(dict(record) | {"probabilities": np.eye(2)[labels if rate else 1 - labels]})
                )
        results = json.loads((out / "results.json").read_text())
        results["verdict"]["best"] = "mixed"
        write_json(out / "results.json", results)
        made.append(RunFolder.find(out))
    assert words in compare_runs(*made)["sentence"]


@pytest.mark.parametrize(
    ("encoders", "names"),
    [
        (
            ({"name": "generator", "fingerprint": "1"}, {"name": "backbone", "fingerprint": "1"}),
            ["generator"],
        ),
        (
            ({"name": "generator", "fingerprint": "1"}, {"name": "generator", "fingerprint": "2"}),
            ["generator of A", "generator of B, another network"],
        ),
        (
            ({"name": "generator", "fingerprint": "1"}, {"name": "mini", "fingerprint": "2"}),
            ["generator", "mini"],
        ),
        (({}, {}), ["unknown encoder of A", "unknown encoder of B, another network"]),
    ],
    ids=["same", "other weights", "others", "unknown"],
)
def test_features_of_one_network_are_compared(encoders, names, a, b, tmp_path):
    """By fingerprint: what is called generator may be two networks."""
    interval, made = {"mean": 0.5, "low": 0.4, "high": 0.6}, []
    for folder, encoder in zip((a, b), encoders, strict=True):
        out = shutil.copytree(folder.path, tmp_path / str(len(made)))
        results = json.loads((out / "results.json").read_text())
        results["fidelity"] = {
            "encoder": encoder,
            "measures": {"kid": {"value": interval, "floor": interval, "better": "lower"}},
        }
        results["memorisation"] = {
            "spaces": {space: {"closer_than_held_out": interval} for space in ("pixel", "feature")}
        }
        write_json(out / "results.json", results)
        made.append(RunFolder.find(out))
    rows = {
        row["name"]: (row["a"], row["b"])
        for row in compare_runs(*made)["rows"]
        if row["section"] in ("fidelity", "memorisation")
    }
    assert rows.pop("closer to train than held-out images, by pixel") == (interval, interval)
    ends = [(interval, interval)] if len(names) == 1 else [(interval, None), (None, interval)]
    assert rows == {
        name: values
        for encoder, values in zip(names, ends, strict=True)
        for name in (
            f"kid (lower is better; {encoder})",
            f"closer to train than held-out images, by feature ({encoder})",
        )
    }


def test_everything_else_that_was_measured(a, b, tmp_path):
    """Also what one of them has alone."""
    out = shutil.copytree(b.path, tmp_path / "run")
    results = json.loads((out / "results.json").read_text())
    interval = {"mean": 0.5, "low": 0.4, "high": 0.6}
    results["fidelity"] |= {
        "encoder": {"name": "inception", "fingerprint": "1"},
        "measures": {"kid": {"value": interval, "floor": interval, "better": "lower"}},
    }
    results["membership"] = {
        "attacks": {"lira": {"real": {"auc": interval, "tpr": [{"fpr": 0.01, "tpr": interval}]}}}
    }
    results["memorisation"] = {
        "firewall": {"exact": 0, "flagged": 2, "removed": 1},
        "spaces": {"pixel": {"closer_than_held_out": interval}},
    }
    results["shift"] = {
        "mean_corruption": {"real": {"accuracy": interval}},
        "tests": {"pens": {"arms": {"real": {"accuracy": interval}}}},
    }
    write_json(out / "results.json", results)
    found = compare_runs(a, RunFolder.find(out))
    rows = {(row["section"], row["name"]): (row["kind"], row["a"], row["b"]) for row in found["rows"]}
    assert rows["fidelity", "kid (lower is better; inception)"][2] == interval
    assert rows["membership", "lira, real: AUC"] == ("number", None, interval)
    assert rows["membership", "lira, real: true positives at 0.01"] == ("share", None, interval)
    assert rows["memorisation", "copies of train images: flagged"][2] == 2
    assert rows["shift", "real: accuracy on pens"] == ("share", None, interval)
    assert rows["cost", "compare"][0] == "seconds"
    sections = [row["section"] for row in found["rows"]]
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index), (
        "rows of a section stand together"
    )
    printed = tables(found)
    assert "50.0 [40.0, 60.0]%" in printed and "n/a" in printed
    write_comparison(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert "50.0 [40.0, 60.0]%" in page


def tables(comparison):
    console = Console(width=200)
    with console.capture() as captured:
        for table in compared_tables(comparison):
            console.print(table)
    return captured.get()


class Elements(HTMLParser):
    """Ids, links within the page, and whether tags close."""

    def __init__(self):
        super().__init__()
        self.ids, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"][1:]] if values.get("href", "").startswith("#") and tag == "a" else []
        if tag not in ("meta", "link", "br", "path", "use", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass


def test_the_page_says_what_the_table_says(a, b, tmp_path):
    found = compare_runs(a, b)
    before = tree(a.path)
    write_comparison(tmp_path / "page.html", found)
    assert tree(a.path) == before
    page = (tmp_path / "page.html").read_text()
    elements = Elements()
    elements.feed(page)
    assert set(elements.links) <= set(elements.ids)
    assert len(elements.ids) == len(set(elements.ids))
    assert not re.search(r"""(src|href)=["']https?:""", page), "it needs no network"
    values = [
        float(value)
        for value in re.findall(r'data-arm="mixed" data-field="difference\.mean" data-value="([^"]+)"', page)
    ]
    assert values == [found["arms"]["mixed"]["difference"]["mean"]]
    printed = tables(found)
    assert "compare.steps" in printed and "compare.steps" in page
    for arm in found["arms"].values():
        assert f"{100 * arm['a']['mean']:.1f} [" in printed


def test_names_are_not_markup(a, b, tmp_path):
    found = compare_runs(a, b)
    found["arms"] = {"<b>[red]": found["arms"]["mixed"]}
    found["a"]["path"] = "<script>alert(1)</script>"
    write_comparison(tmp_path / "page.html", found)
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page and "<b>[red]" not in page
    assert "<b>[red]" in tables(found)


def test_the_same_settings_differ_in_nothing(a, tmp_path):
    copy = RunFolder.find(shutil.copytree(a.path, tmp_path / "copy"))
    found = compare_runs(a, copy)
    assert found["settings"] == found["environment"] == {}
    assert "nothing" in tables(found)
    write_comparison(tmp_path / "page.html", found)
    differences = [arm["difference"] for arm in found["arms"].values()]
    assert all(-low == high > mean == 0 for mean, low, high in map(dict.values, differences))


def test_what_cannot_be_compared(a, b, tiny_pipeline_folder, tmp_path):
    with pytest.raises(InputError, match="the two runs to compare must differ, got .* twice"):
        compare_runs(a, RunFolder.find(a.path / ".." / a.path.name))
    unfinished = shutil.copytree(b.path, tmp_path / "unfinished")
    (unfinished / "results.json").unlink()
    with pytest.raises(InputError, match="unfinished is not finished: go on with 'understudy run"):
        compare_runs(a, RunFolder.find(unfinished))
    other = shutil.copytree(b.path, tmp_path / "other")
    results = json.loads((other / "results.json").read_text())
    results["data"]["classes"] = ["dog", "emu", "fox"]
    write_json(other / "results.json", results)
    with pytest.raises(
        InputError, match=r"the same classes, got\n  only in .*: cat\n  only in .*other: emu, fox"
    ):
        compare_runs(a, RunFolder.find(other))
    with pytest.raises(InputError, match=r" is a folder: give the name of a file in it, such as new\.html"):
        write_comparison(tmp_path, compare_runs(a, b))


def test_the_command_line(a, b, understudy, tmp_path):
    code, out, _ = understudy("compare-runs", a.path, b.path, "--to", tmp_path / "compare.html")
    assert code == 0
    assert "B minus A, points" in out and str(tmp_path / "compare.html") in out
    assert (tmp_path / "compare.html").stat().st_size > 5000
    assert understudy("compare-runs", a.path, b.path)[0] == 0
    code, _, err = understudy("compare-runs", a.path, tmp_path / "nowhere")
    assert code == 2
    assert "holds no run (no settings.yaml)" in err
