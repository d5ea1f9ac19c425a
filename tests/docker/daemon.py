"""An engine that a test may kill, freeze and start again: a second ``dockerd``.

Owns its life: socket, store and process group of its own, no firewall rule, and a network namespace
of its own, for ``--bridge none`` removes the bridge of the machine's own engine from this one. So
nothing of that engine is touched. Takes root and ``dockerd``.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.container.engine import EngineError, cache


class Daemon:
    """One engine. ``home`` outlives it: what it has loaded need not be loaded again."""

    def __init__(self, home: Path, run: Path) -> None:
        self.home, self.run = home, run
        self.url = f"unix://{run}/docker.sock"
        below = f"--root {home}/containerd --state {run}/containerd"
        # Of its own, as where systemd starts both: what dockerd starts itself dies with it.
        self._below = self._spawn(f"containerd --address {run}/containerd.sock {below}")
        self._dockerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.run / "pid").unlink(missing_ok=True)  # a killed one leaves it, and then none starts
        self._dockerd = self._spawn(
            f"unshare --net dockerd --host {self.url} --pidfile {self.run}/pid"
            f" --exec-root {self.run}/exec --data-root {self.home}/docker"
            f" --containerd {self.run}/containerd.sock --bridge none --iptables=false"
        )
        for _ in range(300):
            if self._answers() or self._dockerd.poll() is not None:
                break
            time.sleep(0.05)
        if not self._answers():
            last = (self.run / "log").read_text(errors="replace").splitlines()[-20:]
            raise EngineError("\n".join(["dockerd did not start:", *last]))

    def _spawn(self, command: str) -> subprocess.Popen[bytes]:
        with (self.run / "log").open("ab") as log:
            return subprocess.Popen(command.split(), stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """As a crash ends it; its containers live on, without it."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait()

    def restart(self) -> None:
        """A crash and a new start: without live-restore its containers are ended."""
        self.kill()
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It is there, and does not answer."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def send(self, number: int) -> None:
        """A signal to it alone."""
        assert self._dockerd is not None
        self._dockerd.send_signal(number)

    def docker(self, *arguments: str) -> str:
        """What ``docker`` prints, talking to this engine; "" if it fails."""
        done = subprocess.run(
            ["docker", "--host", self.url, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def load(self, image: str) -> None:
        """An image of the machine's own engine."""
        if self.docker("image", "ls", "--quiet", image):
            return
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            command = ["docker", "--host", self.url, "load", "--quiet"]
            subprocess.run(command, stdin=saved.stdout, capture_output=True, check=True)

    def end(self) -> None:
        """It, its containers and what it ran them with are gone."""
        if self._dockerd and self._dockerd.poll() is not None:
            self.start()
        for container in self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", container)
        for process in (self._dockerd, self._below):
            if process:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(15)
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        return bool(self.docker("version", "--format", "{{.Server.Version}}"))


@contextmanager
def daemon(image: str) -> Iterator[Daemon]:
    """A second engine that has ``image``."""
    if os.geteuid() or not shutil.which("dockerd"):
        raise EngineError("an engine that tests may kill takes root and dockerd")
    run = Path(f"/run/signalbox-tests-{os.getpid()}")
    run.mkdir(mode=0o700)
    home = cache() / "second"
    home.mkdir(mode=0o700, exist_ok=True)
    second = Daemon(home, run)
    try:
        second.start()
        second.load(image)
        yield second
    finally:
        second.end()
        shutil.rmtree(run, ignore_errors=True)
