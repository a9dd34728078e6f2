"""Facts about the machine: control groups of both versions, from real files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from s2v_pipeline import machine


@pytest.mark.parametrize(
    ("text", "quota"), [("max 100000", None), ("150000 100000", 1.5), ("rubbish", None), ("", None)]
)
def test_cpu_quota_of_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert machine.cpus(tmp_path).quota == quota


@pytest.mark.parametrize(("text", "quota"), [("-1", None), ("50000", 0.5)])
def test_cpu_quota_of_version_1(tmp_path: Path, text: str, quota: float | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(text)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert machine.cpus(tmp_path).quota == quota


def test_usable_cpus_are_the_least_of_all_limits(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000")
    found = machine.cpus(tmp_path)
    assert found.usable == 0.5
    assert found.machine >= found.allowed >= 1
    assert machine.Cpus(machine=64, allowed=8, quota=16.0).usable == 8


def test_memory_limits(tmp_path: Path) -> None:
    assert machine.memory_limit_bytes(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert machine.memory_limit_bytes(tmp_path) is None
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1073741824")
    assert machine.memory_limit_bytes(tmp_path) == 1 << 30
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_limit_bytes(tmp_path) == 1 << 30
    (tmp_path / "memory.max").write_text("536870912\n")
    assert machine.memory_limit_bytes(tmp_path) == 1 << 29


def test_existing_parent_and_disk(tmp_path: Path) -> None:
    assert machine.existing_parent(tmp_path / "a" / "b") == tmp_path
    assert machine.existing_parent(Path()) == Path.cwd()
    assert machine.disk_free_bytes(tmp_path / "a" / "b") == machine.disk_free_bytes(tmp_path)


def test_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert machine.port_error("127.0.0.1", port) is not None
        assert machine.connect_error("127.0.0.1", port, 1.0) is None
    assert machine.port_error("127.0.0.1", port) is None
    assert machine.connect_error("127.0.0.1", port, 1.0) is not None


def test_no_nvidia_smi_means_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep)
    assert machine.gpus() == ()
