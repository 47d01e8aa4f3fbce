"""The sums of the exam: right, many, and not to be found where the model learns."""

import runpy

import pytest
from conftest import ROOT

texts = runpy.run_path(str(ROOT / "data" / "make_addition.py"))["texts"]


def numbers_of(text: str, base: int) -> list[tuple[int, int]]:
    pairs = []
    for line in text.splitlines():
        a, b, sum_of_both = (int(number, base) for number in line.replace("=", "+").split("+"))
        assert a + b == sum_of_both, line
        pairs.append((a, b))
    return pairs


@pytest.mark.parametrize(("decimal", "base", "width"), [(False, 2, 28), (True, 10, 12)])
def test_no_sum_of_the_exam_is_learnt_from_in_either_order(decimal, base, width):
    text, exam = texts(1, decimal=decimal)
    assert {len(line) for line in (text + exam).splitlines(keepends=True)} == {width}
    pairs, asked = numbers_of(text, base), numbers_of(exam, base)
    learnt, validated = set(pairs[: len(pairs) * 9 // 10]), set(pairs[len(pairs) * 9 // 10 :])
    assert len(learnt) > 10_000
    assert len(asked) == len(set(asked)) > 1_000
    seen = learnt | {(b, a) for a, b in learnt}
    assert not seen & set(asked)
    assert not seen & validated
    assert not validated & set(asked)


def test_the_seed_decides():
    assert texts(1, decimal=False) == texts(1, decimal=False) != texts(2, decimal=False)
