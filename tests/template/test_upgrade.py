"""`upgrade`: a builder made by one version of the template, brought up to another."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.core.template_files import TEMPLATE
from scripts.template.upgrade import UpgradeOptions, upgrade
from scripts.workspace.settings import SettingOverrides
from scripts.workspace.workspace import open_workspace
from tests.support.builders import Done, contents, make_builder, run_task
from tests.support.template import copy_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The template of before, a builder that it made, and the template of today."""

    old: Path
    mine: Path
    new: Path

    def upgrade(self, *arguments: str) -> Done:
        """Say it in the builder, by the builder's own task."""
        return run_task(self.mine, "upgrade", "--from", str(self.new), *arguments)

    def edit(self, name: str, add: str = "# mine\n") -> None:
        """Change a file of the builder."""
        path = self.mine / name
        path.write_text(path.read_text(encoding="utf-8") + add, encoding="utf-8")


# What the template of before had differently.
ALTERED = ("scripts/core/redact.py", "tasks/prune.py", "run.cmd", "tests/lock/test_diff.py")
ADDED_SINCE = ("scripts/core/group_problems.py", "tests/core/test_group_problems.py")
REMOVED_SINCE = ("scripts/old/stage.py", "scripts/old/__init__.py", "tasks/old.py")
CHANGES = """\
added    scripts/core/group_problems.py
renewed  scripts/core/redact.py
renewed  tasks/prune.py
added    tests/core/test_group_problems.py
renewed  tests/lock/test_diff.py
removed  scripts/old/__init__.py
removed  scripts/old/stage.py
removed  tasks/old.py
renewed  pixi.toml: feature.tools.dependencies.rich
added    pixi.toml: feature.tasks.tasks.doctor
renewed  pixi.toml: feature.tasks.tasks.prune
removed  pixi.toml: feature.tasks.tasks.old
"""


def _older(new: Path, folder: Path) -> Path:
    """Make a template as it may have been some time ago."""
    shutil.copytree(new, folder)
    for name in ALTERED:
        path = folder / name
        path.write_bytes(path.read_bytes() + (b"\n# old\n" if name != "run.cmd" else b"rem old\n"))
    for name in ADDED_SINCE:
        (folder / name).unlink()
    redact = folder / "scripts/core/console.py"
    redact.write_text(
        redact.read_text(encoding="utf-8")
        .replace("from scripts.core.group_problems import gathered\n", "")
        .replace("gathered(problems, report.names)", "problems"),
        encoding="utf-8",
    )
    for name in REMOVED_SINCE:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text('"""Old. Acts."""\n', encoding="utf-8")
    manifest = folder / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    start = text.index("[feature.tasks.tasks.doctor]")
    text = text[:start] + text[text.index("[feature.tasks.tasks.mirror]") :]
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
    mine = make_builder(old, folder / "mine", "numpy", "-p", "linux-64")
    return Case(old=old, mine=mine, new=new)


@pytest.fixture
def case(tmp_path: Path, original: Case) -> Case:
    """The same with a builder of the test's own."""
    mine = tmp_path / "mine"
    shutil.copytree(original.mine, mine)
    return dataclasses.replace(original, mine=mine)


def _plain_changes(out: str) -> str:
    """The lines that name changes, without the two that this module's own old tree needs."""
    lines = [line for line in out.splitlines() if line[:8] in {"added   ", "renewed ", "removed "}]
    return "".join(f"{line}\n" for line in lines if not line.endswith(("run.cmd", "console.py")))


def test_what_is_unchanged_is_brought_up_and_equals_a_new_builder(
    case: Case, tmp_path: Path
) -> None:
    done = case.upgrade()
    assert (done.code, done.err) == (0, "")
    assert _plain_changes(done.out) == CHANGES
    assert done.out.splitlines()[-1] == "upgrade: 14 changed, 0 left for you to see to"
    made = contents(make_builder(case.new, tmp_path / "again" / "mine", "numpy", "-p", "linux-64"))
    upgraded = contents(case.mine)
    # Where new keys of a table stand is the one thing that may differ.
    texts = [each.pop("pixi.toml").decode() for each in (made, upgraded)]
    assert tomllib.loads(texts[0]) == tomllib.loads(texts[1])
    assert upgraded == made
    assert not (case.mine / "scripts" / "old").exists()

    # Said again, nothing is done.
    record = case.mine / ".template.json"
    record.write_text(json.dumps(json.loads(record.read_bytes())), encoding="utf-8")  # as is yours
    before = contents(case.mine)
    again = case.upgrade()
    assert again.out == "upgrade: this builder is up to date with the template\n"
    assert (again.code, contents(case.mine)) == (0, before)


