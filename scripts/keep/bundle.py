"""Write a bundle: what brings a channel elsewhere to the newest snapshot of this one.

Each file is read once, hashed as it is copied, and refused where it is not what the snapshot says.
Without `bundle.json`, which is written last, a folder is no bundle. Killed at any moment, the next
run keeps the files that are whole, which it knows by their sha256.
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
from pathlib import Path
from typing import Final

from scripts.channel.folders import free_bytes
from scripts.channel.inventory import files_below
from scripts.channel.state import read_state
from scripts.core.channel_paths import ChannelPaths
from scripts.core.console import Console
from scripts.core.errors import (
    ExitCode,
    MirrorError,
    Problem,
    finding_problem,
    usage_error,
    usage_problem,
)
from scripts.core.files import CHUNK, fsync, hash_file, naming, replace, write_atomically
from scripts.core.report import Report, counted, human_size, named
from scripts.core.scratch import clear_scratch, is_scratch, open_scratch_file
from scripts.fetch.progress import Show, progress
from scripts.keep import unbundle
from scripts.keep.bundle_plan import (
    BundlePlan,
    SmallFile,
    Volume,
    header_in_volume,
    path_in_bundle,
    plan_bundle,
    render_document,
    render_sums,
)
from scripts.keep.bundle_sources import read_bundled_locks
from scripts.keep.snapshots import Snapshot, SnapshotFile, newest_snapshot, read_snapshot_files
from scripts.keep.unbundle import (
    BUNDLE,
    NAMESPACE,
    SIGNATURE,
    SUMS,
    TAR_END,
    check_name,
    find_clash,
    padding,
)

_AT_ONCE: Final = 8
_FAT32: Final = (1 << 32) - 1  # bytes of the largest file


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
    target = newest_snapshot(place)
    if target is None:
        raise usage_error(
            str(place.folder), "has no snapshot, which a bundle is made of", help="pixi run index"
        )
    if base is not None and base.content_digest == target.content_digest:
        line = f"bundle: nothing to carry: the base is what is published now ({target.id})"
        return Report(lines=(line,), data={"target": target.id, "base": base.id, "bytes": 0})
    files = read_snapshot_files(place, target)
    _refuse_unfit(files)
    _refuse_moved(place, target, files, console)
    plan = plan_bundle(
        target,
        files,
        base,
        () if base is None else read_snapshot_files(place, base),
        volume_size=volume_size,
        is_tar=is_tar,
        locks=read_bundled_locks(place, target, with_files=with_locks),
        program=Path(unbundle.__file__).read_bytes(),
        is_signed=key is not None,
    )
    if key is not None:
        _refuse_key(key)
    size = write_bundle(plan, place.folder, out, console, key=key, dry_run=dry_run)
    return _report(plan, out, size, dry_run=dry_run)


def write_bundle(
    plan: BundlePlan,
    folder: Path,
    out: Path,
    console: Console,
    *,
    key: Path | None = None,
    dry_run: bool = False,
) -> int:
    """Write what is planned, from a channel folder, and return the bytes that `out` then has."""
    document = render_document(plan)
    sums = render_sums(plan, document)
    expected = {
        **plan.large_files,
        **{each.path: len(each.data) for each in plan.small_files},
        SUMS: len(sums),
        BUNDLE: len(document),
    }
    if key is not None:
        expected[SIGNATURE] = len(sign(key, document)) if dry_run else 0
    _refuse_out(plan, folder, out, expected)
    _tell_large(expected, console)
    if dry_run:
        return sum(expected.values())
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        clear_scratch(out)
        volumes = None
        with progress(console, len(plan.carried), plan.carried_bytes, task="bundle") as show:
            if plan.volumes is None:
                _copy_files(plan, folder, out, show)
            else:
                volumes = _write_volumes(plan, plan.volumes, folder, out, show)
        document = render_document(plan, volumes)
        sums = render_sums(plan, document, volumes)
        for each in (*plan.small_files, SmallFile(path=SUMS, data=sums)):
            _write_small(out, each)
        if key is not None:
            signature = SmallFile(path=SIGNATURE, data=sign(key, document))
            expected[SIGNATURE] = len(signature.data)
            _write_small(out, signature)
        if plan.volumes is None:
            _make_durable(out / each for each in plan.large_files)
        _write_small(out, SmallFile(path=BUNDLE, data=document))
    return sum(expected.values())


def _refuse_unfit(files: Iterable[SnapshotFile]) -> None:
    """Refuse (exit 2) names that the far side would refuse: not every disk keeps them."""
    paths = [str(each.path) for each in files]
    problems = []
    for path in paths:
        try:
            check_name(path)
        except ValueError as error:
            message = "cannot be carried to every disk, and a bundle is for any"
            problems.append(usage_problem(path, message, ("reason", str(error)), help=_UNFIT))
    clash = find_clash(paths)
    if clash is not None:
        message = "are one file to some disks, and a bundle is for any"
        problems.append(usage_problem(" and ".join(clash), message, help=_UNFIT))
    if problems:
        raise MirrorError(*problems)


_UNFIT: Final = "mirror another build of it, then pixi run prune, then run this again"


def _refuse_moved(
    place: ChannelPaths, target: Snapshot, files: tuple[SnapshotFile, ...], console: Console
) -> None:
    """Refuse (exit 1) a channel whose published index is not that of its newest snapshot."""
    from scripts.keep.published import read_published

    removals = read_state(place).removals
    published = read_published(place, target.layout, console, removals=removals)
    there = {each.path: each.sha256 for each in published}
    wanted = {each.path: each.sha256 for each in files}
    odd = sorted(
        path for path in there.keys() | wanted.keys() if there.get(path) != wanted.get(path)
    )
    if odd:
        raise MirrorError(
            finding_problem(
                place.folder,
                "is no longer what its newest snapshot says: a run was stopped, or somebody else"
                " has changed it",
                ("snapshot", target.id),
                ("differs", f"{odd[0]}" + (f" and {len(odd) - 1} more" if odd[1:] else "")),
                help="pixi run mirror, which leaves a snapshot of what is there; then run this"
                " again",
            )
        )


def _refuse_key(key: Path) -> None:
    """Refuse before anything is copied what could not be signed after it."""
    if not key.is_file():
        message = "is no file, and a bundle is to be signed with it"
        raise usage_error(str(key), message, help="ssh-keygen -t ed25519 -f KEY")
    _ssh_keygen()


def _ssh_keygen() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise MirrorError(
            Problem(
                subject="ssh-keygen",
                message="is not on PATH, and a bundle is signed by it",
                code=ExitCode.PROGRAM,
                help="install OpenSSH 8.1 or newer, or leave --sign out",
            )
        )
    return program


def sign(key: Path, document: bytes) -> bytes:
    """Return the signature of a `bundle.json`; raises the error of exit code 4."""
    # In our own process group: it may ask for a passphrase on the terminal.
    done = subprocess.run(
        [_ssh_keygen(), "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE],
        input=document,
        capture_output=True,
        check=False,
    )
    if done.returncode or not done.stdout:
        reason = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise MirrorError(
            Problem(
                subject=str(key),
                message="ssh-keygen could not sign with it",
                code=ExitCode.PROGRAM,
                details=tuple(("ssh-keygen", line) for line in reason.splitlines()[-3:]),
                help="ssh-add it, or give its passphrase on a terminal; then run this again: what"
                " is written is kept",
            )
        )
    return done.stdout


def _refuse_out(plan: BundlePlan, folder: Path, out: Path, expected: Mapping[str, int]) -> None:
    """Refuse (exit 2) a place that cannot take the bundle, or has something else."""
    inside = out.resolve()
    if folder.resolve() in {inside, *inside.parents}:
        message = "is in the channel folder, where a bundle would be served as part of it"
        raise usage_error(str(out), message, help="name a folder outside of it, or a disk")
    if out.exists() and not out.is_dir():
        raise usage_error(str(out), "is a file, and a bundle is a folder", help="name a new folder")
    here, odd = 0, []
    for path, status in files_below(out):
        if is_scratch(path.name):
            continue
        if str(path) not in expected or (out / path).is_symlink():
            odd.append(str(path))
        here += min(status.st_size, expected.get(str(path), 0))
    if odd or _is_of_another(plan, out / BUNDLE):
        raise usage_error(
            str(out),
            "has something else in it, and a bundle must hold nothing but its own files",
            ("found", f"{odd[0]}" + (f" and {len(odd) - 1} more" if odd[1:] else ""))
            if odd
            else ("found", f"{BUNDLE} of another bundle"),
            help="name a new folder, or remove this one",
        )
    needed, free = sum(expected.values()) - here, free_bytes(inside)
    if needed > free:
        raise usage_error(
            str(out),
            "not enough room on this disk",
            ("needed", human_size(needed)),
            ("free", human_size(free)),
            help="free some room, or name a folder on a larger disk",
        )


def _is_of_another(plan: BundlePlan, file: Path) -> bool:
    """Tell whether a whole bundle is there that goes from or to something else."""
    with contextlib.suppress(FileNotFoundError):
        heads = (file.read_bytes(), render_document(plan))
        one, other = (each.split(b"\n")[1:4] for each in heads)
        return one != other
    return False


def _tell_large(expected: Mapping[str, int], console: Console) -> None:
    """Warn of files that many a stick cannot hold."""
    large = [each for each, size in expected.items() if size > _FAT32]
    if large:
        after = " than the 4 GiB that FAT32 can hold: exFAT, NTFS or --volume-size 4GB do"
        console.warn(named("larger", "file", large, after))


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Make the error of exit code 2 where the disk refuses; what is whole is kept."""
    try:
        yield
    except OSError as error:
        help_ = "see to it, then run this again: what is whole is kept"
        if error.errno == errno.EFBIG:
            help_ = "use a disk with exFAT or NTFS, or volumes: --tar --volume-size 4GB"
        message = f"cannot be read or written: {error.strerror}"
        raise usage_error(str(error.filename or out), message, help=help_) from None


