"""The operator's page as a person meets it: in a browser, over the real server."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright
from tests.fakes.operator import TOKEN, OperatorFigures, ServedPage, busy, served

from acore_bot.telemetry.events import Stages
from acore_bot.telemetry.figures import BreakerNow, SlowTurn

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
# What is not painted over stays transparent: count what differs from that.
PAINTED = """canvas => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, index) => index % 4 === 3 && value > 0).length;
}"""
DRAWN = "() => document.querySelector('canvas')?.toDataURL()"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
OVERHANG = "document.documentElement.scrollWidth - window.innerWidth"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM HERE: nothing of the operator's page was tried in a browser. "
    "Install the package `chromium`.",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that is open, and what it complained about or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, url: str) -> None:
        """Go there and wait until the page is told something."""
        self.page.goto(url)
        self.is_live()

    def is_live(self) -> None:
        """Wait until the page listens."""
        expect(self.page.get_by_role("status")).to_have_text("Live", timeout=20_000)

    def tile(self, term: str) -> Locator:
        """Find a figure by what stands over it."""
        heading = self.page.locator("dt").get_by_text(term, exact=True)
        return self.page.locator(".tile", has=heading).locator("dd").first


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """A desktop's window, in light."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US") as context:
        yield Visit(context.new_page())


@pytest.fixture
def served_page() -> Iterator[ServedPage]:
    """The page of a busy bot."""
    with served(busy()) as page:
        yield page


def test_it_loads_without_a_complaint_and_asks_nobody_else(
    visit: Visit, served_page: ServedPage
) -> None:
    """The console stays empty, and every request goes to the bot."""
    visit.open(served_page.url)
    expect(visit.tile("Open answers")).to_have_text("3")
    expect(visit.tile("In line")).to_have_text("2")
    expect(visit.tile("Uptime")).to_have_text("2 d 4 h")
    assert visit.complaints == []
    assert {url for url in visit.requests if not url.startswith(served_page.url)} == set()


def test_every_part_shows_its_figures(visit: Visit, served_page: ServedPage) -> None:
    """Providers, breakers, shards, models, errors, slow turns and the log are all there."""
    visit.open(served_page.url)
    for name, second_row in (
        ("providers", "openrouter01"),
        ("breakers", "openrouter/openai/gpt-5-minibeing tried"),
        ("shards", "1away\N{EN DASH}"),
        ("models", "openrouter/openai/gpt-5-mini1,5127771,120514,080196,56092.7$1.66"),
        ("errors", "rate limited2"),
    ):
        expect(visit.page.locator(f"#{name} tbody tr").nth(1)).to_have_text(second_row)
    expect(visit.page.locator("#slow tbody tr")).to_have_count(12)
    expect(visit.tile("Written")).to_have_text("48.3K")


def test_it_follows_the_bot(visit: Visit, served_page: ServedPage) -> None:
    """Figures, tables and charts change without a reload."""
    visit.open(served_page.url)
    saved = visit.page.locator(".chart", has_text="Saved calls").locator(".legend b").first
    before = int(saved.inner_text())

    def change(figures: OperatorFigures) -> None:
        newest = figures.minutes[-1]
        figures.minutes = (*figures.minutes[:-1], replace(newest, shared=newest.shared + 7))
        figures.set_now(open_answers=41, breakers=(BreakerNow("demo/script", "open"),))
        figures.batch = replace(figures.batch, dropped=5)

    served_page.refresh(change)
    expect(visit.tile("Open answers")).to_have_text("41")
    expect(visit.tile("Dropped")).to_have_text("5")
    expect(visit.page.locator("#breakers tbody")).to_have_text("demo/scriptleft alone")
    expect(saved).to_have_text(str(before + 7))


@pytest.mark.parametrize("hours", ["1", "6", "24"])
def test_charts_are_drawn_and_told_in_words(
    visit: Visit, served_page: ServedPage, hours: str
) -> None:
    """Each of the seven is painted, and its label says what it shows."""
    visit.open(served_page.url)
    visit.page.check(f"input[name=hours][value='{hours}']", force=True)
    plots = visit.page.get_by_role("img", name=re.compile("chart of the last"))
    expect(plots).to_have_count(7)
    for plot in plots.all():
        assert plot.locator("canvas").evaluate(PAINTED) > 2500
        label = plot.get_attribute("aria-label") or ""
        assert re.search(r"\d", label.partition(". ")[2]), label
        assert ("the last hour" if hours == "1" else f"the last {hours} hours") in label


