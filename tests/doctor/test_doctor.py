"""The task doctor: whole answers about real mirrors, over HTTP and in folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tasks import doctor
from tests.doctor.conftest import PRIVATE, Asker, Asks
from tests.support.locks import EnvironmentRows, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.replies import Reply, status
from tests.support.upstream import Upstream

# What a flat mirror is asked, since it may have become a by-channel one.
NOT_BY_CHANNEL = ["/conda-forge/noarch/repodata.json.zst", "/conda-forge/noarch/repodata.json"]
READING = "doctor: reading the repodata of URL\n"
LED = f'[mirrors]\n"{CHANNEL}" = ["{{url}}"]\n'
V7 = (
    "conda: `conda create --file pixi.lock` needs lock version 6, and this lock has 7:"
    " name the packages instead"
)
PRIVATE_FOLDER = "example.org_8080/chan"
NOT_LED = "pixi is not led to this mirror"
LOOKED = "looked at: URL (flat); its repodata alone, no artifact was read\n"


ELSE = TinyPackage(name="else")


def _configured(asker: Asker) -> Asker:
    """Lead the consumer's pixi to the flat mirror."""
    asker.root.mkdir(exist_ok=True)
    asker.configure(LED.format(url=asker.url))
    return asker


def test_what_is_there_and_led_to_installs(flat: Asker, upstream: Upstream) -> None:
    """Nothing but repodata is asked for, and nothing is written."""
    _configured(flat).lock(flat.row("hello"), flat.row("lib"))
    for artifact in [*flat.folder.glob("*/*.conda"), *flat.folder.glob("*/*.tar.bz2")]:
        artifact.unlink()
    before = {path: path.stat().st_mtime_ns for path in flat.root.parent.rglob("*")}
    assert flat.ask() == (
        0,
        (
            f"yes\ndefault  linux-64  artifacts ✓ (2)  configuration ✓\n{LOOKED}"
            "pixi: led to this mirror by [mirrors]; read: ROOT/.pixi/config.toml\n"
        ),
        READING,
    )
    assert upstream.paths == [
        "/linux-64/repodata.json.zst",
        "/noarch/repodata.json.zst",
        *NOT_BY_CHANNEL,
    ]
    assert {path: path.stat().st_mtime_ns for path in flat.root.parent.rglob("*")} == before


def test_the_line_that_is_missing_is_enough(flat: Asker) -> None:
    """Without it the answer is no; with just what was printed, it is yes."""
    flat.lock(flat.row("hello"), flat.row("lib"))
    code, out, err = flat.ask()
    assert (code, out, err) == (
        1,
        (
            f"no: {NOT_LED}\ndefault  linux-64  artifacts ✓ (2)  configuration ✗\n{LOOKED}"
            "for pixi, into ROOT/.pixi/config.toml (in its [mirrors], where it has them already):\n"
            f'\n[mirrors]\n"{CHANNEL}" = ["URL"]\n\n'
            "then `pixi install --frozen`, without --offline: that forbids HTTP, loopback too\n"
        ),
        (
            f"{READING}error: [mirrors]: nothing in pixi's configuration leads to this mirror\n"
            "  asked now  https://conda.anaconda.org\n"
            "  needed by  default/linux-64\n"
            "help: the lines above, in ROOT/.pixi/config.toml\n"
        ),
    )
    flat.configure(out.split("\n\n")[1].replace("URL", flat.url))
    assert flat.ask()[0] == 0