def test_a_dry_run_says_the_same_and_changes_no_byte(case: Case) -> None:
    before = contents(case.mine)
    done = case.upgrade("--dry-run")
    assert _plain_changes(done.out) == CHANGES
    assert done.out.splitlines()[-1] == "upgrade: 14 would change, 0 left for you to see to"
    assert (done.code, contents(case.mine)) == (0, before)


def test_what_the_user_changed_is_shown_and_left_until_it_is_dealt_with(case: Case) -> None:
    case.edit("tasks/prune.py")
    case.edit("tasks/old.py")
    case.edit("README.md", "Our own words.\n")
    kept = {
        name: (case.mine / name).read_bytes()
        for name in ("tasks/prune.py", "tasks/old.py", "README.md")
    }

    done = case.upgrade()
    assert done.code == 1
    assert _plain_changes(done.out) == "".join(
        line
        for line in CHANGES.splitlines(keepends=True)
        if "tasks/prune" not in line and "tasks/old" not in line
    )
    assert {name: (case.mine / name).read_bytes() for name in kept} == kept
    assert "--- tasks/prune.py (yours)\n+++ tasks/prune.py (template)\n" in done.out
    assert "\n-# mine\n" in done.out
    assert "--- tasks/old.py (yours)\n+++ /dev/null\n" in done.out
    help_ = (
        "help: take over by hand what you want of it, then: "
        f"pixi run upgrade --from {case.new} --keep"
    )
    trouble = "you have changed it, and so has the template; it was left as it is"
    assert f"error: tasks/prune.py: {trouble}\n{help_} tasks/prune.py\n" in done.err
    assert f"error: tasks/old.py: {trouble}\n{help_} tasks/old.py\n" in done.err
    # The README is the user's alone: the template did not change it.
    assert "yours    README.md: left as it is\n" in done.out
    assert "README.md" not in done.err

    # Nothing is forgotten, and what is dealt with is not shown again.
    assert case.upgrade().code == 1
    names = ("tasks/prune.py", "tasks/old.py")
    options = [option for name in names for option in ("--keep", name)]
    done = case.upgrade(*options)
    assert (done.code, done.err) == (0, "")
    assert case.upgrade().out == (
        "yours    README.md: left as it is\n"
        "yours    tasks/prune.py: left as it is\n"
        "upgrade: this builder is up to date with the template\n"
    )
    assert {name: (case.mine / name).read_bytes() for name in kept} == kept


def test_a_task_that_the_user_changed_is_shown_and_left(case: Case) -> None:
    manifest = case.mine / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    edited = text.replace('"python -m tasks.prune"', '"python -m tasks.prune -v"')
    assert edited != text
    manifest.write_text(edited, encoding="utf-8")
    done = case.upgrade("--json")
    answer = json.loads(done.out)
    assert (done.code, answer["exit-code"]) == (1, 1)
    (shown,) = answer["differences"]
    assert shown.splitlines()[:2] == [
        "--- pixi.toml: feature.tasks.tasks.prune (yours)",
        "+++ pixi.toml: feature.tasks.tasks.prune (template)",
    ]
    assert {"name": "feature.tasks.tasks.prune", "outcome": "differs"} in answer["tables"]
    after = tomllib.loads(manifest.read_text(encoding="utf-8"))
    tasks = after["feature"]["tasks"]["tasks"]
    assert tasks["prune"] == {
        "cmd": "python -m tasks.prune -v",
        "description": "Drop artifacts that no lock names any more",
    }
    # The others were merged, and the user's own are as they were.
    assert "doctor" in tasks
    assert "old" not in tasks
    assert after["dependencies"] == {"numpy": "*", "pip": "*"}
    assert after["feature"]["mirror"]["platforms"] == ["linux-64"]


