"""Every file that a run reads back, cut short or emptied: the command line names it and says what to do."""

import re
import shutil

import pytest
from tiny_job import tiny_settings, tree

from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.run import STAGE_NAMES, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

READ_BY = {
    "settings.yaml": "report RUN",
    "results.json": "export RUN --to new --what adapter",
    "stages/*.json": "report RUN",
    "stages/load.json": "export RUN --to new",
    "stages/curate.json": "export RUN --to new",
    "stages/report.json": "run RUN",
    "stages/compare.json": "evaluate RUN --corruptions noise",
    "data/*.parquet": "report RUN",
    "data/features.safetensors": "from adapt",
    "adapter/checkpoint.pt": "from adapt",
    "adapter/images.json": "run PETS --out other --generator GENERATOR --set adapt.adapter=run/adapter "
    "--set visual.kind=per-image",
    "adapter/report.json": "export RUN --to new --what adapter",
    "adapter/unet/config.json": "export RUN --to new --what adapter",
    "adapter/unet/diffusion_pytorch_model.safetensors": "from draw",
    "adapter/member-1/report.json": "from draw",
    "adapter/member-1/unet/diffusion_pytorch_model.safetensors": "from draw",
    "synthetic/plan/round-*.json": "from draw",
    "synthetic/plan/round-*/part-*.parquet": "from draw",
    "synthetic/images/round-*/part-*.parquet": "from draw",
    "synthetic/curated.parquet": "export RUN --to new",
    "synthetic/weak-classes.json": "from compare",
    "synthetic/variants/*.json": "from compare",
    "synthetic/variants/*.parquet": "from compare",
    "features/generator/*.safetensors": "from fidelity",
    "arms/confusions.npz": "report RUN",
    "arms/*-seed*.npz": "report RUN",
    "arms/*-seed*.safetensors": "evaluate RUN --corruptions noise",
    "arms/*-classifier/config.json": "export RUN --to new --what classifier --arm real",
    "arms/*-classifier/model.safetensors": "export RUN --to new --what classifier --arm real",
    "arms/tuning/*-trial*.json": "from tune",
    "arms/*/*-seed*.npz": "from scale",
    "arms/times-*/images.json": "from scale",
}
"""By file, a command that reads it; the last entry that fits counts. "from STAGE" continues a run that lacks
the records from this stage on.
"""
NOT_READ = (
    *("README.md", "report.html", "synthetic/decisions.parquet", "synthetic/scaled.parquet"),
    "synthetic/samples.png",
    *("adapter/member-1/checkpoint.pt", "adapter/member-1/images.json", "adapter/member-1/unet/config.json"),
    *("arms/*/*-classifier/*", "synthetic/supplies/*/*/*", "synthetic/supplies/*/*/*/*"),
)
"""Files that nothing reads again, and files that are read like others in ``READ_BY``."""


@pytest.fixture(scope="module")
def whole(pets, tiny_pipeline_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        visual={"kind": "per-image"},
        draw={"members": 2, "allocation": "weak-classes"},
        tune={"learning_rates": [1e-3, 2e-3]},
        compare={"arms": ["real", "synthetic", "synthetic@real-guidance"]},
        scale={"times": [1], "real_shares": [0.5]},
    )
    run(settings, out)
    return out


def fits(name, pattern):
    return re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]*"), name) is not None


