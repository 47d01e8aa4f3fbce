"""`charlstm score`: the loss of a text, unknown characters, baselines; test_score.py has the rest."""

import json
import math
import re

import numpy as np
import pytest
from helpers import error_line

from charlstm import load_run


@pytest.fixture
def wild(model, tmp_path):
    """A model whose weights are finite but overflow."""
    run = load_run(model)
    run.model.network.params["w_out"][...] = np.float32(3e38)
    run.save(tmp_path / "wild.npz")
    return "wild.npz"


def test_bits_and_perplexity_follow_from_nats(model, text_file, here):
    score = json.loads(here("score", "--ckpt", model, "--json", text_file).stdout)
    assert score["bpc"] == pytest.approx(score["nats_per_char"] / math.log(2))
    assert score["perplexity"] == pytest.approx(math.exp(score["nats_per_char"]))


def test_score_prints_what_its_json_holds(model, text_file, here):
    score = json.loads(here("score", "--ckpt", model, "--json", text_file).stdout)
    assert here("score", "--ckpt", model, text_file).stdout == (
        f"{score['nats_per_char']:.4f} nats, {score['bpc']:.4f} bits per character, "
        f"perplexity {score['perplexity']:.3f}\nover {score['chars']:,} characters\n"
    )


# ---- unknown characters


def test_unknown_characters_are_left_out_and_counted(model, here, tmp_path):
    (tmp_path / "plain.txt").write_text("1 times 2 is 2.")
    (tmp_path / "snow.txt").write_text("1 times☃ 2 is☃ 2.", encoding="utf-8")
    plain, snow = (
        json.loads(here("score", "--ckpt", model, "--json", name).stdout) for name in ("plain.txt", "snow.txt")
    )
    assert (plain.pop("unknown_chars"), snow.pop("unknown_chars")) == (0, 2)
    assert plain == snow


def test_text_of_unknown_characters_cannot_be_scored(model, here, tmp_path):
    (tmp_path / "snow.txt").write_text("☃☃☃1☃", encoding="utf-8")
    line = error_line(here("score", "--ckpt", model, "snow.txt"), 1)
    assert "need at least 2 known characters to score, got 1" in line


# ---- baselines


def test_baselines_are_printed_after_the_score(model, text_file, here):
    plain = here("score", "--ckpt", model, text_file).stdout
    with_baselines = here("score", "--ckpt", model, text_file, "--baselines", text_file).stdout
    assert with_baselines.startswith(plain)
    assert re.fullmatch(
        r"baselines, in bits per character: uniform 4.*6-gram 1.*\n", with_baselines.removeprefix(plain)
    )


def test_better_baselines_have_lower_losses(model, text_file, here):
    done = here("score", "--ckpt", model, text_file, "--baselines", text_file, "--json")
    losses = json.loads(done.stdout)["baselines_nats_per_char"]
    assert losses["uniform"] > losses["frequencies"] > losses["6-gram"]


def test_missing_baseline_corpus_is_named(model, text_file, here):
    done = here("score", "--ckpt", model, text_file, "--baselines", "missing.txt")
    assert "missing.txt: No such file" in error_line(done, 2)


def test_baseline_corpus_of_unknown_characters_is_refused(model, text_file, here, tmp_path):
    (tmp_path / "strange.txt").write_text("ÄÖÜ", encoding="utf-8")
    line = error_line(here("score", "--ckpt", model, text_file, "--baselines", "strange.txt"), 1)
    assert "--baselines strange.txt: none of its characters are in the model's vocabulary" in line


# ---- weights that are too large


def test_overflowed_weights_are_reported(wild, here, tmp_path):
    (tmp_path / "text").write_text("1 times 2")
    line = error_line(here("score", "--ckpt", wild, "text"), 1)
    assert line == "Error: the weights have overflowed; predictions are not finite"


def test_json_has_null_for_infinity(model, here, tmp_path):
    def refuse(name):
        raise AssertionError(name)

    run = load_run(model)
    run.model.network.params["b_out"] *= np.float32(1e30)
    run.save(tmp_path / "wild.npz")
    (tmp_path / "text").write_text("1 times 2")
    score = json.loads(here("score", "--ckpt", "wild.npz", "--json", "text").stdout, parse_constant=refuse)
    assert score["perplexity"] is None
