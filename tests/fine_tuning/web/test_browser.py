"""The page in headless Chromium: a request typed, a diagram seen, a hostile answer harmless, the runs followed."""

import json
import time

import pytest
from chromium import CHROMIUM, Chromium
from page_helpers import CHAIN, COLOURS, FakeModel, line, page

from diagram import parse
from diagram.draw import png
from fine_tuning.web.answering import SECONDS_BETWEEN_DRAWINGS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the page with")

ASK = "document.getElementById('request').focus()"
ANSWERED = "document.querySelectorAll('.answer').length"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    browser.size(1200, 850)
    yield browser
    browser.close()


@pytest.fixture(autouse=True)
def no_errors(request, browser):
    """Nothing on the page is blocked or goes wrong."""
    browser.errors.clear()
    yield
    browser.send("Page.navigate", url="about:blank")  # no page goes on asking a server that has ended
    assert browser.errors == []


def ask(browser, address: str, words: str) -> None:
    browser.open(address)
    browser.run(ASK)
    browser.type(words)
    browser.press("Enter")


def picture(browser, selector: str) -> dict:
    """The size of a picture that is shown, and how many different colours it has."""
    return browser.run(
        f"""(async () => {{
          const image = document.querySelector("{selector}");
          await image.decode();
          const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
          const pen = canvas.getContext("2d");
          pen.drawImage(image, 0, 0);
          const pixels = new Uint32Array(pen.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
          return {{ width: canvas.width, height: canvas.height, colours: new Set(pixels).size }};
        }})()"""
    )


def test_a_request_is_typed_and_a_diagram_is_seen_growing_and_whole(browser):
    with page(FakeModel(pause=SECONDS_BETWEEN_DRAWINGS / 3)) as server:
        ask(browser, server.address, "a chain of four circles")
        browser.until("document.querySelector('#live img').naturalWidth > 0 && !document.getElementById('live').hidden")
        growing = picture(browser, "#live img")
        browser.until(ANSWERED)
        whole = picture(browser, ".answer img")
        assert growing["colours"] > 2 and growing["width"] < whole["width"] and whole["colours"] > 2
        assert browser.run("document.querySelector('.answer pre').textContent") == CHAIN
        assert browser.run("document.querySelector('.checks').textContent") == "No flaws found."
        assert browser.run("document.getElementById('live').hidden && document.getElementById('stop').hidden")


def test_an_example_is_asked_with_one_click(browser):
    model = FakeModel()
    with page(model, {"adapter": "models/orpo", "examples": ["a chain", "<b>two</b> -> three"]}) as server:
        browser.open(server.address)
        browser.until("document.querySelectorAll('#examples button').length")
        browser.run("document.querySelectorAll('#examples button')[1].click()")
        browser.until(ANSWERED)
        assert [asked.request for asked in model.asked] == ["<b>two</b> -> three"]


def test_the_page_can_be_used_with_the_keyboard_alone(browser):
    with page(FakeModel(pause=0.3)) as server:
        browser.open(server.address)
        focus = "document.activeElement.id || document.activeElement.tagName"
        order = []
        for _ in range(4):
            browser.press("Tab")
            order.append(browser.run(focus))
        assert order == ["tab-ask", "request", "draw", "SUMMARY"]
        browser.run(ASK)
        browser.type("two")
        browser.press("Enter", modifiers=8)  # with Shift: a new line
        browser.type("lines")
        assert browser.run("document.getElementById('request').value") == "two\nlines"
        browser.press("Enter")
        browser.until("!document.getElementById('stop').hidden")
        browser.press("Escape")
        assert browser.run(STATUS) == "Stopped"
        browser.run("document.getElementById('tab-ask').focus()")
        browser.press("ArrowRight")
        assert browser.run("document.activeElement.id") == "tab-runs" and browser.run("location.hash") == "#runs"
        assert browser.run("document.getElementById('ask').hidden && !document.getElementById('runs').hidden")


def test_a_new_request_replaces_the_one_that_is_at_work(browser):
    model = FakeModel(pause=0.5)
    with page(model) as server:
        ask(browser, server.address, "first")
        browser.until("!document.getElementById('live').hidden")
        model.pause = 0
        browser.run("document.getElementById('request').value = 'second'; document.getElementById('draw').click()")
        browser.until(ANSWERED)
        assert [asked.request for asked in model.asked] == ["first", "second"] and model.most_at_once == 1


