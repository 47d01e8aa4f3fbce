"""`charlstm convert`: smaller files, and invalid requests."""

import shutil

import numpy as np
import pytest
from helpers import error_line
from storage_helpers import train_until

from charlstm import load, load_run


@pytest.fixture
def models(tmp_path, model):
    shutil.copy(model, tmp_path / "model.npz")
    train_until(12).save(tmp_path / "half-trained.npz")
    return tmp_path


@pytest.mark.parametrize(("flag", "weights"), [("--half", "float16"), ("--int8", "int8")])
def test_converted_file_works_with_sample_and_score(flag, weights, models, here):
    done = here("convert", "model.npz", "-o", "small.npz", flag)
    assert done.returncode == 0, done.stderr
    assert f"Wrote small.npz ({weights} weights" in done.stderr
    assert (models / "small.npz").stat().st_size < (models / "model.npz").stat().st_size
    assert len(here("sample", "small.npz", "-n", 30, "--seed", 1).stdout) >= 30
    assert f"weights     {weights}" in here("info", "small.npz").stdout
    (models / "text.txt").write_text("1 times 2 is 2\n")
    assert "nats" in here("score", "small.npz", "text.txt").stdout


def test_converting_back_keeps_the_rounded_weights(models, here):
    assert here("convert", "model.npz", "-o", "small.npz", "--int8").returncode == 0
    assert here("convert", "small.npz", "-o", "wide.npz").returncode == 0
    small, wide = load(models / "small.npz").network.params, load(models / "wide.npz").network.params
    assert all(np.array_equal(small[name], wide[name]) for name in small)
    assert load_run(models / "wide.npz").weights == "float32"


def test_unfinished_run_is_converted_without_its_training_state(models, here):
    done = here("convert", "half-trained.npz", "-o", "small.npz", "--int8")
    assert done.returncode == 0
    assert "The run is unfinished: saving its best weights so far, without the state needed to resume" in done.stderr
    assert load_run(models / "small.npz").training is None
    line = error_line(here("convert", "half-trained.npz", "-o", "half-trained.npz", "--int8", "--force"), 2)
    assert "--output half-trained.npz is an unfinished run, and overwriting it would lose its training state" in line
    assert load_run(models / "half-trained.npz").training is not None


def test_converted_run_can_be_trained_further(models, here, text_file):
    assert here("convert", "model.npz", "-o", "model.npz", "--int8", "--force").returncode == 0
    text_file.rename(models / "text.txt")
    done = here("train", "text.txt", "--resume", "--steps", "+5", "-q")
    assert done.returncode == 0, done.stderr
    assert load_run(models / "model.npz").weights == "float32"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("model.npz",), 2, "convert needs --output, the model file to write"),
        (("model.npz", "-o", "a.npz", "--half", "--int8"), 2, "--half and --int8 are mutually exclusive"),
        (("model.npz", "-o", "half-trained.npz"), 2, "half-trained.npz already exists; use --force to overwrite it"),
        (("model.npz", "-o", "a.safetensors"), 2, "use charlstm export --to safetensors for a.safetensors"),
        (("none.npz", "-o", "a.npz"), 2, "none.npz: No such file or directory"),
        (("model.npz", "-o", "none/a.npz"), 2, "--output none/a.npz: directory "),
        (("text.txt", "-o", "a.npz"), 2, "convert takes a model file (.npz or .safetensors), not text.txt"),
    ],
)
def test_invalid_conversions_are_refused(arguments, code, message, models, here):
    before = sorted(models.iterdir())
    assert message in error_line(here("convert", *arguments), code)
    assert sorted(models.iterdir()) == before
