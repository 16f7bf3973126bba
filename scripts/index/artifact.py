"""Read files of `info/` out of an artifact, and no more of it than that needs."""

from __future__ import annotations

import bz2
import contextlib
import json
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import IO, Any

from scripts.channel.archive import INDEX_JSON, LARGEST_INFO, UNREADABLE
from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.core.record import Record
from scripts.index.parse_record import BadRecordError, parse_record


def read_index_record(file: Path, subject: str) -> Record:
    """Return what the artifact says of itself, as a record without size and hashes.

    Raises a MirrorError of exit code 1 that names `subject` where it is no readable artifact.
    """
    try:
        row = _read_index_json(file)
        if isinstance(row, dict):  # tools of old wrote null for what is not there
            row = {key: value for key, value in row.items() if value is not None}
        return parse_record(row)
    except BadRecordError as error:
        trouble = f"its {INDEX_JSON} is damaged: {error}"
    except UNREADABLE as error:
        trouble = f"cannot read its {INDEX_JSON}: {error}"
    raise _damaged(subject, trouble)


def read_info_files(file: Path, subject: str, names: AbstractSet[str]) -> Mapping[str, bytes]:
    """Return the bytes of those of these files (`info/…`) that the artifact has.

    Raises a MirrorError of exit code 1 that names `subject` where it is no readable artifact.
    """
    try:
        return dict(_info_files(file, names))
    except UNREADABLE as error:
        raise _damaged(subject, f"cannot be read as an artifact: {error}") from None


def _damaged(subject: str, trouble: str) -> MirrorError:
    return MirrorError(
        Problem(subject=subject, trouble=trouble, code=ExitCode.NO, help="pixi run fetch")
    )


def _read_index_json(file: Path) -> Any:
    for _, data in _info_files(file, {INDEX_JSON}):
        return json.loads(data)
    raise ValueError("there is none")


def _info_files(file: Path, names: AbstractSet[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the wanted files by name, and stop when there are no more to find."""
    missing = set(names)
    with _open_info(file) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in missing and member.isfile() and member.size <= LARGEST_INFO:
                found = tar.extractfile(member)
                if found is not None:
                    yield name, found.read()
                    missing.discard(name)
            if not missing:
                return


@contextlib.contextmanager
def _open_info(file: Path) -> Iterator[IO[bytes]]:
    """Open the tar archive that holds `info/`: the whole of a .tar.bz2, a member of a .conda."""
    if file.name.endswith(".tar.bz2"):
        with bz2.open(file) as stream:
            yield stream
        return
    import zstandard

    with zipfile.ZipFile(file) as archive:
        name = next((each for each in archive.namelist() if each.startswith("info-")), None)
        if name is None:
            raise ValueError("not a .conda artifact")
        try:
            with (
                archive.open(name) as packed,
                zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            ):
                yield stream
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None
