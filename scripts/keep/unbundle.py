"""Check a bundle, and bring a channel to what it carries: with Python 3.8 or newer alone.

    python -I -S unbundle.py BUNDLE CHANNEL        check all of it, then add, switch and read back
    python -I -S unbundle.py --receipt CHANNEL     read every file again, and write the receipt

A copy of this file lies in every bundle. So it is one module, and imports nothing but the standard
library; `pixi run unbundle` runs this very code. What both sides must agree on is defined here: the
content digest, the names, the bytes of `SHA256SUMS` and of tar volumes, and the receipt.

`bundle.json` says of every other file of a bundle what it must be, and of the channel what it will
be. Each byte of a volume follows from it, so no tar file is parsed. All is copied and hashed below
`.pixi-mirror/NAME/cache/incoming` before the channel changes; from then on, until all is in place,
`state/unbundling.json` says to where it is under way.
"""

import sys

if sys.version_info < (3, 8):  # whatever Python the far side has may be given this file
    sys.stderr.write(
        "error: unbundle.py needs Python 3.8 or newer; this is {} ({})\n"
        "help: run it with a newer one: python3 -I -S unbundle.py BUNDLE CHANNEL\n".format(
            ".".join(map(str, sys.version_info[:3])), sys.executable
        )
    )
    sys.exit(2)

import argparse
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from unicodedata import normalize

BUNDLE = "bundle.json"
SIGNATURE = "bundle.json.sig"
SUMS = "SHA256SUMS"
FORMAT = 1
NAMESPACE = "pixi-mirror"  # of signatures, as `ssh-keygen -Y sign -n` has it
INDEX_KIND = "index"
TAR_END = bytes(1024)  # behind the last file of a volume
FINDINGS, USAGE, PROGRAM, INTERRUPTED = 1, 2, 4, 130  # exit codes, as scripts/core/errors.py

_CHUNK = 1 << 20  # bytes
_LARGEST = 256 << 20  # bytes of a JSON file; a row of an artifact has some 200
_SHOWN = 5  # of many names
_IN_OCTAL = 8 << 30  # bytes; the size of a file that a tar header cannot say
_SCRATCH = ".00000000.pixi-mirror.tmp"  # a file on its way, as in scripts/core/scratch.py
_FULL = "on the builder: pixi run bundle OUT --full"
_AGAIN = "see to it, then run this again: it goes on where it stopped"
# Windows takes these for devices, whatever follows the dot.
_DEVICE = re.compile(
    "(?:con|prn|aux|nul|conin\\$|conout\\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3]) *(?:\\.|$)", re.I
)
_SHA256 = re.compile("[0-9a-f]{64}").fullmatch
_TOOL = re.compile(r"unbundle\.py|LABEL\.txt|locks/[1-9][0-9]*/pixi\.(?:lock|toml)").fullmatch
_Item = t.TypeVar("_Item")
_Result = t.TypeVar("_Result")


class Refused(Exception):  # noqa: N818 - it is an answer
    """What ends a run: its exit code, the thing, what is wrong with it, details, and help."""

    def __init__(
        self, code: int, subject: str, message: str, *details: t.Tuple[str, str], help: str
    ) -> None:
        super().__init__(subject, message)
        self.code, self.subject, self.message = code, subject, message
        self.details, self.help = details, help


class Row(t.NamedTuple):
    """A file of a channel or a bundle: its path with `/`, its kind, and size in bytes.

    `where` its bytes are in a bundle: None in the folder `files`, a number in that volume, `=PATH`
    as at that path, of this bundle or of its base.
    """

    path: str
    kind: str
    size: int
    sha256: str
    where: t.Union[None, int, str] = None

    @property
    def is_carried(self) -> bool:
        """Tell whether the bundle has bytes for it."""
        return not isinstance(self.where, str)


class Bundle(t.NamedTuple):
    """What `bundle.json` says. `rows` are the files that the base has not, or has otherwise."""

    id: str
    created: str
    layout: str
    digest: str
    files: int
    artifacts: int
    size: int
    base: t.Optional[t.List[str]]  # id and content digest; None: all of the target is here
    volumes: t.Optional[t.List[Row]]
    tools: t.List[Row]
    locks: t.List[t.List[t.Optional[str]]]  # label, sha256 of lock and of manifest
    rows: t.List[Row]
    removed: t.List[str]


class Snapshot(t.NamedTuple):
    """What the channel must have, by path, as its newest record says."""

    id: str
    created: str
    digest: str
    rows: t.Dict[str, Row]


class Receipt(t.NamedTuple):
    """What was found, and when, as every file of the channel was read; `size` is of all, in bytes.

    `digest` is the content digest that the channel must have.
    """

    digest: str
    id: str
    files: int
    size: int
    damaged: int
    missing: int
    read: str

    @property
    def is_right(self) -> bool:
        """Tell whether every file is there and right."""
        return not self.damaged and not self.missing


class Outcome(t.NamedTuple):
    """What a run did; `bad` names what the receipt counts as damaged or missing."""

    id: str
    signer: t.Optional[str]
    receipt: Receipt
    bad: t.List[str]
    is_changed: bool = False
    placed: int = 0
    waiting: int = 0
    removed: int = 0


class Place(t.NamedTuple):
    """A channel folder and its working state, as in scripts/core/channel_paths.py."""

    folder: str
    root: str

    def of(self, path: str) -> str:
        """Name a file of the channel."""
        return os.path.join(self.folder, *path.split("/"))

    def state(self, *names: str) -> str:
        """Name a file of what cannot be made again."""
        return os.path.join(self.root, "state", *names)

    @property
    def incoming(self) -> str:
        """Folder in which files are copied and hashed."""
        return os.path.join(self.root, "cache", "incoming")


