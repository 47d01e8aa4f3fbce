"""The exceptions a user can act on, and the text their messages quote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.errors import CharlstmError, UsageError, shorten


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
