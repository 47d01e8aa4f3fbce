"""Text as ids: exactly, in little memory, and split in two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlstm import Corpus, corpus_from_text
from charlstm.text.builder import CorpusBuilder, convert_newlines


def text_of(corpus: Corpus) -> str:
    return corpus.vocab.decode(corpus.ids)


@given(st.text(min_size=1))
def test_every_text_decodes_to_itself_with_lf_line_endings(text):
    corpus = corpus_from_text(text)
    assert text_of(corpus) == convert_newlines(text)
    assert corpus.vocab.code_points.tolist() == sorted(set(map(ord, convert_newlines(text))))
    assert corpus.vocab.counts.sum() == len(corpus.ids)


@given(st.text("a\r\n"))
def test_no_carriage_return_is_left_and_every_line_ending_becomes_one_newline(text):
    converted = convert_newlines(text)
    assert "\r" not in converted
    assert converted.count("\n") == text.count("\n") + text.count("\r") - text.count("\r\n")


@given(st.lists(st.text("ab☃\U0010ffff", max_size=9), min_size=1, max_size=6).filter(any))
def test_text_added_in_pieces_gives_the_same_corpus(pieces):
    builder = CorpusBuilder()
    for count, piece in enumerate(pieces, 1):
        builder.add(piece)
        assert builder.length == len("".join(pieces[:count]))
    corpus, expected = builder.corpus(), corpus_from_text("".join(pieces))
    assert corpus.ids.tolist() == expected.ids.tolist()
    assert corpus.vocab.counts.tolist() == expected.vocab.counts.tolist()
    assert (corpus.vocab, corpus.fingerprint) == (expected.vocab, expected.fingerprint)


@pytest.mark.parametrize(("size", "itemsize"), [(1, 1), (256, 1), (257, 2), (65536, 2), (65537, 4)])
def test_ids_have_the_narrowest_type(size, itemsize):
    text = "".join(chr(0x1000 + k) for k in range(size + 2048) if not 0xD800 <= 0x1000 + k < 0xE000)[:size] * 2
    corpus = corpus_from_text(text)
    assert len(corpus.vocab) == size
    assert corpus.ids.itemsize == corpus.vocab.id_type.itemsize == itemsize
    assert text_of(corpus) == text


# ---- fingerprint


def test_same_text_has_the_same_fingerprint_whatever_its_line_endings():
    assert corpus_from_text("a\r\nb").fingerprint == corpus_from_text("a\nb").fingerprint
    assert corpus_from_text("a\nb").fingerprint != corpus_from_text("a\n b").fingerprint


def test_fingerprint_is_the_length_and_the_sha256_of_the_utf8_text():
    fingerprint = corpus_from_text("abc").fingerprint
    assert fingerprint.chars == 3
    assert fingerprint.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2


# ---- split


def test_the_last_part_is_held_out_for_validation():
    dataset = corpus_from_text("abcdefghij").split(0.3)
    assert (dataset.train_ids.tolist(), dataset.val_ids.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])


def test_no_validation_part_without_a_fraction():
    dataset = corpus_from_text("abc").split(0)
    assert (len(dataset.train_ids), len(dataset.val_ids)) == (3, 0)


def test_the_parts_share_the_memory_of_the_corpus():
    corpus = corpus_from_text("abcdefghij")
    dataset = corpus.split(0.3)
    assert dataset.train_ids.base is dataset.val_ids.base is not None
    assert dataset.nbytes == corpus.ids.nbytes


def test_dataset_keeps_what_identifies_the_corpus():
    corpus = corpus_from_text("abcdefghij")
    dataset = corpus.split(0.3)
    assert (dataset.vocab, dataset.fingerprint, dataset.val_fraction) == (corpus.vocab, corpus.fingerprint, 0.3)


def test_repr_gives_sizes_instead_of_text():
    corpus = corpus_from_text("ab" * 1000)
    assert repr(corpus) == "Corpus(2,000 characters, 2 distinct)"
    assert repr(corpus.split(0.1)) == "Dataset(1,800 + 200 characters, 2 distinct)"


# ---- rare characters


@given(st.text("abcdefé☃🙂\ufffd", max_size=40), st.integers(1, 6))
def test_rare_characters_become_the_unknown_one(text, min_count):
    corpus = corpus_from_text(text)
    merged = corpus.merge_rare(min_count)
    kept = {c for c in text if text.count(c) >= min_count and (min_count == 1 or c != "\ufffd")}
    expected = "".join(c if c in kept else "\ufffd" for c in text)
    assert text_of(merged) == expected
    assert merged.fingerprint == corpus.fingerprint
    assert merged.ids.dtype == merged.vocab.id_type
    assert merged.vocab.counts.tolist() == corpus_from_text(expected).vocab.counts.tolist()
    assert (merged.vocab.unknown_id is not None) == (min_count > 1 and "\ufffd" in expected)
    assert merged.merge_rare(min_count).vocab == merged.vocab


def test_merging_narrows_the_ids():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) + "ab" * 50
    assert corpus_from_text(text).ids.itemsize == 2
    assert corpus_from_text(text).merge_rare(2).ids.itemsize == 1


def test_corpus_without_rare_characters_is_not_copied():
    corpus = corpus_from_text("abab")
    assert corpus.merge_rare(2) is corpus


def test_dataset_records_how_its_corpus_was_made():
    dataset = corpus_from_text("ababc").merge_rare(2).split(0.2)
    assert (dataset.min_count, dataset.normalize, dataset.val_fraction) == (2, "none", 0.2)


def test_encoding_with_an_unknown_character_loses_nothing_and_counts_unknown_ones():
    vocab = corpus_from_text("ababc").merge_rare(2).vocab
    ids, unknown = corpus_from_text("a☃bc\ufffd").encode_with(vocab)
    assert (vocab.decode(ids), unknown) == ("a\ufffdb\ufffd\ufffd", 3)
    ids, unknown = corpus_from_text("ababc").merge_rare(2).encode_with(vocab)
    assert (vocab.decode(ids), unknown) == ("abab\ufffd", 1)


def test_marked_text_has_the_unknown_character_where_there_is_one():
    plain, merged = corpus_from_text("ab"), corpus_from_text("ababc").merge_rare(2)
    assert corpus_from_text("a☃b").mark_unknown(plain.vocab).tolist() == [0, 2, 1]
    assert merged.vocab.decode(corpus_from_text("a☃b").mark_unknown(merged.vocab)) == "a\ufffdb"


# ---- another vocabulary


def test_encoding_with_another_vocabulary_leaves_out_unknown_characters_and_counts_them():
    ids, unknown = corpus_from_text("cab!c?").encode_with(corpus_from_text("abc").vocab)
    assert (ids.tolist(), unknown) == ([2, 0, 1, 2], 2)


def test_encoding_with_a_larger_vocabulary_loses_nothing():
    vocab = corpus_from_text("abcd").vocab
    ids, unknown = corpus_from_text("db").encode_with(vocab)
    assert (vocab.decode(ids), unknown) == ("db", 0)


def test_encoding_with_the_same_vocabulary_copies_nothing():
    corpus = corpus_from_text("cab")
    assert corpus.encode_with(corpus_from_text("abc").vocab)[0] is corpus.ids
