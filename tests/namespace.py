"""A network of one's own, in which the program runs: packets to two addresses lead nowhere.

Owns that network (``python -m tests.namespace``, started by ``unshare --net --mount``) and the
answer of its resolver for one name. Run as root.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Final

import msgspec

from runner.intake import target
from runner.intake.http import Intake
from tests.intake_server import Server, intake

NAME: Final = "host.docker.internal"
"""A name to which plain HTTP is allowed."""
SWALLOWED_4, SWALLOWED_6, NO_ROUTE_6 = "10.9.0.2", "2001:db8:9::2", "2001:db8:77::1"
_SETUP: Final = f"""
ip link set lo up
ip link add here type veth peer name there
ip addr add 10.9.0.1/24 dev here
ip -6 addr add 2001:db8:9::1/64 dev here nodad
ip link set here up
ip link set there up
ip neigh add {SWALLOWED_4} lladdr 02:00:00:00:00:09 dev here nud permanent
ip -6 neigh add {SWALLOWED_6} lladdr 02:00:00:00:00:09 dev here nud permanent
"""
"""What is sent to the two neighbours reaches nobody: that is a SYN dropped on the way."""


class Told(msgspec.Struct, frozen=True):
    """What came of it."""

    code: int
    err: str
    events: int
    flushed: int = -1
    """The exit code of ``flush``, once the network is well; -1: not asked for."""
    seconds: float = 0.0
    """How long one attempt tried to connect that had a minute."""


def names(*addresses: str) -> None:
    """The addresses of the name, from now on."""
    with open("/etc/hosts", "r+", encoding="ascii") as file:  # bound over the machine's own
        file.truncate()
        file.write("127.0.0.1 localhost\n" + "".join(f"{each} {NAME}\n" for each in addresses))


@contextlib.contextmanager
def only_ipv6(port: int) -> Iterator[None]:
    """The port on ::1 leads to the one on 127.0.0.1."""
    listener = socket.create_server(("::1", port), family=socket.AF_INET6)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                outer, _ = listener.accept()
                inner = socket.create_connection(("127.0.0.1", port))
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield
    finally:
        listener.close()


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, in this network."""
    port = server.url.rpartition(":")[2]
    return subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        env=os.environ | {"SIGNALBOX_INTAKE_URL": f"http://{NAME}:{port}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def swallowed(server: Server) -> Told:
    """N7: nobody answers, for as long as the run lasts; then the network is well."""
    names(SWALLOWED_4)
    seconds: list[float] = []

    def try_long() -> None:
        to = target(intake_url=f"http://{NAME}:1", site="", key="", token="", warn=print)
        assert to is not None
        one = Intake(to, environ={}, version="0")
        began = time.monotonic()
        one.send(b"[]", within=60)
        seconds.append(time.monotonic() - began)

    trying = threading.Thread(target=try_long)
    trying.start()
    done = run(server, "run")
    trying.join()
    early = len(server.events)
    names("127.0.0.1")
    flushed = run(server, "flush")
    assert not early
    return Told(done.returncode, done.stderr, len(server.events), flushed.returncode, seconds[0])


def reached(server: Server, *addresses: str) -> Told:
    """N12: the name has these addresses."""
    names(*addresses)
    done = run(server, "run")
    return Told(done.returncode, done.stderr, len(server.events))


def main() -> None:
    """``swallowed``, or the addresses of the name."""
    subprocess.run(["sh", "-ec", _SETUP], check=True)
    with open("hosts", "w", encoding="ascii"):
        pass
    subprocess.run(["mount", "--bind", "hosts", "/etc/hosts"], check=True)
    with intake() as server, only_ipv6(int(server.url.rpartition(":")[2])):
        addresses = sys.argv[1:]
        told = swallowed(server) if addresses == ["swallowed"] else reached(server, *addresses)
        assert server.findings() == []
    print(json.dumps(msgspec.to_builtins(told)))


if __name__ == "__main__":
    main()
