"""HTML to text."""

import pytest

from charlstm import CharlstmError, read_corpus
from charlstm.text import markup
from charlstm.text.markup import strip_tags

PAGE = """<!DOCTYPE html>
<html><head><title>No title</title><style>p { color: red }</style></head>
<body class="a > b">
<h1>The   first
heading</h1>
<p>A paragraph with <em>emphasis</em>, an <a href="https://example.org">address</a> &amp; a caf&eacute;.</p>
<p>Line<br>break<script>if (a < b) alert("no")</script></p>
<ul><li>one<li>two</ul>
<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>
<pre>kept
    as it is
</pre>
<!-- no comment -->
</body></html>
"""
TEXT = """The first heading

A paragraph with emphasis, an address & a café.

Line
break

one
two

1 2
3

kept
    as it is


"""


@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_text_of_html_is_that_of_its_blocks(size):
    pieces = [PAGE[start : start + size] for start in range(0, len(PAGE), size)]
    assert "".join(strip_tags(pieces)).rstrip() == TEXT.rstrip()


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a<b>b</b>c", "abc\n"),
        ("a <b> b </b> c", "a b c\n"),
        ("<head>x<body>a", "a\n"),
        ("1 < 2 & 3", "1 < 2 & 3\n"),
        ("<p></p><p> </p>", ""),
        ("&lt;b&gt; &#x1F642;", "<b> 🙂\n"),
        ("<pre>a\n\n  b</pre>c", "a\n\n  b\n\nc\n"),
        ("</p>a</div></script>b", "a\nb\n"),
        ("<svg/>a", "a\n"),
        ("a<![endif]>b<![CDA[c]]>d", "abd\n"),
    ],
)
def test_small_pieces_of_html(html, text):
    assert "".join(strip_tags([html])) == text


def test_html_files_lose_their_tags_unless_raw(tmp_path):
    for name in ("a.html", "a.htm", "a.HTML"):
        (tmp_path / name).write_text("<p>text</p>\n")
        assert read_corpus(tmp_path / name).text == "text\n"
        assert read_corpus(tmp_path / name, raw=True).text == "<p>text</p>\n"


def test_tag_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr(markup, "_MAX_TAG", 1000)
    with pytest.raises(CharlstmError, match=r"^a\.html is not HTML: a tag does not end; read it as it is with --raw$"):
        list(strip_tags(['<a href="' + "x" * 600] * 2, "a.html"))
