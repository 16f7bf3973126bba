"""Which lines lead pixi to a mirror, beside what the consumer has set already."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.doctor.conftest import NVIDIA, Asker
from tests.support.locks import EnvironmentRows, PlatformRows
from tests.support.mirrors import CHANNEL

ALIAS = "https://conda.anaconda.org"


def _lines(out: str) -> list[str]:
    """Return the lines between the blank ones: what is to be pasted."""
    return out.split("\n\n")[1].splitlines() if "\n\n" in out else []


def _ask(asker: Asker, text: str) -> tuple[int, list[str], str]:
    asker.root.mkdir(exist_ok=True)
    asker.configure(text.replace("URL", asker.url))
    code, out, err = asker.ask()
    return code, _lines(out), err


def test_the_users_own_file_counts(
    flat: Asker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat.lock(flat.row("lib"))
    (tmp_path / "config.toml").write_text(
        f'[mirrors]\n"{CHANNEL}/" = ["{flat.url}/"]\n', encoding="utf-8"
    )
    assert flat.ask()[0] == 1
    monkeypatch.setenv("PIXI_HOME", str(tmp_path))
    code, out, _ = flat.ask()
    assert code == 0
    assert f"pixi: led to this mirror by [mirrors]; read: {tmp_path / 'config.toml'}\n" in out


def test_a_pixi_that_is_offline_asks_no_mirror(
    flat: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat.lock(flat.row("lib"))
    lines = f'[mirrors]\n"{CHANNEL}" = ["URL"]\n'
    message = "makes pixi offline, which forbids HTTP, to this mirror and on loopback too"
    code, _, err = _ask(flat, f"offline = true\n{lines}")
    assert (code, flat.ask()[1].splitlines()[0]) == (1, "no: pixi is offline")
    assert "configuration ✗" in flat.ask()[1]
    assert err.splitlines()[1:] == [
        f"error: ROOT/.pixi/config.toml: {message}",
        "help: offline = false there",
    ]
    code, _, err = _ask(flat, "offline = true\n")
    assert (code, err.count("error: ")) == (1, 2)
    assert flat.ask()[1].splitlines()[0] == "no: pixi is not led to this mirror, and is offline"
    assert _ask(flat, f"offline = false\n{lines}")[0] == 0  # the control
    monkeypatch.setenv("PIXI_OFFLINE", "1")
    code, out, err = flat.ask()
    assert (code, out.splitlines()[0]) == (1, "no: pixi is offline")
    assert err.endswith(f"error: PIXI_OFFLINE: {message}\nhelp: unset PIXI_OFFLINE\n")


def test_a_line_that_leads_elsewhere_is_replaced(flat: Asker) -> None:
    flat.lock(flat.row("lib"))
    code, lines, err = _ask(flat, f'[mirrors]\n"{CHANNEL}" = ["https://old.example.org", "URL"]\n')
    assert (code, lines) == (1, ["[mirrors]", f'"{CHANNEL}" = ["URL"]'])
    assert err.splitlines()[1:] == [
        "error: [mirrors]: pixi's configuration leads elsewhere, or not everywhere it should",
        "  asked now  https://old.example.org",
        "  read       ROOT/.pixi/config.toml",
        "  needed by  default/linux-64",
        "help: the lines above, in ROOT/.pixi/config.toml",
    ]
    # The mirror first, with upstream behind it for outages, will do.
    assert _ask(flat, f'[mirrors]\n"{CHANNEL}" = ["URL", "{CHANNEL}"]\n')[0] == 0


def test_the_lines_to_paste_are_said_with_q_too(flat: Asker) -> None:
    flat.lock(flat.row("lib"))
    code, out, err = flat.ask("-q")
    assert (code, out) == (1, "")
    assert _lines(err) == ["[mirrors]", f'"{CHANNEL}" = ["URL"]']
    assert err.endswith("help: the lines above, in ROOT/.pixi/config.toml\n")
    flat.root.mkdir(exist_ok=True)
    flat.configure(f'[mirrors]\n"{CHANNEL}" = ["{flat.url}"]\n')
    assert flat.ask("-q") == (0, "", "")  # the control: nothing refers to them


def test_one_line_is_enough_unless_a_longer_prefix_wins(by_channel: Asker) -> None:
    by_channel.lock(by_channel.row("lib"), by_channel.row("cuda"))
    assert _ask(by_channel, "")[1] == ["[mirrors]", f'"{ALIAS}" = ["URL"]']
    old = f'[mirrors]\n"{NVIDIA}" = ["https://old.example.org"]\n'
    lines = ["[mirrors]", f'"{ALIAS}" = ["URL"]', f'"{NVIDIA}" = ["URL/nvidia/label/cuda-1"]']
    assert _ask(by_channel, old)[:2] == (1, lines)
    for written in ("\n".join(lines), f'[mirrors]\n"{ALIAS}" = ["URL/x/../."]\n'):
        assert _ask(by_channel, written)[0] == 0
    # Only what is missing is printed.
    assert _ask(by_channel, f'[mirrors]\n"{CHANNEL}" = ["URL/conda-forge"]\n')[1] == lines[:2]


def test_a_channel_that_nothing_is_locked_from_has_a_line(by_channel: Asker) -> None:
    """`pixi lock` asks it as well; where the mirror has nothing of it, no line can help."""
    rows = (PlatformRows(name="linux-64", rows=(by_channel.row("lib"),)),)
    private, folder = "https://example.org:8080/chan", "URL/example.org_8080/chan"
    channels = (CHANNEL, private.replace("://", "://user:word@"), "https://example.org/none")
    by_channel.locks(EnvironmentRows(platforms=rows, channels=channels))
    lines = ["[mirrors]", f'"{ALIAS}" = ["URL"]', f'"{private}" = ["{folder}"]']
    assert _ask(by_channel, "")[1] == lines
    assert _ask(by_channel, "\n".join((lines[0], lines[2])))[1] == lines[:2]
    by_channel.locks(EnvironmentRows(platforms=rows, channels=channels[:1]))
    assert _ask(by_channel, "")[1] == lines[:2]  # the control


def test_a_prefix_that_no_line_can_outdo(flat: Asker) -> None:
    flat.lock(flat.row("lib"), flat.row("hello"))
    deep = f'"{CHANNEL}/noarch" = ["https://old.example.org"]\n'
    code, lines, err = _ask(flat, f"[mirrors]\n{deep}")
    assert (code, lines) == (1, ["[mirrors]", f'"{CHANNEL}" = ["URL"]'])
    assert f"  overridden by  {CHANNEL}/noarch/\n" in err
    assert err.endswith("in ROOT/.pixi/config.toml; and take away what overrides them\n")
    assert _ask(flat, "\n".join([*lines, deep]))[0] == 1


def test_a_prefix_with_nothing_behind_it(flat: Asker) -> None:
    flat.lock(flat.row("lib"))
    code, lines, _ = _ask(flat, f'[mirrors]\n"{CHANNEL}" = []\n')
    assert (code, lines) == (1, ["[mirrors]", f'"{CHANNEL}" = ["URL"]'])


def test_a_lock_made_from_the_mirror(by_channel: Asker) -> None:
    """It names the mirror itself: nothing is missing, unless `[mirrors]` leads away."""
    by_channel.lock(by_channel.row("lib", channel=f"{by_channel.url}/conda-forge"))
    code, out, _ = by_channel.ask()
    assert code == 0
    assert "pixi: the lock names this mirror itself, and nothing leads away from it\n" in out
    code, lines, _ = _ask(by_channel, '[mirrors]\n"URL" = ["https://old.example.org"]\n')
    assert (code, lines) == (1, ["[mirrors]", '"URL/conda-forge" = ["URL/conda-forge"]'])
    assert _ask(by_channel, "\n".join(lines))[0] == 0


@pytest.mark.parametrize("as_url", [False, True])
def test_a_folder(as_url: bool, by_channel: Asker) -> None:  # noqa: FBT001
    """`[mirrors]` cannot lead there; each environment's channels are named in their order."""
    rows = (by_channel.row("lib"), by_channel.row("cuda"))
    platforms = (PlatformRows(name="linux-64", rows=rows),)
    by_channel.locks(
        EnvironmentRows(platforms=platforms, channels=(CHANNEL, NVIDIA)),
        EnvironmentRows(name="gpu", platforms=platforms, channels=(NVIDIA, CHANNEL)),
    )
    mirror = by_channel.folder.as_uri() if as_url else str(by_channel.folder)
    assert by_channel.ask(mirror=mirror) == (
        1,
        (
            "no: from a folder pixi takes only what was locked there\n"
            "default  linux-64  artifacts ✓ (2)  configuration ✗\n"
            "gpu      linux-64  artifacts ✓ (2)  configuration ✗\n"
            "looked at: FILE (by-channel); its repodata alone, no artifact was read\n"
            "for pixi, the first way, with this pixi.lock unchanged: serve the folder,\n\n"
            "python -m http.server --bind 127.0.0.1 -d FOLDER 8000\n\n"
            "and into ROOT/.pixi/config.toml (in its [mirrors], where it has them already):\n\n"
            f'[mirrors]\n"{ALIAS}" = ["http://127.0.0.1:8000"]\n\n'
            "then `pixi install --frozen`, without --offline: that forbids HTTP, loopback too\n"
            "for pixi, the second way, with a lock made from the folder: as the manifest's"
            " channels, and in place of each `channel` that a dependency has,\n\n"
            'channels = ["FILE/conda-forge", "FILE/nvidia/label/cuda-1"]  # default\n'
            'channels = ["FILE/nvidia/label/cuda-1", "FILE/conda-forge"]  # gpu\n\n'
            "then `pixi lock` and `pixi install --frozen --offline`\n"
        ),
        (
            "doctor: reading the repodata of FILE\n"
            "error: ROOT/pixi.lock: names upstream's URLs, for which no folder can stand in\n"
            "  asked now  https://conda.anaconda.org\n"
            "  needed by  default/linux-64, gpu/linux-64\n"
            "help: the lines above\n"
        ),
    )
    one, other = "-c FILE/conda-forge", "-c FILE/nvidia/label/cuda-1"
    alone = "--override-channels --offline"
    assert by_channel.ask("--client", "conda", mirror=mirror)[1].splitlines()[5:7] == [
        f"for conda, as options: {one} {other} {alone}  # default",
        f"for conda, as options: {other} {one} {alone}  # gpu",
    ]


