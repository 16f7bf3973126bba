"""Read `info/index.json` out of an artifact, and no more of it than that needs. Acts."""

from __future__ import annotations

import bz2
import contextlib
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from scripts.core.errors import ExitCode, MirrorError, Problem
from scripts.index.parse_record import BadRecordError, parse_record
from scripts.index.records import Record

_WANTED: Final = "info/index.json"
_LARGEST: Final = 16 << 20  # bytes of an index.json; real ones have a few thousand
# All that these libraries raise for bytes that are not what they should be (RuntimeError: zip
# features such as encryption that no artifact has).
_UNREADABLE: Final = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_index_record(file: Path, subject: str) -> Record:
    """Return what the artifact says of itself, as a record without size and hashes.

    Raises a MirrorError of exit code 1 that names `subject` where it is no readable artifact.
    """
    try:
        return parse_record(_read_index_json(file))
    except BadRecordError as error:
        trouble = f"its {_WANTED} is damaged: {error}"
    except _UNREADABLE as error:
        trouble = f"cannot read its {_WANTED}: {error}"
    raise MirrorError(
        Problem(subject=subject, trouble=trouble, code=ExitCode.NO, help="pixi run fetch")
    )


def _read_index_json(file: Path) -> Any:
    with _open_info(file) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if member.name.removeprefix("./") == _WANTED and member.isfile():
                found = tar.extractfile(member)
                if found is None or member.size > _LARGEST:
                    break
                return json.loads(found.read())
    raise ValueError("there is none")


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
