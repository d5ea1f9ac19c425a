"""One attempt at an intake, over real sockets: what each answer means, and that time ends."""

import gzip
import logging
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.intake import Reply, Target, Verdict, link, target
from runner.intake.answers import failed
from runner.intake.http import Intake
from runner.intake.way import authorities, proxies
from tests.intake_server import HTML, Answer, Certificate, Fault, Server, intake

KEY = "0123456789abcdef0123456789abcdef"
BODY = b'{"data":[]}'


@pytest.fixture
def server() -> Iterator[Server]:
    with intake() as one:
        yield one


def to(url: str, *, key: str = KEY, token: str = "") -> Target:
    found = target(site="", key=key, intake_url=url, token=token, warn=pytest.fail)
    assert found is not None
    return found


def reach(url: str, **environ: str) -> Intake:
    return Intake(to(url), environ=environ, version="1.2.3")


def ask(server: Server, *answers: Answer, within: float = 2.0, body: bytes = BODY) -> Reply:
    """The reply to the last of these answers."""
    server.script(answers)
    one = reach(server.url)
    replies = [one.send(body, within=within) for _ in answers]
    one.close()
    return replies[-1]


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────


def test_a_request_names_who_sends_it_and_carries_the_key(server: Server) -> None:
    assert ask(server, Answer()).verdict is Verdict.DELIVERED
    request = server.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/api/v2/ci/pipeline", BODY)
    assert request.headers["dd-api-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "signalbox/1.2.3"
    assert "cookie" not in request.headers


def test_one_connection_serves_many_requests(server: Server) -> None:
    ask(server, *[Answer()] * 5)
    assert server.connections == 1


def test_N40_a_connection_closed_in_between_is_opened_again(server: Server) -> None:
    server.script([Answer(fault=Fault.CLOSE)])
    one = reach(server.url)
    assert one.send(BODY, within=2).verdict is Verdict.DELIVERED
    time.sleep(0.05)
    assert one.send(BODY, within=2).verdict is Verdict.DELIVERED
    one.close()


def test_N38_netrc_adds_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\ndefault login me password x\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    ask(server, Answer())
    assert "authorization" not in server.requests[0].headers


# ── what an answer means ─────────────────────────────────────────────────────────────────────────

HOLD, RETRY = Verdict.HOLD, Verdict.RETRY
STATUSES = {
    202: Verdict.DELIVERED,
    200: HOLD,
    201: HOLD,
    204: HOLD,
    301: HOLD,
    302: HOLD,
    307: HOLD,
    308: HOLD,
    400: Verdict.REFUSED,
    401: HOLD,
    402: HOLD,
    403: HOLD,
    404: HOLD,
    407: RETRY,
    408: RETRY,
    413: Verdict.TOO_LARGE,
    429: RETRY,
    500: RETRY,
    501: HOLD,
    502: RETRY,
    503: RETRY,
    504: RETRY,
    505: HOLD,
    511: HOLD,
    520: RETRY,
}


def test_N13_to_N25_each_status_has_its_meaning(server: Server) -> None:
    server.script([Answer(status=status, body=b"") for status in STATUSES])
    one = reach(server.url)
    replies = {status: one.send(BODY, within=2) for status in STATUSES}
    one.close()
    assert {status: reply.verdict for status, reply in replies.items()} == STATUSES
    assert {status: reply.status for status, reply in replies.items()} == {s: s for s in STATUSES}
    for status, reply in replies.items():
        assert (str(status) in reply.message) == (status != 202)


def test_N28_202_is_delivered_whatever_its_body_unless_that_is_a_page(server: Server) -> None:
    for body in (b"", b"{}", b'{"data":null}', b"not json", b"\xff\x00"):
        assert ask(server, Answer(body=body)).verdict is Verdict.DELIVERED
    page = Answer(body=b"\n <!DOCTYPE html><html>", headers={"Content-Type": "text/plain"})
    assert ask(server, page).verdict is HOLD
    assert ask(server, Answer(headers={"Content-Type": "text/html"})).verdict is HOLD
    portal = ask(server, HTML)
    assert portal.verdict is HOLD
    assert "login page" in portal.message


def test_N27_a_redirect_is_not_followed(server: Server) -> None:
    with intake() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            location = {"Location": f"{elsewhere.url}/api/v2/ci/pipeline"}
            assert ask(server, Answer(status=status, headers=location)).verdict is HOLD
        assert elsewhere.connections == 0


def test_a_wrong_key_is_told_with_what_to_check() -> None:
    for status in (401, 403):
        with intake() as server:
            reply = ask(server, Answer(status=status))
        assert "refused the API key" in reply.message
        assert f"(HTTP {status})" in reply.message
        assert "SIGNALBOX_INTAKE_TOKEN" in reply.message
        assert KEY not in repr(reply)


def test_a_400_carries_the_servers_reason_without_the_key(server: Server) -> None:
    body = (
        f'{{"errors":[{{"title":"Bad","detail":"end is\\nold {KEY}\\u001b[0m"}},"text"]}}'.encode()
    )
    reply = ask(server, Answer(status=400, body=body))
    assert reply.message.endswith("(HTTP 400): Bad: end is old ***?[0m; text")


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1000000000"}, 300),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"X-RateLimit-Reset": "12"}, 12),
        ({"Retry-After": "3", "X-RateLimit-Reset": "12"}, 12),
        ({"Retry-After": "30", "X-RateLimit-Reset": "x"}, 30),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
            },
            30,
        ),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT"}, None),
        (
            {
                "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
                "Date": "Thu, 22 Oct 2015 07:28:00 GMT",
            },
            None,
        ),
    ],
)
def test_N26_a_wait_that_makes_sense_is_taken_and_capped(
    server: Server, headers: Mapping[str, str], wait: float | None
) -> None:
    assert ask(server, Answer(status=429, headers=headers)).wait == wait


