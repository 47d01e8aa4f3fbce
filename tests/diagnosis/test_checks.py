"""Right programs pass in every layout; wrong lines are named."""

import itertools

import numpy as np
import pytest
from diagnosis.programs import H, Style, V, build

from charlstm import check
from charlstm.diagnosis.checks import iter_results


def results_of(program, until="overfitting"):
    """Return the results by name, without the slowest check, which is the last."""
    return {result.name: result for result in itertools.takewhile(lambda each: each.name != until, iter_results(program))}


STYLES = [
    *(Style(order="".join(order)) for order in itertools.permutations("gifo")),
    *(
        Style(inputs=inputs, apart=apart, columns=columns, mean=columns, batch=batch)
        for inputs in (("hx", "b"), ("xh", "b"), ("x", "h", "b"), ("hxb",), ("bxh",))
        for apart in (False, True)
        for columns in (False, True)
        for batch in (False, True)
    ),
    Style(mean=True),
    Style(mean=True, batch=True),
    Style(dtype=np.float32),
    Style(dtype=np.float32, batch=True, mean=True),
    Style(dtype=np.float32, inputs=("x", "h", "b"), apart=True),
    Style(reads_globals=True),
]


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_right_program_passes_in_every_layout(style):
    results = results_of(build(style))
    assert [str(result) for result in results.values() if not result.passed] == []
    assert "recognized" in results["same as charlstm"].measured
