"""What lies in deploy/ names only settings, commands and secrets that exist, and has no more rights than it needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from joinder.cli import COMMANDS
from joinder.setting_values import LOOPBACK_HOSTS
from joinder.settings import Settings, settings_from_env

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))
EXPOSURE_MOST = 20  # of systemd-analyze security: 2.0
VALUES = {
    "publicUrl": "https://join.example.com",
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"},
    "podMonitor": {"enabled": True},
    "networkPolicy": {"enabled": True, "monitoringNamespaces": ["monitoring"]},
    "settings": {"trusted_proxies": ["10.0.0.0/8"], "call_limits": {"acme": {"minute": 5}}},
}


def settings_named(text: str) -> set[str]:
    """The JOINDER_ variables of a file, as the settings they name."""
    told = {"JOINDER_CONFIG", "JOINDER_DOMAIN", "JOINDER_IMAGE"}  # the file itself, and two of Compose
    found = set(re.findall(r"\bJOINDER_[A-Z_]+", text)) - told
    return {name.removeprefix("JOINDER_").lower() for name in found}


WRITTEN = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_every_setting_named_exists(path: Path) -> None:
    known = set(Settings.__struct_fields__)
    assert {name for name in settings_named(path.read_text()) if name not in known} == set()


# The container and Compose -------------------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_in_particular_and_says_whether_it_is_well() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    last = text.split("FROM ")[-1]
    assert re.search(r"^USER 10001:10001$", last, re.M)
    assert "HEALTHCHECK" in last
    assert "--require-hashes" in text
    assert re.search(r'^ENTRYPOINT \["joinder"\]$', last, re.M)


@pytest.fixture
def services() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert {volume.split(":")[0] for volume in service.get("volumes", ()) if volume[0] not in "./"} <= set(
            compose["volumes"]
        )
        assert set(service.get("depends_on", ())) <= set(compose["services"])
    found: dict[str, Any] = compose["services"]
    return found


def test_compose_has_two_servers_and_two_workers_behind_one_proxy(services: dict[str, Any]) -> None:
    ours = {name: one for name, one in services.items() if one["image"].startswith("${JOINDER_IMAGE")}
    assert [name for name in ours if name != "setup"] == ["server-1", "server-2", "worker-1", "worker-2"]
    for one in [*ours.values(), services["proxy"]]:
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        assert "no-new-privileges:true" in one["security_opt"]
    for name, one in ours.items():
        words = one["command"] or one["entrypoint"][1:]
        assert words[0] in COMMANDS
        assert "ports" not in one, f"{name} is reached through the proxy alone"
    assert "ports" not in services["database"]


def test_an_exchange_under_way_may_end_before_a_container_is_killed(services: dict[str, Any]) -> None:
    patience = int(services["server-1"]["stop_grace_period"].removesuffix("s"))
    assert patience >= Settings().refresh_deadline_s * 2


def test_the_proxy_asks_both_servers_whether_they_are_ready_and_logs_no_query(services: dict[str, Any]) -> None:
    text = (DEPLOY / "compose/Caddyfile").read_text()
    assert "reverse_proxy server-1:8080 server-2:8080" in text
    assert "health_uri /health/ready" in text
    assert not re.search(r"^\s*log\b", text, re.M)


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_caddy_reads_its_file() -> None:
    done = subprocess.run(
        ["caddy", "adapt", "--config", DEPLOY / "compose/Caddyfile", "--adapter", "caddyfile"],
        env={"JOINDER_DOMAIN": "join.example.com", "PATH": "/usr/bin", "HOME": "/tmp"},
        executable=shutil.which("caddy"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "server-2:8080" in done.stdout


# systemd -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_there_is_with_secrets_from_credentials(path: Path) -> None:
    text = path.read_text()
    begins = re.search(r"^ExecStart=/opt/joinder/bin/joinder (\S+)", text, re.M)
    assert begins is not None
    assert begins[1] in COMMANDS
    loaded = re.findall(r"^LoadCredential=([\w.]+):", text, re.M)
    assert loaded == ["joinder.toml", "joinder.key"]
    assert all(f"%d/{name}" in text for name in loaded)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_the_units_and_little_exposed(tmp_path: Path) -> None:
    for path in DEPLOY.glob("systemd/*.*"):
        (tmp_path / path.name).write_text(
            path.read_text().replace("/opt/joinder/bin/joinder", shutil.which("true") or "")
        )
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    limit = f"--threshold={EXPOSURE_MOST}"
    for path in UNITS:
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", limit, "--no-pager", path], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-200:] + done.stderr


# Helm ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def helm() -> Any:
    return pytest.importorskip("helm_python", reason="make operators brings Helm")


def rendered(helm: Any, values: dict[str, Any]) -> list[dict[str, Any]]:
    files = helm.Chart.load(str(DEPLOY / "helm/joinder")).render(values, name="hub", namespace="energy")
    parts = [part for name, text in files.items() if name.endswith(".yaml") for part in yaml.safe_load_all(text)]
    return [part for part in parts if part]


def test_the_chart_is_sound_and_refuses_values_that_cannot_work(helm: Any) -> None:
    report = helm.lint(str(DEPLOY / "helm/joinder"), VALUES, strict=True)
    assert report["errors"] == []
    assert all(message["severity"] <= 1 for message in report["messages"])
    for wrong in ({"publicUrl": ""}, {"publicUrl": "http://a.example"}, {**VALUES, "replicas": 3}):
        assert helm.lint(str(DEPLOY / "helm/joinder"), wrong)["errors"]


def test_the_chart_makes_servers_and_workers_that_keep_their_journals(helm: Any) -> None:
    found = {(one["kind"], one["metadata"]["name"]): one for one in rendered(helm, VALUES)}
    for kind, words in (("server", ["serve", "--no-worker"]), ("worker", ["worker"])):
        spec = found["StatefulSet", f"hub-joinder-{kind}"]["spec"]
        pod = spec["template"]["spec"]
        assert (spec["replicas"], pod["containers"][0]["args"]) == (2, words)
        assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "journal"
        assert pod["securityContext"]["runAsNonRoot"]
        mounts = {mount["name"] for one in pod["containers"] for mount in one["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]} | {"journal"}
        for container in [*pod["containers"], *pod["initContainers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["terminationGracePeriodSeconds"] > Settings().refresh_deadline_s * 2
    assert {"Ingress", "PodMonitor", "NetworkPolicy", "PodDisruptionBudget"} <= {kind for kind, _ in found}


def test_the_charts_settings_are_read_by_joinder(helm: Any, tmp_path: Path) -> None:
    (settings,) = [one["data"]["joinder.toml"] for one in rendered(helm, VALUES) if one["kind"] == "ConfigMap"]
    (tmp_path / "url").write_text("postgresql://joinder:pw@db/joinder")
    path = tmp_path / "joinder.toml"
    path.write_text(settings.replace("/run/secrets/joinder/database-url", str(tmp_path / "url")))
    read = settings_from_env({"JOINDER_CONFIG": str(path)})
    assert (read.public_url, read.metrics_port) == ("https://join.example.com", 9464)
    assert read.metrics_host not in LOOPBACK_HOSTS
    assert read.call_limits == {"acme": {"minute": 5}}
    assert read.trusted_proxies == ("10.0.0.0/8",)
