"""Pipelines give the folders that the local commands give, byte for byte, or nothing at all."""

import functools
import importlib
import pickle
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from data_prep import package_judge, records
from data_prep.nyu import calibration, frame_converter, recording_files
from data_prep.nyu import command as nyu
from data_prep.records import shards
from data_prep.records.shards import EncodedFrame
from data_prep.synthetic import embedded, rendering, sequences
from tests.data_prep import nyu_layout
from tests.data_prep.nyu_conversions import judge_of
from tfhand import commands, files
from tfhand.geometry import crop

# The direct runner would fetch a program from the network, and does without if it cannot.
DIRECT = ("--runner=DirectRunner", "--prism_location=absent")


@pytest.fixture(scope="module", autouse=True)
def beam(needs):
    """The modules of `data_prep.beam`, by name."""
    needs("apache_beam")
    names = ("frames", "nyu", "options", "shards", "sequences", "synthetic")
    modules = {name: importlib.import_module(f"data_prep.beam.{name}") for name in names}
    return types.SimpleNamespace(**modules)


@pytest.fixture(scope="module")
def damaged(source, tmp_path_factory):
    """A recording with labels and without, and with a frame of every kind of damage."""
    root = tmp_path_factory.mktemp("damaged") / "dataset"
    shutil.copytree(source[0], root)
    train = root / "train"
    (train / "depth_2_0000003.png").unlink()
    (train / "depth_1_0000007.png").write_bytes(b"")
    cut = train / "depth_3_0000009.png"
    cut.write_bytes(cut.read_bytes()[:20000])
    for view in (1, 2, 3):
        nyu_layout.write_picture(train / f"depth_{view}_0000010.png", np.zeros([480, 640]))
        (train / f"depth_{view}_0000020.png").unlink()
    return root


@pytest.fixture
def convert(beam):
    """Converts, locally or by a pipeline."""

    def run(root, out, *more, by_pipeline, arguments=DIRECT):
        command = beam.nyu if by_pipeline else nyu
        argv = ["nyu.py", f"--nyu_dir={root}", f"--output_dir={out}", *more]
        options = commands.parse(command.define_flags, argv)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(package_judge, "judge_of", judge_of)
            command.main(options, arguments) if by_pipeline else command.main(options)

    return run


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    "flags",
    [
        ("--num_shards=5",),
        # Each view by itself, and mirrored; a shard without a frame.
        ("--splits=train", "--every=8", "--calibration=none", "--hand=left", "--num_shards=4"),
        ("--splits=train", "--every=4", "--center=annotation", "--num_shards=2"),
    ],
)
def test_the_folder_is_that_of_the_local_command(damaged, convert, tmp_path, flags):
    for name in ("local", "pipeline"):
        convert(damaged, tmp_path / name, *flags, by_pipeline=name == "pipeline")
    assert contents(tmp_path / "pipeline") == contents(tmp_path / "local")
    info = records.verify(tmp_path / "pipeline")
    assert info.splits["train"].num_skipped and info.splits["train"].num_labelled
    assert len(list(records.load_dataset(tmp_path / "pipeline", "train"))) > 1


def test_damaged_frames_are_counted(damaged, convert, tmp_path):
    convert(damaged, tmp_path, "--splits=train", "--num_shards=3", by_pipeline=True)
    skipped = records.read_info(tmp_path).splits["train"].skipped
    assert {reason: skips.first_frames for reason, skips in skipped.items()} == {
        "no picture of view 2": [3],
        "damaged picture of view 1": [7],
        "damaged picture of view 3": [9],
        "no hand found": [10],
        "no picture of view 1, 2, 3": [20],
    }


def test_other_processes_give_the_same(damaged, convert, tmp_path):
    flags = ("--splits=train", "--every=8", "--num_shards=2", "--center=annotation")
    convert(damaged, tmp_path / "local", *flags, by_pipeline=False)
    convert(
        damaged, tmp_path / "pipeline", *flags, by_pipeline=True,
        arguments=[*DIRECT, "--direct_running_mode=multi_processing"],
    )  # fmt: skip
    assert contents(tmp_path / "pipeline") == contents(tmp_path / "local")


