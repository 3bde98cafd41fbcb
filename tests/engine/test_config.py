from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from engine import config
from engine.config import Config
from engine.errors import ConfigInvalid, PermissionDenied
from engine.settings import Kind, Problem

REQUIRED_KEYS = """
health_check_interval health_check_timeout enable_self_healing auto_remediation_enabled
max_retry_attempts retry_backoff base_retry_delay max_retry_delay circuit_breaker_failure_threshold
circuit_breaker_recovery_timeout circuit_breaker_half_open_max_calls recovery_timeout
enable_recovery_rollback recovery_stage_timeout integrity_check_level enable_continuous_validation
checksum_algorithm corruption_action max_memory_usage max_file_handles max_concurrent_operations
resource_check_interval metrics_retention enable_detailed_metrics log_level audit_log_enabled
auto_recovery_enabled predictive_recovery_enabled max_concurrent_recoveries crash_detection_timeout
checkpoint_interval enable_pager_alerts critical_alert_channels enable_summary_alerts
summary_alert_schedule escalation_timeout max_escalation_level
""".split()


def test_every_agreed_setting_exists_with_its_agreed_default() -> None:
    assert set(REQUIRED_KEYS) <= set(config.settings())
    defaults = Config()
    assert (defaults.health_check_interval, defaults.health_check_timeout) == (30, 5)
    assert (defaults.max_retry_attempts, defaults.base_retry_delay, defaults.max_retry_delay) == (3, 0.1, 30)
    assert (defaults.recovery_timeout, defaults.recovery_stage_timeout) == (300, 60)
    assert (defaults.max_file_handles, defaults.max_concurrent_operations) == (10_000, 1_000)
    assert (defaults.metrics_retention, defaults.escalation_timeout) == (7 * 86_400, 900)
    assert defaults.critical_alert_channels == ("pagerduty", "slack")
    assert defaults.problems() == []


@pytest.mark.parametrize("name", config.settings())
def test_a_default_reads_back_as_it_is_shown(name: str) -> None:
    setting = config.settings()[name]
    assert setting.read(name, setting.show(setting.default)) == setting.default
    assert setting.help
    assert not setting.help.endswith(".")


def test_a_missing_file_means_the_defaults(tmp_path: Path) -> None:
    assert config.load(tmp_path) == Config()


def test_sizes_and_durations_are_read_with_their_units(tmp_path: Path) -> None:
    (tmp_path / config.FILE_NAME).write_text(
        'cache_size = "128 MiB"\nlock_timeout = "250 ms"\n'
        'segment_size = 4194304\nrecovery_timeout = "10 min"\n'
    )
    read = config.load(tmp_path)
    assert (read.cache_size, read.lock_timeout, read.segment_size) == (128 << 20, 0.25, 4 << 20)
    assert read.recovery_timeout == 600


def test_every_wrong_value_is_named_with_its_fix(tmp_path: Path) -> None:
    wrong = {
        "page_size": "9 KiB",
        "sync_mode": "sometimes",
        "lock_timeout": "soon",
        "enable_self_healing": "perhaps",
        "scrub_rate": 0,
        "cach_size": "64 MiB",
    }
    text = "\n".join(f"{name} = {value!r}" for name, value in wrong.items())
    (tmp_path / config.FILE_NAME).write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        config.load(tmp_path)
    problems = "\n".join(caught.value.fields["problems"])
    for name in wrong:
        assert name in problems
    for fix in ("a power of two", "durable, interval, off", "such as '30 s'", "true or false", "cache_size?"):
        assert fix in problems
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("base_retry_delay", {"base_retry_delay": "40 s"}),
        ("recovery_stage_timeout", {"recovery_timeout": "30 s"}),
        ("health_check_timeout", {"health_check_timeout": "40 s"}),
        ("cache_size", {"page_size": "64 KiB", "cache_size": "1 MiB"}),
        ("cache_size", {"max_memory_usage": "64 MiB", "cache_size": "65 MiB"}),
    ],
)
def test_settings_that_contradict_each_other_are_refused(setting: str, values: dict[str, str]) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Config().changed(**values)
    assert caught.value.fields["setting"] == setting


def test_a_file_that_is_no_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / config.FILE_NAME).write_text('cache_size = "1 MiB"\nnonsense\n')
    with pytest.raises(ConfigInvalid, match="line 2"):
        config.load(tmp_path)


def test_saving_keeps_comments_and_writes_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / config.FILE_NAME
    path.write_text('# Ours: the share is slow.\nlock_timeout = "60 s"  # agreed\n')
    changed = config.load(tmp_path).changed(cache_size="96 MiB", lock_timeout="45 s")
    config.save(tmp_path, changed)
    text = path.read_text()
    assert "# Ours: the share is slow." in text
    assert "# agreed" in text
    assert 'cache_size = "96 MiB"' in text
    assert "page_size" not in text
    assert config.load(tmp_path) == changed


@pytest.mark.parametrize("name", [n for n, s in config.settings().items() if s.kind is not Kind.CHOICE])
def test_an_odd_value_is_saved_without_rounding(name: str, tmp_path: Path) -> None:
    setting = config.settings()[name]
    odd = {Kind.COUNT: 4, Kind.DURATION: 7.123456, Kind.TEXT: "/x", Kind.WORDS: ("a",)}
    odd[Kind.FLAG] = not getattr(Config(), name)
    value: Any = odd.get(setting.kind, (64 << 20) + 12_345)
    if isinstance(setting.read(name, value), Problem):
        value = setting.maximum if setting.maximum is not None else setting.minimum
    changed = Config(**{name: value})
    config.save(tmp_path, changed)
    written = config._parse((tmp_path / config.FILE_NAME).read_text(), tmp_path)
    assert setting.read(name, written.unwrap()[name]) == value


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused_with_its_code(tmp_path: Path) -> None:
    path = tmp_path / config.FILE_NAME
    path.write_text("")
    path.chmod(0)
    with pytest.raises(PermissionDenied):
        config.load(tmp_path)
