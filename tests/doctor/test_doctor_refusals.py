"""The task doctor where there is no answer: no mirror, no lock, no network."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from scripts.network.errors import ErrorKind
from tasks import doctor
from tests.doctor.conftest import Asker, Asks
from tests.support.locks import RawRow
from tests.support.packages import TinyPackage
from tests.support.replies import Reply, login_page, status, too_many
from tests.support.upstream import Upstream

READING = "doctor: reading the repodata of URL\n"
NAME_IT = (
    "help: name the mirror: --mirror PLACE (a folder, a file:// or an http(s):// URL;"
    " in it noarch/repodata.json, or folders of channels like conda-forge)\n"
)


def test_nothing_of_a_channel(flat: Asker, upstream: Upstream) -> None:
    """Over HTTP nobody lists folders: no mirror, and one of other channels, look alike."""
    flat.lock(flat.row("lib"))
    upstream.always("*", status(404))
    code, out, err = flat.ask()
    assert (code, out) == (2, "")
    assert err == (
        f"{READING}error: URL: there is no mirror here, or none of any channel that this lock"
        " names\n"
        "  looked for  noarch/repodata.json, conda-forge/noarch/repodata.json\n"
        f"{NAME_IT}"
    )


def test_a_folder_that_is_no_mirror(flat: Asker, tmp_path: Path) -> None:
    flat.lock(flat.row("lib"))
    for text, message in (
        (str(tmp_path / "none"), "there is no such folder"),
        ("file://nobody.example.org/share", "there is no such folder"),
        ("s3://bucket/chan", "a mirror cannot be at such a place"),
        ("https://host:port", "a mirror cannot be at such a place"),
        ("http:///chan", "a mirror cannot be at such a place"),
    ):
        code, out, err = flat.ask(mirror=text)
        shown = text.replace(str(flat.root), "ROOT")
        assert (code, out, err) == (2, "", f"error: {shown}: {message}\n{NAME_IT}")
    (tmp_path / "bare").mkdir()
    assert flat.ask(mirror=str(tmp_path / "bare"))[0] == 2


@pytest.mark.parametrize("option", ["--lock", "--mirror"])
def test_an_empty_path_is_refused(flat: Asker, option: str) -> None:
    """`--lock "$UNSET"` asked about the lock of the current folder."""
    flat.lock(flat.row("lib"))
    with pytest.raises(SystemExit) as caught:
        flat.ask(option, "")
    assert caught.value.code == 2
    assert flat.capsys.readouterr().err.endswith(f"error: argument {option}: a path is needed\n")
    assert flat.ask(option, str(flat.root / "pixi.lock" if option == "--lock" else flat.folder))[1]


@pytest.mark.skipif(os.name == "nt", reason="such a path is just missing there")
def test_what_the_system_does_not_look_at(flat: Asker) -> None:
    """As in a folder of somebody else's, which root, who may run the tests, can look into."""
    long, why = f"/{'x' * 300}/app", os.strerror(errno.ENAMETOOLONG)
    flat.lock(flat.row("lib"))
    assert flat.ask(mirror=long) == (2, "", f"error: {long}: cannot be read: {why}\n{NAME_IT}")
    said = f"error: {long}: cannot read this lock file: {why}\n"
    assert flat.ask("--lock", long, mirror=str(flat.folder)) == (2, "", said)


