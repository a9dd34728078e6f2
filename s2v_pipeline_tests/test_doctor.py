"""The doctor on this machine, and on one that is made worse in one respect at a time."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from s2v_pipeline.doctor import diagnose
from s2v_pipeline.doctor_credentials import credentials_finding
from s2v_pipeline.findings import Finding
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.settings import resolve_settings
from s2v_pipeline.video.certificate import load_identity
from s2v_pipeline_tests.alignment.ctc_checkpoints import NEEDS_TORCH, PHONEMES, copied

NAMES = (
    "python", "package", "dependencies", "opencv", "codecs", "face model", "content credentials", "ray", "ray cluster",
    "cpus", "memory", "shared memory", "disk", "folder inputs", "folder artifacts", "folder dagster_home",
    "port dagster_port", "port file_port", "ctc checkpoint", "gpus", "extra wan", "weights wan",
)  # fmt: skip


def settings(tmp_path: Path, **groups: dict[str, object]) -> Settings:
    paths: dict[str, object] = {name: tmp_path / name for name in ("inputs", "artifacts", "dagster_home")}
    return resolve_settings({"test": {**groups, "paths": {**paths, **groups.get("paths", {})}}}).settings


def found(settings: Settings, name: str) -> Finding:
    (finding,) = (finding for finding in diagnose(settings) if finding.name == name)
    return finding


@pytest.fixture
def free_ports() -> dict[str, object]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return {"dagster_port": one.getsockname()[1], "file_port": two.getsockname()[1]}


def test_everything_is_looked_at_and_this_environment_can_make_videos(
    tmp_path: Path, free_ports: dict[str, object]
) -> None:
    findings = diagnose(settings(tmp_path, server=free_ports))
    assert tuple(finding.name for finding in findings) == NAMES
    assert [finding for finding in findings if finding.status == "problem"] == []
    assert list(tmp_path.iterdir()) == []  # looking makes no folders


def test_looking_does_not_load_torch() -> None:
    """Loading it takes seconds; what is installed is read from the packages' metadata."""
    code = (
        "import sys; from s2v_pipeline.doctor import diagnose; from s2v_pipeline.setting_groups import Settings\n"
        "assert diagnose(Settings()); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_finding_that_is_not_ok_must_have_a_cure() -> None:
    assert Finding("x", "ok", "fine").cure == ""
    with pytest.raises(ValueError, match="needs a cure"):
        Finding("x", "problem", "broken")


def test_another_programs_port_is_a_warning(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = found(settings(tmp_path, server={"file_port": port}), "port file_port")
    assert finding.status == "warning"
    assert str(port) in finding.detail
    assert "S2V_SERVER__FILE_PORT" in finding.cure


def test_one_port_for_both_servers_is_a_problem(tmp_path: Path) -> None:
    finding = found(settings(tmp_path, server={"file_port": 3999, "dagster_port": 3999}), "port dagster_port")
    assert finding.status == "problem"


def test_a_folder_that_is_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("not a folder")
    finding = found(settings(tmp_path), "folder artifacts")
    assert finding.status == "problem"
    assert "S2V_PATHS__ARTIFACTS" in finding.cure


def test_a_folder_below_a_file_is_a_problem_and_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert found(settings(tmp_path, paths={"inputs": tmp_path / "file" / "in"}), "folder inputs").status == "problem"


def test_a_folder_that_takes_no_files_is_a_problem(tmp_path: Path) -> None:
    # /proc refuses new files to everyone, root included.
    proc = Path("/proc")
    if not proc.is_dir():
        pytest.skip("no /proc on this system")
    finding = found(settings(tmp_path, paths={"artifacts": proc}), "folder artifacts")
    assert finding.status == "problem"


def test_an_existing_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    assert found(settings(tmp_path), "folder inputs").detail.endswith("is writable")
    assert list((tmp_path / "inputs").iterdir()) == []


def test_a_face_model_that_is_not_there_or_another_one(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    assert found(settings(tmp_path, paths={"face_model": path}), "face model").status == "problem"
    path.write_bytes(b"another model")
    finding = found(settings(tmp_path, paths={"face_model": path}), "face model")
    assert finding.status == "warning"
    assert "64184e229b26" in finding.detail


def test_two_opencv_wheels_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "site" / "opencv_python-4.11.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 4.11.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    finding = found(settings(tmp_path), "opencv")
    assert finding.status == "problem"
    assert "opencv-python 4.11.0" in finding.detail
    assert "pip uninstall" in finding.cure


def test_an_old_dependency_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "site" / "tqdm-3.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tqdm\nVersion: 3.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    finding = found(settings(tmp_path), "dependencies")
    assert (finding.status, finding.detail) == ("problem", "not as asked for: tqdm >=4.66 (found 3.0)")


@pytest.mark.parametrize(("module", "name"), [("av", "codecs"), ("psutil", "memory")])
def test_a_package_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # the import system then raises ImportError
    assert found(settings(tmp_path), name).status == "problem"


def test_a_broken_ray_is_a_problem_only_for_those_who_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "ray.py").write_text("raise ImportError('libgrpc.so is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    finding = found(settings(tmp_path), "ray")
    assert finding.status == "problem"
    assert "libgrpc.so is missing" in finding.detail
    assert found(settings(tmp_path, cluster={"executor": "in_process"}), "ray").status == "warning"


def test_a_cluster_address_is_tried(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        assert found(settings(tmp_path, cluster={"address": address}), "ray cluster").status == "ok"
    assert found(settings(tmp_path, cluster={"address": address}), "ray cluster").status == "problem"
    assert "host:port" in found(settings(tmp_path, cluster={"address": "nonsense"}), "ray cluster").detail


def test_more_workers_than_cpus_is_a_warning(tmp_path: Path) -> None:
    assert found(settings(tmp_path, cluster={"num_cpus": 100_000}), "cpus").status == "warning"


def test_an_object_store_beyond_shared_memory_is_a_warning(tmp_path: Path) -> None:
    if not Path("/dev/shm").is_dir():  # noqa: S108
        pytest.skip("no /dev/shm on this system")
    finding = found(settings(tmp_path, cluster={"object_store_mb": 10**9}), "shared memory")
    assert finding.status == "warning"
    assert "--shm-size" in finding.cure


def test_the_wan_generator_without_its_extra_is_a_problem(tmp_path: Path) -> None:
    finding = found(settings(tmp_path, generation={"generator": "wan_s2v"}), "extra wan")
    missing = [name for name in ("torch", "diffusers", "transformers") if importlib.util.find_spec(name) is None]
    assert all(name in finding.detail for name in missing)
    assert finding.status == ("problem" if missing or "+cpu" in finding.detail else "ok")
    cpu = {"generation": {"generator": "wan_s2v"}, "wan": {"device": "cpu"}}
    assert found(settings(tmp_path, **cpu), "extra wan").status == ("problem" if missing else "ok")


def test_a_generator_whose_packages_are_missing_is_told_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = found(settings(tmp_path, generation={"generator": "wan_s2v"}), "extra wan")
    assert (finding.status, finding.cure) == ("problem", "pip install 's2v_pipeline[wan]'")
    assert "torch" in finding.detail


def test_weights_are_looked_for_where_they_are_said_to_be(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    assert found(settings(tmp_path), "weights wan").status == "ok"
    assert found(settings(tmp_path, generation={"generator": "wan_s2v"}), "weights wan").status == "problem"
    assert found(settings(tmp_path, wan={"weights": str(folder)}), "weights wan").status == "warning"
    folder.mkdir()
    chosen = {"generation": {"generator": "wan_s2v"}, "wan": {"weights": str(folder)}}
    assert "neither config.json nor model_index.json" in found(settings(tmp_path, **chosen), "weights wan").detail
    (folder / "config.json").write_text("{}")
    assert found(settings(tmp_path, **chosen), "weights wan").status == "ok"


def test_a_machine_without_a_gpu_is_a_problem_only_for_who_needs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = {"generation": {"generator": "wan_s2v"}}
    assert found(settings(tmp_path), "gpus").status == "ok"
    assert found(settings(tmp_path, **chosen), "gpus").status == "problem"
    assert found(settings(tmp_path, **chosen, wan={"device": "cpu"}), "gpus").status == "ok"


@pytest.mark.parametrize(
    ("script", "status", "detail"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559 MiB'; echo 'NVIDIA H100 80GB HBM3, 81559 MiB'", "ok", "; NVIDIA H100"),
        ("exit 9", "warning", "exit status 9"),
    ],
)
def test_gpus_are_those_that_nvidia_smi_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, status: str, detail: str
) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    finding = found(settings(tmp_path), "gpus")
    assert finding.status == status
    assert detail in finding.detail


def test_no_ctc_checkpoint_is_a_problem_only_for_who_asks_for_one(tmp_path: Path) -> None:
    finding = found(settings(tmp_path), "ctc checkpoint")
    assert (finding.status, "not set" in finding.detail) == ("ok", True)
    finding = found(settings(tmp_path, alignment={"aligner": "ctc"}), "ctc checkpoint")
    assert finding.status == "problem"
    assert "S2V_ALIGNMENT__CTC_CHECKPOINT" in finding.cure


@NEEDS_TORCH
def test_a_ctc_checkpoint_is_loaded(tmp_path: Path) -> None:
    finding = found(settings(tmp_path, alignment={"ctc_checkpoint": str(PHONEMES)}), "ctc checkpoint")
    assert finding.status == "ok"
    assert "phonemes, a frame every 20 ms" in finding.detail


@NEEDS_TORCH
def test_a_broken_ctc_checkpoint_is_a_problem_where_it_would_be_used(tmp_path: Path) -> None:
    folder = copied(tmp_path / "checkpoint")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    broken = found(settings(tmp_path, alignment={"ctc_checkpoint": str(folder)}), "ctc checkpoint")
    assert (broken.status, str(weights) in broken.detail) == ("problem", True)
    assert "whole folder" in broken.cure
    unused = {"ctc_checkpoint": str(folder), "aligner": "recogniser"}
    finding = found(settings(tmp_path, alignment=unused), "ctc checkpoint")
    assert (finding.status, "not used while alignment.aligner is recogniser" in finding.detail) == ("warning", True)


def test_a_ctc_checkpoint_without_its_extra_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "s2v_pipeline.alignment.ctc", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = found(settings(tmp_path, alignment={"ctc_checkpoint": str(PHONEMES)}), "ctc checkpoint")
    assert finding.status == "problem"
    assert finding.cure.endswith("'.[ctc]'")


@pytest.mark.parametrize(
    ("credentials", "status", "words"),
    [
        ({}, "ok", "a test certificate will be made"),
        ({"enabled": False}, "warning", "not signed"),
        ({"certificate": "none.pem", "private_key": "none.pem"}, "problem", "must be readable"),
        ({"certificate": "none.pem"}, "problem", "set together"),
    ],
)
def test_content_credentials_are_looked_at(
    tmp_path: Path, credentials: dict[str, object], status: str, words: str
) -> None:
    finding = credentials_finding(settings(tmp_path, credentials=credentials))
    assert finding.status == status
    assert words in finding.detail


def test_the_certificate_that_will_sign_is_named(tmp_path: Path) -> None:
    own = settings(tmp_path, paths={"credentials": tmp_path / "mine"})
    load_identity(own)
    finding = credentials_finding(own)
    assert finding.status == "ok"
    assert "es256" in finding.detail
    assert "integrity, not identity" in finding.detail
