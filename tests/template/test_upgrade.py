"""`upgrade`: a builder made by one version of the template, brought up to another."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.core import files
from scripts.core.errors import MirrorError
from scripts.core.invocation import version
from scripts.template import upgrade as module
from scripts.template.make_pyz import archive, parse_tables, read_archive
from scripts.template.upgrade import Values, edit, upgrade
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tests.support.builders import Done, contents, make_builder, run_task
from tests.support.template import ROOT, copy_template

PYZ = "pixi-mirror.pyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The template of before, a builder that it made, and the template of today."""

    old: Path
    mine: Path
    new: Path

    def upgrade(self, *arguments: str, source: Path | None = None) -> Done:
        """Say it in the builder, by the builder's own task."""
        command = [sys.executable, PYZ, "upgrade", "--from", str(source or self.new), *arguments]
        done = subprocess.run(
            command, cwd=self.mine, capture_output=True, text=True, encoding="utf-8", check=False
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def edit(self, old: str, new: str) -> None:
        """Change the builder's manifest."""
        path = self.mine / "pixi.toml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def manifest(self) -> dict[str, Any]:
        """Read the builder's manifest."""
        return tomllib.loads((self.mine / "pixi.toml").read_text(encoding="utf-8"))


CHANGES = """\
- feature.tasks.tasks.old.cmd = "python pixi-mirror.pyz old"
- feature.tasks.tasks.old.description = "Old"
- feature.tasks.tasks.prune.description = "Drop artifacts that no lock names any more"
+ feature.tasks.tasks.prune.description = "Remove the artifacts that no lock names any more"
- feature.tools.dependencies.rich = ">=13,<15"
+ feature.tools.dependencies.rich = ">=14,<16"
"""


def _older(new: Path, folder: Path) -> Path:
    """Make a template as it may have been some time ago."""
    shutil.copytree(new, folder)
    shutil.copy(folder / "tasks" / "prune.py", folder / "tasks" / "old.py")
    manifest = folder / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    text = text.replace('rich = ">=14,<16"', 'rich = ">=13,<15"')
    text = text.replace('description = "Remove the artifacts', 'description = "Drop artifacts')
    old = '[feature.tasks.tasks.old]\ncmd = "python -m tasks.old"\ndescription = "Old"\n\n'
    text = text.replace("[feature.tasks.tasks.new]", f"{old}[feature.tasks.tasks.new]")
    manifest.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The templates and a builder, made once; nobody changes them."""
    folder = tmp_path_factory.mktemp("templates")
    new = copy_template(folder / "new")
    old = _older(new, folder / "old")
    mine = make_builder(old, folder / "my mirror", "numpy", "-p", "linux-64")
    return Case(old=old, mine=mine, new=new)


@pytest.fixture
def case(tmp_path: Path, original: Case) -> Case:
    """The same with a builder of the test's own."""
    mine = tmp_path / "my mirror"
    shutil.copytree(original.mine, mine)
    return dataclasses.replace(original, mine=mine)


def _file_change(before: bytes, after: bytes) -> str:
    names = [f"{version()} ({hashlib.sha256(each).hexdigest()[:12]})" for each in (before, after)]
    return f"{PYZ}  {names[0]} -> {names[1]}\n"


def test_file_and_tables_are_replaced_and_nothing_else(case: Case) -> None:
    """With what pixi and the user wrote around them: a feature, comments, the tools' channels."""
    case.edit('channels = ["conda-forge"]\nplatforms', "channels = ['ours'] # here\nplatforms")
    case.edit("# ---- Environments", "# a comment of mine\n\n# ---- Environments")
    path = case.mine / "pixi.toml"
    mine = '\n# mine too\n[feature.gpu.dependencies]\ncupy = "*" # !\n'
    path.write_text(path.read_text() + mine, newline="\n")
    before, manifest = contents(case.mine), path.read_text()
    done = case.upgrade()
    new = archive(case.new)
    assert (done.code, done.err) == (0, "")
    assert (
        done.out
        == f"{_file_change(before[PYZ], new)}{CHANGES}upgrade: {PYZ} and pixi.toml changed\n"
    )
    after = contents(case.mine)
    assert after.pop(PYZ) == new
    gone = '[feature.tasks.tasks.old]\ncmd = "python pixi-mirror.pyz old"\ndescription = "Old"\n\n'
    expected = manifest.replace(gone, "").replace("Drop artifacts", "Remove the artifacts")
    assert after.pop("pixi.toml").decode() == expected.replace(">=13,<15", ">=14,<16")
    assert after == {name: before[name] for name in after}

    # Said again, nothing is done.
    before = contents(case.mine)
    again = case.upgrade()
    assert again.out == "upgrade: this builder is up to date with the template\n"
    assert (again.code, contents(case.mine)) == (0, before)


def test_a_file_does_as_the_checkout_it_was_made_of(case: Case, tmp_path: Path) -> None:
    newer = tmp_path / "newer.pyz"
    newer.write_bytes(archive(case.new))
    assert case.upgrade(source=newer).code == 0
    made = make_builder(case.new, tmp_path / "again" / "my mirror", "numpy", "-p", "linux-64")
    assert contents(case.mine) == contents(made)


def test_a_dry_run_says_the_same_and_changes_no_byte(case: Case) -> None:
    before = contents(case.mine)
    done = case.upgrade("--dry-run")
    would = f"upgrade: {PYZ} and pixi.toml would change\n"
    expected = f"{_file_change(before[PYZ], archive(case.new))}{CHANGES}{would}"
    assert (done.code, done.out, contents(case.mine)) == (0, expected, before)


def test_what_was_edited_is_refused_with_the_difference(case: Case) -> None:
    case.edit('rich = ">=13,<15"', 'rich = ">=13,<14"\ngit = "*"')
    before = contents(case.mine)
    done = case.upgrade()
    difference = [
        '- feature.tools.dependencies.git = "*"',
        '- feature.tools.dependencies.rich = ">=13,<14"',
        '+ feature.tools.dependencies.rich = ">=13,<15"',
    ]
    assert (done.code, done.out) == (1, "")
    assert done.err == case.upgrade("-q").err
    assert done.err == (
        "error: pixi.toml: you have changed tables that are those of pixi-mirror.pyz; nothing was"
        " written\n"
        '  yours       feature.tools.dependencies.git = "*"\n'
        '  yours       feature.tools.dependencies.rich = ">=13,<14"\n'
        '  the tool\'s  feature.tools.dependencies.rich = ">=13,<15"\n'
        "help: what is yours can be in a feature of its own; take it out of these tables,"
        " or say --replace, which takes the newer ones as they are\n"
    )
    assert contents(case.mine) == before
    assert json.loads(case.upgrade("--json").out)["edited"] == difference
    # Taken back it goes on, and so it does where one says so.
    done = case.upgrade("--replace")
    assert (done.code, done.err) == (0, "")
    assert (
        case.manifest()["feature"]["tools"]["dependencies"]
        == (parse_tables((ROOT / "pixi.toml").read_bytes())["tools"]["dependencies"])
    )


def test_what_was_edited_to_the_newer_is_no_edit(case: Case) -> None:
    for line in CHANGES.splitlines():
        if line.startswith("- ") and ".old." not in line:
            case.edit(
                line.partition(" = ")[2],
                CHANGES.partition(f"{line}\n+ ")[2].splitlines()[0].partition(" = ")[2],
            )
    gone = '[feature.tasks.tasks.old]\ncmd = "python pixi-mirror.pyz old"\ndescription = "Old"\n\n'
    case.edit(gone, "")
    done = case.upgrade()
    assert done.out.splitlines()[1:] == [f"upgrade: {PYZ} changed"]
    assert (case.mine / PYZ).read_bytes() == archive(case.new)


def test_ended_in_between_it_goes_on_where_it_stopped(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        """Stands for the end of the process: nothing in it may catch this."""

    write = files.write_atomically

    def killed(path: Path, data: bytes) -> None:
        if path.name == PYZ:
            raise KilledError
        write(path, data)

    workspace = open_workspace(case.mine, SettingOverrides())
    new = archive(case.new)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomically", killed)
        with pytest.raises(KilledError):
            upgrade(workspace, new, replace=False, dry_run=False)
    assert (case.mine / PYZ).read_bytes() == archive(case.old)
    assert case.upgrade().out.splitlines()[1:] == [f"upgrade: {PYZ} changed"]
    assert (case.mine / PYZ).read_bytes() == new


def test_a_comment_that_would_be_lost_stops_it(case: Case) -> None:
    """It is about a table that goes; above the one behind it, it stays where it is."""
    behind = "# not of old\n[feature.tasks.tasks.new]"
    case.edit("[feature.tasks.tasks.new]", behind)
    assert case.upgrade("--dry-run").code == 0
    case.edit("[feature.tasks.tasks.old]", "# mine\n[feature.tasks.tasks.old]")
    before = contents(case.mine)
    done = case.upgrade()
    message = "is written in a way that cannot be edited without risk; nothing was written"
    moved = "move the comment to the end of the line that it is about"
    assert done.err.splitlines() == [
        f"error: pixi.toml: {message}",
        "  your comment  # mine",
        *(f"  by hand       {line}" for line in CHANGES.splitlines()),
        f"help: {moved}; or change these lines by hand, then run this again",
    ]
    assert (done.code, contents(case.mine)) == (2, before)
    case.edit("# mine\n", "")
    assert case.upgrade().code == 0
    text = (case.mine / "pixi.toml").read_text(encoding="utf-8")
    assert behind in text
    assert "tasks.old" not in text


def test_a_comment_above_a_line_that_changes_stops_it_and_one_at_its_end_does_not(
    case: Case,
) -> None:
    rich = 'rich = ">=13,<15"'
    case.edit(rich, f"# for our proxy\n{rich}")
    before = contents(case.mine)
    done = case.upgrade()
    assert done.err.splitlines()[1] == "  your comment  # for our proxy"
    assert (done.code, contents(case.mine)) == (2, before)
    # As its help says:
    case.edit(f"# for our proxy\n{rich}", f"{rich} # for our proxy")
    assert case.upgrade().code == 0
    text = (case.mine / "pixi.toml").read_text(encoding="utf-8")
    assert 'rich = ">=14,<16" # for our proxy\n' in text


def test_what_replace_overwrites_is_named(case: Case) -> None:
    """`run` and `run.cmd`, too; without it they are the user's."""
    path = case.mine / "run"
    ours = path.read_bytes()
    path.write_bytes(ours + b"# mine\n")
    assert case.upgrade().out.splitlines()[-1] == f"upgrade: {PYZ} and pixi.toml changed"
    assert path.read_bytes() == ours + b"# mine\n"
    dry = case.upgrade("--replace", "--dry-run")
    assert (dry.code, dry.out) == (0, "upgrade: run would change\n")
    assert path.read_bytes() == ours + b"# mine\n"
    (case.mine / "run.cmd").unlink()
    case.edit('rich = ">=14,<16"', 'rich = "*"')
    dry = case.upgrade("--replace", "--dry-run", "--json")
    assert json.loads(dry.out)["starters"] == ["run", "run.cmd"]
    done = case.upgrade("--replace")
    assert done.out.splitlines()[-1] == "upgrade: pixi.toml, run and run.cmd changed"
    assert path.read_bytes() == ours
    again = case.upgrade("--replace")
    assert again.out == "upgrade: this builder is up to date with the template\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a = 1\r\n[feature.tasks]\r\nx = 'y' # z\r\n",
            "a = 1\r\n[feature.tasks]\r\nx = 'y' # z\r\n",
        ),
        ("[feature.tasks]\nx = 'z' # why\n", '[feature.tasks]\nx = "y" # why\n'),
        ("[feature]\ntasks = {x = 'z'}\n", '[feature]\ntasks = {x = "y"}\n'),
        (
            "[feature.tasks]\nx = 'z'\n[other]\n[feature.own]\nb = 2\n",
            '[feature.tasks]\nx = "y"\n[other]\n[feature.own]\nb = 2\n',
        ),
    ],
)
def test_all_else_stays_as_it_was_written(text: str, expected: str) -> None:
    workspace = '[workspace]\nname = "a"\nchannels = []\nplatforms = []\n'
    edited = edit(f"{workspace}{text}", {("feature", "tasks", "x"): "y"})
    assert edited == f"{workspace}{expected}"


