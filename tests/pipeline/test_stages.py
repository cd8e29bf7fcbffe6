"""What holds for every row of the table of stages."""

import inspect
import re
from pathlib import Path

import pytest

from understudy.core.config import section_in
from understudy.pipeline.run import STAGES
from understudy.settings import Settings

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_has_a_file_of_its_name(stage):
    modules = {
        inspect.getmodule(one) for one in (stage.work, stage.check, stage.check_finished) if one is not None
    }
    assert {module.__name__ for module in modules} <= {f"understudy.pipeline.{stage.name}"}
    assert stage.is_last or stage.do.__module__ == f"understudy.pipeline.{stage.name}"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_has_a_page(stage):
    file, _, heading = stage.page.partition("#")
    headings = re.findall(r"^#+ (.*)$", (DOCS / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert not heading or heading in [title.lower().replace(" ", "-") for title in headings]


def test_every_section_that_may_change_later_turns_a_stage_on():
    sections = {name: section_in(field) for name, field in Settings.model_fields.items()}
    addable = {name for name, section in sections.items() if section is not None and section.addable}
    assert addable <= {stage.wanted.partition(".")[0] for stage in STAGES if stage.wanted is not None}


def test_only_stages_that_can_be_left_out_say_when_they_are_done():
    assert all((stage.when == "always") == (stage.wanted is None) for stage in STAGES)
    assert [stage.is_last for stage in STAGES] == [False] * (len(STAGES) - 1) + [True]