def test_a_line_for_each_environment_and_platform(flat: Asker) -> None:
    gone = TinyPackage(name="gone", subdir="linux-64")
    _configured(flat).locks(
        EnvironmentRows(
            name="default",
            platforms=(
                PlatformRows(name="linux-64", rows=(flat.row("hello"), flat.row("lib"))),
                PlatformRows(name="p1", subdir="win-64", rows=(flat.row("far"),)),
            ),
        ),
        EnvironmentRows(name="empty", platforms=(PlatformRows(name="linux-64"),), channels=()),
        EnvironmentRows(
            name="more",
            platforms=(
                PlatformRows(
                    name="linux-64", rows=(flat.row("hello"), flat.row("hello", other=gone))
                ),
            ),
        ),
    )
    code, out, err = flat.ask()
    assert code == 1
    assert out.splitlines()[:5] == [
        "no: 1 of 4 artifacts missing",
        "default  linux-64  artifacts ✓ (2)  configuration ✓",
        "default  p1        artifacts ✓ (1)  configuration ✓",
        "empty    linux-64  artifacts ✓ (0)  configuration ✓",
        "more     linux-64  artifacts ✗ (1 missing; 1 of 2 right)  configuration ✓",
    ]
    assert err == (
        f"{READING}error: linux-64/gone-1.0-0.conda: is not in the mirror\n"
        "  needed by  more/linux-64\n"
        "help: its keeper adds it: `pixi add`, then `pixi run mirror`\n"
    )
    assert flat.ask("-e", "default,empty")[0] == 0
    assert flat.ask("-p", "win-64")[1].splitlines()[1].split()[:2] == ["default", "p1"]


def test_near_misses_are_named(flat: Asker) -> None:
    """The same version first, then the newest; of other machines, none."""
    builds = (
        TinyPackage(name="lib", build="h9_0"),
        TinyPackage(name="lib", version="2.0"),
        TinyPackage(name="far", subdir="linux-64"),
    )
    _configured(flat).lock(*(flat.row("lib", other=each) for each in builds))
    code, out, err = flat.ask()
    assert code == 1
    assert out.splitlines()[:2] == [
        "no: 3 of 3 artifacts missing",
        "default  linux-64  artifacts ✗ (3 missing; 0 of 3 right)  configuration ✓",
    ]
    update = "help: `pixi update lib` takes what the mirror has, once pixi is led to it\n"
    assert err == (
        f"{READING}error: linux-64/far-1.0-0.conda: is not in the mirror\n"
        "  needed by  default/linux-64\n"
        "help: its keeper adds it: `pixi add`, then `pixi run mirror`\n"
        "error: noarch/lib-1.0-h9_0.conda: is not in the mirror\n"
        "  it has     noarch/lib-1.0-0.tar.bz2, noarch/lib-1.10-h2_0.conda\n"
        f"  needed by  default/linux-64\n{update}"
        "error: noarch/lib-2.0-0.conda: is not in the mirror\n"
        "  it has     noarch/lib-1.10-h2_0.conda, noarch/lib-1.0-0.tar.bz2\n"
        f"  needed by  default/linux-64\n{update}"
    )


@pytest.mark.parametrize(
    ("without", "key"),
    [
        (frozenset[str](), "sha256"),
        (frozenset({"sha256"}), "md5"),
        (frozenset({"sha256", "md5"}), "size"),
    ],
)
def test_another_artifact_of_the_same_name(without: frozenset[str], key: str, flat: Asker) -> None:
    other = TinyPackage(name="lib", extension=".tar.bz2", padding=500)
    _configured(flat).lock(flat.row("lib", other=other, without=without))
    row, right = flat.row("lib", other=other).written, flat.row("lib").written
    code, out, err = flat.ask()
    assert code == 1
    assert out.splitlines()[:2] == [
        "no: 1 of 1 artifact different",
        "default  linux-64  artifacts ✗ (1 different; 0 of 1 right)  configuration ✓",
    ]
    assert err == (
        f"{READING}error: noarch/lib-1.0-0.tar.bz2: the mirror has another {key}\n"
        f"  expected   {getattr(row, key)}\n"
        f"  actual     {getattr(right, key)}\n"
        "  needed by  default/linux-64\n"
        "help: one of both is of a later upload: `pixi update lib`,"
        " or its keeper runs `pixi run mirror`\n"
    )


@pytest.mark.parametrize(
    ("without", "line"),
    [
        (frozenset({"sha256"}), "compared by md5 alone, since the lock or the mirror says no more"),
        (
            frozenset({"sha256", "md5"}),
            "compared by size alone, since the lock or the mirror says no more",
        ),
        (
            frozenset({"sha256", "md5", "size"}),
            "compared by name alone, since the lock or the mirror says no more",
        ),
    ],
)
def test_what_was_compared_less_well_is_said(
    without: frozenset[str], line: str, flat: Asker
) -> None:
    _configured(flat).lock(flat.row("hello"), flat.row("lib", without=without))
    code, out, _ = flat.ask()
    assert (code, out.splitlines()[3]) == (0, f"{line}: 1")


