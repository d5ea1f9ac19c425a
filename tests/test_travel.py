"""State that travels: exported, imported elsewhere, believed or refused, gone on from."""

import contextlib
import hashlib
import io
import os
import resource
import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import keep, seal
from runner.cli import parcel
from runner.errors import RefusedError
from runner.keep import Scope
from tests.conftest import KEY as API_KEY
from tests.conftest import Workspace, by_level, killed, tags
from tests.forks import Forks
from tests.intake_server import LOGS, Answer, Request, Server

pytestmark = pytest.mark.usefixtures("forked")

KEY = "a-key-that-signs-what-a-gate-leaves"
SECRET = "hunter2hunter2"
PIPELINE = """
    name: Gated
    parameters: { TARGET: { default: staging } }
    secrets: [NPM_TOKEN]
    jobs:
      build:
        keep: [dist/**]
        steps:
          - |
            mkdir -p dist/bin
            echo "made for $TARGET" > dist/bin/app
            chmod 755 dist/bin/app
            ln -sf bin/app dist/link
            echo "token $NPM_TOKEN"
            echo VERSION=7 >> "$SIGNALBOX_OUTPUT"
            echo "TOKEN=$NPM_TOKEN" >> "$SIGNALBOX_OUTPUT"
      approve: { needs: [build], gate: "Deploy to $TARGET?" }
      deploy:
        needs: [approve]
        steps: ['test "$VERSION" = 7 && test -x dist/bin/app && cat dist/link >> deployed']
"""


class Desk(Workspace):
    """Another machine: another path, user's home, hostname; a clone of the same repository."""

    @classmethod
    def of(cls, other: Workspace, place: Path) -> "Desk":
        path, home = place / "deep" / "checkout", place / "somebody"
        path.parent.mkdir(parents=True)
        home.mkdir()
        other.git("clone", "-q", str(other.path), str(path))
        other.git(
            "-C", str(path), "remote", "set-url", "origin", "https://git.example.test/team/app"
        )
        made = cls(path, home)
        made.forks = other.forks
        return made


class Origin(Workspace):
    """Where runs are made: one that nobody signed, and one that was signed."""

    plain = signed = ""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Origin:
    place = tmp_path_factory.mktemp("origin")
    for name in ("work", "home"):
        (place / name).mkdir()
    made = Origin(place / "work", place / "home")
    made.forks = forks
    made.git("init", "-q", "-b", "main")
    made.git("remote", "add", "origin", "https://git.example.test/team/app.git")
    made.write(PIPELINE)
    made.commit()
    made.environ |= {"NPM_TOKEN": SECRET, "DD_API_KEY": API_KEY}
    made.plain, made.signed = str(place / "plain.tar"), str(place / "signed.tar")
    for box, key in ((made.plain, ""), (made.signed, KEY)):
        ended = made.run("run", "--local", SIGNALBOX_STATE_KEY=key)
        assert ended.code == 75, ended.err
        assert made.run("export", box, SIGNALBOX_STATE_KEY=key).code == 0
    return made


@pytest.fixture
def desk(origin: Origin, tmp_path: Path) -> Desk:
    return Desk.of(origin, tmp_path)


def test_a_run_goes_on_at_another_machine(
    workspace: Workspace, tmp_path: Path, server: Server
) -> None:
    workspace.write(PIPELINE)
    workspace.commit()
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "elsewhere")
    assert workspace.to(server).run("run", NPM_TOKEN=SECRET).code == 75
    assert workspace.run("export", box).code == 0
    desk.write("of another build\n", "dist/bin/app")
    assert desk.to(server).run("import", box).code == 0
    assert "token ***" in desk.run("logs").out
    ended = desk.run("resume", "--approve", "approve")
    assert ended.code == 0, ended.err
    assert (desk.path / "deployed").read_text() == "made for staging\n"
    assert (desk.path / "dist/link").readlink() == Path("bin/app")
    first, second = by_level(server.events, "pipeline")
    assert second["pipeline_id"] == first["unique_id"]
    assert tags(second)["resumed_from"] == first["unique_id"]
    assert [job["name"] for job in by_level(server.events, "job")] == ["build", "deploy"]


