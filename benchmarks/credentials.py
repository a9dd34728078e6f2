"""What signing and verifying cost: CPU seconds, wall seconds and peak memory by the size of the media.

Belongs here: signing one video that is padded to a size. Does not belong here: whether signatures hold (tests).

    python -m benchmarks.credentials 100 1000

A small real video gets a second media box of the given number of MiB (zeros, a sparse file); each size runs in a
process of its own, as peak memory is a process's. Needs twice the size on the disk.
"""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.video.certificate import credentials_at
from s2v_pipeline.video.credentials import Origin, seal_video, trusted_signers
from s2v_pipeline.video.probe import probe_video
from s2v_pipeline.video.verification import verify_file
from s2v_pipeline_tests.video.material import make_video

_MIB = 1 << 20


def measure(size_mib: int) -> str:
    """One row of the table."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        video = make_video(Path(folder), n_samples=48_000, rate_hz=48_000, fps=Fraction(25)).path
        with video.open("ab") as file:
            file.write(struct.pack(">I4s", size_mib * _MIB, b"mdat"))
            file.truncate(file.tell() + size_mib * _MIB - 8)
        settings = credentials_at(Settings(), Path(folder))
        origin = Origin(video.name, "portrait", "benchmark", "0" * 64, "0" * 64)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        seal_video(video, probe_video(video), origin, settings)
        sealed = (time.perf_counter() - wall_s, time.process_time() - cpu_s)
        wall_s = time.perf_counter()
        status = verify_file(video, trusted_signers(settings)).status
        verified_s = time.perf_counter() - wall_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"| {size_mib} | {sealed[0]:.1f} | {sealed[1]:.1f} | {verified_s:.1f} | {peak_mib:.0f} | {status} |"


def main() -> None:
    """Print the table of the sizes on the command line."""
    sizes = [int(size) for size in sys.argv[1:]] or [100, 1000]
    if len(sizes) == 1:
        print(measure(sizes[0]))
        return
    print("| MiB | seal, wall s | seal, CPU s | verify, wall s | peak MiB | |\n|---|---|---|---|---|---|")
    for size in sizes:
        subprocess.run([sys.executable, "-m", "benchmarks.credentials", str(size)], check=True)


if __name__ == "__main__":
    main()
