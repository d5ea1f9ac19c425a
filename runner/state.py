"""The state directory: whose it is, who may read it, which run is alive, what is put aside.

Owns modes, owners, the locks of runs and every name in the directory. Does not look inside the
database. Nothing outside the directory is ever written.
"""

import fcntl
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Self

from runner.errors import SurroundingsError

_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
"""What an execution's id must look like to name a directory; ours are UUIDs."""
_OURS: Final = re.compile(r"\.gitignore|\.lock|runs|serve|journal\.db.*")
ELSEWHERE: Final = "choose another place with --state or SIGNALBOX_STATE"


def plain(name: str) -> bool:
    """Whether ``name`` can name a directory and nothing else."""
    return _NAME.fullmatch(name) is not None


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Place:
    """One state directory, as this process uses it. Thread-safe. ``owner``: uid and gid of the
    workspace's, who may have it, too.
    """

    @classmethod
    def of(cls, state: str, workspace: str) -> Self:
        """The one at ``state``, beside a workspace."""
        found = os.stat(workspace)
        return cls(state, (found.st_uid, found.st_gid))

    def __init__(self, state: str, owner: tuple[int, int] | None = None) -> None:
        self.state = os.path.abspath(state)
        self.path = os.path.join(self.state, "journal.db")
        self._temporary = f"{self.path}.tmp"
        self._runs = os.path.join(self.state, "runs")
        self._gives = owner if owner and owner[0] != os.geteuid() == 0 else None
        self._trusted = {os.geteuid()} | ({owner[0]} if owner else set())
        self._locks: dict[str, int] = {}
        self._guard = threading.Lock()

    # ── the directory ────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Make the directory and what belongs into it, or correct it. Raises ``SurroundingsError``
        for what must not be used and ``OSError`` for what cannot be.
        """
        os.makedirs(os.path.dirname(self.state), exist_ok=True)
        self._folder(self.state, self._refuse_others)
        self._folder(self._runs)
        with suppress(FileExistsError):
            self.write(os.path.join(self.state, ".gitignore"), b"*\n")
        for suffix in ("", "-wal", "-shm"):
            self._file(self.path + suffix)

    def _folder(self, path: str, see: Callable[[], None] = lambda: None) -> None:
        """Make a directory, or look at the one that is there, and ``see`` that before it is
        changed.
        """
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            found = self._look(path)
            if not stat.S_ISDIR(found.st_mode):
                raise SurroundingsError(f"{path} is not a directory", ELSEWHERE) from None
            see()
            self._correct(path, found, 0o700)
            return
        os.chmod(path, 0o700)  # whatever the umask
        self.give(path)

    def _file(self, path: str) -> None:
        """Look at one of the database's files, if it is there."""
        with suppress(FileNotFoundError):
            found = self._look(path)
            if stat.S_ISREG(found.st_mode):
                self._correct(path, found, 0o600)

    def _look(self, path: str) -> os.stat_result:
        """What is there, when it is no symlink and nobody else's."""
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            raise SurroundingsError(
                f"{path} is a symbolic link: whoever set it decides where state is written",
                f"remove it, or {ELSEWHERE}",
            )
        if found.st_uid not in self._trusted:
            raise SurroundingsError(
                f"{path} belongs to user {found.st_uid}, not to user {os.geteuid()}",
                f"chown it, or {ELSEWHERE}",
            )
        return found

    def _correct(self, path: str, found: os.stat_result, mode: int) -> None:
        """Take from group and others what they must not have."""
        if not stat.S_IMODE(found.st_mode) & 0o077:
            return
        if found.st_mode & stat.S_ISVTX:
            raise SurroundingsError(f"{path} is a directory that all users share", ELSEWHERE)
        os.chmod(path, mode)

    def _refuse_others(self) -> None:
        """Never take over a directory with files of somebody else, not even its mode: ``--state .``
        is a slip, ``--state /etc`` a worse one.
        """
        names = os.listdir(self.state)
        if "journal.db" not in names and not all(map(_OURS.fullmatch, names)):
            raise SurroundingsError(
                f"{self.state} holds other files", f"use a directory of its own: {ELSEWHERE}"
            )

    def write(self, path: str, content: bytes) -> None:
        """A new file, on disk, readable by its owner alone. Raises ``FileExistsError``."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(content)
            file.flush()
            os.fsync(fd)
        self.give(path)

    def ensure(self, blank: Callable[[], bytes]) -> None:
        """There is a database: the one that is there, or a new one."""
        if self.identity() is None or os.path.lexists(self._temporary):
            with self.alone():
                self.publish(blank)

    def publish(self, blank: Callable[[], bytes]) -> None:
        """The database file, whole from the moment it can be seen; one that is there stays.
        Only while ``alone``.
        """
        with suppress(FileNotFoundError):
            os.unlink(self._temporary)  # what a killed process left
        if self.identity() is None:
            self.write(self._temporary, blank())
            os.rename(self._temporary, self.path)
            self._sync()

    def replace(self, blank: Callable[[], bytes], fill: Callable[[str], None]) -> str:
        """Another database in the place of the one that is there, whole from the moment it can be
        seen; the old one is kept, under the name returned. Only while ``alone``.
        """
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(self._temporary + suffix)
        self.write(self._temporary, blank())
        fill(self._temporary)
        if os.path.lexists(f"{self._temporary}-wal"):
            raise OSError(f"{self._temporary} could not take what its WAL holds")
        kept = self.aside()
        os.rename(self._temporary, self.path)
        self._sync()
        return kept

    def _sync(self) -> None:
        """Without this a power cut takes the name away, though the file was synced."""
        fd = os.open(self.state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def give(self, path: str) -> None:
        """To the workspace's owner, when we are root and he is another."""
        if self._gives:
            os.chown(path, *self._gives, follow_symlinks=False)

    def give_run(self, execution: str) -> None:
        """All that a run's directory holds by now."""
        if self._gives:
            with suppress(OSError):
                for entry in os.scandir(self.directory(execution)):
                    self.give(entry.path)

    def identity(self) -> tuple[int, int] | None:
        """Which file the path names; None: none."""
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def aside(self) -> str:
        """Put a damaged database aside, with its companions, and keep it. Returns its name.

        The name ends in the file's own last change, so no clock is needed.
        """
        stamp = int(os.lstat(self.path).st_mtime)
        while os.path.lexists(kept := f"{self.path}.corrupt-{stamp}"):
            stamp += 1
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(f"{self.path}-shm")  # an index of the WAL: made anew when it is opened
        for suffix in ("-wal", ""):  # the database last: without it nothing is open
            with suppress(FileNotFoundError):
                os.rename(self.path + suffix, kept + suffix)
        self._sync()
        return kept

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While files change their names: one process at a time."""
        path = os.path.join(self.state, ".lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self.give(path)
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────

    def directory(self, execution: str) -> str:
        """Where a run's logs and its lock lie."""
        return os.path.join(self._runs, execution)

    def seize(self, execution: str) -> bool:
        """Hold the run's lock from now on; False: another process does. Raises ``OSError``.

        A lock of the kernel (flock): it dies with its process, whatever became of the pid.
        """
        with self._guard:
            if execution not in self._locks:
                self._folder(self._runs)
                self._folder(self.directory(execution))
                self._take(execution)
            return execution in self._locks

    def _take(self, execution: str) -> None:
        path = os.path.join(self.directory(execution), "lock")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            self.give(path)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return
        except OSError:
            os.close(fd)
            raise
        self._locks[execution] = fd

    def reserve(self, execution: str) -> bool:
        """Make a new run's directory and hold its lock; False: there is one. Raises ``OSError``."""
        if os.path.lexists(self.directory(execution)):
            return False
        return self.seize(execution)

    def holds(self, execution: str) -> bool:
        """Whether this process holds the run's lock."""
        with self._guard:
            return execution in self._locks

    def renew(self, execution: str) -> bool:
        """Seize anew, after somebody removed the file that was locked."""
        self.release(execution)
        return self.seize(execution)

    def locked(self, execution: str) -> bool:
        """Whether there is a lock file, held or not."""
        return os.path.lexists(os.path.join(self.directory(execution), "lock"))

    def alive(self, execution: str) -> bool | None:
        """Whether another process holds the run's lock; None: there is none."""
        try:
            fd = os.open(os.path.join(self.directory(execution), "lock"), os.O_RDONLY)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        else:
            return False
        finally:
            os.close(fd)

    def release(self, *executions: str) -> None:
        """Give locks back; without a name, all of them."""
        with self._guard:
            for execution in executions or tuple(self._locks):
                fd = self._locks.pop(execution, -1)
                if fd >= 0:
                    os.close(fd)

    def remove_run(self, execution: str) -> None:
        """A run's directory, its lock last held by us."""
        import shutil  # noqa: PLC0415 - 3 ms that no run needs

        shutil.rmtree(self.directory(execution), ignore_errors=True)
        self.release(execution)

    def runs(self) -> list[str]:
        """Every run that has a directory."""
        try:
            return [name for name in os.listdir(self._runs) if plain(name)]
        except OSError:
            return []
