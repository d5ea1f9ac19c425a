"""Who steps are in a container, how they reach their files, and whose files they leave.

Owns the rules of interface, section 2, "User". What a container may do is ``container``'s; the way
to the workspace is ``mapping``'s.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, Final

import docker.errors
import msgspec
from docker import APIClient

from runner.executors.docker import script
from runner.executors.docker.mapping import View

WITHIN: Final = 5.0
"""Seconds that looking for files may take; what is not found then stays as it is."""
_TICK: Final = 10_000_000
"""Nanoseconds that a file's time may lie behind the clock: the kernel's tick is 4 to 10 ms."""
_ROOT: Final = {"", "0", "root"}
_GIVE: Final = 'xargs -0 chown -h -- "$1" <"$2"'


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Who steps are, as the engine takes it; empty: root."""

    name: str
    owner: tuple[int, int]
    """uid and gid of the workspace."""

    @classmethod
    def of(cls, declared: str, of_image: str, workspace: str) -> "User":
        """From the job's ``user`` and the image's own."""
        found = os.stat(workspace)
        owner = (found.st_uid, found.st_gid)
        name = f"{owner[0]}:{owner[1]}" if declared == "owner" else declared
        return cls(name=name or of_image, owner=owner)

    @property
    def uid(self) -> int | None:
        """None: the image alone knows."""
        said = self.name.partition(":")[0]
        if said in _ROOT:
            return 0
        return int(said) if said.isdecimal() else None

    @property
    def stranger(self) -> bool:
        """Whether they may not pass the directories above their files, which are ours alone."""
        return self.uid not in {0, os.geteuid()}

    @property
    def leaves_own(self) -> bool:
        """Whether what they leave is surely the workspace's owner's."""
        return self.uid == self.owner[0]


# ── how they reach their files ───────────────────────────────────────────────────────────────────


def mounts(
    api: APIClient, view: View, user: User, *, state: str, runs: str, directory: str
) -> list[dict[str, Any]]:
    """The mounts of a job's container. ``directory`` are the files of its steps, in ``runs``, which
    is in ``state``. Of a state directory outside the workspace a job gets its own files alone; in
    the workspace it is covered where steps could not pass it, for they shall pass to their files.
    """
    apart = [mount for mount in view.mounts if mount["Target"] != runs]
    if not view.mounts or (len(apart) == len(view.mounts) and not user.stranger):
        return list(view.mounts)
    own = _below(api, view.mounts, directory)
    if len(apart) < len(view.mounts):
        return [*apart, own]
    return [*apart, {**_below(api, view.mounts, _cover(state, directory)), "Target": state}, own]


def _cover(state: str, directory: str) -> str:
    """A directory to be mounted over the state directory, through which everybody may pass. A tmpfs
    takes the mode of what it covers (runc, ``rootfs_linux.go``).
    """
    cover = f"{directory}.cover"
    way = os.path.join(cover, os.path.relpath(directory, state))
    os.makedirs(way, exist_ok=True)
    while way != os.path.dirname(cover):
        os.chmod(way, 0o755)  # noqa: S103 - it is empty, and the directories above are ours alone
        way = os.path.dirname(way)
    return cover


def _below(api: APIClient, mounts: tuple[dict[str, Any], ...], path: str) -> dict[str, Any]:
    """``path``, which lies in one of the mounts, on its own."""
    around = [m for m in mounts if os.path.commonpath((m["Target"], path)) == m["Target"]]
    nearest = max(around, key=lambda mount: len(mount["Target"]))
    source = nearest["Source"]
    if nearest["Type"] == "volume":
        source = api.inspect_volume(source)["Mountpoint"]
    inside = os.path.relpath(path, nearest["Target"])
    return {"Type": "bind", "Source": os.path.join(source, inside), "Target": path}


# ── whose the files are ──────────────────────────────────────────────────────────────────────────


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """A workspace that a container writes into since ``since``, in epoch nanoseconds."""

    path: str
    state: str
    since: int
    directory: str
    """Where the list for the container is put."""

    def give_back(self, api: APIClient, container: str, user: User) -> None:
        """Give what steps left under another uid to the workspace's owner, through the container:
        we may not be root, and a path that changes meanwhile leads nowhere else there.
        """
        if user.leaves_own:
            return
        names = b"\0".join(self._foreign(user.owner[0]))
        if not names:
            return
        path = os.path.join(self.directory, f"left-{os.urandom(8).hex()}")
        with contextlib.suppress(docker.errors.DockerException, OSError):
            with open(path, "xb") as file:
                file.write(names)
            owner = f"{user.owner[0]}:{user.owner[1]}"
            words = [script.SHELL, "-c", _GIVE, "signalbox", owner, path]
            api.exec_start(api.exec_create(container, words, user="0")["Id"])
        with contextlib.suppress(OSError):
            os.unlink(path)

    def _foreign(self, owner: int) -> Iterator[bytes]:
        """What changed since then and is not the owner's; links are not followed."""
        until = time.monotonic() + WITHIN
        places = [self.path]
        while places and time.monotonic() < until:
            with contextlib.suppress(OSError), os.scandir(places.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_uid != owner and found.st_ctime_ns >= self.since - _TICK:
                        yield os.fsencode(entry.path)
                    if entry.is_dir(follow_symlinks=False) and entry.path != self.state:
                        places.append(entry.path)