def test_what_is_new_parts_no_comment_from_what_it_is_about() -> None:
    head = '[workspace]\nname = "a"\n\n[feature.tasks.tasks.a]\ncmd = "a"\n'
    gpu = "# ---- mine\r\n\r\n# so\n[feature.gpu.dependencies] # [x]\nc = [\n# one\n[1],\n]\n"
    twice = "# one\n[[tool.x]]\ny = 1\n\n# other\n[[tool.x]]\n"
    wanted: Values = {("feature", "tasks", "tasks", name, "cmd"): name for name in "ab"}
    wanted["feature", "tasks", "tasks", "a", "description"] = "A"
    for rest in (gpu, twice, gpu + twice):
        new = edit(f"{head}\n{rest}", wanted).removeprefix(head).removesuffix(rest)
        assert [line for line in new.splitlines() if line] == [
            'description = "A"',
            "[feature.tasks.tasks.b]",
            'cmd = "b"',
        ]
    # The control: above a line that changes, it is not known whether it still is true.
    wanted["feature", "tasks", "tasks", "a", "cmd"] = "c"
    with pytest.raises(MirrorError) as refused:
        edit(head.replace("cmd", "# mine\ncmd"), wanted)
    assert str(refused.value).splitlines()[1:3] == [
        "  your comment  # mine",
        '  by hand       - feature.tasks.tasks.a.cmd = "a"',
    ]


