"""Requests: flags without effect and contradictory flags are rejected, by name and with a reason."""

import pytest

from charlstm import SamplingParams
from charlstm.cli.requests import SampleRequest, ScoreRequest
from charlstm.errors import UsageError

PARAMS = set(vars(SamplingParams()))


def request(**values: object) -> SampleRequest:
    """Return a request from its own values and those of its sampling parameters."""
    params = {name: values.pop(name) for name in list(values) if name in PARAMS}
    return SampleRequest(SamplingParams(**params), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cite": True}, "--cite needs --corpus"),
        ({"no_copy": 20}, "--no-copy needs --corpus"),
        ({"corpus": "corpus.txt"}, "--corpus needs --no-copy or --cite"),
        ({"encoding": "cp1252"}, "--encoding needs --corpus or --prime-file"),
        ({"hide_prime": True}, "--hide-prime needs --prime or --prime-file"),
        ({"each_line": True}, "--each-line needs --prime-file"),
        ({"keep_stop": True}, "--keep-stop needs --stop"),
        ({"keep_stop": True, "lines": 2}, "--keep-stop needs --stop"),
        ({"probs": True}, "--probs needs --json"),
        ({"repetition_free": 9}, "--repetition-free needs --repetition-penalty"),
        ({"separator": "#"}, "--separator needs --num or --each-line"),
    ],
    ids=str,
)
def test_flag_without_effect_is_rejected(values, message):
    with pytest.raises(UsageError) as caught:
        request(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "values",
    [
        {"cite": True, "corpus": "corpus.txt"},
        {"no_copy": 20, "corpus": "corpus.txt"},
        {"no_copy": 20, "cite": True, "corpus": "corpus.txt", "encoding": "cp1252"},
        {"encoding": "cp1252", "prime_file": "prime.txt"},
        {"hide_prime": True, "prime": "It was "},
        {"hide_prime": True, "prime_file": "prime.txt"},
        {"each_line": True, "prime_file": "prime.txt", "separator": "#"},
        {"keep_stop": True, "stop": ("\n",)},
        {"max_chars": 9, "lines": 2, "best_of": 3, "num": 2, "separator": "\n"},
        {"probs": True, "as_json": True},
        {"repetition_free": 9, "repetition_penalty": 1.0},
    ],
    ids=str,
)
def test_flag_is_accepted_with_what_it_needs(values):
    assert request(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"num": 2},
        {"best_of": 2},
        {"max_chars": 9, "lines": 1},
        {"probs": True, "as_json": True},
        {"temperature": 2.0},
        {"temperature_at_start": 0.8},
        {"top_k": 5},
        {"typical": 0.9},
        {"top_p": 0.9},
        {"min_p": 0.1},
    ],
    ids=str,
)
def test_beam_excludes_what_it_ignores(values):
    flag = f"--{next(iter(values)).replace('_', '-')}"
    with pytest.raises(
        UsageError, match=f"^--beam cannot be used with {flag}: beam search finds only the most likely text$"
    ):
        request(beam=3, **values)


@pytest.mark.parametrize("values", [{"stop": ("a",)}, {"lines": 2}], ids=str)
def test_pattern_excludes_other_ends(values):
    message = f"^--pattern cannot be used with --{next(iter(values))}: the pattern determines where the text ends$"
    with pytest.raises(UsageError, match=message):
        request(pattern="a+", **values)


def test_max_chars_excludes_length():
    message = r"^--max-chars cannot be used with --length: a longer text is generated again, not cut$"
    with pytest.raises(UsageError, match=message):
        request(max_chars=9, stop=("a",), length=500)


def test_separator_excludes_json():
    message = r"^--separator cannot be used with --json: each text is one line of JSON$"
    with pytest.raises(UsageError, match=message):
        request(separator="#", num=2, as_json=True)


def test_prime_excludes_prime_file():
    with pytest.raises(UsageError, match=r"^--prime cannot be used with --prime-file$"):
        request(prime="a", prime_file="b")


@pytest.mark.parametrize(
    "values",
    [
        {"beam": 3, "pattern": "a+"},
        {"beam": 3, "stop": ("a",), "lines": 2, "repetition_penalty": 1.0, "as_json": True},
        {"num": 3, "best_of": 2, "pattern": "a+", "top_k": 5},
    ],
    ids=str,
)
def test_compatible_flags_are_accepted(values):
    assert request(**values)


def test_flags_at_their_defaults_are_no_contradiction():
    assert request(beam=3, num=1, temperature=0.9, top_p=0.95) == request(beam=3)


@pytest.mark.parametrize(("name", "value"), [("num", 0), ("beam", -1), ("unknown", "drop"), ("seed", -1)])
def test_invalid_value_is_rejected_by_name(name, value):
    with pytest.raises(UsageError, match=f"^{name}: {value} is not "):
        request(**{name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sort": True}, "--sort needs --by"),
        ({"min_chars": 5}, "--min-chars needs --by"),
        ({"color": "always"}, "--color needs --highlight"),
    ],
    ids=str,
)
def test_score_flag_without_effect_is_rejected(values, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        ScoreRequest(("corpus.txt",), **values)


@pytest.mark.parametrize("values", [{"by": "line"}, {"baselines": "corpus.txt"}, {"as_json": True}], ids=str)
def test_highlight_excludes_other_output(values):
    with pytest.raises(UsageError, match=r"^--highlight cannot be used with --by, --baselines or --json: it prints"):
        ScoreRequest(("corpus.txt",), highlight=True, **values)


def test_highlight_and_sort_are_accepted_alone():
    assert ScoreRequest(("corpus.txt",), highlight=True, color="never", exact=True)
    assert ScoreRequest(("corpus.txt",), by="line", sort=True, as_json=True)
