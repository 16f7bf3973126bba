"""What upstream answers now: repodata, shards, pages of PyPI packages.

It is asked for unless it is as it was. What came is kept, which only saves time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urljoin

from scripts.channel.folders import write_gitignore
from scripts.core.files import read_regular, write_atomically
from scripts.core.pep508 import pypi_name
from scripts.core.record import Record
from scripts.core.redact import without_secrets
from scripts.index.repodata import (
    LARGEST,
    REPODATA,
    REPODATA_ZST,
    SHARD_END,
    SHARD_INDEX,
    DamagedIndexError,
    ShardIndex,
    damaged_index,
    parse_repodata,
    parse_shard,
    parse_shard_index,
    parse_zst,
)
from scripts.lock.location import local_path
from scripts.lock.pypi import ARCHIVES
from scripts.network.documents import (
    ABSENT,
    Document,
    ask_sources,
    decoded,
    read_document,
    read_size,
    wrong_document,
)
from scripts.network.errors import OF_THE_NETWORK, DownloadError, ErrorKind
from scripts.network.http import HttpClient, ask_all
from scripts.network.retry import HostHealth, RetryPolicy
from scripts.network.router import Router
from scripts.verify.pypi_index import PageLink, html_links, json_links
from scripts.workspace.workspace import Workspace

_FOLDER: Final = "upstream"  # below `cache`
# Of how many names of a channel one may be asked for, so that shards are less to read. Those that
# many need have more records than others.
_FEW: Final = 10
# PEP 691: JSON before HTML.
_PAGES: Final = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
# Bytes of a page or shard, unpacked; the largest have a tenth. As many are in memory as are asked
# for at once.
_LARGEST_PART: Final = 64 << 20
_Parsed = TypeVar("_Parsed")
_Key = TypeVar("_Key")


Page = Sequence[PageLink]
"""The files of a project, as its page lists them: one may be there twice."""


class UpstreamClient:
    """Asks upstream as `fetch` does, from several threads; keeps the answers beside the channel."""

    def __init__(self, workspace: Workspace, router: Router, policy: RetryPolicy) -> None:
        """Ask nobody yet."""
        self._place, self._folder = workspace.place, workspace.place.cache / _FOLDER
        self._root, self._router, self._policy = workspace.root, router, policy
        self._health = HostHealth(policy)
        self._client = HttpClient(router, policy)
        self._used = set[str]()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._router.rattler.close()

    def forget_unused(self) -> None:
        """Remove the answers that nobody asked for since this was made."""
        with contextlib.suppress(OSError):  # another run may do the same
            for each in self._folder.iterdir():
                if each.name not in self._used:
                    each.unlink()

    def has(self, url: str) -> bool:
        """Tell whether an answer is kept."""
        return self._file(url).is_file()

    def read(
        self,
        url: str,
        parse: Callable[[bytes], _Parsed],
        *,
        what: str,
        largest: int = _LARGEST_PART,
        accept: str | None = None,
        may_change: bool = True,
    ) -> _Parsed:
        """Ask for a document and parse it; unless it `may_change`, nobody is asked for it twice.

        It has at most `largest` bytes, unpacked.

        Raises DownloadError, also for what `parse` takes for damaged.
        """
        file = self._file(url)
        self._used.add(file.name)
        last = _read_kept(file)
        if last is not None and not may_change:
            return parse(last.data)

        def ask(source: str) -> tuple[Document | None, _Parsed]:
            found = read_document(
                source,
                last,
                self._client,
                self._router,
                largest=largest,
                what=what,
                accept=accept,
            )
            if found is None:
                assert last is not None
                return None, parse(last.data)
            return _parsed(found, parse, largest)

        found, value = ask_sources(url, ask, self._router, self._policy, self._health)
        if found is not None and local_path(url, self._root) is None:
            head = {"etag": found.etag, "modified": found.modified}
            head["sha256"] = hashlib.sha256(found.data).hexdigest()
            with contextlib.suppress(OSError):  # a disk that refuses costs time alone
                write_gitignore(self._place)
                write_atomically(file, json.dumps(head).encode() + b"\n" + found.data)
        return value

    def size_of(self, url: str) -> int | None:
        """Ask for a file's size in bytes (HEAD); None where the server does not tell.

        Raises DownloadError, of a kind in ABSENT where no source has it.
        """

        def ask(source: str) -> int | None:
            file = local_path(source, self._root)
            if file is not None:
                if file.is_file():
                    return file.stat().st_size
                raise DownloadError(ErrorKind.NO_FILE, f"{file}: there is no such file")
            return read_size(source, self._client, self._router)

        return ask_sources(url, ask, self._router, self._policy, self._health)

    def _file(self, url: str) -> Path:
        return self._folder / hashlib.sha256(without_secrets(url).encode()).hexdigest()


def answered(answers: Mapping[_Key, _Parsed | DownloadError]) -> dict[_Key, _Parsed]:
    """Return those of `ask_all` that came."""
    return {key: each for key, each in answers.items() if not isinstance(each, DownloadError)}


def _read_kept(file: Path) -> Document | None:
    """Read an answer that was kept; None where it is not there, or not whole."""
    with contextlib.suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        head, _, data = read_regular(file, LARGEST + (1 << 12)).partition(b"\n")
        said = json.loads(head)
        if said["sha256"] == hashlib.sha256(data).hexdigest():
            return Document(data=data, etag=said["etag"], modified=said["modified"])
    return None


def _parsed(
    found: Document, parse: Callable[[bytes], _Parsed], largest: int
) -> tuple[Document, _Parsed]:
    """Parse it as it came, else without the Content-Encoding that it is said to have."""
    try:
        return found, parse(found.data)
    except DamagedIndexError as error:
        if found.encoding is None:
            raise wrong_document(error.problems[0].message) from None
    plain = replace(found, data=decoded(found, largest), encoding=None)
    return _parsed(plain, parse, largest)


def read_records(
    client: UpstreamClient, channel: str, subdir: str, names: frozenset[str]
) -> Mapping[str, Record]:
    """Return the records of the packages of these names in a subdir, by file name.

    Of shards, where few of the channel's names are asked for, or it has nothing else. Raises
    DownloadError, of a kind in ABSENT where it has no repodata in any form.
    """
    base = f"{channel}/{subdir}"

    def parse(data: bytes) -> Mapping[str, Record]:
        plain = parse_zst(data, subdir) if data.startswith(b"\x28\xb5\x2f\xfd") else data
        return parse_repodata(plain, subdir, names).records

    errors, index = list[DownloadError](), None
    forms = (SHARD_INDEX, REPODATA_ZST, REPODATA)
    last = [form for form in forms if client.has(f"{base}/{form}")]
    # What came last time first, so that nobody asks each time for what the channel does not have.
    for form in dict.fromkeys((*last, *forms)):
        try:
            if form != SHARD_INDEX:
                return client.read(f"{base}/{form}", parse, what="repodata", largest=LARGEST)
            read = functools.partial(parse_shard_index, subject=subdir)
            index = client.read(f"{base}/{form}", read, what="repodata")
            is_less = len(names & index.shards.keys()) * _FEW <= len(index.shards)
            if is_less or last == [SHARD_INDEX]:
                return _read_shards(client, base, index, names)
        except DownloadError as error:
            errors.append(error)
            # 501: what a server has none of, to rattler (sharded_subdir/mod.rs).
            if error.kind in OF_THE_NETWORK and error.status != HTTPStatus.NOT_IMPLEMENTED:
                raise
    if index is not None:
        return _read_shards(client, base, index, names)
    raise min(reversed(errors), key=lambda each: each.kind in ABSENT)


def _read_shards(
    client: UpstreamClient, base: str, index: ShardIndex, names: frozenset[str]
) -> Mapping[str, Record]:
    said = index.shards_base_url
    folder = f"{base}/{said.removeprefix('./')}"
    if "://" in said or said.startswith("/"):
        folder = urljoin(f"{base}/", said)
    if local_path(folder, Path()) is not None and local_path(base, Path()) is None:
        raise wrong_document("its shards_base_url leads to files of this machine")

    def read(sha256: str) -> Mapping[str, Record]:
        def parse(data: bytes) -> Mapping[str, Record]:
            if hashlib.sha256(data).hexdigest() != sha256:
                raise damaged_index(sha256, "a shard has another sha256 than its name")
            return parse_shard(data, sha256, _LARGEST_PART).records

        url = f"{folder.rstrip('/')}/{sha256}{SHARD_END}"
        return client.read(url, parse, what="shard", may_change=False)

    shards = sorted(index.shards[each] for each in names & index.shards.keys())
    records = dict[str, Record]()
    for each in ask_all(read, shards).values():
        if isinstance(each, DownloadError):
            raise each
        records |= each
    return records


def read_page(client: UpstreamClient, index: str, name: str, *, is_flat: bool) -> Page:
    """Return what the page of a project says of its files; `is_flat`: it is one of `find-links`.

    Raises DownloadError, of a kind in ABSENT where there is none.
    """
    parse = functools.partial(_parse_page, project="" if is_flat else f"{name}-")
    read = functools.partial(client.read, parse=parse, what="page", accept=_PAGES)
    if not is_flat:
        return read(f"{index}/{name}/")
    try:
        return read(index)
    except DownloadError as error:
        if error.kind not in ABSENT:
            raise
    return read(f"{index}/")


def _parse_page(data: bytes, project: str) -> Page:
    """Read JSON (PEP 691), else HTML (PEP 503); what is neither is damaged.

    One in HTML without a file of `project` (its name and a dash) may be anybody's (a portal's).
    """
    page: Page = ()
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = data.decode("utf-8")
        if text.lstrip().startswith("{"):
            return tuple(json_links(json.loads(text)["files"]))
        page = tuple(each for each in html_links(text) if ARCHIVES.search(each.name))
        page = tuple(each for each in page if pypi_name(each.name).startswith(project))
    if not page:
        raise damaged_index("page", "is no page of an index (PEP 503, 691)")
    return page
