"""A Docker engine for the tests, and an image of Debian to build on.

Owns installing what tests drive from outside (engine, tmux, a browser), finding or starting the
engine, and the base image. Knows nothing of Signalbox.

An engine that answers is used as it is. Otherwise one of our own is started (root, dockerd), with
its socket and its store in the cache directory, no bridge and no firewall rule: nothing of the
machine's own engine is touched. Containers then have the host's network or none. Where no registry
answers, the base image is made from Debian's packages, once, and kept in the cache directory.

``python -m tests.container.engine`` installs what is missing (root on Debian, CI=true) and makes
the base image's archive, so that this can go on while other checks run.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"
BASE: Final = "debian:bookworm-slim"
"""What the Dockerfile builds on when nobody says otherwise."""
MADE: Final = "signalbox-tests/base:1"
"""The same, made here. Count up when the recipe below changes."""
_SOCKETS: Final = Path("/run/signalbox-tests")
"""Short, because the path of a socket ends at 107 characters."""
_PACKAGES: Final = {"tmux": "tmux", "chromium": "chromium", "strace": "strace", "ip": "iproute2"}
"""Programs that tests of what a person sees drive, by the names of Debian's packages."""
_ENGINE: Final = {"dockerd": "docker.io", "debootstrap": "debootstrap"}
_DOCUMENTS: Final = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
)
_NOT_NEEDED: Final = (
    "/var/cache/apt/*",
    "/var/lib/apt/lists/*",
    "/var/log/*",
    "/dev/*",
    *_DOCUMENTS,
)
"""Left out of the base image, as ``bookworm-slim`` leaves it out."""


class EngineError(Exception):
    """There is no engine to be had, and why."""


def wanted() -> bool:
    """Whether whoever runs the tests wants an engine started."""
    return os.environ.get("CI") == "true" or os.environ.get("SIGNALBOX_TEST_ENGINE") == "1"