def test_recording_and_records_in_an_object_store(damaged, convert, tmp_path):
    """TensorFlow's files in memory stand for those of a bucket: they too are no local files."""
    bucket = f"ram://{tmp_path.name}"
    tf.io.gfile.makedirs(f"{bucket}/dataset/train")
    for path in (damaged / "train").iterdir():
        tf.io.gfile.copy(str(path), f"{bucket}/dataset/train/{path.name}")
    flags = ("--splits=train", "--every=4", "--num_shards=2")
    convert(damaged, tmp_path / "local", *flags, by_pipeline=False)
    out = f"{bucket}/records"
    convert(f"{bucket}/dataset", out, *flags, by_pipeline=True)
    info, expected = records.verify(out), records.read_info(tmp_path / "local")
    train, local = info.splits["train"], expected.splits["train"]
    assert (train.shards, train.skipped) == (local.shards, local.skipped)
    assert sorted(tf.io.gfile.listdir(out)) == sorted(path for path in contents(tmp_path / "local"))
    for a, b in zip(
        records.load_dataset(out, "train").as_numpy_iterator(),
        records.load_dataset(tmp_path / "local", "train").as_numpy_iterator(),
        strict=True,
    ):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    # Once complete it is left alone, and refused with other settings.
    convert(f"{bucket}/dataset", out, *flags, by_pipeline=True, arguments=["--runner=NoSuch"])
    with pytest.raises(FileExistsError, match="already has a split 'train'"):
        convert(f"{bucket}/dataset", out, *flags, "--image_size=32", by_pipeline=True)
    with pytest.raises(ValueError, match="local folder"):
        convert(damaged, out, *flags, by_pipeline=False)


def test_a_failed_pipeline_leaves_what_was_there(damaged, convert, tmp_path):
    root, out = tmp_path / "dataset", tmp_path / "out"
    shutil.copytree(damaged / "train", root / "train")
    convert(root, out, "--splits=train", "--every=8", "--num_shards=2", by_pipeline=True)
    before = contents(out)
    # A folder in place of a picture cannot be read, which is no fault of the recording.
    picture = root / "train" / "depth_2_0000017.png"
    picture.unlink()
    picture.mkdir()
    with pytest.raises(OSError, match=r"pipeline of split 'train' failed: .*directory"):
        convert(
            root, out, "--splits=train", "--every=8", "--num_shards=2", "--overwrite",
            by_pipeline=True,
        )  # fmt: skip
    assert contents(out) == before
    with pytest.raises(OSError, match="failed"):
        convert(root, tmp_path / "new", "--splits=train", "--every=8", by_pipeline=True)
    assert not contents(tmp_path / "new")


