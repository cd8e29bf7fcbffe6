"""A stage of a run: a row of ``STAGES`` in ``run.py``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from operator import attrgetter
from typing import Any, final

from understudy.core.config import Section
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.work import Counted, Work
from understudy.settings import Settings


@final
@dataclass(frozen=True)
class Stage:
    """One step of a run, and everything that is known about it.

    A stage with ``wanted`` is done only if a setting of its section turns it on. If that section is
    ``addable``, its settings may change in a finished run, and the stage is then done again. What a record
    holds under the name of its stage becomes a section of ``results.json``.

    Attributes:
        name: also the name of its file in this folder and of its record.
        do: the function that does it.
        summary: what it does, for the documentation.
        page: its page in ``docs/``.
        wanted: the setting that turns it on; None for a stage that every run has.
        when: how users turn it on, for the documentation.
        check: checks settings, train and validation images before a run begins, or gets this stage later.
        check_finished: checks whether a finished run can get this stage.
        work: counts what it will do, for ``understudy preview``; None if that takes next to no time.
        is_current: whether its record still fits the run; None if nothing can outdate it.
        is_last: whether it is done again whenever another stage was done.
    """

    name: str
    do: Callable[[Run], None]
    summary: str
    page: str
    _: KW_ONLY
    wanted: str | None = None
    when: str = "always"
    check: Callable[[Settings, LabelledSet, LabelledSet], None] | None = None
    check_finished: Callable[[Run], None] | None = None
    work: Callable[[Counted], Work] | None = None
    is_current: Callable[[Run, dict[str, Any]], bool] | None = None
    is_last: bool = False

    def is_wanted(self, settings: Settings) -> bool:
        """Whether a run with these settings has this stage."""
        return self.wanted is None or bool(attrgetter(self.wanted)(settings))

    def is_finished(self, run: Run) -> bool:
        """Whether the stage has left a record that fits the present settings."""
        record = run.folder.record(self.name)
        if record is None:
            return False
        if self.is_current is not None:
            return self.is_current(run, record)
        section = self.section(run.settings)
        return section is None or not section.addable or section.gives_results_of(record.get("settings", {}))

    def section(self, settings: Settings) -> Section | None:
        """The section with the setting that turns this stage on."""
        return None if self.wanted is None else getattr(settings, self.wanted.partition(".")[0])
