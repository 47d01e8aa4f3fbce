"""The exceptions a user can act on, and the text their messages quote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.errors import CharlstmError, UsageError, counted, printable, quote, shorten, suggest


@given(st.text(max_size=20))
def test_shorten_keeps_text_that_fits(text):
    assert shorten(text, 20) == text


@given(st.text(min_size=21, max_size=40))
def test_shorten_cuts_long_text_to_the_width_and_ends_it_with_dots(text):
    assert shorten(text, 20) == text[:17] + "..."


@pytest.mark.parametrize(("length", "expected"), [(60, "x" * 60), (61, "x" * 57 + "...")])
def test_shorten_allows_sixty_characters_by_default(length, expected):
    assert shorten("x" * length) == expected


def test_usage_error_names_its_argument():
    assert str(UsageError("must be positive", "no_copy")) == "no_copy: must be positive"
    assert UsageError("must be positive", "no_copy").argument == "no_copy"


def test_usage_error_without_an_argument_is_its_message():
    assert str(UsageError("there is no such file")) == "there is no such file"


def test_usage_errors_exit_with_2_and_other_errors_with_1():
    assert (CharlstmError("x").exit_code, UsageError("x").exit_code) == (1, 2)


@pytest.mark.parametrize(("text", "shown"), [("a\x1b[31mb", "a\\x1b[31mb"), ("\n\t", "\\n\\t"), ("é☃", "é☃")])
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_quoted_texts_are_shortened():
    assert quote("a" * 100) == f"'{'a' * 57}...'"


@pytest.mark.parametrize(("text", "shown"), [(r"\bfoo\b", r"'\bfoo\b'"), ("a\xa0b", r"'a\xa0b'"), ("it's", '"it\'s"')])
def test_quoted_texts_are_escaped_once(text, shown):
    assert quote(text) == shown
    assert printable(quote(text)) == shown


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("--temp", "; did you mean --temperature or --temperature-at-start?"),
        ("--min_p", "; did you mean --min-p?"),
        ("--size", ""),
        ("", ""),
    ],
)
def test_names_with_the_same_beginning_are_suggested_before_similar_ones(name, hint):
    names = ["--stem", "--temperature", "--temperature-at-start", "--min-p", "--time", "--seed"]
    assert suggest(name, names) == hint


def test_at_most_three_names_are_suggested():
    assert suggest("a", ["a1", "a2", "a3", "a4"]) == "; did you mean a1 or a2 or a3?"


def test_nouns_agree_with_their_number():
    assert [counted(n, "file") for n in (0, 1, 2, 1000)] == ["0 files", "1 file", "2 files", "1,000 files"]
    assert counted(3, "copy", "copies") == "3 copies"
