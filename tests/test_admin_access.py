"""Who may look at the admin site."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from types import SimpleNamespace
from typing import Any

from twisted.web.http_headers import Headers

from echoactor.admin.access import SHORTEST_TOKEN, Access, description_of, is_private

from .support import ActorTestCase

TOKEN = "a" * SHORTEST_TOKEN


def request(path: str = "/", method: str = "GET", **headers: str) -> Any:
    """A request with these headers; ``host`` is localhost unless given."""
    fields = {name: [value] for name, value in {"host": "localhost:9090", **headers}.items()}
    answer = Headers()
    return SimpleNamespace(
        method=method.encode(),
        path=path.encode(),
        clientproto=b"HTTP/1.1",
        requestHeaders=Headers(fields),
        responseHeaders=answer,
        setHeader=answer.addRawHeader,
    )


def status(access: Access, *args: Any, **headers: str) -> int:
    """The status that a request gets; 200 if it is answered."""
    refusal = access.refusal(request(*args, **headers))
    return 200 if refusal is None else refusal[0]


class HostTests(ActorTestCase):
    def test_known(self) -> None:
        """localhost and addresses are known, and the names that were given, with and without a port."""
        access = Access(None, ["Echo.Example.", "other"])
        addresses = "127.0.0.1:9090 10.1.2.3 [::1]:9090 [::1]"
        for host in f"localhost LOCALHOST:1 localhost. {addresses} echo.example:80 other".split():
            self.assertEqual(status(access, host=host), 200, host)

    def test_unknown(self) -> None:
        """Any other name is refused: a page of a stranger's may have let it lead here (DNS rebinding)."""
        access = Access(None, ["echo.example"])
        hosts = [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:9090",
            "",
            ":9090",
        ]
        hosts += [
            "echo.example@evil.example",
            "[evil]",
            "[::1",
            "127.0.0.1:80:80",
            "0x7f.1",
            "\udc80".encode("utf-8", "replace").decode(),
        ]
        for host in hosts:
            self.assertEqual(status(access, host=host), 421, host)

    def test_none_or_two(self) -> None:
        """A request without a host, or with two, is refused."""
        access = Access(None, [])
        for values in ([], ["localhost", "evil.example"]):
            one = request()
            one.requestHeaders.setRawHeaders("host", values)
            refusal = access.refusal(one)
            assert refusal is not None
            self.assertEqual(refusal[0], 421)

    def test_old_probes(self) -> None:
        """What asks by HTTP/1.0, as load balancers do and no browser, need not name a host."""
        access = Access(None, [])
        one = request()
        one.clientproto = b"HTTP/1.0"
        one.requestHeaders.removeHeader("host")
        self.assertIsNone(access.refusal(one))
        one.requestHeaders.addRawHeader("host", "evil.example")
        self.assertIsNotNone(access.refusal(one))

    def test_no_names(self) -> None:
        """A name that no request could bring is refused at once, with what is wrong."""
        for host in ("echo.example:9090", "*", "*.example", "http://echo.example", "b\xfccher.example", ""):
            error = self.assertRaises(ValueError, Access, None, [host])
            self.assertRegex(str(error), f"^hosts: {re.escape(repr(host))} is no host name")
        error = self.assertRaises(ValueError, Access, None, "echo.example")
        self.assertEqual(str(error), "hosts: 'echo.example' is one text, and not several: ['echo.example']")


class MethodTests(ActorTestCase):
    def test_methods(self) -> None:
        """Only GET and HEAD are answered, and a refusal says so."""
        access = Access(None, [])
        other = request(method="POST")
        access.refusal(other)
        self.assertEqual(other.responseHeaders.getRawHeaders("allow"), ["GET, HEAD"])
        found = {
            method: status(access, "/", method)
            for method in "GET HEAD POST PUT DELETE OPTIONS TRACE get".split()
        }
        self.assertEqual({method for method, code in found.items() if code == 200}, {"GET", "HEAD"})
        self.assertEqual(set(found.values()), {200, 405})


