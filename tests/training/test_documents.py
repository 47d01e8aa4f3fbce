"""Training on separate documents: reproducible, resumable, validated on whole documents, kept in the file."""

from itertools import islice

import numpy as np
import pytest
from helpers import SMALL, TEXT, assert_same_run, begin, train_fully

from charlstm import CharlstmError, Run, UsageError, corpus_from_text, load_run, start, train
from charlstm.network.evaluation import evaluate
from charlstm.training.advice import advise

LINES = corpus_from_text(TEXT, "line")
CONFIG = SMALL.replace(documents="line", eval_chars=100)


def test_run_on_documents_resumed_many_times_ends_like_an_uninterrupted_one(tmp_path):
    config = CONFIG.replace(epochs=2.3, batch_size=8, seq_len=40, dropout=0.2, threads=2)
    whole, _ = train_fully(config, LINES)
    run, step = begin(config, LINES), 0
    for stop in (0, 1, 9, 25, 60, None):
        for _ in islice(train(run), None if stop is None else stop - step):
            pass
        step = stop or 0
        run.save(tmp_path / "run.npz")
        run = load_run(tmp_path / "run.npz")
        run.use_corpus(LINES)
    assert run.training is None
    assert_same_run(whole, run)


def test_order_of_documents_depends_on_the_seed():
    losses = [[report.loss for report in train_fully(CONFIG.replace(seed=seed), LINES)[1]] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_file_keeps_boundary_and_documents(tmp_path):
    run, _ = train_fully(CONFIG.replace(deduplicate=True), LINES)
    run.save(tmp_path / "run.npz")
    loaded = load_run(tmp_path / "run.npz")
    assert (loaded.config.data.documents, loaded.config.data.deduplicate) == ("line", True)
    assert loaded.model.vocab == run.model.vocab
    assert loaded.model.vocab.counts.tolist() == run.model.vocab.counts.tolist()
    assert loaded.model.network.boundary_id == len(loaded.model.vocab) - 1
    with np.load(tmp_path / "run.npz") as npz:
        assert len(npz["vocab"]) + 1 == len(npz["counts"]) == len(npz["b_out"])


def test_validation_loss_is_the_mean_over_whole_documents():
    run, _ = train_fully(CONFIG.replace(eval_chars=0), LINES)
    assert run.dataset is not None
    assert run.best_loss == pytest.approx(evaluate(run.model.network, run.dataset.val_ids), rel=1e-4)


def test_corpus_of_a_resumed_run_must_be_cut_in_the_same_way(tmp_path):
    run = begin(CONFIG, LINES)
    with pytest.raises(CharlstmError, match="started with documents line, but the corpus was read with documents none"):
        run.use_corpus(corpus_from_text(TEXT))


def test_run_adopts_another_corpus_of_documents():
    run = begin(CONFIG.replace(deduplicate=True), LINES)
    run.use_corpus(corpus_from_text(TEXT[: len(TEXT) // 2], "line"), force=True)
    assert run.dataset is not None
    assert run.dataset.vocab.boundary_id == run.model.network.boundary_id
    assert len(list(train(run))) == 40


def test_start_takes_the_cuts_of_its_corpus():
    run = start(LINES, hidden_size=12, steps=1)
    assert run.config.data.documents == "line"
    assert run.config.train.state_reset_prob == 0
    with pytest.raises(UsageError, match="documents: the corpus was made with line"):
        start(LINES, documents="file", steps=1)


def test_advice_leaves_resets_to_boundaries():
    datasets = (corpus.split(0.1) for corpus in (LINES, corpus_from_text(TEXT)))
    assert [advise(dataset, {"steps": 10})["state_reset_prob"] for dataset in datasets] == [0, 0.02]


def test_model_learns_where_documents_end():
    run: Run = begin(
        SMALL.replace(hidden_size=16, steps=150, learning_rate=0.03), corpus_from_text("ab\n" * 200, "line")
    )
    for _ in train(run):
        pass
    vocab = run.model.vocab
    ids = np.array([vocab.boundary_id, *vocab.encode("ab"), vocab.boundary_id])
    assert evaluate(run.training.network if run.training else run.model.network, ids) < 0.1
