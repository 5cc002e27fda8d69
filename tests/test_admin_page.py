"""The page, in a real browser, on real servers."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from . import hostile
from .browser import WHY_NOT, reset, resize, shared_browser
from .test_command import NODAEMON, CommandTestCase

ROOT = Path(__file__).parent.parent
BAKERY = (sys.executable, str(ROOT / "examples" / "observed.py"))
HOSTILE = (sys.executable, str(ROOT / "tests" / "hostile.py"))

MOST_BYTES = 41_000
"""Of all that the page is made of."""


class PageTestCase(CommandTestCase):
    """Opens the page of a server that runs in a process of its own."""

    if WHY_NOT is not None:
        skip = WHY_NOT

    def setUp(self) -> None:
        super().setUp()
        self.browser = shared_browser()
        self.addCleanup(reset, self.browser)

    @contextlib.contextmanager
    def open(self, *command: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Run a server and open its page."""
        with self.serving(*command, **more) as child:
            found = self.wait_for(lambda: re.search(r"port=(\d+)\) \(admin", self.log()), "the page's port")
            self.admin = int(found[1])
            self.browser.get(f"http://127.0.0.1:{self.admin}/")
            self.wait_until_live()
            yield child

    def script(self, text: str, *arguments: object) -> Any:
        """Run a script in the page."""
        return self.browser.execute_script(text, *arguments)

    def text(self, selector: str) -> str:
        """The text of the first element, as it is in the document."""
        return str(self.script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        collect = "return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)"
        return list(self.script(collect, selector))

    def tree(self) -> dict[str, dict[str, Any]]:
        """The rows of the tree, by name."""
        rows = self.script(
            "return [...document.querySelectorAll('[role=treeitem]')].map(row => ({"
            "  name: row.querySelector('b').textContent, actor: row.actor, restarts: row.restarts,"
            "  handled: row.handled, level: row.level, open: row.getAttribute('aria-expanded')}))"
        )
        return {row["name"]: row for row in rows}

    def wait_until_live(self) -> None:
        self.wait_for(lambda: self.script("return document.body.dataset.link") == "live", "a live page")
        self.wait_for(self.tree, "the tree")

    def press(self, *keys: str) -> None:
        """Press keys, as a person does."""
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                self.browser.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": kind, **KEYS[key]})

    def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.script("const at = document.querySelector(arguments[0]); at.focus(); at.select()", selector)
        self.browser.execute_cdp_cmd("Input.insertText", {"text": text})

    def click(self, name: str) -> None:
        """Click on a row of the tree."""
        self.script(
            "[...document.querySelectorAll('[role=treeitem]')].find("
            "row => row.querySelector('b').textContent === arguments[0]).click()",
            name,
        )

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})

    def focused(self) -> str:
        """The name of the row that has the focus."""
        return str(self.script("return document.activeElement.querySelector('b')?.textContent ?? ''"))

    def complaints(self) -> list[str]:
        """What the browser's console says."""
        return [entry["message"] for entry in self.browser.get_log("browser")]


KEYS = {
    **{
        name: {"key": name, "code": name, "windowsVirtualKeyCode": code}
        for name, code in (
            *(("ArrowLeft", 37), ("ArrowUp", 38), ("ArrowRight", 39), ("ArrowDown", 40)),
            *(("Home", 36), ("End", 35), ("PageUp", 33), ("PageDown", 34), ("Tab", 9), ("Escape", 27)),
        )
    },
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "/": {"key": "/", "code": "Slash", "windowsVirtualKeyCode": 191, "text": "/"},
}


OVERLAPS = """
const boxes = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text; text = walker.nextNode();) {
  const where = text.parentNode;
  // (Rows cut off what does not fit, and what lies outside of a room with a scroll bar is not seen.)
  if (!text.data.trim() || !where.checkVisibility() || where.closest('#rows, #tree, #events')) continue;
  const range = document.createRange();
  range.selectNodeContents(text);
  for (const box of range.getClientRects()) boxes.push([text.data.trim(), box]);
}
const found = [];
boxes.forEach(([text, a], index) => boxes.slice(index + 1).forEach(([other, b]) => {
  const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (wide > 1 && high > 4) found.push([text, other]);
}));
return found;
"""
"""Pairs of texts that lie over one another, by more than their line spacing."""


