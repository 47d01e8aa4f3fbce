"""`charlstm sample`: the prime, the seed and the length; test_sample.py has the rest."""

import numpy as np
import pytest
from helpers import error_line

from charlstm import load_run


def test_prime_is_printed_first(model, here):
    done = here("sample", "--ckpt", model, "--prime", "7 times ", "-n", 20)
    assert done.stdout.startswith("7 times ")
    assert len(done.stdout) == 8 + 20


def test_prime_is_read_from_standard_input(model, here):
    flags = ("sample", "--ckpt", model, "-n", 20, "--seed", 5, "--prime")
    assert here(*flags, "-", input="7 times ").stdout == here(*flags, "7 times ").stdout


def test_sample_prints_nothing_but_the_text(model, here):
    done = here("sample", "--ckpt", model, "-n", 100)
    assert (done.returncode, len(done.stdout), done.stderr) == (0, 100, "")


def test_length_zero_prints_only_the_prime(model, here):
    assert here("sample", "--ckpt", model, "-n", 0, "--prime", "7 times").stdout == "7 times"


def test_length_zero_without_a_prime_prints_nothing(model, here):
    done = here("sample", "--ckpt", model, "-n", 0)
    assert (done.returncode, done.stdout) == (0, "")


def test_texts_differ_without_a_seed(model, here):
    assert len({here("sample", "--ckpt", model, "-n", 60, "-t", 2).stdout for _ in range(3)}) == 3


@pytest.mark.parametrize("temperature", ["0", "1e-300", "1e300"])
def test_extreme_temperatures_generate(temperature, model, here):
    done = here("sample", "--ckpt", model, "-t", temperature, "-n", 30)
    assert (done.returncode, len(done.stdout)) == (0, 30)


def test_unknown_characters_of_a_prime_are_named(model, here):
    line = error_line(here("sample", "--ckpt", model, "--prime", "naïve ☃"), 2)
    assert line.startswith("Error: --prime: not in the model's vocabulary: 'a' U+0061")
    assert "'ï' U+00EF LATIN SMALL LETTER I WITH DIAERESIS, '☃' U+2603 SNOWMAN" in line


def test_crlf_and_cr_in_a_prime_are_newlines(model, here):
    assert here("sample", "--ckpt", model, "-n", 0, "--prime", "1\r\n2\r3").stdout == "1\n2\n3"


def test_overflowed_weights_are_reported_in_one_line(model, here, tmp_path):
    run = load_run(model)
    run.model.network.params["w_out"][...] = np.float32(3e38)
    run.save(tmp_path / "wild.npz")
    done = here("sample", "--ckpt", "wild.npz", "--prime", "1")
    assert (done.returncode, done.stderr) == (1, "Error: the weights have overflowed; predictions are not finite\n")
