"""Which module may import which, and that importing chooses no reactor."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = Path(__file__).parent.parent / "echoactor"

ROOMS = """
    errors address messages events text logs timers mailbox signals names calls delayed turns delays actor
    cell styles runtime specs children services supervising supervisor dynamic_supervisor inspection
    system groups networks options descriptors poller transport gate connection protocol echo
    proxy_protocol tls endpoints listening datagram notify log_output access_log figures server pipe
    sockets process workers worker command tap testing
    __init__
""".split()
"""In this order: each may import those before it."""

APART = ["uvloopreactor"]
"""Imports none of the others, and none of them imports it: it is for any program of Twisted's."""

LOAD_ROOMS = "options figures connection opening client report display command __init__".split()
"""The same for the load client, which must not be made of what it measures: it imports nothing else."""

ADMIN_ROOMS = """
    access site health metrics text sample tree recorder view watch stream page observer screen top
    __init__
""".split()
"""Of the package ``admin``, likewise. It may import the rooms above as far as ``server``."""


def imports_of(source: str, level: int = 1) -> set[str]:
    """
    The modules of the package that a module imports, imports for typing aside.

    :param level: how many dots; 2 in a package below, for what is outside of it.
    """
    found: set[str] = set()

    class Visitor(ast.NodeVisitor):
        def visit_If(self, node: ast.If) -> None:
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                self.generic_visit(node)

        def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
            if node.level == level:
                found.update([node.module] if node.module else [name.name for name in node.names])
            elif not node.level and (node.module or "").startswith("echoactor"):
                found.add((node.module or "").partition(".")[2] or "__init__")

        def visit_Import(self, node: ast.Import) -> None:
            found.update("__init__" for name in node.names if name.name.startswith("echoactor"))

    Visitor().visit(ast.parse(source))
    return found


class LayeringTests(SynchronousTestCase):
    def test_every_room_is_listed(self) -> None:
        """Each module has its place in the order."""
        self.assertEqual(sorted(file.stem for file in PACKAGE.glob("*.py")), sorted(ROOMS + APART))

    def test_imports_go_one_way(self) -> None:
        """A module imports only modules before it."""
        for place, room in enumerate(ROOMS):
            imported = imports_of((PACKAGE / f"{room}.py").read_text())
            imported -= {"admin"} if room == "tap" else set()
            self.assertEqual(imported - set(ROOMS[:place]), set(), f"{room} imports too much")

    def test_told(self) -> None:
        """Who contributes reads of the same modules, in the same order."""
        told = (PACKAGE.parent / "CONTRIBUTING.rst").read_text()
        paragraph = told.partition("only the modules before it: ")[2].partition("\n\n")[0]
        self.assertEqual(re.findall(r"``(\w+)``", paragraph), ROOMS[:-1])

    def test_apart(self) -> None:
        """The reactor imports nothing of the package."""
        for room in APART:
            self.assertEqual(imports_of((PACKAGE / f"{room}.py").read_text()), set())

    def test_load_client(self) -> None:
        """The rooms of the load client are listed, and import only each other, one way."""
        folder = PACKAGE / "load"
        self.assertEqual(sorted(file.stem for file in folder.glob("*.py")), sorted(LOAD_ROOMS))
        for place, room in enumerate(LOAD_ROOMS):
            source = (folder / f"{room}.py").read_text()
            self.assertNotRegex(source, r"from \.\.|import echoactor|from echoactor", room)
            self.assertNotIn("twisted", source, room)
            self.assertEqual(imports_of(source) - set(LOAD_ROOMS[:place]), set(), f"{room} imports too much")

    def test_admin(self) -> None:
        """The modules of admin import only those before them and the server's; tap alone imports admin."""
        self.assertEqual(sorted(file.stem for file in (PACKAGE / "admin").glob("*.py")), sorted(ADMIN_ROOMS))
        outside = set(ROOMS[: ROOMS.index("server") + 1])
        for place, room in enumerate(ADMIN_ROOMS):
            source = (PACKAGE / "admin" / f"{room}.py").read_text()
            self.assertEqual(
                imports_of(source, 1) - set(ADMIN_ROOMS[:place]), set(), f"{room} imports too much"
            )
            self.assertEqual(imports_of(source, 2) - outside, set(), f"{room} imports too much")
        importers = [
            file.stem
            for file in PACKAGE.glob("*.py")
            if re.search(r"from \.admin|\badmin import", file.read_text())
        ]
        self.assertEqual(importers, ["tap"])

    def test_the_check_sees_imports(self) -> None:
        """The check itself sees each form of import, and leaves those for typing alone."""
        source = "from .a import x\nfrom . import b\nimport echoactor\nfrom echoactor.c import y\n"
        self.assertEqual(imports_of(source), {"a", "b", "__init__", "c"})
        self.assertEqual(imports_of("if TYPE_CHECKING:\n    from .a import x\n"), set())

    def test_no_reactor_at_import(self) -> None:
        """Importing the package, the command or the plugin installs no reactor."""
        for module in (
            "echoactor",
            "echoactor.tap",
            "echoactor.server",
            "echoactor.admin",
            "twisted.plugins.echoactor_plugin",
        ):
            code = f"import sys, {module}; sys.exit('twisted.internet.reactor' in sys.modules)"
            self.assertEqual(subprocess.run([sys.executable, "-c", code], check=False).returncode, 0, module)

    def test_plugin_imports_nothing_of_ours(self) -> None:
        """The plugin files stay lazy: twistd reads them for every command."""
        for plugin in (PACKAGE.parent / "twisted" / "plugins").glob("*.py"):
            self.assertEqual(imports_of(plugin.read_text()), set())

    def test_no_package_files_in_twisted(self) -> None:
        """No __init__.py makes our folders hide Twisted's own plugins."""
        self.assertEqual(list((PACKAGE.parent / "twisted").rglob("__init__.py")), [])
