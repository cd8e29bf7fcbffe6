"""The command line: what it prints, what it writes, and how it refuses."""

import errno
import io
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import two_classes
from tiny_job import OPTIONS, times, tiny_settings, tree, write_pets

from understudy.core.files import write_atomically
from understudy.data.export import EXPORTS
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder

COMMANDS = (
    "init",
    "run",
    "adapt",
    "draw",
    "curate",
    "compare",
    "report",
    "validate",
    "preview",
    "export",
    "compare-runs",
    "list",
    "study",
)
JOB_OPTIONS = (
    "--preset",
    "--recipe",
    "--shots",
    "--generator",
    "--arms",
    "--class-names",
    "--skip-bad",
    "--set",
    "--seed",
)


pytestmark = pytest.mark.usefixtures(
    "understudy"
)  # an empty folder: what a command writes beside --out is seen


# What is refused. Each case makes what it needs in the current folder, and gives the words and the message.


def _picture_bytes(seed=0):
    return two_classes(1, seed=seed).encoded(0)


def _bomb():
    """A PNG whose header claims 30,000 x 30,000 pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


def _empty_folder():
    Path("empty").mkdir()
    return "run empty", "empty must hold class folders with images"


def _one_class():
    write_pets("pets")
    shutil.rmtree("pets/dog")
    return "run pets", "at least two classes are needed, got one: 'cat'"


def _one_image():
    write_pets("pets")
    for number in range(1, 12):
        Path(f"pets/dog/{number}.png").unlink()
    return "run pets", "every class needs at least 3 different images .* but 'dog' has 1"


def _bad_files():
    write_pets("pets")
    Path("pets/cat/truncated.png").write_bytes(_picture_bytes()[:80])
    Path("pets/dog/notes.txt").write_text("not an image")
    return (
        "run pets",
        "but 2 of 26 are not:\n  cat/truncated.png: .*\n  dog/notes.txt: not an image\n.*--skip-bad",
    )


def _leaking_test_images():
    write_pets("pets/train")
    write_pets("pets/test", seed=1)
    Path("pets/test/cat/copy.png").write_bytes(Path("pets/train/cat/3.png").read_bytes())
    return "run pets", "splits must not share images, got 1 pair of copies:\n  .*cat/3.png .*the same pixels"


def _labels_without_names():
    data = two_classes(24)
    images = [{"bytes": data.encoded(index), "path": None} for index in range(24)]
    pq.write_table(pa.table({"image": images, "label": data.labels}), "pets.parquet")
    return (
        "run pets.parquet",
        "every label needs a class name, but .* has only the numbers 0, 1: give --class-names FILE",
    )


def _too_few_names():
    write_pets("pets")
    Path("names.txt").write_text("boss\n")
    return "run pets --class-names names.txt", "must have a line for each of 2 classes"


def _zip_that_climbs_out():
    with zipfile.ZipFile("pets.zip", "w") as archive:
        archive.writestr("../evil/cat/0.png", _picture_bytes())
    return "run pets.zip", r"entries must have relative paths without '\.\.', got '\.\./evil/cat/0.png'"


def _tar_with_absolute_path():
    with tarfile.open("pets.tar", "w") as archive:
        entry = tarfile.TarInfo("/evil/0.png")
        entry.size = len(_picture_bytes())
        archive.addfile(entry, io.BytesIO(_picture_bytes()))
    return "run pets.tar", "entries must have relative paths .* got '/evil/0.png'"


def _decompression_bomb():
    write_pets("pets")
    Path("pets/cat/bomb.png").write_bytes(_bomb())
    return "run pets", "cat/bomb.png: .*900000000 pixels.*or leave them out with --skip-bad"


def _too_many_shots():
    write_pets("pets")
    return "run pets --shots 50", "every class needs at least 50 different images for 50 shots"


def _no_pipeline():
    Path("weights").mkdir()
    return (
        "run digits --generator weights",
        "single file, but weights is a folder without model_index.json",
    )


def _broken_pipeline():
    Path("weights").mkdir()
    Path("weights/model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return "validate digits --generator weights", "cannot load the generator 'weights'"


def _something_else():
    Path("thesis").mkdir()
    Path("thesis/all.txt").write_text("of it")
    return "run digits --out thesis", "thesis is not an empty folder and holds no run"


def _file_in_the_way():
    write_pets("pets")
    Path("file").write_text("")
    return (
        "adapt pets --recipe vanilla --out file/run",
        "Not a directory.*then continue with: understudy adapt pets",
    )


CASES = {
    function.__name__.strip("_"): function
    for function in (
        _empty_folder,
        _one_class,
        _one_image,
        _bad_files,
        _leaking_test_images,
        _labels_without_names,
        _too_few_names,
        _zip_that_climbs_out,
        _tar_with_absolute_path,
        _decompression_bomb,
        _too_many_shots,
        _no_pipeline,
        _broken_pipeline,
        _something_else,
        _file_in_the_way,
    )
}
OF_A_RUN = {
    "run pets --out old --seed 3": "old holds a run with other settings:\n  seed: 0 in the folder, 3 now\n",
    "run old --preset quick": "old is a run, which keeps its settings and its folder: leave out --preset, or",
    "run old --seed 0 --set seed=1 --out new": "leave out --set, --seed, --out, or start a new run",
    "run old --resume never": "old already holds a run, and --resume never was given: leave --resume out",
    "report old": "old is not finished: go on with 'understudy run old'",
    "export old --to new": "old has no curated images yet",
    "export old --to new --set draw.times=3": "export can set only data.licence and generator.licence",
    "export old --to new --set generator.licence=mit": "generator.licence has no effect while",
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_and_nothing_written(case, understudy, tmp_path):
    words, message = CASES[case]()
    check_refused(understudy, words, message, tmp_path)


@pytest.mark.parametrize("words", OF_A_RUN)
def test_what_does_not_fit_a_run_is_refused(words, understudy, tmp_path):
    RunFolder.open(Path("old"), tiny_settings("pets", "mini"))
    check_refused(understudy, words, OF_A_RUN[words], tmp_path)


BAD_SETTINGS = {
    "": "old/settings.yaml cannot be read: settings must be a YAML mapping, got an empty file\n",
    "[1]": "old/settings.yaml cannot be read: settings must be a YAML mapping, got list\n",
    "draw: 3": "old/settings.yaml cannot be read: setting 'data' is required\nsetting 'draw' must be a sec",
    "seed: 2022-99-99": "old/settings.yaml cannot be read: ",
    "{[": "old/settings.yaml cannot be read: ",
}


@pytest.mark.parametrize("text", BAD_SETTINGS)
@pytest.mark.parametrize("words", ["run old", "run digits --out old", "report old", "export old --to new"])
def test_settings_that_cannot_be_read_name_their_file(text, words, understudy, tmp_path):
    Path("old").mkdir()
    Path("old/settings.yaml").write_text(text)
    check_refused(understudy, words, f"{BAD_SETTINGS[text]}.*restore the file, or choose another", tmp_path)


def check_refused(understudy, words, message, folder):
    before = tree(folder)
    code, out, err = understudy(*shlex.split(words))
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert_matches(message, err)
    assert tree(folder) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run nowhere", "no file or folder at 'nowhere'"),
        ("run dgits", "did you mean 'digits'"),
        ("validate nowhere", "no file or folder at 'nowhere'"),
        ("preview nowhere", "no file or folder at 'nowhere'"),
        (
            "run digits --generator minni",
            (
                r"unknown generator 'minni'; known: class_conditional, folder, glyphs, mini, "
                r"stable-diffusion \(did you mean 'mini'\?\)"
            ),
        ),
        (
            "run digits --arms real,synthesized",
            "unknown arm 'synthesized'; known: bridged, .*real-long, synthetic",
        ),
        ("run digits --set draw.tims=5", "unknown setting 'draw.tims'; known here: per_class, times, "),
        (
            "run digits --set drawing.times=5",
            "unknown setting 'drawing'; known here: seed, data, generator, captions, visual, adapt, ",
        ),
        ("run digits --set draw.times", "--set needs key=value, such as draw.times=5, got 'draw.times'"),
        ("run digits --set draw.steps=0", "setting 'draw.steps': .*greater than or equal to 1, got 0"),
        (
            "gap digits --set gap.measure=false",
            "gap.measure must be True with this command, got --set gap.measure=False: leave it out",
        ),
        (
            "audit digits --shadows 8 --set membership.shadows=6",
            "membership.shadows must be 8 with this command, got --set",
        ),
        ("run '' --out new", "DATA must not be empty: give a folder, a file or a name, such as digits"),
        (
            "run digits --shots 3 --set data.shots=5",
            "data.shots must be given once, got both --shots and --set: leave one of them out",
        ),
        ("run digits --seed 0 --set seed=1", "seed must be given once, got both --seed and --set"),
        ("validate own --set data.source=digits", "images must be named once, got own and --set data.source"),
        ("validate digits --arms-file none.yaml", "there is no arms file none.yaml"),
        (
            "run digits --times 2 --set draw.times=5",
            "draw.times must be given once, got both --times and --set: leave one of them out",
        ),
        (
            "run digits --set generator.name=folder --set generator.images=[some,some/]",
            "generator.images must name each set once, got some and some, which are the same: leave one out",
        ),
        ("run digits --shots 0", "setting 'data.shots': .*greater than or equal to 1, got 0"),
        ("run digits --preset fast", "unknown preset 'fast'; known: quick, standard, thorough"),
        ("run digits --recipe vanila", r"unknown recipe 'vanila'; known: .*\(did you mean 'vanilla'\?\)"),
        ("run digits --set draw.sampler=euler", "unknown sampler 'euler'; known: ddim, ddpm, dpm"),
        (
            "run digits --set curate.score=beauty",
            "unknown score 'beauty'; known: agreement, clip, confidence, none",
        ),
        ("run digits --set compare.backbone=resnet19", "got 'resnet19': did you mean resnet18"),
        (
            "run digits --set adapt.method=dreambooth",
            "unknown adaptation method 'dreambooth'; known: full, lora, neutral-token",
        ),
        ("run digits --frobnicate", "No such option: --frobnicate"),
        ("run digits --seed x", "Invalid value for '--seed'"),
        ("run digits --resume perhaps", "Invalid value for '--resume'"),
        (
            "run digits --resume always",
            "runs/digits holds no run to continue, and --resume always was given",
        ),
        ("run digits --device gpu", "--device 'gpu' cannot be used: "),
        ("run digits --device cuda:99", "--device 'cuda:99' cannot be used: "),
        ("preview digits --device gpu", "--device 'gpu' cannot be used: "),
        (
            "run digits --device meta",
            "--device 'meta' cannot be used: .*: choose auto, cpu or another device",
        ),
        (
            "preview digits --to .",
            r"^error: \. is a folder: give the name of a file in it, such as new\.png\n$",
        ),
        (
            "preview digits --to /proc/self/status/a.png",
            "^error: /proc/self/status, where .* written, is not a folder: choose",
        ),
        (
            "compare-runs a b --to .",
            r"^error: \. is a folder: give the name of a file in it, such as new\.html\n$",
        ),
        (
            "run digits --set compare.arms=real",
            r"setting 'compare\.arms' must be a list, such as \[a, b\], got 'real'",
        ),
        (
            "run digits --set draw=1",
            "setting 'draw' must be a section with settings, such as draw.per_class, got 1",
        ),
        (
            "gap digits --strengths 7",
            r"^error: setting 'gap\.strengths\.0': .*less than or equal to 1, got 7\.0\n$",
        ),
        ("run", "Missing argument 'DATA'"),
        ("dream digits", "No such command 'dream'"),
        ("list colours", "unknown kind 'colours'; known: presets, recipes"),
        ("report nowhere", r"nowhere holds no run \(no settings.yaml\)"),
        ("export nowhere --to new", r"nowhere holds no run \(no settings.yaml\)"),
        ("export nowhere --to new --form zip", "Invalid value for '--form'"),
    ],
)
def test_wrong_words_are_refused_and_nothing_written(words, message, understudy, tmp_path):
    code, out, err = understudy(*shlex.split(words))
    assert code == 2
    assert out == ""
    assert_matches(message, err)
    assert "Traceback" not in err
    assert tree(tmp_path) == {}


def assert_matches(message, text):
    assert re.search(message, text, flags=re.DOTALL), f"{message!r} not found in:\n{text}"


@pytest.mark.slow
def test_a_process_of_its_own_refuses_the_same_way(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "understudy.cli", "run", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: no file or folder at 'nowhere'")
    assert len(done.stderr.splitlines()) == 1
    assert tree(tmp_path) == {}


# Full disks.


def test_a_full_disk_loses_nothing(understudy, tmp_path, tiny_pipeline_folder, monkeypatch):
    """Whichever write fails: the message says what to do, and the same command ends with the same files."""
    write_pets("pets")
    options = [
        word for text in OPTIONS if not text.startswith(("--set", "adapt.")) for word in ("--set", text)
    ]
    words = ("draw", "pets", "--recipe", "vanilla", "--generator", tiny_pipeline_folder, *options)
    code, _, _ = understudy(*words, "--out", "whole")
    assert code == 0
    fsync = os.fsync
    for number in (1, 3, 8, 11):
        out, written = f"full at write {number}", []

        def full(handle, written=written, number=number):
            written.append(handle)
            if len(written) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(handle)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            code, _, err = understudy(*words, "--out", out)
        assert code == 2
        assert_matches(
            "^error: .*No space left on device; everything finished is kept: solve this problem, then "
            "continue with: understudy draw pets",
            err,
        )
        assert not list(tmp_path.glob(f"{out}/**/.*.tmp")), "half files would go on filling the disk"
        assert understudy(*words, "--out", out)[0] == 0
        assert tree(f"{out}/synthetic") == tree("whole/synthetic")


def test_a_full_disk_that_a_library_calls_something_else(tmp_path, monkeypatch):
    def fail(temporary):
        temporary.write_bytes(b"half")
        raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(RuntimeError, match="unexpected pos"):
        write_atomically(tmp_path / "file", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(tmp_path / "file", fail)
    assert tree(tmp_path) == {}


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of a given size; gives a function that makes it larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small disk")

    def resize(size):
        again = (
            ["-o", f"remount,size={size}"]
            if os.path.ismount(folder)
            else ["-t", "tmpfs", "-o", f"size={size}"]
        )
        done = subprocess.run([mount, *again, "tmpfs", str(folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting is not allowed here")
        return folder

    yield resize
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full(small_disk, understudy, tiny_pipeline_folder):
    """Parquet, torch and safetensors each report a full disk in their own way."""
    write_pets("pets")
    words = (
        "adapt",
        "pets",
        "--generator",
        tiny_pipeline_folder,
        *OPTIONS,
        "--out",
        small_disk("4k") / "run",
    )
    sizes = [*(f"{size}k" for size in range(8, 512, 24)), "64m"]
    codes = []
    for size in sizes:
        small_disk(size)
        code, _, err = understudy(*words)
        codes.append(code)
        if code == 0:
            break
        assert_matches("^error: .*then continue with: understudy adapt pets", err)
    assert codes[-1] == 0
    assert codes.count(2) >= 5


# What goes right.


def test_the_help_names_every_command(understudy):
    code, out, _ = understudy("--help")
    assert code == 0
    assert [name for name in COMMANDS if f"  {name} " not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command, understudy):
    code, out, _ = understudy(command, "--help")
    wanted = {
        "report": ("DIR",),
        "export": ("DIR", "--to", "--what", "--form", "--arm", "--public", "--dry-run", "--set"),
        "compare-runs": ("A", "B", "--to"),
        "list": ("KIND",),
        "validate": JOB_OPTIONS,
        "init": (*JOB_OPTIONS, "--to", "--overwrite"),
    }
    assert code == 0
    assert [option for option in wanted.get(command, (*JOB_OPTIONS, "--device")) if option not in out] == []
    if command in ("run", "adapt", "draw", "curate", "compare"):
        assert "--out" in out
        assert "if-possible|always|never" in out


def test_no_words_print_the_help(understudy):
    _, out, err = understudy()
    assert "Usage: " in out + err


def test_a_job_stage_by_stage_and_what_comes_after(understudy, tmp_path, tiny_pipeline_folder):
    """Every command once; the last ones find the run by its folder."""
    write_pets("pets")
    words = ("pets", "--generator", tiny_pipeline_folder, "--arms", "real, synthetic", *OPTIONS)
    for stage in ("adapt", "draw", "curate"):
        code, out, _ = understudy(stage, *words)
        assert code == 0
        assert f"{stage}: " in out
    out_folder = Path("runs/pets")
    assert not (out_folder / "results.json").exists()
    code, out, _ = understudy("compare", out_folder)
    assert code == 0
    assert "adapt: finished earlier, kept" in out

    code, out, _ = understudy("run", out_folder, "--resume", "always")
    assert code == 0
    sentence = json.loads((out_folder / "results.json").read_text())["verdict"]["sentence"]
    assert sentence in " ".join(out.split())  # printed in lines
    assert "difference to real" in out
    assert f"{out_folder}/report.html  {out_folder}/results.json" in out

    before = tree(out_folder)
    assert understudy("run", *words)[0] == 0, "the same command again"
    assert tree(out_folder) == before

    (out_folder / "report.html").unlink()
    code, out, _ = understudy("report", out_folder)
    assert code == 0
    assert sentence in " ".join(out.split())  # printed in lines
    assert (out_folder / "report.html").exists()

    for form in EXPORTS:
        code, out, _ = understudy("export", out_folder, "--to", f"exported/{form}", "--form", form)
        assert code == 0
        assert f"6 images in exported/{form}" in out
    assert len(list(Path("exported/folder").rglob("*.png"))) == 6

    kept = times(out_folder)
    code, _, err = understudy("export", out_folder, "--to", "exported", "--set", "data.licence=cc-by-4.0")
    assert (code, times(out_folder)) == (2, kept), err
    licences = ("--set", "data.licence=cc-by-4.0", "--set", "generator.licence=my own")
    assert understudy("export", out_folder, "--to", "licensed", *licences)[0] == 0
    for page in (
        "licensed/README.md",
        "runs/pets/README.md",
        "runs/pets/report.html",
        "runs/pets/settings.yaml",
    ):
        assert [text for text in ("cc-by-4.0", "my own") if text not in Path(page).read_text()] == []
    code, out, _ = understudy("run", out_folder)
    assert "report: finished earlier, kept" in out
    assert {name for name, when in times(out_folder).items() if when != kept[name]} == {
        *("settings.yaml", "results.json", "report.html", "README.md", "stages/report.json")
    }


def test_commands_that_write_refuse_a_folder_in_use(understudy, tmp_path):
    """A process of its own, as users have them; commands that read go on."""
    RunFolder.open(Path("old"), tiny_settings("pets", "mini"))
    Path("many").mkdir()
    (tmp_path / "old" / "stages").mkdir()
    for stage in ("load", "compare"):
        (tmp_path / "old" / "stages" / f"{stage}.json").write_text('{"seconds": 1, "peak_memory_gb": 1}')
    hold = """