class TokenTests(ActorTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.temporary_directory() / "token"
        self.file.write_text(f"{TOKEN}\n")
        self.access = Access(str(self.file), [])

    def basic(self, password: str) -> str:
        return "Basic " + b64encode(f"me:{password}".encode()).decode()

    def test_right(self) -> None:
        """The token is taken as a bearer token, and as a browser's password with any name."""
        for value in (f"Bearer {TOKEN}", f"bearer  {TOKEN}", self.basic(TOKEN)):
            self.assertEqual(status(self.access, authorization=value), 200, value)

    def test_wrong(self) -> None:
        """Anything else is refused."""
        values = [
            "",
            "Bearer",
            "Bearer ",
            f"Bearer {TOKEN}x",
            f"Bearer {TOKEN[1:]}",
            TOKEN,
            f"Digest {TOKEN}",
        ]
        values += [self.basic("wrong"), self.basic(""), "Basic !!!", "Basic \xff", f"Basic {TOKEN}"]
        for value in values:
            self.assertEqual(status(self.access, authorization=value), 401, value)
        self.assertEqual(status(self.access), 401)

    def test_probes(self) -> None:
        """Health wants no token: probes have none. What only begins like it does."""
        for path in ("/healthz", "/readyz"):
            self.assertEqual(status(self.access, path), 200)
        for path in ("/healthz/../metrics", "/healthz/", "//healthz", "/metrics"):
            self.assertEqual(status(self.access, path), 401)

    def test_reload(self) -> None:
        """A token can be changed; a bad file leaves it as it was."""
        self.file.write_text("b" * SHORTEST_TOKEN)
        self.access.reload()
        self.assertEqual(status(self.access, authorization=f"Bearer {TOKEN}"), 401)
        self.file.write_text("")
        self.assertRaises(ValueError, self.access.reload)
        self.assertEqual(status(self.access, authorization=f"Bearer {'b' * SHORTEST_TOKEN}"), 200)

    def test_bad_files(self) -> None:
        """A file that is missing, empty, short, or no single word is refused in one line."""
        for text in ("", "short", f"{TOKEN} {TOKEN}", f"{TOKEN}\n{TOKEN}", f"{TOKEN}\x00"):
            self.file.write_text(text)
            error = self.assertRaises(ValueError, Access, str(self.file), [])
            self.assertRegex(
                str(error), r"^token_file: '.*' holds no token, which is one line of at least 16"
            )
        error = self.assertRaises(ValueError, Access, "/nowhere/token", [])
        self.assertEqual(str(error), "token_file: '/nowhere/token': No such file or directory")

    def test_pipes(self) -> None:
        """A pipe, which might keep the process waiting, is refused, and so is a directory."""
        pipe = self.file.with_name("pipe")
        os.mkfifo(pipe)
        for file in (pipe, pipe.parent):
            error = self.assertRaises(ValueError, Access, str(file), [])
            self.assertEqual(str(error), f"token_file: {str(file)!r} is no regular file")


class EndpointTests(ActorTestCase):
    def test_number(self) -> None:
        """A number is a port of the loopback interface."""
        self.assertEqual(description_of(9090), "tcp:9090:interface=127.0.0.1")
        self.assertEqual(description_of("0"), "tcp:0:interface=127.0.0.1")
        for wrong in (65536, "99999999"):
            self.assertRaises(ValueError, description_of, wrong)

    def test_unix(self) -> None:
        """The file of a UNIX socket is for its owner alone, unless a mode is given."""
        self.assertEqual(description_of("unix:/run/x"), "unix:/run/x:mode=600")
        for description in ("unix:/run/x:mode=660", "unix:/run/x:660", r"unix:/run/a\:b:660:50"):
            self.assertEqual(description_of(description), description)
        self.assertEqual(description_of("unix:address=/run/x"), "unix:address=/run/x:mode=600")

    def test_private(self) -> None:
        """Private are the loopback interface, by number or name, and UNIX sockets."""
        private = [
            r"tcp6:1:interface=\:\:1",
            r"tcp:1:interface=\:\:1",
            "tcp:1:interface=127.9.9.9",
            "unix:/run/x",
        ]
        for description in (*private, "tcp:1:interface=localhost", "tcp:1:backlog=5:interface=127.0.0.1"):
            self.assertTrue(is_private(description), description)

    def test_public(self) -> None:
        """Everything else may be reached by others, what is not understood too."""
        public = [
            "tcp:1",
            "tcp:1:interface=0.0.0.0",
            r"tcp6:1:interface=\:\:",
            "systemd:domain=INET:index=0",
            "ssl:1",
        ]
        public += ["tcp:1:interface=localhost.example", "tcp:1:interface=", "tcp:1:127.0.0.1", "", "nonsense"]
        public += ["tcp:1:interface=127.0.0.1:interface=0.0.0.0", "haproxy:tcp:1:interface=127.0.0.1"]
        for description in public:
            self.assertFalse(is_private(description), description)
