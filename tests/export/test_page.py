"""The exported page as a file: valid, self-contained, and safe whatever the checkpoint holds."""

import base64
import hashlib
import json
import re
from importlib.resources import files

import html5lib
import numpy as np
import pytest
from helpers import SMALL, begin

from charlstm import LanguageModel, corpus_from_text, start
from charlstm.export.page import make_page, measure_rounding

HOSTILE = "</script><script>alert(1)</script>\"'&\u2028\u2029\u200f<!--"


def embedded(page: str) -> str:
    """Return the JSON of the model in a page."""
    found = re.search(r'<script type="application/json" id="model">(.*?)</script>', page, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("title", ["model", HOSTILE])
def test_page_is_valid_html(title, trained):
    html5lib.HTMLParser(strict=True).parse(make_page(trained, title, beginning=title))


def test_page_loads_nothing_from_elsewhere(trained):
    page = make_page(trained, "model")
    markup = page.replace(embedded(page), "")
    assert not re.findall(r"https?:|src=|@import|url\(|fetch\(|XMLHttpRequest|WebSocket", markup)


def test_policy_allows_only_the_script_and_style_of_the_page(trained):
    page = make_page(trained, HOSTILE, beginning=HOSTILE)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_checkpoint_strings_cannot_close_the_script(trained):
    page = make_page(trained, HOSTILE, beginning=HOSTILE)
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.findall("[<>&\u2028\u2029]", embedded(page))
    assert "\u200f" not in page.split("</title>")[0]


def test_page_holds_the_rounded_weights(trained):
    params = json.loads(embedded(make_page(trained, "model")))["params"]
    w_h = params["layer0.w_h"]
    values = np.frombuffer(base64.b64decode(w_h["data"]), "i1").reshape(w_h["shape"])
    scale = np.frombuffer(base64.b64decode(w_h["scale"]), "<f4")
    exact = trained.model.network.params["layer0.w_h"]
    assert (np.abs(values * scale[:, None] - exact) <= 0.501 * scale[:, None]).all()
    assert params["b_out"]["type"] == "float32"


@pytest.mark.parametrize(("units", "megabytes"), [(256, 1), (512, 2)])
def test_page_is_small(units, megabytes):
    corpus = corpus_from_text("".join(map(chr, range(32, 132))) * 3)  # 100 characters
    page = make_page(start(corpus, hidden_size=units, steps=1), "model")
    assert len(page.encode()) < megabytes * 1e6


def test_script_is_short_enough_to_read():
    lines = sum(len((files("charlstm.export") / name).read_text().splitlines()) for name in ("model.js", "page.js"))
    assert lines <= 400


@pytest.mark.parametrize(("weights", "largest"), [("float32", 0), ("float16", 1e-4), ("int8", 2e-3)])
def test_rounding_loss_is_small_and_not_negative(weights, largest, trained):
    assert 0 <= measure_rounding(trained.model, weights) <= largest + 1e-12


def test_outliers_increase_the_measure_rounding(trained):
    """A row with one huge weight rounds all others to zero."""
    model: LanguageModel = trained.model.copy()
    model.network.params["layer0.w_h"][:, 0] += 1000 * np.sign(model.network.params["layer0.w_h"][:, 0])
    model.network.params["w_out"][:, 0] = 0
    assert measure_rounding(model, "int8") > measure_rounding(trained.model, "int8")


def test_page_supports_documents_and_unknown_characters(tmp_path):
    corpus = corpus_from_text("ab\nba\nbab\nab\nabab\n" * 30 + "x\n", "line")
    run = begin(SMALL.replace(hidden_size=3, min_count=3, documents="line"), corpus)
    model = json.loads(embedded(make_page(run, "model")))
    assert model["boundary"] == len(model["characters"])
    assert measure_rounding(run.model, "int8") >= 0
