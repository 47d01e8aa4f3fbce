"""Configurations in Python: their defaults, their limits, and the values they refuse."""

import dataclasses

import pytest

from charlstm import CharlstmError, Config
from charlstm.config.settings import ADVISED, SECTION_OF, SECTIONS, SETTINGS, TrainConfig, config_from_sections
from charlstm.errors import UsageError


@pytest.mark.parametrize("values", [{"hidden_size": 1.5}, {"hidden_size": True}, {"hidden_size": "64.0"}, {"hidden_size": None}, {"dropout": float("nan")}, {"seed": -1}, {"carry_around": 1}, {"carry_around": "yes"}, {"encoding": ""}, {"time": "90"}, {"schedule": "cosin"}])  # fmt: skip
def test_invalid_python_values_are_refused_by_name(values):
    (name,) = values
    with pytest.raises(UsageError, match=f"^{name}: .* is not "):
        Config().replace(**values)


def test_invalid_values_are_refused_on_construction():
    with pytest.raises(UsageError, match=r"^batch_size: 0 is not an integer from 1 to 65,536$"):
        TrainConfig(batch_size=0)


def test_unknown_setting_is_refused_with_a_suggestion():
    with pytest.raises(UsageError, match=r"^unknown setting 'learnin_rate'; did you mean learning_rate\?$"):
        Config().replace(learnin_rate=1)


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.seed = 2  # type: ignore[misc]


def test_replace_leaves_the_original_and_all_other_settings_unchanged():
    config = Config().replace(seed=5)
    assert config.replace(hidden_size=7).values() == config.values() | {"hidden_size": 7}
    assert config.values() == Config().values() | {"seed": 5}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ({"time": "2m"}, {"time": 120}),
        ({"learning_rate": "1e-3"}, {"learning_rate": 0.001}),
        ({"hidden_size": "64"}, {"hidden_size": 64}),
        ({"carry_around": "true"}, {"carry_around": True}),
    ],
)
def test_replace_parses_text(text, value):
    assert Config().replace(**text) == Config().replace(**value)


def test_time_in_minutes_is_stored_in_seconds():
    assert Config().replace(time="2m").train.time == 120


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ({"steps": 5}, (5, None, None)),
        ({"epochs": 1.5}, (None, 1.5, None)),
        ({"time": "90s"}, (None, None, 90)),
        ({"steps": None}, (None, None, 60)),
        ({"seed": 2}, (None, None, 60)),
    ],
)
def test_a_new_limit_replaces_the_old_one(values, limits):
    train = Config().replace(time=60).replace(**values).train
    assert (train.steps, train.epochs, train.time) == limits


@pytest.mark.parametrize("values", [{"steps": 5, "epochs": 1}, {"epochs": 1, "time": "1m"}, {"steps": 1, "time": 9}])
def test_two_limits_are_refused(values):
    with pytest.raises(UsageError, match="steps, epochs and time are mutually exclusive; give only one of them"):
        Config().replace(**values)


@pytest.mark.parametrize(
    ("values", "seconds"), [({}, 120), ({"time": 60}, 60), ({"steps": 5}, None), ({"epochs": 1}, None)]
)
def test_runs_take_two_minutes_without_a_limit(values, seconds):
    assert Config().replace(**values).train.time_s == seconds


def test_repr_shows_only_changed_settings():
    assert repr(Config()) == "Config().replace()"
    config = Config().replace(schedule="linear", hidden_size=7, time="2m", seed=1)
    assert repr(config) == "Config().replace(hidden_size=7, time=120.0, schedule='linear')"
    assert eval(repr(config)) == config


def test_format_gives_every_set_value_as_its_flag_would():
    formatted = Config().replace(time=90, learning_rate=1e-3, carry_around=True).format()
    assert formatted.keys() == SETTINGS.keys() - {"steps", "epochs", "eval_chars", "include", "field"}
    assert formatted["time"] == "90s"
    assert formatted["learning_rate"] == "0.001"
    assert (formatted["carry_around"], formatted["nesterov"]) == ("true", "false")


def test_formatted_settings_rebuild_the_configuration():
    config = Config().replace(hidden_size=3, time=9.5, encoding="cp1252", nesterov=True, learning_rate=3e-4)
    assert Config().replace(**config.format()) == config


def test_sections_rebuild_the_configuration():
    config = Config().replace(hidden_size=3, time=9.5, encoding="cp1252")
    assert config_from_sections(config.sections()) == config


@pytest.mark.parametrize("change", [lambda s: s.pop("data"), lambda s: s.update(more={}), lambda s: s["model"].update(x=1), lambda s: s["model"].update(seed=1), lambda s: s["model"].update(hidden_size=1.5), lambda s: s["model"].update(hidden_size="64"), lambda s: s.update(data=3)])  # fmt: skip
def test_invalid_sections_are_refused(change):
    sections = Config().sections()
    change(sections)
    with pytest.raises(UsageError):
        config_from_sections(sections)


@pytest.mark.parametrize("sections", [None, 3, [], "data", {}])
def test_sections_of_another_type_are_refused(sections):
    with pytest.raises(CharlstmError):
        config_from_sections(sections)


def test_missing_settings_of_a_section_get_their_defaults():
    sections = Config().replace(hidden_size=7).sections()
    del sections["train"]["patience"], sections["model"]["dropconnect"]
    assert config_from_sections(sections) == Config().replace(hidden_size=7)


def test_every_setting_belongs_to_one_section():
    assert SECTIONS == ("data", "model", "train")
    assert SETTINGS.keys() == SECTION_OF.keys() == Config().values().keys()
    assert sum(len(section) for section in Config().sections().values()) == len(SETTINGS)


def test_advised_settings_exist():
    assert set(ADVISED) <= SETTINGS.keys()


def test_every_setting_has_a_help_sentence():
    for setting in SETTINGS.values():
        assert setting.help[0].isupper(), setting.name
        assert setting.help.endswith("."), setting.name
