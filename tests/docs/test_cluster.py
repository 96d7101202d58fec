"""Parse the job files of docs/how-to/several_devices.md and recompute its estimates."""

import ast
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

from tests.docs.listings import ROOT, listings

DOCUMENT = ROOT / "docs/how-to/several_devices.md"
FILES = {listing.file: listing.text for listing in listings(DOCUMENT) if listing.file}


def bash(text: str) -> None:
    """Parse a script with bash, without running it."""
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_slurm_script_is_bash() -> None:
    script = FILES["job.sbatch"]
    bash(script)
    directives = re.findall(r"^#SBATCH --([a-z-]+)(?:=\S+)?$", script, re.MULTILINE)
    assert len(directives) == script.count("#SBATCH")
    assert script.index("#SBATCH --requeue") < script.index("set -euo")


def test_kubernetes_documents_match_the_schema() -> None:
    service, job = yaml.safe_load_all(FILES["kubernetes.yaml"])
    for document in (service, job):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    wrong = job | {"spec": job["spec"] | {"completion": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)
    pod = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pod["subdomain"] == service["spec"]["selector"]["job-name"]
    assert f"--nnodes={job['spec']['completions']}" in pod["containers"][0]["args"]


def test_skypilot_is_yaml_and_bash() -> None:
    bash(yaml.safe_load(FILES["sky.yaml"])["run"])


def test_ray_is_yaml_and_python() -> None:
    assert yaml.safe_load(FILES["ray.yaml"])["entrypoint"] == "python ray_job.py"
    ast.parse(FILES["ray_job.py"])


@pytest.mark.parametrize(
    ("name", "parameters", "rate"), [("base", 65e6, 2.08e6), ("big", 213e6, 0.61e6)], ids=["base", "big"]
)
@pytest.mark.parametrize(("devices", "bandwidth"), [(8, 450e9), (64, 8 * 50e9)])
def test_communication_estimate_is_recomputed(
    name: str, parameters: float, rate: float, devices: int, bandwidth: float
) -> None:
    sent = 2 * (devices - 1) / devices * 4 * parameters
    exchange, computing = sent / bandwidth, 25_000 / devices / rate
    backward = computing * 2 / 3
    times = " | ".join(f"{seconds * 1e3:.2f} ms" for seconds in (exchange, computing, backward))
    hidden = "yes" if exchange < backward else "no"
    row = f"| {name}, N = {devices} | {sent / 1e6:,.0f} MB | {times} | {hidden} |"
    text = DOCUMENT.read_text(encoding="utf-8")
    assert row in text
    megaflop = {"base": 380, "big": 1289}[name]  # tests/test_gpu_benchmark.py counts them
    assert rate == pytest.approx(790e12 / megaflop / 1e6, rel=0.01)
    if devices == 64:
        least = devices * rate * 1.5 * exchange
        assert f"{round(least, -3):,.0f} for {name}" in text
