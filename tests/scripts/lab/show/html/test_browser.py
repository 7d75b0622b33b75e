"""The page in a real browser."""

import json

import pytest

from scripts.report import main
from tests.scripts.lab.show.html.figures import require_figures
from tests.scripts.lab.show.html.reading import read
from tests.support.browsers import LAPTOP, PHONE, real_browser


@pytest.fixture(scope="module")
def browser():
    with real_browser() as one:
        yield one


@pytest.fixture
def opened(browser, translation, language_model, embeddings, skip_gram, tmp_path):
    """Opens the page of all records; what the browser complained of must be nothing."""
    paths = []
    for i, record in enumerate((translation, language_model, embeddings, skip_gram)):
        paths.append(tmp_path / f"record-{i}.json")
        paths[-1].write_text(json.dumps(record))
    out = tmp_path / "page.html"
    complaints = []

    def open_page(viewport, scheme="light", records=paths):
        main([*map(str, records), "--out", str(out)])
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: complaints.append(request.url) if request.url != out.as_uri() else None,
        )
        page.goto(out.as_uri())
        return page

    yield open_page
    assert complaints == []


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_no_sideways_scrolling(opened, viewport):
    page = opened(viewport)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert widths[0] <= widths[1] == viewport["width"]


def test_pictures_are_drawn_where_they_can_be_read(opened):
    page = opened(PHONE)
    for box in page.evaluate(
        "[...document.querySelectorAll('svg.chart')].map(s => s.getBoundingClientRect().toJSON())"
    ):
        assert 300 < box["width"] <= PHONE["width"] and box["height"] > 80
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) > 8


def test_first_screen_holds_the_finding(opened, tmp_path):
    page = opened(LAPTOP, records=[tmp_path / "record-0.json"])
    box = page.get_by_text("of the parameters of none").first.bounding_box()
    assert box["y"] + box["height"] < LAPTOP["height"]


def test_dark_follows_the_reader(opened):
    def ground(scheme):
        page = opened(LAPTOP, scheme)
        return page.evaluate("getComputedStyle(document.body).backgroundColor"), page

    light, _ = ground("light")
    dark, page = ground("dark")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 23, 27)")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_print_shows_what_is_folded(opened):
    page = opened(LAPTOP)
    page.emulate_media(media="print")
    heights = page.evaluate(
        "[...document.querySelectorAll('details pre')].map(p => p.offsetHeight)"
    )
    assert heights and min(heights) > 10
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize(
    "number", range(4), ids=["translation", "language model", "embeddings", "skip-gram"]
)
def test_figures_as_the_browser_has_them(opened, number, tmp_path):
    path = tmp_path / f"record-{number}.json"
    html = opened(LAPTOP, records=[path]).content()
    require_figures(read(html), html, json.loads(path.read_text()))