@pytest.mark.parametrize("version", range(1, 8))
def test_every_version_of_locks(version: int, flat: Asker) -> None:
    gone = TinyPackage(name="lib", version="3.0")
    rows = (flat.row("hello"), flat.row("lib"))
    _configured(flat).lock(*rows, version=version)
    code, out, _ = flat.ask()
    assert (code, out.splitlines()[1]) == (0, "default  linux-64  artifacts ✓ (2)  configuration ✓")
    old = (
        f"the lock is of version {version}, an old one (7 is today's):"
        " what its rows leave out was not compared"
    )
    assert (old in out.splitlines()) == (version < 6)
    flat.lock(*rows, flat.row("lib", other=gone), version=version)
    assert flat.ask()[0] == 1


def test_a_platform_that_is_not_mirrored(flat: Asker) -> None:
    arm = TinyPackage(name="arm", subdir="linux-aarch64")
    rows = (flat.row("hello", other=arm), flat.row("lib"))
    _configured(flat).locks(
        EnvironmentRows(platforms=(PlatformRows(name="linux-aarch64", rows=rows),))
    )
    code, out, err = flat.ask()
    assert code == 1
    assert out.splitlines()[0] == "no: 1 of 2 artifacts missing"
    assert out.splitlines()[1] == (
        "default  linux-aarch64  artifacts ✗ (1 of a platform that is not mirrored;"
        " 1 of 2 right)  configuration ✓"
    )
    assert err == (
        f"{READING}error: linux-aarch64: this platform is not mirrored\n"
        "  looked for  URL/linux-aarch64/repodata.json\n"
        "  missing     1 artifact\n"
        "  needed by   default/linux-aarch64\n"
        "help: its keeper mirrors it: `pixi run platforms --add linux-aarch64`, which says what"
        " comes next\n"
    )


def test_a_channel_that_lost_its_noarch(by_channel: Asker) -> None:
    """Which is no platform that its keeper could add."""
    by_channel.lock(by_channel.row("hello"), by_channel.row("lib"))
    shutil.rmtree(by_channel.folder / "conda-forge" / "noarch")
    assert by_channel.ask()[2].startswith(
        f"{READING}error: conda-forge/noarch: there is no repodata\n"
        "  looked for  URL/conda-forge/noarch/repodata.json\n"
        "  missing     1 artifact\n"
        "  needed by   default/linux-64\n"
        "help: its keeper mirrors this lock: `pixi run mirror`\n"
    )


def test_channels_each_in_its_folder(by_channel: Asker) -> None:
    """One line for conda.anaconda.org, one for each other channel; no secret is shown."""
    by_channel.lock(*(by_channel.row(name) for name in ("hello", "lib", "cuda", "odd")))
    code, out, err = by_channel.ask()
    assert (code, out) == (
        1,
        (
            f"no: {NOT_LED}\ndefault  linux-64  artifacts ✓ (4)  configuration ✗\n"
            "looked at: URL (by-channel); its repodata alone, no artifact was read\n"
            "for pixi, into ROOT/.pixi/config.toml (in its [mirrors], where it has them already):\n"
            '\n[mirrors]\n"https://conda.anaconda.org" = ["URL"]\n'
            '"https://example.org:8080/t/********/chan" = ["URL/example.org_8080/chan"]\n\n'
            "(in place of ******** write the token that the lock has there)\n"
            "then `pixi install --frozen`, without --offline: that forbids HTTP, loopback too\n"
            "warning: the lock has a user or password for"
            " https://********@example.org:8080/t/********/chan, which pixi sends to whatever"
            " [mirrors] names in its place\n"
        ),
    )
    channels = [f"-c URL/{each}" for each in ("conda-forge", "nvidia/label/cuda-1", PRIVATE_FOLDER)]
    _, asked_about_conda, _ = by_channel.ask("--client", "conda")
    assert asked_about_conda.splitlines()[3:] == [
        V7,
        f"for conda, as options: {' '.join(channels)} --override-channels",
        "conda: its configuration was not checked: there is no conda on PATH",
    ]
    assert "token-1" not in out + err + asked_about_conda
    assert "word" not in out.replace("password", "") + err + asked_about_conda
    lines = out.split("\n\n")[1].replace("URL", by_channel.url)
    by_channel.configure(lines.replace("********", "token-1"))
    assert by_channel.ask()[0] == 0
    by_channel.configure(lines)  # the control: the token was not written
    assert by_channel.ask()[0] == 1


