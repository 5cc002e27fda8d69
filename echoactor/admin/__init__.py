"""
What an operator and a programmer see of a running system, over HTTP: metrics, health, and a live page.

One line adds it to a program of one's own::

    Observer(system, 9090).setServiceParent(system)

What it answers to, all of it by GET and HEAD alone:

``/``
    The page (``page``). Its script and style are ``/page.js`` and ``/page.css``, because the
    Content-Security-Policy allows nothing that stands in the page itself, and nothing from elsewhere.
``/events``
    What the page shows, as server-sent events (``stream``). Such an answer has no end: its request calls
    ``hold()`` first (``site.Request``), which bounds how many there are and how long one may stall.
``/metrics``
    Figures for Prometheus (``metrics``), made of the snapshots that ``echoactor.figures`` takes.
``/healthz``, ``/readyz``
    Whether it lives, and whether clients should come to it (``health``); they want no token.

Nothing here can change anything. ``access`` says who may look, ``site`` bounds how many, how slow, and how
much they send; ``observer`` puts it together. Every answer has the headers of ``site``, errors too;
what is no request of ours at all gets a bare status.
"""

from .observer import Observer

__all__ = ["Observer"]
