"""Starting from another model: what is taken over, what is new, and what is recorded."""

import numpy as np
import pytest
from helpers import SMALL, TEXT, train_fully

from charlstm import Config, Run, UsageError, corpus_from_text, load_run, start, train
from charlstm.config.settings import DataConfig
from charlstm.network.evaluation import evaluate
from charlstm.text.vocab import Vocab
from charlstm.training.transfer import Shared, compare_vocabularies, transfer

OTHER = TEXT.replace("times", "mal").replace("is", "gibt") + "ß?" * 10


def transferred(trained: Run, text: str, **data):
    vocab = corpus_from_text(text, data.get("documents", "none")).prepare(DataConfig(**data)).vocab
    config = trained.config.model
    return vocab, transfer(trained.model, vocab, config, np.random.default_rng(1))


def test_same_vocabulary_gives_the_same_weights(trained):
    vocab, network = transferred(trained, TEXT)
    for name, param in network.params.items():
        assert np.array_equal(param, trained.model.network.params[name]), name
    assert vocab == trained.model.vocab


def test_shared_characters_keep_their_weights_and_new_ones_are_fresh(trained):
    old = trained.model
    vocab, network = transferred(trained, OTHER)
    for n, character in enumerate(vocab.characters):
        column, row, bias = (network.params["layer0.w_x"][:, n], network.params["w_out"][n], network.params["b_out"][n])
        if character in old.vocab.characters:
            k = old.vocab.characters.index(character)
            assert np.array_equal(column, old.network.params["layer0.w_x"][:, k])
            assert np.array_equal(row, old.network.params["w_out"][k])
            assert bias == old.network.params["b_out"][k]
        else:
            assert character in "?abglß"
            assert not (column == old.network.params["layer0.w_x"].T).all(1).any()
            assert bias == 0
    assert np.array_equal(network.params["layer0.w_h"], old.network.params["layer0.w_h"])
    assert compare_vocabularies(old.vocab, vocab) == Shared(len(vocab) - 6, "?abglß", 2)


def test_unknown_character_counts_in_neither_vocabulary():
    merged = Vocab([ord("a"), ord("b"), 0xFFFD], [9, 9, 9], has_unknown=True)
    assert compare_vocabularies(Vocab([ord("a"), ord("c")], [9, 9]), merged) == Shared(1, "b", 1)
    assert compare_vocabularies(merged, Vocab([ord("a")], [9])) == Shared(1, "", 1)


def test_text_in_the_old_characters_has_the_same_probabilities_but_for_new_ones(trained):
    """With the logits of new characters removed, the losses are those of the model."""
    vocab, network = transferred(trained, OTHER)
    known = np.isin(vocab.code_points, trained.model.vocab.code_points)
    network.params["b_out"][~known] = -1e9
    network.params["w_out"][~known] = 0
    text = "3 4 12.\n5 6 30.\n"
    ids = [v.encode(text) for v in (vocab, trained.model.vocab)]
    gone = ~np.isin(trained.model.vocab.code_points, vocab.code_points)
    trained_network = trained.model.network.copy()
    trained_network.params["b_out"][gone] = -1e9
    trained_network.params["w_out"][gone] = 0
    assert evaluate(network, ids[0]) == pytest.approx(evaluate(trained_network, ids[1]), abs=1e-6)


def test_boundary_is_shared_only_if_both_have_one(trained):
    lines = DataConfig(documents="line")
    with_documents, _ = train_fully(SMALL.replace(documents="line"), corpus_from_text(TEXT, "line"))
    vocab = corpus_from_text(TEXT, "line").prepare(lines).vocab
    rng = np.random.default_rng(1)
    network = transfer(with_documents.model, vocab, SMALL.model, rng)
    assert np.array_equal(network.params["w_out"][-1], with_documents.model.network.params["w_out"][-1])
    network = transfer(trained.model, vocab, SMALL.model, rng)
    assert network.boundary_id == vocab.boundary_id
    assert network.params["b_out"][-1] == 0
    assert transfer(with_documents.model, trained.model.vocab, SMALL.model, rng).boundary_id is None


@pytest.mark.parametrize(("old_count", "new_count"), [(1, 20), (20, 1), (20, 20)])
def test_unknown_character_is_shared_only_if_both_have_one(old_count, new_count):
    text = TEXT + "abc\ufffd"
    base, _ = train_fully(SMALL.replace(min_count=old_count), text)
    vocab = corpus_from_text(text).prepare(DataConfig(min_count=new_count)).vocab
    network = transfer(base.model, vocab, SMALL.model, np.random.default_rng(1))
    new, old = vocab.characters.index("\ufffd"), base.model.vocab.characters.index("\ufffd")
    same = np.array_equal(network.params["w_out"][new], base.model.network.params["w_out"][old])
    assert same == (old_count == new_count)


def test_run_starts_from_the_loss_of_the_model_and_records_it(trained, tmp_path):
    trained.save(tmp_path / "base.npz")
    run = start(corpus_from_text(TEXT), SMALL, init_from=tmp_path / "base.npz")
    assert run.base is not None
    assert run.base.name == str(tmp_path / "base.npz")
    scratch = next(train(start(corpus_from_text(TEXT), SMALL)))
    assert next(train(run)).loss < scratch.loss - 0.1
    run.save(tmp_path / "new.npz")
    assert load_run(tmp_path / "new.npz").base == run.base
    again = start(corpus_from_text(TEXT), SMALL, init_from=trained.model).base
    assert again is not None
    assert again.sha256 == run.base.sha256
    assert start(corpus_from_text(TEXT), SMALL).base is None


def test_size_is_that_of_the_model_and_cannot_be_chosen(trained):
    run = start(corpus_from_text(TEXT), init_from=trained.model, steps=5)
    assert run.config.model.hidden_size == trained.config.model.hidden_size
    with pytest.raises(
        UsageError, match="hidden_size: the model to start from has 12 units per layer; omit this setting"
    ):
        start(corpus_from_text(TEXT), init_from=trained.model, steps=5, hidden_size=13)
    with pytest.raises(UsageError, match="num_layers: the model to start from has 1 layer; omit"):
        start(corpus_from_text(TEXT), Config().replace(hidden_size=12, num_layers=2), init_from=trained.model)


def test_rollback_returns_to_the_weights_of_the_model(trained):
    run = start(corpus_from_text(TEXT), SMALL, init_from=trained.model)
    assert np.array_equal(run.model.network.params["w_out"], trained.model.network.params["w_out"])
    averaged = start(corpus_from_text(TEXT), SMALL, init_from=trained.model, ema_decay=0.9)
    assert averaged.training is not None
    assert averaged.training.ema is not None
    assert np.array_equal(averaged.training.ema["w_out"], trained.model.network.params["w_out"])


def test_run_that_is_stopped_and_resumed_gives_the_same_file(trained, tmp_path):
    corpus = corpus_from_text(OTHER, "line")
    settings = {"init_from": trained.model, "documents": "line"}
    whole = start(corpus, SMALL, **settings)
    list(train(whole))
    whole.save(tmp_path / "whole.npz")
    half = start(corpus, SMALL, **settings)
    for report in train(half):
        if report.step == 15:
            break
    half.save(tmp_path / "half.npz")
    resumed = load_run(tmp_path / "half.npz")
    resumed.use_corpus(corpus)
    list(train(resumed))
    resumed.save(tmp_path / "half.npz")
    assert (tmp_path / "half.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
