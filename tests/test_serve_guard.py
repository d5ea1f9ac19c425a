"""Nobody else gets in: not by another site's page, not by another name, not without the token; and
a slow client holds nobody up.
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve_place import LOGS, PIPELINE, READ, SERVE, Serve, pipeline, serving

TOKEN = "a-token-of-some-length"
EVENT = {"data": pipeline("guarded")}
EVERYWHERE = ["/", "/executions", f"{READ}/events", "/api/v1/validate"]


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("guard") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """One that asks for a token, on every address."""
    state = tmp_path_factory.mktemp("locked") / "state"
    with serving(state, "--host", "0.0.0.0", SIGNALBOX_SERVE_TOKEN=TOKEN) as running:
        yield running


def test_the_port_is_open_to_this_machine_alone_and_asks_for_no_key(viewer: Serve) -> None:
    assert viewer.ask("GET", "/api/v1/validate").json == {"valid": True}
    sockets = Path(f"/proc/{viewer.process.pid}/net/tcp").read_text().upper()
    assert f"0100007F:{viewer.port:04X}" in sockets
    assert f"00000000:{viewer.port:04X}" not in sockets


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST.", "localhost:8136"]
)
def test_it_answers_to_its_own_names(viewer: Serve, host: str) -> None:
    assert viewer.ask("GET", "/api/v1/validate", headers={"Host": host}).status == 200


@pytest.mark.parametrize("path", EVERYWHERE)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", "0"])
def test_a_name_that_points_here_is_not_answered(viewer: Serve, path: str, host: str) -> None:
    answer = viewer.ask("GET", path, headers={"Host": host})
    assert answer.status == 403
    assert "documentation" not in answer.body.decode().lower()


@pytest.mark.parametrize("host", ["", "a b", "[::1", "[evil]:80", "localhost:x", "user@localhost"])
def test_a_host_that_is_none_is_refused(viewer: Serve, host: str) -> None:
    assert viewer.ask("GET", "/", headers={"Host": host}).status in (400, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
    ids=str,
)
def test_no_page_of_another_site_reads_or_writes(viewer: Serve, headers: dict[str, str]) -> None:
    assert viewer.ask("GET", f"{READ}/events", headers=headers).status == 403
    assert viewer.ask("POST", PIPELINE, EVENT, headers).status == 403
    assert viewer.ask("POST", LOGS, [], headers).status == 403


def test_a_form_of_another_site_writes_nothing_even_in_an_old_browser(viewer: Serve) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        body = json.dumps(EVENT).encode()
        assert viewer.ask("POST", PIPELINE, body, {"Content-Type": kind}).status == 415
    assert not viewer.search("@ci.pipeline.id:guarded")


def test_a_link_from_anywhere_and_our_own_pages_work(viewer: Serve) -> None:
    follow = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (
        viewer.ask("GET", "/executions", headers={"Sec-Fetch-Site": "cross-site", **follow}).status
        == 200
    )
    assert (
        viewer.ask("POST", PIPELINE, EVENT, {"Sec-Fetch-Site": "cross-site", **follow}).status
        == 403
    )
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": viewer.url}
    assert viewer.ask("POST", f"{READ}/events/search", {}, ours).status == 200


@pytest.mark.parametrize("path", [*EVERYWHERE, "/nothing", "/static/x/y"])
def test_every_answer_says_what_may_be_done_with_it(viewer: Serve, path: str) -> None:
    headers = viewer.ask("GET", path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/static/../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/x/..%2f..%2f..%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/executions/..%2f..%2fetc%2fpasswd",
        "/executions/%00",
        "/executions/../../serve/store.db",
    ],
)
def test_no_path_leads_out(viewer: Serve, path: str) -> None:
    answer = viewer.ask("GET", path)
    assert answer.status in (400, 404), answer.status
    assert b"root:" not in answer.body
    assert b"SQLite" not in answer.body


def test_logs_are_those_of_runs_and_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret.log"
    secret.write_text("s3cret")
    with serving(tmp_path / "state") as running:
        for job in ("../../../secret", "..", "a/../../secret", str(secret)):
            running.take(pipeline("../.."), pipeline(job))
            running.send(
                {"type": "cipipeline_resource_request", "attributes": {"resource": job_of(job)}}
            )
        for page in ("/executions/..%2F..", "/executions/..%2F..?job=..%2F..%2Fsecret&tab=logs"):
            assert b"s3cret" not in running.ask("GET", page).body


def job_of(id_: str) -> dict[str, object]:
    times = {"start": "2026-03-02T09:15:00Z", "end": "2026-03-02T09:15:01Z"}
    return {
        "level": "job",
        "id": id_,
        "name": "j",
        "pipeline_unique_id": "../..",
        "pipeline_name": "Documentation Build",
        "url": "",
        "status": "success",
        **times,
    }


# ── the token ────────────────────────────────────────────────────────────────────────────────────


def test_another_address_without_a_token_is_refused(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        done = subprocess.run(
            [*SERVE, "--host", host, "--port", "0", "--state", str(tmp_path / "state")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert "needs a token" in done.stderr
        assert not (tmp_path / "state").exists()


def test_a_short_token_is_no_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("short\n")
    command = [*SERVE, "--token-file", str(tmp_path / "token"), "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "16" in done.stderr
    assert "short" not in done.stderr.replace("shortest", "")


@pytest.mark.parametrize("path", EVERYWHERE)
def test_nothing_is_answered_without_the_token(locked: Serve, path: str) -> None:
    assert locked.ask("GET", path).status == 401
    assert locked.ask("GET", path, headers={"DD-API-KEY": "wrong"}).status == 403
    assert locked.ask("GET", path, headers={"Cookie": "signalbox=wrong"}).status == 403
    assert locked.ask("GET", f"{path}?token=wrong").status == 401
    assert locked.ask("POST", PIPELINE, EVENT).status == 401


def test_the_token_is_shown_as_a_key_or_a_bearer(locked: Serve) -> None:
    assert locked.ask("POST", PIPELINE, EVENT, {"DD-API-KEY": TOKEN}).status == 202
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert locked.ask("GET", "/api/v1/validate", headers=bearer).status == 200


def test_a_browser_brings_it_once_and_keeps_it(locked: Serve) -> None:
    first = locked.ask("GET", f"/executions?token={TOKEN}&level=job")
    assert (first.status, first.headers["location"]) == (303, "/executions?level=job")
    cookie = first.headers["set-cookie"]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    kept = {"Cookie": cookie.partition(";")[0]}
    assert locked.ask("GET", "/executions", headers=kept).status == 200
    away = locked.ask("GET", f"//evil.example/?token={TOKEN}")
    assert away.headers.get("location", "/").startswith("/evil.example") or away.status != 303


def test_the_token_is_said_nowhere(locked: Serve) -> None:
    assert TOKEN not in locked.said
    arguments = Path(f"/proc/{locked.process.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in arguments


# ── slow ones ────────────────────────────────────────────────────────────────────────────────────


def test_slow_clients_hold_nobody_up(viewer: Serve) -> None:
    head = f"POST {PIPELINE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    slow: list[socket.socket] = []
    for number in range(100):
        wire = viewer.connect()
        slow.append(wire)
        if number % 3 == 0:
            wire.sendall(head[:20].encode())
        elif number % 3 == 1:
            wire.sendall(f"{head}Content-Length: 1000000\r\n\r\n{{".encode())
        else:  # asks much and reads nothing
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            wire.sendall(f"GET {READ}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 50)
    try:
        for _ in range(3):
            assert viewer.send(pipeline("beside-slow-ones")).status == 202
            assert viewer.ask("GET", "/executions").status == 200
    finally:
        for wire in slow:
            wire.close()


# ── its end ──────────────────────────────────────────────────────────────────────────────────────


def test_it_ends_when_told_to_with_the_code_for_that(tmp_path: Path) -> None:
    for number, code in ((2, 130), (15, 143)):
        with serving(tmp_path / "state") as running, running.connect():  # an idle connection
            assert running.end(number)[0] == code


def test_what_is_under_way_is_finished(tmp_path: Path) -> None:
    with serving(tmp_path / "state") as running:
        wire = running.connect()
        body = json.dumps({"data": pipeline("under-way")}).encode()
        head = f"POST {PIPELINE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
        time.sleep(0.1)
        ended: list[int] = []
        ending = threading.Thread(target=lambda: ended.append(running.end(15)[0]))
        ending.start()
        time.sleep(0.1)
        wire.sendall(body[-1:])
        assert wire.recv(100).startswith(b"HTTP/1.1 202")
        ending.join()
        wire.close()
    assert ended == [143]


def test_one_store_has_one_server(tmp_path: Path, viewer: Serve) -> None:
    second = [*SERVE, "--port", "0", "--state", str(viewer.state)]
    done = subprocess.run(second, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 5
    assert "another process" in done.stderr
    taken = [*SERVE, "--port", str(viewer.port), "--state", str(tmp_path / "state")]
    done = subprocess.run(taken, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 4
    assert f"port {viewer.port}" in done.stderr
