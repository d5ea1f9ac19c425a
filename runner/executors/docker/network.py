"""The networks of our own container, which a job's container joins.

A CI that starts us in a container puts us on the network of its job, where its services have names
(GitHub's ``services:``, GitLab's network per build): a job of ours is to find them, too. Owns which
networks those are. Never the host's: that no pipeline is given.
"""

from typing import Final

from docker import APIClient

from runner.executors.docker.labels import PREFIX
from runner.executors.docker.mapping import itself

_BUILT_IN: Final = frozenset({"bridge", "host", "none"})
"""Networks that an engine always has; they know no names."""


def ourselves(api: APIClient) -> str:
    """The id of our own container, if it has a network that is not the host's."""
    found = itself(api)
    if found is None or found["HostConfig"]["NetworkMode"] == "host":
        return ""
    return str(found["Id"])


def ours(api: APIClient) -> tuple[str, ...]:
    """The ids of the networks that somebody made and put us on."""
    found = itself(api)
    joined = found["NetworkSettings"]["Networks"] if found else {}
    return tuple(
        one["NetworkID"]
        for name, one in joined.items()
        if name not in _BUILT_IN and not name.startswith(PREFIX)  # that of a job's services
    )
