"""Warm-up requests and batching parameters in SavedModels."""

import numpy as np
import pytest
import tensorflow as tf

from tfhand.geometry import crop, hand_center
from tfhand.models import exporting, warmup


@pytest.fixture
def saved_model(tmp_path):
    """An empty SavedModel, `tmp_path / "1"`."""
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    return tmp_path / "1"


def read_records(path):
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


@pytest.fixture
def prediction_log(needs):
    """The real message, of tensorflow-serving-api."""
    needs("tensorflow_serving")
    from tensorflow_serving.apis import prediction_log_pb2

    return prediction_log_pb2.PredictionLog


def test_bytes_are_those_of_the_real_message(saved_model, prediction_log):
    requests = [
        # Longer than 127, and than 16,383 bytes: lengths of one, two and three bytes.
        ("frame", {"b": np.zeros([1, 99, 99], np.float32), "a": np.ones([2, 3], np.uint16)}),
        ("sample", {"num_hands": np.int32(3)}),
    ]
    path = warmup.write_warmup(saved_model, requests)
    assert path == saved_model / "assets.extra" / "tf_serving_warmup_requests"
    records = read_records(path)
    assert len(records) == len(requests)
    for record, (name, inputs) in zip(records, requests):
        log = prediction_log()
        request = log.predict_log.request
        request.model_spec.signature_name = name
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        assert record == log.SerializeToString(deterministic=True)
        parsed = prediction_log.FromString(record).predict_log.request
        for key, value in inputs.items():
            array = tf.make_ndarray(parsed.inputs[key])
            assert array.dtype == value.dtype
            np.testing.assert_array_equal(array, value)


def test_replaces_older_requests(saved_model):
    one = ("elbo", {"spheres_mm": np.zeros([1, 41, 3], np.float32)})
    warmup.write_warmup(saved_model, [one] * 3)
    assert len(read_records(warmup.write_warmup(saved_model, [one]))) == 1
    assert tf.saved_model.contains_saved_model(str(saved_model))


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "received 0"),
        ([("a", {"b": np.zeros(1)})] * 1001, "received 1001"),
        ([("a", {})], "'a', received none"),
        ([("a", {"b": np.array(["text"])})], "input 'b' of signature 'a'"),
    ],
)
def test_rejects_what_a_server_would_not_replay(saved_model, requests, message):
    with pytest.raises(ValueError, match=message):
        warmup.write_warmup(saved_model, requests)
    assert not (saved_model / "assets.extra").exists()


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="SavedModel"):
        warmup.write_warmup(tmp_path, [("a", {"b": 0})])


def test_pose_requests():
    requests = warmup.pose_requests(image_size=48, cube_mm=280.0, batch_sizes=(1, 3))
    names = ["serving_default", "frame", "frame_uint16", "frames", "frames_uint16"]
    assert [name for name, _ in requests] == names * 2
    spec = crop.CropSpec(48, 280.0)
    for i, (name, inputs) in enumerate(requests):
        size = 1 if i < len(names) else 3
        # With batching all inputs need one row a frame.
        assert {len(value) for value in inputs.values()} == {size}
        depth_mm = inputs["depth_mm"]
        if name == "serving_default":
            assert depth_mm.dtype == np.float32 and depth_mm.shape == (size, 48, 48)
            share = np.mean(crop.foreground_mask(depth_mm, 280.0))
            # A disk of 45 mm in a square of 280 mm.
            np.testing.assert_allclose(share, np.pi * 45**2 / 280**2, rtol=0.1)
        else:
            assert depth_mm.dtype == (np.uint16 if "uint16" in name else np.float32)
            hand = hand_center.find_hand(
                depth_mm,
                inputs["intrinsics"],
                lambda center_mm: {"middle_mm": center_mm, "doubt": 0.0 * center_mm[:, 0]},
            )
            assert hand["has_hand"].numpy().all()
            center_mm = hand["center_mm"]
            assert not inputs["center_mm"].any()
            crops = crop.crop_depth(depth_mm, inputs["intrinsics"], center_mm, spec)
            assert np.mean(crop.foreground_mask(crops, 280.0)) > 0.05


def test_prior_requests(rng):
    spheres_mm = rng.uniform(-60, 60, (2, 41, 3)).astype(np.float32)
    requests = warmup.prior_requests(spheres_mm)
    assert [name for name, _ in requests] == ["elbo", "reconstruct", "sample"] * 2
    np.testing.assert_array_equal(requests[0][1]["spheres_mm"], spheres_mm[:1])
    np.testing.assert_array_equal(requests[4][1]["spheres_mm"], spheres_mm)
    num_hands = requests[5][1]["num_hands"]
    assert (num_hands.dtype, num_hands.shape, num_hands) == (np.int32, (), 2)


def test_batching_parameters_are_what_the_server_parses():
    text = exporting._BATCHING.read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    # BatchingParameters of session_bundle_config.proto: wrapped integers.
    values = {line.split()[0]: int(line.split()[3]) for line in lines}
    assert [line.split()[1:3] + line.split()[4:] for line in lines] == [["{", "value:", "}"]] * 3
    assert set(values) == {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches"}
    # Warm-up requests go through the batcher too.
    size = max(len(inputs["depth_mm"]) for _, inputs in warmup.pose_requests(64, 300.0))
    assert size <= values["max_batch_size"]
