"""Cards of exported images, classifiers and adapters: what they say, and that nothing from outside becomes
markup.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCardData, ModelCard, ModelCardData
from report_sample import SECTIONS, Sample, make_scale

from understudy.generators.load import mini_folder
from understudy.report.card import ADAPTER_PICTURE, adapter_card, classifier_card, dataset_card
from understudy.report.licences import Source, hub_licence, sources
from understudy.settings import build, to_yaml


def front_matter(card: str) -> dict:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.02}


def audited(sample: Sample) -> dict:
    """Results with every section that a finished, audited run has."""
    distances = {"median": 0.5, "p05": 0.25, "min": 0.125}
    rates = [{"fpr": 0.001, "tpr": interval(0.012)}, {"fpr": 0.01, "tpr": interval(0.034)}]
    attack = {
        arm: {"auc": interval(0.61), "tpr": rates, "roc": {"fpr": [], "tpr": []}}
        for arm in ("real", "bridged", "private")
    }
    arm = {"train_accuracy": 1.0, "test_accuracy": interval(0.8), "epsilon": None, "delta": None}
    return sample.results | {
        "fidelity": {
            "agreement": {"mean": 0.91, "per_class": []},
            "encoder": {"name": "mini", "fingerprint": "abc", "width": 128},
            "images": {"real": 50, "held_out": 40, "synthetic": 100},
            "measures": {
                "frechet_distance": {
                    "value": interval(12.3456),
                    "floor": interval(3.2),
                    "better": "lower",
                    "per_class": {},
                }
            },
            "warnings": ["40 held-out images are few for <b>128</b> features."],
        },
        "memorisation": {
            "firewall": {
                "setting": "drop",
                "threshold": 0.0312,
                "false_alarms": {"allowed": 0.01, "held_out": 0.0075, "images": 40},
                "flagged": 3,
                "exact": 1,
                "removed": 3,
            },
            "spaces": {
                "pixel": {
                    "unit": "RMS",
                    "synthetic_to_train": distances,
                    "held_out_to_train": distances,
                    "synthetic_to_source": None,
                    "closer_than_held_out": interval(0.55),
                }
            },
            "closest": [],
        },
        "membership": {
            "target": "classifier",
            "shadows": 64,
            "images": 50,
            "attacks": {"lira": attack},
            "arms": {"real": arm, "bridged": arm, "private": arm | {"epsilon": 8.0, "delta": 1e-3}},
            "skipped": {"bridged": "The arm 'bridged' sees nobody.", "other": "Not of this card."},
            "promise": ["It says nothing of others."],
        },
        "shift": {
            "calibration": {
                name: {"ece": interval(0.03), "brier": interval(0.1)} for name in ("real", "bridged")
            },
            "clean": {name: {"accuracy": interval(0.87)} for name in ("real", "bridged")},
            "corruptions": {"noise": {}, "jpeg": {}},
            "mean_corruption": {
                name: {"accuracy": interval(0.71), "minus_real": interval(0)} for name in ("real", "bridged")
            },
            "tests": {
                "pens": {
                    "images": 30,
                    "classes": [],
                    "arms": {name: {"accuracy": interval(0.66)} for name in ("real", "bridged")},
                }
            },
        },
        "scale": make_scale() | {"stopped": None},
    }


def model_card_of(sample: Sample, results: dict | None = None, **more: object) -> str:
    options = {
        "settings": sample.settings,
        "arm": "bridged",
        "summary": "first synthetic, then real",
        "drawn": True,
        "architecture": "resnet10t",
        "training": 1,
        "rates": {"learning_rate": 0.002, "weight_decay": 0.05},
    } | more
    return classifier_card(results or sample.results, **options)


def card_of(sample: Sample, results: dict | None = None, **more: object) -> str:
    options = {"settings": sample.settings, "class_counts": {"0": 10, "a|b": 3}} | more
    return dataset_card(results or sample.results, **options)


def test_front_matter(sample: Sample) -> None:
    front = front_matter(card_of(sample, data_files="synthetic/*.parquet"))
    assert front["task_categories"] == ["image-classification"]
    assert "synthetic" in front["tags"]
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [{"config_name": "default", "data_files": "synthetic/*.parquet"}]
    assert "configs" not in front_matter(card_of(sample))
    assert DatasetCardData(**front).to_dict() == front


@pytest.mark.parametrize(("total", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "n>1M")])
def test_size(sample: Sample, total: int, size: str) -> None:
    assert front_matter(card_of(sample, class_counts={"a": total}))["size_categories"] == [size]


def test_accuracy_table_and_escaping(sample: Sample) -> None:
    card = card_of(sample)
    assert "| bridged | 93.1 [91.4, 94.7] | +6.0 [+4.5, +7.5] | 3 |" in card
    assert "| real | 87.1 [85.4, 88.7] | reference | 3 |" in card
    assert "| a\\|b | 3 |" in card
    assert "No guarantee of privacy" in card


def test_the_measure_of_the_verdict_comes_first(sample: Sample) -> None:
    verdict = sample.results["verdict"] | {"measure": "balanced_accuracy"}
    card = card_of(sample, sample.results | {"verdict": verdict})
    assert "| arm | balanced accuracy, % | difference to real, points | accuracy, % |" in card
    (row,) = [line for line in card.splitlines() if line.startswith("| bridged | ")]
    balanced, difference, accuracy, *_ = row.strip("| ").split(" | ")[1:]
    found = sample.results["arms"]["bridged"]["balanced_accuracy"]
    assert balanced.startswith(f"{100 * found['mean']:.1f} [")
    assert difference.startswith(f"{100 * found['minus_real']['mean']:+.1f} [")
    assert accuracy == "93.1 [91.4, 94.7]"


def test_hostile_source(sample: Sample) -> None:
    results = sample.results | {"data": sample.results["data"] | {"source": "a: b\n---\n<script>"}}
    card = card_of(sample, results)
    assert front_matter(card)["pretty_name"].startswith("Synthetic images after a: b")
    assert "<script>" not in card.split("\n# ", 1)[1].replace("\\<script\\>", "")


def test_several_strengths_and_the_direction_of_a_filter(sample: Sample) -> None:
    chosen = {"draw": {"strength": [0.5, 1]}, "curate": {"score": "confidence", "direction": "least"}}
    card = card_of(sample, sample.results, settings=build({"data": {"source": "x"}}, chosen))
    assert "starting from real train images plus noise of strength 0.5, 1.0." in card
    assert "selection: first by lowest score." in card


def test_without_the_optional_sections(sample: Sample) -> None:
    results = {name: section for name, section in sample.results.items() if name not in SECTIONS}
    card = card_of(
        sample,
        results,
        settings=build({"data": {"source": "x"}, "adapt": {"method": "none"}, "draw": {"strength": 0.6}}),
    )
    assert "mini, without adaptation." in card
    assert "plus noise of strength 0.6." in card
    assert "Exact copies" not in card
    assert card.count("Not measured") == 3
    assert "Not audited; `understudy audit DIR` runs the attacks." in card


def test_real_fake_says_what_the_images_came_from(sample: Sample) -> None:
    settings = build(
        {
            "data": {"source": "d"},
            "curate": {"score": "none"},
            "visual": {"kind": "per-image"},
            "captions": {"source": "class-name"},
        },
        {"adapt": {"distribution": "kernel"}, "draw": {"start_snr": 0.069}},
    )
    card = card_of(sample, settings=settings)
    assert "(full, 600 steps, distribution term kernel)." in card
    assert "- Visual guidance: features of real train images, per-image." in card
    assert "- Captions of the real images in prompts: class-name." in card
    assert "starting from real train images plus noise, with signal-to-noise ratio 0.069." in card
    assert "- Filter: no score; selection: first." in card
    assert "Visual guidance" not in card_of(sample)
    given = build({"data": {"source": "d"}, "adapt": {"adapter": "elsewhere"}})
    assert "mini, with a ready-made adapter." in card_of(sample, settings=given)


def test_a_whole_card_has_every_section(sample: Sample) -> None:
    card = card_of(sample, audited(sample))
    for line in (
        "| frechet distance | 12.3 [12.3, 12.4] | 3.2 [3.19, 3.22] | lower |",
        "A classifier trained on real images assigns 91.0% of the drawn images to the intended class.",
        "Note: 40 held-out images are few for \\<b\\>128\\</b\\> features.",
        (
            "This threshold was set on 40\nvalidation images, of which 0.75% are below it. Exact copies: 1. "
            "Marked as copies: 3. Removed: 3."
        ),
        "| pixel (RMS) | 0.5 | 0.5 | n/a | 55.0 [54.0, 57.0] |",
        (
            "| attack | arm | AUC | true positives at 0.1%, % | true positives at 1%, % "
            "|\n|---|---|---:|---:|---:|\n| LIRA | real | 0.61"
        ),
        "private is differentially private: epsilon 8, delta 0.001.",
        "\nNot audited: The arm 'bridged' sees nobody.\n",
        "An audit is not a guarantee",
        (
            "| images | real, % | bridged, % |\n|---|---:|---:|\n| unchanged test images | 87.0 [86.0, "
            "89.0] | 87.0 [86.0, 89.0] |"
        ),
        "| pens, 30 images | 66.0 [65.0, 68.0] |",
        "| synthetic | 6000 | 270 [160, 480] |",
        "| mixed | 2400 | more than 600 |",
    ):
        assert line in card
    assert "\n\n\n" not in card
    assert to_yaml(sample.settings).rstrip() in card


@pytest.mark.parametrize("value", ["off", "flag", "redraw", "drop"])
def test_every_firewall_is_described(value: str, sample: Sample) -> None:
    card = card_of(sample, settings=build({"data": {"source": "d"}, "curate": {"firewall": value}}))
    assert re.search(
        r"^- Copies of train images: (not searched for|marked, not removed|replaced by .*|removed)\.$",
        card,
        re.MULTILINE,
    )


def test_licences_are_those_that_somebody_states(sample: Sample, tmp_path: Path) -> None:
    assert "license" not in front_matter(card_of(sample))
    assert (
        "| real images | digits | not stated |\n| weights of the generator | mini | apache-2.0 |"
        in card_of(sample)
    )
    stated = build({"data": {"source": "d", "licence": "Apache-2.0"}})
    assert front_matter(card_of(sample, settings=stated))["license"] == "apache-2.0"
    other = build({"data": {"source": "d", "licence": "CC BY 4.0, by the authors"}})
    front = front_matter(card_of(sample, settings=other))
    assert (front["license"], front["license_name"]) == ("other", "cc-by-4.0-by-the-authors-and-apache-2.0")
    nothing = {
        "data": {"source": "d", "licence": "mit"},
        "generator": {"name": "class_conditional"},
        "adapt": {"method": "full"},
    }
    assert front_matter(card_of(sample, settings=build(nothing)))["license"] == "mit"
    images = {
        "data": {"source": "d"},
        "generator": {"name": "folder", "images": [str(tmp_path / "a")], "licence": "cc0-1.0"},
    }
    assert sources(build(images))[1] == Source("ready-made images", "a", "cc0-1.0")
    assert [source.role for source in sources(build(images), drawn=False)] == ["real images"]


@pytest.mark.parametrize(
    ("compare", "name", "licence"),
    [
        ({}, "mini", "apache-2.0"),
        ({"backbone": "resnet18.a1_in1k"}, "resnet18.a1_in1k", "apache-2.0"),
        ({"backbone": "resnet18", "weights": "/secret/place/w.pth"}, "resnet18, w.pth", None),
        ({"backbone": str(mini_folder())}, "pipeline", "apache-2.0"),
        ({"backbone": "nothing-that-timm-knows"}, "nothing-that-timm-knows", None),
    ],
)
def test_what_a_classifier_started_from(compare: dict, name: str, licence: str | None) -> None:
    found = sources(build({"data": {"source": "d"}, "compare": compare}), classifier=True)[-1]
    assert (found.name, found.licence) == (name, licence)
    without = sources(
        build({"data": {"source": "d"}, "compare": compare | {"pretrained": False}}), classifier=True
    )
    assert len(without) == 2


@pytest.mark.parametrize(
    ("section", "changes", "role"),
    [
        ("generator", {"image_encoder": "some/encoder"}, "image encoder of the generator"),
        ("generator", {"adapters": ("some/encoder",)}, "adapter merged into the generator"),
        ("adapt", {"adapter": "some/encoder"}, "adapter made before"),
        ("captions", {"source": "model", "model": "some/encoder"}, "model that wrote the captions"),
        (
            "captions",
            {"source": "language-model", "language_model": "some/encoder"},
            "model that wrote the captions",
        ),
        ("curate", {"score": "clip", "clip": "some/encoder"}, "model that scored drawn images"),
    ],
)
def test_whatever_took_part_in_drawing_is_a_source(section: str, changes: dict, role: str) -> None:
    """No card claims a licence while one of them is not stated."""
    settings = build({"data": {"source": "d", "licence": "apache-2.0"}, section: changes})
    found = sources(settings)
    assert found[-1].role == role and found[-1].name.endswith("encoder") and found[-1].licence is None
    assert hub_licence(found) == {}
    assert role not in [source.role for source in sources(settings, drawn=False, classifier=True)]
    assert len(sources(build({"data": {"source": "d"}}))) == 2


@pytest.mark.parametrize(
    "text", ["no front matter", "---\n: : [\n---\n", "---\nlicense: other\n---\n", "---\n- 1\n---\n"]
)
def test_a_readme_that_states_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    settings = build({"data": {"source": "d"}, "generator": {"name": str(tmp_path)}})
    assert sources(settings)[1].licence is None
    assert hub_licence(sources(settings)) == {}


def test_the_card_of_a_classifier(sample: Sample) -> None:
    card = model_card_of(sample, audited(sample))
    front = front_matter(card)
    assert (
        ModelCardData(**{key: value for key, value in front.items() if key != "model-index"}).library_name
        == "timm"
    )
    result, balanced = ModelCard(card).data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == (
        "image-classification",
        "accuracy",
        0.931,
    )
    assert (balanced.metric_type, balanced.metric_value) == ("balanced_accuracy", pytest.approx(0.92))
    seeds = sample.results["arms"]["bridged"]["accuracy"]["seeds"]
    assert f"which has {100 * seeds[1]:.1f}% on the test images" in card
    assert "which has" not in model_card_of(sample, training=None)
    assert "learning rate 0.002, weight decay 0.05" in card
    assert card.count("| LIRA | ") == 1
    assert "| bridged | 93.1 [91.4, 94.7] | +6.0 [+4.5, +7.5] | 3 |" in card
    assert "| synthetic |" not in card
    assert "## Fidelity of the synthetic images" in card
    assert "base_model" not in front
    timm = build({"data": {"source": "d"}, "compare": {"backbone": "resnet18.a1_in1k"}})
    assert front_matter(model_card_of(sample, settings=timm))["base_model"] == "timm/resnet18.a1_in1k"


@pytest.mark.parametrize(
    ("form", "hub", "line"),
    [
        ("timm", None, 'timm.create_model("local-dir:FOLDER", pretrained=True)'),
        ("timm", "me/pets", 'timm.create_model("hf-hub:me/pets", pretrained=True)'),
        ("onnx", None, 'InferenceSession("FOLDER/model.onnx")'),
        ("onnx", "me/pets", 'InferenceSession(huggingface_hub.hf_hub_download("me/pets", "model.onnx"))'),
    ],
)
def test_a_card_says_how_its_classifier_is_loaded(
    form: str, hub: str | None, line: str, sample: Sample
) -> None:
    card = model_card_of(sample, form=form, hub=hub)
    (code,) = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    compile(code, "card", "exec")
    assert line in code
    assert front_matter(card)["library_name"] == form
    assert ("FOLDER" in code) == (hub is None)
    assert ("`model.onnx` takes uint8 pixels" in card) == (form == "onnx")


def test_the_card_of_a_classifier_of_real_images_names_no_generator(sample: Sample) -> None:
    card = model_card_of(sample, arm="real", drawn=False, summary="real images alone")
    assert "Real images alone" in card
    assert "Fidelity" not in card
    assert "weights of the generator" not in card
    assert card.count("| real | 87.1") == 1


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (["pytorch_lora_weights.safetensors"], 'pipeline.load_lora_weights("FOLDER")'),
        (
            ["unet", "images.json"],
            'pipeline.unet = type(pipeline.unet).from_pretrained("FOLDER", subfolder="unet")',
        ),
        (["learned_embeds.safetensors"], 'pipeline.load_textual_inversion("FOLDER")'),
    ],
)
def test_the_card_of_an_adapter(files: list[str], line: str, sample: Sample) -> None:
    settings = build(
        {"data": {"source": "d"}, "generator": {"name": "someone/model", "licence": "openrail++"}}
    )
    card = adapter_card(audited(sample), settings=settings, files=files)
    assert line in card
    assert 'from_pretrained("someone/model")' in card
    front = front_matter(card)
    assert (front["base_model"], front["library_name"], front["pipeline_tag"]) == (
        "someone/model",
        "diffusers",
        "text-to-image",
    )
    assert "loss on validation images 0.341 before and 0.121 after, with the weights of step 400" in card
    assert "samples.png" not in card and "BASE" not in card


def test_the_card_of_an_adapter_of_mini_loads_it(sample: Sample) -> None:
    card = adapter_card(sample.results, settings=sample.settings, files=["unet"])
    assert sample.settings.generator.name == "mini"
    code = re.search(r"```python\n(.*?)```", card, flags=re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1].partition("pipeline.unet")[0], names)  # noqa: S102 - the rest needs the adapter
    assert type(names["pipeline"]).__name__ == "StableDiffusionPipeline"


def test_the_card_of_an_adapter_of_a_folder_says_what_its_name_stands_for(sample: Sample) -> None:
    settings = build({"data": {"source": "d"}, "generator": {"name": "/home/someone/sd15"}})
    card = adapter_card(sample.results, settings=settings, files=["unet", ADAPTER_PICTURE])
    assert 'from_pretrained("BASE")' in card
    assert "`BASE` stands for the folder of the pipeline sd15." in card
    assert "![Drawn images, a column for each class](samples.png)" in card


def test_the_card_of_a_model_trained_from_nothing(sample: Sample) -> None:
    settings = build(
        {"data": {"source": "d"}, "generator": {"name": "class_conditional"}, "adapt": {"method": "full"}}
    )
    card = adapter_card(sample.results, settings=settings, files=["class_conditional"])
    assert "trained from nothing" in card
    assert 'diffusers.UNet2DModel.from_pretrained("FOLDER", subfolder="class_conditional")' in card
    assert "pipeline = " not in card


def test_settings_cannot_end_their_block(sample: Sample) -> None:
    settings = build({"data": {"source": "a ```\n# not a heading"}})
    card = card_of(sample, settings=settings)
    block = re.search(r"^(`{4,})yaml\n(.*?)^\1$", card, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[2])["data"]["source"] == "a ```\n# not a heading"


def test_paths_of_this_machine_are_not_told(sample: Sample) -> None:
    typed = "understudy run '/home/someone/my pets' --out /home/someone/runs/pets "
    typed += "--set generator.name=/home/someone/sd"
    results = sample.results | {
        "data": sample.results["data"] | {"source": "/home/someone/my pets"},
        "environment": sample.results["environment"] | {"command": typed},
    }
    settings = build({"data": {"source": "/home/someone/my pets"}, "generator": {"name": "~someone/sd/x"}})
    card = card_of(sample, results, settings=settings)
    assert "someone" not in card
    assert "# Synthetic images after my pets" in card
    assert "understudy run 'my pets' --out pets --set generator.name=sd" in card
