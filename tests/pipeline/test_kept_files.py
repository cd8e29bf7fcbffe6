"""Files that settings name may change or go once a run has begun: it goes on with its copies, and says so."""

import json
import shutil

import pytest
from tiny_job import Listener, results_of, tiny_settings, write_pets

from understudy.core.errors import InputError
from understudy.core.files import content_of
from understudy.core.progress import Silent
from understudy.data.labelled_set import LabelledSet
from understudy.evaluation.shift_tests import load_test_set
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.pipeline.shift import shift as shift_stage
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]


@pytest.fixture
def job(tmp_path, tiny_pipeline_folder):
    """Settings with template and class names files, and these files."""
    files = {name: tmp_path / f"{name}.txt" for name in ("draw", "negative", "names")}
    files["draw"].write_text("a sharp photo of {class}\na blurred photo of {class}\n")
    files["negative"].write_text("a cartoon\n")
    files["names"].write_text("cat: tabby\ndog: poodle\n")
    pets = write_pets(tmp_path / "pets")
    arms = {"arms": ["real", "synthetic"]}
    plain = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, compare=arms)
    draw = {"prompt": str(files["draw"]), "negative_prompt": str(files["negative"]), "guidance_scale": 2}
    return build(
        plain.model_dump(mode="json"), {"draw": draw, "data": {"class_names": str(files["names"])}}
    ), files


def prompts_of(out):
    images = LabelledSet.load(out / "synthetic" / "curated.parquet")
    return set(images.provenance("prompt"))


def test_a_run_goes_on_with_the_templates_that_it_began_with(job, tmp_path):
    settings, files = job
    out, listener = tmp_path / "run", Listener()
    run(settings, out, until="load")
    files["draw"].write_text("a painting of {class}\n")
    files["names"].unlink()
    run(settings, out, until="curate", observer=listener)
    assert prompts_of(out) <= {
        f"a {kind} photo of {words}" for kind in ("sharp", "blurred") for words in ("tabby", "poodle")
    }
    (line,) = (line for line in listener.lines if "has changed" in line)
    copy = out / "data" / "kept" / "draw.prompt.txt"
    assert line == (
        f"draw.prompt: {files['draw']} has changed since the run began, which goes on with its copy {copy}; "
        "for the new file, start a new run"
    )


def test_a_run_goes_on_without_its_template_files(job, tmp_path):
    settings, files = job
    run(settings, tmp_path / "run", until="load")
    for path in files.values():
        path.unlink()
    listener = Listener()
    run(settings, tmp_path / "run", until="draw", observer=listener)
    assert not any("has changed" in line for line in listener.lines)
    with pytest.raises(InputError, match=r"template file .*draw.txt must exist"):
        run(settings, tmp_path / "new", until="load")


def test_a_run_of_an_older_version_has_no_copies(job, tmp_path):
    settings, files = job
    out = tmp_path / "run"
    run(settings, out, until="load")
    for copy in (out / "data" / "kept").iterdir():
        copy.unlink()
    record = out / "stages" / "load.json"
    loaded = json.loads(record.read_text())
    del loaded["kept"]
    record.write_text(json.dumps(loaded))
    files["draw"].write_text("a painting of {class}\n")
    run(settings, out, until="curate")
    assert prompts_of(out) <= {"a painting of tabby", "a painting of poodle"}


@pytest.mark.parametrize("change", ["is missing", "has changed"])
def test_a_copy_that_is_missing_or_changed_is_refused(job, tmp_path, change):
    settings, files = job
    out = tmp_path / "run"
    run(settings, out, until="load")
    copy = out / "data" / "kept" / "draw.prompt.txt"
    copy.unlink() if change == "is missing" else copy.write_text("a painting of {class}\n")
    with pytest.raises(InputError, match=rf"draw\.prompt\.txt {change}.*or copy {files['draw']} there"):
        run(settings, out, until="draw")
    shutil.copyfile(files["draw"], copy)
    run(settings, out, until="draw")


