"""Unicode normalisation: the same in pieces as of the whole."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.text.normalize import find_mixed_forms, normalize_pieces, normalize_text

# letters that compose, marks of different classes, Hangul jamo, a ligature, and characters that never compose
LETTERS = "ae\u0301\u0323\u0308\u1100\u1161\u11a8가éộﬁÅ\u0b47\u0b3e\n .☃"


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@given(st.lists(st.one_of(st.text(LETTERS, max_size=6), st.text(max_size=6)), max_size=8))
def test_pieces_give_the_normalised_text_of_the_whole(form, pieces):
    assert "".join(normalize_pieces(pieces, form)) == unicodedata.normalize(form, "".join(pieces))


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_ascii_characters_never_combine_with_what_precedes_them(form):
    for ascii in map(chr, range(128)):
        for before in ("e", "e\u0301", "\u0301", "\u1100", "☃"):
            apart = unicodedata.normalize(form, before) + unicodedata.normalize(form, ascii)
            assert unicodedata.normalize(form, before + ascii) == apart


def test_none_changes_nothing():
    assert list(normalize_pieces(["e", "\u0301"], "none")) == ["e", "\u0301"]
    assert normalize_text("e\u0301", "none") == "e\u0301"


@pytest.mark.parametrize(
    ("characters", "found"),
    [
        ("eé\u0301", ("é", "\u0301")),
        ("ộ\u0323", ("ộ", "\u0323")),
        ("eé", None),
        ("e\u0301", None),
        ("é\u0308", None),
        ("가", None),
        ("", None),
    ],
)
def test_mixed_forms_are_a_composed_character_and_one_of_its_marks(characters, found):
    assert find_mixed_forms(characters) == found
