"""An engine that a test may kill, freeze and start again: a second ``dockerd``.

Owns its life: socket, store and process group of its own, no firewall rule, and a network namespace
of its own, for ``--bridge none`` removes the bridge of the machine's own engine from this one. So
nothing of that engine is touched. Takes root and ``dockerd``.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.container.engine import EngineError, cache


class Daemon:
    """One engine. ``home`` outlives it: what it has loaded need not be loaded again. To one for
    which a directory is ``hidden`` that is empty, as if it were on another machine.
    """

    def __init__(self, home: Path, run: Path, hidden: Path | None = None) -> None:
        self.home, self.run = home, run
        self.url = f"unix://{run}/docker.sock"
        self._hidden = hidden
        self._below: subprocess.Popen[bytes] | None = None
        self._dockerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (self.run / "pid").unlink(missing_ok=True)  # a killed one leaves it, and then none starts
        command = (
            f"dockerd --host {self.url} --pidfile {self.run}/pid --exec-root {self.run}/exec"
            f" --data-root {self.home}/docker --bridge none --iptables=false"
        )
        if self._hidden:
            hide = f"mount --make-rprivate / && mount -t tmpfs none {self._hidden}"
            self._dockerd = self._spawn(
                *("unshare", "--net", "--mount", "sh", "-c", f"{hide} && exec {command}")
            )
        else:
            beside = ("--containerd", self._beside())
            self._dockerd = self._spawn("unshare", "--net", *command.split(), *beside)
        for _ in range(300):
            if self._answers() or self._dockerd.poll() is not None:
                break
            time.sleep(0.05)
        if not self._answers():
            last = (self.run / "log").read_text(errors="replace").splitlines()[-20:]
            raise EngineError("\n".join(["dockerd did not start:", *last]))

    def _beside(self) -> str:
        """What runs containers lives on when ``dockerd`` dies, as where systemd starts both."""
        socket = f"{self.run}/containerd.sock"
        if self._below is None:
            own = f"--root {self.home}/containerd --state {self.run}/containerd"
            self._below = self._spawn(*f"containerd --address {socket} {own}".split())
        return socket

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.run / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

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
    def frozen(self, once: Path | None = None) -> Iterator[None]:
        """It is there and does not answer, at once or ``once`` a file is there."""
        assert self._dockerd is not None
        stop = partial(self._dockerd.send_signal, signal.SIGSTOP)
        freezing = when(once, stop) if once else None
        if not freezing:
            stop()
        try:
            yield
        finally:
            if freezing:
                freezing.join()
            self._dockerd.send_signal(signal.SIGCONT)

    def docker(self, *arguments: str) -> str:
        """What ``docker`` prints, talking to this engine; "" if it fails."""
        done = subprocess.run(
            ["docker", "--host", self.url, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def load(self, image: str) -> None:
        """An image of the machine's own engine."""
        which = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
        wanted = subprocess.run(which, capture_output=True, text=True, check=True).stdout.strip()
        if self.docker(*which[1:]) == wanted:
            return
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            command = ["docker", "--host", self.url, "load", "--quiet"]
            subprocess.run(command, stdin=saved.stdout, capture_output=True, check=True)

    def revive(self) -> None:
        """It runs, whatever a test has done to it."""
        if self._dockerd and self._dockerd.poll() is not None:
            self.start()

    def end(self) -> None:
        """It, its containers and what it ran them with are gone."""
        self.revive()
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


def when(path: Path, call: Callable[[], object]) -> threading.Thread:
    """Do it as soon as a step has made this file, in a thread of its own."""

    def wait() -> None:
        until = time.monotonic() + 30
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.02)
        call()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@contextmanager
def daemon(name: str, image: str, hidden: Path | None = None) -> Iterator[Daemon]:
    """An engine of this ``name`` that has ``image``."""
    if os.geteuid() or not shutil.which("dockerd"):
        raise EngineError("an engine that tests may kill takes root and dockerd")
    run = Path(f"/run/signalbox-{name}-{os.getpid()}")
    run.mkdir(mode=0o700)
    home = cache() / name
    home.mkdir(mode=0o700, exist_ok=True)
    made = Daemon(home, run, hidden)
    try:
        made.start()
        made.load(image)
        yield made
    finally:
        made.end()
        shutil.rmtree(run, ignore_errors=True)
