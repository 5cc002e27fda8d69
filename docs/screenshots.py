"""Takes the pictures of the observer's page that the documents show: ``python docs/screenshots.py``."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import resize, start_browser  # noqa: E402

LOOKS = int(sys.argv[2]) if len(sys.argv) > 2 else 60
TO = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"


class Stack(ExitStack):
    addCleanup = ExitStack.callback


def shoot(browser: Any, name: str) -> None:
    image = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(TO / f"{name}.png", optimize=True)


with Stack() as stack:
    command = [sys.executable, "-u", str(ROOT / "examples" / "observed.py"), "0", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(server.kill)
    ports: list[int] = []
    while len(ports) < 2:
        ports += [int(port) for port in re.findall(r"listening on .*port=(\d+)", server.stdout.readline())]
    browser = start_browser(stack)
    resize(browser, 1280, 1120)
    browser.get(f"http://127.0.0.1:{ports[1]}/")
    customers = [socket.create_connection(("127.0.0.1", ports[0])) for _ in range(14)]
    for look in range(LOOKS):
        for number, customer in enumerate(customers):
            if look % (number // 3 + 1) == 0:
                customer.sendall(b"bread\n" * (number % 4 + 1))
        if look % 25 == 20:
            customers[0].sendall(b"cat\n")
        time.sleep(1)
    find = "[...document.querySelectorAll('[role=treeitem] b')].find(name => name.textContent === 'oven 1')"
    browser.execute_script(f"{find}.click()")
    time.sleep(1.5)
    shoot(browser, "observer-light")
    resize(browser, 1280, 1120, dark=True)
    time.sleep(1.2)
    shoot(browser, "observer-dark")
    resize(browser, 390, 844, scale=1.5)
    time.sleep(1.5)
    shoot(browser, "observer-phone-light")
    browser.execute_script("document.getElementById('supervision').scrollIntoView()")
    resize(browser, 390, 844, dark=True, scale=1.5)
    time.sleep(1.2)
    shoot(browser, "observer-phone-dark")
    for entry in browser.get_log("browser"):
        print(entry)