def damages(whole):
    """Name, damaged content and command of one file of each kind; JSON is also replaced by ``{}``."""
    files = [name for name, digest in tree(whole).items() if digest != "folder"]
    entries = {name: [pattern for pattern in READ_BY if fits(name, pattern)] for name in files}
    read = {name for name in files if entries[name]}
    unknown = [name for name in files if name not in read and not any(fits(name, each) for each in NOT_READ)]
    assert unknown == [], "files that READ_BY lacks"
    kinds = {pattern: [name for name in files if entries[name][-1:] == [pattern]] for pattern in READ_BY}
    for pattern, names in kinds.items():
        for name in names if pattern.startswith("stages") else names[:1]:
            content = (whole / name).read_bytes()
            yield name, content[: len(content) // 2], READ_BY[pattern]
            if name.endswith(".json"):
                yield name, b"{}", READ_BY[pattern]


def forget(out, command):
    """Remove the records that a command of ``READ_BY`` misses, and complete the command."""
    if not command.startswith("from "):
        return command
    for stage in STAGE_NAMES[STAGE_NAMES.index(command.removeprefix("from ")) :]:
        (out / "stages" / f"{stage}.json").unlink(missing_ok=True)
    return "run RUN"


def test_every_damaged_file_is_named(whole, understudy, tmp_path, pets, tiny_pipeline_folder):
    places = {"RUN": "run", "PETS": str(pets), "GENERATOR": str(tiny_pipeline_folder)}
    wrong = []
    for name, damaged, command in damages(whole):
        out = shutil.copytree(whole, tmp_path / "run")
        words = [places.get(word, word) for word in forget(out, command).split()]
        (out / name).write_bytes(damaged)
        code, printed, err = understudy(*words)
        if code != 2 or f"run/{name}" not in err or not re.search("remove|restore|write it again", err):
            wrong.append((name, damaged[:2], code, printed, err))
        wrong += [(name, "half an export")] * (tmp_path / "new").exists()
        shutil.rmtree(out)
    assert wrong == []


def test_a_missing_record_is_named(whole, understudy, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    (out / "stages" / "load.json").unlink()
    code, _, err = understudy("export", "run", "--to", "new")
    assert (code, err) == (2, "error: run/stages lacks the record of load: go on with 'understudy run run'\n")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("data/test.parquet", "evaluate run --corruptions noise"),
        ("synthetic/curated.parquet", "export run --to new"),
        ("synthetic/curated.parquet", "export run --to new --form webdataset"),
    ],
)
def test_an_image_with_flipped_bytes_is_named(place, command, whole, understudy, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    images = LabelledSet.load(out / place)
    files = [bytearray(images.encoded(index)) for index in range(len(images))]
    files[2][len(files[2]) // 2] ^= 0xFF
    columns = images.columns.drop_columns(["id", "label"]).to_pydict()
    LabelledSet.from_images(
        [bytes(data) for data in files],
        images.labels,
        class_names=images.class_names,
        split=images.split,
        ids=images.ids,
        provenance=columns,
    ).save(out / place)
    code, _, err = understudy(*command.split())
    assert code == 2
    assert err.startswith(f"error: the image {images.ids[2]!r} of the {images.split} images is damaged (")
    assert "remove the file and the record of its stage" in err
    assert not (tmp_path / "new").exists()


def test_files_of_the_user_need_not_be_whole(whole, understudy, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    for name in ("notes.json", "mine/table.parquet", ".cache/state.json", "arms/.cache/state.json"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("{ // not JSON, not Parquet")
    assert understudy("run", "run")[0] == 0


def cut_or_remove(whole):
    """Files of each kind in each folder, cut short; and files that the results were made from, removed."""
    kinds = {}
    for name, digest in tree(whole).items():
        path = whole / name
        if digest != "folder" and path.suffix in (".parquet", ".npz", ".safetensors", ".json"):
            kinds.setdefault((name.partition("/")[0], path.suffix), name)
    for name in kinds.values():
        yield name, (whole / name).read_bytes()[:-9]
    for name in (
        "data/train.parquet",
        "data/test.parquet",
        "synthetic/curated.parquet",
        "arms/confusions.npz",
    ):
        yield name, None


def test_a_finished_run_with_a_damaged_file_is_no_success(whole, understudy, tmp_path):
    out, wrong = shutil.copytree(whole, tmp_path / "run"), []
    for name, content in cut_or_remove(whole):
        if name in ("results.json", "stages/report.json"):
            continue
        (out / name).unlink() if content is None else (out / name).write_bytes(content)
        code, printed, err = understudy("run", "run")
        if code != 2 or f"run/{name} is {'missing' if content is None else 'damaged'}: " not in err:
            wrong.append((name, code, printed[-200:], err))
        shutil.copy(whole / name, out / name)
    assert wrong == []
    (out / "report.html").unlink()
    (out / "arms" / "real-seed1.safetensors").unlink()
    assert understudy("run", "run")[0] == 0, "weights may be removed, and pages are written again"
    assert (out / "report.html").is_file()