def test_a_split_without_samples_is_refused(damaged, convert, tmp_path):
    root = tmp_path / "dataset"
    shutil.copytree(damaged / "train", root / "train")
    for path in (root / "train").glob("depth_1_*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"No sample for split 'train'.*damaged picture of view 1"):
        convert(root, tmp_path / "out", "--splits=train", "--every=4", by_pipeline=True)
    assert not contents(tmp_path / "out")


def test_two_conversions_do_not_write_to_one_folder(beam, damaged, convert, tmp_path):
    with files.lock_folder(tmp_path):
        with pytest.raises(FileExistsError, match="Another process"):
            convert(damaged, tmp_path, "--splits=train", "--every=8", by_pipeline=True)


def test_records_lie_in_the_order_of_their_frames(beam, tmp_path):
    """Whatever order the workers' results come in."""
    frames = [EncodedFrame(frame, (b"%d" % frame,), ("a",)) for frame in (7, 1, 10, 4)]
    writer = beam.shards._WriteShard(str(tmp_path), ["x", "y"])
    attempts = [next(writer.process((1, {"encoded": part}))) for part in (frames, frames[::-1])]
    for index, part in attempts:
        dataset = tf.data.TFRecordDataset(str(tmp_path / part["file"]))
        assert index == 1 and [int(data.numpy()) for data in dataset] == [1, 4, 7, 10]
    # Two attempts at a shard do not write to one file.
    assert attempts[0][1]["file"] != attempts[1][1]["file"]


def test_annotation_is_not_sent_to_the_workers(beam, damaged):
    """A large one would be more than a runner takes: workers read it."""
    split = recording_files.open_split(damaged, "train")
    cameras = calibration.uncalibrated(np.ones([3, 4], np.float32), "not asked for")
    converter = frame_converter.FrameConverter(split, cameras, crop.CropSpec(32), "depth", (1,))
    sent = pickle.dumps(converter)
    assert split.joints_mm.nbytes > 50_000 and len(sent) < 10_000
    np.testing.assert_array_equal(pickle.loads(sent).split.joints_mm, split.joints_mm)


STOPPED = [
    (["--num_shards=0"], [], "num_shards"),
    (["--image_sise=32"], [], "Did you mean: image_size"),
    (["--workers=2"], [], "'workers'"),
    (["--runner=DirectRunner"], [], "'runner'"),
    (["--center=nowhere.txt"], [], "{split}"),
    ([], ["--runner=NoSuch"], "NoSuch"),
    ([], ["--direct_num_workers=many"], "Expected options of Beam after --, found argument"),
    ([], ["--image_size=32"], "Expected options of Beam after --, found --image_size."),
    ([], ["--runner=DataflowRunner"], "project"),
]


@pytest.mark.parametrize(("own", "arguments", "expected"), STOPPED)
def test_bad_flags_give_one_line(beam, damaged, tmp_path, capsys, own, arguments, expected):
    out = tmp_path / "out"
    argv = ["beam/nyu.py", f"--nyu_dir={damaged}", f"--output_dir={out}", *own, "--", *arguments]
    with pytest.raises(SystemExit) as stopped:
        beam.options.run(beam.nyu.main, beam.nyu.define_flags, argv)
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nyu: ") and expected in line
    assert not out.exists()


def test_what_to_install_is_said_in_one_line(beam, damaged, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    argv = ["beam/nyu.py", f"--nyu_dir={damaged}", f"--output_dir={tmp_path / 'out'}"]
    with pytest.raises(SystemExit):
        beam.options.run(beam.nyu.main, beam.nyu.define_flags, argv)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nyu: Expected the package apache-beam, found none")


def test_runners_with_a_server_may_know_more_options(beam):
    option = "--an_option_of_its_server=1"
    assert beam.options.check(["--runner=FlinkRunner", option]) is None
    with pytest.raises(ValueError, match="an_option_of_its_server"):
        beam.options.check(["--runner=DirectRunner", option])


def test_help_is_that_of_the_command(beam, capsys):
    for command in (beam.nyu, beam.synthetic):
        with pytest.raises(SystemExit) as stopped:
            beam.options.run(command.main, command.define_flags, ["command.py", "--help"])
        shown = capsys.readouterr().out
        assert stopped.value.code == 0 and "--output_dir" in shown and "Apache Beam" in shown


def record(command, out, *more):
    argv = [
        "synthetic.py", f"--output_dir={out}", "--num_samples=20", "--image_size=32",
        "--num_shards=3", "--seed=3", "--test_share=0.2",
    ]  # fmt: skip
    return functools.partial(command.main, commands.parse(command.define_flags, argv), *more)


def test_the_recording_is_that_of_the_local_command(beam, tmp_path, monkeypatch):
    unusable = (1, 2, 7)
    # Several batches a sequence, the last one not full.
    monkeypatch.setattr(sequences, "BATCH", 3)
    monkeypatch.setattr(package_judge, "judge_of", judge_of)
    # Traced for this judge, and for no other test.
    render_crops = tf.function(
        rendering.render_crops.python_function, reduce_retracing=True, autograph=False
    )
    monkeypatch.setattr(rendering, "render_crops", render_crops)

    def find_problem(sample, spec, *rest):
        return "not to be used" if sample["frame"] in unusable else None

    monkeypatch.setattr(shards, "find_problem", find_problem)
    record(embedded, tmp_path / "local")()
    record(beam.synthetic, tmp_path / "pipeline", DIRECT)()
    assert contents(tmp_path / "pipeline") == contents(tmp_path / "local")
    info = records.verify(tmp_path / "pipeline")
    assert info.splits["train"].num_samples == 16 - len(unusable)
    with pytest.raises(FileExistsError, match="already has a split 'train'"):
        record(beam.synthetic, tmp_path / "pipeline", DIRECT)()