def content_digest(files: t.Iterable[t.Tuple[str, int, str]]) -> str:
    """Return the sha256 of a tree of files, given as path, size in bytes and sha256 of each.

    Paths are relative to the channel folder, with `/`. It depends on nothing else: two channels
    with the same files have the same one, wherever and whenever they were made.
    """
    digest = hashlib.sha256()
    for path, size, sha256 in sorted(files, key=lambda each: each[0].encode()):
        digest.update(f"{path}\0{size}\0{sha256}\n".encode())
    return digest.hexdigest()


def sums_text(files: t.Iterable[t.Tuple[str, str]]) -> bytes:
    """Write SHA256SUMS, which `sha256sum -c` reads, of paths and their sha256."""
    rows = sorted(files, key=lambda each: each[0].encode())
    return "".join(f"{sha256}  {path}\n" for path, sha256 in rows).encode()


def tar_header(path: str, size: int, created: str) -> bytes:
    """Return the blocks before a file of the channel in a volume, where it is `files/PATH`.

    They are ustar (POSIX.1-1988), with PAX records (POSIX.1-2001) for what that cannot say. Its
    time is that of the target. Behind the file comes `padding`, behind the last one `TAR_END`.
    """
    name, records = f"files/{path}".encode(), b""
    when = int(datetime.fromisoformat(created).timestamp())
    if len(name) > 100 or max(name) > 127:
        records += _pax_record(b"path", name)
    if size >= _IN_OCTAL:
        records += _pax_record(b"size", b"%d" % size)
    header = _ustar(name[:100], size if size < _IN_OCTAL else 0, when, b"0")
    if not records:
        return header
    before = _ustar(b"files/PaxHeader", len(records), when, b"x")
    return before + records + padding(len(records)) + header


def padding(size: int) -> bytes:
    """Return the zeros behind that many bytes in a volume, up to a whole block."""
    return bytes(-size % 512)


def _pax_record(key: bytes, value: bytes) -> bytes:
    text = b" %s=%s\n" % (key, value)
    length = len(text) + len(str(len(text)))
    return b"%d" % (len(text) + len(str(length))) + text


def _ustar(name: bytes, size: int, when: int, kind: bytes) -> bytes:
    head = name.ljust(100, b"\0") + b"0000644\0000000000\0000000000\0%011o\0%011o\0" % (size, when)
    tail = kind + bytes(100) + b"ustar\00000" + b"root".ljust(32, b"\0") * 2 + bytes(183)
    return head + b"%06o\0 " % (sum(head) + 8 * 32 + sum(tail)) + tail


def volume_rows(bundle: Bundle, number: int) -> t.Iterator[t.Tuple[Row, bytes, int]]:
    """Yield the files of a volume in their order, with the header before each and its offset."""
    offset = 0
    for row in bundle.rows:
        if row.where == number:
            header = tar_header(row.path, row.size, bundle.created)
            yield row, header, offset
            offset += len(header) + row.size + len(padding(row.size))


