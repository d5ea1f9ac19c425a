"""One job's container: what it may do, what it is given, and that it ends by itself.

Owns every option of every job container (threat T5): nothing of them comes from the pipeline file
but the image, the user and the three bounds. What runs in it is ``session``'s.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import docker.errors
import msgspec
from docker import APIClient
from docker.types import LogConfig

from runner.executors import Place
from runner.executors.docker import labels, script
from runner.executors.docker.image import Image
from runner.executors.docker.labels import Owner

CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETUID",
)
"""What installing packages and starting a server as another user take; all others are dropped.
Docker gives MKNOD, NET_RAW, AUDIT_WRITE, SYS_CHROOT and SETPCAP, too."""
PIDS: Final = 4096
"""Processes when the job says nothing: more than a build has, fewer than a machine (fault P10)."""
STOPPING: Final = 1
"""Seconds after which an engine that ends or starts again kills a keeper, which ignores TERM."""
SLACK: Final = 120
"""Seconds after the job's limit in which its ``always`` steps run, and we remove it."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a container is made of, beside what the job's place says."""

    image: Image
    mounts: Sequence[Any]
    network: str
    pipe: str
    """Through which the keeper says that it lives; empty: not at all."""


def create(api: APIClient, owner: Owner, place: Place, shape: Shape) -> str:
    """A container that is not started yet; its id."""
    made: dict[str, Any] = api.create_container(
        image=shape.image.id,
        entrypoint=script.keeper(lasts(place), shape.pipe),
        command=[],
        user="0",  # its keeper: what is done for a job that is another user takes root's rights
        name=labels.name(place.job_id),
        labels=labelled(owner, place),
        healthcheck={"test": ["NONE"]},
        stop_timeout=STOPPING,
        host_config=_bounds(api, place, shape),
    )
    return str(made["Id"])


def _bounds(api: APIClient, place: Place, shape: Shape) -> dict[str, Any]:
    return api.create_host_config(
        init=True,
        auto_remove=True,
        cap_drop=["ALL"],
        cap_add=list(CAPABILITIES),
        security_opt=["no-new-privileges:true"],
        pids_limit=place.pids or PIDS,
        mem_limit=place.memory or None,
        memswap_limit=place.memory or None,  # or a hog would swap before it is ended
        nano_cpus=int(place.cpus * 1e9) if place.cpus else None,
        mounts=[*shape.mounts],
        network_mode=shape.network or None,
        log_config=LogConfig(type="none"),
    )


def lasts(place: Place) -> int:
    """Seconds after which whatever was made for a job ends by itself."""
    return int(place.limit) + SLACK


def labelled(owner: Owner, place: Place) -> dict[str, str]:
    """The labels of whatever is made for a job now."""
    return labels.made(owner, job=place.job_id, expires=int(time.time()) + lasts(place))


def lives(api: APIClient, container: str) -> bool:
    """Whether it is there and runs."""
    try:
        found: dict[str, Any] = api.inspect_container(container)
    except docker.errors.NotFound:
        return False
    return bool(found["State"]["Running"])


def remove(api: APIClient, container: str) -> None:
    """Remove it and its volumes, whatever it does; somebody may have been first."""
    with contextlib.suppress(docker.errors.APIError, OSError):
        api.remove_container(container, force=True, v=True)
