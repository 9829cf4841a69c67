"""Measure the speed of `validate-data` on rows without errors (MB per CPU second) and its peak memory.

Usage: python tests/bench/bench_validate.py [MB]

The target is 100 MB/s. `validate-data` uses one thread; CPU time is measured so that other processes on the machine
have little influence.
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
TARGET_MB_PER_S = 100


def texts(alphabet: str, length: int) -> Iterator[str]:
    """Yield different texts without end."""
    draw = random.Random(0)
    stems = ["".join(draw.choices(alphabet, k=length)) for _ in range(500)]
    while True:
        yield f"{draw.random()} {draw.choice(stems)}"


def with_negatives(alphabet: str) -> Iterator[dict[str, object]]:
    """Yield rows with a query of 20 characters, and a positive and 15 negatives of about 300 characters."""
    stream = texts(alphabet, 300)
    while True:
        passages = list(islice(stream, 16))
        yield {"query": passages[0][:20], "pos": passages[:1], "neg": passages[1:]}


def pairs(alphabet: str) -> Iterator[dict[str, object]]:
    """Yield rows with a query of 20 characters and a positive of about 100 characters."""
    for text in texts(alphabet, 100):
        yield {"query": text[:20], "pos": [text]}


def lines(rows: Iterator[dict[str, object]]) -> Iterator[str]:
    """Return the rows as JSON lines."""
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def array(rows: Iterator[dict[str, object]]) -> Iterator[str]:
    """Yield the parts of one indented JSON array, without the closing bracket."""
    yield "["
    yield json.dumps(next(rows), indent=1)
    yield from (",\n" + json.dumps(row, indent=1) for row in rows)


def write(path: Path, parts: Iterator[str], megabytes: float, end: str = "") -> None:
    """Write parts until the file has the given size, then `end`."""
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
    """Print one line per case."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    for name, make in CASES.items():
        with tempfile.TemporaryDirectory() as folder, console.progress(name, None, "MB") as bar:
            path = Path(folder) / "rows.json"
            make(path, megabytes)
            size, start_time = path.stat().st_size / 1e6, time.process_time()
            report = validate(str(path), 0, 20, None, bar)
            seconds = time.process_time() - start_time
        assert report["stats"]["errors"] == report["stats"]["warnings"] == 0, report
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rate = size / seconds
        speed = (
            f"{rate:6,.0f} MB/s ({rate / TARGET_MB_PER_S:.2f} of the target), {report['rows'] / seconds:,.0f} rows/s"
        )
        print(f"{name:42} {size:6,.0f} MB {seconds:6.2f} s {speed}, peak memory {memory:,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
