"""conda's side of the doctor: what `.condarc` says, as conda itself reads it, and what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.doctor import conda_configuration
from scripts.doctor.conda_configuration import parse_conda_settings, read_conda_settings
from scripts.verify.findings import Client
from scripts.verify.install.clients import find_program
from tests.doctor.conftest import NVIDIA, Asker
from tests.support.conda_standin import config, standin
from tests.support.locks import EnvironmentRows, PlatformRows
from tests.support.mirrors import CHANNEL
from tests.support.packages import TinyPackage
from tests.support.upstream import Upstream
from tests.support.verified import conda_adds_pip

CONDA = ("--client", "conda")
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def condarc(
    request: pytest.FixtureRequest,
    clean_environment: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The user's own file, which is not there yet; and a conda, which is asked for it."""
    if request.node.get_closest_marker("needs_conda") is None:
        standin(tmp_path / "bin", "conda", monkeypatch)
    return clean_environment / ".condarc"


def _three(by_channel: Asker) -> None:
    by_channel.lock(*(by_channel.row(name) for name in ("hello", "lib", "cuda")))


def _last(answer: tuple[int, str, str]) -> tuple[int, str]:
    return answer[0], answer[1].splitlines()[-1]


def test_the_line_that_is_missing_is_enough(by_channel: Asker, condarc: Path) -> None:
    """For conda alone, whose answer does not hang on what pixi has."""
    _three(by_channel)
    code, out, err = by_channel.ask(*CONDA)
    assert code == 1
    assert out.splitlines()[:2] == [
        "no: conda is not led to this mirror",
        "default  linux-64  artifacts ✓ (3)  configuration ✗",
    ]
    assert "for pixi" not in out
    assert out.splitlines()[-1] == "for conda, in .condarc: channel_alias: URL"
    assert err.split("\n", 1)[1] == (
        "error: .condarc: nothing in conda's configuration leads to this mirror\n"
        "  needed by  default\n"
        "help: the line above, in ~/.condarc\n"
    )
    condarc.write_text(f"channel_alias: {by_channel.url}/\n", encoding="utf-8")
    code, out, err = by_channel.ask(*CONDA)
    assert (code, err.count("\n")) == (0, 1)
    assert out.splitlines()[:2] == ["yes", "default  linux-64  artifacts ✓ (3)  configuration ✓"]
    assert out.splitlines()[-1] == (
        f"conda: led to this mirror by {condarc}, if asked with"
        " -c conda-forge -c nvidia/label/cuda-1 --override-channels"
    )
    condarc.write_text(
        f"channel_alias: {by_channel.url}\nchannels: [conda-forge, nvidia/label/cuda-1]\n",
        encoding="utf-8",
    )
    assert _last(by_channel.ask(*CONDA)) == (0, f"conda: led to this mirror by {condarc}")


def test_pixi_alone_counts_unless_conda_is_asked_about(by_channel: Asker, condarc: Path) -> None:
    _three(by_channel)
    by_channel.configure('[mirrors]\n"https://conda.anaconda.org" = ["' + by_channel.url + '"]\n')
    code, out, err = by_channel.ask()
    assert (code, "conda:" in out + err, ".condarc" in out + err) == (0, False, False)
    code, out, _ = by_channel.ask("--client", "pixi,conda")
    assert (code, out.splitlines()[0]) == (1, "no: conda is not led to this mirror")
    assert out.splitlines()[-1] == "for conda, in .condarc: channel_alias: URL"
    condarc.write_text(f"channel_alias: {by_channel.url}\n", encoding="utf-8")
    assert by_channel.ask("--client", "pixi,conda")[0] == 0
    by_channel.configure("")
    code, out, _ = by_channel.ask("--client", "pixi,conda")
    assert (code, out.splitlines()[0]) == (1, "no: pixi is not led to this mirror")
    assert by_channel.ask(*CONDA)[0] == 0


