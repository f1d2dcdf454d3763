"""The report in a browser, offline, as a person would use it."""

import os
import re
import shutil

import pandas as pd
import pytest
from helpers import run_script
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

POINTS = "#rd_chart svg .mark-symbol.role-mark path"


@pytest.fixture
def page(finished):
    """The report of the tiny experiment, loaded in Chromium without a network."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        reason = "no Chromium: install Debian's chromium and chromium-driver"
        if os.environ.get("BALLE2017_REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    arguments = ("--headless=new", "--no-sandbox", "--window-size=1400,2000")
    for argument in (*arguments, "--host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(programs[1]))
    browser.report = finished.folder / "results" / "tiny" / "report.html"
    try:
        browser.get(browser.report.as_uri())
        WebDriverWait(browser, 60).until(lambda b: b.find_elements(By.CSS_SELECTOR, POINTS))
        yield browser
        assert browser.get_log("browser") == []
    finally:
        browser.quit()


def test_a_point_shows_its_numbers(page):
    rd = pd.read_csv(page.report.parent / "rd.csv")
    points = page.find_elements(By.CSS_SELECTOR, POINTS)
    assert len(points) == 2 * len(rd)
    ActionChains(page).move_to_element(points[0]).perform()
    tooltip = WebDriverWait(page, 20).until(
        lambda b: b.find_element(By.ID, "vg-tooltip-element").text
    )
    bpp = float(re.search(r"bpp\s+([\d.]+)", tooltip)[1])
    row = rd.iloc[(rd["bpp"] - bpp).abs().argmin()]
    assert bpp == pytest.approx(row["bpp"], abs=5e-5)
    assert f"PSNR {row['psnr_rgb']:.2f}" in tooltip


def test_the_legend_shows_a_curve_alone(page):
    def opacities():
        # In one go: every click draws the points anew.
        script = "return Array.from(document.querySelectorAll(arguments[0]), p => p.outerHTML)"
        points = page.execute_script(script, POINTS)
        return {re.search(r'opacity="([^"]+)"', point)[1] for point in points}

    assert opacities() == {"1"}
    # The symbol lies below a transparent layer that hands the click on.
    symbol = page.find_element(By.CSS_SELECTOR, "#rd_chart .role-legend-symbol path")
    ActionChains(page).move_to_element(symbol).click().perform()
    WebDriverWait(page, 20).until(lambda _: opacities() == {"1", "0.05"})


def test_the_slider_moves_the_border_between_two_pictures(page):
    right = page.find_element(By.ID, "right_picture")
    position = page.find_element(By.ID, "position")
    assert right.value_of_css_property("clip-path") == "inset(0px 0px 0px 50%)"
    position.send_keys(Keys.HOME)
    assert right.value_of_css_property("clip-path") == "inset(0px 0px 0px 0%)"
    position.send_keys(Keys.ARROW_RIGHT)
    assert right.value_of_css_property("clip-path") == "inset(0px 0px 0px 1%)"
    sizes = [
        page.execute_script("return arguments[0].naturalWidth", page.find_element(By.ID, name))
        for name in ("left_picture", "right_picture")
    ]
    assert sizes == [800, 800]


def test_another_picture_and_codec_can_be_chosen(page):
    before = page.find_element(By.ID, "left_picture").get_attribute("src")
    page.find_element(By.CSS_SELECTOR, "#left option:first-child").click()
    assert page.find_element(By.ID, "left_caption").text == "original"
    assert page.find_element(By.ID, "left_picture").get_attribute("src") != before
    options = page.find_elements(By.CSS_SELECTOR, "#image option")
    assert sorted(option.text for option in options) == ["100.png", "101.png"]
    options[1].click()
    assert "bytes" in page.find_element(By.ID, "right_caption").text


def test_the_page_names_results_settings_and_hashes(page):
    text = page.report.read_text(encoding="utf-8")
    assert "needs" in page.find_element(By.ID, "summary").text or "cannot be compared" in text
    for needle in ("&#34;model_sha256&#34;", "&#34;train_archive&#34;", "&#34;experiment&#34;"):
        assert needle in text
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    assert all(name.startswith("data:") for name in page.execute_script(script))


@pytest.mark.parametrize("width", [1200, 400])
def test_nothing_needs_a_sideways_scroll_of_the_page(page, width):
    # A window of less than 500 pixels is not to be had.
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    script = """
        const wide = element => element.scrollWidth > element.clientWidth;
        return [innerWidth, wide(document.documentElement),
            Array.from(document.querySelectorAll(".scroll"), wide)]"""
    inner, page_scrolls, tables_scroll = page.execute_script(script)
    assert inner == width
    assert not page_scrolls
    assert len(tables_scroll) >= 3
    if width == 1200:
        assert not any(tables_scroll)


def test_tables_are_rounded_and_lead_to_the_files(page):
    rd = pd.read_csv(page.report.parent / "rd.csv")
    tables = page.find_elements(By.CSS_SELECTOR, ".scroll table")
    rows = [row.text for row in tables[0].find_elements(By.CSS_SELECTOR, "tbody tr")]
    assert len(rows) == len(rd)
    assert f" {rd['bpp'][0]:.3f} {rd['psnr_rgb'][0]:.2f} " in rows[0]
    links = page.find_elements(By.CSS_SELECTOR, ".files a")
    assert {"rd.csv", "bd_rate.csv"} <= {link.text for link in links}
    assert all((page.report.parent / link.text).is_file() for link in links)


def test_a_report_shows_one_test_set(finished, monkeypatch):
    """As of results that scripts/aggregate.py collected from several."""
    monkeypatch.chdir(finished.folder)
    results = finished.folder / "results" / "tiny"
    (model, *_) = sorted(results.glob("photographs/0*"))
    command = ["report", "--results", results, "--images", finished.folder / "input/photographs"]
    command += ["--evaluation", model, "--runs", *sorted(results.glob("models/*/run.json"))]
    command += ["--template", "workflow/report/report.html.j2"]
    assert run_script(*command).returncode == 0
    alone = (results / "report.html").read_text(encoding="utf-8")
    for name in ("rd.csv", "bd_rate.csv", "bd_rate_per_image.csv"):
        table = pd.read_csv(results / name, float_precision="round_trip")
        both = pd.concat([table, table.assign(testset="other")])
        both.to_csv(results / name, index=False)
    done = run_script(*command)
    assert done.returncode == 2
    assert "choose a test set with --testset: other, photographs" in done.stderr
    assert run_script(*command, "--testset", "photographs").returncode == 0
    again = (results / "report.html").read_text(encoding="utf-8")
    # The parts of the chart have new names each time.
    shown = [re.sub(r"(view|param|data)[-_][0-9a-f]+", "", text) for text in (alone, again)]
    assert shown[0] == shown[1]