def render_receipt(receipt: Receipt) -> t.Tuple[bytes, bytes]:
    """Write a receipt as JSON, and as lines for people: each less than a kilobyte."""
    values = {"receipt": FORMAT, **dict(zip(_RECEIPT, receipt))}
    text = "".join(f"{key}: {value}\n" for key, value in values.items())
    return (json.dumps(values) + "\n").encode(), text.encode()


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt in either form; raises ValueError or TypeError where it is none."""
    text = data[:1024].decode("utf-8")
    if text.lstrip().startswith("{"):
        document = _parse_json(data)
    else:
        lines = [[x.strip() for x in line.partition(":")[::2]] for line in text.splitlines()]
        document = {key: int(x) if re.fullmatch("[0-9]{1,18}", x) else x for key, x in lines}
    version, *values = _fields(document, "receipt", *_RECEIPT)
    if version != FORMAT:
        raise ValueError(f"of version {version}")
    return Receipt(*values)


def unfit_name(path: str) -> t.Optional[str]:
    """Say why a path is none that every disk keeps as it is, below the channel folder."""
    if not path or len(path) > 1000 or path.count("/") > 63:
        return "is over-long" if path else "is empty"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return "leads out of the channel, or is absolute"
        if not part.isprintable() or not set('<>:"\\|?*').isdisjoint(part):
            return "has a character that not every disk takes"
        if part != part.strip() or part.endswith("."):
            return "has a dot at its end, or a space, which Windows drops"
        if len(part.encode()) > 255:
            return "is over-long"
        if _DEVICE.match(part) or part == ".pixi-mirror" or part.endswith(".pixi-mirror.tmp"):
            return "is reserved"
    return None


def find_clash(paths: t.Iterable[str]) -> t.Optional[t.Tuple[str, str]]:
    """Find two paths that some disk keeps as one: case, composed accents, a file and a folder."""
    seen: t.Dict[str, str] = {}
    folders: t.Set[str] = set()
    for path in paths:
        above = path.rpartition("/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
        other = seen.setdefault(_folded(path), path)
        if other is not path:
            return other, path
    for folder in sorted(folders):
        other = seen.setdefault(_folded(folder), folder)
        if other is not folder:
            return other, folder
    return None


def _folded(path: str) -> str:
    return path.lower() if path.isascii() else normalize("NFC", normalize("NFD", path).casefold())


def _fit_name(path: t.Any) -> bool:
    reason = unfit_name(path) if type(path) is str else "is no string"
    if reason is not None:
        raise ValueError(f"{path!r:.200} {reason}")
    return True


def _is_whole(value: t.Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_string(value: t.Any) -> bool:
    return type(value) is str


def _is_digest_or_none(value: t.Any) -> bool:
    return value is None or _SHA256(value) is not None


_CHECKS: t.Dict[str, t.Callable[[t.Any], t.Any]] = {
    **dict.fromkeys(("receipt", "files", "artifacts", "bytes", "size"), _is_whole),
    **dict.fromkeys(("damaged", "missing", "mtime-ns"), _is_whole),
    **dict.fromkeys(("lock-sha256", "manifest-sha256"), _is_digest_or_none),
    **dict.fromkeys(("content-digest", "sha256"), _SHA256),
    **dict.fromkeys(
        ("created", "read"), re.compile(r"2[01]\d\d(-\d\d){2}T(\d\d:){2}\d\d\+00:00").fullmatch
    ),
    "id": re.compile("[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}").fullmatch,
    "kind": re.compile(f"conda|wheel|sdist|{INDEX_KIND}").fullmatch,
    "label": _is_string,
    "layout": re.compile("flat|by-channel").fullmatch,
    "path": _fit_name,
    "where": lambda value: value is None or type(value) in {int, str},
}
_RECEIPT = ("content-digest", "id", "files", "bytes", "damaged", "missing", "read")
_TARGET = ("id", "created", "layout", "content-digest", "files", "artifacts", "bytes")


def _fields(value: t.Any, *names: str) -> t.List[t.Any]:
    """Return the values of an object that has just these keys, each as it must be."""
    if type(value) is not dict or value.keys() != set(names):
        raise ValueError(f"an object has other keys than {', '.join(names)}")
    for name in names:
        if not _CHECKS[name](value[name]):
            raise ValueError(f"{name}: {value[name]!r:.80}")
    return [value[name] for name in names]


def _list(value: t.Any) -> t.List[t.Any]:
    if type(value) is not list:
        raise TypeError(f"{value!r:.80} is no list")
    return value


def _parse_json(data: bytes) -> t.Any:
    def once(pairs: t.List[t.Tuple[str, t.Any]]) -> t.Dict[str, t.Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is no whole number")

    kinds = {"parse_float": refuse, "parse_constant": refuse}
    return json.loads(data.decode("utf-8"), object_pairs_hook=once, **kinds)


def parse_bundle(data: bytes) -> Bundle:
    """Read `bundle.json`; raises Refused where it is not, word for word, what the format says."""
    try:
        document = _parse_json(data)
        version = document["format"]
        if type(version) is int and version > FORMAT:
            help_ = "use the unbundle.py of the pixi-mirror that made it"
            raise Refused(FINDINGS, BUNDLE, f"is of format {version}, not {FORMAT}", help=help_)
        return _parse_document(document)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        reason = ("reason", str(error) or type(error).__name__)
        help_ = "carry the bundle again"
        raise Refused(FINDINGS, BUNDLE, "is damaged, or altered", reason, help=help_) from None


def _parse_document(document: t.Dict[str, t.Any]) -> Bundle:
    names = ("format", "base", "target", "carried", "volumes", "tools", "locks", "files", "removed")
    if document.keys() != set(names) or type(document["format"]) is not int:
        raise ValueError(f"its keys are not {', '.join(names)}")
    version, base, target, carried, volumes, tools, locks, files, removed = map(document.get, names)
    if base is not None:
        base = _fields(base, "id", "content-digest")
    if volumes is not None:
        volumes = [_carrier(f"volume-{n:03}.tar", x) for n, x in enumerate(_list(volumes), 1)]
    tools = [_carrier(name, {"name": name, **said}) for name, said in tools.items()]
    if version != FORMAT or not all(_TOOL(each.path) for each in tools):
        raise ValueError("a file is none of a bundle")
    locks = [_fields(x, "label", "lock-sha256", "manifest-sha256") for x in _list(locks)]
    rows = []
    for each in _list(files):
        names = ("path", "kind", "size", "sha256", "where")
        rows.append(Row(*_fields(dict(zip(names, _list(each))), *names)))
        where, last = rows[-1].where, len(volumes or ())
        if isinstance(where, str) and where[:1] == "=":
            _fit_name(where[1:])
        elif len(each) != len(names) or where not in (range(1, last + 1) if last else (None,)):
            raise ValueError(f"{where!r:.80} is no place in this bundle")
    if len({*(x.path for x in rows), *filter(_fit_name, _list(removed))}) != len(rows) + len(
        removed
    ):
        raise ValueError("a path is there twice")
    sizes = [each.size for each in rows if each.is_carried]
    if _fields(carried, "files", "bytes") != [len(sizes), sum(sizes)] or (removed and not base):
        raise ValueError("what is carried, or removed, is not what it says")
    id_, created, layout, digest, *counts = _fields(target, *_TARGET)
    if id_ != f"{datetime.fromisoformat(created):%Y%m%dT%H%M%SZ}-{digest[:8]}":
        raise ValueError("the id of the target is not of its time and its content")
    whole = (id_, created, layout, digest, *counts, base, volumes, tools, locks, rows, removed)
    bundle = Bundle(*whole)
    for number, volume in enumerate(volumes or (), 1):
        ends = [
            len(x) + row.size + len(padding(row.size)) for row, x, _ in volume_rows(bundle, number)
        ]
        if volume.size != sum(ends) + len(TAR_END):
            raise ValueError(f"{volume.path} has not the size of its files")
    return bundle


def _carrier(name: str, value: t.Dict[str, t.Any]) -> Row:
    """Read what is said of a file of the bundle that is not of the channel."""
    said = dict(value)
    if said.pop("name", None) != name:
        raise ValueError(f"{name:.80} has another name")
    return Row(name, "", *_fields(said, "size", "sha256"))


def target_rows(bundle: Bundle, base: t.Dict[str, Row]) -> t.Dict[str, Row]:
    """Return every file of the target, by path in order; `base` are those of the base.

    Raises Refused where they are not those that its content digest was made of, where two clash,
    and where one has the bytes of another that has not these bytes.
    """
    rows = {**base, **{each.path: each for each in bundle.rows}}
    wrong = [path for path in bundle.removed if rows.pop(path, None) is None]
    wrong += [x.path for x in bundle.rows if not x.is_carried and _source(x, rows, base) is None]
    clash = find_clash(rows)
    if clash is not None:
        wrong.append("{} and {}, which some disk keeps as one".format(*clash))
    files = sorted(rows.values(), key=lambda each: each.path.encode())
    counts = (len(files), sum(x.kind != INDEX_KIND for x in files), sum(x.size for x in files))
    if counts != (bundle.files, bundle.artifacts, bundle.size):
        wrong.append("the number of files, or their bytes")
    if content_digest((each.path, each.size, each.sha256) for each in files) != bundle.digest:
        wrong.append("the content digest")
    if wrong:
        message = "does not make the channel that it says"
        raise Refused(FINDINGS, BUNDLE, message, *_wrong(wrong), help=_FULL)
    return {each.path: each for each in files}


def _source(row: Row, *known: t.Dict[str, Row]) -> t.Optional[Row]:
    """Return the file whose bytes a row has: one that is carried, else one of the base."""
    found = [rows.get(str(row.where)[1:]) for rows in known]
    is_same = [x is not None and x.is_carried and x[2:4] == row[2:4] for x in found]
    return found[is_same.index(True)] if any(is_same) else None


def check_signature(folder: str, data: bytes, signers: str) -> str:
    """Return who signed `bundle.json`, by ssh-keygen and a file of allowed signers; or refuse."""
    program, signature = shutil.which("ssh-keygen"), os.path.join(folder, SIGNATURE)
    if program is None:
        message = "is not on PATH, and without it no signature can be checked"
        raise Refused(PROGRAM, "ssh-keygen", message, help="install OpenSSH 8.1 or newer")
    if not os.path.isfile(signers):
        raise Refused(USAGE, signers, "there is no such file of allowed signers", help=_AGAIN)
    help_ = "take a bundle that one of them signed: pixi run bundle OUT --sign KEY"
    if _kind(signature) != "file":
        raise Refused(FINDINGS, BUNDLE, f"is not signed: there is no {SIGNATURE}", help=help_)

    def run(*options: str) -> t.Tuple[int, str, str]:
        command = (str(program), "-Y", *options, "-s", signature, "-f", signers)
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        return (
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )

    code, principals, said = run("find-principals")
    if "usage:" in said:
        message = "is older than OpenSSH 8.1, which checks signatures first"
        raise Refused(PROGRAM, program, message, help="install a newer OpenSSH")
    for principal in principals.splitlines() if code == 0 else ():
        code, good, said = run("verify", "-I", principal, "-n", NAMESPACE)
        if code == 0:
            return f"{principal} ({good.strip().rpartition(' with ')[2]})"
    message = "its signature is of none of the allowed signers, or it was altered"
    details = [("ssh-keygen", line) for line in said.strip().splitlines()[-1:]]
    raise Refused(FINDINGS, BUNDLE, message, *details, ("signers", signers), help=help_)


def check_files(folder: str, bundle: Bundle, data: bytes) -> None:
    """Refuse a bundle that lacks a file, has one more, or one of another size.

    The bytes of artifacts and index are hashed as they are copied.
    """
    files = [*bundle.tools, *(bundle.volumes or ())]
    if bundle.volumes is None:
        files += [x._replace(path=f"files/{x.path}") for x in bundle.rows if x.is_carried]
    sums = [(BUNDLE, hashlib.sha256(data).hexdigest()), *((x.path, x.sha256) for x in files)]
    text = sums_text(sums)
    files += [Row(BUNDLE, "", len(data), ""), Row(SUMS, "", len(text), "")]
    expected, found = {each.path: each.size for each in files}, dict(_walk(folder))
    found.pop(SIGNATURE, None)
    wrong = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    wrong += [f"{name} is not of this bundle" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if found[name] != expected[name]:
            wrong.append(f"{name} has {found[name]} bytes, not {expected[name]}")
    if not wrong and _read(os.path.join(folder, SUMS)) != text:
        wrong.append(f"{SUMS} is not what {BUNDLE} says")
    if not wrong:
        wrong += [
            f"{x.path}: its sha256" for x in bundle.tools if not _is_right(_join(folder, x.path), x)
        ]
    if wrong:
        raise _not_whole(wrong)


def _not_whole(wrong: t.Sequence[str]) -> Refused:
    message, help_ = "is not whole, or was altered; nothing was changed", "carry the bundle again"
    return Refused(FINDINGS, "the bundle", message, *_wrong(wrong), help=help_)


def _walk(folder: str) -> t.Iterator[t.Tuple[str, t.Optional[int]]]:
    """Yield every file below a folder, and its size; None: a link, or no file."""
    folders = [""]
    while folders:
        above = folders.pop()
        with os.scandir(os.path.join(folder, above)) as entries:
            for entry in entries:
                kind = _kind(entry.path)
                if kind == "folder":
                    folders.append(f"{above}{entry.name}/")
                else:
                    yield (
                        above + entry.name,
                        os.lstat(entry.path).st_size if kind == "file" else None,
                    )


def place_of(channel: str) -> Place:
    """Name the folder of a channel, and of its working state."""
    above, name = os.path.split(os.path.abspath(channel))
    return Place(os.path.join(above, name), os.path.join(above, ".pixi-mirror", name))


@contextlib.contextmanager
def _run_lock(place: Place) -> t.Iterator[None]:
    """Hold the lock file that every run of pixi-mirror holds, as in scripts/core/file_lock.py."""
    os.makedirs(place.root, exist_ok=True)
    with _opened(os.path.join(place.root, "run.lock"), "a+b") as file:
        try:
            if os.name == "nt":
                import msvcrt

                file.seek(1 << 30)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"another run is at work on it, or its disk has no locks: {error.strerror}"
            help_ = "wait until it has ended, then run this again"
            raise Refused(USAGE, place.folder, message, help=help_) from None
        with contextlib.suppress(OSError):  # a full disk; the number is for people
            file.truncate(0)
            file.write(b"%d\n" % os.getpid())
        yield


def read_newest(place: Place) -> t.Tuple[t.Set[str], t.Optional[Snapshot]]:
    """Return the ids of all snapshots that the channel has, or had, and the newest of them."""
    folder = place.state("snapshots")
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    ids = {name[:-6] for name in names if name.endswith(".jsonl")}
    if not ids:
        return ids, None
    path = os.path.join(folder, f"{max(ids)}.jsonl")
    with _parsing(path, "what the channel must have is not known"):
        header, *lines = map(_parse_json, _read(path).splitlines())
        rows = {each[0]: Row(*each[:4]) for each in lines}
        newest = Snapshot(max(ids), header["created"], header["content-digest"], rows)
        if newest.digest != content_digest((x.path, x.size, x.sha256) for x in rows.values()):
            raise ValueError("the content digest")
    return ids, newest


@contextlib.contextmanager
def _parsing(path: str, lost: str) -> t.Iterator[None]:
    """Refuse a file of the state that is damaged."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        help_ = (
            "restore it from a backup; else remove it, and unbundle a whole channel: bundle --full"
        )
        details = (("reason", str(error)), ("lost", lost))
        raise Refused(USAGE, path, "is damaged", *details, help=help_) from None


