"""
Takes the pictures of the observer's page that the documents show.

usage: python docs/screenshots.py [DIRECTORY] [SECONDS]
"""

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

from tests.browser import resize, start_browser  # noqa: E402  (found by the line above)

CUSTOMERS = 14
SIZE = 1280, 1120
PHONE = 390, 844


def shoot(browser: Any, file: Path) -> None:
    """Save what is on the screen, in so few colours that the file is small."""
    image = Image.open(BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def main(directory: Path, seconds: int) -> None:
    with ExitStack() as stack:
        command = [sys.executable, "-u", str(ROOT / "examples" / "observed.py"), "0", "0"]
        server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(server.kill)
        ports: list[int] = []
        while len(ports) < 2:
            ports += [
                int(port) for port in re.findall(r"listening on .*port=(\d+)", server.stdout.readline())
            ]
        browser = start_browser(stack)
        resize(browser, *SIZE)
        browser.get(f"http://127.0.0.1:{ports[1]}/")
        customers = [socket.create_connection(("127.0.0.1", ports[0])) for _ in range(CUSTOMERS)]
        for second in range(seconds):
            for number, customer in enumerate(customers):
                if second % (number // 3 + 1) == 0:
                    customer.sendall(b"bread\n" * (number % 4 + 1))
            if second % 25 == 20:
                customers[0].sendall(b"cat\n")
            time.sleep(1)
        find = "[...document.querySelectorAll('[role=treeitem] b')].find(one => one.textContent === 'oven 1')"
        browser.execute_script(f"{find}.click()")
        for name, screen, dark in (
            ("light", SIZE, False),
            ("dark", SIZE, True),
            ("phone-light", PHONE, False),
            ("phone-dark", PHONE, True),
        ):
            resize(browser, *screen, dark=dark, scale=1.5 if screen == PHONE else 1)
            if name == "phone-light":
                browser.execute_script("document.getElementById('supervision').scrollIntoView()")
            if name == "phone-dark":
                browser.execute_script("close(); document.getElementById('connections').scrollIntoView()")
            time.sleep(1.5)  # until the next look
            shoot(browser, directory / f"observer-{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs", int((sys.argv[2:] or [100])[0]))
