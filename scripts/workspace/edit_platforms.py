"""Set, add and remove the platforms of the mirrored set in a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from scripts.core.errors import MirrorError, usage_error
from scripts.core.subdir import NOARCH, check_subdir, is_known_subdir
from scripts.workspace.model import Feature, Manifest
from scripts.workspace.parse import parse_manifest, pixi_table, workspace_table
from scripts.workspace.resolve import environment_platforms
from scripts.workspace.toml_array import ArrayEdit, edit_array
from scripts.workspace.toml_table import load_toml

# The feature that narrows the mirrored environments to the platforms mirrored.
MIRROR: Final = "mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformEdit:
    """An edited manifest: its new text, the table edited, its platforms before and after.

    `notes` say what else a person should know. Where nothing changed, `text` is the old one.
    """

    text: str
    table: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    notes: tuple[str, ...] = ()


def set_platforms(text: str, wanted: Sequence[str], *, name: str) -> PlatformEdit:
    """Make the mirrored platforms just these; those there already stay where they stand.

    The array edited is that of `[feature.mirror]` where there is one, else the workspace's.
    Raises the error of exit code 2, with nothing changed, for an unknown subdir, an environment
    that would become empty, and a file that cannot be edited without risk.
    """
    before = _Arrays.of(text, name).edited_names
    remove = tuple(platform for platform in before if platform not in wanted)
    return change_platforms(text, add=wanted, remove=remove, name=name)


def change_platforms(
    text: str, *, add: Sequence[str], remove: Sequence[str], name: str
) -> PlatformEdit:
    """Add platforms to the mirrored ones and remove others; see `set_platforms`."""
    arrays = _Arrays.of(text, name)
    before = arrays.edited_names
    for platform in add:
        _check_name(platform, arrays.manifest)
    _check_removed(arrays, add, remove)
    new = tuple(each for each in dict.fromkeys(add) if each not in before)
    after = tuple(each for each in before if each not in remove) + new
    if not after:
        raise usage_error(name, f"{arrays.edited_table} would have no platform left")
    if after == before:
        return PlatformEdit(text=text, table=arrays.edited_table, before=before, after=after)
    edited = edit_array(text, _array_edit(arrays.edited_path, before, remove, new), name)
    notes: list[str] = []
    undeclared = arrays.undeclared(new)
    if undeclared:
        # As `pixi workspace platform add --feature` does: pixi before 0.71, and one whose
        # workspace has rich platforms, know no platform that the workspace does not name.
        workspace = tuple(each.name for each in arrays.manifest.platforms)
        path = arrays.workspace_path
        edited = edit_array(edited, _array_edit(path, workspace, (), undeclared), name)
        notes.append(f"added to {'.'.join(path)} too: {', '.join(undeclared)}")
    result = parse_manifest(edited, name=name)
    _check_environments(arrays.manifest, result)
    _check_references(arrays.manifest, result)
    notes += _kept_elsewhere(result, remove) if arrays.edits_workspace else ()
    return PlatformEdit(
        text=edited, table=arrays.edited_table, before=before, after=after, notes=tuple(notes)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """The arrays of platforms in a manifest, and which of them is edited."""

    manifest: Manifest
    workspace_path: tuple[str, ...]
    workspace_is_written: bool
    mirror_path: tuple[str, ...] | None

    @classmethod
    def of(cls, text: str, name: str) -> _Arrays:
        """Find them; an error where there is none to edit."""
        manifest = parse_manifest(text, name=name)
        pixi = pixi_table(load_toml(text, name))
        workspace = workspace_table(pixi)
        mirror = manifest.feature(MIRROR)
        has_mirror = mirror is not None and mirror.platforms is not None
        is_written = "platforms" in workspace.fields
        if not has_mirror and not is_written:
            raise usage_error(
                name,
                f"there is no list {workspace.path_of('platforms')} to edit",
                help=f'write `platforms = ["linux-64"]` into [{workspace.where}]',
            )
        mirror_path = (*_keys(pixi.where), "feature", MIRROR, "platforms")
        return cls(
            manifest=manifest,
            workspace_path=(*_keys(workspace.where), "platforms"),
            workspace_is_written=is_written,
            mirror_path=mirror_path if has_mirror else None,
        )

    @property
    def edits_workspace(self) -> bool:
        """Tell whether it is the workspace's own list that is edited."""
        return self.mirror_path is None

    @property
    def edited_path(self) -> tuple[str, ...]:
        """Keys down to the list that is edited."""
        return self.mirror_path or self.workspace_path

    @property
    def edited_table(self) -> str:
        """The list that is edited, as a person writes it: `feature.mirror.platforms`."""
        return ".".join(self.edited_path)

    @property
    def edited_names(self) -> tuple[str, ...]:
        """The platforms in the list that is edited, by name."""
        mirror = None if self.edits_workspace else self.manifest.feature(MIRROR)
        if mirror is not None and mirror.platforms is not None:
            return mirror.platforms
        return tuple(platform.name for platform in self.manifest.platforms)

    def undeclared(self, new: Iterable[str]) -> tuple[str, ...]:
        """Return those of the new platforms that the workspace's own list must get too."""
        if self.edits_workspace or not self.workspace_is_written:
            return ()
        names = {platform.name for platform in self.manifest.platforms}
        return tuple(each for each in new if each not in names)


