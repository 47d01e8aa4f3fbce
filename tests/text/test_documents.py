"""Documents: where texts are cut, which documents are copies, and which are held out."""

import hashlib
import itertools
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charlstm import CharlstmError, Config, Corpus, UsageError, corpus_from_text, read_corpus
from charlstm.config.settings import DataConfig
from charlstm.text.builder import CorpusBuilder
from charlstm.text.documents import END, choose_held_out, end_of, find_copies, split_documents

LINES = "".join(f"post number {n} of some\n" for n in range(1000))


def documents_of(corpus: Corpus) -> list[str]:
    assert corpus.starts is not None
    return [corpus.document(n) for n in range(len(corpus.starts) - 1)]


def split(pieces, how) -> list[str]:
    """Return the documents of some pieces, without empty ones."""
    *found, rest = "".join(split_documents(pieces, how)).split(end_of(how))
    assert not rest
    return list(filter(None, found))


# ---- cuts


@pytest.mark.parametrize(
    ("text", "how", "expected"),
    [
        ("a\nb\n\nc", "line", ["a", "b", "c"]),
        ("a\r\nb\r\n", "line", ["a", "b"]),
        ("a\nb\n\nc\n", "blank-line", ["a\nb", "c"]),
        ("\n\n a\n \t\n\n b\n \n", "blank-line", [" a", " b"]),
        ("a\n\nb\n", "file", ["a\n\nb"]),
        ("a\n\n", "file", ["a\n"]),
        ("\n\n", "line", []),
    ],
)
def test_separators_are_not_part_of_a_document_and_empty_ones_are_dropped(text, how, expected):
    assert documents_of(corpus_from_text(text, how)) == expected


@given(st.lists(st.text("ab \t\n", max_size=6), max_size=8), st.sampled_from(["line", "blank-line", "file"]))
def test_pieces_of_a_text_give_the_documents_of_the_whole(pieces, how):
    assert split(pieces, how) == split(["".join(pieces)], how)


@given(st.text("ab \t\n", max_size=40))
def test_documents_joined_by_blank_lines_are_read_again(text):
    documents = split([text], "blank-line")
    assert split(["\n\n".join(documents)], "blank-line") == documents


def test_ends_of_rows_are_ends_of_documents_and_otherwise_newlines():
    rows = ["two\n\nparts", END, "", END, "last", END]
    assert split(rows, "row") == ["two\n\nparts", "last"]
    assert split(rows, "line") == ["two", "parts", "last"]


def test_ids_have_the_boundary_before_each_document_and_after_the_last():
    corpus = corpus_from_text("ab\nb\n", "line")
    assert corpus.ids.tolist() == [2, 0, 1, 2, 1, 2]
    assert corpus.vocab.boundary_id == 2
    assert corpus.vocab.characters == "ab"
    assert corpus.vocab.counts.tolist() == [1, 2, 2]
    assert corpus.vocab.decode(corpus.ids) == "abb"
    assert corpus.text == "ab\nb\n"
    assert (corpus.chars, corpus.fingerprint.chars) == (3, 3)


def test_boundary_counts_among_the_ids_that_must_fit_into_a_byte():
    text = "".join(chr(0x1000 + k) for k in range(256))
    assert corpus_from_text(text).ids.itemsize == 1
    corpus = corpus_from_text(text, "file")
    assert corpus.ids.itemsize == 2
    assert documents_of(corpus) == [text]


def test_surrogate_that_marks_the_end_of_a_document_is_replaced_in_text():
    text = f"a{END}b"
    assert documents_of(corpus_from_text(text, "line")) == ["a\ufffdb"]
    assert corpus_from_text(text).text == text


@given(st.lists(st.text("ab\né", max_size=6), max_size=8))
def test_builder_drops_empty_documents_however_they_arrive(pieces):
    builder = CorpusBuilder(documents="line")
    for piece in split_documents(pieces, "line"):
        builder.add(piece)
        builder._flush()
    assert documents_of(builder.corpus()) == list(filter(None, "".join(pieces).split("\n")))


def test_fingerprint_has_a_byte_ff_after_each_document():
    assert corpus_from_text("é\nb", "line").fingerprint.sha256 == hashlib.sha256(b"\xc3\xa9\xffb\xff").hexdigest()
    assert corpus_from_text("éb", "line").fingerprint != corpus_from_text("é\nb", "line").fingerprint


