"""The live view as a person sees it: a real terminal, real keys, real runs."""

import re
import signal
import sys
from collections.abc import Callable

import pytest

from runner.terminal import cells
from tests.conftest import Workspace
from tests.tmux import Terminal

Make = Callable[..., Terminal]
RUN = f"{sys.executable} -m runner run --local --max-parallel 2"
WAIT = "until [ -e {} ]; do sleep 0.02; done"
FAIL = "echo 'tests/test_a.py:7: AssertionError'; exit 1"
PIPELINE = f"""
    name: Docs
    jobs:
      lint:
        steps:
          - {{ name: Style, run: "echo all is in style; {WAIT.format("go")}" }}
          - {{ name: Types, run: "echo no issues found; {WAIT.format("on")}" }}
      unit:
        steps:
          - {{ name: Tests, run: "seq 30; {WAIT.format("go")}; {FAIL}" }}
          - {{ name: Coverage, run: "echo never" }}
      pages:
        steps: ["echo pages made"]
      approve: {{ needs: [lint], gate: "Deploy it?" }}
      deploy: {{ needs: [approve], steps: ["echo deployed"] }}
"""


@pytest.fixture
def running(workspace: Workspace, terminal: Make) -> Terminal:
    """A terminal in which the pipeline above runs and waits for ``go``, then for ``on``."""
    workspace.write(PIPELINE)
    shown = terminal()
    shown.type(RUN)
    shown.until("▶ lint .*1/2 Style")
    shown.until("│ 30")
    return shown


def test_jobs_are_rows_that_say_how_they_stand(running: Terminal) -> None:
    text = running.until(r"▶ unit +\d+ s  1/2 Tests")
    assert re.search(r"▶ lint +\d+ s  1/2 Style", text)
    assert re.search(r"· pages +waits for a free place", text)
    assert re.search(r"\? approve +Deploy it\? · waits for lint", text)
    assert re.search(r"· deploy +waits for approve", text)
    assert re.search(r"── \d+ s · 2 running · 2 waiting ─", text)
    assert re.search(r"^   unit +│ 30$", text, re.MULTILINE)
    assert not re.search(r"^   unit +│ 2$", text, re.MULTILINE)


def test_finished_steps_fold_and_a_failed_one_opens(running: Terminal) -> None:
    running.go("go")
    text = running.until(lambda text: "✗ unit" in text and "2/2 Types" in text)
    above, _, view = text.partition("lint    ")
    assert re.search(r"^unit +✗ Tests · exit 1", above, re.MULTILINE)
    assert re.search(r"^unit +│ 29$", above, re.MULTILINE)
    assert "all is in style" not in above
    assert re.search(r"✗ unit +[\d.]+ m?s  Tests · exit 1 · tests/test_a.py:7\n +│ ", view)
    assert re.search(r"▶ lint +\d+ s  2/2 Types", text)
    running.go("on")
    text = running.until(r"^\$$")
    assert "running ·" not in running.text(history=True)
    assert "never" not in text


def test_at_the_end_stand_bars_reason_place_and_commands(running: Terminal) -> None:
    running.go("go")
    running.go("on")
    running.until(r"^\$$")
    text = running.text(history=True)
    assert re.search(r"✗ unit .*[\d.]+ m?s +[·━─╸╺╴╶]+$", text, re.MULTILINE)
    assert re.search(r"✗ unit · Tests · exit 1 · tests/test_a.py:7$", text, re.MULTILINE)
    assert "tests/test_a.py:7: AssertionError" in text
    assert re.search(r"critical path", text)
    assert "signalbox run --only unit" in text
    assert re.search(r"signalbox logs \w{8} unit", text)
    assert re.search(r"✗ failed in .* 1 failed", text)
    assert "local: nothing was sent" in text


def test_one_job_is_followed_by_keys(running: Terminal) -> None:
    running.press("j")
    running.until(r"^ → ▶ lint")
    running.press("Down")
    running.until(r"^ → ▶ unit")
    running.press("k")
    running.until(r"^ → ▶ lint")
    running.press("Enter")
    text = running.until("── following lint")
    assert re.search(r"^lint +▸ Style$", text, re.MULTILINE)
    running.go("go")
    running.until(lambda _: "│ no issues found" in running.text(history=True))
    running.press("a")
    running.until(lambda text: "following" not in text)
    running.go("on")
    running.until(r"^\$$")
    text = running.text(history=True)
    assert re.search(r"^lint +✓ Style", text, re.MULTILINE)
    assert re.search(r"^lint +│ no issues found$", text, re.MULTILINE)


def test_q_shows_lines_and_kills_nothing(running: Terminal) -> None:
    running.press("q")
    running.until(lambda text: "q lines" not in text)
    running.go("go")
    running.until(r"^lint +✓ Style")
    running.go("on")
    running.until(r"✗ failed in")


