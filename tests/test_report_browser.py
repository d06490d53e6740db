"""The page in headless Chromium. Debian: apt-get install chromium chromium-driver."""

from __future__ import annotations

import json
import os
import shutil
import time
from itertools import pairwise

import numpy as np
import pytest

import aliascope as al
from ablation_runs import made_ablation, moved
from aliascope.report import write_page
from aliascope.runs.ablation import Ablation
from aliascope.runs.effects import effects
from aliascope.runs.store import Store
from aliascope.runs.words import in_a_sentence
from energy_runs import energy_run
from report_runs import hostile_run, small_runs

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
if not (BROWSER and DRIVER):
    pytest.skip("chromium and chromedriver are not installed", allow_module_level=True)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage"
)


MANY = {
    f"backbone.stages.{i // 14}.blocks.{i % 14}.a_long_name.conv": ((2, 2), (2, 16, 16))
    for i in range(55)
}
"""Sites of a large network."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return small_runs(tmp_path_factory.getbasetemp() / "report")


@pytest.fixture(scope="module")
def pages(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for name, run in runs.items():
        found[name] = write_page(al.load(run), folder / f"{name}.html")
    energy_run(Store(folder / "energy_only"), groups=("energy",))
    found["energy_only"] = write_page(al.load(folder / "energy_only"), folder / "energy_only.html")
    found["shifts"] = write_page(moved(), folder / "shifts.html")
    energy_run(Store(folder / "many"), sites=MANY, groups=("energy", "categories"), n=2)
    found["many"] = write_page(
        al.load(folder / "many"),
        folder / "many.html",
        compare=[al.compare(folder / "many", folder / "many")],
    )
    energy_run(Store(folder / "energy"))
    found["energy"] = write_page(al.load(folder / "energy"), folder / "energy.html")
    made_ablation(Store(folder / "ablation"), doses=(0.0, 0.5, 1.0))
    moved().save(folder / "ablation")
    found["ablation"] = write_page(al.load(folder / "ablation"), folder / "ablation.html")
    hostile_run(Store(folder / "hostile"))
    found["hostile"] = write_page(al.load(folder / "hostile"), folder / "hostile.html")
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    os.environ["no_proxy"] = "localhost,127.0.0.1"  # the driver is reached through localhost
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, pages):
    """Open a page afresh, at a width, in light or dark; check its logs when the test is over."""

    def go(name, width=1280, scheme="light", height=900, link=""):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get("about:blank")
        for kind in ("browser", "performance"):
            browser.get_log(kind)
        browser.get(pages[name].as_uri() + link)
        return browser

    yield go
    assert browser.get_log("browser") == []
    requested = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    own = {page.as_uri() for page in pages.values()}
    assert [
        url for url in requested if not url.startswith("data:") and url.split("#")[0] not in own
    ] == []


def source(browser, panel):
    return browser.find_element(By.CSS_SELECTOR, f"[data-panel={panel}]").get_attribute("src")


@pytest.mark.parametrize("name", ["folds", "attacked", "hostile"])
def test_every_picture_of_a_page_loads_without_error_or_request(opened, name):
    browser = opened(name)
    loaded = browser.execute_script(
        "return [...document.images].map((image) => image.complete && image.naturalWidth > 0)"
    )
    assert loaded and all(loaded)


def test_choosing_a_channel_a_site_or_an_image_changes_the_map(opened):
    browser = opened("folds")
    pictures = ("map", "dense", "spectrum")
    # The maps of two images of noise may be the same; the images themselves are not.
    changing = {"channel": pictures, "site": pictures, "sample": ("image", "dense", "spectrum")}
    for select, panels in changing.items():
        before = {panel: source(browser, panel) for panel in panels}
        status = browser.find_element(By.ID, "explorer-status").text
        box = Select(browser.find_element(By.ID, select))
        at = [option.is_selected() for option in box.options].index(True)
        box.select_by_index((at + 1) % len(box.options))
        for panel, url in before.items():
            assert source(browser, panel) != url, (select, panel)
        assert browser.find_element(By.ID, "explorer-status").text != status


def test_the_percentages_beside_a_map_are_those_of_the_run(opened, runs):
    browser = opened("folds")
    for name in ("sample", "site", "channel"):
        Select(browser.find_element(By.ID, name)).select_by_index(1)
    measurement = al.load(runs["folds"])
    site = list(measurement.sites["name"])[1]
    chosen = Select(browser.find_element(By.ID, "channel")).first_selected_option.text
    category = measurement.category_map(site, 1)[int(chosen.split(" ")[0])]
    for number, key in enumerate(("no_pass", "non_aliased", "aliased", "tangled")):
        shown = browser.find_element(By.CSS_SELECTOR, f"[data-share={key}]").text
        assert abs(float(shown.split()[0]) - 100 * (category == number).mean()) <= 0.05 + 1e-9
        alt = browser.find_element(By.CSS_SELECTOR, "[data-panel=map]").get_attribute("alt")
        assert shown.split()[0] in alt


def test_categories_stand_in_their_order_and_the_floor_below_what_it_is_of(opened, runs):
    browser = opened("energy")
    parts = browser.execute_script(
        "return [...document.querySelectorAll('#site-bars rect[data-key]')].map((part) =>"
        " [part.y.baseVal.value, part.x.baseVal.value, part.width.baseVal.value, part.dataset.key])"
    )
    order = ["no_pass", "non_aliased", "aliased", "tangled"]
    end = max(x + width for _, x, width, _ in parts)
    for y in {y for y, *_ in parts}:
        bar = sorted(part[1:] for part in parts if part[0] == y)
        assert [key for *_, key in bar] == [key for key in order if key in {k for *_, k in bar}]
        assert bar[-1][0] + bar[-1][1] == pytest.approx(end, abs=0.1)
    floors = browser.execute_script(
        "return [...document.querySelectorAll('[data-floor]')].map((each) =>"
        " each.x.baseVal.value + each.width.baseVal.value)"
    )
    assert floors and floors == pytest.approx([end] * len(floors), abs=0.1)


def marked(browser):
    return browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-point]')]"
        ".map((c) => [c.dataset.point, [c.cx.baseVal.value, c.cy.baseVal.value]]))"
    )


def bars(browser):
    return browser.execute_script(
        "return [...document.querySelectorAll('#attack-bars rect')]"
        ".map((bar) => bar.width.baseVal.value)"
    )


def test_the_slider_moves_the_point_and_changes_the_numbers_and_the_bars(opened, runs):
    browser = opened("attacked")
    measurement = al.load(runs["attacked"])
    slider = browser.find_element(By.ID, "eps")
    points, numbers, widths = [], [], []
    for place, condition in enumerate(measurement.conditions):
        eps = condition.get("eps")
        if place:
            slider.send_keys(Keys.ARROW_RIGHT)
        points.append(marked(browser))
        numbers.append(browser.find_element(By.ID, "attack-numbers").text)
        widths.append(bars(browser))
        assert browser.find_element(By.ID, "eps-value").text == f"{eps:g}"
        assert slider.get_attribute("aria-valuetext") == f"ε = {eps:g}"
        fractions = measurement.at(condition).fractions(by="sample")
        median = (fractions["aliased"] + fractions["tangled"]).median()
        assert f"{100 * median:.1f}" in numbers[-1]
        title = browser.find_element(By.ID, "attack-sites-title").text
        assert title == f"Sites at ε = {eps:g}"
    across = [point["harmed"][0] for point in points]
    assert across == sorted(across) and len(set(across)) == 3
    assert set(points[0]) >= {"top1", "harmed"}
    assert len({json.dumps(point) for point in points}) == 3
    assert numbers[0] != numbers[2] and widths[0] != widths[2]


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        *((name, (375, 320)) for name in ("folds", "attacked", "hostile", "energy", "ablation")),
        *((name, (400,)) for name in ("many", "energy_only", "shifts")),
    ],
)
def test_a_narrow_page_does_not_scroll_sideways(opened, name, widths):
    for width in widths:
        does_not_scroll_sideways(opened(name, width=width), width)


def does_not_scroll_sideways(browser, width):
    unfold = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
    browser.execute_script(unfold)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg') "
        "&& e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def column(browser, name, place):
    return browser.execute_script(
        "return [...document.querySelectorAll(`table[data-table=${arguments[0]}] tbody tr`)]"
        ".map((row) => row.children[arguments[1]].firstChild.textContent)",
        *(name, place),
    )


def test_a_table_is_sorted_by_its_heads_and_a_link_keeps_the_order(opened):
    browser = opened("energy")
    browser.find_element(By.CSS_SELECTOR, "#energy-table summary").click()
    heads = browser.find_elements(By.CSS_SELECTOR, "table[data-table=energy] thead button")
    by_size = next(head for head in heads if head.text.startswith("Dense signal"))
    orders, states = [column(browser, "energy", 0)], []
    for key in (Keys.ENTER, Keys.SPACE, Keys.ENTER):
        by_size.send_keys(key)
        states.append(by_size.find_element(By.XPATH, "..").get_attribute("aria-sort"))
        orders.append(column(browser, "energy", 0))
    # The last two rows are the means of the rates, which stay where they are.
    run, means = orders[0][:-2], orders[0][-2:]
    down = [run[0], run[4], run[1], run[2], run[3]]
    assert orders == [run + means, down + means, down[::-1] + means, run + means]
    assert states == ["descending", "ascending", None]
    by_size.click()
    again = opened("energy", link="#" + browser.current_url.partition("#")[2])
    assert column(again, "energy", 0) == down + means
    assert again.find_element(By.CSS_SELECTOR, "#energy-table details").get_attribute("open")
    again.find_element(By.CSS_SELECTOR, "a[href='#ring']").click()
    kept = "return location.hash.startsWith('#ring?') && location.hash.includes('sort-energy')"
    deadline = time.monotonic() + 5
    while not again.execute_script(kept) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert again.execute_script(kept)


def test_a_link_restores_what_was_looked_at(opened):
    browser = opened("folds")
    for name, place in (("sample", 3), ("site", 1), ("channel", 2)):
        Select(browser.find_element(By.ID, name)).select_by_index(place)
    status = browser.find_element(By.ID, "explorer-status").text
    link = "#" + browser.current_url.partition("#")[2]
    assert link.startswith("#explorer?")
    again = opened("folds", link=link)
    assert again.find_element(By.ID, "explorer-status").text == status
    assert again.execute_script("return scrollY") > 500
    strange = opened("folds", link="#explorer?site=no%20such&image=99&channel=x&sort-sites=y,z")
    assert strange.find_element(By.ID, "explorer-status").text

    attacked = opened("attacked")
    attacked.find_element(By.ID, "eps").send_keys(Keys.ARROW_RIGHT)
    title = attacked.find_element(By.ID, "attack-sites-title").text
    again = opened("attacked", link="#" + attacked.current_url.partition("#")[2])
    assert again.find_element(By.ID, "attack-sites-title").text == title != "Sites at ε = 0"


def test_a_page_of_little_has_the_sections_of_what_there_is(opened):
    titles = "return [...document.querySelectorAll('main h2')].map((e) => e.textContent)"
    for name, middle in (("energy_only", "How much aliases"), ("shifts", "Shift consistency")):
        browser = opened(name)
        assert browser.execute_script(titles) == ["In short", middle, "How the numbers came about"]
        assert browser.find_element(By.ID, "missing").text.count("al") >= 2


def test_the_ring_stays_beside_55_sites_that_scroll_by_themselves(opened):
    browser = opened("many", width=1400)
    figure, table = (
        browser.execute_script("return arguments[0].getBoundingClientRect()", element)
        for element in (
            browser.find_element(By.ID, "ring-figure"),
            browser.find_element(By.CSS_SELECTOR, "#ring-sites .scroll"),
        )
    )
    assert figure["right"] <= table["left"] and table["height"] < 720
    assert len(column(browser, "network", 1)) == 55
    assert len(set(column(browser, "network", 1))) == 55


def test_a_print_cuts_no_column_and_unfolds_what_is_folded(opened):
    browser = opened("many", width=700)
    media = "Emulation.setEmulatedMedia"
    browser.execute_cdp_cmd(media, {"media": "print", "features": []})
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    cut = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('svg') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"
    )
    folded = browser.find_elements(By.CSS_SELECTOR, "details:not([open])")
    drawings = browser.execute_script(
        "return [...document.querySelectorAll('main svg[role=img]')]"
        ".map((e) => e.getBoundingClientRect().height)"
    )
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    browser.execute_cdp_cmd(media, {"media": "", "features": []})
    assert cut == [] and folded == []
    assert len(drawings) > 5 and max(drawings) < 1000  # an A4 page between its margins
    assert browser.find_elements(By.CSS_SELECTOR, "details:not([open])")


def test_energy_floor_and_thresholds_are_drawn_where_they_were_measured(opened):
    browser = opened("energy")
    measurement = al.load(browser.current_url.removeprefix("file://").removesuffix(".html"))
    table = measurement.energy()["aliased_energy"]
    places = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-energy]')]"
        ".map((each) => [each.dataset.energy, each.cx.baseVal.value]))"
    )
    assert set(places) == {*table.index, "2×2", "4×4"}
    width = browser.execute_script(
        "return document.querySelector('#energy-bars svg').width.baseVal.value"
    )
    for name, value in table.items():
        assert abs(places[name] - (8 + value * (width - 16))) < 0.01
    count = "return document.querySelectorAll(arguments[0]).length"
    assert browser.execute_script(count, "[data-floor]") == 5
    assert browser.execute_script(count, "[data-threshold]") == 6
    tiles = browser.find_element(By.ID, "energy-tiles").text
    assert f"{100 * measurement.energy('overall')['aliased_energy'].iloc[0]:.1f}" in tiles


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_an_ablations_marks_stand_where_its_numbers_say(opened, width, scheme):
    browser = opened("ablation", width=width, scheme=scheme)
    found = Ablation.load(browser.current_url.removeprefix("file://").removesuffix(".html"))
    changes = effects(found)["change"]
    marks = browser.execute_script(
        "return [...document.querySelectorAll('[data-effect]')].map((e) =>"
        "[e.dataset.stage, e.dataset.effect, Number(e.dataset.x)])"
    )
    drawn = [(stage, name) for stage, name, _ in marks]
    assert set(drawn) == {key for key in changes.index if key[1] != "gain"}
    x, change = [place for *_, place in marks], [changes[key] for key in drawn]
    slope, offset = np.polyfit(change, x, 1)
    assert slope > 50 and np.allclose(np.polyval((slope, offset), change), x, atol=0.01)
    held = browser.execute_script(
        "return Object.fromEntries([...document.querySelectorAll('[data-control]')]"
        ".map((e) => [e.dataset.control, e.x1.baseVal.value]))"
    )
    for stage in found.targets:
        assert abs(held[stage] - (slope * changes[stage, "gain"] + offset)) < 0.01
    titles = "return [...document.querySelectorAll('main h2')].map((e) => e.textContent)"
    assert browser.execute_script(titles) == [
        *("In short", "How much aliases", "Does it matter?", "Shift consistency"),
        "How the numbers came about",
    ]
    assert browser.find_element(By.ID, "ablation-said").text == in_a_sentence(found)
    count = "return document.querySelectorAll(arguments[0]).length"
    for selector, number in {"[data-dose]": 18, "[data-shade]": 2, "[data-distance]": 1}.items():
        assert browser.execute_script(count, selector) == number, selector


def test_charts_are_drawn_anew_when_the_width_changes(opened):
    browser = opened("attacked")
    widths = []
    for width in (1280, 375):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        deadline = time.monotonic() + 5
        find = "return document.querySelector('#site-bars svg').width.baseVal.value"
        while (now := browser.execute_script(find)) > width and time.monotonic() < deadline:
            time.sleep(0.05)
        widths.append(now)
    assert widths[0] > 800 and widths[1] < 375


def test_the_keyboard_reaches_every_control_and_works_it(opened):
    browser = opened("attacked")
    reached = []
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("id") or element.tag_name)
        visible = browser.execute_script(
            "const s = getComputedStyle(document.activeElement);"
            "return s.outlineStyle !== 'none' || document.activeElement.matches('.skip')"
        )
        assert visible or element.tag_name == "body", reached
        if reached[-1] == "channel":
            break
    order = [name for name in reached if name in ("eps", "sample", "site", "channel")]
    assert order == ["eps", "sample", "site", "channel"] and "summary" in reached
    before = browser.find_element(By.ID, "explorer-status").text
    channel = Select(browser.switch_to.active_element)
    first = channel.options[0].is_selected()
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN if first else Keys.ARROW_UP)
    assert browser.find_element(By.ID, "explorer-status").text != before


def test_names_with_markup_are_shown_as_they_are_and_nothing_of_them_runs(opened):
    browser = opened("hostile")
    for select in ("sample", "site", "channel"):
        box = Select(browser.find_element(By.ID, select))
        for option in range(len(box.options)):
            box.select_by_index(option)
    assert browser.execute_script("return window.hacked") is None
    assert browser.find_element(By.ID, "title").text == (
        'Aliasing in <img src=x onerror="window.hacked = 1">'
    )
    assert browser.execute_script("return document.querySelectorAll('img[src=x]').length") == 0
    assert browser.execute_script("return document.scripts.length") == 3
    listed = browser.find_element(By.ID, "ring-sites").text
    assert "</script><script>window.hacked = 1</script>" in listed and "%%data%%" in listed


def test_the_policy_stops_what_is_not_the_pages_own(opened):
    browser = opened("folds")
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        "document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png';"
        "document.body.append(i);"
    )
    assert browser.execute_script("return window.hacked") is None
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert len(refused) == 2 and all("Content Security Policy" in each for each in refused)
    browser.get_log("performance")  # the request that was refused is in it


CONTRASTS = """
const channels = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
document.querySelectorAll('details').forEach((d) => { d.open = true; });
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || element.matches('script, option, title, noscript *, .mark, .skip')) continue;
  const style = getComputedStyle(element);
  const text = channels(element.namespaceURI.endsWith('svg') ? style.fill : style.color);
  const [a, b] = [light(text), light(behind(element))].sort((x, y) => y - x);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) poor.push([element.tagName, element.textContent.slice(0, 40), contrast]);
}
return poor;
"""


@pytest.mark.parametrize("name", ["attacked", "energy", "ablation"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_and_every_control_has_a_name(opened, name, scheme):
    browser = opened(name, scheme=scheme)
    dark = browser.execute_script("return getComputedStyle(document.documentElement).color")
    assert (dark == "rgb(233, 235, 239)") == (scheme == "dark")
    assert browser.execute_script(CONTRASTS) == []
    for control in browser.find_elements(By.CSS_SELECTOR, "select, input, a, summary, .scroll"):
        assert control.accessible_name, control.get_attribute("outerHTML")[:100]
    pictures = browser.find_elements(By.CSS_SELECTOR, "main img, main svg[role=img]")
    assert len(pictures) >= (5 if name == "attacked" else 4) and all(
        picture.accessible_name for picture in pictures
    )
    levels = [int(h.tag_name[1]) for h in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
