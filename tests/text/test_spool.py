"""Arrays in memory or on the disk: the same values, and clear errors."""

import io
import tracemalloc
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import CharlstmError, Corpus, corpus_from_text
from charlstm.config.settings import DataConfig
from charlstm.text import corpus as corpus_module
from charlstm.text import documents, spool
from charlstm.text.builder import CorpusBuilder
from charlstm.text.documents import split_documents
from charlstm.text.spool import Spool, is_mapped

POSTS = "".join(f"post {n % 37} of {n}: " + "äöü"[n % 3] * (n % 50) + "\n" for n in range(400))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything of more than 64 bytes go to the disk, and be read in small chunks."""
    monkeypatch.setattr(spool, "_IN_MEMORY", 64)
    monkeypatch.setattr(documents, "_SORTED", 50)
    for module in (spool, documents, corpus_module):
        monkeypatch.setattr(module, "_CHUNK", 50)


def build(text: str, kind: str, scratch: spool.OpenFile | None) -> Corpus:
    builder = CorpusBuilder(documents=kind, scratch=scratch)
    pieces = [text[k : k + 100] for k in range(0, len(text), 100)]
    for piece in pieces if kind == "none" else split_documents(pieces, kind):
        builder.add(piece)
        builder._flush()
    return builder.corpus()


@given(
    st.lists(st.lists(st.integers(0, 255), max_size=100), max_size=8),
    st.sampled_from(["u1", "u2", "u4"]),
    st.integers(0, 100),
)
def test_array_on_the_disk_is_that_in_memory(chunks, wide, in_memory):
    arrays = []
    table = np.random.default_rng(0).permutation(256).astype(wide)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "_IN_MEMORY", in_memory)
        patch.setattr(spool, "_CHUNK", 7)
        for open_file in (None, TemporaryFile):
            array = Spool(np.uint8, open_file)
            for n, chunk in enumerate(chunks):
                array.append(np.array(chunk, array.dtype))
                if n == 3:
                    array.translate(table)
            arrays.append(array.array())
    assert arrays[0].dtype == arrays[1].dtype
    assert np.array_equal(arrays[0], arrays[1])
    assert not is_mapped(arrays[0])
    if len(chunks) < 4:
        assert is_mapped(arrays[1][1:]) == (arrays[1].nbytes > in_memory)


@pytest.mark.parametrize("text", [POSTS, "".join(map(chr, range(0x4E00, 0x4E00 + 700))) + POSTS], ids=["1", "2"])
@pytest.mark.parametrize(("kind", "deduplicate"), [("none", False), ("line", False), ("line", True)])
@pytest.mark.parametrize("min_count", [1, 20])
def test_corpus_on_the_disk_is_that_in_memory(text, kind, deduplicate, min_count, tiny):
    data = DataConfig(documents=kind, deduplicate=deduplicate, min_count=min_count)
    small = build(text, kind, None).prepare(data)
    large = build(text, kind, TemporaryFile).prepare(data)
    assert is_mapped(large.train_ids)
    assert large.nbytes == 0
    assert large.vocab == small.vocab
    assert (large.vocab.counts == small.vocab.counts).all()
    assert (large.fingerprint, large.copies, large.val_documents) == (
        small.fingerprint,
        small.copies,
        small.val_documents,
    )
    for name in ("train_ids", "val_ids", "train_starts"):
        assert np.array_equal(getattr(large, name), getattr(small, name)), name


def test_small_corpus_opens_no_file():
    def fail() -> io.BytesIO:
        raise AssertionError

    assert build("to be, or not to be", "none", fail).text == "to be, or not to be"


def test_corpus_on_the_disk_can_be_read_in_another_vocabulary(tiny):
    text = POSTS + "☃"
    large, vocab = build(text, "none", TemporaryFile), corpus_from_text(POSTS).vocab
    ids, unknown = large.encode_with(vocab)
    assert (vocab.decode(ids), unknown) == (POSTS, 1)
    assert is_mapped(ids)
    assert large.mark_unknown(vocab)[-1] == len(vocab)


@pytest.mark.parametrize("failing", ["open", "write"])
def test_full_disk_is_reported(failing, tiny):
    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    def open_file() -> io.BytesIO:
        if failing == "open":
            raise OSError(28, "No space left on device")
        return Full()

    with pytest.raises(CharlstmError, match="could not be written to disk: No space left on device"):
        build(POSTS, "none", open_file)


def test_memory_for_documents_is_a_few_bytes_each(monkeypatch):
    monkeypatch.setattr(spool, "_IN_MEMORY", 1 << 12)
    monkeypatch.setattr(documents, "_SORTED", 1 << 14)
    for module in (spool, documents, corpus_module):
        monkeypatch.setattr(module, "_CHUNK", 1 << 12)
    count = 400_000
    corpus = build("once\n" + "again\n" * (count - 1), "line", TemporaryFile)
    tracemalloc.start()
    dataset = corpus.prepare(DataConfig(documents="line", val_fraction=0.1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (dataset.copies, dataset.example_copy) == (count - 2, "again")
    assert peak < 4 * count
