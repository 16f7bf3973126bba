"""A workspace that mirrors four locks: its own, another workspace's, a lone one, a remote one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, RawRow, lock_text
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream
from tests.support.wheels import PypiRow

OWN = TinyPackage(name="own", depends=("both",))
SERVICE = TinyPackage(name="served", subdir="linux-64", depends=("both",))
ALONE = TinyPackage(name="alone", subdir="win-64")
REMOTE = TinyPackage(name="remote", subdir="osx-arm64")
BOTH = TinyPackage(name="both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """Their workspaces are beside each other in `root`; the remote lock is on the upstream."""

    root: Path
    upstream: Upstream

    @property
    def own(self) -> Path:
        """The folder of the workspace that mirrors."""
        return self.root / "mirror"

    @property
    def channel(self) -> Path:
        """Its channel folder."""
        return self.own / "local-channel"

    @property
    def url(self) -> str:
        """The URL of the remote lock."""
        return f"{self.upstream.url}/git/pixi.lock"

    def rows(self, *packages: TinyPackage) -> tuple[LockRow, ...]:
        """Give packages to the upstream, and name them."""
        folder = self.upstream.folder / "ch"
        return tuple(
            LockRow(written=each.write(folder), channel=f"{self.upstream.url}/ch")
            for each in packages
        )

    def lock(
        self,
        path: Path,
        *rows: LockRow | RawRow | PypiRow,
        platform: str = "linux-64",
        name: str = "default",
    ) -> None:
        """Write a lock of one environment on one platform."""
        platforms = (PlatformRows(name=platform, rows=rows),)
        environment = EnvironmentRows(
            name=name, platforms=platforms, channels=(f"{self.upstream.url}/ch",)
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lock_text((environment,)), encoding="utf-8")

    def manifest(self, folder: str, requires: Sequence[str], settings: str = "") -> None:
        """Write the manifest of a workspace of this name."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        wanted = "".join(f'{name} = "*"\n' for name in requires)
        (self.root / folder / "pixi.toml").write_text(
            f'[workspace]\nname = "{folder}"\nchannels = ["{self.upstream.url}/ch"]\n'
            f'platforms = ["linux-64"]\n\n[dependencies]\n{wanted}\n'
            f"[tool.pixi-mirror]\n{settings}",
            encoding="utf-8",
        )

    def task(self, main: Callable[[list[str]], int], *options: str) -> int:
        """Run a task on the workspace that mirrors."""
        return main(["--manifest-path", str(self.own), *options])

    def artifacts(self) -> list[str]:
        """Name all artifacts of the channel folder."""
        found = (
            each.relative_to(self.channel).as_posix() for each in self.channel.rglob("*.conda")
        )
        return sorted(found)


def make_several(root: Path, upstream: Upstream) -> Several:
    """Make it, nothing fetched yet."""
    made = Several(root=root, upstream=upstream)
    own, served, both, alone, remote = made.rows(OWN, SERVICE, BOTH, ALONE, REMOTE)
    made.manifest("mirror", ["own"], f"locks = {LOCKS!r}\n".replace("URL", made.url))
    # What its own table says of a mirror is nothing to this one.
    made.manifest("service", ["served"], 'platforms = ["win-64"]\nno-such = 1\n')
    made.lock(made.own / "pixi.lock", own, both)
    made.lock(root / "service" / "pixi.lock", served, both)
    made.lock(root / "lone" / "team.lock", alone, platform="win-64")
    made.lock(upstream.folder / "git" / "pixi.lock", remote, platform="osx-arm64")
    return made


LOCKS = ["../service/pixi.lock", "../lone/*.lock", "URL"]
