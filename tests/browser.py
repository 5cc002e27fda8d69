"""A real browser for tests: Debian's chromium, without a window."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WHY_NOT = None if CHROMIUM and CHROMEDRIVER else "there is no chromium with its chromedriver"

SWITCHES = """
    headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking
    disable-component-update disable-sync hide-scrollbars
""".split()


def start_browser(test: Any) -> Any:
    """Start a browser, in an empty directory, until the test is over."""
    directory = tempfile.mkdtemp()
    test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    options = Options()
    options.binary_location = CHROMIUM or ""
    for switch in (*SWITCHES, f"user-data-dir={directory}"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, selenium looks for nothing elsewhere.
    browser = webdriver.Chrome(options, Service(CHROMEDRIVER))
    test.addCleanup(browser.quit)
    return browser


def resize(browser: Any, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
    """Take another screen, in light or dark."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
