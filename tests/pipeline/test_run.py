"""The whole job on a tiny folder, stage by stage."""

import json
import re
import runpy
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tiny import save_tiny_image_encoder, two_classes
from tiny_job import Listener, times, tiny_settings, tree

from understudy.commands.export import export_dataset as export_run
from understudy.core.errors import InputError
from understudy.curation.scores import SCORES, Score
from understudy.data.export import EXPORTS
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import STAGE_NAMES, run, write_report_again
from understudy.settings import build

pytestmark = pytest.mark.usefixtures("plain_report")

ROOT = Path(__file__).parent.parent.parent
OPTIONAL = ("tune", "scale", "gap", "shift", "membership")  # done only where settings ask for them
TWO_ARMS = {"compare": {"arms": ["real", "synthetic"]}}


@pytest.fixture(scope="module")
def finished(pets, tiny_pipeline_folder, tmp_path_factory):
    """A finished run, and who listened to it. Tests only read it."""
    out, listener = tmp_path_factory.mktemp("runs") / "pets", Listener()
    run(tiny_settings(pets, tiny_pipeline_folder), out, observer=listener)
    return out, listener


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def adapted(folder):
    """What adaptation ends with, without what it needs to go on."""
    return {path: digest for path, digest in tree(folder / "adapter").items() if path != "checkpoint.pt"}


def test_results_are_as_documented(finished, capsys):
    out, _ = finished
    runpy.run_path(str(ROOT / "benchmarks" / "check_results.py"))["main"](out / "results.json")
    results = results_of(out)
    assert results["data"]["classes"] == ["cat", "dog"]
    assert results["data"]["train"] + results["data"]["val"] + results["data"]["test"] == 24
    assert list(results["arms"]) == ["real", "synthetic", "mixed", "bridged"]
    assert set(results["cost"]["seconds"]) == {
        "load",
        "adapt",
        "draw",
        "curate",
        "fidelity",
        "memorisation",
        "compare",
    }
    assert 0.1 < results["cost"]["peak_memory_gb"] < 16
    assert results["adaptation"]["steps"] == 4
    assert results["environment"]["device"] == "cpu"
    assert results["verdict"]["sentence"] in capsys.readouterr().out


def test_the_curated_set_is_what_the_results_say(finished):
    out, _ = finished
    curated, results = LabelledSet.load(out / "synthetic" / "curated.parquet"), results_of(out)
    decisions = pq.read_table(out / "synthetic" / "decisions.parquet").to_pylist()
    assert curated.split == "synthetic"
    assert curated.ids == [row["id"] for row in decisions if row["kept"]]
    assert len(curated) == results["curation"]["kept"] > 0
    assert len(decisions) == results["curation"]["drawn"]
    assert set(curated.provenance("adapter")) == {results["adaptation"]["fingerprint"]}
    assert set(curated.provenance("nearest_id")) <= set(LabelledSet.load(out / "data" / "train.parquet").ids)


def test_report_and_card_are_written(finished):
    out, _ = finished
    sentence = results_of(out)["verdict"]["sentence"]
    assert sentence.split(":")[0] in (out / "report.html").read_text()
    card = (out / "README.md").read_text()
    assert card.startswith("---\n")
    assert "synthetic/curated.parquet" in card


def test_every_stage_says_something_and_bars_end_full(finished):
    _, listener = finished
    assert [line.split(":")[0] for line in listener.lines] == [
        name for name in STAGE_NAMES if name not in OPTIONAL
    ]
    assert {"adapt", "draw round-00", "compare"} <= set(listener.bars)
    assert all(bar["done"] == bar["total"] for bar in listener.bars.values())


def test_the_second_run_does_nothing_and_says_so(finished, pets, tiny_pipeline_folder):
    out, _ = finished
    before, again = times(out), Listener()
    results = run(tiny_settings(pets, tiny_pipeline_folder), out, observer=again)
    assert times(out) == before
    assert again.lines == [
        f"{name}: finished earlier, kept" for name in STAGE_NAMES[1:] if name not in OPTIONAL
    ]
    assert not again.bars
    assert results == results_of(out)