def _copy_files(plan: BundlePlan, folder: Path, out: Path, show: Show) -> None:
    """Write the files of the folder form that are not there yet."""
    problems, size = [], 0
    for number, each in enumerate(plan.carried):
        target = out / path_in_bundle(each)
        if not _is_whole(target, each):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # cut, or a link to what is elsewhere
            before = size

            def advance(copied: int, *, at: int = before, done: int = number) -> None:
                show(done, at + copied, (), 0)

            with naming(target), target.open("xb", buffering=0) as file:
                problem = _copy(folder, each, file.write, advance)
            if problem is not None:
                target.unlink()
                problems.append(problem)
        size += each.size
        show(number + 1, size, (), 0)
    if problems:
        raise MirrorError(*problems)


def _is_whole(file: Path, expected: SnapshotFile) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size == expected.size and hash_file(file, "sha256") == expected.sha256
    return False


def _copy(
    folder: Path,
    expected: SnapshotFile,
    write: Callable[[bytes], object],
    advance: Callable[[int], None],
) -> Problem | None:
    """Hand on the bytes of a file of the channel, and say what is wrong with them.

    So many are handed on as are expected, whatever is there.
    """
    digest, copied = hashlib.sha256(), 0
    try:
        source = (folder / expected.path).open("rb", buffering=0)
    except FileNotFoundError:
        return finding_problem(expected.path, "is missing, and its snapshot has it", help=_MEND)
    with source, naming(folder / expected.path):
        while data := source.read(CHUNK):
            digest.update(data)
            write(data[: max(expected.size - copied, 0)])
            copied += len(data)
            advance(copied)
    if digest.hexdigest() == expected.sha256 and copied == expected.size:
        return None
    return finding_problem(
        expected.path,
        "sha256 differs from its snapshot: it is not carried",
        ("expected", expected.sha256),
        ("actual", digest.hexdigest()),
        help=_MEND,
    )


