"""The documents: links lead somewhere, and nothing that can be typed or set is left out."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import pytest

from scripts.core.errors import ExitCode
from scripts.workspace.settings import Settings
from tests.support.template import ROOT, documents

DOCUMENTS: Final = documents()
_MANIFEST: Final = tomllib.loads((ROOT / "pixi.toml").read_text(encoding="utf-8"))
TASKS: Final = [
    name for feature in ("tasks", "test") for name in _MANIFEST["feature"][feature]["tasks"]
]
# A block that a test runs, one that is marked as none, and what is not for a shell.
KINDS: Final = {"sh", "sh registry", "sh github", "sh ci", "", "toml", "json"}

_BLOCK: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def read(document: str) -> str:
    """Read a document of the template."""
    return (ROOT / document).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.*)$", _BLOCK.sub("", text), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", each.lower()) for each in headings)
    return {each.replace(" ", "-") for each in plain}


def broken_links(document: str, text: str) -> Iterator[str]:
    """Links to files of the template, or places in them, that are not there."""
    for link in ("".join(each) for each in _LINK.findall(_BLOCK.sub("", text))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = ROOT / PurePosixPath(document).parent / path if path else ROOT / document
        if not target.exists():
            yield f"{document}: {link}: there is no such file"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{document}: {link}: there is no such heading"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    assert list(broken_links(document, read(document))) == []


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = '[a](b.md) [c](settings.md#d) [e](settings.md#before-a-download) <img src="f.svg">'
    assert list(broken_links("docs/x.md", text)) == [
        "docs/x.md: b.md: there is no such file",
        "docs/x.md: settings.md#d: there is no such heading",
        "docs/x.md: f.svg: there is no such file",
    ]


def test_every_page_is_in_the_index() -> None:
    index = read("docs/README.md")
    pages = {file.name for file in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"- [{page}]({page})" not in index} == set()


def test_every_block_says_what_it_is() -> None:
    kinds = {
        (document, block.partition("\n")[0].removeprefix("```"))
        for document in DOCUMENTS
        for block in _BLOCK.findall(read(document))
    }
    assert [each for each in sorted(kinds) if each[1] not in KINDS] == []


def _options_of(task: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The options of a task as argparse has them."""
    found: set[str] = set()

    def collect(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        found.update(option for each in parser._actions for option in each.option_strings)
        raise SystemExit(0)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_intermixed_args", collect)
    with pytest.raises(SystemExit):
        importlib.import_module(f"tasks.{task.replace('-', '_')}").main([])
    return found


def undocumented(task: str, options: set[str], text: str) -> list[str]:
    """The options that neither the task's section nor what stands before all of them names."""
    common, *sections = re.split(r"^## (?=`)", text, flags=re.MULTILINE)
    own = [each for each in sections if f"`{task}`" in each.partition("\n")[0]]
    assert len(own) == 1, f"docs/tasks.md has no section for {task}"
    words = set(re.findall(r"--?[a-z][a-z-]*", common + own[0]))
    return sorted(options - words)


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_every_task_is_told(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read("docs/tasks.md")
    options = _options_of(task, monkeypatch)
    assert {"--json", "--help"} <= options
    assert undocumented(task, options, text) == []
    # The control: an option that nobody has told of.
    assert undocumented(task, {*options, "--untold"}, text) == ["--untold"]


def test_the_tasks_that_are_told_are_there() -> None:
    headings = re.findall(r"^## (`.*)$", read("docs/tasks.md"), re.MULTILINE)
    told = [name for each in headings for name in re.findall(r"`([a-z-]+)`", each)]
    assert sorted(told) == sorted(TASKS)


def test_every_setting_is_told() -> None:
    (block,) = (each for each in _BLOCK.findall(read("docs/settings.md")) if "```toml" in each)
    told = tomllib.loads(block.removeprefix("```toml").removesuffix("```"))["tool"]["pixi-mirror"]
    names = {each.name.replace("_", "-") for each in dataclasses.fields(Settings)}
    assert set(told) == names
    options = read("docs/tasks.md").partition("## Settings as options")[2].partition("\n## ")[0]
    assert {name for name in names if f"`--{name}" not in options.replace(", --", "`--")} == set()


def test_every_exit_code_is_told() -> None:
    codes = re.findall(r"^\| (\d+) \|", read("docs/exit-codes.md"), re.MULTILINE)
    assert [int(code) for code in codes] == [code.value for code in ExitCode]


def test_the_drawing_is_legible_by_day_and_by_night() -> None:
    import xml.etree.ElementTree as ET

    root = ET.fromstring((ROOT / "docs" / "flow.svg").read_text(encoding="utf-8"))
    namespace = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{namespace}svg"
    (style,) = root.iter(f"{namespace}style")
    assert "prefers-color-scheme: dark" in str(style.text)
    assert root.find(f"{namespace}title") is not None
    # Nothing is fetched or run by who looks at it.
    tags = {each.tag.removeprefix(namespace) for each in root.iter()}
    assert not tags & {"script", "image", "use", "foreignObject", "a"}
    assert "url(" not in str(style.text)
    drawn = {str(each.text) for each in root.iter() if "code" in each.get("class", "")}
    assert drawn & set(TASKS) == {"fetch", "index", "verify", "update-mirror"}
