"""Options: defaults, checks, and the way to another process."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from plugin_scheduler.core.errors import ConfigError
from plugin_scheduler.core.settings import Settings

NUMBERS = [field for field in dataclasses.fields(Settings) if field.metadata["least"] is not None]


def test_the_defaults_are_those_of_web2py() -> None:
    settings = Settings()
    assert (settings.group_names, settings.heartbeat, settings.max_empty_runs) == (("main",), 3, 0)
    assert not (settings.discard_results or settings.utc_time or settings.use_spawn)
    assert (settings.worker_name, settings.slots, settings.on_failure) == (None, 1, "stop")


def test_every_option_has_a_unit_and_a_sentence_of_help() -> None:
    for field in dataclasses.fields(Settings):
        assert field.metadata["help"]
        assert field.metadata["unit"] or field.metadata["least"] is None


def test_a_worker_counts_as_dead_after_three_beats_and_some_air() -> None:
    assert Settings(heartbeat=10).lease == 32.0


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
def test_a_number_at_its_least_is_taken_and_one_below_is_refused(field: Any) -> None:
    least = field.metadata["least"]
    assert getattr(Settings().replace(**{field.name: least}), field.name) == least
    with pytest.raises(ConfigError, match=f"{field.name}=.*: must be at least {least:g}"):
        Settings().replace(**{field.name: least - 1})


@pytest.mark.parametrize("field", NUMBERS, ids=lambda field: field.name)
@pytest.mark.parametrize("value", ["3", None, True, float("nan"), float("inf")])
def test_what_is_no_number_is_refused_with_the_unit(field: Any, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{field.name}=.* number of {field.metadata['unit']}"):
        Settings().replace(**{field.name: value})


def test_half_a_runner_is_refused_and_half_a_second_is_not() -> None:
    with pytest.raises(ConfigError, match=r"slots=1\.5: must be a whole number of runners"):
        Settings(slots=1.5)  # type: ignore[arg-type]
    assert Settings(heartbeat=0.5).heartbeat == 0.5


def test_what_to_do_on_failure_is_one_of_two_words() -> None:
    assert Settings(on_failure="continue").on_failure == "continue"
    with pytest.raises(ConfigError, match="on_failure='retry': must be one of stop, continue"):
        Settings(on_failure="retry")


def test_settings_change_only_into_other_settings() -> None:
    first = Settings()
    other = first.replace(slots=4, group_names=["mail", "reports"])
    assert (first.slots, other.slots) == (1, 4)
    assert other.group_names == ("mail", "reports")
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.slots = 2  # type: ignore[misc]


def test_one_group_may_be_named_by_itself() -> None:
    assert Settings().replace(group_names="mail").group_names == ("mail",)


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'slot'; known options: .*slots"):
        Settings().replace(slot=4)


def test_settings_reach_another_process_as_json() -> None:
    settings = Settings(slots=3, group_names=("a", "b"), worker_name="w", heartbeat=0.5)
    assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


def test_the_zone_of_the_tables_is_the_machines_unless_it_is_said() -> None:
    assert Settings().zone is None
    assert Settings(utc_time=True).zone == "UTC"
    assert Settings(time_zone="Europe/Berlin").zone == "Europe/Berlin"


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "+02:00", 3])
def test_what_names_no_time_zone_is_refused_with_an_example(name: Any) -> None:
    with pytest.raises(
        ConfigError, match="is not a known time zone; use a name such as Europe/Berlin"
    ):
        Settings(time_zone=name)


def test_two_zones_at_once_are_refused() -> None:
    with pytest.raises(ConfigError, match="contradict each other"):
        Settings(utc_time=True, time_zone="Europe/Berlin")
    assert Settings(utc_time=True, time_zone="UTC").zone == "UTC"
