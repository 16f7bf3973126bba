r"""Tiny real conda artifacts, byte for byte the same on every machine.

    written = TinyPackage(name="hello", files=(("bin/hello", b"#!/bin/sh\n"),)).write(folder)

They install with rattler, pixi and conda.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

from tests.support import archives
from tests.support.archives import Member

# A file that holds this has it replaced by the prefix on install, as conda-build's packages do.
PREFIX: Final = "/opt/anaconda1anaconda2anaconda3/envs/placeholder"

RunExports = tuple[tuple[str, tuple[str, ...]], ...]

_ARCH: Final = {"64": "x86_64", "aarch64": "aarch64", "arm64": "arm64", "ppc64le": "ppc64le"}


@dataclass(frozen=True, kw_only=True)
class TinyPackage:
    """A package to be written.

    `files` are (path, bytes) pairs; those under `bin/` and `Scripts/` are executable. None of
    them: one small text file named after the package. `noarch` None: `generic` in subdir
    `noarch`, else none. `entry_points` are those of a noarch python package. `timestamp` is in
    milliseconds. `padding` bytes of noise, always the same, are added as one more file.
    `license_file` and `purls` are what real ones have, too. `index` replaces or adds fields of
    `info/index.json`; None takes one away.
    """

    name: str
    version: str = "1.0"
    build: str = "0"
    build_number: int = 0
    subdir: str = "noarch"
    extension: Literal[".conda", ".tar.bz2"] = ".conda"
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: Literal["generic", "python"] | None = None
    timestamp: int | None = 1_700_000_000_000
    license: str | None = "BSD-3-Clause"
    license_family: str | None = None
    files: tuple[tuple[str, bytes], ...] | None = None
    entry_points: tuple[str, ...] = ()
    purls: tuple[str, ...] | None = None
    track_features: tuple[str, ...] = ()
    run_exports: RunExports = ()
    padding: int = 0
    index: tuple[tuple[str, Any], ...] = ()

    @property
    def distribution(self) -> str:
        """The file name without its extension."""
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def file_name(self) -> str:
        """The artifact's file name."""
        return self.distribution + self.extension

    @property
    def noarch_kind(self) -> str | None:
        """The noarch kind, that of subdir `noarch` included."""
        return self.noarch or ("generic" if self.subdir == "noarch" else None)

    @property
    def payload(self) -> tuple[tuple[str, bytes], ...]:
        """The files it installs, as paths in the archive."""
        files = self.files
        if files is None:
            files = ((f"share/{self.name}.txt", f"{self.distribution}\n".encode()),)
        if not self.padding:
            return files
        noise = hashlib.shake_256(self.file_name.encode()).digest(self.padding)
        return (*files, (f"share/{self.name}.bin", noise))

    @cached_property
    def data(self) -> bytes:
        """The bytes of the artifact."""
        payload = tuple(
            Member(path, data, 0o755 if path.startswith(("bin/", "Scripts/")) else 0o644)
            for path, data in self.payload
        )
        if self.extension == ".conda":
            return archives.conda(self.distribution, self._info(), payload)
        return archives.tar_bz2(self._info(), payload)

    def write(self, channel: Path) -> WrittenPackage:
        """Write the artifact into `<channel>/<subdir>/`, replacing what is there."""
        path = channel / self.subdir / self.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return WrittenPackage(
            path=path,
            sha256=hashlib.sha256(self.data).hexdigest(),
            md5=hashlib.md5(self.data, usedforsecurity=False).hexdigest(),
            size=len(self.data),
            package=self,
        )

    def index_json(self) -> dict[str, Any]:
        """Build `info/index.json`, keys sorted, as conda-build writes it."""
        fields: dict[str, Any] = {
            "build": self.build,
            "build_number": self.build_number,
            "constrains": list(self.constrains) or None,
            "depends": list(self.depends),
            "license": self.license,
            "license_family": self.license_family,
            "name": self.name,
            "noarch": self.noarch_kind,
            "subdir": self.subdir,
            "timestamp": self.timestamp,
            "track_features": " ".join(self.track_features) or None,
            "version": self.version,
        }
        if self.subdir != "noarch":
            system, _, machine = self.subdir.partition("-")
            fields |= {"arch": _ARCH.get(machine), "platform": system}
        fields |= dict(self.index)
        return {key: fields[key] for key in sorted(fields) if fields[key] is not None}

    def _info(self) -> tuple[Member, ...]:
        """Build the members under `info/`."""
        documents: dict[str, Any] = {
            "about": {"license": self.license, "summary": f"{self.name}, for tests"},
            "index": self.index_json(),
            "paths": {
                "paths": [_path_entry(path, data) for path, data in self.payload],
                "paths_version": 1,
            },
        }
        if self.noarch_kind is not None:
            noarch: dict[str, Any] = {"type": self.noarch_kind}
            if self.noarch_kind == "python":
                noarch["entry_points"] = list(self.entry_points)
            documents["link"] = {"noarch": noarch, "package_metadata_version": 1}
        if self.run_exports:
            documents["run_exports"] = {kind: list(specs) for kind, specs in self.run_exports}
        members = [
            Member(f"info/{name}.json", (json.dumps(documents[name], indent=1) + "\n").encode())
            for name in sorted(documents)
        ]
        names = "".join(f"{path}\n" for path, _ in self.payload)
        return (*members, Member("info/files", names.encode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPackage:
    """An artifact on disk, with the digests (hex) and the size (bytes) a lock gives for it."""

    path: Path
    sha256: str
    md5: str
    size: int
    package: TinyPackage


def _path_entry(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "_path": path,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if PREFIX.encode() in data:
        entry |= {"file_mode": "text", "prefix_placeholder": PREFIX}
    return entry
