r"""The real locks of `tests/data/cases`, with tiny artifacts that carry their records.

    case = make_case("pytorch-nvidia", tmp_path)  # by-channel; the manifest's table is added
    case.place()  # as `fetch` would leave the channel
    case.index()

Names, versions, builds, requirements and channels are the lock's own; sha256, md5 and size are
those of the tiny artifacts, in the lock as well. `case.upstream` holds them as a server would
whose root stands for conda.anaconda.org, so `serve` is all that `fetch` and pixi need. Acts.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.core.channel_url import ANACONDA
from scripts.core.rattler_child import call_rattler
from scripts.lock.model import LockedPackage, locked_packages
from scripts.lock.read import read_lock
from tests.support.mirrors import Mirror
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.upstream import Upstream

CASES: Final = Path(__file__).parents[1] / "data" / "cases"

_ROW: Final = re.compile(r"^- conda: (?P<url>\S+)$\n(?P<fields>(?:^ .*$\n)*)", re.MULTILINE)
_ACTUAL: Final = re.compile(r"^  (sha256|md5|size): .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case(Mirror):
    """A workspace of one case. `upstream` has a folder for each channel, not indexed."""

    upstream: Path

    def place(self) -> None:
        """Put every artifact of the lock where it belongs in the mirror."""
        for artifact in self.selection.artifacts:
            target = self.folder / artifact.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(upstream_path(self.upstream, artifact.urls[0]), target)

    def index_upstream(self) -> None:
        """Index every channel of the upstream, so that pixi can lock from it."""
        channels = {
            self.upstream / channel.removeprefix(f"{ANACONDA}/")
            for environment in read_lock(self.root / "pixi.lock").environments
            for channel in environment.channels
        }
        for folder in sorted(channels):
            (folder / "noarch").mkdir(parents=True, exist_ok=True)
            call_rattler("index", {"folder": str(folder)})

    @contextmanager
    def serve(self) -> Iterator[Upstream]:
        """Serve the upstream, and lead this workspace to it: `[mirrors]` of `.pixi/config.toml`."""
        with Upstream(self.upstream) as upstream:
            path = self.root / ".pixi" / "config.toml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f'[mirrors]\n"{ANACONDA}" = ["{upstream.url}"]\n', encoding="utf-8")
            yield upstream


def make_case(name: str, root: Path, layout: str = "by-channel") -> Case:
    """Write the artifacts below `root`, and a workspace whose lock names them."""
    workspace, upstream = root / "workspace", root / "upstream"
    workspace.mkdir(parents=True)
    manifest = (CASES / name / "pixi.toml").read_text(encoding="utf-8")
    manifest += f'\n[tool.pixi-mirror]\nlayout = "{layout}"\n'
    (workspace / "pixi.toml").write_text(manifest, encoding="utf-8")
    lock = CASES / name / "pixi.lock"
    written = write_artifacts(lock, upstream)
    text = tiny_lock(lock.read_text(encoding="utf-8"), written)
    (workspace / "pixi.lock").write_bytes(text.encode())
    return Case(root=workspace, layout=layout, upstream=upstream)


def write_artifacts(lock: Path, upstream: Path) -> dict[str, WrittenPackage]:
    """Write a tiny artifact for each one that the lock names, by URL."""
    return {
        package.url: tiny_package(package).write(upstream_path(upstream, package.url).parents[1])
        for package in locked_packages(read_lock(lock).environments)
    }


def upstream_path(upstream: Path, url: str) -> Path:
    """Return where the upstream has what conda.anaconda.org has at this URL."""
    return upstream / url.removeprefix(f"{ANACONDA}/")


def tiny_package(package: LockedPackage) -> TinyPackage:
    """Make the tiny package with the record of a locked one."""
    return TinyPackage(
        name=package.name,
        version=package.record.version,
        build=package.record.build,
        build_number=package.record.build_number,
        subdir=package.record.subdir,
        extension=".conda" if package.file_name.extension == ".conda" else ".tar.bz2",
        depends=package.record.depends,
        constrains=package.record.constrains,
        noarch=package.record.noarch,
        timestamp=package.record.timestamp,
        license=package.record.license,
        license_family=package.record.license_family,
        purls=package.record.purls,
        track_features=package.record.track_features,
        run_exports=package.record.run_exports or (),
    )


def tiny_lock(text: str, written: Mapping[str, WrittenPackage]) -> str:
    """Replace sha256, md5 and size of each row by those of its tiny artifact; nothing else."""

    def row(found: re.Match[str]) -> str:
        artifact = written[found["url"]]
        fields = _ACTUAL.sub(
            lambda field: f"  {field[1]}: {getattr(artifact, field[1])}", found["fields"]
        )
        return f"- conda: {found['url']}\n{fields}"

    return _ROW.sub(row, text)
