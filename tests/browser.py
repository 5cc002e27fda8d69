"""A real browser for tests: Debian's chromium, without a window."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import ExitStack
from functools import cache
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


@cache
def shared_browser() -> Any:
    """
    One browser for all tests, as its start takes longer than most of them.

    What one test leaves in it does not reach the next, whose server has another port, and so is another
    origin; but :func:`reset` has to be called.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return start_browser(stack)


def reset(browser: Any) -> None:
    """Leave the page, and forget the screen and what the console said."""
    browser.get("about:blank")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.get_log("browser")


def start_browser(stack: ExitStack) -> Any:
    """Start a browser, in an empty directory, until the stack is closed."""
    directory = tempfile.mkdtemp()
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    options = Options()
    options.binary_location = CHROMIUM or ""
    for switch in (*SWITCHES, f"user-data-dir={directory}"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, selenium looks for nothing elsewhere.
    browser = webdriver.Chrome(options, Service(CHROMEDRIVER))
    stack.callback(browser.quit)
    return browser


def resize(browser: Any, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
    """Take another screen, in light or dark."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
