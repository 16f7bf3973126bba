"""The platforms of each environment: shown, and edited in the manifest."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Final

from scripts.core.console import Console
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import disk_errors, write_atomically
from scripts.core.report import Json, Report, table, to_json
from scripts.core.subdir import check_platform, is_known_subdir
from scripts.core.typed_values import Table, load_toml, parse_toml, toml_string
from scripts.workspace.model import Manifest
from scripts.workspace.parse import parse_manifest, pixi_table, workspace_table
from scripts.workspace.pixi import is_run_by_pixi
from scripts.workspace.resolve import environment_platforms
from scripts.workspace.settings import Settings
from scripts.workspace.workspace import Workspace

# The feature that narrows the mirrored environments to the platforms mirrored.
MIRROR: Final = "mirror"
_WRITABLE: Final = "see that its folder may be written to, and has room; then run this again"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformEdit:
    """An edited manifest: its new text, the list edited, its platforms before and after.

    `notes` say what else a person should know. Where nothing changed, `text` is the old one.
    """

    text: str
    table: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    notes: tuple[str, ...] = ()


def change_platforms(
    text: str,
    *,
    name: str,
    wanted: Collection[str] = (),
    add: Collection[str] = (),
    remove: Collection[str] = (),
) -> PlatformEdit:
    """Make the mirrored platforms just those `wanted`, or add some and remove others.

    The list edited is that of `[feature.mirror]` where there is one, else the workspace's; what is
    there already stays where it stands. Raises the error of exit code 2, with nothing changed, for
    an unknown subdir, an environment that would become empty, and a file that cannot be edited
    without risk.
    """
    manifest = parse_manifest(text, name=name)
    declared = tuple(platform.name for platform in manifest.platforms)
    pixi = pixi_table(load_toml(text, name))
    every = workspace_table(pixi).path_of("platforms")
    path, before = _edited_list(manifest, pixi)
    if wanted:
        add, remove = wanted, [each for each in before if each not in wanted]
    _check_names(add, remove, declared)
    for platform in remove:
        if platform not in before:
            there = ", ".join(before) or "none"
            raise usage_error(name, f"{platform} is not in {path}", ("there", there))
    new = tuple(each for each in dict.fromkeys(add) if each not in before)
    after = tuple(each for each in before if each not in remove) + new
    if not after:
        raise usage_error(name, f"{path} would have no platform left")
    if after == before:
        return PlatformEdit(text=text, table=path, before=before, after=after)
    gone = [position for position, each in enumerate(before) if each in remove]
    edited = _edit_list(text, path, gone, new, name)
    notes: tuple[str, ...] = ()
    undeclared = tuple(each for each in new if each not in declared)
    if undeclared and declared and path != every:
        # As `pixi workspace platform add --feature` does: pixi before 0.71, and one whose
        # workspace has rich platforms, know no platform that the workspace does not name.
        edited = _edit_list(edited, every, (), undeclared, name)
        notes = (f"added to {every} too: {', '.join(undeclared)}",)
    _check_result(manifest, parse_manifest(edited, name=name), remove)
    return PlatformEdit(text=edited, table=path, before=before, after=after, notes=notes)


def _edited_list(manifest: Manifest, pixi: Table) -> tuple[str, tuple[str, ...]]:
    """Find the list that is edited, `feature.mirror.platforms`, and the platforms in it."""
    mirror = manifest.feature(MIRROR)
    if mirror is not None and mirror.platforms is not None:
        return pixi.path_of(f"feature.{MIRROR}.platforms"), mirror.platforms
    workspace = workspace_table(pixi)
    path = workspace.path_of("platforms")
    if "platforms" not in workspace.fields:
        advice = f'write `platforms = ["linux-64"]` into [{workspace.where}]'
        raise usage_error(manifest.file_name, f"there is no list {path} to edit", help=advice)
    return path, tuple(platform.name for platform in manifest.platforms)


def _check_names(add: Iterable[str], remove: Collection[str], declared: Collection[str]) -> None:
    """Refuse unknown platforms, and one both to be added and to be removed."""
    for platform in add:
        check_platform(platform, declared)
        if platform in remove:
            raise usage_error("platforms", f"{platform} is both to be added and to be removed")


def _check_result(before: Manifest, after: Manifest, removed: Collection[str]) -> None:
    """Refuse an edit that leaves an environment empty, or a feature an unknown platform."""
    for environment in after.environments:
        old = environment_platforms(before, environment)
        if old and not environment_platforms(after, environment):
            raise usage_error(
                after.file_name,
                f"environment {environment.name} would have no platform left",
                ("now", ", ".join(platform.name for platform in old)),
                help="change or remove that environment first; nothing was written",
            )
    known = {each.name for each in after.platforms}
    for feature in after.all_features():
        for each in (set(removed) - known) & set(feature.platforms or ()):
            if after.is_rich or not is_known_subdir(each):
                raise usage_error(
                    after.file_name,
                    f"feature {feature.name} still names the platform {each}",
                    help=f"remove it from {feature.name}'s platforms first; nothing was written",
                )


def _edit_list(text: str, path: str, gone: Sequence[int], new: Sequence[str], subject: str) -> str:
    """Take values out of a list, by position, with their own comments, and append others.

    tomlkit edits; where that says anything else than is wanted, a list without comments is
    written anew, and one with comments is refused, with the line to paste.
    """
    import tomlkit
    from tomlkit.items import Array

    document = parse_toml(text, subject)
    *tables, key = path.split(".")
    table = reduce(getitem, tables, document)
    array = table[key]
    kept = [each for position, each in enumerate(array) if position not in gone]
    is_literal = bool(kept) and kept[-1].as_string().startswith("'")
    added = [tomlkit.string(each, literal=is_literal) for each in new]
    wanted = [*(each.unwrap() for each in kept), *new]
    values = tomlkit.array()
    values.extend([*(kept if isinstance(array, Array) else wanted[: len(kept)]), *added])
    line = f"[{', '.join(each.as_string() for each in values)}]"
    if isinstance(array, Array):
        has_comments = "#" in array.as_string()
        for each in added:
            array.append(each)
        for position in reversed(gone):
            del array[position]
        edited: str = document.as_string()
        if not has_comments and not _is_as_wanted(text, edited, path, wanted, len(gone)):
            table[key] = tomlkit.parse(f"x = {line}")["x"]
            edited = document.as_string()
        if _is_as_wanted(text, edited, path, wanted, len(gone)):
            is_crlf = "\n" not in text.replace("\r\n", "")  # tomlkit may add a line with "\n"
            return re.sub("\r?\n", "\r\n", edited) if is_crlf else edited
    raise usage_error(
        subject,
        f"{path} is written in a way that cannot be edited without risk",
        help=f"write `{key} = {line}` in [{'.'.join(tables)}] by hand; nothing was written",
    )


def _is_as_wanted(before: str, after: str, path: str, wanted: list[object], gone: int) -> bool:
    """Tell whether the edited text has the wanted list, and is unchanged elsewhere.

    `gone` values were removed: so many comments of the list may be missing.
    """
    try:
        documents = [parse_toml(text, "") for text in (before, after)]
    except MirrorError:
        return False
    old, new = (reduce(getitem, path.split("."), document) for document in documents)
    is_wanted = repr(new.unwrap()) == repr(wanted)
    were, are = (re.findall(r"#[^\r\n]*", array.as_string()) for array in (old, new))
    old.clear()
    new.clear()
    left = iter(were)
    is_same = documents[0].as_string() == documents[1].as_string()
    comments_stay = len(are) + gone >= len(were) and all(each in left for each in are)
    return is_wanted and is_same and comments_stay


def write_platforms(workspace: Workspace, edit: PlatformEdit, console: Console) -> Report:
    """Write an edited manifest whole, and report what became of its platforms."""
    manifest = parse_manifest(edit.text, name=workspace.manifest.file_name)
    is_changed = edit.after != edit.before
    change = f"{edit.table} is already {', '.join(edit.after)}; nothing was written"
    if is_changed:
        path = workspace.manifest_path
        with disk_errors(path, _WRITABLE, "written"):
            mode = stat.S_IMODE(path.stat().st_mode)
            write_atomically(path, edit.text.encode("utf-8"))
            path.chmod(mode)
        change = f"{edit.table}: {', '.join(edit.before)} → {', '.join(edit.after)}"
    shown = show_platforms(manifest, workspace.settings, console)
    following = "`pixi lock`, then `pixi run mirror`"
    if is_run_by_pixi(os.environ, workspace.manifest_path):
        following = "`pixi run mirror`, which renews pixi.lock first"
    last = (f"next: {following}",) if is_changed else ()
    data = {
        **shown.data,
        "changed": is_changed,
        "list": edit.table,
        "before": edit.before,
        "after": edit.after,
        "notes": edit.notes,
    }
    return Report(lines=(change, *edit.notes, *shown.lines, *last), data=data)


def show_platforms(manifest: Manifest, settings: Settings, console: Console) -> Report:
    """Report the platforms per environment; warn of those that miss the feature `mirror`."""
    for warning in _unnarrowed(manifest, settings):
        console.warn(warning)
    rows: list[Json] = []
    cells: list[tuple[str, str]] = []
    for each in manifest.environments:
        platforms = environment_platforms(manifest, each)
        is_mirrored = settings.is_mirrored(each.name)
        rows.append({"name": each.name, "platforms": to_json(platforms), "mirrored": is_mirrored})
        shown = ", ".join(platform.label for platform in platforms) or "none"
        cells.append((each.name, shown + ("" if is_mirrored else "  (not mirrored)")))
    lines = [*table(cells)]
    if settings.platforms is not None:
        lines.append(f"mirrored of these by the settings: {', '.join(settings.platforms)}")
    name = manifest.file_name
    data: dict[str, Json] = {"manifest": name, "environments": rows}
    return Report(lines=tuple(lines), data=data)


def _unnarrowed(manifest: Manifest, settings: Settings) -> Iterator[str]:
    """Yield a warning for each mirrored environment without the feature `mirror`, with the cure."""
    mirror = manifest.feature(MIRROR)
    if mirror is None or mirror.platforms is None:
        return
    for each in manifest.environments:
        beyond = [
            platform.name
            for platform in environment_platforms(manifest, each)
            if {platform.name, platform.subdir}.isdisjoint(mirror.platforms)
        ]
        if beyond and MIRROR not in each.features and settings.is_mirrored(each.name):
            line = f"features = {toml_string([*each.features, MIRROR])}"
            where = f"environments.{each.name}"
            if each.own is None:
                line += ", no-default-feature = true" if each.no_default_feature else ""
                group = each.solve_group
                line += "" if group is None else f", solve-group = {toml_string(group)}"
                where, line = "environments", f"{each.name} = {{ {line} }}"
            yield (
                f"environment {each.name} lacks the feature {MIRROR}, so it is locked for "
                f"{', '.join(beyond)} too; write in [{where}]: {line}"
            )