@pytest.mark.parametrize(
    ("channels", "is_led"),
    [
        ("[URL]", True),
        ("[URL/]", True),
        ("[URL, conda-forge]", False),
        ("[conda-forge]", False),
        ("[defaults]\ndefault_channels: [URL]", True),
        ("[ours]\ncustom_multichannels: {ours: [URL]}", True),
        ("[]\ndefault_channels: [URL]", False),
    ],
)
def test_a_flat_mirror(channels: str, is_led: bool, flat: Asker, condarc: Path) -> None:  # noqa: FBT001
    """One channel: it is named by its URL, and no other may be beside it."""
    flat.lock(flat.row("hello"), flat.row("lib"))
    condarc.write_text(f"channels: {channels}\n".replace("URL", flat.url), encoding="utf-8")
    code, last = _last(flat.ask(*CONDA))
    if is_led:
        assert (code, last) == (0, f"conda: led to this mirror by {condarc}")
    else:
        assert (code, last) == (1, "for conda, as options: -c URL --override-channels")


def test_options_are_said_where_no_line_will_do(flat: Asker, condarc: Path) -> None:
    flat.lock(flat.row("hello"), flat.row("lib"))
    condarc.write_text("channels: [conda-forge]\n", encoding="utf-8")
    assert flat.ask(*CONDA)[2].split("\n", 1)[1] == (
        "error: .condarc: conda's configuration leads elsewhere, or not everywhere it should\n"
        "  asked now  https://conda.anaconda.org\n"
        f"  read       {condarc}\n"
        "  needed by  default\n"
        "help: the options above with every command, or their channels in ~/.condarc\n"
    )


def test_the_order_of_channels_counts(by_channel: Asker, condarc: Path) -> None:
    """Two environments that want it otherwise cannot both be right; one may have more between."""
    rows = tuple(by_channel.row(name) for name in ("hello", "lib", "cuda"))
    orders = {
        "default": (rows, (CHANNEL, NVIDIA)),
        "gpu": (rows, (NVIDIA, CHANNEL)),
        "one": (rows[2:], (NVIDIA,)),
    }
    by_channel.locks(
        *(
            EnvironmentRows(
                name=name,
                platforms=(PlatformRows(name="linux-64", rows=of_it),),
                channels=order,
            )
            for name, (of_it, order) in orders.items()
        )
    )
    url = by_channel.url
    condarc.write_text(
        f"channels: [{url}/conda-forge, {url}/nvidia/label/cuda-1]\n", encoding="utf-8"
    )
    code, out, err = by_channel.ask(*CONDA)
    assert [line.split()[-1] for line in out.splitlines()[1:4]] == ["✓", "✗", "✓"]
    assert (code, "  needed by  gpu\n" in err) == (1, True)
    assert out.splitlines()[-1] == "for conda, in .condarc: channel_alias: URL"
    condarc.write_text(f"channel_alias: {url}\n", encoding="utf-8")
    code, out, _ = by_channel.ask(*CONDA)
    led = f"conda: led to this mirror by {condarc}, if asked with"
    assert (code, out.splitlines()[-3:]) == (
        0,
        [
            f"{led} -c conda-forge -c nvidia/label/cuda-1 --override-channels  # default",
            f"{led} -c nvidia/label/cuda-1 -c conda-forge --override-channels  # gpu",
            f"{led} -c nvidia/label/cuda-1 --override-channels  # one",
        ],
    )


def test_names_that_no_alias_outdoes(by_channel: Asker, condarc: Path) -> None:
    """The longest name that is said counts, as conda has it; here it is right, and there wrong."""
    _three(by_channel)
    alias = f"channel_alias: {by_channel.url}\n"
    condarc.write_text(f"{alias}custom_channels:\n  nvidia: {by_channel.url}\n", encoding="utf-8")
    assert by_channel.ask(*CONDA)[0] == 0
    condarc.write_text(
        f"{alias}custom_channels:\n  nvidia: https://example.org/x\n", encoding="utf-8"
    )
    code, _, err = by_channel.ask(*CONDA)
    assert code == 1
    overrides = "nvidia/label/cuda-1"
    assert f"  read           {condarc}\n  overridden by  {overrides}\n" in err
    assert err.endswith("help: the line above, in ~/.condarc; and take away what overrides it\n")
    configuration = json.loads(by_channel.ask(*CONDA, "--json")[1])["configuration"]
    assert configuration["condarc-overridden-by"] == [overrides]
    assert (configuration["condarc-checked"], configuration["condarc"]) == (True, [str(condarc)])