from pathlib import Path
from understudy.core.lock import FolderLock
with FolderLock(Path('old')), FolderLock(Path('many')):
    print(1, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "1\n"
        before = tree(tmp_path)
        commands = [
            f"{name} old"
            for name in ("run", "adapt", "draw", "curate", "compare", "evaluate", "audit", "gap", "report")
        ]
        for words in (
            *commands,
            "export old --to a --set data.licence=mit",
            "study volume pets --out many --points 3",
        ):
            code, out, err = understudy(*shlex.split(words))
            assert (code, out) == (2, "")
            assert_matches(
                f"^error: (old|many) is in use by process {process.pid} on .*: wait until it has ended, or "
                "work in another folder\n",
                err,
            )
        assert_matches("old has no curated images yet", understudy("export", "old", "--to", "a")[2])
        assert tree(tmp_path) == before
        process.kill()


def test_ctrl_c_says_how_to_go_on(understudy, monkeypatch):
    def interrupted(settings, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("understudy.pipeline.context.load_splits", interrupted)
    code, _, err = understudy("run", "digits", "--out", "my run")
    assert code == 130
    assert "stopped; everything finished is kept. To continue: understudy run digits --out 'my run'" in err


def test_a_learning_rate_that_explodes_is_named(understudy, tiny_pipeline_folder):
    write_pets("pets")
    words = ("adapt", "pets", "--generator", tiny_pipeline_folder, *OPTIONS)
    code, _, err = understudy(*words, "--set", "adapt.learning_rate=1e30")
    assert code == 2
    assert_matches(r"error: the adaptation loss is \w+ at step \d: lower adapt.learning_rate", err)


def test_the_current_folder_has_a_name(understudy, tmp_path, tiny_pipeline_folder, monkeypatch):
    write_pets("pets")
    monkeypatch.chdir(tmp_path / "pets")
    assert understudy("adapt", ".", "--recipe", "vanilla", "--generator", tiny_pipeline_folder)[0] == 0
    assert LabelledSet.load(Path("runs/pets/data/train.parquet")).class_names == ("cat", "dog")


def test_skip_bad_goes_on_and_names_what_is_left_out(understudy, tmp_path):
    _bad_files()
    before = tree(tmp_path)
    code, out, _ = understudy("validate", "pets", "--skip-bad")
    assert code == 0
    assert "skipped: cat/truncated.png: damaged image" in out
    assert "skipped: dog/notes.txt: not an image" in out
    assert tree(tmp_path) == before
