"""A headless browser, and pages in it. The tests need Chromium and Firefox; `make browser` runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser_helpers import find_program, write

from charlstm import Run
from charlstm.export.page import make_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    path = find_program("CHROMIUM", "chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: "Browser", tmp_path: Path) -> Iterator[OpenPage]:
    """Open the page of a run, paused after it has written some text; check at the end that nothing went wrong in it."""
    contexts, problems = [], []

    def open_run(run: Run, title: str = "model", beginning: str = "", weights: Any = "int8", **context: Any) -> "Page":
        path = tmp_path / "page.html"
        path.write_text(make_page(run, title, weights, beginning), encoding="utf-8")
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.goto(path.as_uri())
        write(page, 40)
        return page

    yield open_run
    for context in contexts:
        context.close()
    assert problems == []