def test_a_manifest_that_would_not_be_one_stops_it(case: Case) -> None:
    path = case.mine / "pixi.toml"
    path.write_text(f"{path.read_text(encoding='utf-8')}broken = [", encoding="utf-8")
    before = contents(case.mine)
    done = case.upgrade()
    assert (done.code, contents(case.mine)) == (2, before)
    assert done.err.startswith("error: pixi.toml: not TOML: ")


def test_a_builder_of_before_is_told_what_makes_it_thin(case: Case) -> None:
    """And --replace does so, though comments were between its tables, as in those of then."""
    (case.mine / PYZ).unlink()
    (case.mine / ".template.json").write_text("{}", encoding="utf-8")
    (case.mine / "run").write_text("#!/bin/sh\nscripts/launch.py\n", encoding="utf-8")
    case.edit("python pixi-mirror.pyz prune", "python -m tasks.prune")
    first = "[feature.tasks.tasks.platforms]"
    case.edit(first, f"# ---- Tasks ----\n\n{first}")
    case.edit('jinja2 = ">=3.1,<4"\n', "")
    before = contents(case.mine)
    options = ("upgrade", "--manifest-path", str(case.mine))
    done = run_task(case.new, *options)
    assert (done.code, done.out, contents(case.mine)) == (2, "", before)
    assert done.err == (
        f"error: {case.mine}: a builder of before, whose tasks were not yet in one file, {PYZ}\n"
        "help: say the same with --replace; then, in it, what is left of it goes: git rm -rq"
        " .template.json scripts tasks tests LICENSE pyproject.toml requirements*.txt"
        " && pixi workspace environment remove test\n"
    )
    done = run_task(case.new, *options, "--replace")
    assert (done.code, done.err) == (0, "")
    assert (case.mine / PYZ).read_bytes() == archive(case.new)
    assert f"# ---- Tasks ----\n\n{first}\n" in (case.mine / "pixi.toml").read_text("utf-8")
    assert b"exec" in (case.mine / "run").read_bytes()
    assert os.name == "nt" or os.access(case.mine / "run", os.X_OK)
    assert case.upgrade().out == "upgrade: this builder is up to date with the template\n"


