"""A run stage by stage in Python, with the verbs of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, final

from understudy.commands import chosen, printing
from understudy.commands.options import Options
from understudy.commands.settings_file import opened
from understudy.commands.stage_result import StageResult, result_of
from understudy.core.config import merge
from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.core.progress import Observer
from understudy.data.load import find_source
from understudy.generators.silence import no_progress_bars
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import STAGE_NAMES, run
from understudy.recipes import PRESETS, RECIPES
from understudy.report.run_command import default_folder
from understudy.settings import Settings, build


@final
class StagedRun:
    """A run that is done stage by stage, as in a notebook.

    Each method does the stages up to its own that are not finished in the run folder, so calling it again
    takes no time, and a later session goes on where this one stopped. What it returns shows itself in a
    terminal and, with images, in a notebook.

    Example:
        >>> this = StagedRun("digits", "runs/digits-5", data={"shots": 5})  # doctest: +SKIP
        >>> this.draw()  # doctest: +SKIP
        draw: 1,000 images; some below real ones, a column for each class: runs/digits-5/synthetic/samples.png
    """

    def __init__(
        self,
        data: str | Path | Settings,
        /,
        out: str | Path | None = None,
        *,
        preset: str | None = None,
        recipe: str | None = None,
        device: str = "auto",
        observer: Observer | None = None,
        **sections: Any,
    ) -> None:
        """Choose the settings, as ``understudy run`` would; no stage is done yet.

        Args:
            data: images as the command line reads them, a settings file, the folder of a run to continue, or
                settings.
            out: the run folder; by default ``runs/NAME-OF-DATA``.
            preset: effort; by default that of the settings file, or ``standard``.
            recipe: method; by default that of the settings file, or ``adapted``.
            device: auto, cpu, cuda, ...
            observer: receives messages and progress; by default they are printed.
            sections: any settings, as in ``draw={"times": 5}``; they win over all others.

        Raises:
            InputError: for settings that do not fit, or data that cannot be found.
        """
        self._device = device
        self._observer = observer or printing.progress()
        place = None if out is None else Path(out)
        bundles: dict[str, Any] = chosen.used(preset=preset, recipe=recipe)
        if isinstance(data, Settings):
            if given := [*bundles, *sections]:
                raise InputError(f"settings that are complete need no {listed(given)}: leave them out")
            self.folder, self.settings = place or default_folder(data.data.source), data
        else:
            options = opened(Options(str(data), given=frozenset({"data", *bundles}), **bundles))
            self.folder, self.settings = _chosen_with(options, place, sections)
        if not RunFolder.is_run(self.folder):  # which has its own copy of the images
            find_source(self.settings.data.source)

    def adapt(self) -> StageResult:
        """Read and split the images, and fit the generator to them."""
        return self._until("adapt")

    def draw(self) -> StageResult:
        """Do all stages up to drawing synthetic images."""
        return self._until("draw")

    def curate(self) -> StageResult:
        """Do all stages up to filtering the synthetic images."""
        return self._until("curate")

    def compare(self) -> StageResult:
        """Do all stages up to training and testing every arm."""
        return self._until("compare")

    def report(self) -> StageResult:
        """Do all stages, and write the report."""
        return self._until("report")

    def _until(self, stage: str) -> StageResult:
        no_progress_bars()
        device = chosen.torch_device(self._device)
        run(self.settings, self.folder, device=device, until=stage, observer=self._observer)
        return result_of(stage, RunFolder.find(self.folder))

    def __repr__(self) -> str:
        if not RunFolder.is_run(self.folder):
            return f"StagedRun({str(self.folder)!r}): not begun"
        stored = RunFolder.find(self.folder)
        done = [name for name in STAGE_NAMES if stored.record(name) is not None]
        return (
            f"StagedRun({str(self.folder)!r}): finished {listed(done, most=len(STAGE_NAMES)) or 'no stage'}"
        )


def _chosen_with(options: Options, out: Path | None, sections: dict[str, Any]) -> tuple[Path, Settings]:
    """Folder and settings of a run with further settings of the user.

    Raises:
        InputError: as the command line; if settings are given for a run that exists.
    """
    given = options.given - {"data"} if RunFolder.is_run(Path(options.data)) else ()
    if given or (sections and RunFolder.is_run(Path(options.data))):
        raise InputError(
            f"{options.data} is a run, which keeps its settings: leave out {listed([*given, *sections])}, or "
            "start a new run with images"
        )
    if isinstance(sections.get("data"), dict) and "source" in sections["data"]:
        raise InputError(
            f"the images must be named once, got {options.data} and data.source: leave the latter out"
        )
    merged: dict[str, Any] = {}
    for layer in (options.sections, sections):
        merge(merged, layer)
    if sections:  # a value in the place of a section would be replaced by what the options set there
        build(PRESETS[options.preset], RECIPES[options.recipe], {"data": {"source": options.data}}, merged)
    return chosen.run_folder(replace(options, sections=merged), out)
