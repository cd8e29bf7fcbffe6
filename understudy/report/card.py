"""Cards of exported images, classifiers and adapters.

A card says what the export is, how it was made, what it was worth, and what it must not be used for.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from understudy.evaluation.class_sizes import MEASURES
from understudy.report.html import environment, present
from understudy.report.licences import Source, hub_licence, source_name, sources
from understudy.report.snippets import adapter_snippet, classifier_snippet, predictions_snippet
from understudy.report.wording import real_images_interval
from understudy.settings import Settings, to_yaml
from understudy.training.settings import CompareSettings

LICENCE_NOTE = (
    "The terms of these sources may also apply to what was made from them. If a licence is not stated, find "
    "it out before you share anything."
)
ADAPTER_PICTURE = "samples.png"
"""Beside the card of an adapter: images that were drawn with it."""
_SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def dataset_card(
    results: Mapping[str, Any],
    *,
    settings: Settings,
    class_counts: Mapping[str, int],
    data_files: str | None = None,
) -> str:
    """Write a dataset card in the form of Hugging Face.

    Args:
        results: content of ``results.json``; sections other than ``data``, ``arms`` and ``verdict`` may be
            absent or empty.
        settings: of the run: sources, generator, adaptation, drawing and filters are described from them.
        class_counts: synthetic images by class name.
        data_files: pattern of the Parquet files beside the card, for ``datasets.load_dataset``.

    Returns:
        Markdown with YAML front matter, which has a licence if all sources state one.
    """
    total = sum(class_counts.values())
    front: dict[str, Any] = {
        "pretty_name": " ".join(f"Synthetic images after {source_name(results['data']['source'])}".split()),
        "task_categories": ["image-classification"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for limit, name in _SIZES if total < limit), "n>1M")],
        "tags": ["synthetic", "diffusion", "understudy"],
    }
    if data_files is not None:
        front["configs"] = [{"config_name": "default", "data_files": data_files}]
    found = sources(settings)
    return _render(
        "card.md",
        front,
        found,
        results,
        settings=settings,
        class_counts=class_counts,
        total=total,
        audited=_audited(results),
    )


def classifier_card(
    results: Mapping[str, Any],
    *,
    settings: Settings,
    arm: str,
    summary: str,
    drawn: bool,
    architecture: str,
    training: int | None,
    rates: Mapping[str, float],
    form: str = "timm",
    hub: str | None = None,
) -> str:
    """Write a model card in the form of Hugging Face for the classifier of an arm.

    Args:
        results: as for :func:`dataset_card`, with this arm.
        settings: of the run.
        arm: its name.
        summary: what it trains on.
        drawn: whether synthetic images took part.
        architecture: of the network.
        training: which of the arm's trainings was kept, from 0, if known.
        rates: ``learning_rate`` and ``weight_decay``, as tuned.
        form: of the files: ``timm`` or ``onnx``.
        hub: repository that the files go to, ``owner/name``; None for a folder.

    Returns:
        Markdown with YAML front matter, which has a licence if all sources state one, and the accuracy.
    """
    front = _classifier_front(results, settings.compare, arm, form=form)
    return _render(
        "model_card.md",
        front,
        sources(settings, drawn=drawn, classifier=True),
        results,
        settings=settings,
        arm=arm,
        summary=summary,
        drawn=drawn,
        architecture=architecture,
        training=training,
        shown=list(dict.fromkeys(["real", arm])),
        audited=[name for name in _audited(results) if name == arm],
        form=form,
        snippet=_fenced(classifier_snippet(form, hub), "python"),
        **rates,
    )


def _classifier_front(
    results: Mapping[str, Any], compare: CompareSettings, arm: str, *, form: str
) -> dict[str, Any]:
    """Front matter of a classifier's card, with its accuracy as the hub reads it."""
    accuracy, name = results["arms"][arm]["accuracy"], source_name(results["data"]["source"])
    front: dict[str, Any] = {"library_name": form, "pipeline_tag": "image-classification"}
    front["tags"] = [form, "understudy"]
    is_timm_model = compare.backbone not in ("mini", "photo", "folder") and "/" not in compare.backbone
    if compare.pretrained and compare.weights is None and is_timm_model:
        front["base_model"] = f"timm/{compare.backbone}"
    found = {"accuracy": accuracy} | {
        name: results["arms"][arm][name] for name in ("balanced_accuracy",) if name in results["arms"][arm]
    }
    metrics = [
        {
            "type": measure,
            "value": measured["mean"],
            "name": f"{MEASURES[measure]}, mean of {len(accuracy['seeds'])} trainings",
        }
        for measure, measured in found.items()
    ]
    measured = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": _slug(name), "name": name, "split": "test"},
        "metrics": metrics,
    }
    index = [{"name": _slug(f"{name}-{arm}"), "results": [measured]}]
    return front | {"metrics": list(found), "model-index": index}


