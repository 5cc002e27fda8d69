"""
The load client, ``echoactor-load``: sends to an echo server, checks every byte that comes back, and measures.

It imports nothing of the rest of the package, and runs on asyncio: what
measures must not be made of what it measures.
"""