def test_the_figures_in_all_are_of_the_chosen_span(visit: Visit, served_page: ServedPage) -> None:
    """They are of the last day at first; the keyboard can choose another span."""
    visit.open(served_page.url)
    expect(visit.tile("Turns")).to_have_text("5,400")
    visit.page.get_by_role("radio", name="Last day").focus()
    visit.page.keyboard.press("ArrowLeft")
    expect(visit.page.get_by_role("radio", name="Last hour")).to_be_checked()
    expect(visit.tile("Turns")).to_have_text("270")


def test_the_colours_follow_the_system(visit: Visit, served_page: ServedPage) -> None:
    """Light and dark, also while the page is open, with the charts."""
    visit.open(served_page.url)
    light, drawn_light = visit.page.evaluate(BACKGROUND), visit.page.evaluate(DRAWN)
    visit.page.emulate_media(color_scheme="dark")
    assert visit.page.evaluate(BACKGROUND) != light
    # The chart is made anew in the other colours, so it is asked for by the page, not held.
    visit.page.wait_for_function(f"was => ({DRAWN})() !== was", arg=drawn_light)
    assert visit.page.locator("canvas").first.evaluate(PAINTED) > 2500


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_it_fits_every_width(browser: Browser, served_page: ServedPage, width: int) -> None:
    """Nothing makes the page scroll sideways, from a telephone to a large screen."""
    with browser.new_context(viewport={"width": width, "height": 800}) as context:
        visit = Visit(context.new_page())
        visit.open(served_page.url)
        assert visit.page.evaluate(OVERHANG) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(visit: Visit, served_page: ServedPage, scheme: str) -> None:
    """Every colour of text has a contrast of 4.5 to its ground, and of a stage 3."""
    visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    visit.open(served_page.url)
    colours = visit.page.evaluate("""() => Object.fromEntries(
      [...document.styleSheets].flatMap(sheet => [...sheet.cssRules])
        .filter(rule => rule.selectorText === ':root').flatMap(rule => [...rule.style])
        .filter(name => name.startsWith('--'))
        .map(name => [name, getComputedStyle(document.documentElement).getPropertyValue(name)])
    )""")
    for ground in (colours["--surface"], colours["--ground"]):
        for name in ("--text", "--muted", "--accent", "--bad", "--warn"):
            assert contrast(colours[name], ground) >= 4.5, (name, ground)
    assert contrast(colours["--bad"], colours["--bad-soft"]) >= 4.5
    stages = [name for name in colours if name.startswith("--stage-")]
    assert len(stages) == 7
    for name in (*stages, "--good"):
        assert contrast(colours[name], colours["--surface"]) >= 2.9, name


