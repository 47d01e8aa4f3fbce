"""The addition exam: correct sums, none of which the model has seen in training."""

import runpy

import pytest
from helpers import ROOT

texts = runpy.run_path(str(ROOT / "data" / "make_addition.py"))["texts"]


def pairs_of(text: str, base: int) -> list[tuple[int, int]]:
    """Return the numbers added in each line, after checking their sum."""
    pairs = []
    for line in text.splitlines():
        a, b, total = (int(number, base) for number in line.replace("=", "+").split("+"))
        assert a + b == total, line
        pairs.append((a, b))
    return pairs


@pytest.mark.parametrize(("decimal", "base", "width"), [(False, 2, 28), (True, 10, 12)])
def test_exam_sums_occur_in_training_in_neither_order(decimal, base, width):
    text, exam = texts(1, decimal=decimal)
    assert {len(line) for line in (text + exam).splitlines(keepends=True)} == {width}
    pairs, asked = pairs_of(text, base), pairs_of(exam, base)
    trained, validated = set(pairs[: len(pairs) * 9 // 10]), set(pairs[len(pairs) * 9 // 10 :])
    assert len(trained) > 10_000
    assert len(asked) == len(set(asked)) > 1_000
    seen = trained | {(b, a) for a, b in trained}
    assert not seen & set(asked)
    assert not seen & validated
    assert not validated & set(asked)


def test_seed_determines_the_texts():
    assert texts(1, decimal=False) == texts(1, decimal=False) != texts(2, decimal=False)
