"""Options: made from settings, checked like them, and with help that shows the values in effect."""

import click
import pytest
from click.testing import CliRunner

from charlstm import CharlstmError, Config, SamplingParams, load_run
from charlstm.cli.main import cli
from charlstm.cli.options import KindType, request_options
from charlstm.cli.requests import SampleRequest
from charlstm.config.kinds import duration, flag_of, integer, settings_of
from charlstm.config.settings import ADVISED, DATA_SETTINGS, LIMITS, SETTINGS

QUICK = ("--steps", 2, "--threads", 1, "-q")


def help_of(*arguments):
    """Return the help of a command, without line breaks."""
    return " ".join(CliRunner().invoke(cli, [*arguments, "--help"], catch_exceptions=False).output.split())


def flags_of(command):
    return {flag for param in cli.commands[command].params for flag in (*param.opts, *param.secondary_opts)}


# ---- precedence


def test_flags_override_the_configuration(text_file, here, tmp_path):
    (tmp_path / "my.yaml").write_text("model:\n  hidden_size: 5\n  num_layers: 2\n")
    assert here("train", "corpus.txt", "-c", "my.yaml", "--hidden-size", 6, *QUICK).returncode == 0
    assert load_run(tmp_path / "model.npz").config.model.hidden_size == 6


def test_the_configuration_overrides_the_defaults(text_file, here, tmp_path):
    (tmp_path / "my.yaml").write_text("model:\n  hidden_size: 5\n  num_layers: 2\n")
    assert here("train", "corpus.txt", "-c", "my.yaml", *QUICK).returncode == 0
    config = load_run(tmp_path / "model.npz").config
    assert (config.model.num_layers, config.train.batch_size) == (2, Config().train.batch_size)


def test_limit_given_as_a_flag_replaces_that_of_the_configuration(text_file, here, tmp_path):
    (tmp_path / "my.yaml").write_text("model: {hidden_size: 5}\ntrain: {time: 9m}\n")
    assert here("train", "corpus.txt", "-c", "my.yaml", *QUICK).returncode == 0
    config = load_run(tmp_path / "model.npz").config
    assert (config.train.steps, config.train.time) == (2, None)


# ---- help


def test_help_of_train_shows_ranges():
    assert "[0 to 0.95; default 0]" in help_of("train")
    assert "[above 0, at most 1; default 0.5]" in help_of("train")


def test_help_of_train_shows_which_settings_are_chosen():
    assert "an hour. [1 to 16384; default auto]" in help_of("train")


def test_help_of_train_shows_the_default_time():
    assert "[default 2m]" in help_of("train")


def test_help_lists_the_names_that_an_option_takes():
    assert "--optimizer NAME" in help_of("train")
    assert "[adam, rmsprop or sgd; default adam]" in help_of("train")


def test_defaults_of_requests_are_formatted_like_those_of_settings():
    assert "--top-p X" in help_of("sample")
    assert "1 turns it off. [above 0, at most 1; default 1]" in help_of("sample")
    assert "Model file to load. [default model.npz]" in help_of("sample")


def test_help_of_train_shows_the_values_of_a_preset():
    text = help_of("train", "-c", "classic")
    assert "[1 to 16384; default 100]" in text
    assert "[1 or more; default 10000]" in text
    assert text.count("default auto") == 2  # of --encoding and --kernel, which no preset sets


def test_help_refuses_an_unknown_preset():
    with pytest.raises(CharlstmError, match="tini is neither a file nor a preset"):
        cli.main(["train", "-c", "tini", "--help"], standalone_mode=False)


# ---- flags


def test_train_has_a_flag_for_every_setting():
    assert {flag_of(name) for name in SETTINGS} <= flags_of("train")


def test_plan_has_flags_for_what_train_chooses_and_what_that_depends_on():
    settings = {flag_of(name) for name in SETTINGS}
    names = (*DATA_SETTINGS, *LIMITS, *ADVISED, "num_layers", "threads", "kernel")
    assert flags_of("plan") & settings == {flag_of(name) for name in names}


def test_sample_has_a_flag_for_every_sampling_parameter():
    assert {flag_of(setting.name) for setting in settings_of(SamplingParams())} <= flags_of("sample")


def test_true_or_false_settings_have_a_pair_of_flags(text_file, here, tmp_path):
    (tmp_path / "my.yaml").write_text("model: {hidden_size: 5}\ntrain: {nesterov: true, carry_around: true}\n")
    assert here("train", "corpus.txt", "-c", "my.yaml", "--no-nesterov", *QUICK).returncode == 0
    train = load_run(tmp_path / "model.npz").config.train
    assert (train.nesterov, train.carry_around) == (False, True)


# ---- from settings to values


def test_text_is_parsed_by_its_kind():
    assert KindType(duration()).convert("2m", None, None) == 120


def test_values_of_another_kind_are_refused():
    with pytest.raises(click.BadParameter, match="65 is not an integer from 1 to 64"):
        KindType(integer(1, 64)).convert("65", None, None)


def sample_request(*arguments):
    """Return the request that flags of `sample` make."""

    @click.command()
    @request_options(SampleRequest)
    def command(request):
        return request

    return command.main([*map(str, arguments)], standalone_mode=False)


def test_request_without_flags_has_the_defaults():
    assert sample_request() == SampleRequest()


def test_flags_of_nested_parameters_reach_them():
    request = sample_request("-n", 7, "-t", 0.5, "--seed", 3, "--stop", "a", "--stop", "b", "--ckpt", "m.npz", "--json")
    params = SamplingParams(length=7, temperature=0.5, stop=("a", "b"))
    assert request == SampleRequest(params, seed=3, checkpoint="m.npz", as_json=True)
