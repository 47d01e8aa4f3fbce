"""What is said about a run and about a text."""

import dataclasses
import re

import pytest

from charlstm import Config, corpus_from_text, start
from charlstm.advice import verdict


def run_with(losses, **settings):
    """A run whose evaluations gave these training and validation losses."""
    run = start(Config().replace(hidden_size=4, **settings), corpus_from_text("abc" * 100))
    for k, (train_loss, val_loss) in enumerate(losses, 1):
        entry = {"step": k * 10, "epoch": 0.1 * k, "chars": k * 100, "train_loss": train_loss, "val_loss": val_loss}
        run.history.append(entry | {"learning_rate": 0.1})
    run.best = {"step": 10, "val_loss": 1.0}
    return run


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([(2.0, 2.1), (1.5, 1.6), (1.2, 1.7)], r"20 of 30.*1\.500.*1\.600.*risen by 0\.100.*by heart.*more --dropout"),
        ([(2.0, 2.1), (1.6, 1.61)], r"20 of 20.*close.*larger model"),
        ([(2.0, 2.1), (1.2, 1.6)], r"20 of 20.*still falling"),
        ([(1.2, 1.6), (1.2, 1.601)], r"10 of 20.*still falling"),
    ],
)
def test_a_verdict_names_what_it_rests_on_and_what_would_help(losses, expected):
    assert re.search(expected, verdict(run_with(losses)))


def test_with_much_dropout_more_of_it_is_no_advice():
    words = verdict(run_with([(1.5, 1.6), (1.2, 1.7)], dropout=0.5))
    assert "with dropout" in words
    assert "more --dropout" not in words


@pytest.mark.parametrize("losses", [[], [(1.0, None)], [(None, 1.0)]])
def test_there_is_no_verdict_without_losses(losses):
    assert verdict(run_with(losses)) == ""
    assert verdict(dataclasses.replace(run_with([(1.0, 1.0)]), best=None)) == ""