def test_a_generator_that_changed_is_refused(job, tmp_path):
    settings, _ = job
    ready = write_pets(tmp_path / "ready", seed=5)
    settings = build(
        settings.model_dump(mode="json"),
        {
            "generator": {"name": "folder", "images": [str(ready)]},
            "draw": {"prompt": "{class}", "negative_prompt": "", "guidance_scale": 1},
        },
    )
    out = tmp_path / "run"
    run(settings, out, until="draw")
    (ready / "cat" / "0.png").unlink()
    with pytest.raises(InputError, match="the generator folder has changed since this run drew its images"):
        run(build(settings.model_dump(mode="json"), {"scale": {"times": [1]}}), out)


@pytest.mark.parametrize("change", ["more", "other"])
def test_a_further_test_set_that_changed_is_measured_again(job, tmp_path, change):
    settings, _ = job
    others, out = write_pets(tmp_path / "others", per_class=5, seed=9), tmp_path / "run"
    shift = {"measure": True, "corruptions": [], "tests": {"others": str(others)}}
    settings = build(settings.model_dump(mode="json"), {"shift": shift})
    run(settings, out)
    stored = json.loads((out / "stages" / "shift.json").read_text())["tests"]["others"]
    assert stored == content_of(others)
    quiet = Listener()
    run(settings, out, observer=quiet)
    assert "shift: finished earlier, kept" in quiet.lines
    another = write_pets(tmp_path / "new", per_class=5, seed=10) / "cat" / "0.png"
    (others / "cat" / ("new.png" if change == "more" else "0.png")).write_bytes(another.read_bytes())
    said = Listener()
    run(settings, out, observer=said)
    assert results_of(out)["shift"]["tests"]["others"]["images"] == (11 if change == "more" else 10)
    line = next(line for line in said.lines if "has changed" in line)
    assert line.startswith(
        f"shift: the test set 'others' ({others}) has changed since it was measured: 10 files"
    )
    assert line.endswith("now; all sets are measured again")
    assert "report: finished earlier, kept" not in said.lines


def test_a_test_set_that_changes_while_it_is_read_is_refused(job, tmp_path, monkeypatch):
    settings, _ = job
    others, out = write_pets(tmp_path / "others", per_class=5, seed=9), tmp_path / "run"
    shift = {"measure": True, "corruptions": [], "tests": {"others": str(others)}}
    settings = build(settings.model_dump(mode="json"), {"shift": shift})
    run(settings, out, until="gap")

    def then_changed(*args, **kwargs):
        found = load_test_set(*args, **kwargs)
        (others / "cat" / "0.png").write_bytes(b"another image")
        return found

    this = Run(RunFolder.find(out), "cpu", Silent())
    monkeypatch.setattr("understudy.pipeline.shift.load_test_set", then_changed)
    with pytest.raises(InputError, match="'others' .* has changed while it was read: give the same command"):
        shift_stage(this)
    assert not (out / "stages" / "shift.json").exists()


def test_a_run_reads_the_files_of_a_test_set_once(job, tmp_path):
    settings, _ = job
    this = Run(RunFolder.open(tmp_path / "run", settings), "cpu", Silent())
    others = write_pets(tmp_path / "others", per_class=2)
    found = this.content_of(others)
    shutil.rmtree(others)
    assert this.content_of(others) == found == {**found, "files": 4}


def test_a_test_set_that_was_moved_away_is_kept(job, tmp_path):
    settings, _ = job
    others, out = write_pets(tmp_path / "others", per_class=5, seed=9), tmp_path / "run"
    shift = {"measure": True, "corruptions": [], "tests": {"others": str(others)}}
    settings = build(settings.model_dump(mode="json"), {"shift": shift})
    run(settings, out)
    others.rename(tmp_path / "moved")
    listener = Listener()
    run(settings, out, observer=listener)
    assert "shift: finished earlier, kept" in listener.lines


def test_content_of_a_folder_follows_names_contents_and_links(tmp_path):
    folder, linked = tmp_path / "folder", tmp_path / "linked"
    for path in (folder / "a", linked / "b"):
        path.parent.mkdir()
        path.write_text("one")
    (folder / "deep").symlink_to(linked, target_is_directory=True)
    (linked / "round").symlink_to(folder, target_is_directory=True)
    found = content_of(folder)
    assert (found["files"], found["bytes"]) == (2, 6)
    (linked / "b").write_text("two")
    assert content_of(folder) != found
    (linked / "b").write_text("one")
    assert content_of(folder) == found
    (folder / "a").rename(folder / "c")
    assert content_of(folder) != found
    assert content_of(folder / "c")["files"] == 1
