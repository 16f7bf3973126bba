"""A builder's manifest beside a newer template's: each table by itself, all else untouched."""

from __future__ import annotations

import tomllib

import pytest

from scripts.template.compare import Verdict
from scripts.template.manifest_units import named_unit, take_unit, unit_digests, unit_name, units_of
from scripts.template.merge import Merged, merge_manifest
from tests.support.template import ROOT

TEMPLATE = (ROOT / "pixi.toml").read_text(encoding="utf-8")

BASE = """\
[workspace]
name = "pixi-mirror"
requires-pixi = ">=0.70"

[dependencies]
pandas = "*"

[feature.mirror]
platforms = ["linux-64"]

[tool.pixi-mirror]
exclude-environments = ["tools"]

# ---- Tools ----

[feature.tools.dependencies]
python = ">=3.11"
old = "*"
rich = ">=13" # for the bars

# ---- Tasks ----

[feature.tasks.tasks.fetch]
cmd = "fetch"
description = "Fetch"

[feature.tasks.tasks.gone]
cmd = "gone"

[feature.tasks.tasks.verify]
cmd = "verify"

# ---- Environments ----

[environments]
default = ["mirror"]
tools = ["tools", "tasks"]
"""

NEW = (
    BASE.replace(">=0.70", ">=0.71")
    .replace('old = "*"\n', "")
    .replace('rich = ">=13" # for the bars', 'rich = ">=14" # for all bars\nzstd = ">=1"')
    .replace('description = "Fetch"', 'description = "Fetch what is missing"')
    .replace('[feature.tasks.tasks.gone]\ncmd = "gone"\n\n', "")
    .replace('cmd = "verify"\n', 'cmd = "verify"\n\n[feature.tasks.tasks.doctor]\ncmd = "doctor"\n')
    .replace('["tools", "tasks"]\n', '["tools", "tasks"]\ndocs = ["docs"]\n')
    .replace("[environments]\n", '[feature.docs.dependencies]\nsphinx = "*"\n\n[environments]\n')
    .replace('exclude-environments = ["tools"]', 'exclude-environments = ["tools", "docs"]')
)

# A payload, platforms, a feature and a task of the user's own.
MINE = (
    BASE.replace('pandas = "*"', 'numpy = ">=2" # mine')
    .replace('["linux-64"]', '["win-64"]')
    .replace("# ---- Environments", '[feature.gpu.dependencies]\ncupy = "*"\n\n# ---- Environments')
    .replace("# ---- Tasks ----\n", '# ---- Tasks ----\n\n[feature.tasks.tasks.own]\ncmd = "o"\n')
    .replace('default = ["mirror"]', 'default = ["mirror"]\ngpu = ["gpu", "mirror"]')
    .replace('name = "pixi-mirror"', 'name = "mine"')
)

MERGED = """\
[workspace]
name = "mine"
requires-pixi = ">=0.71"

[dependencies]
numpy = ">=2" # mine

[feature.mirror]
platforms = ["win-64"]

[tool.pixi-mirror]
exclude-environments = ["tools", "docs"]

# ---- Tools ----

[feature.tools.dependencies]
python = ">=3.11"
rich = ">=14" # for all bars
zstd = ">=1"

# ---- Tasks ----

[feature.tasks.tasks.own]
cmd = "o"

[feature.tasks.tasks.fetch]
cmd = "fetch"
description = "Fetch what is missing"

[feature.tasks.tasks.verify]
cmd = "verify"

[feature.tasks.tasks.doctor]
cmd = "doctor"

[feature.docs.dependencies]
sphinx = "*"

[feature.gpu.dependencies]
cupy = "*"

# ---- Environments ----

[environments]
default = ["mirror"]
gpu = ["gpu", "mirror"]
tools = ["tools", "tasks"]
docs = ["docs"]
"""


def merge(mine: str, *keep: str, new: str = NEW) -> Merged:
    return merge_manifest(mine, new, unit_digests(BASE), frozenset(keep))


def verdicts(merged: Merged, *wanted: Verdict) -> list[str]:
    return [each.name for each in merged.judged if each.verdict in wanted]


def test_what_the_user_has_not_changed_is_taken_over_and_all_else_stays() -> None:
    merged = merge(MINE)
    assert merged.text == MERGED
    assert merged.differences == ()
    # Said again, nothing is left to do.
    again = merge_manifest(MERGED, NEW, unit_digests(NEW), frozenset())
    assert (again.text, again.is_changed) == (MERGED, False)
    assert {each.verdict for each in again.judged} == {Verdict.SAME}


