"""The browser that is on PATH, driven by playwright."""

import shutil
from contextlib import contextmanager

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@contextmanager
def real_browser():
    """It, or the test is skipped and says what is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser on PATH: none of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as driver:
        # a sandbox cannot be had in containers, and the pages are our own
        one = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield one
        one.close()
