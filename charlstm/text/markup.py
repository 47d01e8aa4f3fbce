"""HTML -> its text, in pieces."""

import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

from charlstm.errors import CharlstmError

_MAX_TAG = 1 << 24  # characters
_PARAGRAPHS = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "pre", "blockquote", "figure", "hr"}
)  # a blank line apart
_LINES = frozenset({
    "address", "article", "aside", "body", "br", "caption", "dd", "details", "div", "dt", "fieldset", "figcaption",
    "footer", "form", "header", "html", "legend", "li", "main", "nav", "option", "section", "summary", "tr",
})  # fmt: skip
_HIDDEN = frozenset({"head", "noscript", "script", "style", "svg", "template", "textarea"})
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
)
_SPACES = re.compile(r"[ \t\n\f\r]+")


def strip_tags(pieces: Iterable[str], name: str = "") -> Iterator[str]:
    """Yield the text of HTML: one line per block, a blank line between paragraphs, without scripts and styles.

    Raises:
        CharlstmError: a tag does not end; names the file.
    """
    parser = _Parser()
    for piece in pieces:
        parser.feed(piece)
        if len(parser.rawdata) > _MAX_TAG:
            raise CharlstmError(f"{name} is not HTML: a tag does not end; read it as it is with --raw")
        yield parser.take()
    parser.close()
    yield parser.take()


class _Parser(HTMLParser):
    """Collects the text of HTML. White space is collapsed, except in `pre`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._hidden: list[str] = []  # open elements whose text is not shown
        self._pre = 0  # open `pre` elements
        self._newlines = 0  # due before the next text
        self._space = False  # due before the next text
        self._started = False

    def take(self) -> str:
        """Return the text since the last call."""
        text = "".join(self._out)
        self._out.clear()
        return text

    def close(self) -> None:
        super().close()
        if self._started:
            self._out.append("\n")

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in _HIDDEN and tag not in _VOID:
            self._hidden.append(tag)
        elif tag == "body":
            self._hidden.clear()  # a head without an end
        self._break(tag)
        self._pre += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self._break(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            while self._hidden.pop() != tag:
                pass
        self._pre = max(self._pre - (tag == "pre"), 0)
        if tag not in _VOID:
            self._break(tag)

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        if self._pre:
            self._write(data)
            return
        text = _SPACES.sub(" ", data)
        self._space = self._space or text.startswith(" ")
        if stripped := text.strip(" "):
            self._write(stripped)
            self._space = text.endswith(" ")

    def parse_marked_section(self, i: int, report: int = 1) -> int:
        """Skip `<![...>`. The standard library fails on unknown ones."""
        return self.rawdata.find(">", i) + 1 or -1

    def _break(self, tag: str) -> None:
        if self._hidden:
            return
        if tag == "br":
            self._newlines += 1
        elif tag in ("td", "th"):
            self._space = True
        elif tag in _PARAGRAPHS:
            self._newlines = max(self._newlines, 2)
        elif tag in _LINES:
            self._newlines = max(self._newlines, 1)

    def _write(self, text: str) -> None:
        if self._started and self._newlines:
            self._out.append("\n" * self._newlines)
        elif self._started and self._space:
            self._out.append(" ")
        self._out.append(text)
        self._started, self._newlines, self._space = True, 0, False
