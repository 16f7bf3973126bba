"""Write a bundle: what brings a channel elsewhere to the newest snapshot of this one.

Each file is read once, hashed as it is copied, and refused where it is not what the snapshot says.
Without `bundle.json`, which is written last, a folder is no bundle. Killed at any moment, the next
run keeps the files that are whole: it compares them with what it would write.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from stat import S_ISREG
from typing import IO, Final

from scripts.channel.digest_cache import Damage, DigestCache, note_damage
from scripts.channel.folders import free_bytes
from scripts.channel.inventory import files_below
from scripts.channel.state import read_state
from scripts.core.channel_paths import ChannelPaths, channel_paths
from scripts.core.child_process import program_error
from scripts.core.console import Console
from scripts.core.errors import (
    Problem,
    finding_problem,
    raise_problems,
    usage_error,
)
from scripts.core.files import (
    CHUNK,
    exists,
    filename_in_errors,
    fsync_file,
    holds,
    write_atomically,
)
from scripts.core.report import Json, Report, counted, human_size, listed, named
from scripts.core.scratch import clear_scratch, is_scratch
from scripts.fetch.progress import progress
from scripts.index.file_classes import is_artifact_path
from scripts.keep import unbundle
from scripts.keep.bundle_plan import (
    BundlePlan,
    LargeFile,
    plan_bundle,
    render_document,
    render_sums,
)
from scripts.keep.bundle_sources import read_lock_files
from scripts.keep.published import moved_problems
from scripts.keep.snapshots import (
    Snapshot,
    SnapshotFile,
    newest_snapshot,
    proven_text,
    read_snapshot_files,
)
from scripts.keep.unbundle import BUNDLE, NAMESPACE, SIGNATURE, SUMS, check_name, find_clash

_THREADS: Final = 8
_FAT32: Final = (1 << 32) - 1  # bytes of the largest file
_MEND: Final = (
    "pixi run mirror, which mends it; where the channel came out of a bundle, unbundle a --full one"
)
_Advance = Callable[[int, int], None]  # by so many files, and bytes
_Wrong = dict[SnapshotFile, Damage | None]  # None: it is missing


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """Make the error of exit code 2 where the disk refuses; what is whole is kept."""
    try:
        yield
    except OSError as error:
        help_ = "see to it, then run this again: what is whole is kept"
        if error.errno == errno.EFBIG:
            help_ = "use a disk with exFAT or NTFS, or volumes: --tar --volume-size 4GB"
        message = f"cannot be read or written: {error.strerror}"
        raise usage_error(str(error.filename or "a disk"), message, help=help_) from None


@_disk_errors()
def bundle(
    place: ChannelPaths,
    console: Console,
    *,
    out: Path,
    base: Snapshot | None,
    is_tar: bool = False,
    volume_size: int | None = None,
    with_locks: bool = False,
    key: Path | None = None,
    dry_run: bool = False,
) -> Report:
    """Write to `out` what takes a channel from `base` to the newest snapshot of this one.

    `base` None: all of it. `volume_size` in bytes; None: one volume. `key`: what to sign with.
    Raises the error of exit code 1 where the channel is not what its snapshot says, of 2 where
    `out` cannot take it or a lock holds a secret, of 4 where ssh-keygen is missing or fails.
    """
    if (target := newest_snapshot(place)) is None:
        message = "has no snapshot, which a bundle is made of"
        raise usage_error(str(place.folder), message, help="pixi run mirror")
    files = read_snapshot_files(place, target)
    _refuse_names(files)
    raise_problems(moved_problems(place, target, files, console))
    if base is not None and base.content_digest == target.content_digest:
        line = f"bundle: nothing to carry: the base is what is published now ({target.id})"
        return Report(lines=(line,), data=_to_json(out, target, base, is_tar=is_tar))
    program = {"unbundle.py": Path(unbundle.__file__).read_bytes()}
    plan = plan_bundle(
        target,
        files,
        base,
        () if base is None else read_snapshot_files(place, base),
        is_tar=is_tar,
        volume_size=volume_size,
        other_files=program | (read_lock_files(place, target) if with_locks else {}),
        is_signed=key is not None,
    )
    sizes = write_bundle(plan, place.folder, out, console, key=key, dry_run=dry_run)
    carried = f"{counted(len(plan.carried), 'file')}, {human_size(plan.carried_bytes)}"
    whom = "all of it" if base is None else f"for channels at {base.id}"
    takes = f"{'would take' if dry_run else 'takes'} {sum(sizes)} bytes"
    return Report(
        lines=(
            f"bundle: {target.id}, {whom}: {carried}; {len(plan.removed)} removed",
            f"bundle: {'proven: ' if target.proven else ''}{proven_text(target)}",
            f"bundle: {out} {takes} in {counted(len(sizes), 'file')}",
        ),
        data=_to_json(out, target, base, plan, sizes, is_tar=is_tar),
    )


def _to_json(
    out: Path,
    target: Snapshot,
    base: Snapshot | None,
    plan: BundlePlan | None = None,
    sizes: tuple[int, ...] = (),
    *,
    is_tar: bool,
) -> dict[str, Json]:
    """Tell what was written; `plan` None: nothing, since the base is the target."""
    large_files = () if plan is None else plan.large_files
    return {
        "out": str(out),
        "target": target.id,
        "base": None if base is None else base.id,
        "content-digest": target.content_digest,
        "carried": {
            "files": 0 if plan is None else len(plan.carried),
            "bytes": 0 if plan is None else plan.carried_bytes,
        },
        "removed": 0 if plan is None else len(plan.removed),
        "bytes": sum(sizes),
        "files": len(sizes),
        "volumes": [each.path for each in large_files] if is_tar else None,
    }


@_disk_errors()
def write_bundle(
    plan: BundlePlan,
    folder: Path,
    out: Path,
    console: Console,
    *,
    key: Path | None = None,
    dry_run: bool = False,
) -> tuple[int, ...]:
    """Write what is planned, from a channel folder; return the sizes of all files of `out`."""
    small = _render_small_files(plan, key)  # that it can be signed is known before
    expected = {path: len(data) for path, data in small.items()}
    expected |= {each.path: each.size for each in plan.large_files}
    _refuse_out(folder, out, expected, small[BUNDLE])
    too_large = [path for path, size in expected.items() if size > _FAT32]
    if too_large:
        after = ", more than the 4 GiB that FAT32 can hold: exFAT, NTFS or --volume-size 4GB do"
        console.warn(named("larger files:", "file", too_large, after))
    if dry_run:
        return tuple(expected.values())
    out.mkdir(parents=True, exist_ok=True)
    clear_scratch(out)
    written = _write_large_files(plan, folder, out, console)
    if plan.is_tar:  # the sha256 of the volumes are known by now
        small = _render_small_files(replace(plan, large_files=written), key)
    for path, data in small.items():
        if not holds(out / path, data):
            write_atomically(out / path, data)
    return tuple(expected.values())


def _render_small_files(plan: BundlePlan, key: Path | None) -> dict[str, bytes]:
    """Return all that does not come out of the channel, by path, `bundle.json` last."""
    document = render_document(plan)
    signature = {} if key is None else {SIGNATURE: sign(key, document)}
    sums = render_sums(plan, document)
    return {**plan.small_files, SUMS: sums, **signature, BUNDLE: document}


def _refuse_names(files: Iterable[SnapshotFile]) -> None:
    """Refuse (exit 2) names that the far side would refuse: not every disk keeps them."""
    names = [str(each.path) for each in files]
    try:
        deque(map(check_name, names), maxlen=0)
        if (clash := find_clash(names)) is None:
            return
        reason = f"{' and '.join(clash)} are one file to some disks"
    except ValueError as error:
        reason = str(error)
    help_ = "mirror another build of it, then pixi run prune, then run this again"
    message = "it has a name that cannot be carried to every disk, and a bundle is for any"
    raise usage_error("the channel", message, ("reason", reason), help=help_)


def sign(key: Path, document: bytes) -> bytes:
    """Return the signature of a `bundle.json`; raises the error of exit code 4."""
    program = shutil.which("ssh-keygen")
    if program is None:
        message, help_ = "is not on PATH, and a bundle is signed by it", "install OpenSSH 8.1"
        raise program_error("ssh-keygen", message, help=help_)
    # In our own process group: it may ask for a passphrase on the terminal.
    command = [program, "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE]
    done = subprocess.run(command, input=document, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").splitlines()[-3:]
        message = f"ssh-keygen could not sign with it (exit code {done.returncode})"
        details = (("ssh-keygen", line) for line in said)
        help_ = "ssh-keygen -t ed25519 -f KEY makes one; ssh-add KEY asks for its passphrase"
        raise program_error(str(key), message, b"", *details, help=help_)
    return done.stdout


def _refuse_out(folder: Path, out: Path, expected: Mapping[str, int], document: bytes) -> None:
    """Refuse (exit 2) a place that cannot take the bundle, or has something else."""
    inside = out.resolve()
    if folder.resolve() in {inside, *inside.parents}:
        message = "is in the channel folder, where a bundle would be served as part of it"
        raise usage_error(str(out), message, help="name a folder outside of it, or a disk")
    if exists(out) and not out.is_dir():
        raise usage_error(str(out), "is a file, and a bundle is a folder", help="name a new folder")
    found = {str(x): y for x, y in files_below(out) if not is_scratch(x.name)}
    there = {path: y.st_size for path, y in found.items() if S_ISREG(y.st_mode)}
    odd = [path for path in found if path not in expected or path not in there]
    odd += (path for path in expected if path not in found and os.path.lexists(out / path))
    if BUNDLE in there:  # format, base and target are on a line each
        one, other = (x.splitlines()[:4] for x in ((out / BUNDLE).read_bytes(), document))
        odd += [] if one == other else [f"{BUNDLE} of another bundle"]
    if odd:
        message = "has something else in it, and a bundle must hold nothing but its own files"
        help_ = "name a new folder, or remove this one"
        raise usage_error(str(out), message, ("found", listed(odd, 1, "")), help=help_)
    needed = sum(size - min(size, there.get(path, 0)) for path, size in expected.items())
    free = free_bytes(inside)
    if needed > free:
        details = (("needed", human_size(needed)), ("free", human_size(free)))
        help_ = "free some room, or name a folder on a larger disk"
        raise usage_error(str(out), "not enough room on this disk", *details, help=help_)


def _write_large_files(
    plan: BundlePlan, folder: Path, out: Path, console: Console
) -> tuple[LargeFile, ...]:
    """Write what comes out of the channel, durably; return it with the sha256 of each volume."""
    written, wrong, done, size = list[LargeFile](), _Wrong(), 0, 0
    with progress(console, len(plan.carried), plan.carried_bytes, task="bundle") as show:

        def advance(files: int, more: int) -> None:
            nonlocal done, size
            done, size = done + files, size + more
            show(done, size, (), 0)

        for each in plan.large_files:
            sha256, found = _write_large_file(plan, each, folder, out, advance)
            written.append(replace(each, sha256=sha256) if plan.is_tar else each)
            wrong |= found
    _refuse_wrong(folder, wrong)
    with ThreadPoolExecutor(_THREADS) as pool:  # alone, each would wait for a flush of its own
        deque(pool.map(fsync_file, (out / each.path for each in written)), maxlen=0)
    return tuple(written)


def _write_large_file(
    plan: BundlePlan, large: LargeFile, folder: Path, out: Path, advance: _Advance
) -> tuple[str, _Wrong]:
    """Write a file unless it is there; return its sha256 and what is wrong with what is in it.

    Of one that would be wrong nothing is left.
    """
    file, digest, wrong = out / large.path, hashlib.sha256(), _Wrong()
    if file.exists() and file.stat().st_size == large.size:
        chunks = _read(plan, large, folder, wrong, lambda *_: None)
        chunks = _hashed(chunks, digest.update) if plan.is_tar else chunks
        with filename_in_errors(file), file.open("rb") as there:
            if all(there.read(len(data)) == data for data in chunks):
                advance(len(large.files), sum(each.size for each in large.files))
                return digest.hexdigest(), wrong
        digest, wrong = hashlib.sha256(), {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # to write into it would write into all its other links
    chunks = _read(plan, large, folder, wrong, advance)
    chunks = _hashed(chunks, digest.update) if plan.is_tar else chunks
    with filename_in_errors(file), file.open("xb") as opened:
        for data in chunks:
            opened.write(data)
    if wrong:
        file.unlink()
    return digest.hexdigest(), wrong


def _hashed(chunks: Iterable[bytes], update: Callable[[bytes], object]) -> Iterator[bytes]:
    """Hand on the bytes of a volume, and hash them meanwhile in a thread of its own.

    Each file in it is hashed, too: one after the other would take twice as long.
    """
    with ThreadPoolExecutor(1) as hashing:
        for data in chunks:
            hashed = hashing.submit(update, data)
            yield data
            hashed.result()


def _read(
    plan: BundlePlan, large: LargeFile, folder: Path, wrong: _Wrong, advance: _Advance
) -> Iterator[bytes]:
    """Yield the bytes of a large file, and gather what is wrong with them."""
    for expected in large.files:
        before, behind = plan.around(expected)
        digest, path = hashlib.sha256(), folder / expected.path
        yield before
        try:
            source: IO[bytes] = path.open("rb", buffering=0)
        except FileNotFoundError:
            wrong[expected] = None
            advance(1, 0)
            continue
        with source, filename_in_errors(path):
            status = os.fstat(source.fileno())
            while data := source.read(CHUNK):
                digest.update(data)
                yield data
                advance(0, len(data))
        if digest.hexdigest() != expected.sha256:
            wrong[expected] = Damage(expected.path, "sha256", digest.hexdigest(), status)
        yield behind
        advance(1, 0)
    yield plan.end


def _refuse_wrong(folder: Path, wrong: _Wrong) -> None:
    """Raise the error of exit code 1 for what is wrong; later runs know what is damaged.

    It says what brings a file back; nobody has what no lock names any more.
    """
    if not wrong:
        return
    digests = DigestCache(channel_paths(folder).digests)
    for each in filter(None, wrong.values()):
        note_damage(digests, each)
    workspaces, problems = read_state(channel_paths(folder)).workspaces, list[Problem]()
    named = {artifact.path for each in workspaces for artifact in each.artifacts}
    for expected, damage in wrong.items():
        path, help_ = expected.path, _MEND
        if workspaces and path not in named and is_artifact_path(path):
            drop = f"`pixi run prune --drop {path}`, as no lock names it"
            help_ = f"{drop}; where the channel came out of a bundle, unbundle a --full one"
        message, details = "is missing, and its snapshot has it", tuple[tuple[str, str], ...]()
        if damage is not None:
            message = "sha256 differs from its snapshot: it is not carried"
            details = (("expected", expected.sha256), ("actual", damage.digest))
        problems.append(finding_problem(path, message, *details, help=help_))
    raise_problems(problems)
