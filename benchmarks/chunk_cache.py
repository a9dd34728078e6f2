"""What the chunk cache costs: fetching, keeping, listing and evicting, in a local folder.

python -m benchmarks.chunk_cache [--entries 5000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from s2v_pipeline.artifacts import Provenance, content_key, file_sha256
from s2v_pipeline.cache.chunk_cache import ChunkCache
from s2v_pipeline.cache.upkeep import info_of, prune, size_of

CHUNK_BYTES = 21 << 20  # a chunk of `wan_s2v` at 832x480 with its carry
SMALL_BYTES = 2000
TRIES = 5


def seconds(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def record_of(path: Path, name: str) -> Provenance:
    key = content_key({"name": name})
    return Provenance(file_sha256(path), path.stat().st_size, key, "benchmark", "2026-01-01T00:00:00+00:00", {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=5000)
    n_entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as folder:
        cache = ChunkCache(f"{folder}/large")
        chunk, copy = Path(folder) / "chunk", Path(folder) / "copy"
        chunk.write_bytes(os.urandom(CHUNK_BYTES))
        record = record_of(chunk, "large")
        keeping = min(seconds(lambda: cache.keep("chunk_latents", chunk, record)) for _ in range(TRIES))
        fetching = min(seconds(lambda: cache.fetch("chunk_latents", record.key, copy)) for _ in range(TRIES))
        missing = min(seconds(lambda: cache.fetch("chunk_latents", "0" * 64, copy)) for _ in range(TRIES))
        print(f"21 MB: kept in {keeping * 1e3:.1f} ms, fetched and verified in {fetching * 1e3:.1f} ms")
        print(f"not there: {missing * 1e3:.2f} ms")

        cache = ChunkCache(f"{folder}/many")
        small = Path(folder) / "small"
        small.write_bytes(bytes(SMALL_BYTES))
        filling = seconds(
            lambda: [cache.keep("chunk_latents", small, record_of(small, str(number))) for number in range(n_entries)]
        )
        print(f"{n_entries} small entries: {filling / n_entries * 1e3:.2f} ms to keep one")
        size_bytes = size_of(cache)[1]
        print(f"size of all: {seconds(lambda: size_of(cache)):.2f} s; info: {seconds(lambda: info_of(cache)):.2f} s")
        evicting = seconds(lambda: prune(cache, max_bytes=size_bytes - 1))
        print(f"eviction of a tenth: {evicting:.2f} s, {size_of(cache)[0]} left")


if __name__ == "__main__":
    main()
