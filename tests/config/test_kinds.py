"""The kinds of values: each parser accepts exactly its values and says what it expected."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm.config.kinds import boolean, duration, encoding, flag_of, integer, name, number, one_of, text
from charlstm.config.settings import SETTINGS


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_formatted_default_parses_back(setting):
    if setting.default is not None:
        assert setting.kind.parse(setting.kind.format(setting.default)) == setting.default


@given(st.text(max_size=30))
def test_parsers_refuse_any_other_text_with_what_they_expected(text):
    for kind in (integer(0, 9), number(0, 1), duration(), boolean(), encoding(), one_of("a", "b"), name()):
        try:
            kind.check(kind.parse(text))
        except ValueError as error:
            assert str(error).endswith(f" is not {kind.expects}")


@given(st.integers(0, 10**9))
def test_every_integer_in_range_parses_back(value):
    assert integer(0, 10**9).parse(str(value)) == value


@given(st.floats(0, 1e6))
def test_every_number_in_range_parses_back(value):
    assert number(0, 1e6).parse(repr(value)) == value


@given(st.integers(1, 10**7))
def test_every_duration_in_whole_seconds_parses_back(seconds):
    assert duration().parse(duration().format(float(seconds))) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("10m", 600), ("1.5h", 5400), (".5s", 0.5), ("2.m", 120), ("1d", 86400),
        ("90 s", 90), ("90sec", 90), ("90 secs", 90), ("1 second", 1), ("2 seconds", 2),
        ("2min", 120), ("2 mins", 120), ("1 minute", 60), ("2 minutes", 120),
        ("1 hr", 3600), ("2hrs", 7200), ("1 hour", 3600), ("2 Hours", 7200), ("1 day", 86400), ("2 days", 172800),
        ("1h30m", 5400), ("1h 30m", 5400), ("1 hour 30 minutes", 5400), ("1d2h3m4s", 93784), ("1d 1s", 86401),
    ],
)  # fmt: skip
def test_durations_have_a_unit(text, seconds):
    assert duration().parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "90",
        "1h30",
        "30m1h",
        "1m1m",
        "90ms",
        "-1s",
        "0.05s",
        "3000h",
        "116d",
        "1e3s",
        "m",
        "1w",
        "1:30",
        "1h,30m",
        "1 000s",
    ],
)
def test_invalid_durations_are_refused(text):
    with pytest.raises(
        ValueError, match=r"is not a duration with a unit, such as 90s, 10m or 1h30m, from 0.1s to 115d"
    ):
        duration().parse(text)


@pytest.mark.parametrize("value", [1, 9])
def test_bounds_of_an_integer_are_included(value):
    assert integer(1, 9).check(value) == value


@pytest.mark.parametrize("value", [0, 10, 1.0, True, "3", None])
def test_integer_refuses_other_numbers_and_other_types(value):
    with pytest.raises(ValueError, match=r"is not an integer from 1 to 9$"):
        integer(1, 9).check(value)


def test_lower_bound_of_a_number_is_included_unless_it_must_be_above():
    assert number(0, 1).parse("0") == 0
    with pytest.raises(ValueError, match=r"^0 is not a number above 0 and at most 1$"):
        number(0, 1, above=True).parse("0")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, True])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="is not a number from 0 to 1,000,000,000"):
        number(0, 1e9).check(value)


@pytest.mark.parametrize("text", ["True", "yes", "1", "", "true\n"])
def test_booleans_are_spelled_true_or_false(text):
    with pytest.raises(ValueError, match="is not true or false"):
        boolean().parse(text)
    assert (boolean().parse("true"), boolean().parse("false")) == (True, False)


@pytest.mark.parametrize("text", ["utf-8", "cp1252", "latin-1", "UTF-16", "shift_jis"])
def test_text_encodings_are_accepted(text):
    assert codecs.lookup(encoding().parse(text))


@pytest.mark.parametrize("text", ["hex", "rot13", "zlib", "base64", "undefined", "utf-99", "", "utf-8\n", "é"])
def test_other_codecs_are_not_text_encodings(text):
    with pytest.raises(ValueError, match="is not the name of a text encoding"):
        encoding().parse(text)


@pytest.mark.parametrize("value", ["7", 7])
def test_coerce_accepts_a_value_or_its_text(value):
    assert integer(1, 9).coerce(value) == 7


@pytest.mark.parametrize("value", ["70", 70])
def test_coerce_refuses_a_value_and_its_text_alike(value):
    with pytest.raises(ValueError, match=r"^70 is not an integer from 1 to 9$"):
        integer(1, 9).coerce(value)


def test_a_name_is_not_empty_but_a_text_may_be():
    with pytest.raises(ValueError, match=r"^an empty value is not allowed$"):
        name().parse("")
    assert text().parse("") == ""


def test_long_values_are_quoted_in_part():
    with pytest.raises(ValueError, match=r"^9{37}\.\.\. is not an integer from 1 to 9$"):
        integer(1, 9).parse("9" * 5000)


def test_flag_is_made_from_the_name():
    assert flag_of("batch_size") == "--batch-size"
