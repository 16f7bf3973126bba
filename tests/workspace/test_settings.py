"""`[tool.pixi-mirror]`: strict, with the nearest known word; and the options over it."""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from scripts.core.channel_paths import Layout
from scripts.core.errors import ExitCode, MirrorError
from scripts.workspace.settings import (
    IncompleteKind,
    LockEntry,
    SettingOverrides,
    Settings,
    add_setting_options,
    override,
    overrides_from,
    parse_settings,
)

ROOT = Path(__file__).parents[2]
KEYS = tuple(each.name.replace("_", "-") for each in fields(Settings))


def options(*argv: str) -> SettingOverrides:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_setting_options(parser, "mirror")  # which uses them all
    return overrides_from(parser.parse_args(argv))


def test_nothing_written_is_every_default() -> None:
    assert parse_settings({}, "pixi.toml") == Settings()


def test_every_setting_is_read() -> None:
    settings = parse_settings(
        {
            "channel-dir": "out",
            "layout": "by-channel",
            "jobs": 3,
            "environments": ["a", "b"],
            "exclude-environments": [],
            "platforms": ["linux-64"],
            "locks": [
                "../a/pixi.lock",
                {"path": "**/pixi.lock", "environments": ["x"], "platforms": ["linux-64"]},
                {"url": "https://git.example/pixi.lock", "exclude-environments": ["y"]},
            ],
            "pypi": False,
            "allow-incomplete": ["pypi", "source", "build-requires", "wheel-record"],
            "allow-unhashed": True,
            "grace": "1h 30m",
            "proof-max-age": "1w",
        },
        "pixi.toml",
    )
    assert settings == Settings(
        channel_dir="out",
        layout=Layout.BY_CHANNEL,
        jobs=3,
        environments=("a", "b"),
        exclude_environments=(),
        platforms=("linux-64",),
        locks=(
            LockEntry(location="../a/pixi.lock"),
            LockEntry(location="**/pixi.lock", environments=("x",), platforms=("linux-64",)),
            LockEntry(location="https://git.example/pixi.lock", exclude_environments=("y",)),
        ),
        pypi=False,
        allow_incomplete=frozenset(IncompleteKind),
        allow_unhashed=True,
        grace=timedelta(minutes=90),
        proof_max_age=timedelta(weeks=1),
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "exclude-enviroments",
            [],
            (
                "pixi.toml: no such setting: 'exclude-enviroments' in [tool.pixi-mirror]\n"
                "help: did you mean exclude-environments?"
            ),
        ),
        (
            "channel_dir",
            "x",
            (
                "pixi.toml: no such setting: 'channel_dir' in [tool.pixi-mirror]\n"
                "help: did you mean channel-dir?"
            ),
        ),
        (
            "zzz",
            1,
            (
                "pixi.toml: no such setting: 'zzz' in [tool.pixi-mirror]\n"
                "help: known are channel-dir, layout, jobs, locks, environments, "
                "exclude-environments, platforms, pypi, allow-incomplete, allow-unhashed, grace, "
                "keep-snapshots, keep-days, proof-max-age"
            ),
        ),
        (
            "layout",
            "by_channel",
            (
                "pixi.toml: tool.pixi-mirror.layout is not one of flat, by-channel\n"
                "  actual  'by_channel'\n"
                "help: did you mean by-channel?"
            ),
        ),
        (
            "jobs",
            True,
            "pixi.toml: tool.pixi-mirror.jobs is not a whole number from 1 up\n  actual  True",
        ),
        (
            "jobs",
            0,
            "pixi.toml: tool.pixi-mirror.jobs is not a whole number from 1 up\n  actual  0",
        ),
        (
            "environments",
            "default",
            (
                "pixi.toml: tool.pixi-mirror.environments is not a list of strings\n"
                "  actual  'default'"
            ),
        ),
        (
            "platforms",
            [],
            (
                "pixi.toml: tool.pixi-mirror.platforms is not a list with at least one name "
                "(leave it out for all)\n  actual  []"
            ),
        ),
        (
            "allow-incomplete",
            ["sources"],
            (
                "pixi.toml: tool.pixi-mirror.allow-incomplete is not one of source, pypi, "
                "build-requires, wheel-record\n"
                "  actual  ['sources']\n"
                "help: did you mean source?"
            ),
        ),
        (
            "pypi",
            "no",
            "pixi.toml: tool.pixi-mirror.pypi is not true or false\n  actual  'no'",
        ),
        (
            "allow-unhashed",
            "yes",
            "pixi.toml: tool.pixi-mirror.allow-unhashed is not true or false\n  actual  'yes'",
        ),
        (
            "channel-dir",
            " ",
            (
                "pixi.toml: tool.pixi-mirror.channel-dir is not a folder, relative to the "
                "manifest's or absolute\n  actual  ' '"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(MirrorError) as caught:
        parse_settings({key: value}, "pixi.toml")
    assert str(caught.value) == message
    assert caught.value.problems[0].code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("30m", 1800), ("1h", 3600), ("7d", 604_800), ("1w1s", 604_801)],
)
def test_a_duration(text: str, seconds: int) -> None:
    assert parse_settings({"grace": text}, "pixi.toml").grace == timedelta(seconds=seconds)


