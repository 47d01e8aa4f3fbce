"""Help: options in sections, lines that fit and break between words only; suggestions for misspelt names."""

import inspect
import re

import pytest
from helpers import error_line

from charlstm.cli.help import GROUPS
from charlstm.cli.main import cli
from charlstm.config.presets import presets

COMMANDS = ["", *cli.commands]


@pytest.fixture
def help_of(here, monkeypatch):
    """Return the lines of the help of a command in a terminal of some width."""

    def lines_of_help(name, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        done = here(*name.split(), "--help")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return lines_of_help


def headings(lines):
    return [line.removesuffix(":") for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)]


def option_lines(lines):
    return [line for line in lines if re.match(r"  -", line)]


# ---- layout


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [80, 200])
def test_lines_fit_the_terminal(name, columns, help_of):
    assert max(map(len, help_of(name, columns))) <= min(columns, 100)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_breaks_within_a_word_or_ends_with_a_space(name, columns, help_of):
    lines = help_of(name, columns)
    assert not [line for line in lines if re.search(r"\w-$| $", line)]
    assert set("\N{NON-BREAKING HYPHEN}\N{NO-BREAK SPACE}").isdisjoint("".join(lines))


@pytest.mark.parametrize("name", COMMANDS)
def test_descriptions_start_beside_the_option_and_in_one_column(name, help_of):
    starts = [re.match(r"  \S.*?\s{2,}(?=\S)", line) for line in option_lines(help_of(name))]
    assert all(starts)
    assert len({start.end() for start in starts if start}) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_short_brackets_are_not_split(name, help_of):
    lines = "\n".join(help_of(name)).partition("\nExamples:")[2]
    split = [bracket for bracket in re.findall(r"\[[^]]*\n[^]]*\]", lines) if len(" ".join(bracket.split())) <= 46]
    assert split == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_number_is_long(name, help_of):
    assert not re.search(r"\d{8}|e\+\d", "\n".join(help_of(name)).replace("0.9999999", ""))


# ---- sections


def test_help_of_train_has_the_common_options_first(help_of):
    found = headings(help_of("train"))
    assert found[:6] == ["Examples", "Output", "Limits", "Presets", "Model", "Regularisation"]
    assert found[-1] == "Other"


def test_help_of_sample_has_the_common_options_first(help_of):
    assert headings(help_of("sample"))[:5] == ["Examples", "Length", "Sampling", "Prime", "Output"]


@pytest.mark.parametrize("name", ["train", "sample"])
def test_every_option_is_in_one_section(name, help_of):
    assert len(option_lines(help_of(name))) == len([p for p in cli.commands[name].params if p.opts[0][0] == "-"]) + 1
    assert {param.group for param in cli.commands[name].params if hasattr(param, "group")} <= set(GROUPS)


@pytest.mark.parametrize("name", ["play", "check", "info"])
def test_few_options_have_one_section(name, help_of):
    assert headings(help_of(name)) == ["Examples", "Options"]


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_printed_as_they_are(name, help_of):
    lines = help_of(name)
    text = (cli.commands[name] if name else cli).help or ""
    examples = inspect.cleandoc(text).partition("\nExamples:\n")[2].splitlines()
    assert examples
    start = lines.index("Examples:") + 1
    assert lines[start : start + len(examples)] == [f"  {example}" for example in examples]


def test_help_of_train_says_what_each_preset_is_for(help_of):
    lines = help_of("train")
    for name in presets():
        assert [line for line in lines if re.fullmatch(rf"\s+{name}  +[a-z0-9@].{{10,}}", line)], name


def test_pair_of_flags_is_listed_once_and_its_other_form_is_explained(help_of):
    text = " ".join(" ".join(help_of("train")).split())
    assert "--nesterov Use Nesterov momentum with SGD. --no-nesterov turns it off. [default false]" in text


# ---- charlstm help


@pytest.mark.parametrize("name", cli.commands)
def test_help_command_prints_the_help_of_a_command(name, here):
    assert here("help", name).stdout == here(name, "--help").stdout != ""


def test_help_command_alone_prints_the_help_of_the_program(here):
    assert here("help").stdout == here("--help").stdout


def test_help_of_an_unknown_command_suggests_one(here):
    assert error_line(here("help", "trian"), 2).startswith("Error: No such command 'trian'; did you mean train?")


# ---- misspelt names


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sample", "--temp", "1"], "--temp; did you mean --temperature or --temperature-at-start?"),
        (["sample", "--tempreture", "1"], "--tempreture; did you mean --temperature?"),
        (["train", "corpus.txt", "--drop", "0.1"], "--drop; did you mean --dropout or --dropconnect?"),
        (["train", "corpus.txt", "--no-nestrov"], "--no-nestrov; did you mean --no-nesterov or --nesterov?"),
        (["train", "corpus.txt", "--ou", "x"], "--ou; did you mean --output?"),
        (["score", "--xyz"], "--xyz (see charlstm score --help)"),
        (["--vers"], "--vers; did you mean --version? (see charlstm --help)"),
    ],
)
def test_misspelt_option_gets_a_suggestion(arguments, expected, here):
    assert f"No such option {expected}" in error_line(here(*arguments), 2)


@pytest.mark.parametrize(("name", "hint"), [("smaple", "; did you mean sample?"), ("xyz", "")])
def test_misspelt_command_gets_a_suggestion(name, hint, here):
    assert error_line(here(name), 2) == f"Error: No such command '{name}'{hint} (see charlstm --help)"
