"""What leaves a run: classifiers for timm and onnxruntime, predictions, adapters for diffusers, and cards."""

import csv
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import timm
import torch
from diffusers import UNet2DConditionModel
from huggingface_hub import ModelCard
from PIL import Image
from tiny_job import tiny_settings, tree, write_pets

from understudy.adaptation.adapter import adapter_fingerprint
from understudy.commands.export import FORMS, export_dataset, export_part
from understudy.core.config import check_effect
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.pipeline.samples import shareable_samples
from understudy.report.licences import sources
from understudy.settings import build
from understudy.training import onnx_file
from understudy.training.classifier import TrainedClassifier

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_pipeline_folder):
    """A finished run with two arms. Tests only copy it."""
    source = write_pets(tmp_path_factory.mktemp("source") / "pets")
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = tiny_settings(
        source,
        tiny_pipeline_folder,
        compare={"arms": ["real", "mixed"]},
        data={"source": str(source), "licence": "cc0-1.0"},
    )
    run(settings, out)
    return RunFolder.find(out)


@pytest.mark.parametrize("arm", [None, "real", "mixed"])
def test_a_classifier_is_what_timm_loads(arm, finished, tmp_path):
    said = export_part(finished, tmp_path / "to", what="classifier", arm=arm)
    assert said.startswith(f"the classifier of the arm {arm or 'real'}")
    assert ("(the arm of the verdict, mixed, is not surely better than real; --arm" in said) == (arm is None)
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    model = timm.create_model(f"local-dir:{tmp_path / 'to'}", pretrained=True).eval()
    assert model.pretrained_cfg["label_names"] == ["cat", "dog"], "as the card says"
    test = LabelledSet.load(finished.path / "data" / "test.parquet")
    mine = TrainedClassifier.load(tmp_path / "to")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        given = (
            model(torch.stack([transform(test.image(index)) for index in range(len(test))]))
            .softmax(1)
            .double()
            .numpy()
        )
    np.testing.assert_allclose(given, mine.predict(test), atol=0.02)  # the two resize a little differently
    card = ModelCard.load(tmp_path / "to" / "README.md")
    assert card.data.to_dict()["library_name"] == "timm"
    assert ("## Fidelity of the synthetic images" in card.text) == (arm == "mixed")


def code_of(card, **places):
    """The Python on a card, with places for its placeholders."""
    (code,) = re.findall(r"^```python\n(.*?)^```", card.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for placeholder, place in places.items():
        code = code.replace(placeholder, str(place))
    return code


@pytest.mark.parametrize("form", ["timm", "onnx"])
@pytest.mark.slow
def test_the_code_on_the_card_of_a_classifier_runs(form, finished, tmp_path, capsys):
    to, test = tmp_path / "to", LabelledSet.load(finished.path / "data" / "test.parquet")
    export_part(finished, to, what="classifier", arm="real", form=form)
    (tmp_path / "image.png").write_bytes(test.encoded(1))
    exec(code_of(to / "README.md", FOLDER=to, IMAGE=tmp_path / "image.png"), {})  # noqa: S102 - our own text
    expected = TrainedClassifier.load(finished.path / "arms" / "real-classifier").predict(test)[1]
    printed = re.findall(r"([\d.]+)%  (\w+)", capsys.readouterr().out)
    assert [name for _, name in printed] == ["cat", "dog"]
    np.testing.assert_allclose([float(value) / 100 for value, _ in printed], expected, atol=0.02)
    assert ModelCard.load(to / "README.md").data.to_dict()["library_name"] == form
    files = ["model.onnx"] if form == "onnx" else ["config.json", "model.safetensors"]
    assert sorted(path.name for path in to.iterdir()) == ["README.md", *files]


def test_onnx_without_its_packages_writes_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(InputError, match="--form onnx needs no_such_package: pip install"):
        export_part(finished, tmp_path / "to", what="classifier", form="onnx")
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("arm", [None, "mixed"])
def test_predictions_are_those_of_all_trainings(arm, finished, tmp_path):
    chosen, test = arm or "real", LabelledSet.load(finished.path / "data" / "test.parquet")
    said = export_part(finished, tmp_path / "to", what="predictions", arm=arm)
    assert said.startswith(f"the predictions of the arm {chosen} for {len(test)} real test images")
    assert ("--arm gives another)" in said) == (arm is None)
    with (tmp_path / "to" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "source_path", "label", "class_name", "predicted", "p_0", "p_1"]
    assert [row["id"] for row in rows] == test.ids
    assert [int(row["label"]) for row in rows] == test.labels.tolist()
    given = np.array([[float(row["p_0"]), float(row["p_1"])] for row in rows])
    records = [
        np.load(finished.path / "arms" / f"{chosen}-seed{index}.npz")["probabilities"] for index in range(3)
    ]
    np.testing.assert_allclose(given, np.mean(records, axis=0), rtol=1e-6)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-6)
    assert [row["predicted"] for row in rows] == [test.class_names[best] for best in given.argmax(axis=1)]
    assert [row["class_name"] for row in rows] == [test.class_names[label] for label in test.labels]


