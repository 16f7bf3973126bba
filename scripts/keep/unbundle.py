"""Check a bundle, and bring a channel to what it carries: with Python 3.8 or newer alone.

    python -I -S unbundle.py BUNDLE CHANNEL        check all of it, then add, switch and read back
    python -I -S unbundle.py --receipt CHANNEL     read every file again, and write the receipt

A copy of this file lies in every bundle, so it imports nothing but the standard library; what both
sides must agree on is defined here. All is copied and hashed below the state's `cache/incoming`
before the channel changes; then `state/unbundling.json` says what is under way, until it is done.
"""

import sys

if sys.version_info < (3, 8):  # whatever Python the far side has may be given this file
    found = "this is {0[0]}.{0[1]}\n".format(sys.version_info)
    sys.stderr.write("error: unbundle.py needs Python 3.8 or newer; " + found)
    sys.stderr.write("help: run it with a newer one: python3 -I -S unbundle.py BUNDLE CHANNEL\n")
    sys.exit(2)

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from os.path import abspath, basename, dirname, isdir, isfile, join, lexists, realpath
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Sequence
from unicodedata import normalize

BUNDLE, SIGNATURE, SUMS = "bundle.json", "bundle.json.sig", "SHA256SUMS"
FORMAT, INDEX_KIND, NAMESPACE = 1, "index", "pixi-mirror"  # the last as `ssh-keygen -n` has it
TAR_END = bytes(1024)  # behind the last file of a volume
FINDINGS, USAGE, PROGRAM, INTERRUPTED = 1, 2, 4, 130  # exit codes, as scripts/core/errors.py
_CHUNK, _SHOWN, _IN_OCTAL = 1 << 20, 5, 8 << 30  # bytes; names; a size no tar header can say
_SCRATCH = ".00000000.pixi-mirror.tmp"  # a file on its way, as in scripts/core/scratch.py
_FULL = "on the builder: pixi run bundle OUT --full"
_BACK = "to go back: --allow-older; or pixi run rollback ID on the builder, and bundle"
_CARRY, _ID_TIME = "carry the bundle again", "%Y%m%dT%H%M%SZ"
_NAMING = ("repodata", "index.")  # how files begin that name others
_NOT_WHOLE = "is not whole, or was altered; nothing was changed"
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\xb9\xb2\xb3]) *(\.|$)")
_SHA256, _INTEGER = re.compile("[0-9a-f]{64}").fullmatch, re.compile("[0-9]{1,20}").fullmatch
_TIME = re.compile(r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\+00:00").fullmatch
_TOOL = re.compile(r"unbundle\.py|LABEL\.txt|locks/[1-9][0-9]*/(pixi\.lock|[a-z]+\.toml)").fullmatch
_Say = Optional[Callable[[str], object]]


class Refused(Exception):  # noqa: N818 - it is an answer
    """What ends a run: its exit code, the thing, what is wrong with it, help, and details."""

    def __init__(self, code: int, subject: str, message: str, help: str, details: Any = ()) -> None:
        super().__init__(subject, message)
        self.code, self.subject, self.message, self.help = code, subject, message, help
        more = [f"and {len(details) - _SHOWN} more"] if len(details) > _SHOWN else []
        self.details = [*details[:_SHOWN], *more]


class Row(NamedTuple):
    """A file of a channel or a bundle: its path with `/`, its kind, and size in bytes."""

    path: str
    kind: str
    size: int
    sha256: str
    # Its bytes in a bundle: None: below `files`; a number: in that volume; `=PATH`: those of PATH.
    where: "int | str | None" = None


class Bundle(NamedTuple):
    """What `bundle.json` says. `rows` are the files that the base has not, or has otherwise."""

    id: str
    created: str
    layout: str
    digest: str
    files: int
    artifacts: int
    size: int
    base: "list[str] | None"  # id and content digest; None: all of the target is here
    volumes: "list[Row] | None"
    tools: "list[Row]"
    locks: "list[list[str | None]]"  # label, sha256 of lock and of manifest
    rows: "list[Row]"
    removed: "list[str]"


class Receipt(NamedTuple):
    """What was found as every file was read; `digest` and `size` are of what must be there."""

    digest: str
    id: str
    files: int
    size: int
    damaged: int
    missing: int
    read: str


# What the channel must have, as its newest record says: rows by path.
Snapshot = NamedTuple("Snapshot", [("id", str), ("digest", str), ("rows", "dict[str, Row]")])
# What a run did: a receipt that is right, who signed or None, and how many files were placed
# (None: the channel held it already), wait for their removal, and are removed.
Outcome = NamedTuple("Outcome", [("receipt", Receipt), ("signer", Any), ("counts", "list[Any]")])


def content_digest(files: "Iterable[tuple[str, int, str]]") -> str:
    """Return the sha256 of files, of path (with `/`), size in bytes and sha256 of each alone."""
    rows = sorted(files, key=lambda each: each[0].encode())
    text = "".join(f"{path}\0{size}\0{sha256}\n" for path, size, sha256 in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def sums_text(files: "Iterable[tuple[str, str]]") -> bytes:
    """Write SHA256SUMS, which `sha256sum -c` reads, of paths and their sha256."""
    rows = sorted(files, key=lambda each: each[0].encode())
    return "".join(f"{sha256}  {path}\n" for path, sha256 in rows).encode()


def tar_header(path: str, size: int, created: str) -> bytes:
    """Return the blocks before `files/PATH`: ustar, with PAX records for what that cannot say."""
    name, records = f"files/{path}".encode(), b""
    when = int(datetime.fromisoformat(created).timestamp())  # of all files: when the target was
    if len(name) > 100 or max(name) > 127:
        records += _pax_record(b"path", name)
    if size >= _IN_OCTAL:
        records += _pax_record(b"size", b"%d" % size)
    before = _ustar(b"files/PaxHeader", len(records), when, b"x") + records + padding(len(records))
    header = _ustar(name[:100], size if size < _IN_OCTAL else 0, when, b"0")
    return before + header if records else header


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


def publish_order(path: str) -> "tuple[int, int, str]":
    """Return what index files are sorted by as they are published: first what others name."""
    ends = ("repodata.json.zst", "repodata_shards.msgpack.zst", "index.v1_json", "index.html")
    ranks = {name: rank for rank, name in enumerate((*ends, "repodata.json"), 1)}
    return ranks.get(basename(path), 0), -path.count("/"), path  # pages: the deepest first


def render_receipt(receipt: Receipt) -> "tuple[bytes, bytes]":
    """Write a receipt as JSON, and as lines for people: each less than a kilobyte."""
    values = {"receipt": FORMAT, **dict(zip(RECEIPT_KEYS, receipt))}
    text = "".join(f"{key}: {value}\n" for key, value in values.items())
    return (json.dumps(values) + "\n").encode(), text.encode()


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt in either form, also typed off; raises ValueError, with a sentence."""
    try:  # PowerShell writes UTF-16
        text = data.decode("utf-16" if data[:1] in {b"\xff", b"\xfe"} else "utf-8-sig").strip()
        rows = (line.partition(":") for line in text.splitlines() if line.strip())
        pairs = [(key.strip().lower(), value.strip()) for key, _, value in rows]
        document = dict(_parse_json(text.encode())) if text[:1] == "{" else _once(pairs)
        document = {x: int(y) if _INTEGER(f"{y}") else y for x, y in document.items()}
        for key, at in (("content-digest", 0), ("id", 16)):  # capitals or not
            said = str(document.get(key))
            document[key] = said[:at].upper() + said[at:].lower()
        return Receipt(*_fields(document, "receipt", *RECEIPT_KEYS)[1:])
    except _DAMAGE as error:
        raise ValueError(str(error)) from None


def check_name(path: Any) -> bool:
    """Return True; raises ValueError for a path that not every disk keeps as it is, or outside."""
    if type(path) is not str or not path or len(path) > 1000 or path.count("/") > 63:
        raise ValueError(f"{path!r:.200} is no string, is empty, or is over-long")
    for part in path.split("/"):
        is_ours = part == ".pixi-mirror" or part.endswith(".pixi-mirror.tmp")
        is_odd = not part.isprintable() or not set('<>:"\\|?*').isdisjoint(part)
        found = (
            part in {"", ".", ".."} and "leads out of the channel, or is absolute",
            is_odd and "has a character that not every disk takes",
            part != part.strip().rstrip(".") and "has a space or dot at an end, lost on Windows",
            (is_ours or _DEVICE.match(part)) and "is reserved",
            len(part.encode()) > 255 and "is over-long",
        )
        if any(found):
            raise ValueError(f"{path!r:.200} {next(filter(None, found))}")
    return True


def find_clash(paths: "Iterable[str]") -> "tuple[str, str] | None":
    """Find two paths that some disk keeps as one: case, composed accents, a file and a folder."""
    seen: "dict[str, str]" = {}
    for path in (*paths, *sorted(_folders(paths))):
        plain = normalize("NFC", normalize("NFD", path).casefold())
        if plain in seen:
            return seen[plain], path
        seen[plain] = path
    return None


def _folders(paths: "Iterable[str]") -> "set[str]":
    """Return all folders that the files are in, relative as they are."""
    return {"/".join(x[:end]) for x in (y.split("/") for y in paths) for end in range(1, len(x))}


RECEIPT_KEYS = ("content-digest", "id", "files", "bytes", "damaged", "missing", "read")
_TARGET = ("id", "created", "layout", "content-digest", "files", "artifacts", "bytes")
_ROW = ("path", "kind", "size", "sha256", "where")
_REMOVAL = ("path", "size", "mtime-ns", "dropped")
_LOCK = ("label", "lock-sha256", "manifest-sha256")
_NUMBERS = ("files", "artifacts", "bytes", "damaged", "missing", "size")
_CHECKS: "dict[str, Callable[[Any], Any]]" = {
    **dict.fromkeys(_NUMBERS, lambda value: type(value) is int and 0 <= value < 1 << 62),
    **dict.fromkeys(_LOCK[1:], lambda value: value is None or _SHA256(value)),
    **dict.fromkeys(("content-digest", "sha256"), _SHA256),
    **dict.fromkeys(("created", "read"), _TIME),
    "id": re.compile("[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}").fullmatch,
    "kind": re.compile(f"conda|wheel|sdist|{INDEX_KIND}").fullmatch,
    "label": lambda value: type(value) is str,
    "layout": re.compile("flat|by-channel").fullmatch,
    "path": check_name,
    "receipt": lambda value: type(value) is int and value == FORMAT,
    "where": lambda value: value is None or type(value) in {int, str},
}


def _fields(value: Any, *names: str) -> "list[Any]":
    """Return the values of an object that has just these keys, each as it must be."""
    if type(value) is not dict or value.keys() != set(names):
        raise ValueError(f"it must have {', '.join(names)}, each once, and nothing else")
    for name in names:
        if not _CHECKS[name](value[name]):
            raise ValueError(f"its {name} cannot be {value[name]!r:.80}")
    return [value[name] for name in names]


def _once(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    is_twice = len(dict(pairs)) != len(pairs)
    if is_twice or dict(pairs).get("schema", 1) != 1:  # of a state: a newer version has written it
        raise ValueError("it has a key twice" if is_twice else "its schema is not 1")
    return dict(pairs)


def _parse_json(data: bytes) -> Any:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_once)


def parse_bundle(data: bytes) -> Bundle:
    """Read `bundle.json`; raises Refused where it is not, word for word, what the format says."""
    try:
        document = _parse_json(data)
        if type(document["format"]) is int and document["format"] != FORMAT:
            said, help_ = document["format"], "use the unbundle.py of the pixi-mirror that made it"
            raise Refused(FINDINGS, BUNDLE, f"is of format {said}, not {FORMAT}", help_)
        return _parse_document(document)
    except _DAMAGE as error:
        raise Refused(FINDINGS, BUNDLE, "is damaged or altered", _CARRY, [str(error)]) from None


def _parse_document(document: "dict[str, Any]") -> Bundle:
    keys = ("format", "base", "target", "carried", "volumes", "tools", "locks", "files", "removed")
    if document.keys() != set(keys) or type(document["format"]) is not int:
        raise ValueError(f"its keys are not {', '.join(keys)}")
    _, base, target, carried, volumes, tools, locks, files, removed = (document[x] for x in keys)
    if {type(locks), type(files), type(removed), type(volumes or [])} != {list}:
        raise TypeError("what must be a list is none")
    base = None if base is None else _fields(base, "id", "content-digest")
    if volumes is not None:
        volumes = [Row(x.pop("name"), "", *_fields(x, "size", "sha256")) for x in volumes]
        if [x.path for x in volumes] != [f"volume-{x + 1:03}.tar" for x in range(len(volumes))]:
            raise ValueError("the volumes are not numbered from 1 on")
    tools = [Row(name, "", *_fields(said, "size", "sha256")) for name, said in tools.items()]
    if not all(_TOOL(each.path) for each in tools):
        raise ValueError("there is a file that no bundle has")
    rows = [_parse_row(each, volumes) for each in files]
    paths = {*(each.path for each in rows), *(each for each in removed if check_name(each))}
    if len(paths) != len(rows) + len(removed):
        raise ValueError("a path is there twice")
    sizes = [each.size for each in rows if not isinstance(each.where, str)]
    if _fields(carried, "files", "bytes") != [len(sizes), sum(sizes)] or (removed and not base):
        raise ValueError("what is carried, or removed, is not what it says")
    id_, created, *others = _fields(target, *_TARGET)
    if id_ != f"{datetime.fromisoformat(created):{_ID_TIME}}-{others[1][:8]}":
        raise ValueError("the id of the target is not of its time and its content")
    locks = [_fields(each, *_LOCK) for each in locks]
    return Bundle._make([id_, created, *others, base, volumes, tools, locks, rows, removed])


def _parse_row(said: Any, volumes: "list[Row] | None") -> Row:
    if type(said) is not list or len(said) != len(_ROW):
        raise ValueError(f"a file is not of {', '.join(_ROW)}")
    row = Row(*_fields(dict(zip(_ROW, said)), *_ROW))
    places = (None,) if volumes is None else range(1, len(volumes) + 1)
    is_same = isinstance(row.where, str) and row.where[:1] == "=" and check_name(row.where[1:])
    if row.where not in places and not is_same:
        raise ValueError(f"{row.where!r:.80} is no place in this bundle")
    return row


def target_rows(bundle: Bundle, base: "dict[str, Row]") -> "dict[str, Row]":
    """Return every file of the target, by path in order; Refused where it is not what it says."""
    rows = {**base, **{each.path: each for each in bundle.rows}}
    wrong = [path for path in bundle.removed if rows.pop(path, None) is None]
    wrong += [x.path for x in bundle.rows if type(x.where) is str and not _source(x, rows, base)]
    clash = find_clash(rows)
    wrong += ["{} and {}, which some disk keeps as one".format(*clash)] if clash else []
    files = sorted(rows.values(), key=lambda each: each.path.encode())
    counts = (len(files), sum(x.kind != INDEX_KIND for x in files), sum(x.size for x in files))
    wrong += ["the number of files, or their bytes"] if counts != bundle[4:7] else []
    if content_digest((each.path, each.size, each.sha256) for each in files) != bundle.digest:
        wrong.append("the content digest")
    if wrong:
        raise Refused(FINDINGS, BUNDLE, "does not make what it says", _FULL, wrong)
    return {each.path: each for each in files}


def _source(row: Row, *known: "dict[str, Row]") -> "Row | None":
    """Return the file whose bytes a row has: one that is carried, else one of the base."""
    found = [rows[str(row.where)[1:]] for rows in known if str(row.where)[1:] in rows]
    return next((x for x in found if x[2:4] == row[2:4] and not isinstance(x.where, str)), None)


def check_signature(folder: str, data: bytes, signers: str) -> str:
    """Return who signed `bundle.json`, by ssh-keygen and a file of allowed signers; or refuse."""
    if not (isfile(signers) and os.access(signers, os.R_OK)):
        raise Refused(USAGE, signers, "is no file that can be read", "name that of allowed signers")
    program, signature = shutil.which("ssh-keygen"), join(folder, SIGNATURE)
    if program is None:
        raise Refused(PROGRAM, "ssh-keygen", "is not on PATH", "install OpenSSH 8.2 or newer")
    help_ = "take a bundle that one of them signed; on the builder: pixi run bundle OUT --sign KEY"
    if _kind(signature) != "file":
        raise Refused(FINDINGS, BUNDLE, f"is not signed: there is no {SIGNATURE}", help_)

    def run(*options: str) -> "tuple[bool, str, str]":
        command = (str(program), "-Y", *options, "-s", signature, "-f", signers)
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        said = [each.decode("utf-8", "replace").strip() for each in (done.stdout, done.stderr)]
        return done.returncode == 0, said[0], said[1]

    is_known, principals, said = run("find-principals")
    for principal in principals.splitlines() if is_known else ():
        is_good, good, said = run("verify", "-I", principal, "-n", NAMESPACE)
        if is_good:
            return f"{principal} ({good.rpartition(' with ')[2]})"
    if not is_known and "No principal matched" not in said:  # of each signature it looks at
        raise Refused(PROGRAM, "ssh-keygen", f"fails: {said[:99]}", "see to OpenSSH (8.2 or newer)")
    message = "its signature is of none of the allowed signers, or it was altered"
    raise Refused(FINDINGS, BUNDLE, message, help_, [signers, *said.splitlines()[-1:]])


def check_files(folder: str, bundle: Bundle, data: bytes) -> None:
    """Refuse a bundle that lacks a file, has one more, or of another size; hash the small ones."""
    files = [*bundle.tools, *(bundle.volumes or ())]
    if bundle.volumes is None:
        carried = [each for each in bundle.rows if not isinstance(each.where, str)]
        files += [each._replace(path=f"files/{each.path}") for each in carried]
    files.append(Row(BUNDLE, "", len(data), hashlib.sha256(data).hexdigest()))
    text = sums_text((each.path, each.sha256) for each in files)
    files.append(Row(SUMS, "", len(text), hashlib.sha256(text).hexdigest()))
    found: "dict[str, int | str | None]" = {}
    wanted, folders = {each.path: each.size for each in files}, [""]
    for above in folders:
        for entry in os.scandir(join(folder, above)):
            name, kind = above + entry.name, _kind(entry.path)
            if kind == "folder":
                folders.append(f"{name}/")
            elif (name, kind) != (SIGNATURE, "file"):
                found[name] = os.lstat(entry.path).st_size if kind == "file" else kind
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} is not of this bundle" for name in sorted(found.keys() - wanted.keys())]
    wrong += [f"{x}: {found[x]}, not {y} bytes" for x, y in wanted.items() if found.get(x, y) != y]
    small = () if wrong else (*bundle.tools, files[-1])
    wrong += [f"{x.path}: its sha256" for x in small if not _is_right(join(folder, x.path), x)]
    if wrong:
        raise Refused(FINDINGS, "the bundle", _NOT_WHOLE, _CARRY, wrong)


def _kind(path: str) -> "str | None":
    """Tell what is there itself, no link followed; None: nothing."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.lstat(path)
        is_junction = getattr(status, "st_reparse_tag", 0) == 0xA0000003  # a link of Windows
        kinds = {} if is_junction else {stat.S_IFDIR: "folder", stat.S_IFREG: "file"}
        return kinds.get(stat.S_IFMT(status.st_mode), "link or device")
    return None


@contextlib.contextmanager
def _opened(path: str, mode: str = "rb") -> "Iterator[Any]":
    """Open a file, through no link; an error names it, also where the system would not."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
    try:
        with open(path, mode, opener=lambda name, more: os.open(name, more | flags, 0o666)) as file:
            yield file
    except OSError as error:
        error.filename = error.filename or path
        raise


def _read(path: str) -> bytes:
    with _opened(path) as file:
        return bytes(file.read(min(os.fstat(file.fileno()).st_size, 256 << 20)))  # a million rows


def _is_like(path: str, row: Row) -> bool:
    return _kind(path) == "file" and os.lstat(path).st_size == row.size


def _is_right(path: str, row: Row) -> bool:
    try:
        return _is_like(path, row) and _has_bytes(path, row)
    except OSError as error:  # what the disk cannot read is not right; may not: nobody knows
        if isinstance(error, PermissionError) or error.errno in {12, 23, 24}:  # ENOMEM, EMFILE
            raise
    return False


def _has_bytes(path: str, row: Row, at: int = 0, head: bytes = b"", copy: str = os.devnull) -> bool:
    """Read a file, or one behind its header in a volume, into a copy; tell whether it is right."""
    digest, left = hashlib.sha256(), row.size
    view = memoryview(bytearray(min(_CHUNK, left)))
    with _opened(path) as file, _opened(copy, "wb") as target:
        file.seek(at)
        is_right = file.read(len(head)) == head
        while is_right and left:
            count = file.readinto(view[: min(left, _CHUNK)])
            is_right = count > 0
            digest.update(view[:count])
            target.write(view[:count])
            left -= count
        end = padding(row.size) if head else b""
        if os.name == "nt" and copy != os.devnull:  # where nothing makes all files durable at once
            target.flush()
            os.fsync(target.fileno())
        return is_right and file.read(len(end)) == end and digest.hexdigest() == row.sha256


def _side_by_side(do: "Callable[[Row], Any]", rows: "Iterable[Row]") -> "list[Any]":
    """Do it for all, in threads: reading, hashing and writing free the interpreter lock."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(do, rows))


def _replace(source: str, target: str) -> None:
    """Rename over what is there; tried again where Windows has it open in another program."""
    for left in range(100, -1, -1):
        try:
            os.replace(source, target)
            break
        except OSError as error:
            if getattr(error, "winerror", None) not in {5, 32, 33} or not left:
                raise OSError(error.errno, error.strerror, target) from None
        time.sleep(0.1)


def _write(path: str, data: "bytes | dict[str, Any]") -> None:
    """Replace a file of the state whole, durably."""
    if not isinstance(data, bytes):
        data = (json.dumps({"schema": 1, **data}, indent=1) + "\n").encode()
    os.makedirs(dirname(path), exist_ok=True)
    with _opened(path + _SCRATCH, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _replace(path + _SCRATCH, path)


@contextlib.contextmanager
def _parsing(path: str) -> "Iterator[None]":
    try:
        yield
    except _DAMAGE as error:
        help_ = f"take the newer unbundle.py, or restore it from a backup; else remove it, {_FULL}"
        raise Refused(USAGE, path, "is damaged", help_, [str(error)]) from None


class _Channel:
    """A channel folder and its working state, where scripts/core/channel_paths.py has it."""

    def __init__(self, folder: str, say: _Say) -> None:
        self.folder, self.say = realpath(folder), say or (lambda _: None)
        self.root = join(dirname(self.folder), ".pixi-mirror", basename(self.folder))
        self.incoming = join(self.root, "cache", "incoming")

    def of(self, path: str) -> str:
        return join(self.folder, path)

    def state(self, *names: str) -> str:
        return join(self.root, "state", *names)

    @contextlib.contextmanager
    def locked(self) -> "Iterator[None]":
        """Hold the lock file that every run of pixi-mirror holds (scripts/core/file_lock.py)."""
        made = [self.root]
        while not lexists(made[-1]):
            made.append(dirname(made[-1]))
        try:
            os.makedirs(self.root, exist_ok=True)
            with _opened(join(self.root, "run.lock"), "a+b") as file:
                try:
                    if sys.platform == "win32":
                        import ctypes
                        import msvcrt

                        handle = ctypes.c_void_p(msvcrt.get_osfhandle(file.fileno()))
                        if not ctypes.windll.kernel32.LockFile(handle, 0, 1 << 30, 1, 0):
                            raise ctypes.WinError()
                    else:
                        import fcntl

                        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    made.clear()  # what is there is of that run
                    message = f"another run is at work on it, or it has no locks: {error.strerror}"
                    raise Refused(USAGE, self.folder, message, "wait until it has ended") from None
                file.truncate(0)  # the number in it is that of a run before
                yield
        finally:
            if made and not lexists(self.state("unbundling.json")):
                shutil.rmtree(self.incoming, ignore_errors=True)
            if len(made) > 1 and not lexists(self.state()):  # of a refusal nothing is left
                shutil.rmtree(self.root, ignore_errors=True)
                with contextlib.suppress(OSError):
                    for each in made[1:-1]:
                        os.rmdir(each)

    def read(self, name: str) -> "dict[str, Any]":
        """Read a JSON file of the state; empty where there is none."""
        path = self.state(name)
        with _parsing(path):
            return dict(_parse_json(_read(path))) if lexists(path) else {}

    def newest(self) -> "tuple[set[str], Snapshot | None]":
        """Return the ids of all snapshots that the channel has, or had, and the newest of them."""
        folder = self.state("snapshots")
        ids = {x[:-6] for x in (_kind(folder) and os.listdir(folder)) or () if x.endswith(".jsonl")}
        if not ids:
            return ids, None
        path = join(folder, f"{max(ids)}.jsonl")
        with _parsing(path):
            header, *lines = map(_parse_json, _read(path).splitlines())
            rows = {each[0]: Row(*each[:4]) for each in lines}
            if header["content-digest"] != content_digest((x[0], *x[2:4]) for x in rows.values()):
                raise ValueError("it has not its content digest")
        return ids, Snapshot(max(ids), header["content-digest"], rows)

    def journal(self, newest: Any, bundle: "Bundle | None") -> "tuple[str | None, list[str]]":
        """Return to which snapshot it is under way, and what may have been placed for it."""
        said = self.read("unbundling.json")
        with _parsing(self.state("unbundling.json")):
            is_valid = said.get("before") == (newest and newest.id)  # else one was left since then
            under_way = said.get("id") if is_valid else None
            added = [x for x in said.get("added", []) if check_name(x)]
        if under_way is not None and (not bundle or (bundle.base and under_way != bundle.id)):
            message = f"is between two snapshots: unbundling {under_way} was interrupted"
            help_ = f"unbundle {under_way} again, which ends it; or {_FULL}"
            raise Refused(USAGE, self.folder, message, help_)
        return under_way, added

    def removals(self) -> "dict[str, tuple[Any, ...]]":
        """Return what waits for its removal, by path: all that scripts/channel/state.py takes."""
        rows, found = self.read("removals.json").get("removals", []), {}
        with _parsing(self.state("removals.json")):
            for path, size, mtime, dropped in ([each[x] for x in _REMOVAL] for each in rows):
                is_odd = {type(size), type(mtime)} != {int} or b"\0" in os.fsencode(path)
                if is_odd or not abspath(self.of(path)).startswith(join(self.folder, "")):
                    raise ValueError(f"{path!r:.200}, {size!r:.80}, {mtime!r:.80}")
                when = dropped and datetime.fromisoformat(dropped).astimezone(timezone.utc)
                found[path] = (path, size, mtime, when and when.isoformat())
        return found

    def bring(self, folder: str, bundle: Bundle, by: Any, grace: int, *, older: bool) -> Outcome:
        """Bring it to what a bundle carries."""
        ids, newest = self.newest()
        last = "" if older or newest is None else str(self.read("unbundled.json").get("id", ""))
        under_way, added = self.journal(newest, bundle)
        is_held = newest is not None and newest.digest == bundle.digest
        if newest is not None and is_held and under_way is None:
            with contextlib.suppress(*(() if bundle.base else (Refused,))):  # a whole one mends it
                receipt = self.read_back(newest)
                if last or not isdir(self.state("workspaces")):  # its builder's own, looked at
                    _write(self.state("unbundled.json"), {"id": max(bundle.id, last)})
                self.check_output_paths([*self.removals()])
                said, *counts = self.let_wait(newest.rows, set(), grace)
                self.say(f"the channel holds {newest.id} already: {said}")
                return Outcome(receipt, by, [None, *counts])
        elif not is_held:
            self.refuse_order(bundle, ids, newest, last)
        base = newest.rows if newest is not None and bundle.base is not None else {}
        rows = target_rows(bundle, base)
        wrong = [x for x, y in base.items() if rows.get(x) == y and not _is_like(self.of(x), y)]
        if wrong:
            message = "is not as its snapshot says: files are missing, or have another size"
            raise Refused(FINDINGS, self.folder, message, _FULL, wrong)
        stale = {*(newest.rows if newest else ()), *added} - rows.keys()
        for each in (x[0] for x in os.walk(self.state("workspaces"))):  # who mirrors here, too
            with _parsing(each):
                named = self.read(join(each, "workspace.json"))
                wrong = sorted(stale.intersection(x[0] for x in named.get("artifacts", ())))
                if wrong:
                    message = f"would lose what {named['manifest']} mirrors here by its lock"
                    help_ = f"mirror that on the builder (`locks`); or elsewhere, and remove {each}"
                    raise Refused(USAGE, self.folder, message, help_, wrong)
        self.check_output_paths([*(each.path for each in bundle.rows), *stale, *self.removals()])
        staged = self.stage(folder, bundle, base)
        added = sorted({*added, *(each.path for each, _ in staged)})
        journal = {"id": bundle.id, "before": newest and newest.id, "added": added}
        _write(self.state("unbundling.json"), journal)
        self.switch(bundle.layout, staged)
        said, *counts = self.let_wait(rows, stale, grace)
        getattr(os, "sync", lambda: None)()  # what the record says is on the disk before it is said
        _write(self.state("unbundled.json"), {"id": max(bundle.id, last)})
        if newest is None or not is_held:
            newest = self.write_record(bundle, rows, newest)
        self.say(f"unbundled {newest.id}: placed {len(staged)}, {said}")
        return Outcome(self.read_back(newest), by, [len(staged), *counts])

    def write_record(self, bundle: Bundle, rows: "dict[str, Row]", before: Any) -> Snapshot:
        """Write the record of the target, as scripts/keep/snapshots.py does; it never changes."""
        created = datetime.fromisoformat(bundle.created)
        if before is not None:  # which may be of this side: it must sort behind all the same
            last = datetime.strptime(f"{before.id[:16]}+0000", f"{_ID_TIME}%z")
            created = max(created, last + timedelta(seconds=1))
        id_ = f"{created:{_ID_TIME}}-{bundle.digest[:8]}"
        target = dict(zip(_TARGET, (id_, created.isoformat(), *bundle[2:])))
        header = {"schema": 1, **target, "parent": before and before.id, "made-by": "unbundle"}
        header.update({"locks": bundle.locks, "proofs": []})
        lines = map(json.dumps, (header, *([*x[:4], None, None] for x in rows.values())))
        _write(self.state("snapshots", f"{id_}.jsonl"), "\n".join((*lines, "")).encode())
        return Snapshot(id_, bundle.digest, rows)

    def refuse_order(self, bundle: Bundle, ids: "set[str]", newest: Any, last: str) -> None:
        """Refuse a replay, by what was unbundled `last`, and a delta of another base."""
        base, help_ = bundle.base, f"{_FULL}; or --since-receipt, with the receipt of this channel"
        fits = base is None or (newest and newest.digest) == base[1]
        if newest is None and base is not None:
            help_, message = _FULL, "holds no snapshot, and this bundle has only what follows one"
        elif fits and bundle.id[:16] >= last[:16]:
            return
        elif bundle.id[:16] <= last[:16]:
            message = "holds a later snapshot than this bundle's: replayed, or out of order"
            help_ = _BACK if fits else help_
        elif base is not None and base[1][:8] in {each[-8:] for each in ids}:
            message = "has moved on from the snapshot that this bundle follows"
        else:
            help_ = f"unbundle those between, in their order; or {_FULL}"
            message = "never held the snapshot that this bundle follows: one was skipped"
        named = [("the bundle is", (bundle.id, bundle.digest)), ("it follows", base)]
        named.append(("the channel has", newest and newest[:2]))
        details = [f"{label} {said[0]}, content digest {said[1]}" for label, said in named if said]
        details += [f"it unbundled last {last}"] if last not in {"", newest and newest.id} else []
        raise Refused(FINDINGS, self.folder, message, help_, details)

    def check_output_paths(self, paths: "Sequence[str]") -> None:
        """Refuse to write through a link, over a folder, or onto another disk than the state's."""
        wrong = [path for path in map(self.of, paths) if _kind(path) == "folder"]
        ours = [self.root, self.state("snapshots"), self.incoming]
        ours += [*map(dirname, ours), *map(self.of, _folders(paths))]
        ours += [self.folder] if lexists(self.folder) and not isdir(self.folder) else []
        wrong += [each for each in ours if _kind(each) not in {None, "folder"}]
        disks = {os.stat(each).st_dev for each in (*ours, self.folder) if isdir(each)}
        if wrong or len(disks) > 1:
            message = "is a link, of another kind than it must be, or has a second disk in it"
            help_ = "put the folder and its .pixi-mirror on one disk, with no links in them"
            raise Refused(USAGE, self.folder, message, help_, wrong)

    def stage(self, folder: str, bundle: Bundle, base: "dict[str, Row]") -> "list[tuple[Row, str]]":
        """Copy and hash what the channel lacks; return it with the files that are to be renamed."""
        os.makedirs(self.incoming, exist_ok=True)
        named, wrong = {each.path: each for each in bundle.rows}, []
        staged = {path: join(self.incoming, f"{number:06}") for number, path in enumerate(named)}
        origins = {path: (join(folder, f"files/{path}"), 0, b"") for path in named}
        for number, volume in enumerate(bundle.volumes or (), 1):
            offset, file = 0, join(folder, volume.path)
            for row in (each for each in bundle.rows if each.where == number):
                origins[row.path] = (file, offset, tar_header(row.path, row.size, bundle.created))
                offset += len(origins[row.path][2]) + row.size + len(padding(row.size))
            end = Row("", "", len(TAR_END), hashlib.sha256(TAR_END).hexdigest())
            if volume.size != offset + len(TAR_END) or not _has_bytes(file, end, offset):
                wrong.append(f"{volume.path} has not the size of its files, or another end")
        carried = [each for each in bundle.rows if not isinstance(each.where, str)]
        there = [x for x in carried if _is_like(self.of(x.path), x) or _is_like(staged[x.path], x)]
        needed = sum(each.size for each in carried) - sum(each.size for each in there)
        free = shutil.disk_usage(self.root).free
        if needed > free:
            message = f"has too little room: {needed} bytes are needed, {free} are free"
            raise Refused(USAGE, self.folder, message, "make room, then run this again")

        def get(row: Row) -> "tuple[Row, bool, str]":
            copy = staged[row.path]
            for each in (copy, self.of(row.path)):
                if _is_right(each, row):
                    return row, each == copy, ""
            with contextlib.suppress(FileNotFoundError):
                os.unlink(copy)
            if not isinstance(row.where, str):
                is_right = _has_bytes(origins[row.path][0], row, *origins[row.path][1:], copy=copy)
                return row, True, "" if is_right else f"{row.path} is not what {BUNDLE} says"
            path = (_source(row, named, base) or row).path
            for origin in (staged.get(path, ""), self.of(path)):
                if _is_right(origin, row):
                    with contextlib.suppress(OSError):  # an index file gets a time of its own
                        os.link(origin, copy if row.kind != INDEX_KIND else origin)
                    if lexists(copy) or _has_bytes(origin, row, copy=copy):
                        return row, True, ""
            return row, False, f"{path} of the channel is not what its snapshot says"

        results = _side_by_side(get, carried)
        results += _side_by_side(get, [each for each in bundle.rows if isinstance(each.where, str)])
        wrong += [said for _, _, said in results if said]
        if wrong:
            raise Refused(FINDINGS, "the bundle", _NOT_WHOLE, _CARRY, wrong)
        return [(row, staged[row.path]) for row, is_staged, _ in results if is_staged]

    def switch(self, layout: str, staged: "Iterable[tuple[Row, str]]") -> None:
        """Rename all into the channel: artifacts, then what names them, `repodata.json` last."""
        said = self.read("channel.json")
        if said.get("layout") != layout:
            _write(self.state("channel.json"), {"adopted": False, **said, "layout": layout})
        ordered = sorted(staged, key=lambda x: (x[0].kind == INDEX_KIND, publish_order(x[0].path)))
        for row, file in ordered:
            path = self.of(row.path)
            os.makedirs(dirname(path), exist_ok=True)
            if row.kind == INDEX_KIND:  # of whose time a server tells whole seconds
                last = os.lstat(path).st_mtime if lexists(path) else 0
                os.utime(file, (max(time.time(), int(last) + 1),) * 2)
            _replace(file, path)

    def let_wait(self, rows: "dict[str, Row]", stale: "set[str]", grace: float) -> "list[Any]":
        """List what is no longer named, remove what has waited for `grace` seconds; tell both."""
        now, was, removed = datetime.now(timezone.utc), self.removals(), 0
        waiting = {x: (*was[x][:3], was[x][3] or now.isoformat()) for x in was.keys() - rows.keys()}
        for path in (x for x in stale - waiting.keys() if _kind(self.of(x)) == "file"):
            status = os.lstat(self.of(path))
            waiting[path] = (path, status.st_size, status.st_mtime_ns, now.isoformat())
        for path in sorted(waiting, key=lambda x: (not basename(x).startswith(_NAMING), x)):
            file, (_, size, mtime, when) = self.of(path), waiting[path]
            if abs((now - datetime.fromisoformat(when)).total_seconds()) < grace:
                continue
            del waiting[path]
            removed += 1
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = os.lstat(file)  # another file may have come to its place
                if abs(status.st_mtime_ns - mtime) < 2e9 and status.st_size == size:
                    os.unlink(file)
            with contextlib.suppress(OSError):  # a folder that has something in it
                os.removedirs(dirname(file))
        if waiting != was:
            listed = [dict(zip(_REMOVAL, each)) for each in sorted(waiting.values())]
            _write(self.state("removals.json"), {"removals": listed})
        return [f"waiting for removal {len(waiting)}, removed {removed}", len(waiting), removed]

    def read_back(self, newest: Snapshot) -> Receipt:
        """Read every file, and write and say the receipt; Refused where one is not right."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.state("unbundling.json"))
        rows = newest.rows.values()
        found = _side_by_side(lambda row: _is_right(self.of(row.path), row), rows)
        wrong = [path for path, is_right in zip(newest.rows, found) if not is_right]
        missing = sum(_kind(self.of(path)) is None for path in wrong)
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        numbers = (len(rows), sum(each.size for each in rows), len(wrong) - missing, missing)
        receipt = Receipt(newest.digest, newest.id, *numbers, when)
        for name, data in zip(("receipt.txt", "receipt.json"), render_receipt(receipt)[::-1]):
            _write(self.state(name), data)
        if wrong:
            message = f"is not what it must be; damaged: {numbers[2]}, missing: {missing}"
            help_ = f"{_FULL}; unbundled here, it replaces what is wrong"
            raise Refused(FINDINGS, self.folder, message, help_, wrong)
        said = f"{len(rows)} files, {numbers[1]} bytes, read back {when}"
        self.say(f"receipt: {said}; content digest {newest.digest}")
        return receipt


@contextlib.contextmanager
def _sentences() -> "Iterator[None]":
    """Say in a sentence what the system refused."""
    try:
        yield
    except OSError as error:
        message = f"cannot be read or written: {error.strerror or error}"
        help_ = "see to it, then run this again: it goes on where it stopped"
        raise Refused(USAGE, str(error.filename or "the disk"), message, help_) from error


@_sentences()
def unbundle(
    folder: str,
    channel: str,
    *,
    signers: "str | None" = None,
    grace: int = 3600,
    allow_older: bool = False,
    say: _Say = None,
) -> Outcome:
    """Bring a channel to a bundle and read it back, or raise Refused; `grace` is in seconds."""
    place, folder, signer = _Channel(channel, say), realpath(folder), None
    if _kind(join(folder, BUNDLE)) != "file":
        message = f"is no bundle: it has no file {BUNDLE}, which is written last"
        raise Refused(FINDINGS, folder, message, "carry the whole folder that was made")
    data = _read(join(folder, BUNDLE))
    if signers is not None:
        signer = check_signature(folder, data, signers)
        place.say(f"signed by {signer}")
    elif lexists(join(folder, SIGNATURE)):
        place.say("signed, and not checked: --allowed-signers FILE says who may have signed")
    bundle = parse_bundle(data)
    check_files(folder, bundle, data)
    if join(place.folder, "").startswith(join(folder, "")):
        raise Refused(USAGE, channel, "is in the bundle", "name another folder")
    with place.locked():
        return place.bring(folder, bundle, signer, grace, older=allow_older)


@_sentences()
def write_receipt(channel: str, say: _Say = None) -> Receipt:
    """Read every file of a channel, and write its receipt; raises Refused where one is wrong."""
    place = _Channel(channel, say)
    with place.locked():
        newest = place.newest()[1]
        place.journal(newest, None)
        if newest is None:
            message = "holds no snapshot, so that nobody knows what must be in it"
            help_ = f"name the folder of a channel; or unbundle a whole bundle first: {_FULL}"
            raise Refused(USAGE, place.folder, message, help_)
        return place.read_back(newest)


def _seconds(text: str) -> int:
    """Read a duration as a setting of pixi-mirror has it, `1h 30m`, or seconds alone."""
    if not re.fullmatch(r"[0-9]{1,9}|(\s*[0-9]{1,6}\s*[smhdw])+\s*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 1h, 30m, 1h 30m, 0s, 7d")
    units = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"([0-9]+)\s*([smhdw]?)", text))


def main(argv: "Sequence[str] | None" = None) -> int:
    """Run the program with these arguments."""
    usage = "%(prog)s [options] BUNDLE CHANNEL\n       %(prog)s --receipt CHANNEL"
    parser = argparse.ArgumentParser("unbundle.py", usage, allow_abbrev=False)
    add, waits = parser.add_argument, "for how long clients find what is no longer named"
    add("paths", nargs="+", metavar="PATH", help="folders: the bundle, the channel")
    add("--receipt", action="store_true", help="read every file again, and write the receipt")
    add("--allowed-signers", metavar="FILE", help="who may have signed, as ssh-keygen -Y has it")
    add("--grace", type=_seconds, default=3600, metavar="1h", help=f"{waits} (default: 1h)")
    add("--allow-older", action="store_true", help="take a bundle that is older, too")
    add("-q", "--quiet", action="store_true", help="print problems only")
    options = parser.parse_args(argv)
    if len(options.paths) != (1 if options.receipt else 2) or "" in map(str.strip, options.paths):
        parser.error("give a channel" if options.receipt else "give a bundle and a channel")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it ends a run like Ctrl-C
    lost: "list[str]" = []

    def say(line: str, name: str = "stdout") -> None:
        stream = getattr(sys, name)  # None: it was closed
        if stream is None or (options.quiet and name == "stdout"):
            return
        plain = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in line)
        plain = plain.encode(stream.encoding, "backslashreplace").decode(stream.encoding)
        try:
            print(plain, file=stream, flush=True)
        except OSError as error:  # what is under way goes on; the exit code tells of it
            setattr(sys, name, None)  # or Python itself would try it again at its end
            if error.errno not in {22, 32}:  # EINVAL and EPIPE: `| head`
                lost.append(f"error: {name}: cannot be written: {error.strerror}")

    try:
        if options.receipt:
            write_receipt(options.paths[0], say)
        else:
            signers, older, grace = options.allowed_signers, options.allow_older, options.grace
            unbundle(*options.paths, signers=signers, grace=grace, allow_older=older, say=say)
        code, told = (USAGE if lost else 0), lost
    except Refused as refused:
        code, told = refused.code, [f"error: {refused.subject}: {refused.message}"]
        told += [*(f"  {line}" for line in refused.details), f"help: {refused.help}"]
    except KeyboardInterrupt:
        code, told = INTERRUPTED, ["interrupted; run this again: it goes on where it stopped"]
    for line in told:
        say(line, "stderr")
    return code


if __name__ == "__main__":
    sys.exit(main())
