"""What a stage made, as a terminal and a notebook show it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from understudy.data.contact_sheet import MOST_CLASSES
from understudy.pipeline.folder import RunFolder, finished_results
from understudy.pipeline.results import gather_results
from understudy.pipeline.run import STAGE_NAMES
from understudy.report.making import loss_figure
from understudy.report.terminal import summary_table

_COLUMNS = 100


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class StageResult:
    """What a stage of a run made.

    A terminal shows a few lines and tables; a notebook shows images and figures too.

    Attributes:
        stage: its name.
        content: the record of the stage; of the stage ``report``, the content of ``results.json``.
        shown: sentences, tables, and paths, which stay on one line so that they can be copied.
        picture: file with some images; None without.
        figure: SVG; empty without.
    """

    stage: str
    content: Mapping[str, Any]
    shown: Sequence[str | Path | Table]
    picture: Path | None = None
    figure: str = ""

    def __repr__(self) -> str:
        return self._printed().export_text().rstrip("\n")

    def _repr_html_(self) -> str:
        form = '<pre style="line-height: normal; white-space: pre">{code}</pre>'
        parts = [self._printed().export_html(inline_styles=True, code_format=form), self.figure]
        if self.picture is not None:
            encoded = base64.b64encode(self.picture.read_bytes()).decode()
            words = html.escape(f"images of the stage {self.stage}, real ones above synthetic ones")
            parts.append(f'<img alt="{words}" style="max-width: 100%" src="data:image/png;base64,{encoded}">')
        return "".join(parts)

    def _printed(self) -> Console:
        console = Console(
            record=True, width=_COLUMNS, file=io.StringIO(), force_jupyter=False, force_terminal=False
        )
        for each in self.shown:
            is_table = isinstance(each, Table)
            console.print(each if is_table else Text(str(each)), soft_wrap=isinstance(each, Path))
        return console


def result_of(stage: str, folder: RunFolder) -> StageResult:
    """What a finished stage made.

    Args:
        stage: adapt, draw, curate, compare or report.
        folder: of the run.
    """
    if stage == "report":
        return _of_report(folder)
    record = folder.record(stage)
    assert record is not None, f"{stage} is not finished"
    return {"adapt": _of_adapt, "draw": _of_draw, "curate": _of_curate, "compare": _of_compare}[stage](
        record, folder
    )


def _of_adapt(record: dict[str, Any], folder: RunFolder) -> StageResult:
    told = f"adapt: {record['method']}"
    if "val_loss_after" in record:
        losses = f"{record['val_loss_before']:.4f} -> {record['val_loss_after']:.4f}"
        told += f", {record['steps']} steps; validation loss {losses} (weights of step {record['best_step']})"
    return StageResult(stage="adapt", content=record, shown=[told], figure=str(loss_figure(record)))


def _of_draw(record: dict[str, Any], folder: RunFolder) -> StageResult:
    picture = _samples(folder)
    shown = [f"draw: {record['images']:,} images", *_about(picture)]
    return StageResult(stage="draw", content=record, shown=shown, picture=picture)


def _of_curate(record: dict[str, Any], folder: RunFolder) -> StageResult:
    counts, picture = record["curation"], _samples(folder)
    shown: list[str | Path | Table] = [f"curate: kept {counts['kept']:,} of {counts['drawn']:,} drawn images"]
    shown += [] if counts["problem"] is None else [counts["problem"]]
    return StageResult(stage="curate", content=record, shown=[*shown, *_about(picture)], picture=picture)


def _of_compare(record: dict[str, Any], folder: RunFolder) -> StageResult:
    results = gather_results(folder, STAGE_NAMES)
    shown = [summary_table(results), results["verdict"]["sentence"]]
    return StageResult(stage="compare", content=record, shown=shown)


def _of_report(folder: RunFolder) -> StageResult:
    results = finished_results(folder)
    pages = [folder.path / name for name in ("report.html", "results.json")]
    shown = [summary_table(results), results["verdict"]["sentence"], *pages]
    return StageResult(stage="report", content=results, shown=shown)


def _samples(folder: RunFolder) -> Path | None:
    """The picture with some images, if there is one."""
    path = folder.path / "synthetic" / "samples.png"
    return path if path.is_file() else None


def _about(picture: Path | None) -> list[str | Path]:
    if picture is None:
        return []
    return [f"real images above synthetic ones, a column per class (at most {MOST_CLASSES}):", picture]
