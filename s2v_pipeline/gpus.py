"""NVIDIA GPUs of this host as the driver's library sees them, where `nvidia-ml-py` is installed.

Belongs here: load, memory, and which GPUs this process computes on. Does not belong here: CUDA, torch, choosing one.
"""

from __future__ import annotations

import importlib
import logging
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuState:
    """One GPU at one moment: how busy it was over the last second or less (0 to 1), and its memory."""

    index: int
    name: str
    busy: float
    used_bytes: int
    total_bytes: int


def gpu_states() -> list[GpuState]:
    """All GPUs that answer; none where there is no driver or no library to ask it."""
    states = []
    for index, handle in _handles():
        nvml = _nvml()
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
            name = nvml.nvmlDeviceGetName(handle)
        except nvml.NVMLError as error:  # a lost card, or one in parts (MIG), which has no load of its own
            _log.warning("no figures of GPU %d: %s", index, error)
            continue
        states.append(GpuState(index, name, busy, int(memory.used), int(memory.total)))
    return states


def gpus_of_this_process() -> tuple[str, ...]:
    """Names, each after its index, of the GPUs on which this process computes; () where there is none or none tells."""
    found = []
    for index, handle in _handles():
        nvml = _nvml()
        try:
            if any(process.pid == os.getpid() for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)):
                found.append(f"{index} {nvml.nvmlDeviceGetName(handle)}")
        except nvml.NVMLError as error:
            _log.warning("GPU %d does not say who computes on it: %s", index, error)
    return tuple(found)


def _handles() -> list[tuple[int, Any]]:
    nvml = _nvml()
    if nvml is None:
        return []
    handles = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handles.append((index, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError as error:
            _log.warning("GPU %d does not answer: %s", index, error)
    return handles


@cache
def _nvml() -> Any:
    """The library, started; None where it is not installed or finds no driver. Said once a process."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        _log.info("no figures of GPUs: nvidia-ml-py is not installed")
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        _log.info("no figures of GPUs: %s", error)
        return None
    return nvml
