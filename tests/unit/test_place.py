"""A training that replaces a model works beside it, and a checkpoint survives the saving of the next."""

import pytest
import torch
from torch import nn

from virnucpro.errors import ConfigError, OutputError
from virnucpro.run.replacement import UNFINISHED
from virnucpro.train import checkpoint
from virnucpro.train.place import training_place


def contents(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder, text):
    """Write what a training leaves."""
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    for name in ("model.json", "log.jsonl", "protein.safetensors", "checkpoint/state.json"):
        (folder / name).write_text(text)


@pytest.fixture
def earlier(tmp_path):
    write(tmp_path / "model", "earlier")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    return tmp_path / "model"


def stop(place):
    write(place, "half")
    raise RuntimeError("stopped")


def test_a_restart_replaces_a_model_when_the_new_one_is_whole(earlier):
    before = contents(earlier)
    with pytest.raises(RuntimeError), training_place(earlier, True, False, []) as place:
        stop(place)
    assert {name: text for name, text in contents(earlier).items() if UNFINISHED not in name} == before
    with training_place(earlier, False, True, []) as place:  # --resume goes on with it
        assert (place / "checkpoint" / "state.json").read_text() == "half"
        write(place, "new")
    assert contents(earlier) == {name: "mine" if name == "notes.txt" else "new" for name in before}
    assert not (earlier / UNFINISHED).exists()


def test_another_restart_begins_anew(earlier):
    with pytest.raises(RuntimeError), training_place(earlier, True, False, []) as place:
        stop(place)
    with training_place(earlier, True, False, []) as place:
        assert not place.exists()
        write(place, "new")
    assert contents(earlier)["model.json"] == "new"


def test_a_new_training_and_one_that_goes_on_write_in_place(tmp_path, earlier):
    for output, resume in ((tmp_path / "new", False), (earlier, True)):
        with training_place(output, False, resume, []) as place:
            assert place == output
    with pytest.raises(OutputError, match="is not empty"), training_place(earlier, False, False, []):
        pass
    with (
        pytest.raises(ConfigError, match="is an input"),
        training_place(earlier, True, False, [earlier / "model.json"]),
    ):
        pass
    with (
        training_place(tmp_path / "new", False, False, []),
        pytest.raises(OutputError, match="another run works in"),
        training_place(tmp_path / "new", True, False, []),
    ):
        pass


def test_other_processes_of_a_launch_do_not_lock(earlier, monkeypatch):
    with training_place(earlier, True, False, []) as first:
        for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
            monkeypatch.setenv(name, value)
        with training_place(earlier, True, False, []) as second:
            assert second == first
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)
        write(first, "new")
    assert contents(earlier)["model.json"] == "new"


def test_a_checkpoint_outlasts_a_kill_while_the_next_is_saved(tmp_path):
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    place = tmp_path / "checkpoint"
    checkpoint.save_checkpoint(place, 1, network, [optimizer], "key")
    checkpoint.save_checkpoint(place, 2, network, [optimizer], "key")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    place.rename(tmp_path / "checkpoint.before")  # a kill between the two renames
    assert checkpoint.has_checkpoint(place)
    assert checkpoint.load_checkpoint(place, network, [optimizer], "key") == 2
    checkpoint.save_checkpoint(place, 3, network, [optimizer], "key")
    assert checkpoint.load_checkpoint(place, network, [optimizer], "key") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
