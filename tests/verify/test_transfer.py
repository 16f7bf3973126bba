"""The report for those who approve a transfer, whole, as the task writes it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scripts.core.files import hash_file
from scripts.core.invocation import LAUNCHER_VARIABLE, version
from scripts.core.report import human_size
from scripts.verify.findings import Level
from scripts.verify.install.sandbox import sandbox
from tasks import verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, write_lock
from tests.support.mirrors import Mirror, make_mirror
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.verified import World, elsewhere, here, overrides
from tests.verify.test_document import read_html

SECRET = "https://user:word@example.org/t/tk-123/chan"
WHEEL = "https://user:word@pypi.example.org/six-1.17.0-py2.py3-none-any.whl"
PROVES = {
    "files": "Every locked artifact is there, with the size and sha256 that pixi.lock names (md5"
    " where it has only that). Every byte is read.",
    "archives": "Every locked artifact, of foreign platforms too, can be opened and is the package"
    " that pixi.lock says. All of it is decompressed, and every checksum in it compared.",
    "index": "What the channel says of its artifacts (repodata.json, its zst, the shards) agrees"
    " with itself and with pixi.lock.",
    "closure": "Every requirement of every locked package and of the manifest is met within its"
    " environment and platform, foreign platforms too, by what the channel says of the packages.",
    "solve": "The requirements of the manifest, solved from this channel alone, have a complete"
    " answer for every environment and platform, foreign ones too, but for what is listed below as"
    " not proven.",
    "install": "The environments of this machine's platform install from this channel alone, with"
    " an empty cache and no network, and all their files arrive; of other machines, where it says"
    " (wheels), the wheels alone.",
}
NOT = "–"  # noqa: RUF001


@pytest.fixture(autouse=True)
def _then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the calendar, so that a text can be asserted whole."""
    moment = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    monkeypatch.setattr("scripts.verify.transfer_report.now", lambda: moment)


@dataclass(frozen=True)
class Small:
    """A mirror of a channel with secrets in its URL: one artifact, and one that has no licence."""

    mirror: Mirror
    lib: WrittenPackage
    bare: WrittenPackage

    def verify(self, *options: str) -> int:
        """Run the task."""
        return verify.main(["--manifest-path", str(self.mirror.root), "-q", *options])


@pytest.fixture
def small(tmp_path: Path) -> Small:
    """One environment for one platform, with a PyPI row."""
    mirror = make_mirror(tmp_path / "workspace")
    lib = TinyPackage(name="lib").write(tmp_path / "upstream")
    bare = TinyPackage(name="a_b", license=None).write(tmp_path / "upstream")
    rows: tuple[LockRow | RawRow, ...] = (
        LockRow(written=lib, channel=SECRET),
        LockRow(written=bare, channel=SECRET),
        RawRow(key="pypi", location=WHEEL, lines=("name: six", "version: 1.17.0")),
    )
    environment = EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=rows),))
    write_lock(mirror.root / "pixi.lock", (environment,))
    (mirror.folder / "noarch").mkdir(parents=True)
    for written in (lib, bare):
        shutil.copyfile(written.path, mirror.folder / "noarch" / written.path.name)
    mirror.index()
    return Small(mirror=mirror, lib=lib, bare=bare)


