"""Changes as text: whole texts, and hostile names that must stay text."""

from __future__ import annotations

import pytest

from scripts.core.report import flattened
from scripts.keep.diff import Change, ChangeKind, PlatformDiff
from scripts.keep.diff_text import diff_lines, markdown

NOTHING: tuple[PlatformDiff, ...] = ()
SOME = (
    PlatformDiff(
        environment="default",
        platform="linux-64",
        changes=(
            Change(kind=ChangeKind.ADDED, name="new", after="1.0 0"),
            Change(kind=ChangeKind.REMOVED, name="gone", before="2.0 h1_1"),
            Change(kind=ChangeKind.CHANGED, name="moved", before="1 0", after="2 0"),
            Change(kind=ChangeKind.WENT_BACK, name="back", before="2 0", after="1 0"),
            Change(kind=ChangeKind.REUPLOADED, name="same", before="3 0", after="3 0"),
            Change(kind=ChangeKind.HOTFIXED, name="fixed", before="4 0", after="4 0"),
            Change(kind=ChangeKind.ADDED, name="wheel", after="https://x.org/w.whl", source="pypi"),
        ),
    ),
    PlatformDiff(
        environment="default",
        platform="p1 (linux-64)",
        changes=(Change(kind=ChangeKind.HOTFIXED, name="fixed", before="4 0", after="4 0"),),
    ),
    PlatformDiff(
        environment="gpu",
        platform="win-64",
        changes=(Change(kind=ChangeKind.ADDED, name="new", after="1.0 0"),),
    ),
)


def one(
    *changes: Change, environment: str = "default", platform: str = "linux-64"
) -> tuple[PlatformDiff, ...]:
    return (PlatformDiff(environment=environment, platform=platform, changes=changes),)


def test_lines() -> None:
    assert tuple(flattened(diff_lines(SOME))) == (
        (
            "default, linux-64: 2 added, 1 removed, 1 changed, 1 went back, 1 re-uploaded, "
            "1 with other requirements (hotfix)"
        ),
        "  + new    1.0 0",
        "  - gone   2.0 h1_1",
        "  ~ moved  1 0 -> 2 0",
        "  < back   went back 2 0 -> 1 0",
        "  ! same   3 0 has other bytes than before (re-uploaded)",
        "  = fixed  4 0 has other requirements than before (hotfix)",
        "  + wheel  [pypi] https://x.org/w.whl",
        "default, p1 (linux-64): 1 with other requirements (hotfix)",
        "  = fixed  4 0 has other requirements than before (hotfix)",
        "gpu, win-64: 1 added",
        "  + new  1.0 0",
    )


def test_no_change() -> None:
    assert tuple(flattened(diff_lines(NOTHING))) == ("no change",)
    assert markdown(NOTHING) == "No change.\n"


def test_markdown() -> None:
    assert (
        markdown(SOME)
        == """### `default`

`linux-64`: 2 added, 1 removed, 1 changed, 1 went back, 1 re-uploaded, \
1 with other requirements (hotfix)

| package | from | to | |
| --- | --- | --- | --- |
| `new` |  | `1.0 0` | added |
| `gone` | `2.0 h1_1` |  | removed |
| `moved` | `1 0` | `2 0` | changed |
| `back` | `2 0` | `1 0` | went back |
| `same` | `3 0` | `3 0` | re-uploaded |
| `fixed` | `4 0` | `4 0` | with other requirements (hotfix) |
| `wheel` |  | `https://x.org/w.whl` | pypi, added |

`p1 (linux-64)`: 1 with other requirements (hotfix)

| package | from | to | |
| --- | --- | --- | --- |
| `fixed` | `4 0` | `4 0` | with other requirements (hotfix) |

### `gpu`

`win-64`: 1 added

| package | from | to | |
| --- | --- | --- | --- |
| `new` |  | `1.0 0` | added |
"""
    )


def test_a_long_table_is_folded_away() -> None:
    def of(count: int) -> str:
        rows = (Change(kind=ChangeKind.ADDED, name=f"p{n}", after="1 0") for n in range(count))
        return markdown(one(*rows, platform="<b>linux</b>"))

    head, _, rest = of(16).partition("\n\n| package | from | to | |\n")
    assert head == (
        "### `default`\n\n<details>\n"
        "<summary><code>&lt;b&gt;linux&lt;/b&gt;</code>: 16 added</summary>"
    )
    assert rest.endswith("| `p15` |  | `1 0` | added |\n\n</details>\n")
    assert "<details>" not in of(15)


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("a|b", r"`a\|b`"),
        ("`x`", "`` `x` ``"),
        ("a``b", "``` a``b ```"),
        ("<script>", "`<script>`"),  # within code it is no HTML
        ("a\n| b\r\x1b[31m", r"`a\n\| b\r\x1b[31m`"),
        ("@someone", "`@someone`"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x", "`\\u202ex`"),
    ],
)
def test_a_hostile_name_stays_one_cell(name: str, cell: str) -> None:
    text = markdown(one(Change(kind=ChangeKind.ADDED, name=name, after="1 0")))
    assert text.splitlines()[-1] == f"| {cell} |  | `1 0` | added |"


def test_lines_steer_no_terminal() -> None:
    hostile = Change(kind=ChangeKind.ADDED, name="a\x1b[2J\nb", after="1\r0 \N{SNOWMAN}")
    assert tuple(flattened(diff_lines(one(hostile))))[1] == r"  + a\x1b[2J\nb  1\r0 \u2603"