@pytest.mark.parametrize(
    ("words", "said"), [(" ", "The request is empty. Say what to draw."), ("too long", "The prompt")]
)
def test_a_mistake_is_shown_in_words(browser, words, said):
    with page(FakeModel()) as server:
        ask(browser, server.address, words)
        browser.until(f"{STATUS}.startsWith({json.dumps(said)})")
        assert browser.run("document.getElementById('status').classList.contains('bad')")


def test_without_an_adapter_the_page_says_what_to_run(browser):
    problem = "there is no adapter of step 1. Run it first: python fine_tuning/sft_fine_tuning.py"
    with page(FakeModel(problem=problem), {"problem": problem}) as server:
        browser.open(server.address)
        browser.until(f"document.getElementById('problem').textContent === {json.dumps(problem)}")


HOSTILE = "\n".join(
    [
        line(0, 500, 300),
        f"[1, '<script>document.title=1</script>', 700, 300, 'circle', 90, 90, 'solid arrow', {COLOURS}, []]",
        "<script>document.title = 'broken'</script>",
        "</pre></svg><img src=x onerror=\"document.title='broken'\"><svg onload=\"document.title='broken'\">",
        "<a href=\"javascript:document.title='broken'\">'quotes'</a>",
        "[" * 100_000,
    ]
)


def test_a_hostile_answer_is_harmless_text(browser):
    with page(
        FakeModel(texts=[HOSTILE, f"{HOSTILE}\n{HOSTILE}"]), {"examples": ["</button><script>alert(1)"]}
    ) as server:
        ask(browser, server.address, "<script>document.title = 'broken'</script>")
        browser.run("document.getElementById('top').value = '3'; document.getElementById('draw').click()")
        browser.until(f"{ANSWERED} === 2")
        assert browser.run("document.querySelector('.answer pre').textContent") == HOSTILE
        time.sleep(0.3)  # a script would need a moment
        assert browser.run("document.title") == "Text to diagram"
        assert (
            browser.run(
                "document.querySelectorAll('main script, main svg, main iframe, main [onerror], [href^=blob]').length"
            )
            == 0
        )
        assert browser.run("[...document.images].every((image) => image.src.startsWith('blob:') || !image.src)")
        assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert picture(browser, ".answer img")["colours"] > 2


STEPS = [
    {"number": 1, "name": "SFT", "command": "a", "state": "done", "lines": ["Loss: <b>0.1</b>"], "share": None,
     "seconds ago": 7200, "log": "log/a.md", "pictures": {"plot": "runs/1/plot.png?1"}},
    {"number": 2, "name": "Samples", "command": "python b.py", "state": "none"},
]  # fmt: skip


def test_the_runs_are_followed_while_a_step_is_at_work(browser):
    steps = [dict(step) for step in STEPS]
    with page(FakeModel(), None, lambda: {"steps": steps}, lambda number, kind: png(parse(CHAIN))) as server:
        browser.open(f"{server.address}#runs")
        browser.until("document.querySelectorAll('.step').length === 2 && document.images.length")
        first, second = browser.run("[...document.querySelectorAll('.step')].map((step) => step.innerText)")
        assert "Finished 2 h ago" in first and "Loss: <b>0.1</b>" in first and "python b.py" in second
        assert picture(browser, ".step img")["colours"] > 2
        steps[1] |= {
            "state": "at work",
            "lines": ["Sampling: 30 of 60"],
            "share": 0.5,
            "seconds ago": 3,
            "log": "log/b.md",
        }
        browser.until("document.querySelectorAll('.step')[1].innerText.includes('Sampling: 30 of 60')")
        assert browser.run("document.querySelectorAll('.step progress')[1].value") == 0.5


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_fits_a_phone_and_a_desk_in_both_colour_schemes(browser, width, is_dark):
    try:
        browser.size(width, 800, is_dark)
        with page(FakeModel(texts=[CHAIN, CHAIN.replace("100, 300", "100, 200")])) as server:
            browser.open(server.address)
            browser.run("document.getElementById('top').value = '3'; document.getElementById('options').open = true")
            browser.run(ASK)
            browser.type("a" * 300)
            browser.press("Enter")
            browser.until(ANSWERED)
            assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            ink, paper = browser.run(
                "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"
            )
            assert (brightness(ink) > brightness(paper)) is is_dark
    finally:
        browser.size(1200, 850)


def brightness(colour: str) -> int:
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(", ")))
