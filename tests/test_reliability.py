"""A small share of what `make reliability` does."""

import signal

import pytest
import reliability


def test_any_failure_of_any_call_of_a_save_leaves_a_whole_file_and_is_told(tmp_path):
    assert reliability.fault_sweep(tmp_path, step=7) > 100


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_stopped_at_random_moments_ends_like_one_that_was_not(number, tmp_path):
    assert reliability.kill_loop(tmp_path, "--threads 1", 2, number) == 2


@pytest.mark.parametrize("name", ["mutate_checkpoints", "mutate_members", "mutate_settings", "mutate_corpora"])
def test_mutated_files_are_refused_or_of_use(name, tmp_path):
    assert getattr(reliability, name)(tmp_path, 300, seed=5) == 300


def test_random_command_lines_do_something_or_give_one_error(tmp_path):
    assert reliability.random_command_lines(tmp_path, 100, seed=5) == 100
