"""A small part of what `make reliability` does."""

import os
import signal

import faults
import fuzzing
import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="syncs directories and sends signals")


@posix
def test_failed_save_is_reported_and_leaves_a_complete_file(tmp_path):
    assert faults.fault_sweep(tmp_path, step=7) > 100


@posix
@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_run_stopped_at_random_moments_ends_with_the_same_bytes(name, tmp_path):
    assert faults.kill_loop(tmp_path, "--threads 1", 2, getattr(signal, name)) == 2


@pytest.mark.parametrize("name", ["mutate_checkpoints", "mutate_members", "mutate_settings", "mutate_corpora"])
def test_mutated_files_are_rejected_or_usable(name, tmp_path):
    assert getattr(fuzzing, name)(tmp_path, 300, seed=5) == 300


def test_random_command_lines_succeed_or_give_one_error(tmp_path):
    assert fuzzing.random_command_lines(tmp_path, 100, seed=5) == 100
