"""How fast `validate-data` reads clean rows: MB/s on one core. Run by hand: python tests/bench/bench_validate.py [MB]."""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path

from embedctl import console
from embedctl.data.validate import validate


def write_rows(path: Path, megabytes: int) -> None:
    """Rows of one positive and 15 negatives of about 300 characters, half Chinese, half English."""
    draw = random.Random(0)
    english = ["".join(draw.choices("abcdefghij klmnop qrstuvw xyz ", k=300)) for _ in range(500)]
    chinese = ["".join(draw.choices([chr(code) for code in range(0x4E00, 0x5E00)], k=300)) for _ in range(500)]
    size = 0
    with path.open("w", encoding="utf-8") as stream:
        while size < megabytes * 1_000_000:
            texts = draw.choices(draw.choice((english, chinese)), k=16)
            texts = [f"{draw.random()} {text}" for text in texts]
            size += stream.write(json.dumps({"query": texts[0][:20], "pos": texts[:1], "neg": texts[1:]}, ensure_ascii=False) + "\n")


def main() -> None:
    """Print the rate."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, int(sys.argv[1]) if len(sys.argv) > 1 else 200)
        size = path.stat().st_size / 1e6
        begun = time.perf_counter()
        with console.progress("validate", None, "rows") as bar:
            report = validate(str(path), 15, 20, None, bar)
        seconds = time.perf_counter() - begun
        print(f"{report['rows']:,} rows, {size:,.0f} MB, {seconds:.2f} s: {size / seconds:,.0f} MB/s; ok: {not report['errors']}")


if __name__ == "__main__":
    main()