def test_a_url_that_is_none_leads_nowhere(by_channel: Asker, condarc: Path) -> None:
    by_channel.lock(by_channel.row("lib"))
    condarc.write_text("channels: ['http://[bad', 'http://h:99999/x']\n", encoding="utf-8")
    code, out, err = by_channel.ask(*CONDA)
    assert (code, out.splitlines()[-1]) == (1, "for conda, in .condarc: channel_alias: URL")
    assert "leads elsewhere, or not everywhere it should\n  asked now  " in err


def test_without_conda_its_lines_are_printed(by_channel: Asker) -> None:
    """What is not known is neither a finding nor a tick."""
    _three(by_channel)
    code, out, err = by_channel.ask(*CONDA)
    assert (code, err.count("\n")) == (0, 1)
    assert out.splitlines()[:2] == [
        "not known: conda's configuration was not checked",
        "default  linux-64  artifacts ✓ (3)  configuration –",  # noqa: RUF001
    ]
    assert out.splitlines()[-2:] == [
        "for conda, in .condarc: channel_alias: URL",
        "conda: its configuration was not checked: there is no conda on PATH",
    ]
    code, out, _ = by_channel.ask("--client", "pixi,conda")
    assert (code, out.splitlines()[0]) == (1, "no: pixi is not led to this mirror")
    by_channel.lock(by_channel.row("lib", other=TinyPackage(name="gone")))
    code, out, _ = by_channel.ask(*CONDA)
    assert (code, out.splitlines()[0]) == (1, "no: 1 of 1 artifact missing")


@pytest.mark.parametrize("version", range(1, 8))
def test_the_lock_itself_conda_reads_of_version_6_alone(
    version: int, by_channel: Asker, condarc: Path
) -> None:
    condarc.write_text(f"channel_alias: {by_channel.url}\n", encoding="utf-8")
    by_channel.lock(by_channel.row("hello"), by_channel.row("lib"), version=version)
    code, out, _ = by_channel.ask(*CONDA)
    assert code == 0
    said = (
        f"conda: `conda create --file pixi.lock` needs lock version 6, and this lock has {version}:"
        " name the packages instead"
    )
    assert (said in out.splitlines()) == (version != 6)
    assert ("conda create" in out) == (version != 6)
    assert "conda create" not in by_channel.ask()[1]


