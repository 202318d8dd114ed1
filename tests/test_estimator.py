"""`tfhand.PoseEstimator`: frames, batches, streams, left hands, results, and bad input."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

import tfhand
from tfhand import inference
from tfhand.estimator import Hand, NoHandError, Point
from tfhand.fitting import frame_fits
from tfhand.geometry import hand_center
from tfhand.hand import skeleton, spheres
from tfhand.models import pose_network

pytestmark = pytest.mark.usefixtures("loaded_once")

INTRINSICS = (588.0, 588.0, 80.0, 60.0)
# Cropped with the same code, mirrored: a reading on the edge of two pixels may fall to either side.
MIRROR_TOLERANCE_MM = 0.5
# The scores of a network that was not trained say nothing.
ANY = {"least_score": 0.0}
# float32 at 700 mm, and pixels of that.
FLOAT_MM = 1e-3


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    config = pose_network.PoseNetworkConfig(image_size=32, heatmap_size=8, features=8, growth=4)
    network = pose_network.build_inference_network(pose_network.build_pose_network(config))
    rng = np.random.default_rng(3)
    # Random heads, so that spheres differ.
    network.set_weights([w + rng.normal(0, 0.05, w.shape) for w in network.get_weights()])
    path = tmp_path_factory.mktemp("run") / "pose.keras"
    network.save(path)
    return path


@pytest.fixture(scope="module")
def estimator(path):
    return tfhand.PoseEstimator.load(path)


def ball_frame(u=90.0, v=60.0, radius_mm=45.0):
    """A ball as large as a fist 700 mm away, float32 [120, 160], 0 where there is none."""
    rows, columns = np.mgrid[:120, :160].astype(np.float64)
    side = np.hypot(columns - u, rows - v) * 700.0 / INTRINSICS[0]
    half_chord = np.sqrt(np.maximum(radius_mm**2 - side**2, 0.0))
    return np.where(side < radius_mm, 700.0 - half_chord, 0.0).astype(np.float32)


def test_a_frame_gives_names_millimeters_and_pixels(estimator):
    hand = estimator(ball_frame(), INTRINSICS)
    assert isinstance(hand, Hand)
    assert list(hand.spheres) == list(skeleton.SPHERE_NAMES)
    assert list(hand.joints) == list(skeleton.EVALUATION_JOINT_NAMES)
    assert list(hand.all_joints) == list(skeleton.JOINT_NAMES)
    tip = hand.joints["TH_KNU3_A"]
    assert isinstance(tip, Point) and tip == hand.spheres["THUMB_KNU3_A"]
    x, y, z = tip.mm
    expected = (588.0 * x / z + 80.0, 588.0 * y / z + 60.0)
    np.testing.assert_allclose(tip.px, expected, rtol=1e-5)
    assert 0.0 < tip.confidence < 1.0
    assert np.ptp(hand.spheres_mm, axis=0).min() > 1.0


def test_it_is_what_the_command_computes(estimator):
    frame = ball_frame()
    hand = estimator(frame, INTRINSICS)
    hands = inference.estimate_hands(estimator.network, frame[None], INTRINSICS)
    np.testing.assert_array_equal(hand.spheres_mm, hands.spheres_mm[0])


def test_refining_moves_the_crop_to_the_estimate(estimator, path):
    once = tfhand.PoseEstimator.load(path, refine=False)(ball_frame(), INTRINSICS)
    refined = estimator(ball_frame(), INTRINSICS)
    middle = once.spheres_mm.mean(axis=0)
    assert np.linalg.norm(middle - once.center_mm) > 1.0
    np.testing.assert_allclose(refined.center_mm, middle, atol=FLOAT_MM)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64])
def test_types_of_frames(estimator, dtype):
    frame = np.round(ball_frame())
    expected = estimator(frame, INTRINSICS)
    found = estimator(frame.astype(dtype), np.array(INTRINSICS))
    np.testing.assert_allclose(found.spheres_mm, expected.spheres_mm, atol=FLOAT_MM)


def test_a_batch_may_hold_frames_without_a_hand(estimator):
    frames = np.stack([ball_frame(), np.zeros([120, 160]), ball_frame(u=50.0)])
    first, none, last = estimator(frames, INTRINSICS)
    assert none is None
    single = estimator(frames[0], INTRINSICS)
    np.testing.assert_allclose(first.spheres_mm, single.spheres_mm, atol=FLOAT_MM)
    assert last.center_mm[0] < first.center_mm[0] - 30.0


def test_a_given_center_is_taken(estimator):
    center_mm = (5.0, -4.0, 690.0)
    for given in (center_mm, [center_mm]):
        hand = estimator(ball_frame(), INTRINSICS, center_mm=given)
        np.testing.assert_array_equal(hand.center_mm, np.float32(center_mm))
        (hand,) = estimator(ball_frame()[None], INTRINSICS, center_mm=given)
        np.testing.assert_array_equal(hand.center_mm, np.float32(center_mm))


def test_a_left_hand_is_the_mirror_image(estimator, path):
    right = estimator(ball_frame(u=100.0), INTRINSICS)
    left = tfhand.PoseEstimator.load(path.parent, hand="left")
    mirrored = left(ball_frame(u=100.0)[:, ::-1], (588.0, 588.0, 159.0 - 80.0, 60.0))
    np.testing.assert_allclose(
        mirrored.spheres_mm * [-1.0, 1.0, 1.0], right.spheres_mm, atol=MIRROR_TOLERANCE_MM
    )
    np.testing.assert_allclose(
        159.0 - mirrored.spheres_px[:, 0], right.spheres_px[:, 0], atol=MIRROR_TOLERANCE_MM
    )


def test_a_stream_is_smoothed_until_the_hand_is_lost(estimator):
    frames = [ball_frame(u) for u in (90.0, 91.0, 90.0)]
    frames += [np.zeros([120, 160], np.float32), ball_frame(60.0)]
    smoothed = list(estimator.stream(frames, INTRINSICS, frame_rate=30.0, **ANY))
    plain = list(estimator.stream(frames, INTRINSICS, smoothing=False, **ANY))
    assert smoothed[3] is None and plain[3] is None
    for i in (0, 4):
        np.testing.assert_allclose(smoothed[i].spheres_mm, plain[i].spheres_mm, atol=FLOAT_MM)
    moved = np.linalg.norm(smoothed[1].spheres_mm - smoothed[0].spheres_mm, axis=-1).mean()
    assert 0.0 < moved < np.linalg.norm(plain[1].spheres_mm - plain[0].spheres_mm, axis=-1).mean()
    z = smoothed[1].spheres_mm[:, 2]
    u = 588.0 * smoothed[1].spheres_mm[:, 0] / z + 80.0
    np.testing.assert_allclose(smoothed[1].spheres_px[:, 0], u, rtol=1e-5)


def test_a_stream_searches_where_the_estimate_before_is_of_no_use(estimator, monkeypatch):
    # Both graphs are traced with the right limit.
    list(estimator.stream([ball_frame()] * 2, INTRINSICS))
    centers, estimate = [], inference.estimate_hands

    def note(network, depth_mm, intrinsics, center_mm=None, **options):
        centers.append(center_mm is not None)
        return estimate(network, depth_mm, intrinsics, center_mm, **options)

    monkeypatch.setattr(inference, "estimate_hands", note)
    frames = [ball_frame()] * 5
    monkeypatch.setattr(hand_center, "LARGE_DOUBT", np.inf)
    list(estimator.stream(frames, INTRINSICS, frame_rate=3.0, **ANY))
    assert centers == [False, True, True, False, True]
    centers.clear()
    monkeypatch.setattr(hand_center, "LARGE_DOUBT", -np.inf)
    list(estimator.stream(frames[:2], INTRINSICS, **ANY))
    assert centers == [False, True, False]


@pytest.fixture
def doubts(estimator, monkeypatch):
    """An estimator of either hand, and the sides it estimates; a fake of the network behind it.

    A frame is the index of its spreads, mm: of the right and the left hand.
    """
    sides, hand_mm = [], spheres.load().centers_mm + np.float32([0.0, 0.0, 700.0])
    spreads_mm = [(30.0, 35.0), (35.0, 30.0), (90.0, 90.0), (64.0, 64.0)]

    def estimate(network, depth_mm, intrinsics, center_mm=None, *, left_hand, refine):
        sides.append(left_hand)
        spread_mm = spreads_mm[int(depth_mm[0, 0, 0])][left_hand]
        confidence = np.full([1, 41], 25.0 / (25.0 + spread_mm), np.float32)
        center_mm = hand_mm.mean(axis=0, keepdims=True)
        return inference.Hands([True], center_mm, hand_mm[None], hand_mm[None, :, :2], confidence)

    monkeypatch.setattr(inference, "estimate_hands", estimate)
    return tfhand.PoseEstimator(estimator.network, hand="auto"), sides


def frames_of(indices):
    return [np.full([120, 160], index, np.float32) for index in indices]


def test_a_stream_decides_which_hand_it_is_and_looks_again_when_it_was_lost(doubts):
    estimator, sides = doubts
    # Left, right, nothing.
    frames = frames_of([1] * 10 + [0] * 10 + [2] + [0] * 10)
    is_left = [hand and hand.is_left for hand in estimator.stream(frames, INTRINSICS)]
    # ln(35 / 30) = 0.154: decided by the fourth frame, and not changed before the next second.
    assert is_left == [False] * 3 + [True] * 17 + [None] + [True] * 3 + [False] * 7
    # Both until it is clear, then one.
    assert sides[:8] == [False, True] * 4 and sides[8:24] == [True] * 16


def test_single_frames_show_the_hand_that_is_less_in_doubt(doubts):
    for index, frame in enumerate(frames_of([0, 1])):
        assert doubts[0](frame, INTRINSICS).is_left == bool(index)


def test_a_hand_appears_with_a_high_score_and_stays_with_a_lower_one(doubts):
    estimator, _ = doubts
    # A doubtful hand, a clear one, none.
    frames = frames_of([3, 0, 3, 2, 3, 0])
    shown = [hand is not None for hand in estimator.stream(frames, INTRINSICS)]
    assert shown == [False, True, True, False, False, True]
    scores = [hand.score for hand in estimator.stream(frames[:4], INTRINSICS, **ANY)]
    assert 0.9 < scores[1] and 0.3 < scores[2] < 0.9 and scores[3] < 0.3


def test_json(estimator):
    hand = estimator(ball_frame(), INTRINSICS)
    content = json.loads(hand.to_json())
    assert content == json.loads(json.dumps(hand.to_dict()))
    assert len(content["spheres"]) == 41 and len(content["joints"]) == 14
    np.testing.assert_allclose(
        content["joints"]["PALM_3"]["mm"], hand.joints["PALM_3"].mm, atol=0.006
    )


def test_drawing(estimator, tmp_path):
    hand = estimator(ball_frame(), INTRINSICS)
    picture = hand.draw(tmp_path / "hand.png")
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    saved = np.asarray(Image.open(tmp_path / "hand.png").convert("RGB"))
    assert saved.std() > 5.0
    # Colored bones are there, beside the gray of the depth.
    assert (np.ptp(picture.astype(int), axis=-1) > 60).mean() > 0.001


@pytest.mark.parametrize(
    ("frame", "intrinsics", "center", "error", "message"),
    [
        (np.zeros([120, 160]), INTRINSICS, None, NoHandError, "none in it"),
        (np.full([120, 160], np.nan), INTRINSICS, None, NoHandError, "none in it"),
        (np.zeros([0, 0]), INTRINSICS, None, ValueError, "at least 16 pixels"),
        (np.zeros([120]), INTRINSICS, None, ValueError, r"received \[120\]"),
        (np.full([120, 160], "a"), INTRINSICS, None, ValueError, "Expected numbers"),
        (ball_frame(), (0.0, 588.0, 80.0, 60.0), None, ValueError, "positive fx"),
        (ball_frame(), (588.0, np.nan, 80.0, 60.0), None, ValueError, "positive fx"),
        (ball_frame(), (588.0, 588.0, 80.0), None, ValueError, "fx, fy, cx, cy"),
        (ball_frame(), "camera", None, ValueError, "fx, fy, cx, cy"),
        # One number would otherwise be taken four times.
        (ball_frame(), 588.0, None, ValueError, "four numbers"),
        (ball_frame(), [588.0], None, ValueError, "four numbers"),
        (ball_frame(), [True] * 4, None, ValueError, "four numbers"),
        (ball_frame(), [[588.0], [588.0, 1.0]], None, ValueError, "four numbers"),
        (ball_frame(), (588.0, 588.0, 1e7, 60.0), None, ValueError, "below 1e"),
        # Shares of the picture, as some libraries give.
        (ball_frame(), (3.7, 4.9, 0.5, 0.5), None, ValueError, "a tenth of the images' 160 x 120"),
        (ball_frame(), INTRINSICS, (0.0, 0.0), ValueError, "finite centers"),
        (ball_frame(), INTRINSICS, "there", ValueError, "finite centers"),
        (ball_frame(), INTRINSICS, (0.0, 0.0, np.nan), ValueError, "finite centers"),
        (ball_frame(), INTRINSICS, (0.0, 0.0, -3.0), ValueError, "positive z"),
        (ball_frame(), INTRINSICS, (0.0, 0.0, 9000.0), NoHandError, "none in it"),
    ],
)
def test_bad_input(estimator, frame, intrinsics, center, error, message):
    with pytest.raises(error, match=message):
        estimator(frame, intrinsics, center)
    assert estimator(ball_frame(), INTRINSICS)


def test_bad_models(tmp_path):
    with pytest.raises(FileNotFoundError, match="trained network"):
        tfhand.PoseEstimator.load(tmp_path)
    (tmp_path / "pose.keras").write_bytes(b"none")
    with pytest.raises(ValueError, match="Expected a Keras model"):
        tfhand.PoseEstimator.load(tmp_path)


@pytest.mark.parametrize(
    ("side", "channels", "num_spheres"), [((32, 48), 1, 41), ((32, 32), 3, 41), ((32, 32), 1, 7)]
)
def test_other_networks_are_refused_before_there_is_a_frame(side, channels, num_spheres):
    image = keras.Input([*side, channels])
    flat = keras.layers.GlobalAveragePooling2D()(image)
    spheres = keras.layers.Reshape([num_spheres, 3])(keras.layers.Dense(3 * num_spheres)(flat))
    outputs = {
        "spheres_mm": keras.layers.Rescaling(150.0, name="spheres_to_mm")(spheres),
        "spread_mm": keras.layers.Dense(num_spheres)(flat),
    }
    with pytest.raises(ValueError, match=r"from \[B, S, S, 1\] to spheres_mm \[B, 41, 3\]"):
        tfhand.PoseEstimator(keras.Model(image, outputs))


def test_a_path_is_no_network(path):
    with pytest.raises(ValueError, match=r"received str; .*PoseEstimator\.load"):
        tfhand.PoseEstimator(str(path))


def test_a_stream_checks_its_camera_before_the_first_frame(estimator):
    with pytest.raises(ValueError, match="four numbers"):
        estimator.stream([ball_frame()], 588.0)
    with pytest.raises(ValueError, match="frame_rate"):
        estimator.stream([ball_frame()], INTRINSICS, frame_rate=0.0)


def test_frames_of_one_size_are_traced_once(estimator):
    estimator(ball_frame(), INTRINSICS)
    run = inference._compile(estimator.network, 1)
    before = run.experimental_get_tracing_count()
    for u in (50.0, 70.0, 90.0):
        estimator(ball_frame(u), INTRINSICS)
    assert run.experimental_get_tracing_count() == before > 0


def test_a_damaged_model_file(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[-40:] = bytes(40)
    (tmp_path / "pose.keras").write_bytes(data)
    with pytest.raises(ValueError, match="Expected a Keras model"):
        tfhand.PoseEstimator.load(tmp_path)


def test_a_frame_buffer_may_be_used_again(estimator):
    buffer = ball_frame()
    hand = estimator(buffer, INTRINSICS)
    buffer[:] = 0.0
    assert hand.depth_mm.max() > 600.0


def test_hands_are_right_or_left(path):
    with pytest.raises(ValueError, match="one of right, left, auto"):
        tfhand.PoseEstimator.load(path, hand="both")
    with pytest.raises(ValueError, match="for a fit, received 'auto'"):
        tfhand.PoseEstimator.load(path, hand="auto", fit=True)


@pytest.fixture
def fitting(path, monkeypatch):
    """An estimator whose fits move hands by 2 mm, and notes of what was fitted."""
    notes = []

    def fit(self, depth_mm, intrinsics, center_mm, spheres_mm):
        notes.append(("fit", depth_mm.shape, intrinsics.shape, center_mm.shape))
        return spheres_mm + np.float32(2.0)

    def learn_shape(self, depth_mm, intrinsics, center_mm, spheres_mm):
        notes.append(("shape", depth_mm.shape, intrinsics.shape, center_mm.shape))

    monkeypatch.setattr(frame_fits.FrameFits, "__call__", fit)
    monkeypatch.setattr(frame_fits.FrameFits, "learn_shape", learn_shape)
    return tfhand.PoseEstimator.load(path, fit=True), notes


def test_fitted_hands_take_the_place_of_estimates(estimator, fitting):
    fits, notes = fitting
    plain, moved = (e(ball_frame(), INTRINSICS) for e in (estimator, fits))
    np.testing.assert_allclose(moved.spheres_mm, plain.spheres_mm + 2.0, atol=FLOAT_MM)
    x, y, z = moved.spheres_mm[5]
    np.testing.assert_allclose(
        moved.spheres_px[5], [588.0 * x / z + 80.0, 588.0 * y / z + 60.0], rtol=1e-5
    )
    assert notes == [("fit", (1, 120, 160), (1, 4), (1, 3))]


def test_only_frames_with_a_hand_are_fitted(estimator, fitting):
    fits, notes = fitting
    frames = np.stack([ball_frame(), np.zeros([120, 160], np.float32), ball_frame(u=70.0)])
    first, none, last = fits(frames, INTRINSICS)
    assert none is None
    expected = estimator(frames, INTRINSICS)
    np.testing.assert_allclose(first.spheres_mm, expected[0].spheres_mm + 2.0, atol=FLOAT_MM)
    np.testing.assert_allclose(last.spheres_mm, expected[2].spheres_mm + 2.0, atol=FLOAT_MM)
    assert notes == [("fit", (2, 120, 160), (2, 4), (2, 3))]
    fits.learn_shape(frames, INTRINSICS)
    assert notes[1] == ("shape", (2, 120, 160), (2, 4), (2, 3))


def test_a_shape_is_learned_from_hands_by_one_that_fits(estimator, fitting):
    with pytest.raises(NoHandError):
        fitting[0].learn_shape(np.zeros([2, 120, 160], np.float32), INTRINSICS)
    with pytest.raises(ValueError, match="fit=True"):
        estimator.learn_shape(ball_frame()[None], INTRINSICS)
