"""A setting that cannot work stops the start, with its name in the sentence."""

from __future__ import annotations

import pytest

from joinder.settings import ConfigError, Settings, call_limits_text, settings_and_origins, settings_from_env


def test_without_variables_the_defaults_hold():
    assert settings_from_env({"PATH": "/bin", "joinder_port": "1"}) == Settings()


def test_every_setting_is_read():
    env = {
        "JOINDER_DATABASE_URL": "sqlite:////data/hub.sqlite3",
        "JOINDER_KEY_FILE": "/data/key",
        "JOINDER_PUBLIC_URL": "https://hub.example",
        "JOINDER_HOST": "::",
        "JOINDER_PORT": "8443",
        "JOINDER_PLUGINS": "joinder-enphase, joinder-iqgateway,",
        "JOINDER_TRUSTED_PROXIES": "127.0.0.1/32, 10.0.0.0/8",
        "JOINDER_ALLOWED_NETWORKS": "192.168.1.0/24,fd00::/64",
        "JOINDER_REROUTE": "api.vendor.example=http://127.0.0.1:9001",
        "JOINDER_CALL_LIMITS": "enphase:minute=100, enphase:month=300000,acme:day=5,",
        "JOINDER_PASSWORD_GRANTS": "enphase, acme",
        "JOINDER_PUBLIC_FILES": "/etc/joinder/public",
        "JOINDER_LOG_LEVEL": "DEBUG",
        "JOINDER_LOG_FORMAT": "json",
        "JOINDER_CORS_ORIGINS": "https://app.example, http://127.0.0.1:3000",
        "JOINDER_METRICS_PORT": "9464",
        "JOINDER_METRICS_HOST": "::",
        "JOINDER_METRICS_TOKEN_FILE": "/etc/joinder/metrics",
        "JOINDER_REQUESTS_PER_MINUTE": "600",
        "JOINDER_REFRESHES_PER_SECOND": "10",
        "JOINDER_REFRESH_DEADLINE_S": "45.5",
        "JOINDER_BALLAST_MIB": "128",
        "JOINDER_JOURNAL_FOLDER": "/var/lib/joinder/journal",
    }
    assert set(env) == {f"JOINDER_{name.upper()}" for name in Settings.__struct_fields__}
    assert settings_from_env(env) == Settings(
        database_url="sqlite:////data/hub.sqlite3",
        key_file="/data/key",
        public_url="https://hub.example",
        host="::",
        port=8443,
        plugins=("joinder-enphase", "joinder-iqgateway"),
        trusted_proxies=("127.0.0.1/32", "10.0.0.0/8"),
        cors_origins=("https://app.example", "http://127.0.0.1:3000"),
        requests_per_minute=600,
        allowed_networks=("192.168.1.0/24", "fd00::/64"),
        reroute={"api.vendor.example": "http://127.0.0.1:9001"},
        call_limits={"enphase": {"minute": 100, "month": 300000}, "acme": {"day": 5}},
        password_grants=("enphase", "acme"),
        public_files="/etc/joinder/public",
        log_level="DEBUG",
        log_format="json",
        metrics_port=9464,
        metrics_host="::",
        metrics_token_file="/etc/joinder/metrics",
        refreshes_per_second=10.0,
        refresh_deadline_s=45.5,
        ballast_mib=128,
        journal_folder="/var/lib/joinder/journal",
    )


def test_an_empty_plugin_list_allows_none():
    assert settings_from_env({"JOINDER_PLUGINS": ""}).plugins == ()


def test_the_token_of_the_readmes_calls_may_stay_exported():
    assert settings_from_env({"JOINDER_TOKEN": "a client's"}) == settings_from_env({})


def test_an_unknown_setting_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"JOINDER_PUBLIC_URI is not a setting; did you mean JOINDER_PUBLIC_URL\?"):
        settings_from_env({"JOINDER_PUBLIC_URI": "https://hub.example"})


