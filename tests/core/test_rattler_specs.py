"""MatchSpecs as the fields of a manifest, by whichever py-rattler is here."""

from __future__ import annotations

import pytest

from scripts.core.rattler_child import call_rattler

# What `pixi add` of 0.77 writes for these, where it does not look for a version.
WRITTEN: dict[str, dict[str, object]] = {
    "pandas": {},
    "numpy>=2": {"version": ">=2"},
    "scipy=1.15": {"version": "1.15.*"},
    "zlib ==1.3.1": {"version": "==1.3.1"},
    "conda-forge::xz": {"channel": "conda-forge"},
    "https://x.example/a::foo": {"channel": "https://x.example/a"},
    "python=3.12.*=*_cpython": {"version": "3.12.*", "build": "*_cpython"},
    'openssl[version=">=3",build="h*"]': {"version": ">=3", "build": "h*"},
    "bzip2 1.0.8 hd*": {"version": "==1.0.8", "build": "hd*"},
    "tk *": {"version": "*"},
    "conda-forge/linux-64::foo": {"channel": "conda-forge", "subdir": "linux-64"},
    'foo[fn="foo-1-0.conda"]': {"file-name": "foo-1-0.conda"},
    "a[md5=dede6252c964db3f3e41c7d30d07f6bf]": {"md5": "dede6252c964db3f3e41c7d30d07f6bf"},
    "NumPy >=1": {"version": ">=1"},
}


def test_a_matchspec_becomes_what_pixi_add_writes() -> None:
    answers = call_rattler("requirements", {"specs": list(WRITTEN)})
    assert isinstance(answers, list)
    assert [answer["fields"] for answer in answers] == list(WRITTEN.values())
    assert [answers[0]["name"], answers[-1]["name"]] == ["pandas", "numpy"]


@pytest.mark.parametrize("text", ["", "numpy>=", "a*", "foo[sha256=1]", "a|b"])
def test_what_is_no_matchspec_is_refused(text: str) -> None:
    answer = call_rattler("requirements", {"specs": [text]})
    assert isinstance(answer, list)
    assert [*answer[0]] == ["refused"]
    assert answer[0]["refused"]


def test_a_matchspec_that_says_more_is_refused_not_cut() -> None:
    answer = call_rattler("requirements", {"specs": ["foo[license=MIT]"]})
    assert answer == [{"refused": "it says more than can be written here"}]
