"""Unicode normalisation."""

import unicodedata

import pytest

from charlstm.text.normalize import find_mixed_forms, normalize_text


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_ascii_characters_never_combine_with_what_precedes_them(form):
    for ascii in map(chr, range(128)):
        for before in ("e", "e\u0301", "\u0301", "\u1100", "☃"):
            apart = unicodedata.normalize(form, before) + unicodedata.normalize(form, ascii)
            assert unicodedata.normalize(form, before + ascii) == apart


def test_none_changes_nothing():
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