def test_cleanlab_reads_predictions_as_their_page_says(finished, tmp_path):
    pytest.importorskip("cleanlab")
    export_part(finished, tmp_path / "to", what="predictions")
    names = {}
    exec(code_of(tmp_path / "to" / "README.md", FOLDER=tmp_path / "to"), names)  # noqa: S102 - our own text
    assert len(names["table"]) == len(LabelledSet.load(finished.path / "data" / "test.parquet"))


def test_the_kept_training_is_named(finished, tmp_path):
    export_part(finished, tmp_path / "to", what="classifier", arm="real")
    records = []
    for index in range(3):
        with np.load(finished.path / "arms" / f"real-seed{index}.npz") as record:
            records.append(dict(record))
    labels = LabelledSet.load(finished.path / "data" / "test.parquet").labels
    best = max(records, key=lambda record: record["val_accuracy"])
    accuracy = 100 * (best["probabilities"].argmax(1) == labels).mean()
    assert f"which has {accuracy:.1f}% on the test images" in (tmp_path / "to" / "README.md").read_text()


def test_an_adapter_is_what_diffusers_loads(finished, tmp_path):
    assert export_part(finished, tmp_path / "to", what="adapter") == "the adapter"
    assert adapter_fingerprint(tmp_path / "to") == adapter_fingerprint(finished.path / "adapter")
    UNet2DConditionModel.from_pretrained(tmp_path / "to" / "unet")
    text = (tmp_path / "to" / "README.md").read_text()
    assert 'from_pretrained("FOLDER", subfolder="unet")' in text
    assert ModelCard(text).data.to_dict()["library_name"] == "diffusers"
    assert not (tmp_path / "to" / "checkpoint.pt").exists()


def test_the_card_of_an_adapter_shows_what_it_draws_but_no_copies(finished, tmp_path):
    export_part(finished, tmp_path / "to", what="adapter")
    with Image.open(tmp_path / "to" / "samples.png") as picture:
        width, height = picture.size
    assert width == height / 2 == 2 * 64, "two classes, four images each"
    copied = tmp_path / "run"
    shutil.copytree(finished.path, copied)
    kept = LabelledSet.load(copied / "synthetic" / "curated.parquet")
    kept.with_column("flag", pa.array(["copy"] * len(kept))).save(copied / "synthetic" / "curated.parquet")
    export_part(RunFolder.find(copied), tmp_path / "without", what="adapter")
    assert not (tmp_path / "without" / "samples.png").exists()
    assert "samples.png" not in (tmp_path / "without" / "README.md").read_text()


def test_without_a_search_for_copies_no_picture_is_shared(finished):
    assert shareable_samples(finished) is not None
    off = build(finished.settings.model_dump(mode="json"), {"curate": {"firewall": "off"}})
    assert shareable_samples(RunFolder(finished.path, off)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"draw": {"strength": 0.5}},
        {"draw": {"exemplar_weight": 0.1}},
        {"visual": {"kind": "per-image"}},
    ],
)
def test_images_drawn_from_single_real_ones_are_not_shared(changes, finished):
    settings = finished.settings
    for section, values in changes.items():
        made = getattr(settings, section).model_copy(update=values)
        settings = settings.model_copy(update={section: made})
    assert shareable_samples(RunFolder(finished.path, settings)) is None


def test_an_adapter_does_not_tell_its_images(finished, tmp_path):
    """Digests of the real images are a list of members; the run keeps them."""
    export_part(finished, tmp_path / "to", what="adapter")
    assert (finished.path / "adapter" / "images.json").is_file()
    assert not [*(tmp_path / "to").rglob("images.json")]
    assert "images.json" not in (tmp_path / "to" / "README.md").read_text()


def test_an_exported_adapter_is_an_adapter(finished, tmp_path):
    """With the card beside it, another run takes it."""
    export_part(finished, tmp_path / "to", what="adapter")
    settings = finished.settings.model_dump(mode="json")
    settings["adapt"]["adapter"] = str(tmp_path / "to")
    records = run(build(settings), tmp_path / "run", until="adapt")
    assert records["adapt"]["method"] == "full"


def test_nothing_of_the_run_is_changed(finished, tmp_path):
    before = tree(finished.path)
    for what in FORMS:
        export_part(finished, tmp_path / what, what=what)
    assert tree(finished.path) == before
    assert "| real images | pets | cc0-1.0 |" in (tmp_path / "dataset" / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"what": "classifier", "form": "folder"},
            "--form of the classifier must be timm or onnx, got 'folder'",
        ),
        ({"what": "adapter", "form": "timm"}, "--form of the adapter must be diffusers, got 'timm'"),
        ({"what": "predictions", "form": "onnx"}, "--form of the predictions must be cleanlab, got 'onnx'"),
        (
            {"form": "onnx"},
            "--form of the dataset must be folder, fiftyone, huggingface or webdataset, got 'onnx'",
        ),
        (
            {"what": "predictions", "arm": "bridged"},
            r"--arm must be an arm of .*run, real, mixed, got 'bridged'",
        ),
        ({"what": "adapter", "arm": "real"}, "--arm has no effect on the adapter: leave it out"),
        ({"arm": "real"}, "--arm has no effect on the dataset: leave it out"),
        (
            {"what": "classifier", "arm": "bridged"},
            r"--arm must be an arm of .*run, real, mixed, got 'bridged'",
        ),
    ],
)
def test_what_has_no_effect_or_is_not_there_is_refused(options, message, finished, tmp_path):
    with pytest.raises(InputError, match=message):
        export_part(finished, tmp_path / "to", **options)
    assert not (tmp_path / "to").exists()