def test_the_report_can_be_written_again(finished, monkeypatch):
    monkeypatch.undo()  # with the real page
    out, _ = finished
    results, page = results_of(out), (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert write_report_again(RunFolder.find(out)) == results == results_of(out)
    assert abs((out / "report.html").stat().st_size - len(page)) < 100


@pytest.mark.parametrize("form", list(EXPORTS))
def test_an_export_is_a_source(form, finished, tmp_path):
    out, _ = finished
    curated = LabelledSet.load(out / "synthetic" / "curated.parquet")
    assert export_run(RunFolder.find(out), tmp_path / "to", form=form) == len(curated)
    assert "synthetic" in (tmp_path / "to" / "README.md").read_text()
    # The card stands beside the class folders, where a folder source takes it for a bad file.
    splits = load_splits(
        DataSettings(source=str(tmp_path / "to"), skip_bad=form == "folder", near_duplicate_distance=-1),
        seed=0,
    )
    assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == len(curated)
    assert splits.train.class_names == curated.class_names
    with pytest.raises(InputError, match="must be a new or empty folder to export to"):
        export_run(RunFolder.find(out), tmp_path / "to", form=form)


def test_unfinished_runs_are_neither_reported_nor_exported(pets, tiny_pipeline_folder, tmp_path):
    records = run(tiny_settings(pets, tiny_pipeline_folder), tmp_path / "run", until="load")
    assert set(records) == {"load"}
    folder = RunFolder.find(tmp_path / "run")
    with pytest.raises(InputError, match="is not finished: go on with 'understudy run"):
        write_report_again(folder)
    with pytest.raises(InputError, match="has no curated images yet: go on with 'understudy run"):
        export_run(folder, tmp_path / "to", form="folder")
    assert not (tmp_path / "to").exists()


def test_test_images_are_sealed_and_stages_can_be_done_one_at_a_time(
    finished, pets, tiny_pipeline_folder, tmp_path
):
    """With other test images nothing changes but what is measured on them."""
    whole, out = finished[0], tmp_path / "run"
    settings = tiny_settings(pets, tiny_pipeline_folder)
    for number, stage in enumerate(STAGE_NAMES):
        run(settings, out, until=stage)
        expected = [
            name for name in STAGE_NAMES[: number + 1] if name not in OPTIONAL
        ]  # sizes that nobody asked for
        assert sorted(path.stem for path in (out / "stages").iterdir()) == sorted(expected)
        if stage == "load":
            test = LabelledSet.load(out / "data" / "test.parquet")
            other = two_classes(len(test), seed=77).pixels(16)
            LabelledSet.from_images(
                other, 1 - test.labels, class_names=test.class_names, split="test", ids=test.ids
            ).save(out / "data" / "test.parquet")
    assert results_of(out)["adaptation"] == results_of(whole)["adaptation"]
    assert results_of(out)["curation"] == results_of(whole)["curation"]
    assert adapted(out) == adapted(whole)
    assert tree(out / "synthetic") == tree(whole / "synthetic")
    for arm in results_of(out)["arms"]:
        assert tree(out / "arms" / f"{arm}-classifier") == tree(whole / "arms" / f"{arm}-classifier")
        for seed in range(3):
            here, there = (
                dict(np.load(folder / "arms" / f"{arm}-seed{seed}.npz")) for folder in (out, whole)
            )
            assert here["val_accuracy"] == there["val_accuracy"]
            assert not np.array_equal(here["probabilities"], there["probabilities"])


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_without_adaptation(strength, pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets, tiny_pipeline_folder, adapt={"method": "none"}, draw={"strength": strength}, **TWO_ARMS
    )
    results = run(settings, tmp_path / "run")
    assert results["adaptation"] == {"method": "none"}
    assert not (tmp_path / "run" / "adapter").exists()
    sources = set(
        LabelledSet.load(tmp_path / "run" / "synthetic" / "curated.parquet").provenance("source_id")
    )
    train = set(LabelledSet.load(tmp_path / "run" / "data" / "train.parquet").ids)
    assert sources == {""} if strength == 1 else sources <= train


def test_a_generator_that_draws_nothing_useful(pets, tiny_pipeline_folder, tmp_path, monkeypatch):
    """Every image is one grey: nothing is kept, the run ends all the same, and its page says so."""
    monkeypatch.undo()  # with the real page
    grey = StableDiffusionGenerator.load(str(tiny_pipeline_folder)).pipeline
    with torch.no_grad():
        for parameter in grey.vae.decoder.conv_out.parameters():
            parameter.zero_()
    grey.save_pretrained(tmp_path / "grey")
    listener, out = Listener(), tmp_path / "run"
    results = run(
        tiny_settings(pets, tmp_path / "grey", adapt={"method": "none"}, curate={"max_refills": 2}),
        out,
        observer=listener,
    )
    # The first round asks for 3 per class, each refill for 4 times what is missing.
    problem = results["curation"]["problem"]
    assert problem.startswith(
        "after 2 refills, 2 of 2 classes have no image, and 0 of the 6 wanted images were kept:\n"
        "  'cat': 27 drawn (27 constant)"
    )
    expected = {
        "drawn": 54,
        "kept": 0,
        "rejected": {"constant": 54},
        "threshold": 0.0,
        "rounds": 3,
        "missing": {"cat": 3, "dog": 3},
    }
    assert results["curation"] == expected | {"problem": problem}
    assert list(results["arms"]) == ["real"]
    assert results["verdict"]["helps"] is False
    assert results["verdict"]["sentence"].startswith(
        "None of the 54 drawn images passed curation. No arm used synthetic images"
    )
    assert "curate: kept 0 of 54 drawn, 6 fewer than wanted" in listener.lines
    assert "None of the 54 drawn images passed curation" in (out / "report.html").read_text()
    assert results["fidelity"]["warnings"][0].startswith("Fidelity was not measured:")
    assert results["memorisation"]["spaces"] == {}
    with pytest.raises(InputError, match="has no images to export: none that was drawn passed curation"):
        export_run(RunFolder.find(out), tmp_path / "to", form="folder")
    assert run(RunFolder.find(out).settings, out) == results


def test_a_class_that_cannot_be_filled_is_reported(pets, tiny_pipeline_folder, tmp_path, monkeypatch):
    """All dogs are rejected; training goes on with the cats."""
    monkeypatch.setitem(
        SCORES._things,
        "agreement",
        Score(lambda drawn, judge: (drawn.labels == 0).astype(float), "none", 0.5),
    )
    results = run(
        tiny_settings(
            pets, tiny_pipeline_folder, adapt={"method": "none"}, curate={"threshold": 0.5}, **TWO_ARMS
        ),
        tmp_path / "run",
    )
    assert results["curation"]["missing"] == {"dog": 3}
    assert results["curation"]["rejected"] == {"low score": 15}
    assert results["fidelity"]["agreement"]["per_class"] == [1.0, 0.0]
    assert LabelledSet.load(tmp_path / "run" / "synthetic" / "curated.parquet").counts.tolist() == [3, 0]
    assert set(results["arms"]) == {"real", "synthetic"}


def test_few_shot_runs_keep_that_many_images(pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(pets, tiny_pipeline_folder, data={"source": str(pets), "shots": 2})
    records = run(settings, tmp_path / "run", until="load")
    train, val, test = (
        LabelledSet.load(tmp_path / "run" / "data" / f"{split}.parquet") for split in ("train", "val", "test")
    )
    assert train.counts.tolist() == val.counts.tolist() == [2, 2]
    assert (records["load"]["train"], records["load"]["val"], records["load"]["test"]) == (4, 4, len(test))
    everything = load_splits(DataSettings(source=str(pets)), seed=0)
    assert test.ids == everything.test.ids, "the test split is that of the whole set"
    assert set(train.ids) < set(everything.train.ids)


def test_class_names_are_used_in_prompts(pets, tiny_pipeline_folder, tmp_path):
    (tmp_path / "names.txt").write_text("dog: a good boy\ncat: the boss\n")
    data = {"source": str(pets), "class_names": str(tmp_path / "names.txt")}
    run(
        tiny_settings(pets, tiny_pipeline_folder, data=data, adapt={"method": "none"}),
        tmp_path / "run",
        until="draw",
    )
    plan = pq.read_table(tmp_path / "run" / "synthetic" / "plan" / "round-00").to_pylist()
    assert {(row["class_name"], row["prompt"]) for row in plan} == {
        ("cat", "a photo of the boss"),
        ("dog", "a photo of a good boy"),
    }


def save_as(kind, image, stem):
    """One picture in one of the odd ways in which pictures come."""
    if kind == "exif":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(stem.with_suffix(".jpg"), quality=95, exif=exif)
    elif kind == "16-bit":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(stem.with_suffix(".png"))
    elif kind == "wide":
        wide = Image.new("RGB", (40, 24), "white")
        wide.paste(image, (4, 4))
        wide.save(stem.with_suffix(".png"))
    else:
        image.convert(kind).save(stem.with_suffix(".png"))


def test_a_folder_of_odd_files(tiny_pipeline_folder, tmp_path):
    pets, kinds = two_classes(24), ("L", "RGBA", "P", "16-bit", "exif", "wide")
    for index, label in enumerate(pets.labels):
        stem = tmp_path / "odd" / pets.class_names[label] / str(index)
        stem.parent.mkdir(parents=True, exist_ok=True)
        save_as(kinds[index // 2 % 6], pets.image(index), stem)
    (tmp_path / "odd" / "cat" / "broken.png").write_bytes(pets.encoded(0)[:60])
    settings = tiny_settings(tmp_path / "odd", tiny_pipeline_folder, data={"skip_bad": True}, **TWO_ARMS)
    results = run(settings, tmp_path / "run")
    assert results["data"]["train"] + results["data"]["val"] + results["data"]["test"] == 24
    assert [path for path, _ in results["data"]["skipped"]] == ["cat/broken.png"]
    assert results["verdict"]["sentence"]


def test_the_seed_decides(pets, tiny_pipeline_folder, tmp_path):
    trees = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}).model_copy(
            update={"seed": seed}
        )
        run(settings, tmp_path / name, until="draw")
        trees.append(tree(tmp_path / name / "synthetic"))
    assert trees[0] == trees[1] != trees[2]


def test_settings_that_differ_write_nothing(finished, pets, tiny_pipeline_folder):
    out, _ = finished
    before = times(out)
    settings = tiny_settings(pets, tiny_pipeline_folder, draw={"guidance_scale": 3.0})
    with pytest.raises(InputError, match=r"draw.guidance_scale: 1.0 in the folder, 3.0 now"):
        run(settings, out)
    with pytest.raises(InputError, match="--resume never was given"):
        run(RunFolder.find(out).settings, out, resume="never")
    assert times(out) == before


def test_a_guided_run_draws_the_same_with_an_adapter_made_before(pets, tiny_pipeline_folder, tmp_path):
    """The learnt projection goes with the adapter, and the noise level becomes the strength of every row."""
    save_tiny_image_encoder(tmp_path / "encoder", width=24)
    base = tiny_settings(
        pets,
        tiny_pipeline_folder,
        visual={"kind": "per-image", "projection": True},
        adapt={"method": "lora", "distribution": "class-mean"},
        draw={"start_snr": 0.07, "steps": 10, "pairing": "random"},
    )
    made = build(base.model_dump(), {"generator": {"image_encoder": str(tmp_path / "encoder")}})
    run(made, tmp_path / "made", until="draw")
    listener, out = Listener(), tmp_path / "used"
    used = build(made.model_dump(), {"adapt": {"adapter": str(tmp_path / "made" / "adapter")}})
    records = run(used, out, until="draw", observer=listener)
    assert f"adapt: skipped, the adapter in {tmp_path / 'made' / 'adapter'} is used" in listener.lines
    assert tree(out / "synthetic") == tree(tmp_path / "made" / "synthetic")
    assert records["adapt"]["fingerprint"] == RunFolder.find(tmp_path / "made").record("adapt")["fingerprint"]
    rows = pq.read_table(out / "synthetic" / "plan" / "round-00").to_pylist()
    assert {row["strength"] for row in rows} == {0.7}
    assert {row["visual"] for row in rows} == {"per-image"}
    assert {row["visual_id"] for row in rows} <= set(LabelledSet.load(out / "data" / "train.parquet").ids)

    (tmp_path / "made" / "adapter" / "report.json").unlink()
    with pytest.raises(InputError, match="adapter holds no finished adapter: report.json is missing"):
        run(used, tmp_path / "unfinished", until="draw")


class Impatient(Listener):
    """Stops the run after three steps."""

    @contextmanager
    def bar(self, text, *, total, unit):
        with super().bar(text, total=total, unit=unit) as advance:

            def stop_at_three(amount):
                advance(amount)
                if self.bars[text]["done"] == 3:
                    raise KeyboardInterrupt

            yield stop_at_three


def test_a_resumed_adaptation_fills_its_bar(finished, pets, tiny_pipeline_folder, tmp_path):
    settings, again = tiny_settings(pets, tiny_pipeline_folder), Listener()
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", until="adapt", observer=Impatient())
    run(settings, tmp_path / "run", until="adapt", observer=again)
    assert again.bars["adapt"] == {"done": 4, "total": 4}
    assert adapted(tmp_path / "run") == adapted(finished[0])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"captions": {"source": "class-name"}},
            "captions.source 'class-name' has no effect, since no prompt contains {caption}",
        ),
        ({"scale": {"times": [1.0], "arms": ["real"]}}, "scale.arms must use synthetic images, got 'real'"),
        ({"draw": {"prompt": "a photo"}}, "{class}"),
        ({"adapt": {"distribution": "wasserstein"}}, "unknown distribution term 'wasserstein'"),
        ({"visual": {"kind": "pixel"}}, "unknown kind of visual guidance 'pixel'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_read(
    sections, message, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(InputError, match=re.escape(message)):
        run(tiny_settings(tmp_path / "nowhere", tiny_pipeline_folder, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_start_that_is_pure_noise_is_refused(pets, tiny_pipeline_folder, tmp_path):
    with pytest.raises(InputError, match="got 1e-09, which is pure noise for this generator"):
        run(
            tiny_settings(pets, tiny_pipeline_folder, draw={"start_snr": 1e-9}),
            tmp_path / "run",
            until="draw",
        )


def test_an_adapter_is_used_as_it_was_made(finished, pets, tiny_pipeline_folder, tmp_path):
    out, _ = finished
    guided = tiny_settings(
        pets, tiny_pipeline_folder, visual={"kind": "per-image"}, adapt={"adapter": str(out / "adapter")}
    )
    with pytest.raises(InputError, match="visual.kind must be 'none', as when the adapter in .* was made"):
        run(guided, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_the_generator_is_refused_before_captioning(pets, tiny_pipeline_folder, tmp_path):
    """A captioning model that does not exist is never asked for."""
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        captions={"source": "model", "model": "nobody/nothing"},
        draw={"sampler": "flow-euler"},
        adapt={"prompt": "{class}, {caption}"},
    )
    with pytest.raises(InputError, match="flow-euler"):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"draw": {"prompt": "a very long photo " * 20 + "{class}"}}, "a prompt must have at most"),
        ({"draw": {"start_snr": 1e-9}}, "which is pure noise for this generator"),
        ({"adapt": {"method": "lora", "targets": ["attention", "convolution"]}}, "got 'convolution'"),
        ({"draw": {"sampler": "flow-euler"}}, "flow-euler"),
    ],
)
def test_what_does_not_fit_the_generator_leaves_no_folder(
    sections, message, pets, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(InputError, match=message):
        run(tiny_settings(pets, tiny_pipeline_folder, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


AUDIT = {"measure": True, "shadows": 6, "false_positive_rates": [0.5]}


@pytest.mark.parametrize(
    "sections",
    [
        {"compare": {"arms": ["real", "mixed@real-guidance"]}},
        {"membership": {**AUDIT, "arms": ["real", "mixed@real-guidance"]}},
    ],
    ids=["compared", "audited"],
)
def test_a_strategy_that_changes_nothing_for_so_many_images_leaves_no_folder(
    sections, pets, tiny_pipeline_folder, tmp_path
):
    """With 4 images per class real guidance starts at 0.35, with one at 0.5."""

    def load(strength):
        draw = {"steps": 20, "strength": strength}
        settings = tiny_settings(
            pets, tiny_pipeline_folder, data={"source": str(pets), "shots": 4}, draw=draw, **sections
        )
        run(settings, tmp_path / "run", until="load")

    with pytest.raises(InputError, match="'real-guidance' of the arm 'mixed@real-guidance' has no effect"):
        load(0.35)
    assert not (tmp_path / "run").exists()
    load(0.5)


def test_a_missing_clip_model_of_an_audited_arm_leaves_no_folder(pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        curate={"clip": str(tmp_path / "clip")},
        membership={**AUDIT, "arms": ["mixed@clip-filter"]},
    )
    with pytest.raises(InputError, match="clip"):
        run(settings, tmp_path / "run", until="load")
    assert not (tmp_path / "run").exists()
