import pytest
import yaml
from report_sample import SECTIONS, Sample

from understudy.report import dataset_card
from understudy.settings import build


def front_matter(card: str) -> dict:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def card_of(sample: Sample, results: dict | None = None, **more: object) -> str:
    options = {"settings": sample.settings, "class_counts": {"0": 10, "a|b": 3}, "licence_note": "As the real images."} | more
    return dataset_card(results or sample.results, **options)


def test_front_matter(sample: Sample) -> None:
    front = front_matter(card_of(sample, data_files="synthetic/*.parquet"))
    assert front["task_categories"] == ["image-classification"]
    assert "synthetic" in front["tags"]
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [{"config_name": "default", "data_files": "synthetic/*.parquet"}]
    assert "configs" not in front_matter(card_of(sample))


@pytest.mark.parametrize(("total", "size"), [(999, "n<1K"), (1000, "1K<n<10K"), (10**6, "n>1M")])
def test_size(sample: Sample, total: int, size: str) -> None:
    assert front_matter(card_of(sample, class_counts={"a": total}))["size_categories"] == [size]


def test_accuracy_table_and_escaping(sample: Sample) -> None:
    card = card_of(sample)
    assert "| bridged | 93.1 [91.4, 94.7] | +6.0 [+4.5, +7.5] | 3 |" in card
    assert "| real | 87.1 [85.4, 88.7] | reference | 3 |" in card
    assert "| a\\|b | 3 |" in card
    assert "No promise of privacy" in card


def test_hostile_source(sample: Sample) -> None:
    results = sample.results | {"data": sample.results["data"] | {"source": "a: b\n---\n<script>"}}
    card = card_of(sample, results)
    assert front_matter(card)["pretty_name"].startswith("Synthetic images after a: b")
    assert "<script>" not in card.split("\n# ", 1)[1].replace("\\<script\\>", "")


def test_without_the_optional_sections(sample: Sample) -> None:
    results = {name: section for name, section in sample.results.items() if name not in SECTIONS}
    card = card_of(sample, results, settings=build({"data": {"source": "x"}, "adapt": {"method": "none"}, "draw": {"strength": 0.6}}))
    assert "used as it is" in card
    assert "noised to strength 0.6" in card
    assert "Near copies" not in card


def test_real_fake_says_what_the_images_came_from(sample: Sample) -> None:
    settings = build(
        {"data": {"source": "d"}, "curate": {"score": "none"}, "visual": {"kind": "per-image"}, "captions": {"source": "class-name"}},
        {"adapt": {"distribution": "kernel"}, "draw": {"start_snr": 0.069}},
    )
    card = card_of(sample, settings=settings)
    assert "(full, 600 steps, distribution term kernel)." in card
    assert "- Visual guidance: features of real train images, per-image." in card
    assert "- Captions of the real images in prompts: class-name." in card
    assert "started from real train images noised to a signal-to-noise ratio of 0.069." in card
    assert "- Filter: none by score; copies" in card
    assert "Visual guidance" not in card_of(sample)
    given = build({"data": {"source": "d"}, "adapt": {"adapter": "elsewhere"}})
    assert "mini, with an adapter that was made before." in card_of(sample, settings=given)
