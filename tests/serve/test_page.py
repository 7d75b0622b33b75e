"""The page in a real browser."""

import re

import pytest

from tests.serve.conftest import HOSTILE
from tests.support.browsers import LAPTOP, PHONE, real_browser


@pytest.fixture(scope="module")
def browser():
    with real_browser() as one:
        yield one


@pytest.fixture
def opened(browser, server):
    """Opens the page; the browser must complain of nothing, and ask nobody else."""
    from playwright.sync_api import expect  # is there, where the browser is

    complaints = []

    def open_page(viewport=LAPTOP, scheme="light"):
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((server.url, "data:"))
                else complaints.append(asked.url)
            ),
        )
        page.goto(server.url)
        # a function to wait for would be evaluated, which the page forbids
        expect(page).to_have_title(re.compile("→"))
        return page

    yield open_page
    assert complaints == []


def test_by_keyboard_alone(opened, translator):
    page = opened()
    page.keyboard.type("w3 w7 dog.")  # the text has the focus
    page.keyboard.press("Enter")
    best = page.locator(".best")
    best.wait_for()
    (expected,) = translator.translate(["w3 w7 dog."], nbest=3, details=True)
    assert best.inner_text().startswith(expected[0].text)
    assert page.locator("#answer li").count() == len(expected) - 1
    rows = page.locator("#attention tbody tr")
    assert rows.count() == len(expected[0].units) + 1
    assert page.locator("#attention thead th").all_inner_texts() == [
        *("w3", "w7", "d@@", "og", "."),
        "end",
    ]
    shown = [int(text or 0) for text in rows.first.locator("td").all_inner_texts()]
    assert shown == [round(100 * weight) for weight in expected[0].attention[0]]
    page.locator("#attention thead button").first.focus()
    page.keyboard.press("Enter")
    page.locator(".cards li").first.wait_for()
    assert page.locator("#word").input_value() == "w3"
    assert page.locator(".cards h3").all_inner_texts() == ["S (de and en)"]
    assert page.locator(".cards li").count() == 10


def test_what_looks_like_markup_is_shown_as_text(opened):
    page = opened()
    page.fill("#word", HOSTILE)
    page.press("#word", "Enter")
    page.locator(".cards li").first.wait_for()
    assert HOSTILE in page.locator(".cards").inner_text()
    page.fill("#text", f"w1 {HOSTILE} w2")
    page.press("#text", "Enter")
    page.locator(".best").wait_for()
    assert page.locator("img").count() == 0
    assert "hacked" not in page.title()


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_no_sideways_scrolling(opened, viewport):
    page = opened(viewport)
    page.fill("#text", "w1 " * 60)
    page.press("#text", "Enter")
    page.locator(".best").wait_for()
    page.fill("#word", "w1")
    page.press("#word", "Enter")
    page.locator(".cards li").first.wait_for()
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == viewport["width"]


def test_dark_follows_the_reader(opened):
    def ground(scheme):
        page = opened(scheme=scheme)
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert (ground("light"), ground("dark")) == ("rgb(255, 255, 255)", "rgb(21, 23, 27)")


def test_what_goes_wrong_is_said_on_the_page(browser, server):
    page = browser.new_page()
    page.goto(server.url)
    page.fill("#text", "w1")
    page.route("**/api/translate", lambda route: route.fulfill(status=503, json={"error": "busy"}))
    page.press("#text", "Enter")
    fault = page.locator("#answer .fault")
    fault.wait_for()
    assert fault.inner_text() == "busy"
    page.route("**/api/translate", lambda route: route.abort())
    page.press("#text", "Enter")
    page.get_by_text("is it still running?").wait_for()
    page.close()