def adapter_card(
    results: Mapping[str, Any], *, settings: Settings, files: Sequence[str], hub: str | None = None
) -> str:
    """Write a model card in the form of Hugging Face for the weights that adaptation learned.

    Args:
        results: as for :func:`dataset_card`, with ``adaptation``.
        settings: of the run.
        files: names of the files and folders in the folder of the adapter; they say how it is loaded, and
            whether there is a picture.
        hub: repository that the files go to, ``owner/name``; None for a folder.

    Returns:
        Markdown with YAML front matter, which has a licence if all sources state one.
    """
    name = settings.generator.name
    from_nothing = name == "class_conditional"
    task = "unconditional-image-generation" if from_nothing else "text-to-image"
    front: dict[str, Any] = {
        "library_name": "diffusers",
        "pipeline_tag": task,
        "tags": ["diffusion", "understudy"],
    }
    if not from_nothing and _HUB_NAME.fullmatch(name) and source_name(name) == name:
        front["base_model"] = name
    base = None if from_nothing else "mini" if name == "mini" else str(front.get("base_model", "BASE"))
    return _render(
        "adapter_card.md",
        front,
        sources(settings),
        results,
        settings=settings,
        snippet=_fenced(adapter_snippet(base, files, hub), "python"),
        is_base_unnamed=base == "BASE",
        picture=ADAPTER_PICTURE if ADAPTER_PICTURE in files else None,
        audited=_audited(results),
    )


def predictions_card(arm: str, *, images: int, trainings: int, source: str, file: str) -> str:
    """Write the page beside predictions for real test images, for those who have the images.

    Args:
        arm: name of the arm that predicts.
        images: number of real test images.
        trainings: number of trainings, whose probabilities were averaged.
        source: of the real images.
        file: name of the table.

    Returns:
        Markdown.
    """
    title = f"# Predictions for {plain(source_name(source))}, arm {plain(arm)}"
    about = (
        f"`{file}` has a row for each of the {images} real test images of the run. `p_0`, `p_1`, ... are the "
        f"probabilities of the classes, in the order of `label`: the mean of {trainings} classifiers, none "
        "of which has seen these images. So cleanlab can find labels among them that are probably wrong:"
    )
    warning = "The table names your images and tells their labels: share it only with those who may see them."
    return "\n\n".join([title, about, _fenced(predictions_snippet(file), "python"), warning]) + "\n"


def plain(text: object) -> str:
    r"""Escape text so that Markdown shows it as it is, on one line, also inside a table cell.

    Example:
        >>> plain("<b>|a_b|")
        '\\<b\\>\\|a\\_b\\|'
    """
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", " ".join(str(text).split()))


def figure(value: float | None) -> str:
    """Format a number of any size with three digits; ``n/a`` for None.

    Example:
        >>> figure(0.00012345), figure(12.3456), figure(12345.6), figure(None)
        ('0.000123', '12.3', '12,346', 'n/a')
    """
    if value is None:
        return "n/a"
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:,.0f}"


def figure_interval(interval: Mapping[str, float] | None) -> str:
    """Format the mean and 95% interval of a number of any size; ``n/a`` for None.

    Example:
        >>> figure_interval({"mean": 0.5, "low": 0.25, "high": 0.625})
        '0.5 [0.25, 0.625]'
    """
    if interval is None:
        return "n/a"
    return f"{figure(interval['mean'])} [{figure(interval['low'])}, {figure(interval['high'])}]"


def _render(
    template: str,
    front: Mapping[str, Any],
    found: Sequence[Source],
    results: Mapping[str, Any],
    *,
    settings: Settings,
    **more: Any,
) -> str:
    jinja = environment()
    for card_filter in (plain, figure, figure_interval, source_name, real_images_interval):
        jinja.filters[card_filter.__name__] = card_filter
    jinja.filters["fenced"] = _fenced
    text = jinja.get_template(template).render(
        front_matter=yaml.safe_dump(hub_licence(found) | dict(front), sort_keys=False, allow_unicode=True),
        results=present(_elsewhere(results)),
        settings=settings,
        settings_yaml=_without_places(settings),
        sources=found,
        licence_note=LICENCE_NOTE,
        **more,
    )
    return re.sub(r"\n{3,}", "\n\n", text.lstrip()).rstrip() + "\n"


def _elsewhere(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with a command whose absolute paths are shortened to their last part."""
    made_in = dict(results.get("environment", {}))
    if "command" in made_in:
        words = shlex.split(made_in["command"])
        made_in["command"] = shlex.join(re.sub(r"(^|=)[/~].*/([^/]+)/?$", r"\1\2", one) for one in words)
    return {**results, "environment": made_in}


def _without_places(settings: Settings) -> str:
    """All settings as YAML, with absolute paths shortened to their last part: cards go elsewhere."""
    return re.sub(r"(?m)(?<=[ '\"])[/~][^'\"\n]*/([^/'\"\n]+)", r"\1", to_yaml(settings))


def _audited(results: Mapping[str, Any]) -> list[str]:
    return list(results.get("membership", {}).get("arms", {}))


def _fenced(text: str, language: str) -> str:
    """Fence text as a code block that nothing in the text can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "images"