def test_markdown(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a finding, an incomplete environment and levels not looked at."""
    (small.mirror.folder / "noarch" / small.lib.path.name).write_bytes(b"?")
    (small.mirror.folder / "noarch" / "x.txt").write_bytes(b"")
    before = small.mirror.states()
    target = tmp_path / "new" / "report.md"
    options = ("--level", "files", "--allow-incomplete", "pypi", "--report", str(target))
    assert small.verify(*options) == 1
    size = human_size(small.lib.size + small.bare.size)
    levels = "".join(
        f"| {level} | {'yes' if level == 'files' else 'no'} | {text} |\n"
        for level, text in PROVES.items()
    )
    not_looked_at = "".join(
        f"- {level}: was not looked at\n" for level in Level if level is not Level.FILES
    )
    index = {
        name: data for name, (data, _) in before.items() if "repodata" in name or "/shards/" in name
    }
    index_size = sum(map(len, index.values()))
    six = (
        "left out: six 1.17.0 (https://********@pypi.example.org/six-1.17.0-py2.py3-none-any.whl):"
        " a PyPI package of which the lock has no hash (allow-unhashed takes it);"
        " in default/linux-64"
    )
    escaped_six = six.replace("*", r"\*")
    assert target.read_text(encoding="utf-8") == (
        "# Transfer report: mirrored\n\n"
        "✗ 1 finding, told below. Looked at: files.\n\n"
        "## The mirror\n\n"
        "| what | which |\n| --- | --- |\n"
        "| workspace | mirrored (pixi.toml) |\n"
        "| channel folder | local-channel |\n"
        "| layout | flat |\n"
        "| upstream channels | https://example.org/chan |\n"
        f"| pixi.lock | version 7, sha256 {_lock_sha256(small.mirror)} |\n"
        f"| artifacts | 2 artifacts, {size} |\n"
        "| verified | 2026-03-04 05:06 UTC |\n"
        f"| by | pixi-mirror {version()} |\n\n"
        "## Environments and platforms\n\n"
        "| environment | platform | holds | files | complete |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| default | linux-64 | 2 artifacts, {size} | ✗ |"
        " incomplete, as allowed (1 not mirrored) |\n\n"
        "## What each level proves\n\n"
        "| level | looked at | proves |\n| --- | --- | --- |\n"
        f"{levels}\n"
        "## What is not proven\n\n"
        f"{not_looked_at}"
        "- untracked, not proven: noarch/x.txt\n"
        f"- {escaped_six}\n"
        "- that what upstream published is harmless, or licensed as it says\n\n"
        "## Findings\n\n"
        "```text\n"
        "noarch/lib-1.0-0.conda: size differs from pixi.lock\n"
        f"  expected  {small.lib.size} bytes\n"
        "  actual    1 bytes\n"
        "  from      https://********@example.org/t/********/chan/noarch/lib-1.0-0.conda\n"
        "  used by   default/linux-64\n"
        "help: pixi run fetch\n"
        "```\n\n"
        "## What verify printed\n\n"
        "```text\n"
        "default  linux-64  files ✗  incomplete, as allowed (1 not mirrored)\n"
        f"read: 2 artifacts, {human_size(small.bare.size + 1)}\n"
        "untracked, not proven: noarch/x.txt\n"
        f"{six}\n"
        "```\n\n"
        "## Artifacts\n\n"
        f"2 artifacts, {size}, as pixi.lock names them."
        " Licences: BSD-3-Clause (1), not said (1).\n\n"
        "| artifact | bytes | sha256 | license |\n| --- | --- | --- | --- |\n"
        f"| noarch/a_b-1.0-0.conda | {small.bare.size} | {small.bare.sha256} | not said |\n"
        f"| noarch/lib-1.0-0.conda | {small.lib.size} | {small.lib.sha256} | BSD-3-Clause |\n\n"
        "## All files\n\n"
        "| class | that is | files | bytes |\n| --- | --- | --- | --- |\n"
        f"| mirrored | a lock names it | 2 | {human_size(small.bare.size + 1)} |\n"
        f"| index | describes the artifacts | {len(index)} | {human_size(index_size)} |\n"
        "| retained | indexed, in no lock | 0 | 0 B |\n"
        "| waiting for removal | an earlier index named it | 0 | 0 B |\n"
        "| untracked | neither named nor indexed | 1 | 0 B |\n\n"
        "| index file | bytes | sha256 |\n| --- | --- | --- |\n"
        + "".join(
            f"| {name} | {len(data)} | {hashlib.sha256(data).hexdigest()} |\n"
            for name, data in index.items()
        )
        + "\n| file | class | bytes |\n| --- | --- | --- |\n| noarch/x.txt | untracked | 0 |\n"
    )
    assert small.mirror.states() == before


def test_a_channel_that_no_environment_declares_is_named(small: Small, tmp_path: Path) -> None:
    target = tmp_path / "report.md"
    fast = SECRET.replace("example", "fast.example")
    both = "https://example.org/chan, https://fast.example.org/chan"
    for other, said in ((SECRET, "https://example.org/chan"), (fast, both)):
        rows = (
            LockRow(written=small.lib, channel=SECRET),
            LockRow(written=small.bare, channel=other),
        )
        platforms = (PlatformRows(name="linux-64", rows=rows),)
        environment = EnvironmentRows(platforms=platforms, channels=(SECRET,))
        write_lock(small.mirror.root / "pixi.lock", (environment,))
        assert small.verify("--level", "files", "--report", str(target)) == 0
        lines = target.read_text(encoding="utf-8").splitlines()
        assert f"| upstream channels | {said} |" in lines


def _lock_sha256(mirror: Mirror) -> str:
    return hash_file(mirror.root / "pixi.lock", "sha256")


def test_an_index_file_that_cannot_be_read_hides_nothing(small: Small, tmp_path: Path) -> None:
    zst = small.mirror.folder / "noarch" / "repodata.json.zst"
    zst.unlink()
    zst.symlink_to(tmp_path / "nowhere")
    target = tmp_path / "report.md"
    assert small.verify("--level", "files,index", "--report", str(target)) == 1
    text = target.read_text(encoding="utf-8")
    assert "noarch/repodata.json.zst: is a link, not the file itself" in text
    assert re.search(r"\| noarch/repodata\.json\.zst \| [0-9]+ \| not read \|", text)


def test_what_two_levels_see_is_one_finding(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on the screen. What each of them sees alone stays two."""
    (small.mirror.folder / "noarch" / "repodata.json").unlink()
    target, options = tmp_path / "report.md", ("--allow-incomplete", "pypi", "--level")
    for levels, number in (("index,closure", "1 finding,"), ("files,index,closure", "2 findings,")):
        assert small.verify(*options, levels, "--report", str(target)) == 1
        assert capsys.readouterr().err.count("error: ") == int(number[0])
        text = target.read_text(encoding="utf-8")
        assert f"\n✗ {number} told below. " in text
        assert text.partition("## Findings")[2].count("\nnoarch/repodata.json: is missing\n") == 1
        (small.mirror.folder / "noarch" / "lib-1.0-0.conda").write_bytes(b"?")


def test_commands_are_those_that_can_be_pasted(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on the screen; in a workspace of `pixi mirror` no task is called `fetch`."""
    (small.mirror.folder / "noarch" / "lib-1.0-0.conda").unlink()
    target = tmp_path / "report.md"
    for launcher, said in (("pixi mirror", "pixi mirror fetch"), ("", "pixi run fetch")):
        monkeypatch.setenv(LAUNCHER_VARIABLE, launcher)
        assert small.verify("--level", "files", "--report", str(target)) == 1
        assert f"help: {said}\n" in target.read_text(encoding="utf-8")


def test_html_says_the_same(small: Small, tmp_path: Path) -> None:
    """Both are the same document; and the HTML of it holds no secret, no script, no reference."""
    targets = (tmp_path / "report.md", tmp_path / "REPORT.HTML")
    named = [option for target in targets for option in ("--report", str(target))]
    assert small.verify("--level", "files", "--allow-incomplete", "pypi", *named) == 0
    markdown, html = (target.read_text(encoding="utf-8") for target in targets)
    seen = read_html(html)
    words = re.sub(r"[\\|#`✓-]|\btext\n| \| ", " ", markdown).split()
    assert [word for word in words if word.strip("|-") and word not in seen.text] == []
    assert "<details>\n<summary>Artifacts</summary>\n" in html
    assert not seen.tags & {"script", "img", "link", "iframe", "a"}
    for text in (markdown, html):
        assert "✓ Nothing was found wrong. Looked at: files. Read below" in text
        assert not any(secret in text for secret in ("word", "tk-123"))


def test_installations(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who was installed, by what, as what machine, and in what time; and who was not."""
    target = tmp_path / "report.md"
    clock = iter(range(1000))
    for stage in ("scripts.verify.stage", "scripts.verify.install.stage"):
        monkeypatch.setattr(f"{stage}.perf_counter", lambda: float(next(clock)))
    options = ("--level", "files,install", "--client", "rattler", "--report", str(target))
    assert world.loud(*options) == 0
    out = capsys.readouterr().out
    text = target.read_text(encoding="utf-8")
    assert out.endswith(f"\nreport: {target}\n")
    lines = out.splitlines()
    columns = len("default  ") + max(len(here()), len(elsewhere()))
    assert lines[3] == "took".ljust(columns) + "  files 1.0 s  install 5.0 s"
    sizes = {
        name: human_size(sum(world.rows()[each].written.size for each in name.split()))
        for name in ("hello lib", "far lib", "lib")
    }
    assert (
        "| environment | platform | holds | files | install | complete |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        f"| default | {here()} | 2 artifacts, {sizes['hello lib']} | ✓"
        " | ✓ (py-rattler 1.0 s) | ✓ |\n"
        f"| default | {elsewhere()} | 2 artifacts, {sizes['far lib']} | ✓ | {NOT} | ✓ |\n"
        f"| small | {here()} | 1 artifact, {sizes['lib']} | ✓ | ✓ (py-rattler 1.0 s) | ✓ |\n"
        "| took |  |  | 1.0 s | 5.0 s |  |\n"
    ) in text
    assert (
        f"- install: was not done for default/{elsewhere()}; this machine is {here()}\n"
    ) in text
    machine = ", ".join(f"{name}={value}" for name, value in overrides().items())
    assert (
        "## Installations\n\n"
        f"Installed {sandbox().description}, from file:// or loopback, into an empty cache, as the"
        " machine that the last column describes.\n\n"
        "| environment | client | result | took | overrides |\n"
        "| --- | --- | --- | --- | --- |\n"
        f"| default/{here()} | py-rattler | ✓ | 1.0 s | {machine} |\n"
        f"| small/{here()} | py-rattler | ✓ | 1.0 s | {machine} |\n"
    ) in text


def test_what_old_locks_do_not_say(small: Small, tmp_path: Path) -> None:
    row = LockRow(written=small.lib, channel=SECRET, without=frozenset({"size", "sha256"}))
    bare = LockRow(written=small.bare, channel=SECRET, without=frozenset({"sha256", "md5"}))
    environment = EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=(row, bare)),))
    write_lock(small.mirror.root / "pixi.lock", (environment,))
    target = tmp_path / "report.md"
    assert small.verify("--level", "files", "--allow-unhashed", "--report", str(target)) == 0
    text = target.read_text(encoding="utf-8")
    assert (
        f"| artifacts | 2 artifacts, {human_size(small.bare.size)} and 1 of unknown size |\n"
        in text
    )
    assert "- files: the lock has neither sha256 nor md5 of 1 artifact\n" in text
    assert f"| noarch/a_b-1.0-0.conda | {small.bare.size} | not said | not said |\n" in text
    lib = f"| noarch/lib-1.0-0.conda | not said | md5 {small.lib.md5} | BSD-3-Clause |\n"
    assert lib in text


