"""What the documents show is true."""

from __future__ import annotations

import re
import textwrap
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from pathlib import Path
from types import CodeType
from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport

from echoactor.testing import ClockSystem

from .support import ActorTestCase

ROOT = Path(__file__).parent.parent
FROM_ELIXIR = ROOT / "docs" / "from-elixir.rst"


def blocks_of(document: Path) -> list[str]:
    """The Python that a document shows."""
    blocks = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", document.read_text())
    return [textwrap.dedent(block).strip() + "\n" for block in blocks]


def compiled(block: str) -> CodeType:
    """A block's code, which may await as in ``python -m asyncio``."""
    code: CodeType = compile(block, block, "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def promised(block: str) -> list[str]:
    """What a block says that it prints."""
    return re.findall(r"  # prints (.*)", block)


async def shell(me: Any, blocks: list[str], namespace: dict[str, Any], printed: list[list[str]]) -> None:
    """An actor that runs one block after the other, as one would type them."""
    namespace["me"] = me
    for block in blocks:
        printed.append([])
        awaitable = eval(compiled(block), namespace)
        if awaitable is not None:
            await awaitable


class DocumentTests(ActorTestCase):
    def setUp(self) -> None:
        self.clock = self.reactor = MemoryReactorClock()
        self.system = ClockSystem(self.clock)

    def test_python_compiles(self) -> None:
        """Each block of Python in any document can be compiled."""
        documents = [ROOT / "README.rst", *(ROOT / "docs").glob("*.rst")]
        blocks = [block for document in documents for block in blocks_of(document)]
        self.assertGreaterEqual(len(blocks), 20)
        for block in blocks:
            compiled(block)

    def test_from_elixir(self) -> None:
        """The blocks for readers from Elixir run one after the other, and print what they say."""
        printed: list[list[str]] = []
        namespace: dict[str, Any] = {
            "__name__": __name__,  # a dataclass wants to find its module
            "system": self.system,
            "reactor": self.reactor,
            "print": lambda *values: printed[-1].append(" ".join(map(str, values))),
        }
        blocks = blocks_of(FROM_ELIXIR)
        address = self.spawn(shell, blocks, namespace, printed)
        while self.system.is_alive(address) and self.clock.seconds() < 60:
            self.pass_time(0.1)
        self.assertEqual(self.flushLoggedErrors(), [])
        for block, lines in zip(blocks, printed, strict=False):
            self.assertEqual(lines, promised(block), block)
        self.assertEqual(len(printed), len(blocks))
        self.assertFalse(self.system.is_alive(address), "the last block does not come to its end")

        self.pass_time(1)
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [8080, 1300])
        connection = namespace["factory"].buildProtocol(None)
        wire = StringTransport()
        connection.makeConnection(wire)
        connection.dataReceived(b"hello")
        self.assertEqual(wire.value(), b"hello")
        connection.connectionLost()

        for system in (namespace["shop"], self.system):
            stopped = system.stopService()
            self.settle()
            self.successResultOf(stopped)
        self.assertEqual(self.clock.calls, [])

    def test_every_idiom_in_both(self) -> None:
        """Below each heading for readers from Elixir, the Elixir comes before the Python."""
        sections = re.split(r"\n[^\n]+\n(?:-+|~+)\n", FROM_ELIXIR.read_text())
        for section in sections[1:]:
            order = re.findall(r"code-block:: (\w+)", section)
            self.assertIn(order, ([], ["elixir", "python"], ["python"]), section)

    def test_promises_name_their_tests(self) -> None:
        """Each test that docs/semantics.rst names is there: ``module``, ``module: Class.test``, ``test``."""
        text = re.sub(r"\s+", " ", (ROOT / "docs" / "semantics.rst").read_text())
        names = re.findall(r"``((?:test_\w+: )?(?:\w+Tests|test_\w+)[.\w*]*)``", text)
        self.assertGreaterEqual(len(names), 30)
        modules = {path.stem: path.read_text() for path in (ROOT / "tests").glob("test_*.py")}
        missing = []
        module = ""
        for name in names:
            where, _, test = name.rpartition(": ")
            if (where or name) in modules:
                module, test = modules[where or name], test if where else ""
            for part in filter(None, test.split(".")):
                end = part[-1:].replace("*", "") and r"\b"
                if not re.search(rf"(class|def) {part.rstrip('*')}{end}", module):
                    missing.append(name)
        self.assertEqual(missing, [])