def _read_state(place: Place, name: str) -> t.Dict[str, t.Any]:
    """Read one of the JSON files of the state; empty where there is none."""
    path = place.state(name)
    with _parsing(path, "what it said of this channel"):
        return dict(_parse_json(_read(path))) if os.path.lexists(path) else {}


def _write_state(path: str, data: t.Union[bytes, t.Dict[str, t.Any]]) -> None:
    """Replace a file of the state whole, durably."""
    if not isinstance(data, bytes):
        data = (json.dumps({"schema": 1, **data}, indent=1) + "\n").encode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with _opened(path + _SCRATCH, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _replace(path + _SCRATCH, path)


def _replace(source: str, target: str) -> None:
    """Rename over what is there; tried again where Windows has it open in another program."""
    give_up = time.monotonic() + 10
    while True:
        try:
            return os.replace(source, target)
        except OSError as error:
            if getattr(error, "winerror", None) not in {5, 32, 33} or time.monotonic() > give_up:
                raise OSError(error.errno, error.strerror, target) from None
        time.sleep(0.1)


def _kind(path: str) -> t.Optional[str]:
    """Tell what is there itself, no link followed; None: nothing."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if getattr(status, "st_reparse_tag", 0) == 0xA0000003:  # a junction of Windows
        return "link"
    kinds = {stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(status.st_mode), "other")


@contextlib.contextmanager
def _opened(path: str, mode: str = "rb") -> t.Iterator[t.Any]:
    """Open a file, through no link; an error names it, also where the system would not say which."""
    no_link = getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(
            path, mode, opener=lambda name, flags: os.open(name, flags | no_link, 0o666)
        ) as file:
            yield file
    except OSError as error:
        error.filename = error.filename or path
        raise


def _read(path: str) -> bytes:
    with _opened(path) as file:
        data: bytes = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise OSError(errno.EFBIG, "larger than any such file should be")
        return data


def _is_like(path: str, row: Row) -> bool:
    return _kind(path) == "file" and os.lstat(path).st_size == row.size


def _is_right(path: str, row: Row) -> bool:
    return _is_like(path, row) and _has_bytes(path, row)


def _has_bytes(
    path: str, row: Row, at: int = 0, header: bytes = b"", copy: str = os.devnull
) -> bool:
    """Read a file, or one behind its header in a volume, into a copy; tell whether it is right."""
    digest, left = hashlib.sha256(), row.size
    view = memoryview(bytearray(min(_CHUNK, left)))
    with _opened(path) as file, _opened(copy, "wb") as target:
        file.seek(at)
        is_right = file.read(len(header)) == header
        while is_right and left:
            count = file.readinto(view[: min(left, _CHUNK)])
            is_right = count > 0
            digest.update(view[:count])
            target.write(view[:count])
            left -= count
        end = padding(row.size) if header else b""
        is_right = is_right and file.read(len(end)) == end and digest.hexdigest() == row.sha256
        if os.name == "nt" and copy != os.devnull:  # where nothing makes all files durable at once
            target.flush()
            os.fsync(target.fileno())
        return is_right


def _refuse_obstacles(place: Place, paths: t.Iterable[str]) -> None:
    """Refuse to write through a link, over a folder, or onto another disk than the state's."""
    ours = [place.root, place.state(), place.state("snapshots"), place.incoming]
    folders = {place.folder, *ours, *map(os.path.dirname, ours)}
    wrong = []
    for path in paths:
        above = os.path.dirname(place.of(path))
        while above not in folders:
            folders.add(above)
            above = os.path.dirname(above)
        if _kind(place.of(path)) in {"folder", "other"}:  # a rename replaces a link
            wrong.append(place.of(path))
    disk = os.stat(place.root).st_dev
    for each in sorted(folders):
        kind = _kind(each)
        if kind == "link" and each in {place.folder, os.path.dirname(place.folder)}:
            kind = "folder" if os.path.isdir(each) else "link"
        if kind is not None and (kind != "folder" or os.stat(each).st_dev != disk):
            wrong.append(each)
    if wrong:
        message = "is a link, or of another kind or disk than it must be: nothing was changed"
        help_ = "remove it, then run this again"
        raise Refused(USAGE, wrong[0], message, *_wrong(wrong[1:]), help=help_)


def unbundle(
    folder: str,
    channel: str,
    *,
    signers: t.Optional[str] = None,
    grace: float = 3600,
    say: t.Callable[[str], object] = lambda _: None,
) -> Outcome:
    """Check a bundle, bring the channel to it, read every file back, and write the receipt.

    `grace`, seconds, is how long a file that is no longer named waits for its removal. Raises
    Refused, and until the first file is placed the channel is as it was.
    """
    with _sentences():
        place, folder, signer = place_of(channel), os.path.abspath(folder), None
        if not os.path.lexists(os.path.join(folder, BUNDLE)):
            message = f"is no bundle: there is no {BUNDLE}, which is written last"
            raise Refused(FINDINGS, folder, message, help="carry the whole folder that was made")
        data = _read(os.path.join(folder, BUNDLE))
        if signers is not None:
            signer = check_signature(folder, data, signers)
            say(f"signed by {signer}")
        bundle = parse_bundle(data)
        check_files(folder, bundle, data)
        if f"{place.folder}{os.sep}".startswith(f"{folder}{os.sep}"):
            raise Refused(USAGE, channel, "is in the bundle", help="name another folder")
        with _run_lock(place):
            return _bring(place, folder, bundle, signer, grace)


def _bring(
    place: Place, folder: str, bundle: Bundle, signer: t.Optional[str], grace: float
) -> Outcome:
    ids, newest = read_newest(place)
    journal, added = _read_state(place, "unbundling.json"), set()
    with _parsing(place.state("unbundling.json"), "to where the channel was under way"):
        under_way = journal.get("id", bundle.id)
        added = {path for path in journal.get("added", ()) if _fit_name(path)}
    if newest is not None and newest.digest == bundle.digest and under_way == bundle.id:
        receipt = _read_receipt(place, newest)
        outcome = Outcome(newest.id, signer, receipt, []) if receipt else None
        if outcome is None or journal:  # killed between the record and the receipt
            outcome = _end(place, newest, signer)
        if outcome.receipt.is_right or bundle.base is not None:
            return outcome
    else:
        _refuse_order(place, bundle, ids, newest, under_way)
    base = newest.rows if newest is not None and bundle.base is not None else {}
    rows = target_rows(bundle, base)
    _check_base(place, [each for each in base.values() if rows.get(each.path) == each])
    stale = {*(newest.rows if newest else ()), *added} - rows.keys()
    _refuse_obstacles(place, [*(each.path for each in bundle.rows), *stale, *_removals(place)])
    try:
        if not journal:
            shutil.rmtree(place.incoming, ignore_errors=True)
        staged = _stage(place, folder, bundle, base)
    except BaseException:
        if not journal:
            shutil.rmtree(place.incoming, ignore_errors=True)
        raise
    added = sorted({*added, *(each.path for each, _ in staged)})
    _write_state(place.state("unbundling.json"), {"id": bundle.id, "added": added})
    _switch(place, bundle.layout, staged)
    waiting, removed = _let_wait(place, rows, stale, grace)
    getattr(os, "sync", lambda: None)()  # what the record says is on the disk before it is said
    if newest is None or newest.digest != bundle.digest:
        newest = _write_record(place, bundle, rows, newest)
    return _end(place, newest, signer)._replace(
        is_changed=True, placed=len(staged), waiting=waiting, removed=removed
    )


def _refuse_order(
    place: Place, bundle: Bundle, ids: t.Set[str], newest: t.Optional[Snapshot], under_way: str
) -> None:
    """Refuse a bundle that does not follow what the channel holds."""
    base, code, help_ = bundle.base, FINDINGS, f"{_FULL}; or --since-receipt, with this channel's"
    if under_way != bundle.id and base is not None:
        code, help_ = USAGE, f"unbundle {under_way} again, which ends it; or {_FULL}"
        message = f"is between two snapshots: unbundling {under_way} was interrupted"
    elif newest is not None and (bundle.id in ids or bundle.created <= newest.created):
        help_ = "to go back, on the builder: pixi run rollback ID, then bundle what that makes"
        message = "holds a later snapshot than this bundle's: replayed, or out of order"
    elif base is None or (newest is not None and newest.digest == base[1]):
        return
    elif newest is None:
        help_, message = _FULL, "holds no snapshot, and this bundle has only what follows one"
    elif base[0] in ids:
        message = "has moved on from the snapshot that this bundle follows"
    else:
        help_ = f"unbundle those between, in their order; or {_FULL}"
        message = "never held the snapshot that this bundle follows: one was skipped"
    details = [("bundle", f"{bundle.id}, content digest {bundle.digest}")]
    details += [("its base", "{}, content digest {}".format(*base))] if base else []
    details += [("channel", f"{newest.id}, content digest {newest.digest}")] if newest else []
    raise Refused(code, place.folder, message, *details, help=help_)


def _check_base(place: Place, kept: t.Iterable[Row]) -> None:
    """Refuse where a file that stays is not there; its bytes are read when all is switched."""
    wrong = [each.path for each in kept if not _is_like(place.of(each.path), each)]
    if wrong:
        message = "is not as its snapshot says: files are missing, or have another size"
        raise Refused(FINDINGS, place.folder, message, *_wrong(wrong), help=_FULL)


def _stage(
    place: Place, folder: str, bundle: Bundle, base: t.Dict[str, Row]
) -> t.List[t.Tuple[Row, str]]:
    """Copy and hash all that the bundle brings and the channel has not, side by side.

    Returns each with the file that is to be renamed. What a killed run left there is hashed again.
    """
    os.makedirs(place.incoming, exist_ok=True)
    staged = {x.path: os.path.join(place.incoming, f"{n:06}") for n, x in enumerate(bundle.rows)}
    origins: t.Dict[str, t.Tuple[str, int, bytes]] = {}
    for number, volume in enumerate(bundle.volumes or (), 1):
        for row, header, offset in volume_rows(bundle, number):
            origins[row.path] = (_join(folder, volume.path), offset, header)
    carried = [each for each in bundle.rows if each.is_carried]
    missing = [x.size for x in carried if not _is_like(place.of(x.path), x)]
    free = shutil.disk_usage(place.root).free + sum(
        size for _, size in _walk(place.incoming) if size
    )
    if sum(missing) > free:
        message = f"has too little room: {sum(missing)} bytes are needed, {free} are free"
        raise Refused(USAGE, place.folder, message, help="make room, then run this again")
    named = {each.path: each for each in bundle.rows}

    def bring(row: Row) -> t.Tuple[Row, str]:
        """Return the row, and what is wrong: nothing, or it is in its place."""
        final, copy = place.of(row.path), staged[row.path]
        if _is_right(copy, row):
            return row, ""
        if _is_right(final, row):
            return row, "is there"
        if row.is_carried:
            origin = origins.get(row.path, (_join(folder, f"files/{row.path}"), 0, b""))
            is_right = _has_bytes(origin[0], row, *origin[1:], copy=copy)
            return row, "" if is_right else f"{row.path} is not what {BUNDLE} says"
        source = _source(row, named, base) or row
        origin = staged.get(source.path, "") if source in bundle.rows else ""
        for each in (origin, place.of(source.path)):
            if _is_right(each, row):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(copy)
                try:
                    os.link(each, copy)
                except OSError:
                    shutil.copyfile(each, copy)
                return row, ""
        return row, f"{source.path} of the channel"

    results = _side_by_side(bring, carried)
    for volume in bundle.volumes or ():
        with _opened(_join(folder, volume.path)) as file:
            file.seek(volume.size - len(TAR_END))
            if file.read() != TAR_END:
                results.append((volume, f"the end of {volume.path}"))
    results += _side_by_side(bring, [each for each in bundle.rows if not each.is_carried])
    wrong = [said for _, said in results if said not in {"", "is there"}]
    if wrong:
        raise _not_whole(wrong)
    return [(row, staged[row.path]) for row, said in results if not said]


def _side_by_side(do: t.Callable[[_Item], _Result], items: t.Iterable[_Item]) -> t.List[_Result]:
    """Do it for all, in threads: reading, hashing and writing free the interpreter lock."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(do, items))


def _switch(place: Place, layout: str, staged: t.Iterable[t.Tuple[Row, str]]) -> None:
    """Rename all into the channel: artifacts, then what names them, `repodata.json` last."""
    said = _read_state(place, "channel.json")
    if said.get("layout") != layout:
        _write_state(place.state("channel.json"), {"adopted": False, **said, "layout": layout})
    for row, file in sorted(staged, key=lambda each: _rank(each[0])):
        path = place.of(row.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if row.kind == INDEX_KIND:  # of whose time a server tells whole seconds
            last = os.lstat(path).st_mtime if os.path.lexists(path) else 0
            os.utime(file, (max(time.time(), int(last) + 1),) * 2)
        _replace(file, path)


def _rank(row: Row) -> t.Tuple[int, int, str]:
    """Order files so that all that one names stands before it; pages of PyPI from the deepest."""
    last = ["repodata.json.zst", "repodata_shards.msgpack.zst", "index.json", "index.html"]
    last, name = [*last, "repodata.json"], row.path.rpartition("/")[2]
    rank = 0 if row.kind != INDEX_KIND else 2 + last.index(name) if name in last else 1
    return rank, -row.path.count("/"), row.path


def _removals(place: Place) -> t.Dict[str, t.Dict[str, t.Any]]:
    """Read what waits for its removal, by path, as scripts/channel/state.py writes it."""
    with _parsing(place.state("removals.json"), "which files wait for their removal"):
        rows = _list(_read_state(place, "removals.json").get("removals", []))
        for each in rows:
            _fields({**each, "dropped": 0}, "path", "size", "mtime-ns", "dropped")
            datetime.fromisoformat(each["dropped"] or "2026-01-01")
        return {each["path"]: each for each in rows}


def _let_wait(
    place: Place, rows: t.Dict[str, Row], stale: t.Set[str], grace: float
) -> t.Tuple[int, int]:
    """Put on the list what is no longer named, and remove what has waited for `grace` seconds."""
    now, before = datetime.now(timezone.utc), _removals(place)
    waiting = {path: each for path, each in before.items() if path not in rows}
    for path in stale - waiting.keys():
        if _kind(place.of(path)) == "file":
            status = os.lstat(place.of(path))
            said = (path, status.st_size, status.st_mtime_ns, now.isoformat())
            waiting[path] = dict(zip(("path", "size", "mtime-ns", "dropped"), said))
    due = []
    for path, each in waiting.items():
        if each["dropped"] is not None:
            age = now - datetime.fromisoformat(each["dropped"])
            due += [path] if abs(age.total_seconds()) >= grace else []

    def note() -> None:
        listed = sorted(waiting.values(), key=lambda each: each["path"].split("/"))
        if listed or before:
            _write_state(place.state("removals.json"), {"removals": listed})

    note()
    for path in sorted(
        due, key=lambda x: (not os.path.basename(x).startswith(("repodata", "index.")), x)
    ):
        file, said = place.of(path), waiting.pop(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(file)  # another file may have come to its place
            if status.st_size == said["size"] and abs(status.st_mtime_ns - said["mtime-ns"]) < 2e9:
                os.unlink(file)
        above = os.path.dirname(file)
        with contextlib.suppress(OSError):  # which has something in it
            while above != place.folder:
                os.rmdir(above)
                above = os.path.dirname(above)
    if due:
        note()
    return len(waiting), len(due)


def _write_record(
    place: Place, bundle: Bundle, rows: t.Dict[str, Row], before: t.Optional[Snapshot]
) -> Snapshot:
    """Write the record of the target, as scripts/keep/snapshots.py does; it is never changed."""
    header = {"schema": 1, **dict(zip(_TARGET, bundle)), "parent": before and before.id}
    header.update({"made-by": "unbundle", "locks": bundle.locks, "proofs": []})
    lines = [header, *([*row[:4], None, None] for row in rows.values())]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    _write_state(place.state("snapshots", f"{bundle.id}.jsonl"), text.encode())
    return Snapshot(bundle.id, bundle.created, bundle.digest, rows)


def _end(place: Place, newest: Snapshot, signer: t.Optional[str]) -> Outcome:
    shutil.rmtree(place.incoming, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place.state("unbundling.json"))
    return Outcome(newest.id, signer, *_read_back(place, newest))


def write_receipt(channel: str) -> Outcome:
    """Read every file of a channel, and write `receipt.json` and `receipt.txt` of its state.

    Raises Refused where it has no snapshot, or is between two.
    """
    with _sentences():
        place = place_of(channel)
        with _run_lock(place):
            journal, newest = _read_state(place, "unbundling.json"), read_newest(place)[1]
            if journal or newest is None:
                message = "holds no snapshot, so that nobody knows what must be in it"
                if journal:
                    message = f"is between two: unbundling {journal.get('id')} was interrupted"
                raise Refused(USAGE, place.folder, message, help="unbundle that bundle again")
            return Outcome(newest.id, None, *_read_back(place, newest))


def _read_receipt(place: Place, newest: Snapshot) -> t.Optional[Receipt]:
    """Return the receipt of this content; None: there is none."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        receipt = parse_receipt(_read(place.state("receipt.json")))
        return receipt if receipt.digest == newest.digest else None
    return None


def _read_back(place: Place, newest: Snapshot) -> t.Tuple[Receipt, t.List[str]]:
    """Read every file that the channel must have, and write down what was found."""

    def check(row: Row) -> t.Optional[str]:
        try:
            return "right" if _is_right(place.of(row.path), row) else _kind(place.of(row.path))
        except OSError as error:
            return error.strerror

    rows = list(newest.rows.values())
    found = _side_by_side(check, rows)
    missing, right = found.count(None), found.count("right")
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    size, damaged = sum(each.size for each in rows), len(rows) - right - missing
    receipt = Receipt(newest.digest, newest.id, len(rows), size, damaged, missing, when)
    for name, data in zip(("receipt.json", "receipt.txt"), render_receipt(receipt)):
        _write_state(place.state(name), data)
    return receipt, [row.path for row, each in zip(rows, found) if each != "right"]


@contextlib.contextmanager
def _sentences() -> t.Iterator[None]:
    """Say in a sentence what the system refused."""
    try:
        yield
    except OSError as error:
        message = f"cannot be read or written: {error.strerror or error}"
        raise Refused(USAGE, str(error.filename or "the disk"), message, help=_AGAIN) from error


def _wrong(names: t.Sequence[str]) -> t.List[t.Tuple[str, str]]:
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [("wrong", each) for each in (*names[:_SHOWN], *more)]


def _join(folder: str, path: str) -> str:
    return os.path.join(folder, *path.split("/"))


def _plain(text: str) -> str:
    """Return text of any origin without what a terminal would obey."""
    return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)[:400]