def test_a_report_is_not_for_the_channel(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small.mirror.root)
    before = small.mirror.states()
    report = Path("local-channel", "report.md")
    assert small.verify("--level", "files", "--report", str(report)) == 2
    assert capsys.readouterr().err.endswith(
        f"error: {report}: would be in the channel, into which verify writes"
        " nothing\nhelp: --report report.md\n"
    )
    assert small.mirror.states() == before


def test_a_report_that_cannot_be_written_hides_no_finding(
    small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small.mirror.folder / "noarch" / small.lib.path.name).unlink()
    (tmp_path / "file").write_bytes(b"")
    target, other = tmp_path / "file" / "report.md", tmp_path / "other.md"
    options = ("--level", "files", "--allow-incomplete", "pypi", "--json")
    assert small.verify(*options, "--report", str(target), "--report", str(other)) == 2
    document = json.loads(capsys.readouterr().out)
    assert [each["subject"] for each in document["problems"]] == [
        "noarch/lib-1.0-0.conda",
        str(target),
    ]
    assert document["problems"][1]["message"].startswith("cannot write this file: ")
    assert document["reports"] == [str(other)]
    assert other.is_file()


def test_other_forms_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        verify.main(["--report", "report.pdf"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "pixi run verify: error: argument --report: 'report.pdf' ends in neither .md nor .html"
    )
