"""Browsers, and pages that write."""

import os
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page


def find_program(variable: str, *names: str) -> str:
    """Return the path of a program: of an environment variable, or the first that is installed."""
    found = os.environ.get(variable) or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail(f"none of {', '.join(names)} is installed; {variable} can name its path")
    return found


def write(page: "Page", chars: int) -> None:
    """Let a page write until it has some characters more, then pause it."""
    if page.inner_text("#pause") != "Pause":
        page.click("#pause")
    page.locator(f"#text span:nth-child({page.locator('#text span').count() + chars})").wait_for(state="attached")
    if page.inner_text("#pause") == "Pause":
        page.click("#pause")