@pytest.mark.skipif(os.name == "nt", reason="a folder that somebody is in cannot be removed there")
def test_the_current_folder_is_gone(
    flat: Asker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is relative to it needs it."""
    flat.lock(flat.row("lib"))
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    message = (
        "is relative to the current folder, which is not there any more\n"
        "help: name it by its absolute path, or `cd` to a folder that is there\n"
    )
    assert flat.ask(mirror="m") == (2, "", f"error: m: {message}")
    lock = flat.ask("--lock", "pixi.lock", mirror=str(flat.folder))
    assert lock == (2, "", f"error: pixi.lock: {message}")
    assert "artifacts ✓ (1)" in flat.ask(mirror=str(flat.folder))[1]


def test_places_are_shown_plain(
    flat: Asker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a link makes `..` lead elsewhere."""
    flat.lock(flat.row("lib"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    lock = f"../{flat.root.name}/pixi.lock"
    mirror = f"../{Path(os.path.relpath(flat.folder, tmp_path)).as_posix()}"
    code, out, err = flat.ask("--lock", lock, mirror=mirror)
    assert (code, ".." in out + err) == (1, False)
    assert "looked at: FILE (flat)" in out
    assert "into ROOT/.pixi/config.toml" in flat.ask("--lock", lock)[1].replace(os.sep, "/")
    if os.name != "nt":
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "a" / "b")
        (tmp_path / "a" / "mirror").symlink_to(flat.folder)
        linked = str(tmp_path / "link" / ".." / "mirror")
        assert f"looked at: {Path(linked).as_uri()} (flat)" in flat.ask(mirror=linked)[1]


def test_a_folder_of_other_channels(by_channel: Asker) -> None:
    """It is a mirror, and what it lacks is all."""
    by_channel.lock(by_channel.row("lib", channel="https://conda.anaconda.org/bioconda"))
    code, out, err = by_channel.ask(mirror=str(by_channel.folder))
    assert code == 1
    assert out.splitlines()[3] == (
        "none of the lock's channels is there, only:"
        " conda-forge, example.org_8080/chan, nvidia/label/cuda-1"
    )
    assert "error: https://conda.anaconda.org/bioconda: this channel is not mirrored\n" in err


def test_a_server_of_other_channels(by_channel: Asker, upstream: Upstream) -> None:
    """Where it has conda-forge, it is a mirror, too: that one lacks it."""
    by_channel.lock(by_channel.row("lib", channel="https://conda.anaconda.org/bioconda"))
    code, out, err = by_channel.ask()
    assert (code, out.splitlines()[3]) == (
        1,
        "none of the lock's channels is there, only: conda-forge",
    )
    assert "error: https://conda.anaconda.org/bioconda: this channel is not mirrored\n" in err

    upstream.always("/conda-forge/*", status(404))  # the control
    assert by_channel.ask()[0] == 2


def test_a_login_page(flat: Asker, upstream: Upstream) -> None:
    flat.lock(flat.row("lib"))
    upstream.always("*", login_page())
    code, out, err = flat.ask()
    assert (code, out) == (2, "")
    assert err == (
        f"{READING}error: URL/noarch/repodata.json.zst: cannot be read:"
        " a web page came instead of the repodata (a login page?)\n"
        "help: is it the URL you meant? if so, log in: `pixi auth login HOST --token TOKEN`, or as"
        " the page says; then run `pixi run doctor` again\n"
    )


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8"])
def test_a_server_that_calls_every_file_a_page(flat: Asker, upstream: Upstream, kind: str) -> None:
    """As nginx does with `default_type text/html`; pixi installs from there."""
    flat.lock(flat.row("lib"))
    expected = flat.ask()
    assert "artifacts ✓ (1)" in expected[1]
    headers = (("Content-Type", kind),)
    upstream.always("*", Reply(headers=headers))
    assert flat.ask() == expected
    for page in (b"\xef\xbb\xbf \n<!DOCTYPE html>", b"<html>"):  # the control
        upstream.always("*", Reply(headers=headers, body=page))
        assert "a web page came instead of the repodata" in flat.ask()[2]


def test_a_server_of_something_else(
    flat: Asker, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends more than any repodata has, which nobody here sends: the bound is lowered."""
    monkeypatch.setattr("scripts.doctor.mirror.LARGEST", 1 << 20)
    flat.lock(flat.row("lib"))
    upstream.always("*", Reply(body=b"\0" * ((1 << 20) + 1)))
    assert flat.ask() == (
        2,
        "",
        (
            f"{READING}error: URL/noarch/repodata.json.zst: cannot be read:"
            " larger than any repodata should be (1 MiB)\n"
            "help: name the mirror: --mirror PLACE (a folder, a file:// or an http(s):// URL; in it"
            " noarch/repodata.json, or folders of channels like conda-forge)\n"
        ),
    )
    upstream.always("*", Reply(body=b"\0" * (1 << 20)))  # the control
    assert "not a whole zst file" in flat.ask()[2]


def test_a_server_that_fails(flat: Asker, upstream: Upstream) -> None:
    """Asked again, and where it goes on failing, it is the network's exit code."""
    flat.lock(flat.row("lib"))
    upstream.once("/noarch/*", status(503))
    assert flat.ask()[0] == 1
    upstream.always("*", status(503))
    code, out, err = flat.ask()
    assert (code, out) == (3, "")
    assert err == (
        f"{READING}error: URL/noarch/repodata.json.zst: cannot be read:"
        " HTTP 503 Service Unavailable\n"
        "help: run `pixi run doctor` again later\n"
    )


def test_a_server_that_is_asked_too_often(flat: Asker, upstream: Upstream) -> None:
    """`--jobs` is an option of tasks that download: the control is what they are told."""
    flat.lock(flat.row("lib"))
    upstream.always("*", too_many("0"))
    code, _, err = flat.ask()
    assert (code, err.splitlines()[-1]) == (3, "help: run `pixi run doctor` again later")
    kind, fewer = ErrorKind.TOO_MANY_REQUESTS, "later, or with fewer downloads at once: --jobs 2"
    assert kind.help_at("", "pixi run fetch", resumes=True).endswith(fewer)


def test_nobody_answers(flat: Asker) -> None:
    flat.lock(flat.row("lib"))
    code, out, err = flat.ask(mirror="http://127.0.0.1:9/mirror")
    assert (code, out) == (3, "")
    assert "error: http://127.0.0.1:9/mirror/noarch/repodata.json.zst: cannot be read: " in err


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("repodata.json.zst", b"[]", "not a whole zst file"),
        ("repodata.json", b"[", "not JSON"),
        ("repodata.json", b"[]", "not repodata"),
    ],
)
def test_a_damaged_index(
    name: str, body: bytes, message: str, flat: Asker, upstream: Upstream
) -> None:
    flat.lock(flat.row("lib"))
    upstream.always("/noarch/repodata.json.zst", status(404))
    upstream.always(f"/noarch/{name}", Reply(body=body))
    assert flat.ask() == (
        1,
        "",
        (
            f"{READING}error: URL/noarch/{name}: {message}\n"
            "help: its keeper runs `pixi run index`, then `pixi run verify`\n"
        ),
    )


def test_a_lock_that_cannot_be_read(flat: Asker) -> None:
    code, _, err = flat.ask()
    message = "error: ROOT/pixi.lock: cannot read this lock file: there is no such file\n"
    assert (code, err) == (2, message)
    flat.root.mkdir()
    assert flat.ask()[2] == f"{message}help: pixi lock --manifest-path ROOT\n"
    flat.lock(flat.row("lib"))
    assert flat.ask("-e", "gpu")[0] == 2
    assert flat.ask("-p", "win-64")[0] == 2
    flat.configure("[mirrors\n")
    code, _, err = flat.ask()
    assert code == 2
    assert err.startswith("error: ROOT/.pixi/config.toml: not TOML")


def test_the_lock_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        doctor.main(["--mirror", "x"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "pixi run doctor: error: the following arguments are required: --lock"
    )


def test_what_comes_from_no_channel(flat: Asker) -> None:
    git = f"git+https://git.example.org/x.git#{'c' * 40}"
    flat.lock(
        flat.row("lib"),
        RawRow(key="pypi", location=git, lines=("name: x", "version: 1.0")),
        RawRow(key="conda_source", location="'mine[12345678] @ ./mine'"),
    )
    flat.configure(f'[mirrors]\n"https://conda.anaconda.org/conda-forge" = ["{flat.url}"]\n')
    code, out, err = flat.ask()
    assert (code, out.splitlines()[0]) == (1, "no: 2 packages not in the mirror")
    assert out.splitlines()[1] == (
        "default  linux-64  artifacts ✓ (1)  configuration ✓  incomplete ✗ (2 not mirrored)"
    )
    mine = (
        "error: mine: is not in the mirror: a source package, built where it is installed\n"
        "  from       ./mine\n"
        "  needed by  default/linux-64\n"
        "help: --allow-incomplete source, if the consumer has it from elsewhere\n"
    )
    x = (
        "error: x 1.0: is not in the mirror: a PyPI package built from git\n"
        f"  from       {git}\n"
        "  needed by  default/linux-64\n"
        "help: --allow-incomplete pypi, if the consumer has it from elsewhere\n"
    )
    assert sorted(err.removeprefix(READING).split("error: ")) == sorted((mine + x).split("error: "))
    code, out, err = flat.ask("--allow-incomplete", "pypi,source")
    assert (code, err) == (0, READING)
    assert f"allowed: x 1.0 ({git}): a PyPI package built from git; in default/linux-64" in out
    assert flat.ask("--allow-incomplete", "pypi")[0] == 1


def test_locations_that_no_mirror_can_stand_in_for(flat: Asker) -> None:
    """A bucket, an artifact under another name; a file that is there needs no mirror."""
    local = TinyPackage(name="local").write(flat.root).path
    flat.lock(
        flat.row("lib", url="s3://bucket/chan/files/lib-1.0-0.tar.bz2"),
        flat.row("hello", url="https://example.org/linux-64/other-2.0-1.conda"),
        flat.row("lib", other=TinyPackage(name="local"), url=str(local)),
    )
    code, out, err = flat.ask()
    assert code == 1
    assert out.splitlines()[0] == "no: 2 of 3 artifacts not mirrorable"
    assert out.splitlines()[1] == (
        "default  linux-64  artifacts ✗ (2 not mirrorable; 0 of 3 right)  configuration ✓"
    )
    assert "not of the mirror, but a file that is there: ROOT/noarch/local-1.0-0.conda" in out
    message = "nothing can lead pixi from this location to the mirror"
    heads = [line for line in err.splitlines() if line.startswith("error: ")]
    assert heads == [
        f"error: https://example.org/linux-64/other-2.0-1.conda: {message}",
        f"error: s3://bucket/chan/files/lib-1.0-0.tar.bz2: {message}",
    ]
    local.unlink()
    assert "3 not mirrorable" in flat.ask()[1]


def test_the_mirror_is_asked_as_the_consumer_has_set(asks: Asks, upstream: Upstream) -> None:
    """A proxy of the consumer's configuration that is none is the consumer's error."""
    asker = asks("flat")
    asker.lock(asker.row("lib"))
    asker.configure(f'[proxy-config]\nhttp = "{upstream.url}"\n')
    code, out, _ = asker.ask(mirror="http://mirror.example.org")
    assert code == 1
    assert out.splitlines()[1] == "default  linux-64  artifacts ✓ (1)  configuration ✗"
    assert {each.target.partition("/noarch")[0] for each in upstream.requests} == {
        "http://mirror.example.org",
        "http://mirror.example.org/conda-forge",  # in case it became a by-channel one
    }


@pytest.mark.parametrize("has_zst", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(gzip=True),
        Reply(headers=(("Content-Encoding", "zstd"),)),
        Reply(headers=(("Content-Encoding", "br"),)),
    ],
    ids=["packed on the way", "called packed", "called something unknown"],
)
def test_repodata_that_is_called_packed(
    flat: Asker, upstream: Upstream, reply: Reply, *, has_zst: bool
) -> None:
    """Whether it is shows as it is read."""
    flat.lock(flat.row("lib"))
    plain = flat.ask()
    upstream.always("*", reply)
    if not has_zst:
        upstream.always("*.zst", status(404))
    assert flat.ask() == plain
    # Control: what is repodata neither way.
    upstream.always("*.json", Reply(body=b"x", headers=reply.headers, gzip=reply.gzip))
    upstream.always("*.zst", status(404))
    code, out, err = flat.ask()
    assert (code, out) == (1, "")
    assert err.startswith(f"{READING}error: URL/noarch/repodata.json: ")


def test_a_placeholder_in_the_mirrors_url(flat: Asker, upstream: Upstream) -> None:
    flat.lock(flat.row("lib"))
    code, out, err = flat.ask(mirror=f"{flat.url}/t/<TOKEN>/mirror")
    assert (code, out, upstream.requests) == (2, "", [])
    assert (
        "cannot be read: its URL has <TOKEN> in it, where a token or a name should stand\n" in err
    )