_MEND: Final = (
    "pixi run mirror, which mends it; where the channel came out of a bundle, unbundle a --full one"
)


def _write_volumes(
    plan: BundlePlan, volumes: tuple[Volume, ...], folder: Path, out: Path, show: Show
) -> dict[str, str]:
    """Write the volumes that are not there yet; return the sha256 of each, by name."""
    problems: list[Problem] = []
    digests: dict[str, str] = {}
    done = size = 0
    for each in volumes:
        file = out / each.name

        def advance(files: int, copied: int, *, at: tuple[int, int] = (done, size)) -> None:
            show(at[0] + files, at[1] + copied, (), 0)

        sha256 = _read_volume(plan, each, file)
        if sha256 is None:
            sha256, found = _write_volume(plan, each, folder, file, advance)
            problems += found
        digests[each.name] = sha256
        done, size = done + len(each.files), size + sum(x.size for x in each.files)
        show(done, size, (), 0)
    if problems:
        raise MirrorError(*problems)
    return digests


def _write_volume(
    plan: BundlePlan,
    volume: Volume,
    folder: Path,
    file: Path,
    advance: Callable[[int, int], None],
) -> tuple[str, list[Problem]]:
    """Write one volume and return its sha256; where a file is wrong, nothing of it is kept."""
    problems: list[Problem] = []
    digest, before = hashlib.sha256(), 0
    part, opened = open_scratch_file(file)
    # Each byte is hashed for its file and for its volume: side by side, it takes no longer.
    with ThreadPoolExecutor(1) as hashing, opened, naming(file):

        def write(data: bytes) -> None:
            hashed = hashing.submit(digest.update, data)
            opened.write(data)
            hashed.result()

        for number, each in enumerate(volume.files):
            write(header_in_volume(plan.target, each))
            at = (number, before)
            problem = _copy(
                folder, each, write, lambda copied, at=at: advance(at[0], at[1] + copied)
            )
            problems += () if problem is None else (problem,)
            write(padding(each.size))
            before += each.size
        write(TAR_END)
        opened.flush()
        fsync(opened.fileno())
    if problems:
        part.unlink()
    else:
        replace(part, file)
    return digest.hexdigest(), problems


