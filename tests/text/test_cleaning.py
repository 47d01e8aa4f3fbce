"""Changes to a text: the same in pieces as of the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import CharlstmError, corpus_from_text, read_corpus, start
from charlstm.text.cleaning import Cleaning, clean_pieces, clean_text
from charlstm.text.stream import End, Piece

ALL = Cleaning(unescape_html=True, strip_urls=True, lowercase=True)
# letters that compose, marks of different classes, Hangul jamo, a ligature, and parts of addresses and references
LETTERS = "aeΣ\u0301\u0323\u1100\u1161\u11a8éộﬁÅ\n ☃&;#3"
PARTS = st.one_of(
    st.text(LETTERS, max_size=6), st.text(max_size=6), st.sampled_from(["http", "s://", "www.", "&am", "p;", " "])
)


@given(st.sampled_from(["none", "NFC", "NFKC"]), st.lists(PARTS, max_size=8))
def test_pieces_give_the_changed_text_of_the_whole(form, pieces):
    changed = "".join(text for text, _ in clean_pieces(map(Piece, pieces), ALL, form))
    assert changed == clean_text("".join(pieces), ALL, form)


@pytest.mark.parametrize("end", [End.RECORD, End.FILE])
def test_records_and_files_are_changed_on_their_own(end):
    pieces = [Piece("e", end), Piece("\u0301")]
    assert "".join(text for text, _ in clean_pieces(pieces, Cleaning(), "NFC")) == "e\u0301"
    assert next(iter(clean_pieces(pieces, Cleaning(), "NFC"))).end is end


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("see https://t.co/aB3?x=1&y=2 now", "see now"),
        ("(www.example.org/a_(b).html), then", "(), then"),
        ("(en.wikipedia.org, https://en.wikipedia.org/wiki/A_(b)).", "(en.wikipedia.org,)."),
        ("https://x.org/a_(b", "(b"),
        ("the end: HTTP://X.ORG/.", "the end:."),
        ("学习https://x.cn/a学习", "学习学习"),
        ("awww.really", "awww.really"),
        ("https://", "https://"),
    ],
)
def test_web_addresses_are_removed_with_the_space_before_them(text, changed):
    assert clean_text(text, Cleaning(strip_urls=True)) == changed


def test_marks_after_an_address_are_composed_in_pieces_too():
    pieces = map(Piece, ["ae", " https://x.org\u0301 aΣ", " https://x.org", "é"])
    changed = "".join(text for text, _ in clean_pieces(pieces, ALL, "NFC"))
    assert changed == "aé aσé"


def test_character_references_are_replaced_once():
    assert clean_text("&lt;b&gt; &amp;amp; &#233;&#13;", Cleaning(unescape_html=True)) == "<b> &amp; é\n"


def test_long_text_without_white_space_is_not_kept_in_memory(monkeypatch):
    monkeypatch.setattr("charlstm.text.cleaning._MAX_HELD", 100)
    pieces = clean_pieces((Piece("x" * 60) for _ in range(4)), ALL)
    assert [len(text) for text, _ in pieces] == [120, 120, 0]


def test_corpus_and_run_record_the_changes(tmp_path):
    (tmp_path / "a.txt").write_text("A &amp; B\n" * 20)
    corpus = read_corpus(tmp_path / "a.txt", unescape_html=True, lowercase=True)
    assert corpus.fingerprint == corpus_from_text("a & b\n" * 20).fingerprint
    assert corpus.cleaning == Cleaning(unescape_html=True, lowercase=True)
    data = start(corpus, steps=1, hidden_size=4).config.data
    assert (data.unescape_html, data.strip_urls, data.lowercase) == (True, False, True)


def test_corpus_of_which_nothing_is_left_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("https://example.org")
    with pytest.raises(CharlstmError, match=r"a\.txt: no text is left$"):
        read_corpus(tmp_path / "a.txt", strip_urls=True)
