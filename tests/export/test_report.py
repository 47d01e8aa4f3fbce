"""The report and the curves as files: valid, self-contained, and safe whatever the checkpoint and the text hold."""

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ElementTree

import html5lib
import pytest
from helpers import SMALL, TEXT, begin

from charlstm import corpus_from_text
from charlstm.export.assets import digest
from charlstm.export.curves import draw_curves
from charlstm.export.report import make_report

HOSTILE = "</pre><script>alert(1)</script>\"'&\u2028\u200f<!--\x1b[31m"


@pytest.mark.parametrize("title", ["model", HOSTILE])
@pytest.mark.parametrize("text", ["", TEXT[-3000:], HOSTILE, "\n\n a\tb\n" * 50])
def test_report_is_valid_html_without_a_script(title, text, trained):
    page = make_report(trained, title, text, {"6-gram": 1.5, HOSTILE: 2.0})
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<script" not in page
    assert not re.findall("[\x1b\u2028\u200f]", page)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)|src=|@import|url\(|style=", page)


def test_report_of_a_hostile_corpus_is_valid():
    run = begin(SMALL.replace(hidden_size=3), f"{HOSTILE}\n" * 200)
    page = make_report(run, "model", f"{HOSTILE}\n" * 20)
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<script" not in page


def test_policy_allows_only_the_styles_of_the_report(trained):
    page = make_report(trained, "model")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")
    for style in re.findall("<style>(.*?)</style>", page, re.DOTALL):
        assert digest(style) in policy[1]


def test_report_has_its_sections(trained):
    page = make_report(trained, "model", TEXT[-3000:], {"6-gram": 1.5})
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "Learning curve", "Samples", "Surprise", "Units", "Gates", "Settings",
    ]  # fmt: skip
    assert "6-gram 2.164" in page
    assert page.count("Temperature ") == 3
    assert len(page.encode()) < 3e6


def test_the_same_run_gives_the_same_report(trained):
    assert make_report(trained, "model") == make_report(trained, "model")


def test_report_supports_documents_without_evaluations():
    corpus = corpus_from_text("ab\nba\nbab\nab\nabab\n" * 30 + "x\n", "line")
    run = begin(SMALL.replace(hidden_size=3, min_count=3, documents="line"), corpus)
    page = make_report(run, "model", "ab\nba\n")
    html5lib.HTMLParser(strict=True).parse(page)
    assert "<h2>Learning curve</h2>" not in page


# ---- curves


def points_of(svg, kind):
    found = re.search(rf'class="{kind}" stroke="[^"]*" d="M([^"]*)"', svg)
    assert found
    return [tuple(map(float, point.split())) for point in found[1].split("L")]


@pytest.mark.parametrize("axis", ["chars", "epoch", "step"])
def test_curves_are_valid_svg_and_fall_with_the_loss(axis, trained):
    svg = draw_curves({"a": trained.history}, axis)
    ElementTree.fromstring(svg)
    points = points_of(svg, "validation")
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[-1][1] > points[0][1]  # further down


def test_names_are_escaped_and_do_not_overlap(trained):
    svg = draw_curves({f"<{k}> &": trained.history for k in range(5)}, baselines={"6-gram": 1.5, "xz": 1.51})
    root = ElementTree.fromstring(svg)
    labels = [each for each in root.iter() if each.get("x") == "608"]
    heights = sorted(float(each.get("y", "")) for each in labels)
    assert {"<0> &", "<4> &", "6-gram"} <= {each.text for each in labels}
    assert all(below - above >= 13.9 for above, below in itertools.pairwise(heights))

    assert heights[-1] < 400


def test_many_labels_stay_inside_the_picture(trained):
    svg = draw_curves({f"a run with a long name {k}": trained.history for k in range(20)})
    labels = [each for each in ElementTree.fromstring(svg).iter() if each.get("x") == "608"]
    assert len(labels) == 20
    assert all(-5 < float(each.get("y", "")) < 400 for each in labels)
    assert all(len(each.text or "") <= 16 for each in labels)


def test_run_without_validation_is_labelled_at_its_training_curve(trained):
    history = [dataclasses.replace(entry, val_loss=None) for entry in trained.history]
    svg = draw_curves({"a": history, "b": trained.history})
    assert ">a</text>" in svg


@pytest.mark.parametrize("losses", [[], [None], [float("inf")], [1.7e308]])
def test_curves_of_runs_without_losses_are_empty(losses, trained):
    history = [dataclasses.replace(trained.history[0], val_loss=loss, train_loss=loss) for loss in losses]
    svg = draw_curves({"a": history})
    ElementTree.fromstring(svg)
    assert 'class="validation"' not in svg


@pytest.mark.parametrize("loss", [0.0, 1e-300, 1e5, 1e16])
@pytest.mark.parametrize("epoch", [0.0, 5e-324, 1e300])
def test_curves_of_any_numbers_are_drawn(loss, epoch, trained):
    history = [dataclasses.replace(trained.history[0], val_loss=loss, train_loss=2 * loss, epoch=epoch)] * 2
    svg = draw_curves({"a": history}, "epoch")
    ElementTree.fromstring(svg)
    assert "nan" not in svg


def test_spaces_of_other_scripts_are_shown_as_they_are(trained):
    page = make_report(trained, "model", "1 times\u30002 is\u00a02.\n" * 30)
    assert "\\u3000" not in page


def test_settings_have_their_defaults_and_whole_meanings(trained):
    page = make_report(trained, "model")
    assert f"<td>hidden_size</td><td>{trained.config.model.hidden_size}</td><td>256</td>" in page
    assert "<td>momentum</td><td>0</td><td></td><td>Momentum for SGD; 0.9 is typical.</td>" in page
    assert f"The run read its training text {trained.history[-1].epoch:,.1f} times, with " in page