def test_what_the_user_removed_stays_away(case: Case) -> None:
    (case.mine / ".gitlab-ci.yml").unlink()  # which the template did not change
    (case.mine / "tests/lock/test_diff.py").unlink()  # which it did
    done = case.upgrade()
    assert (done.code, done.err) == (0, "")
    assert "left out tests/lock/test_diff.py: you have removed it\n" in done.out
    assert "yours    .gitlab-ci.yml: left as it is\n" in done.out
    for name in (".gitlab-ci.yml", "tests/lock/test_diff.py"):
        assert not (case.mine / name).exists()
    assert case.upgrade().out == (
        "yours    .gitlab-ci.yml: left as it is\n"
        "yours    tests/lock/test_diff.py: left as it is\n"
        "upgrade: this builder is up to date with the template\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_is_the_users_and_is_left(case: Case, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.py"
    target.write_bytes((case.mine / "tasks/prune.py").read_bytes())
    (case.mine / "tasks/prune.py").unlink()
    (case.mine / "tasks/prune.py").symlink_to(target)
    before = target.read_bytes()
    done = case.upgrade()
    assert done.code == 1
    assert "tasks/prune.py: a link or a folder here, a file in the template\n" in done.out
    assert (case.mine / "tasks/prune.py").is_symlink()
    assert target.read_bytes() == before


def test_a_file_of_the_users_where_the_template_has_a_new_one(case: Case) -> None:
    (case.mine / "scripts/core/group_problems.py").write_text("mine = 1\n", encoding="utf-8")
    done = case.upgrade()
    assert done.code == 1
    assert (case.mine / "scripts/core/group_problems.py").read_text(
        encoding="utf-8"
    ) == "mine = 1\n"


class KilledError(BaseException):
    """Stands for the end of the process: nothing in it may catch this."""


def test_ended_at_any_step_it_goes_on_where_it_stopped(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, last = [0], [sys.maxsize]

    def counted(name: str) -> None:
        step = getattr(Path, name)

        def counting(self: Path, *arguments: Any, **options: Any) -> Any:
            if not self.name.endswith(".tmp") or name == "replace":
                steps[0] += 1
            if steps[0] > last[0]:
                raise KilledError
            return step(self, *arguments, **options)

        monkeypatch.setattr(Path, name, counting)

    for name in ("replace", "unlink", "rmdir"):
        counted(name)

    def upgraded(folder: Path, stop: int) -> None:
        steps[0], last[0] = 0, stop
        upgrade(open_workspace(folder, SettingOverrides()), UpgradeOptions(), case.new)

    expected = tmp_path / "expected"
    shutil.copytree(case.mine, expected)
    upgraded(expected, sys.maxsize)
    every, wanted = steps[0], contents(expected)
    assert every == 13
    record = (case.mine / ".template.json").read_bytes()
    for stop in range(every):
        with pytest.raises(KilledError):
            upgraded(case.mine, stop and 1)  # one step further each time
        assert (case.mine / ".template.json").read_bytes() == record
    upgraded(case.mine, sys.maxsize)
    assert contents(case.mine) == wanted
    assert not (case.mine / "scripts" / "old").exists()


def test_a_file_in_use_for_a_moment_is_removed_all_the_same(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for Windows, which alone refuses to remove a file that is open."""
    unlink, refused = Path.unlink, [0]

    def refusing(self: Path, *, missing_ok: bool = False) -> None:
        if self.name == "old.py" and refused[0] < 3:
            refused[0] += 1
            error = PermissionError(13, "The process cannot access the file", str(self))
            error.winerror = 32  # type: ignore[attr-defined,unused-ignore]
            raise error
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    upgrade(open_workspace(case.mine, SettingOverrides()), UpgradeOptions(), case.new)
    assert refused == [3]
    assert not (case.mine / "tasks" / "old.py").exists()


def test_what_a_killed_run_left_is_removed(case: Case) -> None:
    left = [case.mine / f"tasks/prune.py.{each}.pixi-mirror.tmp" for each in ("0" * 8, "a" * 8)]
    names = ("prune.py.tmp", "prune.py.mine.tmp", "prune.py.1.tmp", f"{left[0].name}.tmp")
    others = [case.mine / "tasks" / name for name in names]
    for path in (*left, *others):
        path.write_bytes(b"half")
    assert case.upgrade().code == 0
    assert [path.exists() for path in left] == [False, False]
    assert [path.read_bytes() for path in others] == [b"half"] * 4


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_nothing_is_written_or_removed_through_a_linked_folder(case: Case, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (case.mine / "scripts").rename(outside)
    (case.mine / "scripts").symlink_to(outside)
    before = contents(outside)
    done = run_task(case.new, "upgrade", "--manifest-path", str(case.mine))
    assert done.code == 1
    assert contents(outside) == before
    for name in ("core/gather.py", "core/redact.py", "old/stage.py"):
        assert f"scripts/{name}: scripts: a link, through which nothing is written\n" in done.out
        assert f"error: scripts/{name}: you have changed it, and so has" in done.err
    assert "renewed  tasks/prune.py\n" in done.out


@pytest.mark.parametrize("options", [("--dry-run",), ()])
def test_a_file_where_a_new_folder_is_needed(
    case: Case, tmp_path: Path, options: tuple[str, ...]
) -> None:
    new = tmp_path / "new"
    shutil.copytree(case.new, new)
    (new / "scripts/newstage").mkdir()
    (new / "scripts/newstage/__init__.py").write_text('"""New."""\n', encoding="utf-8")
    (case.mine / "scripts/newstage").write_text("mine\n", encoding="utf-8")
    done = run_task(case.mine, "upgrade", "--from", str(new), *options)
    name = "scripts/newstage/__init__.py"
    assert done.code == 1
    assert f"{name}: scripts/newstage: a file is where a folder must be\n" in done.out
    assert done.err.startswith(f"error: {name}: you have changed it, and so has the template; ")
    assert _plain_changes(done.out) == CHANGES
    assert (case.mine / "scripts/newstage").read_text(encoding="utf-8") == "mine\n"
    assert (case.mine / "scripts/core/group_problems.py").exists() == (not options)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("files", name) for name in ("pixi.lock", ".git/HEAD", "local-channel/a.conda")),
        *(("tables", name) for name in ("dependencies.numpy", "x = {}\ny")),
    ],
)
def test_a_record_that_names_what_is_the_users_is_refused(case: Case, key: str, name: str) -> None:
    path = case.mine / ".template.json"
    document = json.loads(path.read_bytes())
    document[key][name] = "a" * 64
    path.write_text(json.dumps(document), encoding="utf-8")
    before = contents(case.mine)
    done = case.upgrade()
    assert done.code == 2
    assert done.err.startswith(f"error: .template.json: cannot be used: {name!r} is ")
    assert contents(case.mine) == before


def test_a_copied_folder_is_brought_up_once_its_template_is_named(
    original: Case, tmp_path: Path
) -> None:
    """Before there was `new`, a builder was a copy of the template's folder."""
    old, new = original.old, original.new
    copied = tmp_path / "copied"
    shutil.copytree(old, copied)
    (copied / "tasks" / "own.py").write_text("x = 1\n", encoding="utf-8")
    lock = (copied / "pixi.lock").read_bytes()
    there = ("--manifest-path", str(copied))
    done = run_task(new, "upgrade", *there)
    assert (done.code, done.err) == (
        2,
        (
            f"error: {copied / '.template.json'}: there is no such file, so your changes cannot be "
            "told from the template's\nhelp: name the template that this folder was copied from: "
            "pixi run upgrade --base DIR\n"
        ),
    )
    done = run_task(new, "upgrade", *there, "--base", str(old))
    assert (done.code, done.err) == (0, "")
    assert not (copied / "bench").exists()
    assert (copied / "pixi.lock").read_bytes() == lock
    assert (copied / "tasks" / "own.py").exists()
    assert "pandas" in (copied / "pixi.toml").read_text(encoding="utf-8")
    assert (copied / "README.md").read_bytes() == (new / "builder/README.md").read_bytes()
    # From then on there is a record.
    assert run_task(new, "upgrade", *there).code == 0
    done = run_task(new, "upgrade", *there, "--base", str(old))
    assert (done.code, done.err) == (
        2,
        "error: --base: .template.json says already what this builder came from\n",
    )


def test_a_builder_is_not_compared_with_itself(case: Case) -> None:
    done = run_task(case.mine, "upgrade")
    assert (done.code, done.err) == (
        2,
        (
            f"error: {case.mine}: its own tasks run, so there is nothing newer to compare it with\n"
            "help: name the folder of a newer template: pixi run upgrade --from DIR\n"
        ),
    )
    # By another template's task it is, without --from.
    assert run_task(case.new, "upgrade", cwd=case.mine).code == 0


def test_what_is_no_template_is_refused(case: Case, tmp_path: Path) -> None:
    before = contents(case.mine)
    done = run_task(case.mine, "upgrade", "--from", str(tmp_path))
    assert (done.code, done.err) == (
        2,
        (
            f"error: {tmp_path}: not a template of pixi-mirror: it has no pixi.toml\n"
            "help: name the folder of a template, not that of a builder made from one\n"
        ),
    )
    other = make_builder(TEMPLATE, tmp_path / "other")
    done = run_task(case.mine, "upgrade", "--from", str(other))
    assert done.code == 2
    assert "it has no builder/README.md" in done.err
    done = run_task(case.new, "upgrade", "--manifest-path", str(case.mine), "--base", str(tmp_path))
    assert done.code == 2
    assert contents(case.mine) == before


def test_a_name_that_nothing_has_is_an_error(case: Case) -> None:
    done = case.upgrade("--dry-run", "--keep", "nothing.py")
    assert (done.code, done.err) == (
        2,
        "error: --keep: neither a file nor a table of the template: nothing.py\n",
    )


def test_a_manifest_that_would_not_be_one_stops_it_before_anything_is_written(case: Case) -> None:
    manifest = case.mine / "pixi.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(f"{text}broken = [", encoding="utf-8")
    before = contents(case.mine)
    done = case.upgrade()
    assert done.code == 2
    assert done.err.startswith("error: pixi.toml: not TOML: ")
    assert contents(case.mine) == before
