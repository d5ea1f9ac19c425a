"""What ``signalbox serve`` runs: the server, what reads journals, the relay; until a signal.

Owns their lives: which starts first, and that each ends before the store is closed.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from runner import __version__, execution, intake
from runner.errors import INTERRUPTED, TERMINATED
from runner.viewer import app
from runner.viewer.guard import LOCAL
from runner.viewer.journals import Journals
from runner.viewer.relay import Relay
from runner.viewer.server import Server
from runner.viewer.store import Store


def serve(
    listener: socket.socket,
    *,
    host: str,
    token: str,
    states: Sequence[str],
    to: intake.Target | None,
    say: Callable[[str], None],
) -> int:
    """Serve until a signal ends it; the exit code."""
    clock = execution.clock()
    with ExitStack() as lives:
        lives.enter_context(listener)
        store = Store.open(states[0])
        lives.callback(store.close)
        journals = Journals(store, states, say)
        journals.start()
        lives.callback(journals.stop)
        if to:
            relay = Relay(store, to, environ=os.environ, version=__version__, clock=clock, say=say)
            relay.start()
            lives.callback(relay.stop)
        port = listener.getsockname()[1]
        application = app.make(
            store,
            clock=clock,
            hosts=LOCAL | {host.lower()},
            token=token,
            forward=to is not None,
        )
        server = Server(application)
        got = _ended_by_signals(server)
        _announce(say, host, port, token, to)
        server.on(listener)
    return TERMINATED if signal.SIGTERM in got else INTERRUPTED


def _announce(
    say: Callable[[str], None], host: str, port: int, token: str, to: intake.Target | None
) -> None:
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}"
    say(f"Signalbox serves {address}" + (f" and forwards to {to.place}" if to else ""))
    say(f"  → look at it:      {address}/" + ("?token=YOUR-TOKEN" if token else ""))
    say(f"  → report to it:    SIGNALBOX_INTAKE_URL={address} signalbox run")


def _ended_by_signals(server: Server) -> list[int]:
    """Have Ctrl-C and SIGTERM end it; which of them came."""
    got: list[int] = []

    def note(number: int, _: object) -> None:
        got.append(number)
        server.end()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return got