def test_call_limits_are_written_as_they_are_read():
    limits = {"enphase": {"minute": 100, "month": 300000}, "acme": {"day": 5}}
    assert settings_from_env({"JOINDER_CALL_LIMITS": call_limits_text(limits)}).call_limits == limits


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_every_setting_may_come_from_a_file(name, tmp_path):
    """With what an editor leaves at its end."""
    values = {
        "plugins": "joinder-acme",
        "allowed_networks": "10.0.0.0/8",
        "trusted_proxies": "::1",
        "cors_origins": "https://app.example",
        "reroute": "a=http://127.0.0.1:1",
    }
    values |= {
        "call_limits": "acme:day=5",
        "public_url": "https://hub.example",
        "log_format": "json",
        "log_level": "DEBUG",
    }
    value = values.get(name, "45")
    (tmp_path / "value").write_text(f"{value}\n")
    variable = f"JOINDER_{name.upper()}"
    settings, origins = settings_and_origins({f"{variable}_FILE": str(tmp_path / "value")})
    assert settings == settings_from_env({variable: value}) != Settings()
    assert origins == {name: f"{variable}_FILE"}
    with pytest.raises(ConfigError, match="both set"):
        settings_from_env({variable: value, f"{variable}_FILE": str(tmp_path / "value")})


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"\xff", "not a text"), (b"", "JOINDER_")])
def test_a_file_without_a_value_is_refused(tmp_path, content, says):
    if content is not None:
        (tmp_path / "value").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        settings_from_env({"JOINDER_PORT_FILE": str(tmp_path / "value")})


def test_an_unknown_file_setting_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"URI_FILE is not a setting; did you mean JOINDER_DATABASE_URL_FILE\?"):
        settings_from_env({"JOINDER_DATABASE_URI_FILE": "/run/secrets/url"})


def test_no_password_is_in_the_repr():
    assert "pw" not in repr(Settings(database_url="postgresql://joinder:pw@db/joinder"))


@pytest.mark.parametrize("name", ["JOINDER_", "JOINDER_XYZZY", "JOINDER_FILE", "JOINDER_XYZZY_FILE", "JOINDER_port"])
def test_an_unknown_setting_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} is not a setting"):
        settings_from_env({name: "1"})