def test_C3_the_servers_clock_is_passed_on(server: Server) -> None:
    now = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
    reply = ask(server, Answer(headers={"Date": format_datetime(now, usegmt=True)}))
    assert reply.date == int(now.timestamp())


# ── a network that misbehaves ────────────────────────────────────────────────────────────────────


def test_N8_a_dead_host_is_named_with_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reply = reach(f"http://127.0.0.1:{port}").send(BODY, within=2)
    assert (reply.verdict, reply.connected) == (RETRY, False)
    assert reply.message == f"127.0.0.1:{port} cannot be reached: connection refused"


def test_N5_a_name_that_does_not_exist_is_worth_another_try() -> None:
    reply = reach("https://no-such-host.invalid").send(BODY, within=5)
    assert (reply.verdict, reply.connected) == (RETRY, False)
    assert "no-such-host.invalid:443 cannot be reached" in reply.message


def test_N6_a_resolver_that_never_answers_cannot_hold_an_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(5) or [])
    began = time.monotonic()
    reply = reach("https://intake.example").send(BODY, within=0.2)
    assert time.monotonic() - began < 0.5
    over.set()
    assert (reply.verdict, reply.connected, reply.late) == (RETRY, False, True)
    assert "cannot be reached: time ran out" in reply.message


@pytest.mark.parametrize(
    "answer",
    [
        Answer(fault=Fault.HANG_ACCEPT),
        Answer(fault=Fault.HANG_HEAD),
        Answer(fault=Fault.HANG_BODY),
        Answer(drip=0.02),
        Answer(drip=0.02, headers={"Connection": "close"}),
        Answer(body=b"x" * 500, drip=0.01, head=b"HTTP/1.0 202 OK\r\n\r\n"),
        Answer(delay=1),
    ],
    ids=["accept", "head", "body", "drip", "drip-and-close", "drip-1.0", "delay"],
)
def test_N29_no_server_can_stretch_an_attempt(server: Server, answer: Answer) -> None:
    threads = threading.active_count()
    server.script([answer])
    one = reach(server.url)
    began = time.monotonic()
    reply = one.send(BODY, within=0.1)
    assert time.monotonic() - began < 0.3
    assert (reply.verdict, reply.late, reply.connected) == (RETRY, True, True)
    assert one.send(BODY, within=2).verdict is Verdict.DELIVERED
    one.close()
    server.close()
    server.wait(lambda: threading.active_count() <= threads)


