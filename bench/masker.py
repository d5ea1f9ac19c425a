"""Throughput of the masker: ``python -m bench.masker``. Must 80 MB/s with 10 secrets, aim 150.

CPU time, as other work on the machine must not count; the best and the median of the rounds.
"""

import random
import statistics
import string
import time
from collections.abc import Iterable

from runner.redact import Masker

PIECE = 64 * 1024
SIZE = 16 * 1024 * 1024
ROUNDS = 15


def ordinary(chance: random.Random) -> bytes:
    """Lines as a test run prints them."""
    words = ["".join(chance.choices("etaoinshrdlucm", k=chance.randint(2, 11))) for _ in range(999)]
    lines, size = [], 0
    while size < SIZE:
        a, b, c, *rest = chance.choices(words, k=chance.randint(3, 12))
        lines.append(
            f"[12:{chance.random() * 60:06.3f}] src/{a}/{b}.py::test_{c} {' '.join(rest)}\n"
        )
        size += len(lines[-1])
    return "".join(lines).encode()


def secrets(chance: random.Random, count: int, least: int, most: int) -> list[str]:
    """Random ones, as services hand out."""
    letters = string.ascii_letters + string.digits
    return ["".join(chance.choices(letters, k=chance.randint(least, most))) for _ in range(count)]


def measure(name: str, values: Iterable[str], text: bytes, rounds: int = ROUNDS) -> None:
    """Feed ``text`` in pieces, as it comes from a pipe, and print the rate."""
    masker, rates = Masker(values), []
    for _ in range(rounds):
        stream, start = masker.stream(), time.process_time()
        for at in range(0, len(text), PIECE):
            stream.feed(text[at : at + PIECE])
        rates.append(len(text) / 1e6 / (time.process_time() - start))
    print(f"{name:42} {max(rates):7.1f} MB/s best {statistics.median(rates):7.1f} median")


def main() -> None:
    """Ordinary text with few and many secrets, then the worst kinds."""
    chance = random.Random(1)
    text, ten = ordinary(chance), secrets(chance, 10, 20, 40)
    measure("10 secrets of 20-40 bytes", ten, text)
    measure("100 secrets of 20-40 bytes", secrets(chance, 100, 20, 40), text)
    measure("1000 secrets of 20-40 bytes", secrets(chance, 1000, 20, 40), text, 5)
    measure("10 secrets of 8 bytes", secrets(chance, 10, 8, 8), text)
    measure("1000 secrets of 6-12 bytes", secrets(chance, 1000, 6, 12), text, 3)
    leak = b"".join(
        b"%b token=%b\n" % (line, ten[0].encode()) for line in text[:PIECE].split(b"\n")
    )
    measure("10 secrets, one in every line", ten, leak * 32)
    nested = ["a" * size for size in range(6, 1006)]
    measure("aaaa..., 1000 secrets aaaaaa...", nested[:700], b"a" * PIECE * 4, 3)
    measure(
        "aaaa..., 1000 secrets aaaaaa...b", [f"{a}b" for a in nested[:700]], b"a" * PIECE * 4, 3
    )


if __name__ == "__main__":
    main()
