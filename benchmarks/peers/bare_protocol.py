"""
The peer: a bare ``asyncio.Protocol``, on asyncio's own event loop or on uvloop's.

usage: bare_protocol.py asyncio|uvloop PORT
"""

import asyncio
import sys
from importlib import import_module


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


loop = import_module(sys.argv[1]).new_event_loop()
loop.run_until_complete(main(int(sys.argv[2])))
