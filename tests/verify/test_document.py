"""Documents as Markdown and as HTML: whatever a text holds, it is shown and not acted upon."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from scripts.core.redact import printable
from scripts.verify.transfer_report import templates

NASTY = "<script>alert(1)</script> a|b *c* [d](javascript:e) `f` &lt; __g__ h_i\x1b[2J"
DOCUMENT = """\
{% import form as form %}
{{- form.start(title, title) -}}
{% call form.section("one") -%}
  {{- form.text(content[0]) -}}{{- form.list(content[1]) -}}
{%- endcall %}
{% call form.section("two", true) -%}
  {{- form.lines(content[2]) -}}
  {% call form.table(content[3][0]) -%}
    {% for each in content[3][1:] -%}{{- form.row(each) -}}{%- endfor -%}
  {%- endcall -%}
{%- endcall %}
{{- form.end() -}}
"""
PLAIN = ("p", ["a", "b"], ["x", "  y"], [("k", "v"), ("1", "✓"), ("2", "✗ no")])


def _render(suffix: str, title: str = "T", content: tuple[Any, ...] = PLAIN) -> str:
    return templates(suffix).from_string(DOCUMENT).render(title=title, content=content)


def test_markdown() -> None:
    assert _render(".md") == (
        "# T\n\nT\n\n## one\n\np\n\n- a\n- b\n\n## two\n\n```text\nx\n  y\n```\n\n"
        "| k | v |\n| --- | --- |\n| 1 | ✓ |\n| 2 | ✗ no |\n"
    )


def test_html() -> None:
    text = _render(".html")
    head, _, body = text.partition("<body>\n")
    assert body == (
        "<h1>T</h1>\n<p>T</p>\n<h2>one</h2>\n<p>p</p>\n<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"
        "<details>\n<summary>two</summary>\n<pre>x\n  y</pre>\n<table>\n"
        "<tr><th>k</th><th>v</th></tr>\n"
        '<tr><td>1</td><td class="right">✓</td></tr>\n'
        '<tr><td>2</td><td class="wrong">✗ no</td></tr>\n'
        "</table>\n</details>\n</body>\n</html>\n"
    )
    assert head.startswith('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n')
    assert "default-src 'none'; style-src 'unsafe-inline'" in head


NASTY_CONTENT = (NASTY, [NASTY], [NASTY, "````"], [(NASTY,), (NASTY,)])


class _Reader(HTMLParser):
    """Gathers what a browser would see: tags, what they refer to, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [name for name, _ in attrs if name in {"href", "src"} or "on" in name]

    def handle_data(self, data: str) -> None:
        self.text += data


def read_html(text: str) -> _Reader:
    """Read it as a browser would."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_html_is_escaped() -> None:
    seen = read_html(_render(".html", NASTY, NASTY_CONTENT))
    assert "script" not in seen.tags
    assert [each for each in seen.references if each != "content"] == []
    assert seen.text.count(printable(NASTY)) == 8


def test_markdown_is_escaped() -> None:
    text = _render(".md", NASTY, NASTY_CONTENT)
    escaped = (
        r"\<script\>alert(1)\</script\> a\|b \*c\* \[d\](javascript:e) \`f\` \&lt; \_\_g\_\_ h_i"
        r"\\x1b\[2J"
    )
    assert text.count(escaped) == 6
    assert f"`````text\n{printable(NASTY)}\n````\n`````\n" in text


def test_secrets_are_hidden() -> None:
    url = "https://user:word@example.org/t/tk-123/chan?sig=abc"
    content = (url, [url], [url], [(url,), (url,)])
    for suffix in (".md", ".html"):
        text = _render(suffix, "t", content)
        assert not any(secret in text for secret in ("word", "tk-123", "abc"))
        assert text.count("example.org/t/") == 5