def _keys(where: str) -> tuple[str, ...]:
    return tuple(where.split(".")) if where else ()


def _array_edit(
    path: tuple[str, ...], names: Sequence[str], remove: Iterable[str], append: Iterable[str]
) -> ArrayEdit:
    gone = set(remove)
    keep = frozenset(i for i, each in enumerate(names) if each not in gone)
    return ArrayEdit(path=path, keep=keep, append=tuple(append))


def _check_name(platform: str, manifest: Manifest) -> None:
    """Accept a platform that the workspace declares, and every subdir but noarch."""
    if platform == NOARCH:
        raise usage_error(
            "platforms", "noarch is no platform: its packages come with every other one"
        )
    if all(platform != each.name for each in manifest.platforms):
        check_subdir(platform, "platforms")


def _check_removed(arrays: _Arrays, add: Iterable[str], remove: Iterable[str]) -> None:
    for platform in remove:
        if platform in add:
            raise usage_error("platforms", f"{platform} is both to be added and to be removed")
        if platform not in arrays.edited_names:
            raise usage_error(
                arrays.manifest.file_name,
                f"{platform} is not in {arrays.edited_table}",
                ("there", ", ".join(arrays.edited_names) or "none"),
            )


def _check_environments(before: Manifest, after: Manifest) -> None:
    """Refuse to leave an environment without any platform."""
    for environment in after.environments:
        if environment_platforms(after, environment):
            continue
        old = environment_platforms(before, environment)
        if old:
            raise usage_error(
                after.file_name,
                f"environment {environment.name} would have no platform left",
                ("now", ", ".join(platform.name for platform in old)),
                help="change or remove that environment first; nothing was written",
            )


def _check_references(before: Manifest, after: Manifest) -> None:
    """Refuse to leave a feature with a platform that pixi would not know any more."""
    known = set(_unknown_references(before))
    for feature, platform in _unknown_references(after):
        if (feature, platform) not in known:
            raise _still_named(after, feature, platform)


def _still_named(manifest: Manifest, feature: str, platform: str) -> MirrorError:
    return usage_error(
        manifest.file_name,
        f"feature {feature} still names the platform {platform}",
        help=f"remove it from {feature}'s platforms first; nothing was written",
    )


def _unknown_references(manifest: Manifest) -> Iterable[tuple[str, str]]:
    names = {platform.name for platform in manifest.platforms}
    is_rich = any(platform.name != platform.subdir for platform in manifest.platforms)
    for feature in _features(manifest):
        for platform in feature.platforms or ():
            if platform not in names and (is_rich or not is_known_subdir(platform)):
                yield feature.name, platform


def _kept_elsewhere(manifest: Manifest, removed: Iterable[str]) -> Iterable[str]:
    """Say where a removed platform lives on: pixi adds what any feature names to the rest."""
    for platform in removed:
        features = [each.name for each in _features(manifest) if platform in (each.platforms or ())]
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


def _features(manifest: Manifest) -> Iterable[Feature]:
    yield from manifest.features
    yield from (each.own for each in manifest.environments if each.own is not None)
