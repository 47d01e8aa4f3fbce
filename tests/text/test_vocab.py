"""Characters and ids: what is encoded decodes to the same text, and unknown characters are named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import Vocab, corpus_from_text
from charlstm.text.vocab import UnknownCharactersError, code_points, describe


def vocab_of(text: str) -> Vocab:
    return corpus_from_text(text).vocab


@given(st.text(st.characters(exclude_characters="\r"), min_size=1))
def test_encoded_text_decodes_to_itself(text):
    vocab = vocab_of(text)
    assert vocab.decode(vocab.encode(text)) == text


@given(st.text(st.characters(exclude_characters="\r")))
def test_characters_are_sorted_and_distinct(text):
    assert vocab_of(text).characters == "".join(sorted(set(text)))


def test_counts_are_those_of_the_text():
    vocab = vocab_of("abracadabra")
    assert dict(zip(vocab.characters, vocab.counts.tolist(), strict=True)) == {"a": 5, "b": 2, "c": 1, "d": 1, "r": 2}


def test_empty_text_encodes_to_no_ids():
    vocab = vocab_of("ab")
    assert vocab.decode(vocab.encode("")) == ""


def test_empty_vocabulary_knows_no_character():
    with pytest.raises(UnknownCharactersError):
        Vocab([], []).encode("a")


def test_equality_ignores_counts():
    assert vocab_of("ab") == vocab_of("bbba") != vocab_of("abc")
    assert hash(vocab_of("ab")) == hash(vocab_of("bbba"))


def test_repr_shows_the_first_characters():
    assert repr(vocab_of("cab\n")) == r"Vocab('\nabc')"
    assert len(repr(vocab_of("".join(map(chr, range(0x4E00, 0x4F00)))))) < 80


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        ("naive ", "naïve ☃", r"^not in the model's vocabulary: 'ï' U\+00EF LATIN SMALL LETTER I WITH DIAERESIS, '☃' U\+2603 SNOWMAN$"),
        ("café", "cafe\u0301", r"U\+0301 COMBINING ACUTE ACCENT; the text may be in NFD: convert it to NFC$"),
        ("cafe\u0301", "café", r"'é' U\+00E9 .*; the vocabulary has these letters in NFD: convert the text to NFD$"),
        ("a", "\0", r"'\\x00' U\+0000$"),
        ("a", "bcdefghi", r"'i' U\+0069 LATIN SMALL LETTER I$"),
        ("a", "bcdefghijkl", r"'i' U\+0069 LATIN SMALL LETTER I and 3 more$"),
    ],
)  # fmt: skip
def test_unknown_characters_are_named(known, text, expected):
    with pytest.raises(UnknownCharactersError, match=expected):
        vocab_of(known).encode(text)


@pytest.mark.parametrize(
    ("character", "expected"),
    [("é", "'é' U+00E9 LATIN SMALL LETTER E WITH ACUTE"), ("\x1b", r"'\x1b' U+001B"), ("\u202e", r"'\u202e' U+202E RIGHT-TO-LEFT OVERRIDE"), ("'", '"\'" U+0027 APOSTROPHE')],
)  # fmt: skip
def test_characters_are_described_in_printable_form(character, expected):
    assert describe(character) == expected


# ---- the unknown character


def merged(known: str) -> Vocab:
    """Return a vocabulary of some characters and the unknown one."""
    points = sorted({*map(ord, known), 0xFFFD})
    return Vocab(points, [5] * len(points), has_unknown=True)


def test_vocabulary_with_an_unknown_character_encodes_every_text():
    vocab = merged("ab🙂")
    assert vocab.unknown_id == 2
    assert vocab.decode(vocab.encode("a☃b\ufffd🙂\U0010ffff")) == "a\ufffdb\ufffd🙂\ufffd"


def test_unknown_characters_are_found_but_not_known():
    ids, known = merged("ab").find(code_points("b☃\ufffda"))
    assert (ids.tolist(), known.tolist()) == ([1, 2, 2, 0], [True, False, False, True])


def test_unknown_character_itself_is_not_known():
    merged("ab").check_known("abba")
    for text in ("a☃", "a\ufffd"):
        with pytest.raises(UnknownCharactersError):
            merged("ab").check_known(text)


def test_replacement_character_is_an_ordinary_one_by_default():
    vocab = vocab_of("ab\ufffd")
    assert vocab.unknown_id is None
    vocab.check_known("\ufffd")
    with pytest.raises(UnknownCharactersError):
        vocab.encode("☃")


def test_vocabularies_that_encode_differently_differ():
    assert vocab_of("ab\ufffd") != merged("ab") == merged("ba")


@pytest.mark.parametrize(("unknown", "expected"), [("error", "É☃b"), ("skip", "b"), ("nearest", "e☃b")])
def test_text_with_unknown_characters_stays_as_typed_unless_asked_otherwise(unknown, expected):
    assert merged("abe").adapt("É☃b", unknown) == expected


# ---- unknown characters in a text to adapt


def test_known_text_is_not_adapted():
    for unknown in ("error", "skip", "nearest"):
        assert vocab_of("abc").adapt("cab", unknown) == "cab"


def test_unknown_characters_are_an_error_by_default():
    with pytest.raises(UnknownCharactersError, match="'d' "):
        vocab_of("abc").adapt("abcd")


def test_skip_removes_unknown_characters():
    assert vocab_of("abc").adapt("a☃bdc", "skip") == "abc"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("é", "e"), ("e\u0301", "e"), ("É", "e"), ("E", "e"), ("３", "3"), ("ﬁ", "fi"), ("e", "e"), ("t", "T")],
)
def test_nearest_replaces_unknown_characters_by_known_ones(text, expected):
    assert vocab_of("efi3T").adapt(text, "nearest") == expected


def test_nearest_keeps_known_characters_with_marks():
    assert vocab_of("eé").adapt("e\u0301", "nearest") == "é"


def test_nearest_refuses_characters_without_a_substitute():
    with pytest.raises(UnknownCharactersError, match="SNOWMAN"):
        vocab_of("abc").adapt("a☃", "nearest")
