"""Runs: saving them, and giving them their corpus again."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SMALL, TEXT, arrays_of, assert_same_run, begin
from storage_helpers import train_until

from charlstm import CharlstmError, Corpus, Run, corpus_from_text, load_run, train
from charlstm.errors import UsageError
from charlstm.sampling.language_model import LanguageModel
from charlstm.text.vocab import Vocab

OTHER = corpus_from_text(TEXT[50:])


@pytest.fixture
def half() -> Run:
    """An unfinished run with one evaluation."""
    return train_until(12)


@pytest.fixture
def loaded(half: Run, tmp_path: Path) -> Run:
    """The same run from its file, without a corpus."""
    half.save(tmp_path / "m.npz")
    return load_run(tmp_path / "m.npz")


# ---- saving


def test_same_run_gives_the_same_bytes(half, tmp_path):
    for name in ("a.npz", "b.npz"):
        half.save(tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_loaded_run_gives_the_same_bytes(loaded, tmp_path):
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()


def test_saving_changes_nothing(half, loaded):
    assert_same_run(half, loaded)
    assert half.dataset is not None


@pytest.mark.parametrize("name", ["model", "mein Modell ☃.npz"])
def test_file_keeps_the_name_given(name, half, tmp_path):
    half.save(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_saving_follows_a_link(half, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.npz").symlink_to(tmp_path / "there" / "real.npz")
    half.save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink()
    assert_same_run(load_run(tmp_path / "there" / "real.npz"), half)


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_failed_save_leaves_the_old_file_and_nothing_else(name, trained, half, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    trained.save(path)
    before = path.read_bytes()

    def failing(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, failing)
    with pytest.raises(CharlstmError, match=r"m\.npz could not be saved: No space left on device$"):
        half.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_interrupted_save_leaves_the_old_file_and_nothing_else(trained, half, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    trained.save(path)
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        half.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_missing_directory_is_reported(half, tmp_path):
    with pytest.raises(CharlstmError, match=r"m\.npz could not be saved: No such file or directory$"):
        half.save(tmp_path / "none" / "m.npz")


@pytest.mark.parametrize("kind", ["params", "v"])
def test_run_that_is_not_finite_never_replaces_one_that_is(kind, half, loaded, tmp_path):
    before = (tmp_path / "m.npz").read_bytes()
    half.training.arrays()[kind]["layer0.w_h"][0, 0] = np.inf
    with pytest.raises(
        CharlstmError, match=r"m\.npz was not saved: the weights are not finite; start again with a lower "
    ):
        half.save(tmp_path / "m.npz")
    assert (tmp_path / "m.npz").read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


# ---- the corpus of a loaded run


def state_of(run: Run) -> dict[str, Any]:
    """Return a copy of everything that `use_corpus` could change."""
    return {
        "arrays": {name: array.tolist() for name, array in arrays_of(run).items()},
        "history": list(run.history),
        **{name: getattr(run, name) for name in ("config", "fingerprint", "best", "dataset")},
    }


def refuse(run: Run, corpus: Corpus, *, force: bool) -> str:
    """Return the message that refuses a corpus, after checking that the run is unchanged."""
    before = state_of(run)
    with pytest.raises(CharlstmError) as caught:
        run.use_corpus(corpus, force=force)
    assert state_of(run) == before
    return str(caught.value)


def test_training_without_a_corpus_is_a_usage_error(loaded):
    before = state_of(loaded)
    with pytest.raises(UsageError, match=r"^this run has no corpus; call run\.use_corpus\(read_corpus\(\.\.\.\)\) "):
        next(train(loaded))
    assert state_of(loaded) == before


def test_finished_run_needs_no_corpus(trained, tmp_path):
    trained.save(tmp_path / "m.npz")
    assert list(train(load_run(tmp_path / "m.npz"))) == []


@pytest.mark.parametrize("force", [False, True])
def test_same_corpus_is_accepted_and_changes_nothing_else(force, loaded, half):
    loaded.use_corpus(corpus_from_text(TEXT.replace("\n", "\r\n")), force=force)
    assert_same_run(loaded, half)
    assert loaded.dataset.train_ids.tolist() == half.dataset.train_ids.tolist()
    assert loaded.dataset.val_ids.tolist() == half.dataset.val_ids.tolist()


def test_run_with_its_corpus_resumes_as_if_never_interrupted(loaded, half):
    loaded.use_corpus(corpus_from_text(TEXT))
    for run in (loaded, half):
        for _ in train(run):
            pass
    assert_same_run(loaded, half)


def test_other_corpus_is_refused_with_both_lengths(loaded):
    message = refuse(loaded, OTHER, force=False)
    assert message.startswith("the corpus differs from the one this run was started with ")
    assert f"({len(TEXT) - 50:,} characters, not {len(TEXT):,})" in message


def test_other_corpus_of_the_same_length_is_refused(loaded):
    message = refuse(loaded, corpus_from_text(TEXT[::-1]), force=False)
    assert "the corpus differs from the one this run was started with (of the same length)" in message


def test_corpus_with_unknown_characters_is_refused_even_if_forced(loaded):
    message = refuse(loaded, corpus_from_text(TEXT + "ÄÖÄ"), force=True)
    assert message.startswith("the corpus has characters outside the model's vocabulary (3 in all)")


def test_forced_corpus_resets_what_refers_to_the_old_one(loaded):
    assert loaded.best is not None
    loaded.use_corpus(OTHER, force=True)
    assert (loaded.best, loaded.best_loss, loaded.history) == (None, None, [])
    assert loaded.fingerprint == OTHER.fingerprint


def test_forced_corpus_makes_the_current_weights_the_best(loaded):
    loaded.use_corpus(OTHER, force=True)
    current = {name: array.copy() for name, array in loaded.training.network.params.items()}
    loaded.training.network.params["w_out"][0] += 1  # the best ones are a copy
    assert loaded.model.network.params.keys() == current.keys()
    assert all(np.array_equal(array, current[name]) for name, array in loaded.model.network.params.items())


def test_forced_corpus_keeps_the_training_state(loaded, half):
    loaded.use_corpus(OTHER, force=True)
    ours, theirs = arrays_of(loaded), arrays_of(half)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs if name not in half.model.network.params)
    assert loaded.training.header() == half.training.header()


def test_forced_corpus_is_encoded_with_the_vocabulary_of_the_run(loaded, half):
    loaded.use_corpus(corpus_from_text("9 times 8 is 7.\n" * 100), force=True)
    assert loaded.dataset.vocab == loaded.model.vocab == half.model.vocab
    ids = np.concatenate([loaded.dataset.train_ids, loaded.dataset.val_ids])
    assert loaded.model.vocab.decode(ids) == "9 times 8 is 7.\n" * 100


def test_run_trains_on_a_forced_corpus(loaded):
    loaded.use_corpus(OTHER, force=True)
    reports = list(train(loaded))
    assert (reports[0].step, reports[-1].step) == (13, 40)
    assert loaded.best.step > 12
    assert all(entry.step > 12 for entry in loaded.history)


def test_run_with_a_forced_corpus_saves_its_fingerprint(loaded, tmp_path):
    loaded.use_corpus(OTHER, force=True)
    loaded.save(tmp_path / "m.npz")
    again = load_run(tmp_path / "m.npz")
    again.use_corpus(OTHER)
    assert_same_run(again, loaded)


# ---- display


def test_repr_names_the_step_the_model_and_the_loss(half):
    half.best = dataclasses.replace(half.best, val_loss=2.34567)
    assert repr(half) == "Run(step 12, LanguageModel(1 x 3 units, 18 characters), validation loss 2.3457)"


def test_repr_of_a_new_run_has_no_loss():
    assert repr(begin(SMALL)) == "Run(step 0, LanguageModel(1 x 12 units, 18 characters))"


def test_repr_of_a_finished_run_says_so(trained):
    assert repr(trained).startswith("Run(finished, LanguageModel(1 x 12 units, 18 characters), validation loss ")


def test_altered_vocabulary_is_refused_although_the_fingerprint_matches(tmp_path, half, corpus):
    half.save(tmp_path / "m.npz")
    run = load_run(tmp_path / "m.npz")
    points = run.model.vocab.code_points.copy()
    points[-1] += 1
    run.model = LanguageModel(run.model.network, Vocab(points, run.model.vocab.counts))
    with pytest.raises(CharlstmError, match="the vocabulary of this run does not match its corpus"):
        run.use_corpus(corpus)
    assert run.dataset is None


def test_finished_run_refuses_another_corpus_and_keeps_its_history(trained):
    history, best = list(trained.history), trained.best
    with pytest.raises(CharlstmError, match="this run is finished and used a different corpus; start a new run"):
        trained.use_corpus(OTHER, force=True)
    assert (trained.history, trained.best) == (history, best)