def test_N10_a_tls_handshake_that_hangs_is_cut() -> None:
    with intake(certificate=Certificate.GOOD) as server:
        server.script([Answer(fault=Fault.HANG_ACCEPT)])
        one = reach(server.url, SSL_CERT_FILE=server.ca)
        reply = one.send(BODY, within=0.15)
        assert (reply.verdict, reply.late) == (RETRY, True)
        one.close()


def test_N30_a_slow_upload_is_cut_and_said_to_be_late(server: Server) -> None:
    reply = ask(server, Answer(drip_in=0.05), within=0.3, body=b"x" * 20_000_000)
    assert (reply.verdict, reply.late, reply.connected) == (RETRY, True, True)


def test_an_attempt_can_be_cut_from_another_thread(server: Server) -> None:
    server.script([Answer(fault=Fault.HANG_HEAD)])
    one = reach(server.url)

    def cut() -> None:
        server.wait(lambda: bool(server.requests))
        one.cut(0.05)

    cutter = threading.Thread(target=cut)
    cutter.start()
    began = time.monotonic()
    assert one.send(BODY, within=10).verdict is RETRY
    assert time.monotonic() - began < 2
    cutter.join()
    one.close()


@pytest.mark.parametrize("kind", ["plain", "gzip", "deflate-chunked"])
def test_N31_N32_no_more_than_64_KiB_of_an_answer_are_kept(server: Server, kind: str) -> None:
    big = b'{"errors":["' + b"x" * 50_000_000
    headers = {} if kind == "plain" else {"Content-Encoding": "gzip"}
    body = big if kind == "plain" else gzip.compress(big, 1)
    head = b""
    if kind == "deflate-chunked":
        head = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    server.script([Answer(status=503, body=body, headers=headers, head=head)])
    one = reach(server.url)
    tracemalloc.start()
    reply = one.send(BODY, within=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one.close()
    assert reply.verdict is RETRY
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(fault=Fault.GARBAGE),
        Answer(fault=Fault.HALF_CLOSE),
        Answer(fault=Fault.RESET_EARLY),
        Answer(fault=Fault.RESET),
        Answer(fault=Fault.DROP),
        Answer(head=b"HTTP/1.1 twohundred OK\r\n\r\n"),
        Answer(head=b"HTTP/1.1 202 OK\r\nContent-Length: 500\r\n\r\n"),
        Answer(head=b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body=b"zz\r\nhello"),
        Answer(head=b"HTTP/1.1 202 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n"),
        Answer(head=b"HTTP/1.1 202 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"),
        Answer(head=b"HTTP/1.1 202 OK\r\nX: " + b"y" * 70000 + b"\r\n\r\n"),
        Answer(head=b"\r\n\r\n"),
    ],
    ids=lambda answer: (answer.head[:60] or answer.fault.name.encode()).decode("latin-1"),
)
def test_N33_N34_bytes_that_are_no_answer_are_worth_another_try(
    server: Server, answer: Answer
) -> None:
    reply = ask(server, answer)
    assert (reply.verdict, reply.connected) == (RETRY, True)
    assert reply.message


def test_N36_a_413_is_read_though_the_body_still_uploads(server: Server) -> None:
    answer = Answer(status=413, fault=Fault.EARLY, headers={"Connection": "close"})
    assert ask(server, answer, body=b"x" * 8_000_000).verdict is Verdict.TOO_LARGE