@pytest.mark.parametrize(
    ("ending", "how"),
    [
        ("refusing", "ended with exit code 1"),
        ("well", "ended with exit code 1"),
        ("without end", "did not end within 1 s"),
    ],
)
def test_a_conda_that_fails(
    ending: str, how: str, by_channel: Asker, condarc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It concerns those who asked about conda, and nobody else."""
    by_channel.lock(by_channel.row("lib"))
    by_channel.configure('[mirrors]\n"https://conda.anaconda.org" = ["' + by_channel.url + '"]\n')
    standin(by_channel.root / "bin", "conda", monkeypatch, ending)
    condarc.write_text("channels: [\n", encoding="utf-8")
    if ending == "without end":
        monkeypatch.setattr(conda_configuration, "_TIMEOUT", 1)
    message = f"its configuration cannot be read: `conda config --show --json` {how}\n"
    code, out, err = by_channel.ask()
    assert (code, out.splitlines()[0], "conda:" in out, err.count("\n")) == (0, "yes", False, 1)
    code, out, err = by_channel.ask(*CONDA)
    assert (code, "configuration –" in out) == (4, True)  # noqa: RUF001
    assert out.splitlines()[0] == "not known: conda's configuration was not checked"
    assert f"conda: its configuration was not checked: {message}" in out
    assert f"error: conda: {message}" in err
    assert "  program  ROOT/bin/conda\n" in err
    said = "  said     error    libmamba Could not solve for environment specs\n"
    assert (said in err) == (ending == "refusing")
    assert err.endswith(
        "help: conda config --show, and mend what it names; or leave out --client conda\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a shell script")
def test_a_conda_that_prints_other_json(by_channel: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    _three(by_channel)
    program = by_channel.root / "bin" / "conda"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '{}'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    code, _, err = by_channel.ask(*CONDA)
    assert code == 4
    said = "printed what it should not: KeyError('custom_multichannels')\n"
    assert f"`conda config --show --json` {said}" in err


def test_secrets_are_not_shown(by_channel: Asker, condarc: Path) -> None:
    _three(by_channel)
    with_token = by_channel.url.replace("http://", "http://user:word@") + "/t/token-1"
    condarc.write_text(f"channels: ['{with_token}']\n", encoding="utf-8")
    code, out, err = by_channel.ask(*CONDA)
    assert code == 1
    assert "word" not in out + err
    assert "token-1" not in out + err


@pytest.mark.needs_conda
@pytest.mark.parametrize(
    "text",
    [
        "channels: [conda-forge, nvidia/label/cuda-1, bioconda, 'https://example.org/a/b/']\n",
        "channel_alias: http://example.org:8000/x/\nchannels: [conda-forge, nvidia]\n",
        (
            "custom_channels: {nvidia: 'https://example.org/mirror'}\n"
            "channels: [nvidia/label/cuda-1, nvidia, conda-forge]\n"
        ),
        "channels: [defaults, conda-forge]\n",
        "default_channels: ['https://example.org/one', two]\n",
        "default_channels: ['https://example.org/one', two]\nchannels: [defaults]\n",
        "custom_multichannels: {ours: [one, 'https://example.org/two']}\nchannels: [ours]\n",
        pytest.param(
            "channels: ['file:///srv/chan', '/srv/other']\n",
            marks=pytest.mark.skipif(os.name == "nt", reason="paths are others there"),
        ),
    ],
)
def test_conda_asks_the_same(text: str, condarc: Path) -> None:
    """The oracle: what `conda info` says that it would ask. The stand-in says so, too."""
    condarc.write_text(text, encoding="utf-8")
    conda = find_program(Client.CONDA, os.environ)
    assert conda is not None
    info = json.loads(_conda("info", "--json").stdout)
    theirs = dict.fromkeys(url.rpartition("/")[0] for url in info["channels"])
    ours = read_conda_settings(conda, os.environ)
    assert ours.asked() == tuple(theirs)
    assert list(ours.sources) == [str(condarc)]
    assert parse_conda_settings(config("--show"), config("--show-sources")).asked() == ours.asked()


@pytest.mark.needs_conda
def test_a_variable_is_named(condarc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conda = find_program(Client.CONDA, os.environ)
    assert conda is not None
    condarc.write_text("channels: [a]\nadd_pip_as_python_dependency: 'no'\n", encoding="utf-8")
    monkeypatch.setenv("CONDA_CHANNELS", "b,c")
    settings = read_conda_settings(conda, os.environ)
    assert (settings.channels, settings.adds_pip) == (("b", "c", "a"), False)
    assert set(settings.sources) == {str(condarc), "CONDA_CHANNELS"}


@pytest.mark.needs_conda
@pytest.mark.parametrize("layout", ["flat", "by-channel"])
def test_what_is_printed_leads_conda_to_the_mirror(
    layout: str, tmp_path: Path, by_channel: Asker, upstream: Upstream, condarc: Path
) -> None:
    """All proxies lead nowhere, so that nothing can come from elsewhere."""
    lib = TinyPackage(name="lib", extension=".tar.bz2")
    by_channel.lock(by_channel.row("lib"))
    url = by_channel.url if layout == "by-channel" else f"{by_channel.url}/conda-forge"
    shutil.copyfile(
        by_channel.upstream / "noarch" / lib.file_name,
        upstream.folder / "conda-forge" / "noarch" / lib.file_name,
    )
    prefix = tmp_path / "prefix"
    create = ("create", "-p", str(prefix), "--yes", "--json", "lib=1.0")
    names: tuple[str, ...] = ("-c", "conda-forge", "--override-channels")
    assert _conda(*create, *names).returncode != 0  # the control
    code, last = _last(by_channel.ask(*CONDA, mirror=url))
    assert code == 1
    said = last.replace("URL", by_channel.url)
    if layout == "by-channel":
        condarc.write_text(said.removeprefix("for conda, in .condarc: "), encoding="utf-8")
        code, last = _last(by_channel.ask(*CONDA, mirror=url))
        assert (code, last.endswith(", if asked with " + " ".join(names))) == (0, True)
    else:
        names = tuple(said.removeprefix("for conda, as options: ").split())
    done = _conda(*create, *names)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (prefix / "conda-meta" / "lib-1.0-0.json").is_file()


# What conda's configuration says, what the doctor says of that (nothing: all is well).
REFUSALS = [
    ("denylist_channels: [conda-forge]", "denylist_channels names a channel of this mirror"),
    ("denylist_channels: [URL/conda-forge/]", "denylist_channels names a channel of this mirror"),
    ("denylist_channels: [nvidia]", ""),
    ("allowlist_channels: [a]", "allowlist_channels does not name each channel of this mirror"),
    ("allowlist_channels: [a, conda-forge]", ""),
    ("offline: true", "offline forbids HTTP, to this mirror too"),
    ("offline: false", ""),
    (
        "repodata_use_shards: false\nrepodata_fns: [current_repodata.json, repodata.json]",
        "repodata_fns asks for current_repodata.json first, which no index of pixi-mirror is",
    ),
    ("repodata_use_shards: false\nrepodata_fns: [repodata.json]", ""),
    ("repodata_use_shards: false", ""),
    ("repodata_fns: [current_repodata.json]", ""),
    (
        "use_only_tar_bz2: true",
        "use_only_tar_bz2 passes over each .conda, and of some the mirror has no other",
    ),
    ("use_only_tar_bz2: false", ""),
]


def _refuse(asker: Asker, condarc: Path, line: str) -> None:
    """Lead there, but for this line; the package is there as a .conda alone."""
    asker.lock(asker.row("newer"))
    text = f"channel_alias: URL\n{line}\n"
    condarc.write_text(text.replace("URL", asker.url), encoding="utf-8")


@pytest.mark.parametrize(("line", "message"), REFUSALS)
def test_what_conda_refuses_is_not_led_there(
    line: str, message: str, by_channel: Asker, condarc: Path
) -> None:
    _refuse(by_channel, condarc, line)
    code, out, err = by_channel.ask(*CONDA)
    if not message:
        assert (code, out.splitlines()[0]) == (0, "yes")
        return
    assert (code, out.splitlines()[0]) == (1, "no: conda refuses this mirror")
    assert "configuration ✗" in out
    assert err.split("\n", 1)[1] == (
        f"error: .condarc: {message}\n"
        "  needed by  default\n"
        f"help: change it where `conda config --show-sources` has {message.split(maxsplit=1)[0]}\n"
    )


def test_all_that_conda_refuses_it_for_is_said_at_once(by_channel: Asker, condarc: Path) -> None:
    _refuse(by_channel, condarc, "offline: true\nuse_only_tar_bz2: true")
    said = [x for x in by_channel.ask(*CONDA)[2].splitlines() if x.startswith("error: ")]
    messages = dict(REFUSALS)
    assert said == [
        f"error: .condarc: {messages[line]}" for line in ("offline: true", "use_only_tar_bz2: true")
    ]


@pytest.mark.needs_conda
@pytest.mark.parametrize(("line", "message"), REFUSALS)
def test_conda_refuses_the_same(
    line: str, message: str, tmp_path: Path, by_channel: Asker, condarc: Path
) -> None:
    """The oracle for it: a conda that is told to install just that."""
    _refuse(by_channel, condarc, line)
    code, _, err = by_channel.ask(*CONDA)
    assert (code, message in err) == (1 if message else 0, True)
    names = ("-c", "conda-forge", "--override-channels", "lib=1.10")
    done = _conda("create", "-p", str(tmp_path / "prefix"), "--yes", "--json", *names)
    assert (done.returncode != 0) == bool(message), done.stdout + done.stderr


def test_what_is_no_refusal(flat: Asker, condarc: Path) -> None:
    """To a folder nobody goes by HTTP, and of a .tar.bz2 nothing is passed over."""
    lines = "offline: true\nuse_only_tar_bz2: true\n"
    condarc.write_text(f"channels: ['{flat.folder.as_uri()}']\n{lines}", encoding="utf-8")
    flat.lock(flat.row("lib"))
    folder = str(flat.folder)
    assert flat.ask(*CONDA, mirror=folder)[0] == 0
    flat.lock(flat.row("newer"))  # the control
    assert flat.ask(*CONDA, mirror=folder)[0] == 1


PIP_LINE = "for conda, in .condarc: add_pip_as_python_dependency: false"
PIP_PROBLEM = (
    "error: .condarc: conda adds pip to what every python needs, and the mirror has none\n"
    "  needed by  default\n"
    "help: the line add_pip_as_python_dependency: false, in ~/.condarc; or its keeper mirrors it:"
    " `pixi add pip`, then `pixi run mirror`\n"
)


def test_conda_adds_a_pip_that_the_mirror_lacks(by_channel: Asker, condarc: Path) -> None:
    alias = f"channel_alias: {by_channel.url}\n"
    condarc.write_text(alias, encoding="utf-8")
    by_channel.lock(by_channel.row("lib"))
    code, out, _ = by_channel.ask(*CONDA)
    assert (code, "add_pip" in out) == (0, False)  # without python nothing is added

    by_channel.lock(by_channel.row("python"))
    code, out, err = by_channel.ask(*CONDA)
    assert (code, err.split("\n", 1)[1]) == (1, PIP_PROBLEM)
    assert out.splitlines()[:2] == [
        "no: conda adds pip, which is not there",
        "default  linux-64  artifacts ✓ (1)  configuration ✗",
    ]
    assert PIP_LINE in out.splitlines()
    by_channel.configure('[mirrors]\n"https://conda.anaconda.org" = ["' + by_channel.url + '"]\n')
    code, out, _ = by_channel.ask()
    assert (code, "add_pip" in out) == (0, False)  # pixi adds none

    for line in ("add_pip_as_python_dependency: false", "solver: rattler"):
        condarc.write_text(f"{alias}{line}\n", encoding="utf-8")
        code, out, _ = by_channel.ask(*CONDA)
        assert (code, "add_pip" in out) == (0, False)
    condarc.write_text(f"{alias}solver: libmamba\n", encoding="utf-8")
    assert by_channel.ask(*CONDA)[0] == 1


def test_a_pip_in_the_mirror_is_enough(by_channel: Asker, condarc: Path) -> None:
    """Whether the lock names it or not; in another channel it would not be."""
    condarc.write_text(f"channel_alias: {by_channel.url}\n", encoding="utf-8")
    by_channel.lock(by_channel.row("python"))
    file = by_channel.folder / "conda-forge" / "noarch" / "repodata.json"
    repodata = json.loads(file.read_text(encoding="utf-8"))
    python = repodata["packages.conda"]["python-3.12.1-0.conda"]
    repodata["packages.conda"]["pip-3.12.1-0.conda"] = {**python, "name": "pip"}
    other = by_channel.folder / "nvidia" / "label" / "cuda-1" / "noarch" / "repodata.json"
    for path, code in ((other, 1), (file, 0)):
        path.with_name("repodata.json.zst").unlink(missing_ok=True)
        path.write_text(json.dumps(repodata), encoding="utf-8")
        assert by_channel.ask(*CONDA)[0] == code


@pytest.mark.needs_conda
def test_conda_needs_no_pip_with_the_line(tmp_path: Path, by_channel: Asker, condarc: Path) -> None:
    """The control is the same command without it."""
    by_channel.lock(by_channel.row("python"))
    prefix = tmp_path / "prefix"
    names = ("-c", "conda-forge", "--override-channels")
    create = ("create", "-p", str(prefix), "--yes", "--json", "python=3.12.1", *names)
    alias = f"channel_alias: {by_channel.url}\n"
    condarc.write_text(alias, encoding="utf-8")
    if conda_adds_pip():  # its solver does; that of rattler needs no line
        refused = _conda(*create)
        assert refused.returncode != 0
        assert "pip" in refused.stdout
        said = by_channel.ask(*CONDA)[1].splitlines()
        line = next(x for x in said if "add_pip" in x).removeprefix("for conda, in .condarc: ")
        condarc.write_text(f"{alias}{line}\n", encoding="utf-8")
    assert by_channel.ask(*CONDA)[0] == 0
    done = _conda(*create)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (prefix / "conda-meta" / "python-3.12.1-0.json").is_file()


def _conda(*arguments: str) -> subprocess.CompletedProcess[str]:
    conda = find_program(Client.CONDA, os.environ)
    assert conda is not None
    home = Path(os.environ["HOME"])
    proxies = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), NOBODY)
    more = {
        "CONDA_PKGS_DIRS": str(home / "pkgs"),
        "CONDA_REMOTE_MAX_RETRIES": "0",
        "CONDA_NUMBER_CHANNEL_NOTICES": "0",
        "CONDA_REGISTER_ENVS": "false",
    }
    return subprocess.run(
        [conda, *arguments],
        env={**os.environ, **proxies, **more},
        capture_output=True,
        text=True,
        check=False,
    )