@pytest.mark.parametrize("value", ["", "soon", "1", "1.5h", "-1h", "1y", 60, "999999w" * 200])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(MirrorError) as caught:
        parse_settings({"grace": value}, "pixi.toml")
    assert str(caught.value) == (
        'pixi.toml: tool.pixi-mirror.grace is not a duration: "1h", "30m", "0s", "7d"\n'
        f"  actual  {value!r}"
    )


def test_every_setting_is_documented_and_read_as_it_says() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    block = text.partition("## The table")[2].partition("```toml")[2].partition("```")[0]
    table = tomllib.loads(block)["tool"]["pixi-mirror"]
    assert table.keys() == set(KEYS)
    shown = parse_settings(table, "settings.md")
    for key in (
        "channel_dir",
        "layout",
        "pypi",
        "allow_unhashed",
        "grace",
        "proof_max_age",
    ):  # the defaults
        assert getattr(shown, key) == getattr(Settings(), key)


def test_no_option_overrides_nothing() -> None:
    assert options() == SettingOverrides()
    settings = Settings(jobs=4, exclude_environments=("tools",))
    assert override(settings, options()) == settings


def test_every_setting_has_an_option_of_its_name() -> None:
    given = options(
        *("--channel-dir", "x", "--layout", "by-channel", "--jobs", "2"),
        *("--environments", "a,b", "-e", "c", "--exclude-environments", ""),
        *("--platforms", "win-64", "--platform", "linux-64,win-64", "--no-pypi"),
        *("--allow-incomplete", "pypi", "--allow-incomplete", "source", "--allow-unhashed"),
        *("--locks", "../a/pixi.lock,**/pixi.lock", "--locks", "../a/pixi.lock"),
        *("--grace", "2d", "--proof-max-age", "0s"),
    )
    assert override(Settings(exclude_environments=("tools",)), given) == Settings(
        channel_dir="x",
        layout=Layout.BY_CHANNEL,
        jobs=2,
        environments=("a", "b", "c"),
        exclude_environments=(),
        platforms=("win-64", "linux-64"),
        locks=(LockEntry(location="../a/pixi.lock"), LockEntry(location="**/pixi.lock")),
        pypi=False,
        allow_incomplete=frozenset({IncompleteKind.PYPI, IncompleteKind.SOURCE}),
        allow_unhashed=True,
        grace=timedelta(days=2),
        proof_max_age=timedelta(),
    )
    assert override(Settings(allow_unhashed=True), options("--no-allow-unhashed")) == Settings()


def test_an_environment_asked_for_is_not_excluded_by_the_settings() -> None:
    settings = override(Settings(exclude_environments=("tools", "test")), options("-e", "tools"))
    assert settings.environments == ("tools",)
    assert settings.exclude_environments == ("test",)


@pytest.mark.parametrize(
    "argv",
    [
        ("--jobs", "0"),
        ("--jobs", "x"),
        ("--layout", "round"),
        ("-e", ","),
        ("--allow-incomplete", "conda"),
        ("--channel-dir", ""),
        ("--grace", "soon"),
    ],
)
def test_a_wrong_option_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(argparse.ArgumentError):
        options(*argv)