@pytest.mark.parametrize("options", [(), ("--replace",)])
def test_a_workspace_that_is_no_builder_is_refused(case: Case, options: tuple[str, ...]) -> None:
    (case.mine / PYZ).unlink()
    before = contents(case.mine)
    done = run_task(case.new, "upgrade", "--manifest-path", str(case.mine), *options)
    message = (
        f"error: {case.mine}: not a builder: it has no {PYZ}\nhelp: `pixi run new DIR` makes one\n"
    )
    assert (done.code, done.err, contents(case.mine)) == (2, message, before)


@pytest.mark.parametrize("options", [(), ("--from", str(ROOT))])
def test_a_copy_of_the_template_is_told_of_git(tmp_path: Path, options: tuple[str, ...]) -> None:
    """With `--from` it was told that it is no builder, and without, to say `--from`."""
    copy = copy_template(tmp_path / "copy")
    done = run_task(copy, "upgrade", *options)
    message = (
        f"error: {copy}: not a builder: it has no {PYZ}\n"
        "help: a copy of pixi-mirror is brought up to date by `git pull --no-rebase`\n"
    )
    assert (done.code, done.err) == (2, message)


def test_a_builder_is_not_compared_with_itself(case: Case) -> None:
    command = [sys.executable, PYZ, "upgrade"]
    done = subprocess.run(command, cwd=case.mine, capture_output=True, text=True, check=False)
    assert done.stderr == (
        f"error: {case.mine}: its own tasks run, so there is nothing newer to compare it with\n"
        f"help: name a newer {PYZ}, or a checkout: pixi run upgrade --from PATH\n"
    )
    assert done.returncode == 2


