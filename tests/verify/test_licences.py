"""The licences of PyPI packages, as their own files tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.report import human_size
from scripts.verify.licences import parse_license, read_license
from tasks import verify
from tests.support.locks import EnvironmentRows, LockRow, PlatformRows, write_lock
from tests.support.mirrors import make_mirror
from tests.support.packages import TinyPackage
from tests.support.wheels import PypiRow, TinySdist, TinyWheel

HEAD = "Metadata-Version: 2.1\nName: x\nVersion: 1\n"
MIT = "Classifier: License :: OSI Approved :: MIT License\n"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("", None),
        ("License: UNKNOWN\n", None),
        ("License-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
        ("License-Expression: MIT\nLicense: Apache\n" + MIT, "MIT"),
        ("License: BSD-3-Clause\n" + MIT, "BSD-3-Clause"),
        (MIT, "MIT License"),
        ("License: UNKNOWN\n" + MIT, "MIT License"),
        (
            MIT + "Classifier: License :: Other/Proprietary License\n" + MIT,
            "MIT License, Other/Proprietary License",
        ),
        ("Classifier: Programming Language :: Python\n", None),
        # The whole text of a licence: a classifier names it, else its first line.
        ("License: Copyright me\n        All rights reserved.\n" + MIT, "MIT License"),
        ("License: Copyright me\n        All rights reserved.\n", "Copyright me"),
        (f"License: {'long ' * 40}\n", f"{'long ' * 11}long…"),
        # What is below the headers says nothing, and need not be what they say.
        ("License: Größe\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nx\n", "Größe"),
    ],
)
def test_what_metadata_says(fields: str, expected: str | None) -> None:
    assert parse_license((HEAD + fields).encode()) == expected


def test_of_a_wheel_an_sdist_and_of_what_is_none(tmp_path: Path) -> None:
    wheel = TinyWheel(name="w", license="MIT").write(tmp_path)
    sdist = TinySdist(name="s", license="0BSD").write(tmp_path)
    silent = TinyWheel(name="v").write(tmp_path)
    files = (wheel.path, sdist.path, silent.path, tmp_path / "missing.whl")
    assert [read_license(each) for each in files] == ["MIT", "0BSD", None, None]
    wheel.path.write_bytes(b"no wheel")
    assert read_license(wheel.path) is None


def test_the_transfer_report_lists_them(tmp_path: Path) -> None:
    mirror = make_mirror(tmp_path / "workspace")
    lib = TinyPackage(name="lib").write(mirror.folder)
    index = "https://me:secret@pypi.example.org/simple"
    rows = tuple(
        PypiRow(written=each.write(tmp_path / "upstream"), index=index)
        for each in (TinyWheel(name="w", license="MIT"), TinySdist(name="s"))
    )
    platform = PlatformRows(
        name="linux-64", rows=(LockRow(written=lib, channel="https://example.org/chan"), *rows)
    )
    write_lock(mirror.root / "pixi.lock", (EnvironmentRows(platforms=(platform,)),))
    paths = []
    for row in rows:
        paths.append("_pypi/files/" + row.file_url.partition("://")[2])
        (mirror.folder / paths[-1]).parent.mkdir(parents=True)
        (mirror.folder / paths[-1]).write_bytes(row.written.path.read_bytes())
    mirror.index()
    target = tmp_path / "report.md"
    options = ("--level", "files", "--report", str(target))
    assert verify.main(["--manifest-path", str(mirror.root), "-q", *options]) == 0
    text = target.read_text(encoding="utf-8")
    size = human_size(lib.size + sum(row.written.size for row in rows))
    assert "| package indexes | https://pypi.example.org/simple |\n" in text
    assert f"| artifacts | 3 artifacts, {size} |\n" in text
    assert f"| default | linux-64 | 3 artifacts, {size} | " in text
    assert "Licences: BSD-3-Clause (1), MIT (1), not said (1).\n" in text
    for path, row, said in zip(paths, rows, ("MIT", "not said"), strict=True):
        assert f"| \\{path} | {row.written.size} | {row.written.sha256} | {said} |\n" in text
    assert "secret" not in text
