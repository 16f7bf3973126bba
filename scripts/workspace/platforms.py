"""The platforms of each environment: shown, and edited in the manifest."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scripts.core.console import Console
from scripts.core.errors import MirrorError, usage_error
from scripts.core.files import write_atomically
from scripts.core.report import Json, Report, to_json
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.core.typed_values import load_toml, parse_toml
from scripts.workspace.model import Environment, Manifest
from scripts.workspace.parse import parse_manifest, pixi_table, workspace_table
from scripts.workspace.resolve import environment_platforms
from scripts.workspace.settings import Settings
from scripts.workspace.workspace import Workspace

# The feature that narrows the mirrored environments to the platforms mirrored.
MIRROR: Final = "mirror"
_COMMENT: Final = re.compile(r"#[^\r\n]*")


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


def set_platforms(text: str, wanted: Sequence[str], *, name: str) -> PlatformEdit:
    """Make the mirrored platforms just these; those there already stay where they stand.

    The list edited is that of `[feature.mirror]` where there is one, else the workspace's.
    Raises the error of exit code 2, with nothing changed, for an unknown subdir, an environment
    that would become empty, and a file that cannot be edited without risk.
    """
    _, before = _edited_list(text, parse_manifest(text, name=name))
    remove = tuple(platform for platform in before if platform not in wanted)
    return change_platforms(text, add=wanted, remove=remove, name=name)


def change_platforms(
    text: str, *, add: Sequence[str], remove: Sequence[str], name: str
) -> PlatformEdit:
    """Add platforms to the mirrored ones and remove others; see `set_platforms`."""
    manifest = parse_manifest(text, name=name)
    path, before = _edited_list(text, manifest)
    declared = tuple(platform.name for platform in manifest.platforms)
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
    notes = []
    undeclared = tuple(each for each in new if each not in declared)
    is_workspace = not path.endswith(f"feature.{MIRROR}.platforms")
    if undeclared and declared and not is_workspace:
        # As `pixi workspace platform add --feature` does: pixi before 0.71, and one whose
        # workspace has rich platforms, know no platform that the workspace does not name.
        all_path = workspace_table(pixi_table(load_toml(text, name))).path_of("platforms")
        edited = _edit_list(edited, all_path, (), undeclared, name)
        notes.append(f"added to {all_path} too: {', '.join(undeclared)}")
    result = parse_manifest(edited, name=name)
    _check_result(manifest, result)
    if is_workspace:
        notes += _kept_elsewhere(result, remove)
    return PlatformEdit(text=edited, table=path, before=before, after=after, notes=tuple(notes))


def _edited_list(text: str, manifest: Manifest) -> tuple[str, tuple[str, ...]]:
    """Find the list that is edited, `feature.mirror.platforms`, and the platforms in it."""
    pixi = pixi_table(load_toml(text, manifest.file_name))
    mirror = manifest.feature(MIRROR)
    if mirror is not None and mirror.platforms is not None:
        return pixi.path_of(f"feature.{MIRROR}.platforms"), mirror.platforms
    workspace = workspace_table(pixi)
    path = workspace.path_of("platforms")
    if "platforms" not in workspace.fields:
        raise usage_error(
            manifest.file_name,
            f"there is no list {path} to edit",
            help=f'write `platforms = ["linux-64"]` into [{workspace.where}]',
        )
    return path, tuple(platform.name for platform in manifest.platforms)


def _check_names(add: Sequence[str], remove: Sequence[str], declared: Sequence[str]) -> None:
    """Accept a platform that the workspace declares, and every subdir but noarch."""
    for platform in add:
        if platform == NOARCH:
            raise usage_error(
                "platforms", "noarch is no platform: its packages come with every other one"
            )
        if platform not in declared:
            check_subdir(platform, "platforms")
        if platform in remove:
            raise usage_error("platforms", f"{platform} is both to be added and to be removed")


def _check_result(before: Manifest, after: Manifest) -> None:
    """Refuse to leave an environment empty, or a feature with a platform that pixi knows not."""
    for environment in after.environments:
        old = environment_platforms(before, environment)
        if old and not environment_platforms(after, environment):
            raise usage_error(
                after.file_name,
                f"environment {environment.name} would have no platform left",
                ("now", ", ".join(platform.name for platform in old)),
                help="change or remove that environment first; nothing was written",
            )
    for feature in after.all_features():
        for platform in feature.platforms or ():
            if _is_known(before, platform) and not _is_known(after, platform):
                raise usage_error(
                    after.file_name,
                    f"feature {feature.name} still names the platform {platform}",
                    help=f"remove it from {feature.name}'s platforms first; nothing was written",
                )


def _is_known(manifest: Manifest, platform: str) -> bool:
    is_named = any(platform == each.name for each in manifest.platforms)
    return is_named or (not manifest.is_rich and is_known_subdir(platform))


def _kept_elsewhere(manifest: Manifest, removed: Sequence[str]) -> Iterator[str]:
    """Say where a removed platform lives on: pixi adds what any feature names to the rest."""
    for platform in removed:
        features = [
            each.name for each in manifest.all_features() if platform in (each.platforms or ())
        ]
        environments = [
            each.name
            for each in manifest.environments
            if any(found.subdir == platform for found in environment_platforms(manifest, each))
        ]
        if features and environments:
            yield (
                f"{platform} is still a platform of {', '.join(environments)}, "
                f"since the feature {', '.join(features)} names it"
            )


def _edit_list(text: str, path: str, gone: Sequence[int], new: Sequence[str], subject: str) -> str:
    """Take values out of a list, by position, with their own comments, and append others.

    tomlkit edits; where that says anything else than is wanted, a list without comments is
    written anew, and one with comments is refused, with the line to paste.
    """
    import tomlkit
    from tomlkit.items import AoT, Array

    document = parse_toml(text, subject)
    *tables, key = path.split(".")
    table = document
    for each in tables:
        table = table[each]
    array = table[key]
    if not isinstance(array, (Array, AoT)):
        raise usage_error(subject, f"{path} is not a list")
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
        if _says(text, edited, path, wanted, len(gone)):
            return edited
        if not has_comments:
            table[key] = tomlkit.parse(f"x = {line}")["x"]
            edited = document.as_string()
            if _says(text, edited, path, wanted, 0):
                return edited
    raise usage_error(
        subject,
        f"{path} is written in a way that cannot be edited without risk",
        help=f"write `{key} = {line}` in [{'.'.join(tables)}] by hand; nothing was written",
    )


def _says(before: str, after: str, path: str, wanted: list[object], gone: int) -> bool:
    """Tell whether the edited text has the list that is wanted, and all else as it was.

    Of the comments in the list as many may be missing as values are gone.
    """
    around, comments = [], []
    for text in (before, after):
        try:
            document = parse_toml(text, "")
        except MirrorError:
            return False
        array: Any = document
        for key in path.split("."):
            array = array[key]
        if text is after and repr(array.unwrap()) != repr(wanted):
            return False
        comments.append(_COMMENT.findall(array.as_string()))
        array.clear()
        around.append(document.as_string())
    were, are = comments
    left = iter(were)
    return around[0] == around[1] and len(are) + gone >= len(were) and all(x in left for x in are)


def write_platforms(workspace: Workspace, edit: PlatformEdit, console: Console) -> Report:
    """Write an edited manifest whole, and report what became of its platforms."""
    manifest = parse_manifest(edit.text, name=workspace.manifest.file_name)
    is_changed = edit.after != edit.before
    last: tuple[str, ...] = ()
    if is_changed:
        path = workspace.manifest_path
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            write_atomically(path, edit.text.encode("utf-8"))
            path.chmod(mode)
        except OSError as error:
            raise usage_error(str(path), f"cannot write this manifest: {error.strerror}") from None
        change = f"{edit.table}: {', '.join(edit.before)} → {', '.join(edit.after)}"
        last = ("pixi.lock must be renewed: now run `pixi lock`",)
    else:
        change = f"{edit.table} is already {', '.join(edit.after)}; nothing was written"
    shown = show_platforms(manifest, workspace.settings, console)
    data = {
        **shown.data,
        "changed": is_changed,
        "list": edit.table,
        "before": list(edit.before),
        "after": list(edit.after),
        "notes": list(edit.notes),
    }
    return Report(lines=(change, *edit.notes, *shown.lines, *last), data=data)


def show_platforms(manifest: Manifest, settings: Settings, console: Console) -> Report:
    """Report the platforms per environment; warn of those that miss the feature `mirror`."""
    warnings = tuple(_unnarrowed(manifest, settings))
    for warning in warnings:
        console.warn(warning)
    width = max(len(environment.name) for environment in manifest.environments)
    lines: list[str] = []
    rows: list[Json] = []
    for environment in manifest.environments:
        name, platforms = environment.name, environment_platforms(manifest, environment)
        shown = ", ".join(platform.label for platform in platforms) or "none"
        is_mirrored = settings.is_mirrored(name)
        lines.append(f"{name.ljust(width)}  {shown}{'' if is_mirrored else '  (not mirrored)'}")
        rows.append({"name": name, "platforms": to_json(platforms), "mirrored": is_mirrored})
    if settings.platforms is not None:
        lines.append(f"mirrored of these by the settings: {', '.join(settings.platforms)}")
    data = {"manifest": manifest.file_name, "environments": rows, "warnings": list(warnings)}
    return Report(lines=tuple(lines), data=data)


def _unnarrowed(manifest: Manifest, settings: Settings) -> Iterator[str]:
    """Warn of mirrored environments that the feature `mirror` does not narrow, with the cure."""
    mirror = manifest.feature(MIRROR)
    if mirror is None or mirror.platforms is None:
        return
    for environment in manifest.environments:
        if MIRROR in environment.features or not settings.is_mirrored(environment.name):
            continue
        platforms = environment_platforms(manifest, environment)
        beyond = [
            each.name for each in platforms if not {each.name, each.subdir} & set(mirror.platforms)
        ]
        if beyond:
            yield (
                f"environment {environment.name} lacks the feature {MIRROR}, so it is locked for "
                f"{', '.join(beyond)} too; {_cure(environment)}"
            )


def _cure(environment: Environment) -> str:
    """Give the line that adds the feature; JSON writes strings as TOML does."""
    features = f"features = {json.dumps([*environment.features, MIRROR])}"
    if environment.own is not None:
        return f"write in [environments.{environment.name}]:\n  {features}"
    parts = [features]
    if environment.no_default_feature:
        parts.append("no-default-feature = true")
    if environment.solve_group is not None:
        parts.append(f"solve-group = {json.dumps(environment.solve_group)}")
    return f"write in [environments]:\n  {environment.name} = {{ {', '.join(parts)} }}"