def test_it_follows_the_size_of_the_window(running: Terminal) -> None:
    running.resize(60, 20)
    text = running.until(lambda text: text.count("running ·") == 1 and "lines ──" not in text)
    assert all(len(line) < 60 for line in text.splitlines())
    running.resize(120, 40)
    text = running.until(r"q lines ──$")
    assert text.count("▶ lint") == 1
    running.resize(40, 8)
    running.until(lambda text: "▶ lint" not in text)
    running.go("go")
    running.until(lambda _: "▸ Types" in running.text(history=True))
    running.resize(100, 30)
    running.until(r"▶ lint +\d+ s  2/2 Types")


def test_ctrl_c_cancels_and_leaves_the_terminal_as_it_was(running: Terminal) -> None:
    running.type("echo not echoed")
    running.press("C-c")
    running.until(r"■ canceled after")
    text = running.until(r"^\$$")
    assert "not echoed" not in text
    running.type("echo code $?; stty -a | grep -o '[-]*icanon\\|[-]*echo '")
    text = running.until("^echo$")
    assert "code 130" in text
    assert "-icanon" not in text
    assert running.asked("cursor_flag") == "1"


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_brings_the_view_back(
    running: Terminal,
) -> None:
    running.press("C-z")
    running.until("Stopped")
    running.type("stty -a | grep -o '[-]*icanon'")
    text = running.until("^icanon$")
    assert "▶ lint" not in text
    running.type("fg")
    running.until(r"▶ lint +\d+ s  1/2 Style")
    running.press("j")
    running.until(r"^ → ▶ lint")
    running.go("go")
    running.go("on")
    running.until("✗ failed in")


def test_in_the_background_there_are_lines(running: Terminal) -> None:
    running.press("C-z")
    running.until("Stopped")
    running.type("bg")
    running.go("go")
    running.until(r"^lint +✓ Style")
    running.type("fg")
    running.until(r"▶ lint +\d+ s  2/2 Types")


def test_killed_it_leaves_a_screen_one_can_go_on_with(running: Terminal) -> None:
    running.kill(signal.SIGKILL)
    running.until("Killed")
    running.type("echo go on; stty -a | grep -o '[-]*icanon\\|[-]*echo '")
    text = running.until("^echo$")
    assert "-icanon" not in text
    assert running.asked("cursor_flag") == "1"


def test_ended_by_a_signal_it_leaves_the_terminal_as_it_was(running: Terminal) -> None:
    running.kill(signal.SIGTERM)
    running.until(r"■ canceled after")
    running.type("echo code $?; stty -a | grep -o '[-]*icanon'")
    text = running.until("^icanon$")
    assert "code 143" in text


HOSTILE = r"""
    name: P
    parameters: { EVIL: { default: "\e]0;pwned\a\e[2J\u202Ex\e[1A\x9b2J\e[?1049h" } }
    jobs:
      plain: { steps: ["WAIT"] }
      wide: { name: "日本語のテスト", steps: ["WAIT"] }
      mirrored: { name: "עברית", steps: ["WAIT"] }
      emoji: { name: "🚀 $EVIL", steps: [{ name: "$EVIL up", run: "WAIT" }] }
      noise:
        steps:
          - |
            printf '\033]0;pwned\a\033[?1049h\033[2J\033[10A\033[?25l\302\2332Jhere \033[31mred\n'
            printf '  5%%\r 10%%\r 15%%'
            WAIT
"""


def test_T15_names_and_output_move_nothing_on_the_screen(
    workspace: Workspace, terminal: Make
) -> None:
    workspace.write(HOSTILE.replace("WAIT", WAIT.format("go")))
    shown = terminal()
    shown.type(f"{RUN[:-1]}5")
    text = shown.until("noise .* here red")
    text = shown.until("noise .*│  15%$")
    rows = [line for line in text.splitlines() if " ▶ " in line]
    assert [cells(line.partition(" s  ")[0]) for line in rows] == [25] * 5, text
    assert "pwned" not in shown.asked("pane_title")
    assert shown.asked("alternate_on") == "0"
    assert shown.asked("cursor_flag") == "1"
    shown.go("go")
    text = shown.until("✓ succeeded in")
    assert "here red" in text, "the newest output stays when all went well"


def test_a_gate_is_asked_about_when_the_view_has_stepped_aside(
    workspace: Workspace, terminal: Make
) -> None:
    workspace.write(f"""
        name: P
        jobs:
          build: {{ steps: ["{WAIT.format("go")}"] }}
          approve: {{ needs: [build], gate: "Deploy it?" }}
          deploy: {{ needs: [approve], steps: ["{WAIT.format("on")}"] }}
    """)
    shown = terminal()
    shown.type(f"{RUN} --ask")
    shown.until("▶ build")
    shown.go("go")
    shown.until("ater\\?$")
    shown.type("approve")
    text = shown.until("▶ deploy")
    assert "ater? approve" in text
    shown.go("on")
    shown.until("✓ succeeded in")
