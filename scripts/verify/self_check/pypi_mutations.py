"""What the self-check breaks of PyPI packages: the smallest wheel, and what describes it."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from scripts.index.pypi_pages import INDEX, MAPPING, PAGE, SIMPLE, metadata_path
from scripts.lock.pypi import FILES, index_folder
from scripts.verify.findings import Level
from scripts.verify.self_check.mutations import (
    Candidates,
    Copy,
    Mutation,
    Scope,
    cut,
    flip,
    remove,
    scope_of,
)

_SHA256: Final = re.compile(rb"#sha256=[0-9a-f]{64}")


def _wheel(all_: Candidates) -> Scope:
    """Choose a wheel, with its pages and all that these may name."""
    wheel = next(iter(all_.wheels))
    named = tuple(x for x in all_.selection.pypi_artifacts if x.name == wheel.name)
    indexes = {x.index for x in all_.selection.pypi_rows if x.index and x.name == wheel.name}
    places = [place for each in indexes if (place := index_folder(each)) is not None]
    return scope_of(
        wheel,
        named,
        subdirs=(
            INDEX / wheel.name,
            MAPPING.parent,
            *(SIMPLE / place / wheel.name for place in places),
            FILES,  # what the page has besides may be retained
        ),
    )


def _page(all_: Candidates) -> Scope:
    scope = _wheel(all_)
    return dataclasses.replace(scope, named=INDEX / scope.broken.name / PAGE)


def _metadata(all_: Candidates) -> Scope:
    scope = _wheel(all_)
    return dataclasses.replace(scope, named=metadata_path(scope.broken.path))


def _empty_page(copy: Copy, scope: Scope) -> None:
    copy.write(scope.named, b"<!DOCTYPE html>\n")


def _alter_hash(copy: Copy, scope: Scope) -> None:
    copy.write(scope.named, _SHA256.sub(b"#sha256=" + b"0" * 64, copy.read(scope.named)))


def _alter_metadata(copy: Copy, scope: Scope) -> None:
    copy.write(scope.named, copy.read(scope.named) + b"\n")


PYPI_MUTATIONS: Final = (
    Mutation("wheel missing", Level.FILES, _wheel, remove),
    Mutation("one bit of a wheel flipped", Level.FILES, _wheel, flip),
    Mutation("wheel cut", Level.ARCHIVES, _wheel, cut),
    Mutation("page without a wheel", Level.INDEX, _page, _empty_page),
    Mutation("page with another sha256", Level.INDEX, _page, _alter_hash),
    Mutation("METADATA altered", Level.INDEX, _metadata, _alter_metadata),
)