class PageTests(PageTestCase):
    def test_workers(self) -> None:
        """With workers, they are actors in the tree, and a line says that the connections are in them."""
        is_shown = "return document.getElementById('others').checkVisibility()"
        with self.open(*NODAEMON, "echoactor", "--port", "0", "--admin", "0", "--workers", "2"):
            self.wait_for(lambda: self.script(is_shown), "the line")
            self.wait_for(lambda: {"worker 1", "worker 2"} <= self.tree().keys(), "the workers")
            self.assertEqual(self.complaints(), [])
        with self.open(*NODAEMON, "echoactor", "--port", "0", "--admin", "0"):
            self.assertFalse(self.script(is_shown))

    def test_a_connection(self) -> None:
        """The page loads; a new connection is there within two seconds, with its peer, and so is its end."""
        with self.open(*NODAEMON, "echoactor", "--port", "0", "--admin", "0"):
            self.assertEqual(self.text("#name"), "echoactor")
            self.wait_for(lambda: re.match(r"\d", self.text("#messages")), "a second look")
            seen = 2000.0
            for _ in range(3):  # a busy machine may hold one up
                client = socket.create_connection(("127.0.0.1", self.port))
                peer = f"127.0.0.1:{client.getsockname()[1]}"
                # By the script's clock, so that the way to the browser does not count.
                seen = self.browser.execute_async_script(
                    "const [peer, done] = arguments; const since = performance.now();"
                    "const look = () => document.querySelector('#rows').textContent.includes(peer)"
                    "  ? done(performance.now() - since) : setTimeout(look, 20); look()",
                    peer,
                )
                if seen < 2000:
                    break
                client.close()
            self.assertLess(seen, 2000)
            self.wait_for(lambda: self.text("#connected") == "1", "its being counted")
            self.assertIn(peer, self.text("#events"))
            client.close()
            self.wait_for(lambda: self.text("#connected") == "0", "its end")
            self.wait_for(lambda: peer not in self.text("#rows"), "its row's end")
            self.assertEqual(self.complaints(), [])

    def test_a_crash(self) -> None:
        """An actor that crashes is followed to its restart: its row, its details and its last crash."""
        with self.open(*BAKERY, "0", "0"):
            before = self.tree()["oven 1"]
            self.assertEqual(before["restarts"], 0)
            self.click("oven 1")
            self.wait_for(lambda: self.text("#details-title") == "oven 1", "its details")
            self.connect().sendall(b"cat\n")
            after = self.wait_for(lambda: (row := self.tree()["oven 1"])["restarts"] and row, "its restart")
            self.assertNotEqual(after["actor"], before["actor"])
            address = f"<bakery.1.{after['actor']}>"
            self.wait_for(lambda: address in self.text("#fields"), "the new one's details")
            self.assertEqual(self.text("#crash summary"), "last crash: RuntimeError: a cat is in the oven")
            self.assertIn('raise RuntimeError("a cat is in the oven")', self.text("#crash pre"))
            self.assertIn(f"oven 1 as {address}", self.texts("#events .restarted.text"))
            crash = f"oven 1 <bakery.1.{before['actor']}>: RuntimeError: a cat is in the oven"
            self.assertIn(crash, self.texts("#events .crashed.text"))
            for _ in range(200):
                self.connect().close()
            self.wait_for(
                lambda: "closed" in self.texts("#events .kind")[:1], "connections that came and went"
            )
            self.assertIn(crash, self.texts("#events .crashed.text"))
            find = "const [text] = arguments; return [...document.querySelectorAll('#events button')].find("
            self.script(f"{find} one => one.textContent === text).click()", crash)
            self.wait_for(lambda: self.text("#fields dd") == "has ended", "who it was")
            self.assertEqual(self.text("#details-title"), "oven 1")
            self.assertEqual(self.tree()["Ann"]["restarts"], 0)
            self.assertEqual(self.complaints(), [])

    def test_figures_move(self) -> None:
        """Charts, counts and mailboxes follow what happens."""
        with self.open(*BAKERY, "0", "0"):
            self.wait_for(lambda: re.fullmatch(r"[1-9]\d*", self.text("#messages")), "messages")
            self.assertRegex(self.text("#delay"), r"^[\d.]+ (µs|ms|s) · [\d.]+ (µs|ms|s)$")
            before = self.tree()["Ann"]["handled"]
            self.wait_for(lambda: self.tree()["Ann"]["handled"] > before, "more messages")
            path = "return document.querySelector('#messages-chart .one').getAttribute('d')"
            drawn = self.script(path)
            self.wait_for(lambda: self.script(path) != drawn, "the chart's next moment")
            label = self.script("return document.querySelector('#delay-chart').ariaLabel")
            self.assertRegex(label, r"^delay, log scale: now .* and .*, highest ")
            self.assertEqual(self.script("return document.querySelectorAll('output').length"), 1)
            self.connect().sendall(b"bread\n" * 50)
            mailbox = "return [...document.querySelectorAll('.mailbox')].some(one => +one.textContent > 3)"
            self.wait_for(lambda: self.script(mailbox), "messages that wait")

    def test_search(self) -> None:
        """What is typed is searched for by the server; orders are the server's, too."""
        with self.open(*BAKERY, "0", "0"):
            clients = [self.connect() for _ in range(30)]
            peers = [f"127.0.0.1:{client.getsockname()[1]}" for client in clients]
            self.wait_for(lambda: self.text("#found") == "30", "thirty connections")
            self.type("#search", peers[17])
            self.wait_for(lambda: self.text("#found") == "1 of 30", "the one")
            visible = "#rows .connection-row :first-child"
            self.assertEqual(self.texts(visible), [peers[17]])
            self.type("#search", "nobody")
            self.wait_for(lambda: self.text("#found") == "0 of 30", "none")
            self.assertEqual(self.text("#none"), "No connection matches.")
            self.assertEqual(self.texts(visible), [])
            self.type("#search", "CUSTOMER")
            self.wait_for(lambda: self.text("#found") == "30 of 30", "all")
            self.script(
                "const order = document.querySelector('#order'); order.value = 'newest';"
                "order.dispatchEvent(new Event('input'))"
            )
            self.wait_for(lambda: self.texts(visible)[:2] == peers[:-3:-1], "the newest first")
            self.script("document.querySelector('#viewport').scrollTop = 1e6")
            self.wait_for(lambda: self.texts(visible)[-1:] == peers[:1], "the oldest, at the end")
            self.script("document.querySelector('#rows .connection-row').click()")
            self.wait_for(lambda: "127.0.0.1:" in self.text("#fields"), "a connection's details")
            self.assertEqual(self.complaints(), [])

    def test_keyboard(self) -> None:
        """The tree is used by keys alone, and the focus stays where it is while the page changes."""
        with self.open(*BAKERY, "0", "0"):
            self.script("document.querySelector('[role=treeitem][tabindex=\"0\"]').focus()")
            self.assertEqual(self.focused(), "Supervisor")
            self.press("ArrowDown")
            self.assertEqual(self.focused(), "kitchen")
            self.press("ArrowRight")
            self.assertEqual(self.focused(), "oven 1")
            self.press("ArrowLeft")
            self.assertEqual(self.focused(), "kitchen")
            self.press("ArrowLeft")
            self.wait_for(lambda: "oven 1" not in self.tree(), "a shut kitchen")
            self.assertEqual((self.tree()["kitchen"]["open"], self.focused()), ("false", "kitchen"))
            self.press("ArrowRight")
            self.wait_for(lambda: "oven 1" in self.tree(), "an open one")
            self.press("End")
            self.assertEqual(self.focused(), "server")
            self.press("Home", "ArrowDown", "ArrowDown", "Enter")
            self.wait_for(lambda: self.text("#details-title") == "oven 1", "its details")
            before = self.tree()["oven 1"]["handled"]
            self.wait_for(lambda: self.tree()["oven 1"]["handled"] > before, "another look")
            self.assertEqual(self.focused(), "oven 1")
            roles = self.script(
                "return [...document.querySelectorAll('[role=treeitem]')].map(row => ["
                "row.ariaLevel, row.ariaPosInSet, row.ariaSetSize, row.ariaSelected, row.tabIndex])"
            )
            self.assertEqual(roles[1:4:2], [["2", "1", "3", "false", -1], ["3", "2", "3", "false", -1]])
            self.assertEqual(sum(row[-1] == 0 for row in roles), 1)
            self.press("/")
            self.assertEqual(self.script("return document.activeElement.id"), "search")

    def test_keys_in_connections(self) -> None:
        """Keys go through all connections, on the screen or not, and stop at the ends."""
        with self.open(*BAKERY, "0", "0"):
            peers = []
            for _ in range(60):
                peers.append(f"127.0.0.1:{self.connect().getsockname()[1]}")
            self.script("document.querySelector('#order').value = view.order = 'oldest'; changed()")
            self.wait_for(lambda: self.texts("#rows .connection-row :first-child")[:1] == peers[:1], "them")
            self.wait_for(lambda: self.text("#found") == "60", "all of them")
            self.assertEqual(len(self.texts("[role=grid] [role=columnheader]")), 6)
            self.script("document.querySelector('#rows [tabindex=\"0\"]').focus()")
            focused = "return [document.activeElement.place, document.activeElement.firstChild?.textContent]"

            def check(place: int) -> None:
                expected = [place, peers[place]]
                self.wait_for(lambda: self.script(focused) == expected, f"the focus at {place}")

            self.press("ArrowDown")
            check(1)
            self.press(*["ArrowDown"] * 70)
            check(59)
            self.press("Home", "ArrowUp")
            check(0)
            self.press("PageDown")
            check(11)
            self.press("End", "PageUp", "ArrowUp")
            check(47)
            self.press("Enter")
            self.wait_for(lambda: self.text("#details-title") == peers[47], "its details")
            check(47)
            self.press("Escape")
            self.wait_for(lambda: self.text("#details-title") == "An actor", "no details")
            check(47)
            self.assertEqual(self.complaints(), [])

    def test_held(self) -> None:
        """Rows stay where they are while somebody points at them, and are sorted again afterwards."""
        with self.open(*BAKERY, "0", "0"):
            clients = [self.connect() for _ in range(3)]
            peers = [f"127.0.0.1:{client.getsockname()[1]}" for client in clients]
            shown = "#rows .connection-row :first-child"
            self.wait_for(lambda: self.texts(shown) == peers, "the three")
            x, y = self.script(
                "const at = document.querySelector('#rows .connection-row'); at.scrollIntoView();"
                "const box = at.getBoundingClientRect(); return [box.x + 20, box.y + 5]"
            )
            self.point(x, y)
            self.wait_for(lambda: self.script("return view.held"), "the pointer's arrival")
            rate = "return document.querySelectorAll('#rows .connection-row')[2].children[4].textContent"

            def is_busy() -> bool:
                clients[2].sendall(b"bread\n")  # a rate is there until the next look only
                return "/s" in self.script(rate)

            self.wait_for(is_busy, "the third one's rate")
            clients[0].close()
            ended = "#rows .ended :first-child"
            self.wait_for(lambda: self.texts(ended) == peers[:1], "the end of the first")
            self.assertEqual(self.texts(shown), peers)
            self.point(1, 1)
            self.wait_for(lambda: self.texts(shown) == [peers[2], peers[1]], "the busiest first")

    def test_work_is_seen(self) -> None:
        """Who handles messages pulses with each look and is a disc, also where it is always found waiting."""
        with self.open(*NODAEMON, "echoactor", "--port", "0", "--admin", "0"):
            client = self.connect()
            peer = f"127.0.0.1:{client.getsockname()[1]}"
            self.wait_for(lambda: peer in self.tree(), "the connection")
            self.script(
                "window.beats = 0; addEventListener('animationstart', event => {"
                "  beats += event.animationName === 'beat' });"
            )
            dot = "return [...rows.values()].at(-1).querySelector('.dot').className"

            def has_beaten(times: int) -> bool:
                client.sendall(b"hello")
                return bool(self.script("return beats") >= times)

            self.wait_for(lambda: has_beaten(3), "three pulses")
            title = "return [...rows.values()].at(-1).title"
            self.wait_for(lambda: has_beaten(3) and self.script(dot) == "dot busy", "a disc")
            self.wait_for(
                lambda: has_beaten(3) and re.search(r"handled .* a second\)", self.script(title)), "its pace"
            )
            self.wait_for(lambda: self.script(dot) == "dot idle", "its rest")

    def test_a_crash_flashes(self) -> None:
        """The row of an actor that was started again flashes."""
        with self.open(*BAKERY, "0", "0"):
            self.script(
                "window.flashes = []; addEventListener('animationstart', event => {"
                "  if (event.animationName === 'fresh') flashes.push(event.target.ariaLabel) })"
            )
            self.connect().sendall(b"cat\n")
            self.wait_for(lambda: len(self.script("return flashes")) == 3, "three flashes")

    def test_draining(self) -> None:
        """While the server drains, the page says so."""
        with self.open(*BAKERY, "0", "0") as child:
            self.connect()
            self.wait_for(lambda: self.text("#connected") == "1", "the connection")
            child.terminate()
            self.wait_for(lambda: self.text("#link") == "draining; 1 connection", "the drain")

    def test_restart(self) -> None:
        """When the server goes away the page says so; when it is back, the page goes on, with the new one."""
        with self.open(*BAKERY, "0", "0"):
            began = self.script("return system.began")
            self.click("oven 1")
            self.connect().sendall(b"cat\n")
            self.wait_for(lambda: self.texts("#events button.crashed"), "a crash, with a link")
            self.wait_for(lambda: self.text("#details-title") == "oven 1", "details")
            self.press("ArrowUp", "ArrowLeft")
            self.wait_for(lambda: "oven 1" not in self.tree(), "a shut kitchen")
        self.wait_for(lambda: self.script("return document.body.dataset.link") == "gone", "its end")
        self.assertRegex(self.text("#link"), r"^cut off since [\d:]{8}$")
        self.assertEqual(self.script("return document.title"), "(gone) bakery")
        (self.directory / "log").unlink()
        with self.serving(*BAKERY, "0", str(self.admin)):
            self.wait_until_live()
            self.wait_for(lambda: self.script("return system.began") > began, "the new server's start")
            self.assertIn("started again", self.text("#link"))
            # Its actors have the numbers of those before: nothing may lead from one to the other.
            self.assertEqual(self.text("#details-title"), "An actor")
            self.assertIn("oven 1", self.tree())
            self.assertEqual(self.texts("#events button"), [])
            self.assertEqual(self.texts("#events .kind")[:1], ["started"])
            self.assertIn("crashed", self.texts("#events .kind"))
            ours = [line for line in self.complaints() if "ERR_" not in line]  # it says when a load fails
            self.assertEqual(ours, [])

    def test_policy(self) -> None:
        """The page keeps to its Content-Security-Policy, which refuses whatever might come in."""
        with self.open(*BAKERY, "0", "0"):
            self.wait_for(lambda: re.match(r"\d", self.text("#messages")), "a second look")
            self.assertEqual(self.complaints(), [])
            self.browser.execute_async_script(
                "const done = arguments[0]; window.refused = [];"
                "addEventListener('securitypolicyviolation', event => {"
                "  window.refused.push(event.effectiveDirective);"
                "  if (window.refused.length === 4) done() });"
                "const put = (tag, fields) =>"
                "  document.body.append(Object.assign(document.createElement(tag), fields));"
                "put('script', {textContent: 'document.title = \"owned\"'});"
                "put('script', {src: 'https://example.com/x.js'});"
                "put('img', {src: 'https://example.com/x.png'});"
                "fetch('https://example.com/').catch(() => 0);"
            )
            self.assertEqual(
                sorted(self.script("return window.refused")),
                ["connect-src", "img-src", "script-src-elem", "script-src-elem"],
            )
            self.assertEqual(self.script("return document.title"), "bakery: actors")

    def test_hostile_names(self) -> None:
        """Names of actors, classes, peers and errors are text, whatever is in them."""
        peer = "<b onclick=alert(1)>peer\x1b[1m"
        here = os.open(".", os.O_RDONLY)
        self.addCleanup(os.close, here)
        log_as_utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
        with self.open(*HOSTILE, "socket", env=log_as_utf8), socket.socket(socket.AF_UNIX) as client:
            os.chdir(self.directory)  # paths of UNIX sockets are short
            self.addCleanup(os.fchdir, here)
            client.bind(peer)
            client.connect("socket")
            self.wait_for(lambda: self.text("#found") == "1", "the connection")
            names = list(self.tree())
            self.assertIn(hostile.MARKUP[:79] + "…", names)
            self.assertIn("\\x1b[2J\\x1b]0;owned\\x07\\r\\n\\u202edeliah\\udc80", names)
            self.assertIn(hostile.LONG[:79] + "…", names)
            self.assertIn("<b onclick=alert(1)>peer\\x1b[1m", self.text("#rows"))
            self.assertIn("ValueError: <img src=x", self.text("#events"))
            self.assertIn("</h1><img", self.text("#name"))
            self.script("[...document.querySelectorAll('[role=treeitem]')].at(-3).click()")
            crash = "return document.querySelector('#crash').hidden"
            self.wait_for(lambda: not self.script(crash), "the crash in its details")
            counts = self.script(
                "return ['img', 'script', 'b[onclick]'].map(tag => document.querySelectorAll(tag).length)"
            )
            self.assertEqual(counts, [1, 1, 0])  # our own icon and script
            self.assertIn("</h1><img", self.script("return document.title"))
            self.assertEqual(self.complaints(), [])

    def test_screens(self) -> None:
        """On any screen, in light and dark, nothing is wider than it, and no text lies over another."""
        with self.open(*BAKERY, "0", "0"):
            self.connect().sendall(b"bread\ncat\n")
            self.wait_for(lambda: self.text("#found") == "1", "a connection")
            self.wait_for(lambda: "restarted" in self.texts("#events .kind"), "something that happened")
            self.wait_for(lambda: re.match(r"\d", self.text("#messages")), "figures")
            colours = set()
            for width, height in ((320, 600), (390, 844), (768, 1024), (1000, 800), (1400, 900)):
                for dark in (False, True):
                    resize(self.browser, width, height, dark=dark)
                    self.wait_for(
                        lambda width=width: self.script("return innerWidth") == width, "the other screen"
                    )
                    self.assertLessEqual(self.script("return document.documentElement.scrollWidth"), width)
                    self.assertEqual(self.script(OVERLAPS), [], width)
                    colours.add(self.script("return getComputedStyle(document.body).backgroundColor"))
            self.assertEqual(len(colours), 2)
            time = "return document.querySelector('#events time').getBoundingClientRect().height"
            resize(self.browser, 320, 600)
            self.assertLess(self.script(time), 25, "a time breaks")

    def test_a_small_screen(self) -> None:
        """Where the details do not fit beside, they come up from below, and go by a button or Escape."""
        where = (
            "const box = document.querySelector('#details').getBoundingClientRect();"
            "return box.height > 0 && box.bottom === innerHeight"
        )
        with self.open(*BAKERY, "0", "0"):
            resize(self.browser, 390, 844)
            self.assertFalse(self.script(where))
            self.click("Ann")
            self.assertTrue(self.script(where))
            self.wait_for(lambda: self.text("#details-title") == "Ann", "her details")
            row, sheet = self.script(
                "return [chooser, document.querySelector('#details')].map("
                "  one => one.getBoundingClientRect()).map(({top, bottom}) => [top, bottom])"
            )
            self.assertLessEqual(row[1], sheet[0], "the row is under its details")
            self.press("Escape")
            self.wait_for(lambda: self.text("#details-title") == "An actor", "no details")
            self.click("Bob")
            self.wait_for(lambda: self.text("#details-title") == "Bob", "his details")
            self.script("document.querySelector('#close').focus()")
            self.press("Enter")
            self.wait_for(lambda: not self.script(where), "no details again")
            self.assertEqual(self.focused(), "Bob")

    def test_token(self) -> None:
        """A browser that was asked for the token has it for the stream, too."""
        token = self.directory / "token"
        token.write_text("a-token-of-some-length")
        options = ("--port", "0", "--admin", "0", "--admin-token-file", str(token))
        with self.serving(*NODAEMON, "echoactor", *options):
            self.admin = self.wait_for(lambda: len(self.ports()) == 2 and self.ports()[-1], "the page's port")
            self.browser.get(f"http://me:{token.read_text()}@127.0.0.1:{self.admin}/")
            self.wait_until_live()
            self.assertEqual(self.text("#name"), "echoactor")

    def test_size(self) -> None:
        """All that the page is made of is small, and is of this server."""
        with self.open(*BAKERY, "0", "0"):
            files = ("", "page.css", "page.js", "icon.svg")
            bodies = [urlopen(f"http://127.0.0.1:{self.admin}/{file}").read() for file in files]
            self.assertLess(sum(map(len, bodies)), MOST_BYTES)
            loaded = self.script("return performance.getEntriesByType('resource').map(one => one.name)")
            self.assertEqual([name for name in loaded if f"127.0.0.1:{self.admin}/" not in name], [])
            self.assertNotIn(b"innerHTML", b"".join(bodies))
