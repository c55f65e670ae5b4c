"""The pages in a real browser: Debian's chromium, without a network."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepsal.report.page import run_page, sweep_page
from tests.report.support import HOSTILE_NAME, write_run, write_sweep

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
wait = pytest.importorskip("selenium.webdriver.support.wait")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = Path(os.environ.get("DEEPSAL_AXE", Path.home() / ".cache/axe-core/package/axe.min.js"))
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here"),
]
SIZES = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
GREY = "return [...document.querySelectorAll('.unit canvas')].map(c => c.toDataURL())"


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {
        "run": run_page.write_run_page(write_run(folder / "run", HOSTILE_NAME)),
        "sweep": sweep_page.write_sweep_page(write_sweep(folder)),
    }


def opened(driver: Any, file: Path, width: int = 1280, scheme: str = "light") -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(file.as_uri())
    waited = wait.WebDriverWait(driver, 30)
    waited.until(lambda d: d.execute_script("return document.documentElement.dataset.ready"))


def find(driver: Any, selector: str) -> Any:
    return driver.find_element("css selector", selector)


def pressed(driver: Any, *keys: str) -> None:
    chain = webdriver.ActionChains(driver)
    chain.send_keys(*keys).perform()


LEFT, RIGHT, ESCAPE, ENTER, TAB = "\ue012", "\ue014", "\ue00c", "\ue007", "\ue004"


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_no_error_and_no_request_leaves_the_page(
    driver: Any, pages: dict[str, Path], kind: str
) -> None:
    driver.get_log("browser"), driver.get_log("performance")
    opened(driver, pages[kind])
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"].endswith("WillBeSent")]
    assert asked, "the page itself"
    assert [url for url in asked if not url.startswith(("data:", pages[kind].as_uri()))] == []


@pytest.mark.parametrize("kind", ["run", "sweep"])
@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_is_no_wider_than_its_window(
    driver: Any, pages: dict[str, Path], kind: str, width: int
) -> None:
    opened(driver, pages[kind], width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_all_facts_of_a_row_are_on_one_line(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    boxes = "[...document.querySelectorAll('.facts > div')]"
    script = f"return {boxes}.map(box => [box.offsetTop, box.firstElementChild.offsetTop])"
    tops = driver.execute_script(script)
    assert len({label - box for box, label in tops}) == 1
    assert all(abs(a - b) == 0 or abs(a - b) > 20 for a, _ in tops for b, _ in tops)


def test_one_slider_moves_all_grids(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    slider = find(driver, "#slider")
    last = driver.execute_script(GREY)
    slider.send_keys(LEFT, LEFT)
    assert find(driver, "#now").text == "epoch 0"
    assert slider.get_attribute("aria-valuetext") == "epoch 0"
    first = driver.execute_script(GREY)
    changed = [before != after for before, after in zip(first, last, strict=True)]
    assert changed == [True, True, True, False] * 2, "all but the dead units, in both stages"
    find(driver, "h1").click()
    pressed(driver, RIGHT)
    assert find(driver, "#now").text == "epoch 1"
    assert "epoch 1" in find(driver, "#live").get_attribute("textContent")


def test_play_goes_to_the_end_and_stops(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    button = find(driver, "#play")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    waited = wait.WebDriverWait(driver, 30)
    waited.until(lambda _: button.get_attribute("aria-pressed") == "false")
    assert find(driver, "#now").text == "epoch 2"


def test_one_scale_through_training_shows_growth(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    find(driver, "#slider").send_keys(LEFT, LEFT)
    own = driver.execute_script(GREY)
    find(driver, "#scale").click()
    assert driver.execute_script(GREY)[0] != own[0], "epoch 0 is paler than the last"


def test_a_units_panel_opens_and_closes_by_keyboard(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    unit = driver.find_elements("css selector", ".unit")[5]
    driver.execute_script("arguments[0].focus()", unit)
    pressed(driver, ENTER)
    panel = find(driver, "#panel")
    assert panel.get_attribute("open")
    assert find(driver, "#panel-h").text == "conv2, unit 1"
    rows = driver.find_elements("css selector", "#measures tbody tr")
    assert len(rows) == 11
    assert rows[0].text.startswith("correlation with epoch 0 1.00")
    assert find(driver, "#profile polyline")
    assert find(driver, "#sizes polyline").is_displayed()
    assert not find(driver, "#patches-part").is_displayed(), "none were stored"
    find(driver, "#next").click()
    assert find(driver, "#panel-h").text == "conv2, unit 2"
    pressed(driver, LEFT)
    assert find(driver, "#panel-now").text == "epoch 1"
    pressed(driver, ESCAPE)
    assert not panel.get_attribute("open")
    focused = "return document.activeElement.getAttribute('aria-label')"
    waited = wait.WebDriverWait(driver, 30)  # a dialog tells its page in a task of its own
    waited.until(lambda d: d.execute_script(focused).startswith("conv2, unit 2 · "))


def test_a_dead_unit_says_so(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    driver.execute_script("document.querySelectorAll('.unit')[3].click()")
    assert find(driver, "#large-note").text == "Dead: no patch excites this unit."


def test_hostile_names_are_read_as_they_are(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["run"])
    assert find(driver, "h1").text == HOSTILE_NAME
    assert driver.title.startswith("<script>")


def test_the_table_sorts_and_filters(driver: Any, pages: dict[str, Path]) -> None:
    opened(driver, pages["sweep"])

    def visible_runs() -> list[str]:
        rows = driver.find_elements("css selector", "#jobs tbody tr")
        return [row.find_element("css selector", "th").text for row in rows if row.is_displayed()]

    heads = {b.text.split()[0]: b for b in driver.find_elements("css selector", "#jobs button")}
    heads["NSS"].click()
    assert visible_runs() == [
        "3-resnet50-all",
        "2-resnet50-conv5",
        "1-vgg16-all",
        "0-vgg16-conv5",
        "10-bad",
    ]
    heads["NSS"].send_keys(ENTER)
    assert visible_runs()[0] == "0-vgg16-conv5"
    assert visible_runs()[-1] == "10-bad", "what has no score stays last"
    head = heads["NSS"].find_element("xpath", "..")
    assert head.get_attribute("aria-sort") == "ascending"
    heads["run"].click()
    assert visible_runs()[-1] == "10-bad", "10 after 3"
    find(driver, "#filter").send_keys("resnet50 conv5")
    assert visible_runs() == ["2-resnet50-conv5"]
    assert find(driver, "#count").text == "1 of 5 rows"


@pytest.mark.skipif(not AXE.is_file(), reason=f"no axe-core at {AXE} (set DEEPSAL_AXE)")
@pytest.mark.parametrize("kind", ["run", "sweep", "panel"])
@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_axe_finds_no_serious_violation(
    driver: Any, pages: dict[str, Path], kind: str, width: int, scheme: str
) -> None:
    opened(driver, pages["run" if kind == "panel" else kind], width, scheme)
    if kind == "panel":
        driver.execute_script("document.querySelector('.unit').click()")
    driver.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    driver.execute_script(AXE.read_text())
    result = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert result["passes"]
    bad = [
        (v["id"], [node["html"][:200] for node in v["nodes"]])
        for v in result["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert bad == []
