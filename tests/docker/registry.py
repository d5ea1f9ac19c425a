"""A registry of images on 127.0.0.1, which Docker takes without TLS; it can refuse and misbehave.

Owns the part of the distribution API that pulling takes, and one image, made from any that the
engine has: https://distribution.github.io/distribution/spec/api. Knows nothing of Signalbox.
"""

import base64
import hashlib
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Final

_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """What is in it, who may have it, and who asked."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}
        self._tags: dict[str, str] = {}
        self.asked: list[str] = []
        """The manifests that were asked for."""
        self.failures = 0
        """How many of the next requests for a manifest are answered with 500."""
        self.users: dict[str, str] = {}
        """Who may pull; none: everybody."""
        self.at = ""
        """Its address, as it begins the name of an image."""

    def hold(self, name: str, image: str, **config: Any) -> str:
        """Take in an image of the engine's under ``NAME:TAG``; its digest."""
        saved = subprocess.run(["docker", "save", image], capture_output=True, check=True)
        with tarfile.open(fileobj=BytesIO(saved.stdout)) as archive:
            inside = json.loads(_read(archive, "manifest.json"))[0]
            made = json.loads(_read(archive, inside["Config"]))
            made["config"] = {**made.get("config", {}), **config}
            layers = [self._keep(_read(archive, layer)) for layer in inside["Layers"]]
        kind = "application/vnd.docker.image.rootfs.diff.tar"
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                **self._keep(json.dumps(made).encode()),
            },
            "layers": [{"mediaType": kind, **layer} for layer in layers],
        }
        digest = str(self._keep(json.dumps(manifest).encode())["digest"])
        self._tags[name] = digest
        return digest

    def _keep(self, content: bytes) -> dict[str, str | int]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._blobs[digest] = content
        return {"digest": digest, "size": len(content)}

    def answer(self, path: str, user: tuple[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a request."""
        if self.users and user not in self.users.items():
            asks = {"WWW-Authenticate": 'Basic realm="tests"'}
            return 401, _problem("UNAUTHORIZED", "authentication required"), asks
        if path == "/v2/":
            return 200, b"{}", {}
        name, kind, reference = path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "manifests":
            self.asked.append(f"{name}:{reference}")
            if self.failures:
                self.failures -= 1
                return 500, _problem("UNKNOWN", "the disk of the registry is full"), {}
            reference = self._tags.get(f"{name}:{reference}", reference)
        if reference not in self._blobs:
            return 404, _problem("MANIFEST_UNKNOWN", "manifest unknown"), {}
        headers = {"Docker-Content-Digest": reference}
        if kind == "manifests":
            headers["Content-Type"] = _MANIFEST
        return 200, self._blobs[reference], headers


@contextmanager
def registry() -> Iterator[Registry]:
    """A registry that answers until the end of the block; what was pulled from it is removed."""
    held = Registry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            """An engine tries TLS first, and would wait for an answer to it."""
            if self.rfile.peek(1)[:1] != b"\x16":  # type: ignore[attr-defined]  # it is buffered
                super().handle()

        def do_GET(self) -> None:
            status, body, headers = held.answer(self.path, _user(self.headers.get("Authorization")))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Docker-Distribution-API-Version", "registry/2.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - as the library wants it

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.at = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        forget(held.at)


def forget(prefix: str) -> None:
    """Remove what the engine has of this registry."""
    listed = ["docker", "image", "ls", "--no-trunc", "--digests", "--format"]
    form = "{{.Repository}} {{.Tag}} {{.Digest}}"
    found = subprocess.run([*listed, form], capture_output=True, text=True, check=True)
    for line in found.stdout.splitlines():
        repository, tag, digest = line.split()
        if repository.startswith(prefix):
            name = f"{repository}:{tag}" if tag != "<none>" else f"{repository}@{digest}"
            subprocess.run(["docker", "image", "rm", name], capture_output=True, check=False)


def _user(header: str | None) -> tuple[str, str]:
    said = base64.b64decode((header or "").removeprefix("Basic ")).decode()
    name, _, password = said.partition(":")
    return name, password


def _problem(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