def test_without_from_it_is_the_one_that_runs(case: Case) -> None:
    """As `pixi mirror upgrade` does, with a newer pixi-mirror installed."""
    done = run_task(case.new, "upgrade", "--manifest-path", str(case.mine))
    assert (done.code, done.out.splitlines()[-1]) == (0, f"upgrade: {PYZ} and pixi.toml changed")
    assert (case.mine / PYZ).read_bytes() == archive(case.new)


def test_what_is_no_newer_template_is_refused(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "a.pyz"
    text.write_bytes(b"text")
    part = tmp_path / "part.pyz"
    with zipfile.ZipFile(part, "w") as zipped:
        zipped.writestr("pixi.toml", read_archive(archive(case.new))["pixi.toml"])
    missing = tmp_path / "b.pyz"
    with pytest.raises(FileNotFoundError) as caught:  # in the words of the system
        missing.stat()
    too_long = f"cannot be read: {os.strerror(errno.ENAMETOOLONG)}"
    for source, message in (
        (text, f"not a {PYZ}: File is not a zip file"),
        (part, f"not a {PYZ}: it has no __main__.py"),
        (missing, f"cannot be read: {caught.value.strerror}"),
        (tmp_path, f"no {PYZ} can be made of it"),
        # As in a folder of somebody else's.
        *([(Path("/", "x" * 300, "y"), too_long)] if os.name != "nt" else []),
    ):
        done = case.upgrade(source=source)
        assert done.err.splitlines()[0] == f"error: {source}: {message}"
        assert done.code == 2
    broken = tmp_path / "broken"
    shutil.copytree(case.new, broken)
    (broken / "requirements.txt").unlink()
    done = case.upgrade(source=broken)
    first, said, last = done.err.splitlines()
    assert first == f"error: {broken}: no {PYZ} can be made of it"
    assert "requirements.txt" in said
    assert (last, done.code) == (f"help: name a {PYZ}, or a checkout of pixi-mirror", 2)
    # What this Python lacks, it lacks for every checkout.
    (broken / "tomlkit.py").write_text("raise ModuleNotFoundError(name='tomlkit')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    done = case.upgrade(source=broken)
    assert done.err.startswith("error: tomlkit: this Python lacks the module")
    assert done.code == 4