def damage(channel: str, outcome: Outcome) -> t.Optional[Refused]:
    """Return the error of exit code 1 where the receipt found something."""
    damaged, missing = outcome.receipt.damaged, outcome.receipt.missing
    if outcome.receipt.is_right:
        return None
    message = f"is not what it must be; damaged: {damaged}, missing: {missing}"
    help_ = f"{_FULL}; unbundled here, it replaces what is wrong"
    return Refused(FINDINGS, channel, message, *_wrong(outcome.bad), help=help_)


def summary(outcome: Outcome, *, is_receipt: bool) -> t.List[str]:
    """Say what a run did."""
    receipt, lines = outcome.receipt, []
    if outcome.is_changed:
        said = f"{outcome.placed} files placed, {outcome.waiting} wait for removal"
        lines = [f"unbundled {outcome.id}: {said}, {outcome.removed} removed"]
    elif not is_receipt:
        lines = [f"the channel holds {outcome.id} already"]
    said = f"{receipt.files} files, {receipt.size} bytes, read back {receipt.read}"
    return [*lines, f"receipt: {said}; content digest {receipt.digest}"]


def parse_duration(text: str) -> float:
    """Read `1h 30m` as seconds; raises the error of argparse."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    if re.fullmatch(r"(\s*[0-9]{1,6}\s*[smhdw])+\s*", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 1h, 30m, 0s, 7d")
    return float(sum(int(n) * units[unit] for n, unit in re.findall(r"([0-9]+)\s*([smhdw])", text)))


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    """Run the program with these arguments."""
    parser = argparse.ArgumentParser(prog="unbundle.py", allow_abbrev=False)
    parser.usage = "%(prog)s [options] BUNDLE CHANNEL\n       %(prog)s --receipt CHANNEL"
    add = parser.add_argument
    add("paths", nargs="+", metavar="PATH", help="folders: the bundle, the channel")
    add("--receipt", action="store_true", help="read every file again, and write the receipt")
    add("--allowed-signers", metavar="FILE", help="who may have signed, as ssh-keygen -Y has it")
    help_ = "how long what is no longer named stays for clients at work (default: 1h)"
    add("--grace", type=parse_duration, default=3600, metavar="TIME", help=help_)
    add("-q", "--quiet", action="store_true", help="print problems only")
    options = parser.parse_args(argv)
    if len(options.paths) != (1 if options.receipt else 2):
        parser.error("give a channel" if options.receipt else "give a bundle and a channel")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    say = (lambda line: None) if options.quiet else lambda line: print(_plain(line), flush=True)
    *folders, channel = options.paths
    try:
        if options.receipt:
            outcome = write_receipt(channel)
        else:
            signers, grace = options.allowed_signers, options.grace
            outcome = unbundle(folders[0], channel, signers=signers, grace=grace, say=say)
        for line in summary(outcome, is_receipt=options.receipt):
            say(line)
        refused = damage(channel, outcome)
    except Refused as error:
        refused = error
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run this again: it goes on where it stopped\n")
        return INTERRUPTED
    if refused is None:
        return 0
    lines = [f"error: {refused.subject}: {refused.message}"]
    lines += [f"  {label}  {text}" for label, text in refused.details]
    sys.stderr.write("".join(_plain(x) + "\n" for x in (*lines, f"help: {refused.help}")))
    return refused.code


if __name__ == "__main__":
    sys.exit(main())