@pytest.mark.parametrize(
    ("certificate", "cause"),
    [
        (Certificate.EXPIRED, "expired"),
        (Certificate.WRONG_HOST, "127.0.0.1"),
        (Certificate.GOOD, "unable to get local issuer"),
    ],
)
def test_N9_a_certificate_that_is_not_trusted_gets_nothing(
    certificate: Certificate, cause: str
) -> None:
    with intake(certificate=certificate) as server:
        trusted = {} if certificate is Certificate.GOOD else {"SSL_CERT_FILE": server.ca}
        one = reach(server.url, **trusted)
        reply = one.send(BODY, within=5)
        one.close()
        assert reply.verdict is HOLD
        assert cause in reply.message
        assert "REQUESTS_CA_BUNDLE" in reply.message
        assert not server.requests


def test_N11_an_authority_of_ones_own_is_honoured() -> None:
    with intake(certificate=Certificate.GOOD) as server:
        one = reach(server.url, REQUESTS_CA_BUNDLE=server.ca)
        assert one.send(BODY, within=5).verdict is Verdict.DELIVERED
        one.close()
        missing = reach(server.url, REQUESTS_CA_BUNDLE="/no/such/file").send(BODY, within=5)
    assert missing.verdict is HOLD
    assert "REQUESTS_CA_BUNDLE" in missing.message


def test_the_environment_of_the_process_is_not_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
    assert ask(server, Answer()).verdict is Verdict.DELIVERED


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────


def test_N37_a_proxy_is_used_and_its_password_never_told(server: Server) -> None:
    address = server.url.removeprefix("http://")
    proxy = f"http://user:hunter2@{address}"
    server.script([Answer(status=407), Answer(status=407), Answer(fault=Fault.HALF_CLOSE)])
    for url in ("http://10.255.0.1:81", "https://intake.example", "https://intake.example"):
        one = reach(url, HTTPS_PROXY=proxy, http_proxy=proxy)
        reply = one.send(BODY, within=2)
        one.close()
        assert reply.verdict is RETRY
        assert "hunter2" not in repr(reply)
    assert server.requests[0].path == "http://10.255.0.1:81/api/v2/ci/pipeline"
    assert (server.requests[1].method, server.requests[1].path) == ("CONNECT", "intake.example:443")
    assert "dd-api-key" not in server.requests[1].headers


def test_N37_a_proxy_that_is_down_is_named_without_its_password() -> None:
    one = reach("https://intake.example", HTTPS_PROXY="http://me:hunter2@127.0.0.1:1")
    reply = one.send(BODY, within=2)
    assert (reply.verdict, reply.connected) == (RETRY, False)
    assert reply.message == (
        "intake.example:443 through the proxy 127.0.0.1:1 cannot be reached: connection refused"
    )
    strange = reach("https://intake.example", HTTPS_PROXY="socks5://me:hunter2@127.0.0.1:1")
    assert strange.send(BODY, within=2).verdict is HOLD


