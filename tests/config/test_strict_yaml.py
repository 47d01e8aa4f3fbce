"""The subset of YAML: everything outside it is refused with line and column, and nothing is executed."""

from pathlib import Path

import pytest

from charlstm.config.presets import load_values
from charlstm.config.strict_yaml import Entry, read_sections
from charlstm.errors import UsageError

SECTIONS = ("data", "model", "train")


def read(tmp_path: Path, text: str | bytes) -> list[Entry]:
    path = tmp_path / "my.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_sections(path, SECTIONS))


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "train:\n", "model:\ntrain:\n", "\ufeff"])
def test_file_without_settings_has_no_entries(text, tmp_path):
    assert read(tmp_path, text) == []


def test_values_stay_text(tmp_path):
    text = "model:\n  a: 1:30\n  b: yes\n  c: 2e-3\n  d: 0x10\n  e: ~\n"
    assert [entry.text for entry in read(tmp_path, text)] == ["1:30", "yes", "2e-3", "0x10", "~"]


def test_entry_knows_its_section_its_place_and_its_quotes(tmp_path):
    text = "data: {encoding: 'latin-1'}\n# a comment\ntrain:\n  seed: 3\n"
    file = tmp_path / "my.yaml"
    assert read(tmp_path, text) == [
        Entry("data", "encoding", "latin-1", True, f"{file}, line 1, column 8"),
        Entry("train", "seed", "3", False, f"{file}, line 4, column 3"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modle:\n  hidden_size: 3\n", r"line 1, column 1: unknown section 'modle'; settings belong under one of data:, model:, train:; did you mean model\?"),
        ("hidden_size: 3\n", r"line 1, column 1: unknown section 'hidden_size'; settings belong under one of data:, model:, train:"),
        ("train:\n  seed: 1\n  seed: 2\n", r"line 3, column 3: duplicate key seed$"),
        ("train: {}\ntrain: {}\n", r"line 2, column 1: duplicate key train$"),
        ("train:\n  seed: &a 1\n  steps: *a\n", r"line 2, column 9: anchors and aliases \(& and \*\) are not allowed"),
        ("a: &a {b: 1}\ntrain:\n  <<: *a\n", r"line 1, column 4: anchors and aliases \(& and \*\) are not allowed"),
        ("train:\n  <<: {seed: 1}\n", r"line 2, column 7: '<<': expected one value, but got a mapping"),
        ("train:\n  seed: [1]\n", r"line 2, column 9: seed: expected one value, but got a list"),
        ("train:\n  seed: !!int 1\n", r"line 2, column 9: tags \(!\) are not allowed"),
        ("- 1\n- 2\n", r"line 1, column 1: expected the sections data, model, train, but got a list"),
        ("train:\n  - seed\n", r"line 2, column 3: expected settings under train:, but got a list"),
        ("train: 3\n", r"line 1, column 8: expected settings under train:, but got a single value"),
        ("just words\n", r"line 1, column 1: expected the sections data, model, train, but got a single value"),
        ("train:\n  seed: 1\n---\ntrain:\n  seed: 2\n", r"line 3, column 1"),
        ("train:\n\tseed: 1\n", r"line 2, column 1: .*; indent with spaces"),
        ("train: {seed: 1\n", r"line 2, column 1"),
        ("train:\n  seed: [[[[[[[[1]]]]]]]]\n", r"line 2, column 10: nested too deeply; settings are `key: value` under a section"),
        ("train:\n  ? [a, b]\n  : 1\n", r"line 2, column 5: expected a name, but got a list"),
        (b"train:\n  seed: \xff\n", r"my\.yaml: not UTF-8 \(byte 15\); save it as UTF-8"),
        ("train:\n  seed: \x01\n", r"my\.yaml: "),
        ("#" * 20_001, r"my\.yaml: larger than 20,000 bytes, so not a configuration\. Is it the corpus\?"),
        ('train:\n  schedule: "\\UFFFFFFFF"\n', r"my\.yaml: "),
        ("%YAML " + "1" * 5000 + ".1\n---\n", r"my\.yaml: "),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_its_place(text, expected, tmp_path):
    with pytest.raises(UsageError, match=expected):
        read(tmp_path, text)


def test_tags_run_no_code(tmp_path):
    with pytest.raises(UsageError, match=r"tags \(!\) are not allowed"):
        read(
            tmp_path,
            f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/proof']]\n",
        )
    assert not (tmp_path / "proof").exists()


def test_deeply_nested_brackets_are_refused_without_recursion(tmp_path):
    with pytest.raises(UsageError, match="line 1, column 4: nested too deeply"):
        read(tmp_path, "[" * 19_000)


def test_messages_quote_long_names_in_one_line(tmp_path):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, '"a\\nb": {x: 1}\n')
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '"a\\nb":\n  seed: 1\n',
        'train:\n  "a\\nb": 1\n',
        'train:\n  "a\\nb": [1]\n',
        'train:\n  "a\\nb": 1\n  "a\\nb": 2\n',
    ],
)
def test_error_about_a_key_with_a_newline_fits_one_line(text, tmp_path):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_values(str(tmp_path / "my.yaml"))
    assert "\n" not in str(caught.value)


def test_long_key_is_quoted_in_part(tmp_path):
    (tmp_path / "my.yaml").write_text(f"train:\n  {'a' * 900}: 1\n")
    with pytest.raises(UsageError) as caught:
        load_values(str(tmp_path / "my.yaml"))
    assert len(str(caught.value).removeprefix(str(tmp_path))) < 150