def test_a_channel_that_is_not_mirrored(by_channel: Asker) -> None:
    url = "https://conda.anaconda.org/bioconda"
    by_channel.lock(by_channel.row("hello"), by_channel.row("lib", channel=url))
    by_channel.configure(f'[mirrors]\n"https://conda.anaconda.org" = ["{by_channel.url}"]\n')
    code, out, err = by_channel.ask()
    assert (code, out.splitlines()[0]) == (1, "no: 1 of 2 artifacts missing")
    assert out.splitlines()[1] == (
        "default  linux-64  artifacts ✗ (1 of a channel that is not mirrored; 1 of 2 right)"
        "  configuration ✓"
    )
    assert err == (
        f"{READING}error: {url}: this channel is not mirrored\n"
        "  looked for  URL/bioconda/noarch/repodata.json\n"
        "  missing     1 artifact\n"
        "  needed by   default/linux-64\n"
        "help: its keeper mirrors this lock: `pixi run mirror`\n"
    )
    # Listed without a package of it, it is told of, and nothing is missing.
    rows = PlatformRows(name="linux-64", rows=(by_channel.row("hello"),))
    by_channel.locks(EnvironmentRows(platforms=(rows,), channels=(CHANNEL, url)))
    code, out, _ = by_channel.ask()
    assert (code, out.splitlines()[3]) == (
        0,
        f"not mirrored: {url}; nothing is locked from it, but `pixi lock` will ask for it",
    )
    # Nor is it said of a folder that is gone, from which something is locked.
    place = "/gone/noarch/lib-1.0-0.tar.bz2"
    gone = by_channel.row("lib", channel="file:///gone", url=place)
    rows = PlatformRows(name="linux-64", rows=(by_channel.row("hello"), gone))
    by_channel.locks(EnvironmentRows(platforms=(rows,), channels=(CHANNEL, "file:///gone")))
    code, out, err = by_channel.ask()
    assert (code, out.splitlines()[0]) == (1, "no: 1 of 2 artifacts not mirrorable")
    assert "nothing is locked from it" not in out
    assert f"{place}: nothing can lead pixi from this location" in err


def test_plain_json_will_do(flat: Asker, upstream: Upstream) -> None:
    _configured(flat).lock(flat.row("lib"))
    for file in flat.folder.glob("*/repodata.json.zst"):
        file.unlink()
    assert flat.ask()[0] == 0
    assert upstream.paths == [
        "/noarch/repodata.json.zst",
        "/noarch/repodata.json",
        *NOT_BY_CHANNEL,
    ]


