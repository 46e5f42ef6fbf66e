"""Configuration: what is refused, where defaults come from, fingerprints that stay."""

import os
import pwd
from dataclasses import asdict
from pathlib import Path

import pytest

from virnucpro import environment
from virnucpro.config import FrameRule
from virnucpro.environment import (
    default_threads,
    models_directory,
)
from virnucpro.errors import ConfigError
from virnucpro.files import fingerprint
from virnucpro.pretrained.locations import BUNDLED, find_model
from virnucpro.pretrained.registry import load_encoder, load_model


@pytest.mark.parametrize("kind", ["stop_free", "longest_segments"])
@pytest.mark.parametrize("segments", [1, 6])
def test_frame_rule_takes_what_it_can_do(kind, segments):
    expected = {"kind": kind, "segments": segments, "min_aa": 7, "nucleotide": "own", "min_share": 0.0}
    assert FrameRule(kind, segments, 7).to_json() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "orf"}, "stop_free or longest_segments, got 'orf'"),
        ({"segments": 0}, "1 to 6 segments, got 0"),
        ({"segments": 7}, "1 to 6 segments, got 7"),
        ({"segments": 2.5}, "1 to 6 segments, got 2.5"),
        ({"min_aa": 0}, "at least 1, got 0"),
        ({"min_share": 1.1}, "0..1, got 1.1"),
        ({"nucleotide": "both"}, "own or longest, got 'both'"),
        ({"kind": "stop_free", "nucleotide": "longest"}, "nucleotide to own"),
    ],
)
def test_frame_rule_refuses(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        FrameRule(**values)
    assert isinstance(caught.value, ValueError)
    assert caught.value.exit_code == 2


def test_frame_rule_is_frozen():
    with pytest.raises(AttributeError):
        FrameRule().segments = 3
    assert FrameRule(**asdict(FrameRule("longest_segments", 3))) == FrameRule("longest_segments", 3)


@pytest.mark.parametrize(("allotted", "threads"), [("3", 3), ("16", 16), ("", 2), ("0", 2), ("-4", 2), ("many", 2)])
def test_threads_come_from_slurm_else_from_affinity(monkeypatch, allotted, threads):
    monkeypatch.setattr(environment, "CPU_QUOTA", Path("nowhere"))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", allotted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5}, raising=False)
    assert default_threads() == threads


def test_threads_without_affinity(monkeypatch):
    monkeypatch.setattr(environment, "CPU_QUOTA", Path("nowhere"))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert default_threads() == 12
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("200000 100000", 2), ("350000 100000", 3), ("50000 100000", 1), ("max 100000", 6), ("900000 100000", 6), ("", 6)],
)
def test_threads_are_no_more_than_the_quota_of_a_container(monkeypatch, tmp_path, quota, threads):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(environment, "CPU_QUOTA", tmp_path / "cpu.max")
    assert default_threads() == threads


def test_the_bundled_model_needs_no_home(monkeypatch):
    """A container may run under a number that no user has, without HOME."""

    def nobody(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CACHE_HOME", "VIRNUCPRO_MODELS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert find_model("bundled") == BUNDLED
    with pytest.raises(ConfigError, match="set HOME or VIRNUCPRO_MODELS"):
        models_directory()


def test_fingerprint_stays_and_ignores_the_order_of_keys():
    # The SHA-256 of {"a":[1,2.5,null],"b":"é"} with é as a JSON escape, made by sha256sum.
    expected = "45584828a616e524473fb887d415f828918fb9676efdaa57c062231771111499"
    assert fingerprint({"b": "é", "a": [1, 2.5, None]}) == expected
    assert fingerprint({"a": [1, 2.5, None], "b": "é"}) == expected


@pytest.mark.parametrize("other", [{"a": [2.5, 1]}, {"a": [1, 2.5, 0]}, {"A": [1, 2.5]}, [["a", [1, 2.5]]]])
def test_fingerprint_differs_where_values_differ(other):
    assert fingerprint(other) != fingerprint({"a": [1, 2.5]})


@pytest.mark.parametrize("wrong", [None, 3, 2.5, b"bundled", [], frozenset()], ids=repr)
@pytest.mark.parametrize("find", [find_model, load_model, load_encoder])
def test_a_model_that_is_no_name_is_refused(find, wrong):
    with pytest.raises(ConfigError, match="a model must be a name or a directory"):
        find(wrong)


def test_a_model_may_be_a_path_object():
    assert find_model(BUNDLED) == find_model(str(BUNDLED))
