"""What earlier runs of `mirror` proved, so that the next one proves only what has changed.

A proof is known by a digest of all that it depends on, files of this tool among it: whatever has
changed, it is another proof. Losing them costs time alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import platform
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final, Self, TypeVar

from scripts.channel.digest_cache import Fingerprint, boot_id
from scripts.core.artifact import Artifact
from scripts.core.files import hash_file, keep_json, read_json
from scripts.core.record import Record
from scripts.core.report import Json
from scripts.index.file_classes import readable_records
from scripts.verify.findings import (
    EnvironmentPlatform,
    Level,
    LevelResult,
    UsageIndex,
)

_Subject = TypeVar("_Subject")
SCRIPTS: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """That something was right."""

    when: datetime
    warning: str | None = None
    """What a consumer has to do beside the documented command."""


def _sha256(file: Path) -> str | None:
    with contextlib.suppress(OSError):
        return hash_file(file, "sha256")
    return None


class Proofs:
    """The proofs of one mirror, by their keys. Not for use from several processes at once."""

    def __init__(self, file: Path | None = None, max_age: timedelta = timedelta()) -> None:
        """Read them, but for those older than `max_age`; `file` None: none is known nor kept."""
        self._file = file
        self._now = datetime.now(UTC)
        self._known: dict[str, Proof] = {}
        self._rows, self._sha256 = functools.cache(readable_records), functools.cache(_sha256)
        if file is None:
            return
        self._tool = _tool_digest()
        # Damaged, or not to be had: then nothing is known.
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            document = read_json(file)
            rows = document["proofs"].items() if document["tool"] == self._tool else ()
            for key, (text, warning) in rows:
                when = datetime.fromisoformat(text)
                if timedelta() <= self._now - when < max_age:
                    self._known[key] = Proof(when=when, warning=warning)

    def __bool__(self) -> bool:
        """Tell whether anything is known."""
        return bool(self._known)

    def key(self, level: Level, dependencies: Iterable[object]) -> str | None:
        """Make the key of a proof of a level; what it depends on is known by its `repr`.

        Where none is kept there is no key, and nothing is asked of the dependencies.
        """
        if self._file is None:
            return None
        text = repr((level.value, tuple(dependencies)))
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()

    def get(self, key: str | None) -> Proof | None:
        """Return a proof, where it is known."""
        return None if key is None else self._known.get(key)

    def find(self, keys: Mapping[_Subject, str | None]) -> dict[_Subject, Proof]:
        """Return the proofs that are known of these keys."""
        return {each: proof for each, key in keys.items() if (proof := self.get(key))}

    def add(self, key: str | None, warning: str | None = None) -> None:
        """Add what has just been proven; None: it has no key."""
        if key is not None:
            self._known[key] = Proof(when=self._now, warning=warning)

    def __enter__(self) -> Self:
        """Begin a block after which they are written down for the next run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write them down, however the block ends."""
        if self._file is None:
            return
        proofs = {key: (each.when.isoformat(), each.warning) for key, each in self._known.items()}
        keep_json(self._file, {"tool": self._tool, "proofs": proofs})

    def prove_places(
        self,
        keys: Mapping[EnvironmentPlatform, str | None],
        right: Mapping[str, Json],
        check: Callable[[Collection[EnvironmentPlatform]], LevelResult],
    ) -> LevelResult:
        """Have `check` prove the places that no earlier run has.

        It has a row of each; `right` is that where nothing is wrong or open.
        """
        proven = self.find(keys)
        result = check([place for place in keys if place not in proven])
        for place, row in result.rows.items():
            if row == right:
                self.add(keys[place])
        dates = {place: each.when for place, each in proven.items()}
        return replace(result, proven=dates, rows={**dict.fromkeys(keys, right), **result.rows})

    def artifact_keys(
        self, level: Level, folder: Path, artifacts: Iterable[Artifact]
    ) -> dict[PurePosixPath, str | None]:
        """Make the keys of the proofs of artifacts that are there, as they lie on the disk now.

        A power cut may leave a file of the right size and time full of zeros: after it, they are
        read anew; then what is as it was installs as it did.
        """
        keys, boot = dict[PurePosixPath, str | None](), level is not Level.INSTALL and boot_id()
        for each in artifacts if self._file is not None else ():
            with contextlib.suppress(OSError):
                status = (folder / each.path).lstat()
                identity = (each.path, each.digest, each.size, each.distribution)
                here = (Fingerprint.of(status), status.st_mode, boot)
                told = (*identity, each.name, each.version, *here)
                keys[each.path] = self.key(level, told)
        return keys

    def row(self, folder: Path, path: PurePosixPath) -> Record | None:
        """Return the row that the present repodata.json has of an artifact."""
        return self._rows(folder, path.parent).get(path)

    def digests(
        self, folder: Path, files: Iterable[PurePosixPath]
    ) -> tuple[tuple[PurePosixPath, str | None], ...]:
        """Return the sha256 of files of the channel, None of one that cannot be read."""
        return tuple((each, self._sha256(folder / each)) for each in sorted(files))


NO_PROOFS: Final = Proofs()
"""Nothing is believed, and nothing kept."""


def oldest_by_place(
    proven: Mapping[PurePosixPath, Proof], uses: UsageIndex
) -> dict[EnvironmentPlatform, datetime]:
    """Return, for each place that uses some of these artifacts, when the oldest was proven."""
    found: dict[EnvironmentPlatform, datetime] = {}
    for path, proof in proven.items():
        for place in uses.places(path):
            found[place] = min(proof.when, found.get(place, proof.when))
    return found


def _tool_digest() -> str:
    """Digest what proves: files of this tool, rattler and Python."""
    digest = hashlib.sha256(f"{version('py-rattler')} {platform.python_version()}".encode())
    for file in sorted(SCRIPTS.rglob("*.py")):
        digest.update(file.relative_to(SCRIPTS).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
