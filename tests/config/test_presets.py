"""Presets and YAML files: where they are found, how their values are read, and which mistakes they may have."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT

from charlstm import Config, load_config
from charlstm.config.presets import find_bundled, load_values, presets, summarize_presets
from charlstm.errors import UsageError

DIRECTORY_ERROR = os.strerror(errno.EISDIR if os.name == "posix" else errno.EACCES)


def config_of(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(str(path))


# ---- bundled files


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads(name):
    assert load_config(name) == Config().replace(**load_values(name))


@pytest.mark.parametrize(("name", "summary"), summarize_presets().items())
def test_every_preset_has_a_summary_that_fits_the_help(name, summary):
    assert 10 <= len(summary) <= 32
    assert summary in presets()[name].read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("name", presets())
def test_every_preset_explains_every_value(name):
    for line in presets()[name].read_text(encoding="utf-8").splitlines():
        assert not line.startswith(" ") or "#" in line, line


@pytest.mark.parametrize(("directory", "suffix"), [("configs", ".yaml"), ("data", ".txt")])
def test_bundled_files_of_a_checkout_are_found_by_name_in_order(directory, suffix):
    expected = {path.name.removesuffix(suffix): path.read_bytes() for path in (ROOT / directory).glob(f"*{suffix}")}
    found = {name: file.read_bytes() for name, file in find_bundled(directory, suffix).items()}
    assert list(found.items()) == sorted(expected.items())


def test_bundled_corpora_include_the_tweets():
    assert "tweets" in find_bundled("data", ".txt")


def test_presets_are_those_in_configs():
    assert presets().keys() == find_bundled("configs", ".yaml").keys() >= {"tiny", "classic", "shakespeare"}


def test_bundled_files_of_a_zipped_package_are_found_by_name_in_order(tmp_path):
    """As installed: the directories are inside the package, here in an archive that lists them in another order."""
    modules = ["__init__.py", "errors.py", *(f"config/{path.name}" for path in ROOT.glob("charlstm/config/*.py"))]
    with zipfile.ZipFile(tmp_path / "charlstm.zip", "w") as archive:
        for module in modules:
            archive.write(ROOT / "charlstm" / module, f"charlstm/{module}")
        for path in sorted(ROOT.glob("configs/*.yaml"), reverse=True):
            archive.write(path, f"charlstm/configs/{path.name}")
    program = (
        "import sys; sys.path.insert(0, 'charlstm.zip')\n"
        "from charlstm.config.presets import load_config, presets\n"
        "print(*presets()); print(load_config('tiny'))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # a copy
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [" ".join(presets()), repr(load_config("tiny"))]


def test_file_of_the_same_name_comes_before_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny").write_text("model:\n  hidden_size: 7\n")
    assert load_config("tiny") == Config().replace(hidden_size=7)


def test_directory_of_the_same_name_does_not_hide_a_preset(tmp_path, monkeypatch):
    expected = load_config("tiny")
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    assert load_config("tiny") == expected


# ---- files


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "train:\n", "model:\ntrain:\n"])
def test_file_without_settings_gives_the_defaults(text, tmp_path):
    assert config_of(tmp_path, text) == Config()


@pytest.mark.parametrize("text", ["1e-3", "1E-3", ".001", "0.001", "+0.001", "10e-4"])
def test_a_number_may_be_written_in_any_notation(text, tmp_path):
    assert config_of(tmp_path, f"train:\n  learning_rate: {text}\n").train.learning_rate == 0.001


def test_values_reach_their_settings(tmp_path):
    text = "data: {encoding: 'latin-1'}\nmodel:\n  hidden_size: 7\ntrain:\n  time: 1.5h\n  carry_around: true\n"
    config = config_of(tmp_path, text)
    assert config == Config().replace(encoding="latin-1", hidden_size=7, time=5400, carry_around=True)


def test_load_values_gives_only_the_settings_in_the_file(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("train:\n  seed: 1\n  time: 2m\n")
    assert load_values(str(path)) == {"seed": 1, "time": 120}


# ---- mistakes


@pytest.mark.parametrize("value", ["1.5", "true", "null", "~", '"64"', "[1]", "{a: 1}", ".nan", ".inf", "nan", "yes", "2020-01-01", "1:30", "1_000", "0x10", "9" * 5000, "", "0", "-1", "٣"])  # fmt: skip
def test_invalid_size_is_refused_with_key_and_line(value, tmp_path):
    with pytest.raises(UsageError, match=r"my\.yaml, line 3, column \d+: hidden_size: ") as caught:
        config_of(tmp_path, f"# a comment\nmodel:\n  hidden_size: {value}\n")
    assert len(str(caught.value)) < 300


def test_broken_syntax_after_a_value_is_refused_with_its_line(tmp_path):
    with pytest.raises(UsageError, match=r"my\.yaml, line 4, column 3: ") as caught:
        config_of(tmp_path, "# a comment\nmodel:\n  hidden_size: 64 # no\n  - 3\n")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value", ["nan", ".nan", "inf", ".inf", "-.inf", "1e999", "true", "0", "-1", '"0.1"', "1e-3x", "1 2"]
)
def test_invalid_rate_is_refused(value, tmp_path):
    with pytest.raises(UsageError, match=r"learning_rate: .* is not a number above 0 and at most 1,000$"):
        config_of(tmp_path, f"train:\n  learning_rate: {value}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model:\n  hiden_size: 3\n", r"line 2, column 3: unknown setting 'hiden_size'; did you mean hidden_size\?$"),
        ("train:\n  hidden_size: 3\n", r"line 2, column 3: hidden_size belongs under model:, not train:$"),
        ("train:\n  steps: 3\n  time: 3s\n", r"my\.yaml: steps and time are mutually exclusive; give only one of them$"),
        ("train:\n  time: 90\n", r"line 2, column 3: time: 90 is not a duration with a unit, such as 90s, 10m or 1h30m, from 0.1s to 115d"),
        ("train:\n  schedule: cosin\n", r"line 2, column 3: schedule: cosin is not one of cosine, linear, constant, step, plateau$"),
        ("train:\n  seed: '1'\n", r"line 2, column 3: seed: a quoted string is not an integer from 0 to "),
        ("data:\n  encoding: utf9\n", r"line 2, column 3: encoding: utf9 is not the name of a text encoding"),
        ("modle:\n  hidden_size: 3\n", r"line 1, column 1: unknown section 'modle'; .*; did you mean model\?"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(text, expected, tmp_path):
    with pytest.raises(UsageError, match=expected):
        config_of(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        load_config(str(tmp_path / "none.yaml"))


def test_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(
        UsageError, match=r"^shakespear is neither a file nor a preset; the presets are addition, classic"
    ):
        load_config("shakespear")


def test_directory_is_refused(tmp_path):
    with pytest.raises(UsageError, match=DIRECTORY_ERROR):
        load_config(str(tmp_path))