UNUSABLE = [
    ("PORT", "http"), ("PORT", ""), ("PORT", "80.5"), ("PORT", "-1"), ("PORT", "65536"),
    ("REFRESH_DEADLINE_S", "0"), ("REFRESH_DEADLINE_S", "-1"), ("REFRESH_DEADLINE_S", "81"),
    ("REFRESH_DEADLINE_S", "nan"), ("REFRESH_DEADLINE_S", "inf"), ("REFRESH_DEADLINE_S", "soon"),
    ("ALLOWED_NETWORKS", "192.168.1.5/24"), ("ALLOWED_NETWORKS", "192.168.1"), ("ALLOWED_NETWORKS", "home"),
    ("TRUSTED_PROXIES", "proxy.example"), ("TRUSTED_PROXIES", "10.0.0.1/8"), ("TRUSTED_PROXIES", "all"),
    ("ALLOWED_NETWORKS", "10.0.0.0/33"), ("ALLOWED_NETWORKS", "10.0.0.0/8;192.168.0.0/16"),
    ("REROUTE", "api.vendor.example"), ("REROUTE", "api.vendor.example=http://evil.example"),
    ("REROUTE", "api.vendor.example=http://127.0.0.1.evil.example"), ("REROUTE", "api.vendor.example="),
    ("REROUTE", "api.vendor.example=http://[::1]:80"), ("REROUTE", "api.vendor.example=http://[broken"),
    ("REROUTE", "api.vendor.example=http://127.0.0.1:80@evil.example"),
    ("REROUTE", "api.vendor.example=ftp://127.0.0.1:21"), ("REROUTE", "api.vendor.example=127.0.0.1:80"),
    ("PUBLIC_URL", ""), ("PUBLIC_URL", "hub.example"), ("PUBLIC_URL", "http://hub.example"),
    ("PUBLIC_URL", "https://"), ("PUBLIC_URL", "https://hub.example/joinder"), ("PUBLIC_URL", "https://hub.example?x=1"),
    ("PUBLIC_URL", "https://hub.example#x"), ("PUBLIC_URL", "https://hub.example/?"), ("PUBLIC_URL", "https://[broken"),
    ("PUBLIC_URL", "https://user:word@hub.example"), ("PUBLIC_URL", "https://@hub.example"),
    ("PUBLIC_URL", "https://hub.example:99999"), ("PUBLIC_URL", "https://hub.example:"), ("PUBLIC_URL", "ftp://127.0.0.1"),
    ("PUBLIC_URL", "http://127.0.0.1.evil.example"), ("PUBLIC_URL", "http://127.0.0.2:8080"),
    ("PUBLIC_URL", "https://hub..example"), ("PUBLIC_URL", "https://-hub.example"), ("PUBLIC_URL", "https://hub.example:0"),
    ("PUBLIC_URL", "https://a b.example"), ("PUBLIC_URL", f"https://{'a' * 64}.example"), ("PUBLIC_URL", "https://m\u00fcller.example"),
    ("CORS_ORIGINS", "https://app..example"), ("CORS_ORIGINS", "https://app.example:0"),
    ("REROUTE", "api.vendor.example=http://127.0.0.1:99999"), ("REROUTE", "api.vendor.example=http://127.0.0.1:abc"),
    ("REROUTE", "api.vendor.example=http://127.0.0.1"), ("REROUTE", "=http://127.0.0.1:80"),
    ("REROUTE", "api..example=http://127.0.0.1:80"), ("REROUTE", "https://api.vendor.example=http://127.0.0.1:80"),
    ("REROUTE", "api.vendor.example:70000=http://127.0.0.1:80"), ("REROUTE", "api.vendor.example=http://127.0.0.1:80/path"),
    ("HOST", "a b"), ("HOST", "hub..example"), ("HOST", "http://127.0.0.1"), ("METRICS_HOST", "0.0.0.0/0"),
    ("LOG_LEVEL", "LOUD"),
    ("CALL_LIMITS", "enphase"), ("CALL_LIMITS", "enphase=60"), ("CALL_LIMITS", "enphase:minute"),
    ("CALL_LIMITS", "enphase:hour=60"), ("CALL_LIMITS", "enphase:minute=0"), ("CALL_LIMITS", "enphase:minute=-1"),
    ("CALL_LIMITS", "enphase:minute=1.5"), ("CALL_LIMITS", "enphase:minute=many"), ("CALL_LIMITS", ":minute=60"),
    ("CALL_LIMITS", "enphase:minute=60;sma:minute=60"), ("CALL_LIMITS", "enphase:day=1,enphase:day=2"),
    ("CALL_LIMITS", "enphase:month=1000000001"), ("CALL_LIMITS", "enphase:minute=٦"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_a_value_that_cannot_work_is_refused(name, value):
    with pytest.raises(ConfigError, match="JOINDER_"):
        settings_from_env({f"JOINDER_{name}": value})


def test_a_name_with_other_letters_is_told_as_browsers_send_it():
    with pytest.raises(ConfigError, match=r"as browsers send it, xn--mller-kva\.example"):
        settings_from_env({"JOINDER_PUBLIC_URL": "https://m\u00fcller.example"})


@pytest.mark.parametrize(
    ("url", "https"),
    [
        ("https://hub.example", True),
        ("https://hub.example/", True),
        ("HTTPS://Hub.Example", True),
        ("https://hub.example:8443", True),
        ("https://[2001:db8::1]:8443", True),
        ("http://127.0.0.1:8080", False),
        ("http://localhost:8080/", False),
        ("http://[::1]:8080", False),
    ],
)
def test_a_public_origin_is_accepted_and_known_as_https(url, https):
    assert settings_from_env({"JOINDER_PUBLIC_URL": url}).is_https is https