def test_of_many_answers_the_refused_touch_no_kept_file(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.write("""
        name: Large
        jobs:
          build: { keep: [out], steps: ['head -c 9000000 /dev/zero > out'] }
          approve: { needs: [build], gate: "Go?" }
          deploy:
            needs: [approve]
            steps: ['echo new > out; until test -e go; do sleep .05; done']
    """)
    workspace.commit()
    assert workspace.run("run").code == 75
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "elsewhere")
    workspace.run("export", box)
    run = desk.run("import", box).out.strip()
    many = [desk.start("resume", run, "--approve", "approve") for _ in range(5)]
    with contextlib.ExitStack() as held:
        for process in many:
            held.enter_context(killed(process))
        desk.until(lambda: [p.poll() for p in many].count(5) == 4, within=30)
        desk.until(lambda: (desk.path / "out").read_bytes() == b"new\n")
        assert not list(desk.path.glob(".*.kept"))
        (desk.path / "go").touch()
        assert sorted(process.wait(20) for process in many) == [0, 5, 5, 5, 5]


def test_a_workspace_that_was_moved_with_its_state_goes_on_where_it_is(
    workspace: Workspace, tmp_path: Path
) -> None:
    text = PIPELINE.replace("[dist/**]", "[ci/dist]").replace("&& test", "&& test -e fixed && test")
    workspace.write(text, "ci/pipeline.yml")
    workspace.commit()
    workspace.environ["SIGNALBOX_STATE_KEY"] = KEY
    assert workspace.run("run", "ci/pipeline.yml").code == 75
    desk = Desk.of(workspace, tmp_path / "elsewhere")
    desk.environ["SIGNALBOX_STATE_KEY"] = KEY
    shutil.copytree(workspace.path / ".signalbox", desk.path / ".signalbox")
    workspace.path.rename(tmp_path / "gone")
    assert desk.run("resume", "--approve", "approve").code == 1
    assert desk.run("reproduce", "--run").code == 1
    desk.write("", "ci/fixed")
    ended = desk.run("retry")
    assert ended.code == 0, ended.err
    assert (desk.path / "ci/dist/link").readlink() == Path("bin/app")
    (desk.path / "ci/pipeline.yml").unlink()
    refused = desk.run("retry", "--all")
    assert (refused.code, "No such file" in refused.err) == (5, True)


def test_nothing_secret_is_in_the_file_and_the_same_run_is_the_same_file(
    origin: Origin, tmp_path: Path
) -> None:
    again, run = tmp_path / "again.tar", parcel.read(origin.signed, KEY).run
    assert origin.run("export", run, str(again), SIGNALBOX_STATE_KEY=KEY).code == 0
    raw = Path(origin.signed).read_bytes()
    assert raw == again.read_bytes()
    for secret in (SECRET, KEY, API_KEY):
        assert secret.encode() not in raw
    assert again.stat().st_mode & 0o077 == 0


def test_what_waits_travels_and_two_who_send_it_do_no_harm(
    workspace: Workspace, tmp_path: Path, server: Server
) -> None:
    workspace.write(PIPELINE)
    workspace.commit()
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "elsewhere")
    workspace.to(server).run("run", "--local")
    workspace.run("export", box)
    desk.to(server).run("import", box)
    assert desk.run("flush", "latest").code == 0
    assert server.event("pipeline")["status"] == "blocked"
    assert workspace.run("flush", "latest").code == 0


