"""Lock files made to do harm: a sentence and exit code 2, and nothing written anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.core.child_process import quoted
from scripts.core.errors import ExitCode, MirrorError
from scripts.lock.model import locked_packages
from scripts.lock.read import parse_lock, read_lock

SHA = "a" * 64
TWICE = "{name: osx-64}, {name: osx-64}"
GOOD = f"""\
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h1_0.conda
packages:
- conda: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h1_0.conda
  sha256: {SHA}
"""
URL = "https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h1_0.conda"
ANEW = "help: restore it (git checkout), or remove it and run `pixi lock`"
CONFLICT = """\
pixi.lock: holds the conflict markers of an unfinished merge
help: git checkout --ours pixi.lock && pixi lock (in a rebase: --theirs)"""


def test_the_lock_that_the_others_are_made_from_reads() -> None:
    [package] = locked_packages(parse_lock(GOOD, "pixi.lock").environments)
    assert str(package.file_name) == "zlib-1.3-h1_0.conda"


def refusal(text: str) -> str:
    with pytest.raises(MirrorError) as caught:
        parse_lock(text, "pixi.lock")
    assert {problem.code for problem in caught.value.problems} == {ExitCode.USAGE}
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "..%2F..%2Fetc-1-0.conda",
        "%2Fetc%2Fx-1-0.conda",
        "x%5C..%5Cy-1-0.conda",
        "C%3Ax-1-0.conda",
        "x%00-1-0.conda",
        ".hidden-1-0.conda",
        "-rf-1-0.conda",
        "x-1.conda",
        "x%0A-1-0.conda",
        "a" * 250 + "-1-0.conda",
    ],
)
def test_unsafe_name_in_the_url(name: str) -> None:
    from urllib.parse import unquote

    message = refusal(GOOD.replace("zlib-1.3-h1_0.conda", name))
    where = f"https://conda.anaconda.org/conda-forge/linux-64/{name}"
    assert message == (
        f"pixi.lock: {unquote(name)!r} is no file name of a conda artifact "
        f"(name-version-build.conda or .tar.bz2)\n  in  {where}"
    )


@pytest.mark.parametrize(
    "name", ["../x-1-0.conda", "/x-1-0.conda", "x\\0-1-0.conda", "C:x-1-0.conda"]
)
def test_unsafe_name_in_the_field(name: str) -> None:
    message = refusal(GOOD + f'  file_name: "{name}"\n')
    assert message.startswith("pixi.lock: '")
    assert "is no file name of a conda artifact" in message


@pytest.mark.parametrize("subdir", ["..", "../..", "/etc", "C:", "linux-64/..", "linux_64", "x\\0"])
def test_unsafe_subdir(subdir: str) -> None:
    message = refusal(GOOD + f'  subdir: "{subdir}"\n')
    assert message.startswith(f"pixi.lock: {URL}: no such subdir: ")


def test_unknown_subdir_names_the_nearest() -> None:
    assert refusal(GOOD + "  subdir: linux-46\n") == (
        f"pixi.lock: {URL}: no such subdir: 'linux-46'\nhelp: did you mean linux-64?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pixi.lock: not a pixi lock file: there is no map at its top"),
        ("- a\n", "pixi.lock: not a pixi lock file: there is no map at its top"),
        ("a: 1\n", f"pixi.lock: not a pixi lock file: it has no version number\n{ANEW}"),
        (
            "version: seven\n",
            f"pixi.lock: not a pixi lock file: it has no version number\n{ANEW}",
        ),
        ("version: 0\n", f"pixi.lock: there is no lock file version 0\n{ANEW}"),
        ("version: 6\nversion: 7\n", "pixi.lock, line 2: the key 'version' is there twice"),
        (
            f"version: 7\nenvironments: {{}}\npackages: []\nplatforms: [{TWICE}]\n",
            "pixi.lock: the platform osx-64 is there twice",
        ),
        ("version: &v 6\nx: *v\n", "pixi.lock, line 2: an alias; lock files have none"),
        ("version: 6\n---\nversion: 6\n", "pixi.lock, line 3: a second YAML document in one file"),
        ("[" * 10**6, "pixi.lock: nested deeper than 50 levels; no lock file is"),
        ("a: " + "{b: " * 10**6, "pixi.lock: nested deeper than 50 levels; no lock file is"),
        ("version: [\n", "pixi.lock: not YAML: did not find expected node content (line 2)"),
        ("version: 6\n? [a]\n: b\n", "pixi.lock, line 2: a key that is no string"),
        ("version: 6\n<<<<<<< HEAD\na: 1\n=======\nb: 1\n>>>>>>> other\n", CONFLICT),
    ],
)
def test_no_lock(text: str, message: str) -> None:
    assert refusal(text) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("size: many", f"size of {URL} is not a whole number\n  actual  'many'"),
        ("size: -1", f"size of {URL} is not a whole number\n  actual  '-1'"),
        ("size: " + "9" * 5000, f"size of {URL} is not a whole number"),
        ("size: ١٢", f"size of {URL} is not a whole number"),
        ("depends: x", f"depends of {URL} is not a list of strings\n  actual  'x'"),
        ("depends: [{a: b}]", f"depends of {URL} is not a list of strings"),
        ("md5: zz", f"md5 of {URL} is not a md5 in hex\n  actual  'zz'"),
        ("noarch: perl", f"noarch of {URL} is not python or generic\n  actual  'perl'"),
        ("run_exports: x", f"run_exports of {URL} is not a map\n  actual  'x'"),
    ],
)
def test_fields_of_a_wrong_kind(line: str, message: str) -> None:
    assert refusal(f"{GOOD}  {line}\n").startswith(f"pixi.lock: {message}")


def test_reference_to_nothing() -> None:
    assert refusal(
        GOOD.replace("packages:\n- conda", "packages:\n- conda", 1).replace(
            "- conda: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3-h1_0.conda\n  sha",
            "- conda: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.2-h1_0.conda\n  sha",
        )
    ) == (
        "pixi.lock: environment default on linux-64 refers to a package that is not listed\n"
        f"  package  {URL}\n{ANEW}"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{GOOD}- gem: x\n  sha256: a\n", "a package of no known kind\n  keys  gem, sha256"),
        (
            GOOD.replace("      - conda:", "      - gem:"),
            "environment default on linux-64 refers to something of no known kind",
        ),
        (
            GOOD.replace(f"      - conda: {URL}", f"      - conda: {URL}\n        build: other"),
            (
                "environment default on linux-64 refers to a variant of a package that is not"
                f" listed\n  package  {URL}\n{ANEW}"
            ),
        ),
        (
            GOOD.replace("version: 6", "version: 7\nplatforms:\n- name: osx-64"),
            "environment default is for linux-64, which `platforms` does not name",
        ),
        (
            (
                "version: 1\nmetadata: {channels: [], platforms: [linux-64], sources: []}\n"
                "package:\n- {name: a, version: '1', manager: gem, platform: linux-64, url: https://x/a.gem}\n"
            ),
            "manager of https://x/a.gem is not conda, pip or pypi\n  actual  'gem'",
        ),
    ],
)
def test_what_no_lock_refers_to(text: str, message: str) -> None:
    assert refusal(text) == f"pixi.lock: {message}"


def test_secrets_stay_out_of_errors() -> None:
    text = GOOD.replace("https://conda", "https://user:hunter2@conda").replace(
        "conda-forge/linux", "t/tok-SECRET/conda-forge/linux"
    )
    message = refusal(text + "  size: many\n")
    assert "hunter2" not in message
    assert "SECRET" not in message
    assert "https://********@conda.anaconda.org/t/********/conda-forge/linux-64/zlib" in message


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "pixi.lock"
    path.write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(MirrorError) as caught:
        read_lock(path)
    assert str(caught.value) == f"{path}: not UTF-8 text (byte 0); a lock file always is"


def test_too_large(tmp_path: Path) -> None:
    path = tmp_path / "pixi.lock"
    with path.open("wb") as file:
        file.truncate(200 << 20)  # sparse: takes no room
    with pytest.raises(MirrorError) as caught:
        read_lock(path)
    assert str(caught.value) == f"{path}: larger than any lock file should be (48 MiB)"


@pytest.mark.parametrize(
    ("name", "help_line"),
    [
        ("here/pixi.lock", "\nhelp: pixi lock"),
        ("a folder/pixi.lock", "\nhelp: pixi lock --manifest-path FOLDER"),
        ("here/team.lock", ""),  # pixi writes none that is called so
        ("none/pixi.lock", ""),  # nor one in a folder that is not there
    ],
)
def test_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, help_line: str
) -> None:
    """The command is one that writes the missing lock from where the user is."""
    (tmp_path / "here").mkdir()
    (tmp_path / "a folder").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(MirrorError) as caught:
        read_lock(tmp_path / name)
    expected = f"{tmp_path / name}: cannot read this lock file: there is no such file"
    assert str(caught.value) == expected + help_line.replace(
        "FOLDER", quoted(str(tmp_path / "a folder"))
    )