@pytest.mark.parametrize("as_url", [False, True])
def test_a_lock_made_from_the_folder(as_url: bool, flat: Asker) -> None:  # noqa: FBT001
    """As pixi writes it: absolute paths, or relative ones."""
    channel = flat.folder.as_uri()
    base = channel if as_url else flat.folder.as_posix()
    url = f"{base}/noarch/lib-1.0-0.tar.bz2"
    flat.lock(flat.row("lib", channel=channel, url=url))
    code, out, err = flat.ask(mirror=str(flat.folder))
    assert (code, err) == (0, "doctor: reading the repodata of FILE\n")
    assert out.splitlines()[:2] == ["yes", "default  linux-64  artifacts ✓ (1)  configuration ✓"]
    # The control: repodata that has it no more, with the file still there.
    (flat.folder / "noarch" / "repodata.json").write_text("{}", encoding="utf-8")
    assert flat.ask(mirror=str(flat.folder))[0] == 1


@pytest.mark.parametrize("scheme", ["s3", "oci"])
def test_a_channel_in_a_bucket_is_led_like_any_other(flat: Asker, scheme: str) -> None:
    """Its key in `[mirrors]` is its URL: pixi replaces that before it looks at the scheme."""
    flat.lock(flat.row("lib", channel=f"{scheme}://bucket/team"))
    code, lines, err = _ask(flat, "")
    assert (code, lines) == (1, ["[mirrors]", f'"{scheme}://bucket/team" = ["URL"]'])
    assert f"  asked now  {scheme}://bucket\n" in err
    assert _ask(flat, f'[mirrors]\n"{scheme}://bucket/team" = ["URL"]\n')[0] == 0
    # One for the whole bucket leads elsewhere in a flat mirror.
    assert _ask(flat, f'[mirrors]\n"{scheme}://bucket" = ["URL"]\n')[0] == 1
