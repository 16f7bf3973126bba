"""A workspace whose lock names one artifact, for what becomes of one that does not come."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks import fetch
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.packages import TinyPackage, WrittenPackage
from tests.support.upstream import Upstream


class Lone:
    """A workspace whose lock names one artifact."""

    def __init__(
        self, root: Path, written: WrittenPackage, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.root, self.written, self._capsys = root, written, capsys
        (root / ".pixi").mkdir(parents=True)
        self.manifest("")

    def manifest(self, more: str) -> None:
        """Write the manifest."""
        text = '[workspace]\nname = "w"\nchannels = []\nplatforms = ["linux-64"]\n'
        (self.root / "pixi.toml").write_text(text + more, encoding="utf-8")

    def configure(self, text: str) -> None:
        """Write pixi's configuration."""
        (self.root / ".pixi" / "config.toml").write_text(text, encoding="utf-8")

    def fetch(self, channel: str, url: str | None = None) -> tuple[int, str]:
        """Fetch the artifact of a channel; return the exit code and what was said of a failure."""
        row = LockRow(written=self.written, channel=channel, url=url)
        platform = PlatformRows(name="linux-64", rows=(row,))
        write_lock(self.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
        self._capsys.readouterr()
        code = fetch.main(["--manifest-path", str(self.root)])
        lines = self._capsys.readouterr().err.partition("free\n")[2].splitlines(keepends=True)
        return code, "".join(line for line in lines if not line.startswith("fetch: opening "))


@pytest.fixture
def lone(tmp_path: Path, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> Lone:
    written = TinyPackage(name="one").write(upstream.folder / "ch")
    return Lone(tmp_path / "w", written, capsys)
