"""Configurations: what is taken, what is refused, and in which words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import Config, load_config
from charlstm.config import SETTINGS, config_from_sections, presets
from charlstm.errors import UsageError
from charlstm.settings import boolean, duration, integer, number


def config_of(tmp_path: Path, text: str | bytes) -> Config:
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(str(path))


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads_and_explains_every_value(name):
    load_config(name)
    for line in presets()[name].read_text().splitlines():
        assert not line.startswith(" ") or "#" in line, line


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "train:\n", "model:\ntrain:\n"])
def test_an_empty_file_gives_the_defaults(text, tmp_path):
    assert config_of(tmp_path, text) == Config()


@pytest.mark.parametrize("text", ["1e-3", "1E-3", ".001", "0.001", "+0.001", "10e-4"])
def test_a_thousandth_is_read_however_it_is_written(text, tmp_path):
    assert config_of(tmp_path, f"train:\n  learning_rate: {text}\n").train.learning_rate == 0.001


def test_values_reach_their_settings(tmp_path):
    text = "data: {encoding: 'latin-1'}\nmodel:\n  hidden_size: 7\ntrain:\n  time: 1.5h\n  carry_around: true\n"
    config = config_of(tmp_path, text)
    assert (config.data.encoding, config.model.hidden_size, config.train.time) == ("latin-1", 7, 5400)
    assert config.train.carry_around is True


@pytest.mark.parametrize("value", ["1.5", "true", "null", "~", '"64"', "[1]", "{a: 1}", ".nan", ".inf", "nan", "yes", "2020-01-01", "1:30", "1_000", "0x10", "9" * 5000, "", "0", "-1", "٣", "64 # no\n  - 3"])  # fmt: skip
def test_what_is_no_size_is_refused_with_key_and_line(value, tmp_path):
    with pytest.raises(UsageError) as caught:
        config_of(tmp_path, f"# a comment\nmodel:\n  hidden_size: {value}\n")
    message = str(caught.value)
    assert "my.yaml, line " in message
    assert len(message) < 300
    if "\n" not in value:
        assert "hidden_size" in message
        assert "line 3" in message


@pytest.mark.parametrize(
    "value", ["nan", ".nan", "inf", ".inf", "-.inf", "1e999", "true", "0", "-1", '"0.1"', "1e-3x", "1 2"]
)
def test_what_is_no_rate_is_refused(value, tmp_path):
    with pytest.raises(UsageError, match=r"learning_rate: .* is not a number above 0 to 1000"):
        config_of(tmp_path, f"train:\n  learning_rate: {value}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model:\n  hiden_size: 3\n",
            r"line 2, column 3: there is no setting 'hiden_size'; did you mean hidden_size\?",
        ),
        ("modle:\n  hidden_size: 3\n", r"line 1, column 1: there is no section 'modle'; did you mean model\?"),
        ("hidden_size: 3\n", r"there is no section 'hidden_size'; settings stand under data:, model:, train:"),
        ("train:\n  hidden_size: 3\n", r"line 2, column \d+: hidden_size belongs under model:, not train:"),
        ("train:\n  seed: 1\n  seed: 2\n", r"line 3, column 3: seed stands here a second time"),
        ("train: {}\ntrain: {}\n", r"train stands here a second time"),
        ("train:\n  seed: &a 1\n  steps: *a\n", r"anchors and aliases"),
        ("a: &a {b: 1}\ntrain:\n  <<: *a\n", r"anchors and aliases"),
        ("train:\n  <<: {seed: 1}\n", r"<<: a mapping stands where one value belongs"),
        ("train:\n  seed: !!int 1\n", r"tags"),
        ("!!python/object/apply:os.system ['touch /tmp/charlstm-was-here']\n", r"tags"),
        ("- 1\n- 2\n", r"a list stands where the sections data, model, train belong"),
        ("train:\n  - seed\n", r"a list stands where the settings of train: belong"),
        ("train: 3\n", r"a single value stands where the settings of train: belong"),
        ("just words\n", r"a single value stands where the sections"),
        ("train:\n  seed: 1\n---\ntrain:\n  seed: 2\n", r"line 3"),
        ("train:\n\tseed: 1\n", r"line 2, column 1"),
        ("train: {seed: 1\n", r"line 2"),
        ("train:\n  seed: [[[[[[[[1]]]]]]]]\n", r"nested too deeply"),
        ("train:\n  ? [a, b]\n  : 1\n", r"a list stands where a name belongs"),
        ("train:\n  steps: 3\n  time: 3s\n", r"give only one of steps and time"),
        ("train:\n  time: 90\n", r"time: 90 is not a length of time such as 90s, 10m or 1.5h"),
        ("train:\n  schedule: cosin\n", r"cosin is not one of cosine, linear, constant, step, plateau"),
        (b"train:\n  seed: \xff\n", r"not UTF-8 \(byte 15\)"),
        ("train:\n  seed: \x01\n", r"my.yaml"),
        ("#" * 200_000, r"larger than"),
        ('train:\n  schedule: "\\UFFFFFFFF"\n', r"my.yaml: "),
        ("%YAML " + "1" * 5000 + ".1\n---\n", r"my.yaml: "),
        ("data:\n  encoding: utf9\n", r"line 2, column 3: encoding: utf9 is not the name of a text encoding"),
    ],
)
def test_mistakes_are_named_with_their_place(text, expected, tmp_path):
    with pytest.raises(UsageError, match=expected):
        config_of(tmp_path, text)
    assert not Path("/tmp/charlstm-was-here").exists()


def test_a_billion_nested_brackets_are_refused_at_once(tmp_path):
    with pytest.raises(UsageError, match="nested too deeply"):
        config_of(tmp_path, "[" * 19_000)


def test_a_missing_file_and_an_unknown_preset_are_named(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load_config(str(tmp_path / "none.yaml"))
    with pytest.raises(UsageError, match="neither a file nor a preset; the presets are addition, classic"):
        load_config("shakespear")
    with pytest.raises(UsageError, match="Is a directory"):
        load_config(str(tmp_path))


@pytest.mark.parametrize("values", [{"hidden_size": 1.5}, {"hidden_size": True}, {"hidden_size": "64"}, {"dropout": float("nan")}, {"seed": -1}, {"carry_around": 1}, {"encoding": ""}])  # fmt: skip
def test_python_values_are_checked_like_any_others(values):
    with pytest.raises(UsageError, match=next(iter(values))):
        Config().replace(**values)


def test_an_unknown_name_is_refused_in_python_too():
    with pytest.raises(UsageError, match="did you mean learning_rate"):
        Config().replace(learnin_rate=1)


def test_a_limit_displaces_the_limit_that_stood():
    config = Config().replace(time=60).replace(steps=5)
    assert (config.train.steps, config.train.time, config.train.time_s) == (5, None, None)
    with pytest.raises(UsageError, match="only one"):
        config.replace(steps=5, epochs=1)


def test_the_default_limit_is_a_time():
    assert Config().train.time_s == 120


def test_sections_rebuild_the_configuration():
    config = Config().replace(hidden_size=3, time=9.5, encoding="cp1252")
    assert config_from_sections(config.sections()) == config


@pytest.mark.parametrize("change", [lambda s: s.pop("data"), lambda s: s["model"].update(x=1), lambda s: s["model"].update(hidden_size=1.5), lambda s: s.update(data=3)])  # fmt: skip
def test_sections_that_are_not_settings_are_refused(change):
    sections = Config().sections()
    change(sections)
    with pytest.raises(UsageError):
        config_from_sections(sections)


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_a_default_reads_back_from_what_help_shows(setting):
    if setting.default is not None:
        assert setting.kind.parse(setting.kind.show(setting.default)) == setting.default


@given(st.text(max_size=30))
def test_no_text_breaks_a_parser(text):
    for kind in (integer(0, 9), number(0, 1), duration(), boolean()):
        try:
            kind.check(kind.parse(text))
        except ValueError as error:
            assert "is not" in str(error)


@given(st.integers(0, 10**9))
def test_integers_read_back(value):
    assert integer(0, 10**9).parse(str(value)) == value


@given(st.floats(0, 1e6))
def test_numbers_read_back(value):
    assert number(0, 1e6).parse(repr(value)) == value


def test_settings_that_an_older_version_did_not_have_are_at_their_defaults():
    sections = Config().replace(hidden_size=7).sections()
    del sections["train"]["patience"], sections["model"]["dropconnect"]
    assert config_from_sections(sections) == Config().replace(hidden_size=7)