def test_fingerprint_and_ids_do_not_depend_on_how_the_text_arrives(tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.text.builder._CHUNK", 100)
    monkeypatch.setattr("charlstm.text.decoding._CHUNK", 33)
    (tmp_path / "lines.txt").write_text(LINES)
    read, whole = read_corpus(tmp_path / "lines.txt", documents="line"), corpus_from_text(LINES, "line")
    assert read.fingerprint == whole.fingerprint
    assert documents_of(read) == documents_of(whole) == LINES.splitlines()


def test_files_are_documents(tmp_path):
    for name, text in (("a.txt", "one\n\n1"), ("b.txt", "two\n")):
        (tmp_path / name).write_text(text)
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    assert documents_of(read_corpus(files, documents="file")) == ["one\n\n1", "two"]
    assert documents_of(read_corpus(files, documents="line")) == ["one", "1", "two"]


def test_posts_of_an_outbox_do_not_end_with_a_newline(tmp_path):
    posts = [{"object": {"content": f"<p>{text}</p>"}} for text in ("one</p><p>and more", "two")]
    (tmp_path / "outbox.json").write_text(json.dumps({"orderedItems": posts}))
    assert documents_of(read_corpus(tmp_path / "outbox.json", documents="row")) == ["one\n\nand more", "two"]


def test_text_without_rows_cannot_be_read_as_rows(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(UsageError, match=r"documents: .*a\.txt has no rows; choose line"):
        read_corpus(tmp_path / "a.txt", documents="row")


def test_rare_characters_are_merged_within_documents():
    merged = corpus_from_text("aab\naac\n", "line").merge_rare(2)
    assert merged.vocab.characters == "a\ufffd"
    assert (merged.vocab.unknown_id, merged.vocab.boundary_id) == (1, 2)
    assert merged.vocab.counts.tolist() == [4, 2, 2]
    assert merged.ids.tolist() == [2, 0, 0, 1, 2, 0, 0, 1, 2]


def test_corpus_translates_to_the_ids_of_another_vocabulary():
    corpus, vocab = corpus_from_text("ab\nc\n", "line"), corpus_from_text("zab", "file").vocab
    assert corpus.encode_with(vocab)[0].tolist() == [3, 0, 1, 3, 3]
    assert corpus.mark_unknown(vocab).tolist() == [3, 0, 1, 3, 4, 3]
    with pytest.raises(CharlstmError, match="read it with documents"):
        corpus.mark_unknown(corpus_from_text("abc").vocab)


# ---- copies


def test_equal_documents_and_only_these_share_a_hash(monkeypatch):
    texts = ["ab", "ba", "ab", "a", "aa", "b", "abc", "a", "ab" * 40, "ab" * 41, "ab" * 40]
    hashes = corpus_from_text("\n".join(texts), "line").document_hashes
    assert len(set(hashes.tolist())) == len(set(texts))
    assert find_copies(hashes).tolist() == [text in texts[:n] for n, text in enumerate(texts)]
    monkeypatch.setattr("charlstm.text.documents._CHUNK", 7)
    assert np.array_equal(corpus_from_text("\n".join(texts), "line").document_hashes, hashes)


def test_hash_of_a_document_does_not_depend_on_the_vocabulary():
    alone, among = (corpus_from_text(text, "line").document_hashes for text in ("bc", "xyz\nbc\naq"))
    assert alone[0] == among[1]


def test_later_copies_are_dropped_and_their_characters_not_counted():
    corpus = corpus_from_text("ab\nb\nab\nb\nb\n", "line")
    dropped = corpus.drop_copies()
    assert documents_of(dropped) == ["ab", "b"]
    assert dropped.vocab.counts.tolist() == [1, 2, 2]
    assert dropped.fingerprint == corpus.fingerprint


def test_copies_are_counted_before_they_are_dropped():
    corpus = corpus_from_text("ab\nb\nab\nb\nb\n", "line")
    for deduplicate in (False, True):
        dataset = corpus.prepare(DataConfig(documents="line", deduplicate=deduplicate, val_fraction=0))
        assert (dataset.copies, dataset.example_copy, dataset.deduplicate) == (3, "ab", deduplicate)
        assert len(dataset.train_ids) == (6 if deduplicate else 13)


def test_deduplicate_needs_documents():
    with pytest.raises(UsageError, match="deduplicate: needs separate documents"):
        corpus_from_text("ab").prepare(DataConfig(deduplicate=True))


# ---- validation


def parts_of(dataset) -> tuple[list[str], list[str]]:
    decoded = (dataset.vocab.decode(ids, "\n").split("\n") for ids in (dataset.train_ids, dataset.val_ids))
    first, second = (list(filter(None, lines)) for lines in decoded)
    return first, second


def test_whole_documents_are_held_out_spread_over_the_corpus():
    dataset = corpus_from_text(LINES, "line").split(0.1)
    train, val = parts_of(dataset)
    assert sorted(train + val) == sorted(LINES.splitlines())
    assert len(val) == pytest.approx(100, abs=2)
    numbers = [int(line.split()[2]) for line in val]
    assert numbers == sorted(numbers)
    assert all(any(k <= n < k + 250 for n in numbers) for k in range(0, 1000, 250))
    for ids in (dataset.train_ids, dataset.val_ids):
        assert ids[0] == ids[-1] == dataset.vocab.boundary_id


def test_more_documents_hardly_change_which_are_held_out():
    _, before = parts_of(corpus_from_text(LINES, "line").split(0.1))
    _, after = parts_of(corpus_from_text("ΑΒΓ new\n" + LINES, "line").split(0.1))
    assert len(set(before) ^ set(after)) <= 4


def test_copies_are_on_the_same_side():
    train, val = parts_of(corpus_from_text(LINES * 3, "line").split(0.2))
    assert val
    assert not set(train) & set(val)


def starts_of(lengths) -> np.ndarray:
    return np.cumsum([0, *lengths])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@example([1], 0.1)
@example([5, 5, 5, 5], 0.9)
def test_something_is_left_to_train_on(lengths, fraction):
    hashes = np.arange(len(lengths), dtype=np.uint64) // 2
    held_out = choose_held_out(hashes, starts_of(lengths), fraction)
    assert not held_out.all()
    assert fraction or not held_out.any()


def test_one_of_a_few_documents_is_held_out():
    assert np.count_nonzero(choose_held_out(np.arange(3, dtype=np.uint64), starts_of([5, 5, 5]), 0.1)) == 1


def test_document_that_exceeds_the_fraction_is_left_for_training():
    for lengths in ([900, *[1] * 100], [*[1] * 100, 900]):
        held_out = choose_held_out(np.arange(101, dtype=np.uint64), starts_of(lengths), 0.05)
        assert np.count_nonzero(held_out) == 50


def test_carry_around_cannot_be_used_with_documents():
    with pytest.raises(UsageError, match="carry_around: cannot be used with documents"):
        Config().replace(documents="line", carry_around=True)


def test_long_runs_of_newlines_are_read_in_linear_time():
    assert split(itertools.repeat("\n" * 1000, 1000), "blank-line") == []


POSTS = ["to be, or not to be", 'she said "no",\ntwice', "ünd"]


def write_as(kind: str, folder: Path) -> Path:
    """Write the posts as one file, or as a directory with a file for each."""
    path = folder / kind
    if kind == "posts.csv":
        quoted = ('"' + post.replace('"', '""') + '"' for post in POSTS)
        path.write_text("id,text\n" + "".join(f"{n},{post}\n" for n, post in enumerate(quoted)), "utf-8")
    elif kind == "posts.jsonl":
        path.write_text("".join(json.dumps({"id": n, "text": post}) + "\n" for n, post in enumerate(POSTS)), "utf-8")
    elif kind == "posts.zip":
        with zipfile.ZipFile(path, "w") as archive:
            for n, post in enumerate(POSTS):
                archive.writestr(f"{n}.txt", post + "\n")
    elif kind == "posts.txt":
        path.write_text("\n\n".join(POSTS), "utf-8")
    else:
        path.mkdir()
        for n, post in enumerate(POSTS):
            (path / f"{n}.txt").write_text(post + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    ("kind", "documents", "field"),
    [
        ("posts.csv", "row", "text"),
        ("posts.jsonl", "row", "text"),
        ("posts.zip", "file", None),
        ("posts", "file", None),
        ("posts.txt", "blank-line", None),
    ],
)
def test_same_documents_come_from_every_kind_of_corpus(kind, documents, field, tmp_path):
    corpus = read_corpus(write_as(kind, tmp_path), documents=documents, field=field)
    assert [corpus.document(n) for n in range(len(POSTS))] == POSTS
    assert corpus.fingerprint == corpus_from_text("\n\n".join(POSTS), "blank-line").fingerprint


def test_rows_are_lines_where_documents_are_lines(tmp_path):
    path = write_as("posts.csv", tmp_path)
    corpus = read_corpus(path, documents="line", field="text")
    assert corpus.text == "".join(post + "\n" for post in POSTS)