@pytest.mark.parametrize(
    ("url", "environ", "expected"),
    [
        ("https://h.example/x", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h.example/x", {"https_proxy": "p:1", "HTTPS_PROXY": "http://q:1"}, "http://p:1"),
        ("https://h.example/x", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://h.example/x", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://h.example/x", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h.example"}, ""),
        ("https://h.example/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "a, .example"}, ""),
        ("https://h.example/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "*.example"}, ""),
        ("https://h.example/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, ""),
        ("https://h.example/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "ample"}, "http://p:1"),
        ("https://h.example:8/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "h.example:8"}, ""),
        ("https://10.1.2.3/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "10.0.0.0/8"}, ""),
        ("https://10.1.2.3/x", {"HTTPS_PROXY": "http://p:1", "no_proxy": "x/y"}, "http://p:1"),
        ("http://127.0.0.1:8/x", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://localhost:8/x", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://[::1]:8/x", {"HTTPS_PROXY": "http://p:1"}, ""),
    ],
)
def test_N37_which_proxy(url: str, environ: Mapping[str, str], expected: str) -> None:
    assert next(iter(proxies(url, environ).values()), "") == expected


def test_the_first_authority_named_wins_and_the_check_cannot_be_switched_off() -> None:
    assert authorities({}) is True
    assert authorities({"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "/b"}) == "/b"


# ── where events may go ──────────────────────────────────────────────────────────────────────────


def aim(
    site: str = "",
    key: str = KEY,
    url: str = "",
    token: str = "",
    warnings: list[str] | None = None,
) -> Target | None:
    warn = pytest.fail if warnings is None else warnings.append
    return target(site=site, key=key, intake_url=url, token=token, warn=warn)


@pytest.mark.parametrize(
    ("site", "host", "app"),
    [
        ("", "api.datadoghq.com", "https://app.datadoghq.com"),
        (" DatadogHQ.eu\n", "api.datadoghq.eu", "https://app.datadoghq.eu"),
        ("us3.datadoghq.com", "api.us3.datadoghq.com", "https://us3.datadoghq.com"),
        ("ap2.datadoghq.com", "api.ap2.datadoghq.com", "https://ap2.datadoghq.com"),
    ],
)
def test_a_site_has_its_intake_and_its_pages(site: str, host: str, app: str) -> None:
    found = aim(site)
    assert found is not None
    assert found.url == f"https://{host}/api/v2/ci/pipeline"
    assert found.place == f"{host}:443"
    assert link(found, "a-b").startswith(f"{app}/ci/pipeline-executions?query=ci_level%3Apipeline")
    assert "%40ci.pipeline.id%3A%22a-b%22" in link(found, "a-b")


def test_nothing_configured_is_local_and_a_site_alone_is_nothing() -> None:
    assert aim(key="") is None
    assert aim(key=" \n") is None
    assert aim("datadoghq.eu", key="") is None


def test_a_government_site_gets_nothing_and_says_so_once() -> None:
    for site in ("ddog-gov.com", "us2.ddog-gov.com"):
        warnings: list[str] = []
        assert aim(site, warnings=warnings) is None
        assert warnings == [f"CI Visibility does not exist on {site}: nothing is sent"]


@pytest.mark.parametrize(
    "site",
    [
        "evil.datadoghq.com.x",
        "datadoghq.com.",
        "datadoghq.com@evil.example",
        "https://api.datadoghq.com",
        "datadoghq.com/evil",
        "datadoghq.com:443",
        "app.datadoghq.com",
        "d\u0430tadoghq.com",
        "US1",
    ],
)
def test_T17_only_datadogs_own_sites(site: str) -> None:
    with pytest.raises(UsageError, match="none of Datadog's sites"):
        aim(site)


def test_a_site_nearly_right_is_told_which_was_meant() -> None:
    with pytest.raises(UsageError) as caught:
        aim("us3.datadog.com")
    assert caught.value.hint.startswith("did you mean us3.datadoghq.com?")


@pytest.mark.parametrize("key", ["with blank", "t\u00e4st" * 8, "nul\0", "line\nfeed", "x" * 600])
def test_N39_a_malformed_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UsageError) as caught:
        aim(key=key)
    assert key not in str(caught.value) + caught.value.hint


def test_N39_a_key_in_the_wrong_variable_is_not_repeated() -> None:
    with pytest.raises(UsageError, match="DD_SITE is none"):
        aim(KEY)


def test_N39_blanks_around_a_key_are_not_part_of_it() -> None:
    found = aim(key=f" {KEY}\r\n")
    assert found is not None
    assert found.secret.reveal() == KEY


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1",
        "127.0.0.1:8136",
        "//127.0.0.1",
        "https:",
        "https://",
        "https:/intake.example",
        "https:///intake.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://intake.example",
        "http://api.datadoghq.com",
        "http://8.8.8.8",
        "http://169.254.169.254",
        "https://169.254.169.254/latest",
        "http://[fe80::1]",
        "http://[::ffff:169.254.169.254]",
        "http://0.0.0.0:8136",
        "https://0.0.0.0",
        "http://2130706433",
        "http://0x7f000001",
        "https://0x7f.1",
        "http://127.1",
        "http://0177.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://host.docker.internal.evil.example",
        "https://api.datadoghq.com@evil.example",
        "https://user:pw@intake.example",
        "https://intake.example\\@evil.example",
        "https://intake.example#@evil.example",
        "https://intake.example?x=1",
        "https://intake.example:0",
        "https://intake.example:99999",
        "https://intake.example:",
        "https://intake.example.",
        "https://inta\u212ae.example",
        "https://b\u00fccher.example",
        "https://intake.example/a/../b",
        "https://intake.example/%2e%2e",
        "https://intake.example//evil.example",
        "https://intake .example",
        "https://intake.example/\r\nX: y",
        "https://[::1",
        "https://-intake.example",
        "https://" + "a" * 70 + ".example",
    ],
)
def test_T17_a_hostile_intake_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        aim(url=url)
    assert "SIGNALBOX_INTAKE_URL" in caught.value.message
    assert "evil" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize(
    ("url", "sent_to", "signed"),
    [
        ("http://127.0.0.1:8136", "http://127.0.0.1:8136/api/v2/ci/pipeline", KEY),
        ("http://localhost:8136/", "http://localhost:8136/api/v2/ci/pipeline", KEY),
        ("http://[::1]:8136", "http://[::1]:8136/api/v2/ci/pipeline", KEY),
        ("HTTPS://Intake.Example", "https://intake.example/api/v2/ci/pipeline", KEY),
        ("https://i.example/dd", "https://i.example/dd/api/v2/ci/pipeline", KEY),
        (
            "https://i.example/api/v2/ci/pipeline",
            "https://i.example/api/v2/ci/pipeline",
            KEY,
        ),
        (
            "http://host.docker.internal:8136",
            "http://host.docker.internal:8136/api/v2/ci/pipeline",
            "",
        ),
        ("http://10.0.0.7", "http://10.0.0.7/api/v2/ci/pipeline", ""),
        ("http://172.31.0.1:8", "http://172.31.0.1:8/api/v2/ci/pipeline", ""),
        ("http://[fd00::1]:8", "http://[fd00::1]:8/api/v2/ci/pipeline", ""),
    ],
)
def test_T17_the_key_goes_to_https_and_loopback_only(url: str, sent_to: str, signed: str) -> None:
    plain, token = aim(url=url), aim(url=url, token="t0ken")
    assert plain is not None
    assert token is not None
    assert (plain.url, plain.secret.reveal(), plain.withheld) == (sent_to, signed, not signed)
    assert token.secret.reveal() == "t0ken"
    assert link(plain, "x") == ""


def test_a_binding_tells_site_and_key_apart_and_shows_neither() -> None:
    targets = [aim(), aim("datadoghq.eu"), aim(key=KEY[::-1]), aim(url="https://i.example")]
    bindings = {found.binding for found in targets if found}
    assert len(bindings) == 4
    assert all(len(binding) == 12 for binding in bindings)
    again = aim()
    assert again is not None
    assert again.binding in bindings


def test_T18_nothing_shows_the_key(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = to(server.url)
    shown = [repr(found), str(found.secret), f"{found.secret}", repr(found.secret)]
    broken = f"Invalid leading whitespace in header value: {KEY}"
    shown.append(repr(failed(ValueError(broken), found, {})))
    ask(server, Answer(), Answer(fault=Fault.RESET))
    assert KEY not in "".join(shown) + caplog.text


def test_whether_a_key_is_right_can_be_asked(server: Server) -> None:
    one = reach(server.url)
    server.script([Answer(status=200, body=b'{"valid":true}'), HTML, Answer(status=403)])
    verdicts = [one.check(within=2).verdict for _ in range(3)]
    one.close()
    assert verdicts == [Verdict.DELIVERED, HOLD, HOLD]
    assert (server.requests[0].method, server.requests[0].path) == ("GET", "/api/v1/validate")