def contrast(one: str, other: str) -> float:
    """Compute the contrast of two colours, `#rrggbb`, as the guidelines of the web define it."""
    lights = sorted(_luminance(colour) for colour in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour.strip()[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_new_bot_says_what_would_be_here(visit: Visit) -> None:
    """Nothing stays empty: every table and chart says a sentence instead."""
    with served(OperatorFigures()) as page:
        visit.open(page.url)
        for name in ("slow", "models"):
            expect(visit.page.locator(f"#{name} tbody")).to_have_text(
                "No turns yet. Say something to the bot."
            )
        for name in ("providers", "breakers", "shards", "errors"):
            expect(visit.page.locator(f"#{name} .empty")).to_contain_text("No ")
        assert all(text.endswith(".") for text in visit.page.locator(".nothing").all_inner_texts())
        assert visit.complaints == []


def test_names_are_text_and_nothing_else(visit: Visit) -> None:
    """What a model or a provider is called cannot become a part of the page."""
    name = "<img src=x onerror=alert(1)>"
    figures = OperatorFigures()
    figures.set_now(breakers=(BreakerNow(name, "open"),))
    figures.slow_turns = (
        SlowTurn(
            ended_at=figures.now.at,
            model=name,
            total_seconds=1.0,
            stages=Stages(),
            kind=name,
            stacks=(name,),
        ),
    )
    with served(figures) as page:
        visit.open(page.url)
        expect(visit.page.locator("#breakers td").first).to_have_text(name)
        expect(visit.page.locator("main img")).to_have_count(0)
        assert visit.complaints == []


def test_landmarks_and_captions_lead_the_way(visit: Visit, served_page: ServedPage) -> None:
    """Sections and tables have names, and the first stop of the keyboard leads past the bar."""
    visit.open(served_page.url)
    for name in ("Now", "Over time", "In all", "Slowest turns of the last day", "Log of events"):
        expect(visit.page.get_by_role("region", name=name, exact=True)).to_be_visible()
    expect(visit.page.locator("table")).to_have_count(6)
    expect(visit.page.locator("table > caption")).to_have_count(6)
    visit.page.keyboard.press("Tab")
    expect(visit.page.get_by_role("link", name="Skip to the figures")).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("main")).to_be_focused()


def test_a_lost_connection_is_told_and_heals(visit: Visit) -> None:
    """While the bot is away the page says so; when it is back, so are its figures."""
    figures = busy()
    with served(figures) as first:
        visit.open(first.url)
    expect(visit.page.get_by_role("status")).to_have_text("Connection lost. Trying again…")
    figures.set_now(open_answers=55)
    with served(figures, port=int(first.url.strip("/").rsplit(":", 1)[1])):
        visit.is_live()
        expect(visit.tile("Open answers")).to_have_text("55")


def test_signing_in(visit: Visit) -> None:
    """A wrong token is told; the right one opens the page, and is in no address and no script's
    reach."""
    with served(busy(), token=TOKEN) as page:
        visit.page.goto(page.url)
        visit.page.get_by_label("Token", exact=True).fill("not the token")
        visit.page.get_by_role("button", name="Sign in").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("That is not the token.")
        visit.page.get_by_label("Token", exact=True).fill(TOKEN)
        visit.page.get_by_role("button", name="Sign in").click()
        visit.is_live()
        assert visit.page.url == page.url
        assert visit.page.evaluate("document.cookie") == ""
        assert not [url for url in visit.requests if TOKEN.split()[0] in url.split("?")[1:]]
        assert all("401" in complaint for complaint in visit.complaints)
        visit.page.get_by_role("button", name="Sign out").click()
        expect(visit.page.get_by_label("Token", exact=True)).to_be_visible()
        visit.page.goto(page.url)
        expect(visit.page.get_by_label("Token", exact=True)).to_be_visible()


def test_who_is_no_longer_signed_in_is_asked_again(visit: Visit) -> None:
    """When the token was changed while the page was open, the form comes up by itself."""
    with served(busy(), token=TOKEN) as first:
        visit.page.goto(first.url)
        visit.page.get_by_label("Token", exact=True).fill(TOKEN)
        visit.page.get_by_role("button", name="Sign in").click()
        visit.is_live()
    port = int(first.url.strip("/").rsplit(":", 1)[1])
    with served(busy(), token="another, longer token", port=port):
        expect(visit.page.get_by_label("Token", exact=True)).to_be_visible(timeout=30_000)


def test_motion_is_reduced_where_it_is_unwanted(visit: Visit, served_page: ServedPage) -> None:
    """Nothing moves for those who asked for that."""
    visit.page.emulate_media(reduced_motion="reduce")
    visit.open(served_page.url)
    visit.page.evaluate("document.body.dataset.state = 'lost'")
    moving = "getComputedStyle(document.querySelector('main')).transitionDuration"
    assert visit.page.evaluate(moving) == "0s"


def test_the_files_that_came_from_elsewhere_carry_their_licence() -> None:
    """Whoever passes the package on passes on what its authors ask for."""
    folder = Path(__file__).parents[2] / "src/acore_bot/ops/page/static/vendor"
    assert "MIT License" in (folder / "LICENSE").read_text()
    version = re.search(r"uPlot (\S+),", (folder / "ABOUT.txt").read_text())
    assert version
    assert f"(v{version[1]})" in (folder / "uplot.js").read_text()[:200]