def test_a_folder_that_is_not_empty_is_left_alone(finished, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for what in FORMS:
        with pytest.raises(InputError, match="must be a new or empty folder to export to"):
            export_part(finished, tmp_path, what=what)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_parts_that_are_missing(finished, tmp_path):
    out = shutil.copytree(finished.path, tmp_path / "run")
    copy = RunFolder.find(out)
    for path in out.glob("arms/real-seed*.npz"):
        path.unlink()
    with pytest.raises(
        InputError,
        match=r"must hold the records of all 3 trainings of real, such as real-seed0.npz, but some",
    ):
        export_part(copy, tmp_path / "more", what="predictions", arm="real")
    export_part(copy, tmp_path / "to", what="classifier", arm="real")
    assert "which has" not in (tmp_path / "to" / "README.md").read_text(), "records may be deleted by hand"
    shutil.rmtree(out / "arms" / "real-classifier")
    with pytest.raises(
        InputError, match=r"real-classifier must hold the classifier of real .*, but it was deleted"
    ):
        export_part(copy, tmp_path / "more", what="classifier", arm="real")
    shutil.rmtree(out / "adapter")
    with pytest.raises(InputError, match=r"adapter must hold the adapter of the run, but it was deleted"):
        export_part(copy, tmp_path / "more", what="adapter")
    (out / "results.json").unlink()
    for what in ("classifier", "predictions", "adapter", "report"):
        with pytest.raises(InputError, match=r"run is not finished: go on with 'understudy run"):
            export_part(copy, tmp_path / "more", what=what)
    assert not (tmp_path / "more").exists()


def test_a_run_without_adaptation_has_no_adapter(finished, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        finished.settings.data.source,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        compare={"arms": ["real"]},
    )
    run(settings, tmp_path / "run")
    with pytest.raises(
        InputError,
        match=r"has no adapter, because adapt.method is 'none' and the generator was used unchanged",
    ):
        export_part(RunFolder.find(tmp_path / "run"), tmp_path / "to", what="adapter")


@pytest.mark.parametrize("name", ["mini", "class_conditional"])
def test_a_licence_that_is_known_is_not_asked_for(name):
    settings = build({"data": {"source": "digits"}, "generator": {"name": name, "licence": "mit"}})
    with pytest.raises(InputError, match=f"generator.licence has no effect while generator.name is '{name}'"):
        check_effect(settings, ["generator.licence"])


@pytest.mark.parametrize("text", ["", " mit", "x" * 201, "a\nb"])
def test_licences_are_words_on_a_line(text):
    with pytest.raises(InputError, match="setting 'data.licence'"):
        build({"data": {"source": "digits", "licence": text}})


def test_mini_is_under_the_licence_of_its_card():
    assert [source.licence for source in sources(build({"data": {"source": "digits"}}))] == [
        None,
        "apache-2.0",
    ]


def test_a_report_for_others_names_no_file_of_this_machine(finished, tmp_path):
    assert export_part(finished, tmp_path / "to", what="report") == "the report without real images"
    page = (tmp_path / "to" / "report.html").read_text(encoding="utf-8")
    source = finished.settings.data.source
    train = LabelledSet.load(finished.path / "data" / "train.parquet")
    assert str(tmp_path.parent) not in page and source not in page
    assert not [path for path in train.provenance("source_path") if path in page]
    assert "This page shows no real image" in page and "synthetic images of class" in page


def test_a_report_for_others_shows_no_image_that_was_not_searched_for_copies(finished, tmp_path):
    out = shutil.copytree(finished.path, tmp_path / "run")
    settings = out / "settings.yaml"
    settings.write_text(settings.read_text().replace("firewall: flag", "firewall: 'off'"))
    said = export_part(RunFolder.find(out), tmp_path / "to", what="report")
    assert said == "the report without any image"
    assert "data:image/png" not in (tmp_path / "to" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["folder", "webdataset", "huggingface"])
def test_an_export_is_a_source(form, finished, tmp_path):
    curated = LabelledSet.load(finished.path / "synthetic" / "curated.parquet")
    assert export_dataset(finished, tmp_path / "to", form=form) == len(curated)
    assert "synthetic" in (tmp_path / "to" / "README.md").read_text()
    # The card stands beside the class folders, where a folder source takes it for a bad file.
    splits = load_splits(
        DataSettings(source=str(tmp_path / "to"), skip_bad=form == "folder", near_duplicate_distance=-1),
        seed=0,
    )
    assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == len(curated)
    assert splits.train.class_names == curated.class_names
    with pytest.raises(InputError, match="must be a new or empty folder to export to"):
        export_dataset(finished, tmp_path / "to", form=form)
