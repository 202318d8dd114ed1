"""The commands of docs/tutorial.md in their order, with folders in the place of cameras.

Training and serving take longer and have tests of their own.
"""

import functools
import importlib
import json

import pytest

from data_prep import package_judge, records
from tests.data_prep import nyu_layout
from tests.data_prep.nyu_conversions import judge_of
from tests.test_docs import ROOT, commands_in
from tfhand import commands, live
from tfhand.cameras import folder

ELSEWHERE = {"tfhand.train", "tfhand.export", "tfhand.view"}
# Frames of each view; calibration wants twelve with a hand.
FRAMES = 14


@pytest.fixture
def folders(tmp_path):
    """Patterns of the pictures of three cameras."""
    nyu_layout.write_split(tmp_path / "source", FRAMES, seed=12, annotation=False)
    return [str(tmp_path / "source" / f"depth_{view}_*.png") for view in (1, 2, 3)]


def played(word, folders):
    """Returns a word of a command with folders in the place of cameras."""
    intrinsics = ",".join(map(str, folder.camera.NYU_INTRINSICS))
    word = word.replace("SERIAL,SERIAL,SERIAL", ",".join(folders))
    word = word.replace("fx,fy,cx,cy", intrinsics).replace("FRAMES", folders[0])
    return word.replace("realsense", "folder").replace("run/pose.keras", "shipped")


def test_its_commands_run(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Compiled once.
    load = functools.cache(live.PoseEstimator.load)
    monkeypatch.setattr(live.PoseEstimator, "load", load)
    monkeypatch.setattr(package_judge, "judge_of", judge_of)
    ran = []
    for name, words in commands_in((ROOT / "docs" / "tutorial.md").read_text()):
        if name in ELSEWHERE or name.endswith(".py") or not words:
            continue
        if "--calibration=predictions" in words:
            continue
        words = [played(word, folders) for word in words if word != "--loop"]
        if name == "tfhand.live":
            words += ["--noviewer", "--frame_rate=0"]
            if not any(word.startswith("--source") for word in words):
                words.append(f"--source={folders[0]}")
        if name == "data_prep.record":
            words += ["--countdown=0", "--frame_rate=0"]
        command = importlib.import_module(f"{name}.command" if name == "data_prep.nyu" else name)
        command.main(commands.parse(command.define_flags, [name, *words]))
        ran.append(name)
        if "--json=-" in words:
            lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]
            hands = [json.loads(line) for line in lines]
            assert len(hands) == FRAMES and sum(hand["found_hand"] for hand in hands) > FRAMES / 2
    assert ran == [
        "tfhand.live", "tfhand.live", "tfhand.live", "data_prep.record", "data_prep.record",
        "data_prep.nyu", "data_prep.inspect", "tfhand.live",
    ]  # fmt: skip
    info = records.read_info(tmp_path / "records")
    assert info.num_views == 3
    for split in ("train", "test"):
        assert info.splits[split].num_samples > FRAMES / 2
    assert (tmp_path / "sheet.png").is_file()
