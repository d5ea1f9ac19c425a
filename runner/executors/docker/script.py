"""What we have a container's own ``sh`` do: keep it alive, begin a step, end a step's processes.

Owns the three programs and what they say. They need a POSIX shell and ``sleep``, so nothing has to
be installed in an image. They set no variable that a step could see.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from runner.executors import Command
from runner.executors.shell import ARGUMENT_LIMIT

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHELL: Final = "/bin/sh"

# $1 seconds until the job's time is up, $2 a pipe of ours, to say through it that it is the same
# pipe here and there. It is opened for reading, too: where nobody reads, that does not block.
_KEEPER: Final = """
trap '' TERM INT HUP
[ -z "$2" ] || echo ready 1<>"$2"
exec sleep "$1"
"""

# $1 directory, $2 pipe for the output or nothing, $3 a file with variables that take a detour or
# nothing, then the program and its arguments; an empty program is bash where there is one. The
# first line is ours: the pid, or why there is none.
_PROLOGUE: Final = """
if [ -n "$2" ]; then exec 3>"$2"; else exec 3>&1; fi
cd -- "$1" 2>/dev/null || { echo '!cwd'; exit 126; }
unset OLDPWD
signalbox=$3
shift 3
if [ -z "$1" ]; then
  shift
  if command -v bash >/dev/null 2>&1; then set -- bash -eo pipefail "$@"; else set -- sh -e "$@"; fi
fi
case $1 in
*/*)
  [ -e "$1" ] || { echo '!found'; exit 127; }
  [ -f "$1" ] && [ -x "$1" ] || { echo '!executable'; exit 126; } ;;
*) command -v -- "$1" >/dev/null 2>&1 || { echo '!found'; exit 127; } ;;
esac
[ -z "$signalbox" ] || . "$signalbox"
echo "$$"
exec "$@" >&3 2>&1 3>&-
"""

# $1 signal, $2 the step's first process, $3 its mark in the environment, $4 "all" or nothing. The
# first process is told first: it shall not learn of its end by that of its children. Says when it
# has sent the first, and goes on until none is left. /proc/PID/stat: the name may hold anything but
# is in brackets. The keeper is the oldest child of the init; its pid is the least.
_ENDER: Final = r"""
found= told=' ' keeper= fresh=1
scan() {
  all=
  for p in /proc/[0-9]*; do
    s=
    IFS= read -r s <"$p/stat" || continue
    p=${p#/proc/} s=${s##*) }
    set -- $s
    [ "$1" != Z ] || continue
    [ "$2" != $$ ] && [ "$p" != $$ ] && [ "$p" != 1 ] || continue
    if [ "$2" = 1 ] && { [ -z "$keeper" ] || [ "$p" -lt "$keeper" ]; }; then keeper=$p; fi
    all="$all $p:$2:$4"
  done
} 2>/dev/null
belongs() {
  case $found in *" $2 "*) return 0 ;; esac
  case $told in *" $1 "* | *" $2 "*) return 0 ;; esac
  [ "$3" = "$leader" ] || [ "$1" = "$leader" ]
}
marked() { grep -qs -- "$mark" "/proc/$1/environ"; }
choose() {
  found=' ' rest=$all more=1
  while [ -n "$more" ]; do
    more= left=
    for one in $rest; do
      p=${one%%:*} s=${one##*:} q=${one#*:} q=${q%:*}
      if [ "$p" = "$keeper" ]; then continue
      elif [ -n "$every" ] || belongs "$p" "$q" "$s" || { [ "$1" = deep ] && marked "$p"; }
      then found="$found$p " more=1
      else left="$left $one"
      fi
    done
    rest=$left
  done
}
signal=$1 leader=$2 mark=$3 every=$4
while :; do
  scan
  choose deep
  [ "$found" != ' ' ] || exit 0
  case $found in *" $leader "*) found=" $leader$found" ;; esac
  for p in $found; do
    case $told in *" $p "*) [ "$signal" = KILL ] || continue ;; esac
    kill -s "$signal" "$p" 2>/dev/null && kill -s CONT "$p" 2>/dev/null
    told="$told$p "
  done
  [ -z "$fresh" ] || { echo sent; fresh=; }
  sleep 0.02 2>/dev/null || sleep 1
done
"""

ALIVE: Final = b"signalbox: alive"
OOM_KILLS: Final = (
    "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null; "
    f"echo {ALIVE.decode()}"
)
"""What the kernel has killed in this container, in the words of both versions of cgroups."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the prologue says first: the step's pid in its container, or why there is none."""

    pid: int = 0
    refused: str = ""

    @classmethod
    def of(cls, line: bytes) -> "Header":
        """From its line; whatever else stands there is what an engine or a shell complained of."""
        text = line.decode(errors="replace").strip()
        return cls(pid=int(text)) if text.isdecimal() else cls(refused=text)


def keeper(seconds: int, pipe: str) -> list[str]:
    """Keeps a container alive for so long, whatever happens to us."""
    return [SHELL, "-c", _KEEPER, "signalbox", str(seconds), pipe]


def step(command: Command, pipe: str, exports: str, file: str) -> list[str]:
    """Begins a step; ``file`` holds its script when it is no argument. Raises ValueError for a
    shell that cannot be read.
    """
    program = _program(command, file)
    return [SHELL, "-c", _PROLOGUE, "signalbox", command.cwd, pipe, exports, *program]


def split(env: Mapping[str, str]) -> tuple[list[str], bytes]:
    """Variables as the engine takes them, and lines for the shell for those that would not arrive:
    its API carries text alone, and dash drops those whose name is not one for it.
    """
    texts, lines = [], b""
    for name, value in env.items():
        if NAME.fullmatch(name) and _is_text(value):
            texts.append(f"{name}={value}")
            continue
        known = NAME.fullmatch(name) is not None
        word = b"'%b'" % os.fsencode(f"{name}={value}").replace(b"'", b"'\\''")
        lines += (b"export %b\n" if known else b'set -- env %b "$@"\n') % word
    return texts, lines


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def needs_file(command: Command) -> bool:
    """Whether the script has to lie in a file."""
    plain = command.shell in {"", "bash", "sh"}
    return not plain or len(command.script.encode(errors="surrogateescape")) >= ARGUMENT_LIMIT


def _program(command: Command, file: str) -> Sequence[str]:
    script = [file] if file else ["-c", "--", command.script]
    match shlex.split(command.shell):
        case []:
            return ["", *script]
        case ["bash"]:
            return ["bash", "-eo", "pipefail", *script]
        case ["sh"]:
            return ["sh", "-e", *script]
        case words:
            filled = [word.replace("{0}", file) for word in words]
            return filled if filled != words else [*words, file]


def ender(signal: str, leader: int, mark: str, *, everything: bool) -> list[str]:
    """Ends a step's processes, or all; is over when none is left."""
    every = "all" if everything else ""
    return [SHELL, "-c", _ENDER, "signalbox", signal, str(leader), mark, every]
