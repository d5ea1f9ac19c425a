"""Which way a job's container would get the workspace, found out without a job.

Owns a container that is created, looked through and removed, never started. The ways are
``mapping``'s.
"""

import time
from typing import Final

import docker.errors
from docker import APIClient

from runner.executors.docker import container, labels
from runner.executors.docker.calls import Client
from runner.executors.docker.labels import Owner
from runner.executors.docker.mapping import Mapping, View, itself

_LASTS: Final = 60


def probe(api: Client, workspace: str, witness: str) -> tuple[View, bool]:
    """The way, and whether it is proved: that takes an image that the engine has."""
    ways = Mapping(api, (workspace,), (witness,))
    image = _image(api)
    if not image:
        return ways.view, False
    nobody = Owner(state="", execution="plan", process="")

    def make(view: View) -> str:
        made = api.create_container(
            image,
            ["true"],
            name=labels.name("plan"),
            labels=labels.made(nobody, job="plan", expires=int(time.time()) + _LASTS),
            host_config=api.create_host_config(mounts=list(view.mounts)),  # type: ignore[arg-type]
        )
        return str(made["Id"])

    try:
        made, view = ways.create(make)
    except docker.errors.APIError:
        return ways.view, False
    container.remove(api, made)
    return view, True


def _image(api: APIClient) -> str:
    """Our own, else any."""
    if ours := itself(api):
        return str(ours["Image"])
    return str(next((found["Id"] for found in api.images()), ""))
