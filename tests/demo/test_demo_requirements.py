"""What the demo's PyPI packages require is met by what stands in its lock; a control for each."""

from __future__ import annotations

import re
import shutil

import pytest

from scripts.demo.stage import HOST, SERVICE, UPSTREAM, WORKSPACE
from tasks import index, verify
from tests.support.demo_upstream import TAGS
from tests.support.mirrors import Mirror

FILES = "https://files.example.org/packages"
LOUD, WORDS = "loud_words-2.0-py3-none-any.whl", "words-1.0+demo.1-py3-none-any.whl"
WINDOWS, SDIST = "windows_words-1.0-py3-none-any.whl", "whisper-1.0.tar.gz"
GREETINGS = "  purls:\n  - pkg:pypi/greetings?source=project-defined-mapping\n"
EVERYWHERE = tuple(TAGS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """The demo's mirror, without the Python that the demo brings."""
    mirror = Mirror(root=tmp_path_factory.mktemp("demo") / "workspace", layout="flat")
    shutil.copytree(WORKSPACE, mirror.root)
    shutil.copytree(SERVICE, mirror.root.parent / "service")
    for artifact in mirror.selection.artifacts:
        source = artifact.urls[0].removeprefix(f"{HOST}/").removeprefix("https://")
        target = mirror.folder / artifact.path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(UPSTREAM / source, target)
    assert index.main(["--manifest-path", str(mirror.root), "-q"]) == 0
    return mirror


def close(mirror: Mirror, lock: str) -> int:
    (mirror.root / "pixi.lock").write_text(lock, encoding="utf-8")
    return verify.main(["--manifest-path", str(mirror.root), "-q", "--level", "closure"])


def without(lock: str, file_name: str) -> str:
    """Take a row of PyPI out of the lock: where it is described, and all that refers to it."""
    at = re.escape(f"- pypi: {FILES}/{file_name}\n")
    return re.sub(rf"^ *{at}(?:  .*\n)*?(?=\S|      \S|\Z)", "", lock, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("file_name", "required", "platforms"),
    [
        (LOUD, "loud-words", EVERYWHERE),  # of an extra that the manifest asks for
        (WORDS, "words", EVERYWHERE),  # conda's package of this name is another one
        (SDIST, "whisper", EVERYWHERE),
        (WINDOWS, "windows-words", ("win-64",)),  # of a marker
        (None, "greetings", EVERYWHERE),  # which conda's stands for, by its purls
    ],
)
def test_each_missing_requirement_is_noticed(
    file_name: str | None,
    required: str,
    platforms: tuple[str, ...],
    made: Mirror,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = (WORKSPACE / "pixi.lock").read_text(encoding="utf-8")
    less = whole.replace(GREETINGS, "  purls: []\n")
    if file_name is not None:
        less = without(whole, file_name)
        assert file_name not in less
    assert len(less) < len(whole)
    assert close(made, less) == 1
    err = capsys.readouterr().err
    assert required in err
    blamed = {platform for platform, tag in TAGS.items() if f"hello_py-1.0-py3-none-{tag}" in err}
    assert blamed == set(platforms)
    assert close(made, whole) == 0
    assert capsys.readouterr().err == ""


def test_the_self_check_breaks_what_is_of_conda_and_what_is_of_pypi(
    made: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its copies for conda's artifacts hold none of PyPI, though the manifest asks for some."""
    assert verify.main(["--manifest-path", str(made.root), "--self-check"]) == 0
    assert "self-check: 20 of 20 noticed, 1 not possible" in capsys.readouterr().out