def cache() -> Path:
    """A directory that outlives a run of the tests, outside the tree."""
    named = os.environ.get("SIGNALBOX_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    directory = Path(named or Path.home() / ".cache") / "signalbox-tests"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process at a time holds ``name``; the others wait."""
    with (cache() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """A line for whoever waits."""
    print(f"engine: {text}", file=sys.stderr, flush=True)


def docker(*arguments: str, timeout: float = 300, feed: Path | None = None) -> str:
    """What ``docker`` prints to its standard output; raises EngineError if it fails."""
    with (feed or Path(os.devnull)).open("rb") as stdin:
        done = subprocess.run(
            ["docker", *arguments],
            stdin=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise EngineError(f"docker {' '.join(arguments[:2])} ended with {done.returncode}\n{said}")
    return done.stdout.strip()


def answers() -> bool:
    """Whether an engine answers where ``docker`` looks for one."""
    with suppress(EngineError, OSError, subprocess.TimeoutExpired):
        return bool(docker("version", "--format", "{{.Server.Version}}", timeout=20))
    return False


@contextmanager
def running() -> Iterator[None]:
    """An engine, for as long as this lasts; ``DOCKER_HOST`` says where when it is our own."""
    if answers():
        yield
        return
    if os.geteuid() or not shutil.which("dockerd"):
        raise EngineError("no Docker engine answers, and starting one takes root and dockerd")
    with locked("engine"):
        before = os.environ.get("DOCKER_HOST")
        daemon = _start()
        try:
            yield
        finally:
            with suppress(EngineError):  # stages of earlier builds, which keep today's ones quick
                docker("image", "prune", "--force", "--filter", "until=48h")
            _stop(daemon)
            _restore(before)


def _restore(host: str | None) -> None:
    os.environ.pop("DOCKER_HOST", None)
    if host is not None:
        os.environ["DOCKER_HOST"] = host


def _start() -> subprocess.Popen[bytes]:
    home = cache() / "engine"
    home.mkdir(mode=0o700, exist_ok=True)
    _SOCKETS.mkdir(mode=0o700, exist_ok=True)
    _end_orphan(_SOCKETS / "pid")
    socket = f"unix://{_SOCKETS}/docker.sock"
    command = (
        f"dockerd --host {socket} --pidfile {_SOCKETS}/pid --exec-root {_SOCKETS}/run"
        f" --data-root {home}/data --bridge none --iptables=false"
    )
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen(
            command.split(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.environ["DOCKER_HOST"] = socket
    for _ in range(300):
        if daemon.poll() is not None:
            break
        if answers():
            return daemon
        time.sleep(0.1)
    _stop(daemon)
    last = (home / "log").read_text(errors="replace").splitlines()[-20:]
    raise EngineError("\n".join(["dockerd did not start:", *last]))


def _end_orphan(pidfile: Path) -> None:
    """End the engine of a killed run of the tests: the lock is ours, so nobody uses it."""
    with suppress(OSError, ValueError):
        pid = int(pidfile.read_text())
        comm = Path(f"/proc/{pid}/comm")
        if comm.read_text() == "dockerd\n":
            os.kill(pid, signal.SIGTERM)
            while comm.read_text() == "dockerd\n":
                time.sleep(0.1)
    pidfile.unlink(missing_ok=True)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def base_image() -> str:
    """The name of an image of Debian that this engine has."""
    for name in (BASE, MADE):
        with suppress(EngineError):
            docker("image", "inspect", name)
            return name
    with suppress(EngineError, subprocess.TimeoutExpired):
        docker("pull", "--quiet", BASE, timeout=60)
        return BASE
    docker("import", "-", MADE, feed=archive())
    return MADE


def archive() -> Path:
    """An archive of a minimal Debian, like ``bookworm-slim``; made if there is none yet."""
    made = cache() / f"{MADE.replace('/', '-').replace(':', '-')}.tar"
    with locked("archive"):
        if made.exists():
            return made
        if os.geteuid() or not shutil.which("debootstrap"):
            raise EngineError("no registry answers, and debootstrap takes root and debootstrap")
        say("making the base image from Debian's packages (half a minute)")
        tree = cache() / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        _run("debootstrap", "--variant=minbase", SUITE, str(tree))
        _stay_slim(tree)
        unfinished = made.with_suffix(".new")
        leave = [f"--exclude=.{path}" for path in _NOT_NEEDED]
        _run("tar", "-C", str(tree), "-cf", str(unfinished), *leave, ".")
        shutil.rmtree(tree)
        unfinished.rename(made)
    return made


def _stay_slim(tree: Path) -> None:
    """What the official image does so that packages installed later are slim as well."""
    excluded = "".join(f"path-exclude={path}\n" for path in _DOCUMENTS)
    (tree / "etc/dpkg/dpkg.cfg.d/slim").write_text(excluded)
    clean = 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin"; };\n'
    (tree / "etc/apt/apt.conf.d/clean").write_text(clean)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise EngineError(f"{command[0]} ended with {done.returncode}\n{said}")


def install() -> None:
    """Debian's own packages for what is missing; only as root, only in a CI."""
    if os.geteuid() or os.environ.get("CI") != "true" or not shutil.which("apt-get"):
        return
    needed = _PACKAGES if answers() else _PACKAGES | _ENGINE
    missing = [package for name, package in needed.items() if not shutil.which(name)]
    if not missing:
        return
    say(f"installing {' '.join(missing)}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    _run("apt-get", "update")
    _run("apt-get", "install", "-y", "--no-install-recommends", *missing)
    if "docker.io" in missing and not shutil.which("docker"):  # its own package from Debian 13 on
        _run("apt-get", "install", "-y", "--no-install-recommends", "docker-cli")


def prepare() -> None:
    """Everything that can be done before the engine runs."""
    install()
    if not answers() and not os.geteuid() and shutil.which("debootstrap"):
        archive()


if __name__ == "__main__" and wanted():
    try:
        prepare()
    except EngineError as error:
        sys.exit(f"engine: {error}")