def test_line_ends_are_those_of_the_users_manifest() -> None:
    merged = merge(MINE.replace("\n", "\r\n"))
    assert merged.text == MERGED.replace("\n", "\r\n")


def test_a_table_that_the_user_changed_too_is_shown_and_left() -> None:
    mine = MINE.replace('cmd = "fetch"', 'cmd = "fetch -v"')
    merged = merge(mine)
    assert merged.text == MERGED.replace(
        'cmd = "fetch"\ndescription = "Fetch what is missing"',
        'cmd = "fetch -v"\ndescription = "Fetch"',
    )
    assert verdicts(merged, Verdict.DIFFERS) == ["feature.tasks.tasks.fetch"]
    assert merged.differences == (
        (
            "--- pixi.toml: feature.tasks.tasks.fetch (yours)",
            "+++ pixi.toml: feature.tasks.tasks.fetch (template)",
            "@@ -1,3 +1,3 @@",
            " [feature.tasks.tasks.fetch]",
            '-cmd = "fetch -v"',
            '-description = "Fetch"',
            '+cmd = "fetch"',
            '+description = "Fetch what is missing"',
        ),
    )
    assert merge(mine, "feature.tasks.tasks.fetch").differences == ()


def test_a_comment_that_the_user_wrote_is_a_change_of_theirs() -> None:
    merged = merge(MINE.replace('rich = ">=13" # for the bars', 'rich = ">=13" # ours!'))
    assert verdicts(merged, Verdict.DIFFERS) == ["feature.tools.dependencies.rich"]
    assert 'rich = ">=13" # ours!\n' in merged.text


def test_what_says_the_same_is_the_same_however_it_is_written() -> None:
    fetch = '[feature.tasks.tasks.fetch]\ncmd = "fetch"\ndescription = "Fetch"\n'
    inline = 'fetch = { cmd = "fetch", description = "Fetch what is missing" }\n'
    mine = BASE.replace(fetch, f"[feature.tasks.tasks]\n{inline}")
    assert tomllib.loads(mine)
    merged = merge(mine)
    assert verdicts(merged, Verdict.DIFFERS) == []
    assert inline in merged.text


def test_what_cannot_be_edited_by_lines_is_shown_and_left() -> None:
    """Its value is as it was, but it is written in a way that no line of the template fits."""
    fetch = '[feature.tasks.tasks.fetch]\ncmd = "fetch"\ndescription = "Fetch"\n'
    inline = 'fetch = { cmd = "fetch", description = "Fetch" }\n'
    mine = BASE.replace(fetch, f"[feature.tasks.tasks]\n{inline}")
    merged = merge(mine)
    assert verdicts(merged, Verdict.DIFFERS) == ["feature.tasks.tasks.fetch"]
    assert inline in merged.text


def test_what_the_user_removed_stays_removed() -> None:
    mine = MINE.replace('[feature.tasks.tasks.fetch]\ncmd = "fetch"\ndescription = "Fetch"\n\n', "")
    merged = merge(mine)
    assert verdicts(merged, Verdict.MISSING) == ["feature.tasks.tasks.fetch"]
    assert "feature.tasks.tasks.fetch" not in merged.text


def test_each_unit_of_the_template_can_be_taken_out_and_put_back() -> None:
    for unit in units_of(TEMPLATE):
        assert named_unit(unit_name(unit)) == unit
        without = take_unit(TEMPLATE, "", unit)
        assert without is not None
        assert without != TEMPLATE
        back = take_unit(without, TEMPLATE, unit)
        assert back is not None
        assert tomllib.loads(back) == tomllib.loads(TEMPLATE)
        assert sorted(back.splitlines()) == sorted(TEMPLATE.splitlines())


def test_the_users_own_are_no_units() -> None:
    units = set(units_of(TEMPLATE))
    assert ("feature", "tasks", "tasks", "fetch") in units
    assert ("environments", "tools") in units
    for theirs in (("environments", "default"), ("feature", "mirror", "platforms")):
        assert theirs not in units
    assert {unit[0] for unit in units} == {"workspace", "feature", "environments", "tool"}


@pytest.mark.parametrize("name", ['a."b c".d', "a.b-c.d"])
def test_names_are_dotted_keys(name: str) -> None:
    assert unit_name(named_unit(name)) == name
