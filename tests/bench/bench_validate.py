"""How fast `validate-data` reads clean rows, in MB for a second of one core, and its peak memory.

Run by hand: python tests/bench/bench_validate.py [MB]. The bar of the project is 100 MB/s. Seconds are the CPU's, so
that other work on the machine counts little; one thread does all of it.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from embedctl import console
from embedctl.data.validate import validate

ENGLISH = "abcdefghij klmnop qrstuvw xyz "
CHINESE = "".join(map(chr, range(0x4E00, 0x5E00)))
TARGET = 100


def texts(alphabet: str, length: int) -> Iterator[str]:
    """Texts that all differ."""
    draw = random.Random(0)
    stems = ["".join(draw.choices(alphabet, k=length)) for _ in range(500)]
    while True:
        yield f"{draw.random()} {draw.choice(stems)}"


def with_negatives(alphabet: str) -> Iterator[dict[str, object]]:
    """Rows of a query of 20 characters, a positive and 15 negatives of about 300."""
    stream = texts(alphabet, 300)
    while True:
        own = list(islice(stream, 16))
        yield {"query": own[0][:20], "pos": own[:1], "neg": own[1:]}


def pairs(alphabet: str) -> Iterator[dict[str, object]]:
    """Rows of a query and a positive of about 100 characters."""
    for text in texts(alphabet, 100):
        yield {"query": text[:20], "pos": [text]}


def lines(rows: Iterator[dict[str, object]]) -> Iterator[str]:
    """JSON lines."""
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def array(rows: Iterator[dict[str, object]]) -> Iterator[str]:
    """One array, indented; its end is for `write` to add."""
    yield "["
    yield json.dumps(next(rows), indent=1)
    yield from (",\n" + json.dumps(row, indent=1) for row in rows)


def write(path: Path, parts: Iterator[str], megabytes: float, end: str = "") -> None:
    """Write parts until the file is large enough."""
    with path.open("w", encoding="utf-8") as stream:
        while stream.tell() < megabytes * 1e6:
            stream.writelines(islice(parts, 500))
        stream.write(end)


CASES: dict[str, Callable[[Path, float], None]] = {
    "English, 15 negatives": lambda path, size: write(path, lines(with_negatives(ENGLISH)), size),
    "Chinese, 15 negatives": lambda path, size: write(path, lines(with_negatives(CHINESE)), size),
    "English, 15 negatives, one indented array": lambda path, size: write(
        path, array(with_negatives(ENGLISH)), size, "]"
    ),
    "English, short pairs": lambda path, size: write(path, lines(pairs(ENGLISH)), size / 5),
}


def main() -> None:
    """Print a line for each kind of file."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    for name, make in CASES.items():
        with tempfile.TemporaryDirectory() as folder, console.progress(name, None, "MB") as bar:
            path = Path(folder) / "rows.json"
            make(path, megabytes)
            size, begun = path.stat().st_size / 1e6, time.process_time()
            report = validate(str(path), 0, 20, None, bar)
            seconds = time.process_time() - begun
        assert report["stats"]["errors"] == report["stats"]["warnings"] == 0, report
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rate = size / seconds
        speed = f"{rate:6,.0f} MB/s ({rate / TARGET:.2f} of the bar), {report['rows'] / seconds:,.0f} rows/s"
        print(f"{name:42} {size:6,.0f} MB {seconds:6.2f} s {speed}, peak {memory:,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