def _read_volume(plan: BundlePlan, volume: Volume, file: Path) -> str | None:
    """Return the sha256 of a volume that a killed run has written; None: it is not whole."""
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        return None
    digest = hashlib.sha256()
    with opened:
        if os.fstat(opened.fileno()).st_size != volume.size:
            return None
        for each in volume.files:
            header, body = header_in_volume(plan.target, each), hashlib.sha256()
            found = opened.read(len(header))
            digest.update(found)
            left = each.size
            while left and (data := opened.read(min(CHUNK, left))):
                digest.update(data)
                body.update(data)
                left -= len(data)
            behind = opened.read(len(padding(each.size)))
            digest.update(behind)
            if found != header or body.hexdigest() != each.sha256 or any(behind):
                return None
        end = opened.read()
        digest.update(end)
    return digest.hexdigest() if end == TAR_END else None


def _write_small(out: Path, file: SmallFile) -> None:
    """Write a file that is made in memory, unless it is there."""
    path = out / file.path
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == file.data:
            return
    write_atomically(path, file.data)


def _make_durable(files: Iterable[Path]) -> None:
    """Have the bytes of all files on the disk: a stick is pulled out when the run has ended."""

    def make_durable(file: Path) -> None:
        with naming(file), file.open("rb+" if os.name == "nt" else "rb") as opened:
            fsync(opened.fileno())

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # alone, each waits for a flush of its own
        deque(pool.map(make_durable, files), maxlen=0)


def _report(plan: BundlePlan, out: Path, size: int, *, dry_run: bool) -> Report:
    carried = f"{counted(len(plan.carried), 'file')}, {human_size(plan.carried_bytes)}"
    base = "all of it" if plan.base is None else f"for channels at {plan.base.id}"
    count = len(plan.large_files) + len(plan.small_files) + 2 + plan.is_signed
    would = "would take" if dry_run else "takes"
    lines = [
        f"bundle: {plan.target.id}, {base}: {carried}; {len(plan.removed)} removed",
        f"bundle: {out} {would} {size} bytes in {counted(count, 'file')}",
    ]
    return Report(
        lines=tuple(lines),
        data={
            "out": str(out),
            "target": plan.target.id,
            "base": None if plan.base is None else plan.base.id,
            "content-digest": plan.target.content_digest,
            "carried": {"files": len(plan.carried), "bytes": plan.carried_bytes},
            "removed": len(plan.removed),
            "bytes": size,
            "files": count,
            "volumes": None if plan.volumes is None else [each.name for each in plan.volumes],
        },
    )