def test_the_mirror_of_the_workspace(
    consumed: Path, flat: Asker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only without --mirror is a workspace needed."""
    flat.lock(flat.row("lib"), flat.row("hello"))
    lock = str(flat.root / "pixi.lock")
    options = ["--lock", lock, "--manifest-path", str(consumed / "flat")]
    assert doctor.main(options) == 1
    out = flat.capsys.readouterr().out
    folder = (consumed / "flat" / "local-channel").as_uri()
    assert out.splitlines()[:3] == [
        "no: from a folder pixi takes only what was locked there",
        "default  linux-64  artifacts ✓ (2)  configuration ✗",
        f"looked at: {folder} (flat); its repodata alone, no artifact was read",
    ]
    monkeypatch.chdir(tmp_path)
    assert doctor.main(["--lock", lock]) == 2
    assert "there is no pixi workspace here" in flat.capsys.readouterr().err
    (tmp_path / "pixi.toml").write_text(
        '[workspace]\nname = "w"\nchannels = []\nplatforms = []\n', encoding="utf-8"
    )
    assert doctor.main(["--lock", lock]) == 2
    assert flat.capsys.readouterr().err == (
        "error: local-channel: there is no such channel folder\n"
        "help: pixi run mirror, or name another mirror: --mirror PLACE\n"
    )


def test_json(flat: Asker) -> None:
    other = TinyPackage(name="lib", extension=".tar.bz2", padding=500)
    gone = TinyPackage(name="gone", subdir="linux-64")
    flat.lock(flat.row("hello"), flat.row("lib", other=other), flat.row("hello", other=gone))
    code, out, _ = flat.ask("--json")
    document = json.loads(out)
    subjects = [problem.pop("subject") for problem in document.pop("problems")]
    assert subjects == ["linux-64/gone-1.0-0.conda", "noarch/lib-1.0-0.tar.bz2", "[mirrors]"]
    assert (code, document) == (
        1,
        {
            "schema": 1,
            "task": "doctor",
            "exit-code": 1,
            "warnings": [],
            "verdict": f"no: 1 of 3 artifacts missing; 1 different; {NOT_LED}",
            "lock": "ROOT/pixi.lock",
            "lock-version": 7,
            "mirror": "URL",
            "layout": "flat",
            "left-out-environments": [],
            "left-out-platforms": [],
            "environments": [
                {
                    "environment": "default",
                    "platform": "linux-64",
                    "artifacts": 3,
                    "missing": ["linux-64/gone-1.0-0.conda"],
                    "other": ["noarch/lib-1.0-0.tar.bz2"],
                    "platform-not-mirrored": [],
                    "channel-not-mirrored": [],
                    "not-mirrorable": [],
                    "not-beside-the-lock": [],
                    "configured": False,
                    "left-out": [],
                }
            ],
            "configuration": {
                "read": [],
                "pixi-config": f'[mirrors]\n"{CHANNEL}" = ["URL"]',
                "overridden-by": [],
                "manifest": None,
            },
        },
    )


def test_secrets_of_the_mirror_itself(asks: Asks, upstream: Upstream) -> None:
    """They are sent to it, and shown nowhere; the lines to paste are without them."""
    asker = asks("flat")
    upstream.authorization = "Basic dXNlcjp3b3Jk"
    asker.lock(asker.row("lib"))
    place = asker.url.replace("://", "://user:word@")
    code, out, err = asker.ask(mirror=place)
    assert (code, upstream.requests[0].headers["authorization"]) == (1, upstream.authorization)
    assert f'"{CHANNEL}" = ["URL"]' in out
    assert "word" not in (out + err).replace("password", "")
    code, out, err = asker.ask()
    assert (code, out, err) == (
        2,
        "",
        (
            f"{READING}error: URL/noarch/repodata.json.zst: cannot be read: HTTP 401 Unauthorized\n"
            "help: give credentials: `pixi auth login HOST --token TOKEN`, or netrc\n"
        ),
    )
    assert PRIVATE not in out + err


@pytest.mark.usefixtures("no_keyring")
def test_pixi_has_no_login_for_the_mirror(
    asks: Asks, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a user in [mirrors] pixi sends nothing, so it is led there in vain; netrc is read."""
    asker, home = asks("flat"), tmp_path / "home"
    monkeypatch.setenv("NETRC", str(home))
    upstream.authorization = "Basic dXNlcjp3b3Jk"
    asker.lock(asker.row("lib"))
    place = asker.url.replace("://", "://user:word@")
    home.write_text("machine other.example.org login user password word\n", encoding="utf-8")
    for target in (asker.url, place):
        asker.configure(f'[mirrors]\n"{CHANNEL}" = ["{target}"]\n')
        code, out, err = asker.ask(mirror=place)
        assert (code, out.splitlines()[:2]) == (
            1,
            [
                "no: pixi is not logged in there",
                "default  linux-64  artifacts ✓ (1)  configuration ✗",
            ],
        )
        assert err == (
            f"{READING}error: URL: pixi has no user and password for it, and takes none from"
            " [mirrors]\n"
            "help: pixi auth login 127.0.0.1 --username USER --password PASSWORD, or netrc\n"
        )
    asker.configure("")
    said = "no: pixi is not led to this mirror, and is not logged in there\n"
    assert said in asker.ask(mirror=place)[1]

    # What the lock has in a URL it sends.
    asker.lock(asker.row("lib", channel=asker.url))
    assert asker.ask(mirror=place)[1].startswith("no: pixi is not logged in there\n")
    asker.lock(asker.row("lib", channel=place))
    assert asker.ask(mirror=place)[1].startswith("yes\n")

    asker.lock(asker.row("lib"))
    home.write_text("machine 127.0.0.1 login user password word\n", encoding="utf-8")
    asker.configure(f'[mirrors]\n"{CHANNEL}" = ["{asker.url}"]\n')
    code, out, err = asker.ask(mirror=place)
    assert (code, out.splitlines()[0], err) == (0, "yes", READING)


@pytest.mark.usefixtures("no_keyring")
def test_pixi_has_no_token_for_the_mirror(
    asks: Asks, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A token in [mirrors] it sends, as one that is stored."""
    asker, store = asks("flat"), tmp_path / "store.json"
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(store))
    store.write_text("{}", encoding="utf-8")
    upstream.token = "tk-hidden"
    asker.lock(asker.row("lib"))
    place = asker.url.replace(upstream.url, f"{upstream.url}/t/tk-hidden")
    asker.configure(f'[mirrors]\n"{CHANNEL}" = ["{asker.url}"]\n')
    code, out, err = asker.ask(mirror=place)
    assert (code, out.splitlines()[0]) == (1, "no: pixi is not logged in there")
    assert err == (
        f"{READING}error: URL: pixi has no token for it\n"
        "help: pixi auth login 127.0.0.1 --conda-token TOKEN\n"
    )
    shutil.copytree(asker.folder, tmp_path / "t" / "mirror")  # which is no token
    assert "no token" not in asker.ask(mirror=str(tmp_path / "t" / "mirror"))[2]
    store.write_text('{"127.0.0.1": {"CondaToken": "tk-hidden"}}', encoding="utf-8")
    assert asker.ask(mirror=place)[:1] == (0,)
    store.write_text("{}", encoding="utf-8")
    asker.configure(f'[mirrors]\n"{CHANNEL}" = ["{place}"]\n')
    assert asker.ask(mirror=place)[:1] == (0,)


def test_conda_has_to_be_given_the_login(asks: Asks, upstream: Upstream) -> None:
    """The lines to paste are without it; no such word of a mirror without a login."""
    asker = asks("flat")
    asker.lock(asker.row("lib"))
    said = "conda: the mirror has a login: have it in netrc, or put it into the channel's URL\n"
    place = asker.url.replace("://", "://user:word@")
    assert said in asker.ask("--client", "conda", mirror=place)[1]
    assert said not in asker.ask("--client", "conda")[1]
    assert said not in asker.ask("--client", "pixi", mirror=place)[1]


def test_a_mirror_that_was_flat_before(by_channel: Asker, consumed: Path) -> None:
    """Its flat files are there until `prune`; they count where a channel has no folder yet."""
    shutil.copytree(consumed / "flat" / "local-channel", by_channel.folder, dirs_exist_ok=True)
    by_channel.lock(*(by_channel.row(name) for name in ("hello", "lib", "cuda")))
    code, out, _ = by_channel.ask()
    assert "artifacts ✓ (3)" in out
    assert "looked at: URL (by-channel); its repodata alone, no artifact was read" in out
    by_channel.configure('[mirrors]\n"https://conda.anaconda.org" = ["' + by_channel.url + '"]\n')
    assert by_channel.ask()[0] == 0
    assert "(by-channel)" in by_channel.ask(mirror=str(by_channel.folder))[1]

    shutil.rmtree(by_channel.folder / "nvidia")
    code, out, _ = by_channel.ask()
    assert (code, "looked at: URL (flat)" in out) == (1, True)


@pytest.mark.parametrize("code", [401, 403])
@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_a_server_that_denies_what_is_not_there(
    asks: Asks, upstream: Upstream, layout: str, code: int
) -> None:
    """As S3 does to who may not list folders; the control is one that denies all."""
    asker = asks(layout)
    asker.lock(asker.row("lib"))
    for path in upstream.folder.rglob("*.zst"):
        path.unlink()
    upstream.always("*", status(code))
    for path in upstream.folder.rglob("repodata.json"):
        upstream.always(f"/{path.relative_to(upstream.folder).as_posix()}", Reply())
    found, out, _ = asker.ask()
    assert (found, out.splitlines()[0]) == (1, f"no: {NOT_LED}")
    assert f"looked at: URL ({layout})" in out
    asker.lock(asker.row("lib", channel="https://conda.anaconda.org/else", other=ELSE))
    assert asker.ask()[1].splitlines()[0].startswith("no: 1 of 1 artifact missing")
    upstream.always("*", status(code))
    found, out, err = asker.ask()
    assert (found, out) == (2, "")
    assert f"repodata.json.zst: cannot be read: HTTP {code} " in err


MANIFESTS = {
    "pixi.toml": "[workspace]\nchannels = []\nplatforms = []\n",
    "pyproject.toml": "[tool.pixi.workspace]\nchannels = []\nplatforms = []\n",
}


def test_platforms_are_left_out_as_settings_and_options_say(flat: Asker) -> None:
    places = tuple(PlatformRows(name=x, rows=(flat.row("hello"),)) for x in ("linux-64", "win-64"))
    _configured(flat).locks(EnvironmentRows(platforms=places))
    assert "left out" not in flat.ask()[1], "the control"
    code, out, _ = flat.ask("-p", "linux-64")
    assert (code, out.splitlines()[0]) == (0, "yes")
    assert "\nleft out: default/win-64 (by settings or options)\n" in out
    (flat.root / "pixi.toml").write_text(
        f'{MANIFESTS["pixi.toml"]}[tool.pixi-mirror]\nplatforms = ["win-64"]\n', encoding="utf-8"
    )
    assert json.loads(flat.ask("--json")[1])["left-out-platforms"] == ["default/linux-64"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_builder_environments_are_left_out_as_the_settings_beside_the_lock_say(
    flat: Asker, name: str
) -> None:
    tool = TinyPackage(name="tool", subdir="linux-64")
    _configured(flat).locks(
        EnvironmentRows(platforms=(PlatformRows(name="linux-64", rows=(flat.row("hello"),)),)),
        EnvironmentRows(
            name="tools",
            platforms=(PlatformRows(name="linux-64", rows=(flat.row("hello", other=tool),)),),
        ),
    )
    both = ["no: 1 of 2 artifacts missing", "default", "tools"]
    manifest = flat.root / name
    manifest.write_text(MANIFESTS[name], encoding="utf-8")  # the control: it has no settings
    code, out, _ = flat.ask()
    assert (code, "left out" in out) == (1, False)
    assert [out.splitlines()[0], *(line.split()[0] for line in out.splitlines()[1:3])] == both

    settings = '[tool.pixi-mirror]\nexclude-environments = ["tools"]\nlayout = "by-channel"\n'
    manifest.write_text(f"{MANIFESTS[name]}\n{settings}", encoding="utf-8")
    code, out, err = flat.ask()
    assert (code, err) == (0, READING)
    assert out == (
        f"yes\ndefault  linux-64  artifacts ✓ (1)  configuration ✓\n{LOOKED}"
        "left out: tools (by settings or options)\n"
        "pixi: led to this mirror by [mirrors]; read: ROOT/.pixi/config.toml\n"
    )
    assert json.loads(flat.ask("--json")[1])["left-out-environments"] == ["tools"]
    for widened in (("--exclude-environments", ""), ("-e", "default,tools")):
        code, out, _ = flat.ask(*widened)
        assert (code, "left out" in out) == (1, False)
        assert [out.splitlines()[0], *(line.split()[0] for line in out.splitlines()[1:3])] == both
    assert "left out: default, tools" in flat.ask("--exclude-environments", "default,tools")[1]

    wrong = settings.replace('["tools"]', '"tools"')
    manifest.write_text(f"{MANIFESTS[name]}\n{wrong}", encoding="utf-8")
    assert flat.ask() == (
        2,
        "",
        (
            f"error: ROOT/{name}: tool.pixi-mirror.exclude-environments is not a list of strings\n"
            "  actual  'tools'\n"
        ),
    )
