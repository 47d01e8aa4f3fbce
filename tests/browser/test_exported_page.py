"""The exported page in a browser: it writes, can be steered, and computes what NumPy computes."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from browser_helpers import find_program, write
from helpers import SMALL, TEXT, begin, train_fully

from charlstm import LanguageModel, Run, corpus_from_text
from charlstm.export.page import make_page
from charlstm.network.dispatch import make_stepper
from charlstm.storage.weights import round_params

pytestmark = pytest.mark.browser
HOSTILE = "</script><script>pwned = 1</script>\"'&\u2028\u200f<img src=x onerror='pwned = 1'>"
LOGITS = """(ids) => {
    let { state } = model.begin();
    return ids.map((id) => { state = model.step(id, state); return Array.from(model.logits(state)); });
}"""


def text_of(page):
    return page.evaluate("tokens.map((token) => token.character).join('')")


# ---- writing


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_page_generates_on_load_and_fits_the_screen(scheme, size, open_page, trained):
    page = open_page(trained, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    assert len(text_of(page)) >= 40
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.inner_text("#status").startswith("Paused after")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_text_continues_what_is_typed(open_page, trained):
    page = open_page(trained)
    page.fill("#beginning", "3 times 3 ")
    page.click("button.main")
    write(page, 30)
    assert text_of(page).startswith("3 times 3 ")
    assert page.locator("#text .typed").count() == 10


def test_unknown_characters_are_skipped_and_listed(open_page, trained):
    page = open_page(trained)
    page.fill("#beginning", "3 ß€ times")
    page.click("button.main")
    write(page, 10)
    assert text_of(page).startswith("3  times")
    assert page.inner_text("#note") == "Not in the model’s vocabulary, skipped: “ß”, “€”"


def test_seed_determines_the_text(open_page, trained):
    texts = []
    for seed in (5, 5, 6):
        page = open_page(trained)
        page.fill("#seed", str(seed))
        page.click("button.main")
        write(page, 60)
        texts.append(text_of(page)[:60])
    assert texts[0] == texts[1] != texts[2]


def test_temperature_0_picks_the_most_likely_character(open_page, trained):
    page = open_page(trained)
    page.evaluate("document.getElementById('temperature').value = 0")
    page.click("button.main")
    write(page, 60)
    assert page.evaluate("tokens.every((token) => token.id === token.choices[0].id)")


def test_page_pauses_after_2000_characters(open_page, trained):
    page = open_page(trained)
    page.click("#pause")
    page.locator("#text span:nth-child(2000)").wait_for(state="attached")
    page.get_by_text("Paused after 2,000 characters").wait_for()


def test_clicking_generate_again_does_not_make_the_page_faster(open_page, trained):
    page = open_page(trained)
    page.evaluate("() => { frames = 0; const real = frame; frame = () => { frames++; real(); }; }")
    for _ in range(5):
        page.click("button.main")
    page.evaluate("() => new Promise((done) => { frames = 0; setTimeout(done, 1000); })")
    assert 0 < page.evaluate("frames") < 90  # 60 in a second


def test_typed_text_is_changed_as_the_corpus_was(open_page):
    run, _ = train_fully(SMALL.replace(steps=2, lowercase=True, normalize="NFC"), TEXT.lower() + "é" * 50)
    page = open_page(run)
    page.fill("#beginning", "TIMES e\u0301")
    page.click("button.main")
    write(page, 5)
    assert text_of(page).startswith("times é")


def test_text_without_newlines_never_starts_with_the_unknown_character(open_page):
    run = begin(SMALL.replace(hidden_size=3, min_count=3), "abba" * 100 + "xyz")
    page = open_page(run)
    assert page.evaluate("softmax(model.begin().logits)[model.unknown]") == 0
    assert page.evaluate("Array.from(tokens[0].choices, (choice) => choice.character)") == ["a", "b"]


def test_hidden_characters_are_shown_by_their_code(open_page):
    run = begin(SMALL.replace(hidden_size=3), "ab\u202e\ufeff" * 100)
    page = open_page(run, beginning="a\u202eb\ufeff")
    assert page.locator("#text .typed").all_inner_texts() == ["a", "U+202E", "b", "U+FEFF"]
    assert text_of(page).startswith("a\u202eb")


# ---- alternatives


def test_selecting_a_character_shows_alternatives(open_page, trained):
    page = open_page(trained)
    page.hover("#text span:nth-child(20)")
    assert page.locator("#menu button").count() == 5
    page.mouse.move(1, 1)
    page.keyboard.press("Escape")
    assert page.locator("#menu").is_hidden()
    page.click("#text span:nth-child(21)")
    assert page.locator("#menu").is_visible()
    p = page.evaluate("tokens[20].choices.map((choice) => choice.p)")
    assert p == sorted(p, reverse=True)


def test_picking_an_alternative_continues_from_it(open_page, trained):
    page = open_page(trained)
    before = text_of(page)
    page.click("#text span:nth-child(36)")
    wanted = page.evaluate("tokens[35].choices[2].character")
    page.click("#menu button:nth-of-type(3)")
    write(page, 50)
    after = text_of(page)
    assert after[:36] == before[:35] + wanted
    assert len(after) > 80
    assert page.locator("#text .chosen").count() == 1


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 70])
def test_rewinding_restores_the_state(n, open_page, trained):
    page = open_page(trained)
    write(page, 80)
    page.evaluate("(n) => { rewind(n); append(0, 'chosen'); }", n)
    ids = page.evaluate("tokens.map((token) => token.id)")
    assert len(ids) == n + 1
    fresh = page.evaluate(LOGITS, ids)[-1]
    assert page.evaluate("Array.from(now.logits)") == fresh
    assert page.evaluate("states.length") == n // 32 + 1


def test_page_works_with_the_keyboard_alone(open_page, trained):
    page = open_page(trained)
    page.focus("#text")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    last = page.evaluate("tokens.length")
    assert page.evaluate("place.current") == last - 2
    assert "Most likely: " in page.inner_text("#status")
    page.keyboard.press("2")
    assert page.inner_text("#status") == "Generating"
    page.keyboard.press(" ")
    assert page.inner_text("#status").startswith("Paused after")
    assert page.evaluate("document.activeElement.id") == "text"


def test_menu_is_on_the_screen_wherever_the_text_is_scrolled(open_page, trained):
    page = open_page(trained, viewport={"width": 390, "height": 700})
    write(page, 1500)
    page.focus("#text")
    for key in ("End", "Home", "ArrowRight", "End"):
        page.keyboard.press(key)
        box = page.locator("#menu").bounding_box()
        top = page.evaluate("scrollY")
        assert box is not None
        assert -1 <= box["y"] <= 700 - 20, (key, box, top)


def test_shortcuts_of_the_browser_are_left_alone(open_page, trained):
    page = open_page(trained)
    page.focus("#text")
    page.keyboard.press("ArrowLeft")
    before = text_of(page)
    page.keyboard.press("Control+1")
    assert text_of(page) == before


def test_keys_do_nothing_in_an_empty_text(open_page, trained):
    page = open_page(trained)
    page.evaluate("() => { restart(); pause(); }")
    page.focus("#text")
    for key in ("End", "Home", "ArrowLeft", "1", "Escape"):
        page.keyboard.press(key)
    assert page.locator("#menu").is_hidden()


def test_every_control_has_a_name(open_page, trained):
    page = open_page(trained)
    page.click("#text span:nth-child(5)")
    for role, names in {
        "textbox": ["Opening text"], "slider": ["Temperature"], "spinbutton": ["Seed"], "button": ["Generate", "Continue"],
    }.items():  # fmt: skip
        for name in names:
            assert page.get_by_role(role, name=name).count() == 1, (role, name)
    assert page.get_by_role("group", name="Most likely characters at this position").get_by_role("button").count() == 5


# ---- agreement with NumPy


def assert_same_logits(page, run: Run, text: str, weights="int8"):
    model = LanguageModel(run.model.network.copy(), run.model.vocab)
    model.network.params.update(round_params(run.model.network.params, weights))
    ids = run.model.vocab.encode(text)
    found = page.evaluate(LOGITS, ids.tolist())
    stepper, state = make_stepper(model.network, never=model.vocab.unknown_id), model.read().state
    for id, theirs in zip(ids, found, strict=True):
        logits, state = stepper.step(np.array([id]), state)
        np.testing.assert_allclose(theirs, logits[0], atol=1e-3)


@pytest.mark.parametrize("weights", ["int8", "float16", "float32"])
def test_logits_match_numpy(weights, open_page, trained):
    assert_same_logits(open_page(trained, weights=weights), trained, TEXT[:300], weights)


def test_two_layer_logits_match_numpy(open_page):
    run, _ = train_fully(SMALL.replace(num_layers=2, steps=30))
    assert_same_logits(open_page(run), run, TEXT[:100])


def test_documents_begin_and_end_at_boundaries(open_page):
    corpus = corpus_from_text("ab\nba\nbab\nab\nabab\n" * 30 + "x\n", "line")
    run = begin(SMALL.replace(hidden_size=5, min_count=3, documents="line"), corpus)
    page = open_page(run)
    assert_same_logits(page, run, "abba")
    boundary = run.model.vocab.boundary_id
    page.evaluate("(id) => append(id, 'drawn')", boundary)
    assert page.evaluate("Array.from(now.logits)") == page.evaluate("Array.from(model.begin().logits)")
    assert run.model.vocab.unknown_id not in page.evaluate("tokens.map((token) => token.id)")


# ---- untrusted checkpoints


def test_checkpoint_strings_are_not_parsed_as_html(open_page):
    run = begin(SMALL.replace(hidden_size=3), f"{HOSTILE}\n" * 200)
    page = open_page(run, title=HOSTILE, beginning=HOSTILE)
    write(page, 200)
    page.click("#text span:nth-child(3)")
    assert page.evaluate("typeof pwned") == "undefined"
    assert page.locator("img").count() == 0
    assert page.input_value("#beginning") == HOSTILE
    assert text_of(page).startswith(HOSTILE)


# ---- other browsers


class _Results(BaseHTTPRequestHandler):
    """Serves a page that computes, and receives what it has computed."""

    page, results = b"", []  # type: ignore[var-annotated]

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(self.page)

    def do_POST(self):
        self.results.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(204)
        self.end_headers()
        done.set()

    def log_message(self, format, *args):
        pass


done = threading.Event()
COMPUTE = """
const model = new Model(JSON.parse(document.getElementById("model").textContent)), random = new Random(7);
let { state, logits } = model.begin(), text = "";
for (let n = 0; n < 2000; n++) {
  const id = draw(softmax(logits, 0.9), random);
  text += model.characters[id];
  state = model.step(id, state);
  logits = model.logits(state);
}
fetch("/", { method: "POST", body: text + logits.join(" ") });
"""


def test_chromium_and_firefox_write_the_same_text(browser, trained):
    page = make_page(trained, "model")
    data = page[page.index('<script type="application/json"') : page.index("<script>")]
    script = (files("charlstm.export") / "model.js").read_text()
    _Results.page = f'<!DOCTYPE html><meta charset="utf-8">{data}<script>{script}{COMPUTE}</script>'.encode()
    _Results.results = []
    firefox = find_program("FIREFOX", "firefox-esr", "firefox")
    with HTTPServer(("127.0.0.1", 0), _Results) as server, TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        browser.new_page().goto(address)
        assert done.wait(60)
        done.clear()
        command = [firefox, "--headless", "--no-remote", "--profile", profile, address]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path(profile))
        try:
            assert done.wait(100)
        finally:
            process.terminate()
            process.wait(30)
            server.shutdown()
    assert len(_Results.results) == 2
    assert len(_Results.results[0]) > 2000
    assert _Results.results[0] == _Results.results[1]
