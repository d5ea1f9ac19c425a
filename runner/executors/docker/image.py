"""Images: when they are pulled, with whose credentials, and which one it was in the end.

Owns the pull policy and that an image is fetched once for an execution, beside others and before
its job asks for it. Credentials are those of Docker's own configuration, helpers too: the SDK
reads them.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import docker.errors
import docker.utils
import msgspec
from docker import APIClient

from runner import notice
from runner.executors import Stop
from runner.executors.shell import NotStartedError
from runner.notice import Exit, Reason

AT_ONCE: Final = 3
"""As many as ``dockerd`` loads layers at a time."""
ATTEMPTS: Final = 3
PAUSE: Final = 1.0
"""Seconds before the second attempt; the third waits three times as long."""
_LOOK: Final = 0.02
_FINAL: Final = (
    "not found",
    "denied",
    "unauthorized",
    "manifest unknown",
    "no matching manifest",
    "invalid reference",
    "authentication required",
    "no space left",
    "does not exist",
)
"""What another attempt does not change, as registries and engines say it."""


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that the engine has."""

    id: str
    user: str
    """Its own; empty: root."""
    told: notice.Image


class Images:
    """The images of one execution. ``pinned``: digests that earlier executions of the chain ran
    in, by name. ``tell`` is told when one is pulled. Thread-safe.
    """

    def __init__(
        self,
        api: APIClient,
        pinned: Mapping[str, str],
        tell: Callable[[str], object] = str,
    ) -> None:
        self._api, self._pinned, self._tell = api, pinned, tell
        self._places = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._fetches: dict[tuple[str, str], _Fetch] = {}

    def want(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Begin to fetch images, by name and policy; what goes wrong is told who asks for them."""
        for name, policy in wanted:
            self._fetch(name, policy)

    def get(self, name: str, policy: str, stop: Stop) -> Image:
        """The image, when it is here; raises ``NotStartedError`` when it cannot be had."""
        fetch = self._fetch(name, policy)
        while not fetch.over.wait(_LOOK):
            if stop.reason is not None:
                code, why = 128 + 15, f"{name} was still being pulled"
                raise NotStartedError(Exit(code=code, reason=stop.reason, message=why))
        if fetch.image is None:
            raise NotStartedError(fetch.refused)
        return fetch.image

    def _fetch(self, name: str, policy: str) -> "_Fetch":
        with self._lock:
            fetch = self._fetches.get((name, policy))
            if fetch is None:
                digest = self._pinned.get(name, "")
                fetch = _Fetch(self._api, name, policy, digest, self._places, self._tell)
                self._fetches[name, policy] = fetch
                fetch.start()
        return fetch


class _Fetch(threading.Thread):
    """Fetches one image. A thread of its own: the SDK cannot be told to stop."""

    def __init__(
        self,
        api: APIClient,
        name: str,
        policy: str,
        digest: str,
        places: threading.Semaphore,
        tell: Callable[[str], object],
    ) -> None:
        super().__init__(name=f"pull {name}", daemon=True)
        self._api, self._name, self._places, self._tell = api, name, places, tell
        self._repository, self._tag = docker.utils.parse_repository_tag(name)
        pinned = digest and not _is_digest(self._tag)
        self._reference = f"{self._repository}@{digest}" if pinned else name
        self._default = not policy
        self._policy = _policy(policy, self._tag, pinned=bool(pinned))
        self.over = threading.Event()
        self.image: Image | None = None
        self.refused = Exit(code=1, reason=Reason.IMAGE_PULL)

    def run(self) -> None:
        try:
            with self._places:
                self.image = self._have()
        except (docker.errors.DockerException, OSError, ValueError) as error:
            self.refused = _refusal(self._name, error)
        finally:
            self.over.set()

    def _have(self) -> Image:
        if self._policy != "always":
            found = self._look()
            if found or self._policy == "never":
                return found or _missing(self._name)
        self._tell(f"pulling {self._name}")
        begin = time.monotonic()
        try:
            self._insist()
        except (docker.errors.DockerException, OSError):
            # Nobody said "always": an image that was built here is in no registry.
            found = self._look() if self._default else None
            if found is None:
                raise
            return found
        self._tell(f"pulled {self._name} in {time.monotonic() - begin:.1f} s")
        return self._look() or _missing(self._name)

    def _insist(self) -> None:
        for attempt in range(ATTEMPTS):
            try:
                self._pull()
            except (docker.errors.DockerException, OSError) as error:
                if attempt + 1 == ATTEMPTS or any(word in str(error).lower() for word in _FINAL):
                    raise
            else:
                return
            time.sleep(PAUSE * 3**attempt * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret

    def _look(self) -> Image | None:
        try:
            found: dict[str, Any] = self._api.inspect_image(self._reference)  # type: ignore[no-untyped-call]
        except docker.errors.ImageNotFound:
            return None
        words = (found["Os"], found["Architecture"], found.get("Variant", ""))
        told = notice.Image(
            name=self._name,
            digest=_digest(self._repository, found.get("RepoDigests") or ()),
            platform="/".join(word for word in words if word),
        )
        user = (found.get("Config") or {}).get("User") or ""
        return Image(id=found["Id"], user=user, told=told)

    def _pull(self) -> None:
        repository, tag = docker.utils.parse_repository_tag(self._reference)
        try:
            said = self._api.pull(repository, tag or "latest", stream=True, decode=True)
        except docker.errors.APIError:
            raise
        except docker.errors.DockerException:  # a helper of the configuration that does not work
            said = self._api.pull(
                repository, tag or "latest", stream=True, decode=True, auth_config={}
            )
        for line in said:
            if "error" in line:
                raise docker.errors.DockerException(line["error"])


def _policy(policy: str, tag: str | None, *, pinned: bool) -> str:
    """A digest is what it is: to ask again for it is in vain."""
    if _is_digest(tag) or pinned:
        return "never" if policy == "never" else "missing"
    return policy or ("always" if tag in {None, "", "latest"} else "missing")


def _is_digest(tag: str | None) -> bool:
    return bool(tag) and ":" in str(tag)


def _digest(repository: str, known: Iterable[str]) -> str:
    """Of the digests by which the image is known, the one of this repository."""
    pairs = [tuple(one.split("@", 1)) for one in known if "@" in one]
    mine = [digest for name, digest in pairs if name == repository.removeprefix("docker.io/")]
    return mine[0] if mine else pairs[0][1] if pairs else ""


def _missing(name: str) -> Any:
    raise docker.errors.DockerException(f"{name} is not on this engine, and may not be pulled")


def _refusal(name: str, error: Exception) -> Exit:
    explained = getattr(error, "explanation", None) or str(error)
    why = str(explained).removeprefix("Error response from daemon: ")
    reason = Reason.DISK_FULL if "no space left" in why else Reason.IMAGE_PULL
    message = why if name in why else f"{name}: {why}"
    return Exit(code=1, reason=reason, message=message)