def test_lines_of_a_log_travel_with_the_end_of_their_job(
    workspace: Workspace, tmp_path: Path, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a: { steps: [{ name: First, run: "seq 1500" }, { name: Second, run: "echo x; exit 3" }] }
    """)
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "elsewhere")
    taken = iter([Answer()])  # one request of lines, then the line is dead

    def rule(request: Request) -> Answer:
        return (
            next(taken, Answer(status=503)) if request.path.endswith(LOGS) else Answer(status=503)
        )

    server.rule = rule
    first = workspace.to(server).run("run", SIGNALBOX_LOGS="on", SIGNALBOX_FLUSH_TIMEOUT="1")
    assert "501 log lines were not delivered" in first.err
    assert workspace.run("export", box).code == 0
    server.rule = None
    assert desk.to(server).run("import", box).code == 0
    sent = desk.run("flush", SIGNALBOX_LOGS="on")
    assert "501 log lines sent" in sent.err
    assert [line["line_number"] for line in server.lines("a")] == [*range(1, 1502)]
    last = server.lines("a")[-1]
    assert (last["section_name"], last["message"]) == ("Second", "x")
    assert "0 log lines sent" in desk.run("flush", SIGNALBOX_LOGS="on").err
    assert workspace.run("export", box).code == 0  # the end of the job has not left here, either
    server.check()


def test_of_a_long_log_the_end_is_sent_with_its_own_numbers(
    workspace: Workspace, tmp_path: Path, server: Server
) -> None:
    workspace.write("""
        name: P
        jobs:
          a:
            steps:
              - { name: Early, run: echo early }
              - { name: Long, run: "head -c 18M /dev/zero | tr '\\\\0' x | fold -w 65536; echo" }
              - { name: Late, run: seq 3 }
    """)
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "elsewhere")
    workspace.run("run", "--local", SIGNALBOX_LOGS="on")
    assert workspace.run("export", box).code == 0
    assert desk.to(server).run("import", box).code == 0
    assert desk.run("flush", "latest", SIGNALBOX_LOGS="on").code == 0
    cut, *whole = server.lines("a")
    assert cut["message"].startswith("[the beginning of this log was cut off")
    assert [line["line_number"] for line in whole] == [*range(cut["line_number"] + 1, 293)]
    assert {line["section_name"] for line in (cut, *whole[:-3])} == {"Long"}
    assert [line["message"] for line in whole[-4:]] == ["x" * 65_536, "1", "2", "3"]
    server.check()


def test_an_import_is_idempotent_and_an_answer_is_never_taken_back(
    origin: Origin, desk: Desk, tmp_path: Path
) -> None:
    run, box = desk.run("import", origin.plain).out.strip(), str(tmp_path / "answered.tar")
    assert desk.run("import", origin.plain).out.strip() == run
    assert desk.run("resume", "--approve", "approve").code == 0
    older = desk.run("import", origin.plain)
    assert older.code == 5
    assert "older state" in older.err
    assert len(desk.run("list", "--json").json) == 2
    desk.run("export", box)
    assert origin.run("import", box).code == 0  # the answer comes home
    refused = origin.run("resume", run, "--approve", "approve")
    assert refused.code == 5
    assert "answered already" in refused.err


def test_a_key_believes_only_what_it_signed(origin: Origin, desk: Desk) -> None:
    assert desk.run("import", origin.signed, SIGNALBOX_STATE_KEY="another key").code == 5
    looked = desk.run("import", origin.signed)  # looking needs no key, going on does
    assert looked.code == 0
    assert "SIGNALBOX_STATE_KEY" in looked.err
    assert desk.run("resume", "--approve", "approve").code == 5
    assert desk.run("resume", "--approve", "approve", SIGNALBOX_STATE_KEY=KEY).code == 0


def test_what_is_not_signed_is_refused_where_there_is_a_key(origin: Origin, desk: Desk) -> None:
    assert desk.run("import", origin.plain, SIGNALBOX_STATE_KEY=KEY).code == 5
    assert desk.run("import", origin.plain).code == 0
    refused = desk.run("resume", "--approve", "approve", SIGNALBOX_STATE_KEY=KEY)
    assert refused.code == 5
    assert "not signed" in refused.err


def changed(box: str, place: Path, old: bytes, new: bytes) -> str:
    """The file with its executions changed, and sizes and sums made to fit."""
    with tarfile.open(box) as tar:
        members = {member.name: read(tar, member) for member in tar}
    assert old in members["executions.json"]
    members["executions.json"] = members["executions.json"].replace(old, new)
    line, _, body = members["contents"].partition(b"\n")
    contents = msgspec.json.decode(body, type=parcel.Contents)
    sums = [
        msgspec.structs.replace(
            member,
            size=len(members[member.name]),
            sha256=hashlib.sha256(members[member.name]).hexdigest(),
        )
        for member in contents.members
    ]
    whole = msgspec.json.encode(msgspec.structs.replace(contents, members=tuple(sums)))
    members["contents"] = line + b"\n" + whole
    with tarfile.open(place / "changed.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(place / "changed.tar")


def read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = tar.extractfile(member)
    assert source
    return source.read()


def test_a_tampered_state_is_refused(origin: Origin, desk: Desk, tmp_path: Path) -> None:
    forged = changed(origin.signed, tmp_path, b'"7"', b'"8"')
    with pytest.raises(RefusedError):
        parcel.read(forged, KEY)
    assert desk.run("import", origin.signed, SIGNALBOX_STATE_KEY=KEY).code == 0
    journal = desk.path / ".signalbox/journal.db"
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b'"VERSION":"7"', b'"VERSION":"8"'))
    refused = desk.run("resume", "--approve", "approve", SIGNALBOX_STATE_KEY=KEY)
    assert refused.code == 5
    assert "it was changed" in refused.err
    journal.write_bytes(whole)
    (archive,) = (desk.path / ".signalbox/runs").glob("*/*.tar")
    archive.write_bytes(archive.read_bytes().replace(b"made for staging", b"made for strange"))
    assert desk.run("resume", "--approve", "approve", SIGNALBOX_STATE_KEY=KEY).code == 5
    assert not (desk.path / "deployed").exists()


FOUR_EYES = """
    name: Four eyes
    jobs:
      build: { steps: [test -e fixed] }
      a: { needs: [build], gate: "Go?", not-initiator: true }
      x: { needs: [a], steps: ['true'] }
      b: { needs: [x], gate: "On?", not-initiator: true }
"""


def test_neither_who_started_a_chain_nor_who_retried_it_answers_wherever_it_goes_on(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.write(FOUR_EYES)
    workspace.commit()
    box, desk = str(tmp_path / "run.tar"), Desk.of(workspace, tmp_path / "elsewhere")
    workspace.environ["SIGNALBOX_STATE_KEY"] = desk.environ["SIGNALBOX_STATE_KEY"] = KEY
    assert workspace.run("run", LOGNAME="ada").code == 1
    first = workspace.run("list", "--json").json[0]["id"][:8]
    assert workspace.run("retry", LOGNAME="eve").code == 1
    (workspace.path / "fixed").touch()
    assert workspace.run("retry", LOGNAME="bob").code == 75
    assert workspace.run("export", box).code == 0
    assert desk.run("import", box).code == 0
    initiators = (("ada", "started"), ("eve", "retried"), ("bob", "retried"))
    for place, gate in ((workspace, "a"), (desk, "a"), (desk, "b")):
        for who, did in initiators:
            refused = place.run("resume", "--approve", gate, LOGNAME=who)
            assert (refused.code, f"{who} {did} {first} " in refused.err) == (5, True), refused.err
        if place is desk:
            ended = desk.run("resume", "--approve", gate, LOGNAME="carol")
            assert ended.code == (75 if gate == "a" else 0), ended.err
    journal = workspace.path / ".signalbox/journal.db"
    journal.write_bytes(journal.read_bytes().replace(b'"bob"]', b'"bab"]'))
    refused = workspace.run("resume", "--approve", "a", LOGNAME="bob")
    assert (refused.code, "it was changed" in refused.err) == (5, True), refused.err


KILLED = """
    name: Killed
    jobs:
      build:
        keep: [dist]
        steps: ['mkdir -p dist; echo app >> dist/app; echo V=7 >> "$SIGNALBOX_OUTPUT"']
      test:
        needs: [build]
        steps: ['test "$V" = 7; touch ran; test -e fixed || sleep 30']
"""


def test_a_killed_run_is_believed_as_far_as_it_had_come(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.write(KILLED)
    workspace.environ["SIGNALBOX_STATE_KEY"] = KEY
    with workspace.start("run") as process, killed(process):
        workspace.until((workspace.path / "ran").exists)
    box = str(tmp_path / "run.tar")
    assert workspace.run("clean", SIGNALBOX_STATE_KEY="").code == 0
    assert "signed" in workspace.run("export", box).err
    (workspace.path / "fixed").touch()
    journal = workspace.path / ".signalbox/journal.db"
    whole = journal.read_bytes()
    for old, new in ((b'"V":"7"', b'"V":"8"'), (b'"outcome":"success"', b'"outcome":"skipped"')):
        journal.write_bytes(whole.replace(old, new))
        refused = workspace.run("retry")
        assert (refused.code, "it was changed" in refused.err) == (5, True)
    journal.write_bytes(whole)
    ended = workspace.run("retry")
    assert ended.code == 0, ended.err
    assert (workspace.path / "dist/app").read_text() == "app\n"


def test_what_only_looks_killed_is_not_signed_by_who_closes_it(workspace: Workspace) -> None:
    workspace.write(KILLED)
    with workspace.start("run") as process, killed(process):
        workspace.until((workspace.path / "ran").exists)
    workspace.environ["SIGNALBOX_STATE_KEY"] = KEY
    for _ in range(2):
        refused = workspace.run("retry")
        assert (refused.code, "not signed" in refused.err) == (5, True)
    assert workspace.run("list", "--json").json[0]["status"] == "error"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"VERSION":', b'"LD_PRELOAD":'),
        (b'"file":"pipeline.yml"', b'"file":"../../etc/pipeline.yml"'),
        (b'"workspace":""', b'"workspace":"/"'),
        (b'"final":true', b'"final":false'),
        (b'"status":"blocked"', b'"status":"running"'),
        (b'"asked":', b'"asked":-'),
        (b'"source":"', b'"source":"AAAA'),
        (b'"gates":[', b'"gates":[{},'),
        (b'"logs":[', b'"logs":[{"job":"../../../etc/x","cursor":{},"sections":[]}'),
    ],
)
def test_T20_a_forged_state_is_refused_though_nobody_signed(
    origin: Origin, tmp_path: Path, old: bytes, new: bytes
) -> None:
    with pytest.raises(RefusedError):
        parcel.read(changed(origin.plain, tmp_path, old, new), "")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_T20_no_byte_of_the_file_can_crash_the_import(origin: Origin, data: st.DataObject) -> None:
    raw = bytearray(Path(origin.plain).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    box = origin.path.parent / "mutated.tar"
    box.write_bytes(raw)
    try:
        found = parcel.read(str(box), "")
    except RefusedError:
        return
    assert found.chain[-1].stored.header.source.startswith(b"\nname: Gated")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("../outside", ""),
        ("/tmp/outside", ""),
        ("dist/../../outside", ""),
        ("dist/.git/hooks/post-checkout", ""),
        ("pipeline.yml", ""),
        ("dist/link", "../../outside"),
        ("dist/link", "/etc/passwd"),
        ("dist/link", "a/../../.."),
        (".signalbox/journal.db", ""),
    ],
)
def test_T16_an_archive_writes_nothing_but_what_the_job_keeps(
    tmp_path: Path, name: str, target: str
) -> None:
    archive, workspace = tmp_path / "kept.tar", tmp_path / "work"
    workspace.mkdir()
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = (tarfile.SYMTYPE, target) if target else (b"0", "")
        tar.addfile(member)
    scope = Scope(
        workspace=str(workspace),
        patterns=("dist/**", ".signalbox/**"),
        apart=str(workspace / ".signalbox"),
    )
    with pytest.raises(RefusedError):
        keep.restore(scope, str(archive), keep.digest(str(archive)), replace=True)
    assert {path.name for path in tmp_path.rglob("*")} <= {"kept.tar", "work", "dist"}


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"S"])
def test_T20_a_header_that_says_it_is_huge_is_not_read(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("dist/app")
    member.type, member.size = kind, 1 << 40
    archive = tmp_path / "huge.tar"
    archive.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    os.truncate(archive, 256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (resident() + (128 << 20), resource.RLIM_INFINITY))
    try:
        with pytest.raises(RefusedError):
            parcel.read(str(archive), "")
        scope = Scope(workspace=str(tmp_path), patterns=("dist",), apart=str(tmp_path / "state"))
        with pytest.raises(RefusedError):
            keep.restore(scope, str(archive), keep.digest(str(archive)), replace=True)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def resident() -> int:
    """Bytes of memory that this process has asked for."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_file_is_put_back_through_no_link(tmp_path: Path) -> None:
    archive, workspace, outside = tmp_path / "kept.tar", tmp_path / "work", tmp_path / "outside"
    (workspace / "dist").mkdir(parents=True)
    outside.mkdir()
    (workspace / "dist/app").write_text("good")
    scope = Scope(workspace=str(workspace), patterns=("dist",), apart=str(tmp_path / "state"))
    made = keep.archive(scope, str(archive))
    (workspace / "dist/app").unlink()
    (workspace / "dist").rmdir()
    (workspace / "dist").symlink_to(outside)
    with pytest.raises(RefusedError):
        keep.restore(scope, str(archive), made.sha256, replace=True)
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("dist/**", ["dist/.hidden", "dist/a", "dist/sub/b"]),
        ("dist", ["dist/.hidden", "dist/a", "dist/sub/b"]),
        ("dist/*", ["dist/.hidden", "dist/a", "dist/sub/b"]),
        ("**/b", ["dist/sub/b", "other/b"]),
        ("dist/?", ["dist/a"]),
        ("[no]*/b", ["other/b"]),
        ("*/[!a]", ["other/b"]),
        ("./other/../b", []),
        ("[z-a]", []),
        ("**", ["dist/.hidden", "dist/a", "dist/sub/b", "other/b"]),
    ],
)
def test_what_a_pattern_keeps(tmp_path: Path, pattern: str, kept: list[str]) -> None:
    for name in ("dist/.hidden", "dist/a", "dist/sub/b", "other/b", ".git/config", "state/journal"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    state = str(tmp_path / "state")
    assert keep.find(Scope(workspace=str(tmp_path), patterns=(pattern,), apart=state)) == kept


def test_where_the_run_was_only_what_is_missing_comes_back(workspace: Workspace) -> None:
    workspace.write(PIPELINE)
    workspace.run("run")
    (workspace.path / "dist/bin/app").write_text("mended by hand\n")
    (workspace.path / "dist/link").unlink()
    assert workspace.run("resume", "--approve", "approve").code == 0
    assert (workspace.path / "deployed").read_text() == "mended by hand\n"


def test_R11_what_was_too_much_to_keep_is_missed_before_anything_runs(
    workspace: Workspace,
) -> None:
    workspace.write("""
        name: Large
        jobs:
          build: { keep: [dist], steps: ['mkdir dist; truncate -s 201M dist/large'] }
          approve: { needs: [build], gate: "Go on?" }
          deploy: { needs: [approve], steps: ['touch deployed'] }
    """)
    ended = workspace.run("run")
    assert ended.code == 75
    assert "more than 200 MB" in ended.err
    (workspace.path / "dist/large").rename(workspace.path / "large")
    (workspace.path / "dist").rmdir()
    refused = workspace.run("resume", "--approve", "approve")
    assert refused.code == 5
    assert "more than 200 MB" in refused.err
    assert not (workspace.path / "deployed").exists()


def test_what_runs_is_not_exported_and_what_is_no_file_not_imported(workspace: Workspace) -> None:
    assert workspace.run("export", "run.tar").code == 2
    assert workspace.run("import", "run.tar").code == 2
    (workspace.path / "run.tar").write_bytes(os.urandom(2000))
    assert workspace.run("import", "run.tar").code == 5


def test_an_export_leaves_the_files_beside_it_alone(workspace: Workspace) -> None:
    workspace.write(PIPELINE)
    assert workspace.run("run").code == 75
    workspace.write("mine", "run.tar.tmp")
    assert workspace.run("export", "run.tar").code == 0
    assert (workspace.path / "run.tar.tmp").read_text() == "mine"
    (workspace.path / "out").mkdir()
    assert workspace.run("export", "out/run.tar").code == 0
    assert os.listdir(workspace.path / "out") == ["run.tar"]


def test_what_is_no_plain_file_is_not_replaced_by_an_export(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.write(PIPELINE)
    assert workspace.run("run").code == 75
    (tmp_path / "link").symlink_to("elsewhere")
    for place in ("/dev/null", str(tmp_path / "link"), str(tmp_path)):
        refused = workspace.run("export", place)
        assert (refused.code, "no plain file" in refused.err) == (4, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "err",
        "home",
        "link",
        "out",
        "work",
    ]


def test_the_seal_is_one_form_and_any_change_breaks_it() -> None:
    body = b'{"a":1}'
    signed = seal.paper("seal", body, KEY)
    assert seal.read("seal", signed, KEY) == (body, seal.Trust.GOOD)
    assert seal.read("seal", signed, "")[1] is seal.Trust.UNCHECKED
    assert seal.read("seal", seal.paper("seal", body, ""), KEY)[1] is seal.Trust.UNSIGNED
    for at in range(len(signed)):
        broken = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
        with contextlib.suppress(ValueError):
            assert seal.read("seal", broken, KEY)[1] is not seal.Trust.GOOD
    as_contents = signed.replace(b" seal ", b" contents ")
    assert seal.read("contents", as_contents, KEY)[1] is seal.Trust.FORGED
