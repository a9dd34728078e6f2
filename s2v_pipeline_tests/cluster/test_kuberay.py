"""The manifests of deploy/kuberay: what is in them fits the code, and a cluster started so makes a video."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2v_pipeline.cluster.rank_group import MULTICAST_OFF
from s2v_pipeline.setting_groups import Settings
from s2v_pipeline.settings import environment_layer
from s2v_pipeline_tests.cluster.pods import LATE, RAY_IS_UP, Pods, missing_right, pod_environment, twice, write_command
from s2v_pipeline_tests.conftest import REPOSITORY, SAMPLE, SMALL_PROJECT, WITHOUT_GATE

FOLDER = REPOSITORY / "deploy" / "kuberay"
FIELDS = {
    "spec": {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec"}
    | {"workerGroupSpecs", "headServiceAnnotations", "suspend", "managedBy", "gcsFaultToleranceOptions"},
    "authOptions": {"mode", "secretName", "enableK8sTokenAuth"},
    "autoscalerOptions": {"resources", "image", "imagePullPolicy", "securityContext", "env", "envFrom", "version"}
    | {"idleTimeoutSeconds", "upscalingMode", "volumeMounts"},
    "headGroupSpec": {"template", "headService", "enableIngress", "resources", "labels", "rayStartParams"}
    | {"serviceType"},
    "workerGroupSpecs": {"suspend", "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds"}
    | {"resources", "labels", "rayStartParams", "template", "scaleStrategy", "numOfHosts"},
}
"""Fields of ray.io/v1 (KubeRay 1.6, docs.ray.io/en/master/cluster/kubernetes/references/api.html)."""
PORT = 6379  # of a head's control store, unless its rayStartParams say another
MOST_START_S, MOST_S = 120, 400


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    (document,) = documents("raycluster.yaml")
    return document


@pytest.fixture(scope="module")
def project_pod() -> dict[str, Any]:
    (deployment,) = [each for each in documents("project.yaml") if each["kind"] == "Deployment"]
    return deployment["spec"]["template"]["spec"]


def groups(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod["containers"]
    return found


def environment_of(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(pod)["env"] if "value" in each}


def pinned(name: str) -> str:
    (line,) = [
        line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line.startswith(f"{name}==")
    ]
    return line.partition("==")[2]


def test_it_is_a_ray_cluster_of_fields_that_exist(cluster: dict[str, Any]) -> None:
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    spec = cluster["spec"]
    assert set(spec) <= FIELDS["spec"]
    for name in ("authOptions", "autoscalerOptions", "headGroupSpec"):
        assert set(spec[name]) <= FIELDS[name]
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= FIELDS["workerGroupSpecs"]
    for group in groups(cluster):
        # The API takes texts alone; a bare 0 or true would be refused.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert all(isinstance(each.get("value", ""), str) for each in container(group["template"]["spec"])["env"])


def test_versions_are_the_pinned_ones(cluster: dict[str, Any], project_pod: dict[str, Any]) -> None:
    ray = pinned("ray")
    assert cluster["spec"]["rayVersion"] == ray
    images = {container(group["template"]["spec"])["image"] for group in groups(cluster)}
    assert images == {container(project_pod)["image"]} == {f"s2v:ray-{ray}"}
    dockerfile = (FOLDER / "Dockerfile").read_text()
    assert f"-t s2v:ray-{ray} " in dockerfile
    assert "-c constraints.txt" in dockerfile
    (python,) = re.findall(r"^ARG PYTHON_VERSION=(\d+\.\d+)\.\d+$", dockerfile, re.MULTILINE)
    assert f"{python}" == "3.11"
    assert f">={python}," in (REPOSITORY / "pyproject.toml").read_text()


def test_one_address_is_that_of_the_service(cluster: dict[str, Any], project_pod: dict[str, Any]) -> None:
    # KubeRay names the head's service after the cluster.
    address = f"{cluster['metadata']['name']}-head-svc:{PORT}"
    assert "port" not in cluster["spec"]["headGroupSpec"]["rayStartParams"]
    ports = container(cluster["spec"]["headGroupSpec"]["template"]["spec"])["ports"]
    assert PORT in [port["containerPort"] for port in ports]
    variables = {name: value for name, value in environment_of(project_pod).items() if name.startswith("S2V_")}
    settings = Settings.model_validate(environment_layer(variables))
    assert settings.cluster.address == address
    assert f'cluster.address = "{address}"' in (REPOSITORY / "docs" / "cluster.md").read_text()


def test_all_pods_see_one_project_folder_as_one_owner(cluster: dict[str, Any], project_pod: dict[str, Any]) -> None:
    pods = [*(group["template"]["spec"] for group in groups(cluster)), project_pod]
    (folder,) = {container(pod)["workingDir"] for pod in pods}
    for pod in pods:
        (mount,) = [each for each in container(pod)["volumeMounts"] if each["name"] == "project"]
        assert mount["mountPath"] == folder
        (volume,) = [each for each in pod["volumes"] if each["name"] == "project"]
        assert volume["persistentVolumeClaim"]["claimName"] == "s2v-project"
    assert len({(pod["securityContext"]["runAsUser"], pod["securityContext"]["fsGroup"]) for pod in pods}) == 1
    claims = {each["metadata"]["name"]: each for each in documents("project.yaml") if each["kind"] != "Deployment"}
    assert claims["s2v-project"]["spec"]["accessModes"] == ["ReadWriteMany"]
    home = Path(environment_of(project_pod)["S2V_PATHS__DAGSTER_HOME"])
    assert not home.is_relative_to(folder)


def test_the_token_is_one_secret(cluster: dict[str, Any], project_pod: dict[str, Any]) -> None:
    options = cluster["spec"]["authOptions"]
    (token,) = [each for each in container(project_pod)["env"] if each["name"] == "RAY_AUTH_TOKEN"]
    assert options == {"mode": "token", "secretName": token["valueFrom"]["secretKeyRef"]["name"]}
    assert token["valueFrom"]["secretKeyRef"]["key"] == "auth_token"
    assert environment_of(project_pod)["RAY_AUTH_MODE"] == "token"


def test_multicast_is_off_and_groups_have_bounds(cluster: dict[str, Any]) -> None:
    for group in groups(cluster):
        assert MULTICAST_OFF.items() <= environment_of(group["template"]["spec"]).items()
    assert cluster["spec"]["enableInTreeAutoscaling"] is True
    by_name = {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}
    for group in by_name.values():
        assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert container(by_name["gpu"]["template"]["spec"])["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in container(by_name["cpu"]["template"]["spec"])["resources"]["limits"]


def start_parameters(group: dict[str, Any]) -> str:
    """As KubeRay puts them behind `ray start`; it counts CPUs from the limits, here there is one for each worker."""
    return " ".join(f"--{name}={value}" for name, value in ({"num-cpus": "1"} | group["rayStartParams"]).items())


@pytest.mark.soak
def test_a_cluster_started_so_makes_a_video(
    cluster: dict[str, Any], project_pod: dict[str, Any], tmp_path: Path
) -> None:
    if reason := missing_right():
        pytest.skip(reason)
    head, worker, driver = "s2v-ray-head-svc", "worker", "dagster"
    # In place of `s2v up`, which waits for somebody, the one command; the rest of the pod's script is as it is.
    command = "from s2v_pipeline.cli import main; main()"
    files = f"--image {SAMPLE / 'portrait.png'} --audio {SAMPLE / 'speech.wav'}"
    write_command(
        tmp_path, "s2v", f'test "$*" = up\nexec {sys.executable} -c "{command}" generate --name sample {files}'
    )
    (tmp_path / "s2v.toml").write_text(SMALL_PROJECT + WITHOUT_GATE)
    environment = {
        **pod_environment(tmp_path),
        "RAY_AUTH_MODE": cluster["spec"]["authOptions"]["mode"],
        "RAY_AUTH_TOKEN": "a" * 64,
        **environment_of(cluster["spec"]["headGroupSpec"]["template"]["spec"]),
        **environment_of(project_pod),
        "S2V_PATHS__DAGSTER_HOME": str(tmp_path / "home"),
    }
    first, *others = groups(cluster)
    address = environment["S2V_CLUSTER__ADDRESS"]
    with Pods((head, worker, driver), tmp_path, environment) as pods:
        pods.start(head, twice(f"ray start --head --block {start_parameters(first)}"))
        pods.wait_until_said(head, RAY_IS_UP, MOST_START_S)
        pods.start(worker, twice(f"ray start --block --address={address} {start_parameters(others[0])}"))
        pods.wait_until_said(worker, RAY_IS_UP, MOST_START_S)
        script = container(project_pod)["args"][0]
        assert container(project_pod)["command"] == ["/bin/bash", "-ec"]
        code = pods.wait(pods.start(driver, script), MOST_S)
        if code != 0 and LATE in pods.log(driver):
            # Kubernetes starts a container again that has ended so.
            code = pods.wait(pods.start(driver, script), MOST_S)
        assert code == 0, pods.log(driver)
    assert (tmp_path / "data" / "artifacts" / "final_videos" / "sample" / "sample.mp4").stat().st_size > 0
    # The only node with CPUs has worked.
    assert list(tmp_path.glob(f"ray-{worker}/session_*/logs/worker-*.out"))
