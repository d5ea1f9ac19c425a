"""``signalbox serve``: a local CI Visibility, the intake's API and its pages, on one port."""

import os
import socket
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import click

from runner.errors import SurroundingsError, UsageError

if TYPE_CHECKING:
    from runner.intake import Target

PORT = 8136
LOOPBACK = "127.0.0.1"
TOKEN = "SIGNALBOX_SERVE_TOKEN"  # noqa: S105 - a name
_SHORTEST = 16


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
@click.option("--host", default=LOOPBACK, show_default=True, help="another one needs a token")
@click.option("--token-file", metavar="FILE", help=f"holds what a client must show ({TOKEN})")
@click.option("--forward", is_flag=True, help="deliver what comes in to Datadog, too")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="DIR",
    help="state directory (SIGNALBOX_STATE); of several all journals are shown",
)
def command(
    port: int, host: str, token_file: str | None, forward: bool, states: tuple[str, ...]
) -> int:
    """Take pipeline events as Datadog's intake does, and show them in a browser."""
    from runner.cli import places

    serving = _serving()
    places_of_state = [places.state(state, os.environ) for state in states or (None,)]
    token = _token(token_file)
    listener = _listen(host, port, token)
    to = _target() if forward else None
    code: int = serving.serve(
        listener, host=host, token=token, states=places_of_state, to=to, say=_say
    )
    return code


def _serving() -> ModuleType:
    try:
        from runner.cli import serving
    except ModuleNotFoundError as error:
        if (error.name or "runner").partition(".")[0] == "runner":
            raise
        raise SurroundingsError(
            f"`signalbox serve` needs {error.name}, which is not installed",
            f"{sys.executable} -m pip install 'signalbox[viewer]'",
        ) from None
    return serving


def _token(path: str | None) -> str:
    """What clients must show; empty: nothing is asked for."""
    text = os.environ.get(TOKEN, "")
    if path:
        try:
            with open(path) as file:
                text = file.read(4096)
        except (OSError, ValueError) as error:
            raise UsageError(f"--token-file {path}: {error}") from None
    text = text.strip()
    if (path or text) and (len(text) < _SHORTEST or not text.isascii() or not text.isprintable()):
        raise UsageError(
            f"the token is no {_SHORTEST} printable ASCII characters long",
            "head -c 24 /dev/urandom | base64 makes a good one",
        )
    return text


def _listen(host: str, port: int, token: str) -> socket.socket:
    """The socket; raises ``UsageError`` for an address that needs a token and has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: {error}") from None
    if not token and not _is_loopback(str(address[0])):
        listener.close()
        raise UsageError(
            f"--host {host}: others can reach this address, so it needs a token",
            f"{TOKEN}=$(head -c 24 /dev/urandom | base64) signalbox serve --host {host}\n"
            "clients then send it as their key: SIGNALBOX_INTAKE_TOKEN",
        )
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise SurroundingsError(
            f"port {port} of {host} cannot be used: {error.strerror}", "choose another with --port"
        ) from None
    return listener


def _is_loopback(address: str) -> bool:
    import ipaddress

    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _target() -> "Target":
    """Where the relay delivers to; raises ``UsageError`` when nowhere."""
    from runner.cli import settings
    from runner.intake import target

    found = settings.read(os.environ)
    to = target(
        site=found.site,
        key=found.key,
        intake_url=found.intake_url,
        token=found.token,
        warn=_say,
    )
    if to is None:
        raise UsageError("--forward: there is nowhere to send to", "set DD_API_KEY")
    return to
