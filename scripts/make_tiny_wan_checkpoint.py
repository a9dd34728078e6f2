"""Write a checkpoint of Wan2.2-S2V with random weights, in the official layout: tiny, or full-size for timing.

    python scripts/make_tiny_wan_checkpoint.py FOLDER
    python scripts/make_tiny_wan_checkpoint.py FOLDER --full-size [--transformer-only]

What it makes drives the whole pipeline without the real weights; its videos are noise.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

from s2v_pipeline_tests.wan_checkpoint import FULL, TINY, write_checkpoint

FULL_BYTES = {True: 33 * 10**9, False: 46 * 10**9}
"""Room that the 14B sizes take: the transformer alone, and with the text encoder, VAE and speech encoder."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-size", action="store_true", help="the 14B model in bfloat16, ten shards")
    parser.add_argument("--transformer-only", action="store_true", help="leave the other parts out")
    given = parser.parse_args()
    if given.folder.exists() and any(given.folder.iterdir()):
        parser.error(f"{given.folder} is not empty")
    given.folder.mkdir(parents=True, exist_ok=True)
    room, needed = shutil.disk_usage(given.folder).free, FULL_BYTES[given.transformer_only]
    if given.full_size and room < needed:
        parser.error(f"{given.folder} needs {needed / 1e9:.0f} GB of room, {room / 1e9:.0f} GB are free")
    sizes, started_s = FULL if given.full_size else TINY, time.perf_counter()
    write_checkpoint(given.folder, sizes=sizes, seed=given.seed, transformer_only=given.transformer_only)
    n_bytes = sum(path.stat().st_size for path in given.folder.rglob("*") if path.is_file())
    took_s = time.perf_counter() - started_s
    sys.stdout.write(f"{given.folder}: {n_bytes / 1e6:.1f} MB of random weights in {took_s:.1f} s\n")


if __name__ == "__main__":
    main()
