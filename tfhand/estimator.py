"""Hands in depth frames, for programs: one frame, a batch, or a stream.

Frames are depth in mm along the camera axis, 0 where there is no reading:

    import tfhand

    estimator = tfhand.PoseEstimator.load("W/pose.keras")
    hand = estimator(depth_frame_mm, intrinsics)
    hand.joints["TH_KNU3_A"].mm     # the tip of the thumb, camera frame
    hand.draw("hand.png")
"""

import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from tfhand import hand_side, inference, presence
from tfhand.fitting import frame_fits
from tfhand.geometry import camera, hand_center
from tfhand.hands import HANDS, Hand, NoHandError, Point
from tfhand.models import frame_model, package_weights
from tfhand.smoothing import OneEuroFilter

__all__ = ["Hand", "NoHandError", "Point", "PoseEstimator"]


class PoseEstimator:
    """A trained network with everything around it: from depth frames to hands.

    Attributes:
        network: The Keras model.
        spec: `crop.CropSpec` of its crops.
        is_left: True where frames show left hands; None: each frame is looked at.
        refine: True where hands are estimated twice, see `inference.estimate_hands`.
        fits: `frame_fits.FrameFits`, or None where hands are as the network estimates them.
    """

    def __init__(self, network, hand: str = "right", *, refine: bool = True, fit: bool = False):
        """Sets the estimator up.

        Args:
            network: A model of `pose_network.build_inference_network`.
            hand: "right" or "left", the hand that the frames show; "auto": of which of the two the
                network is less in doubt, in twice the time, and wrong now and then in single
                frames. A stream decides over time, and soon at little cost.
            refine: True to move each crop to the middle of the estimate and to estimate once more:
                twice the time, and more accurate.
            fit: True to fit a hand to the depth, starting from the estimate: more accurate still,
                in half a second a frame instead of milliseconds. Every frame has a hand shape of
                its own until `learn_shape` finds the person's.

        Raises:
            ValueError: If `hand` is none of them, or "auto" with a fit, or the model is no pose
                network.
        """
        if hand not in HANDS:
            raise ValueError(f"Expected hand to be one of {', '.join(HANDS)}, received {hand!r}.")
        if fit and hand == "auto":
            raise ValueError("Expected hand to be 'right' or 'left' for a fit, received 'auto'.")
        self.network = network
        self.spec = inference.crop_spec_of(network)
        self.is_left = None if hand == "auto" else hand == "left"
        self.refine = refine
        self.fits = frame_fits.FrameFits(self.spec, self.is_left, network) if fit else None

    @classmethod
    def load(
        cls,
        path=package_weights.NAME,
        hand: str = "right",
        *,
        refine: bool = True,
        fit: bool = False,
    ) -> "PoseEstimator":
        """Loads `pose.keras`.

        Args:
            path: The file, or the folder of a training run that holds it; "shipped": the network
                that comes with the package, which never saw a real image.
            hand: As for the constructor.
            refine: As for the constructor.
            fit: As for the constructor.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no pose network.
        """
        path = pathlib.Path(path)
        if path.is_dir():
            path = path / "pose.keras"
        return cls(inference.load_network(path), hand, refine=refine, fit=fit)

    def __call__(self, depth_mm, intrinsics, center_mm=None) -> "Hand | list[Hand | None]":
        """Estimates the hand in a frame, or the hands in a batch of frames.

        Args:
            depth_mm: float or uint16 [H, W] or [B, H, W], mm along the camera axis; 0 or not
                finite: no reading.
            intrinsics: fx, fy, cx, cy in px, [4], or [B, 4] with a batch.
            center_mm: Center of the hand in the camera frame, mm, [3] or [B, 3]; None: from the
                depth.

        Returns:
            `Hand` of a single frame; of a batch a list, None where a frame shows no hand.

        Raises:
            NoHandError: If a single frame shows no hand.
            ValueError: If shapes or types do not fit, or a value is impossible.
        """
        depth_mm = np.asarray(depth_mm)
        if depth_mm.ndim not in (2, 3):
            raise ValueError(
                "Expected depth of shape [height, width] or [batch, height, width], received "
                f"{list(depth_mm.shape)}."
            )
        is_single = depth_mm.ndim == 2
        frames = depth_mm[np.newaxis] if is_single else depth_mm
        if np.shape(center_mm) == (3,) and len(frames) == 1:
            center_mm = [center_mm]
        if self.is_left is None:
            both = (self._estimate(frames, intrinsics, center_mm, left) for left in (False, True))
            results = [_less_doubtful(*pair) for pair in zip(*both, strict=True)]
        else:
            results = self._estimate(frames, intrinsics, center_mm, self.is_left)
        if not is_single:
            return results
        if results[0] is None:
            raise NoHandError("Expected a frame that shows a hand, found none in it.")
        return results[0]

    def _estimate(self, frames, intrinsics, center_mm, is_left):
        """Returns a `Hand`, or None, for each of [B, H, W]."""
        hands = inference.estimate_hands(
            self.network, frames, intrinsics, center_mm, left_hand=is_left, refine=self.refine
        )
        results = [_hand_of_frame(hands, i, frames[i], is_left) for i in range(len(frames))]
        if self.fits is not None and hands.found.any():
            fitted_mm = iter(self.fits(*_frames_with_hands(hands, frames, intrinsics)))
            results = [
                hand and hand.moved_to(next(fitted_mm), row)
                for hand, row in zip(results, _rows(intrinsics, len(frames)), strict=True)
            ]
        return results

    def learn_shape(self, depth_mm, intrinsics) -> None:
        """Finds the shape of a person's hand, which later fits have.

        Args:
            depth_mm: [B, H, W], frames of that hand as for a call; 10 to 40 different poses.
            intrinsics: As for a call.

        Raises:
            NoHandError: If no frame shows a hand.
            ValueError: As a call, and if the estimator does not fit.
        """
        if self.fits is None:
            raise ValueError("Expected an estimator with fit=True to learn a shape.")
        frames = np.asarray(depth_mm)
        hands = inference.estimate_hands(self.network, frames, intrinsics, left_hand=self.is_left)
        if not hands.found.any():
            raise NoHandError("Expected frames that show a hand, found none in them.")
        self.fits.learn_shape(*_frames_with_hands(hands, frames, intrinsics))

    def stream(
        self,
        frames: Iterable,
        intrinsics,
        *,
        frame_rate: float = 30.0,
        smoothing: bool = True,
        least_score: float = presence.LEAST_SCORE,
    ) -> Iterator[Hand | None]:
        """Estimates the hand in one frame after the other.

        A frame is cropped where the hand was in the one before, and estimated once. The hand is
        searched for in the first frame, once a second, and where that estimate is in large doubt.
        Which hand it is ("auto") is looked at once a second, and in every frame until it is clear.

        Args:
            frames: Depth frames [H, W], as for a call; each is read when its hand is.
            intrinsics: fx, fy, cx, cy in px, [4].
            frame_rate: Frames a second.
            smoothing: True to smooth the spheres in time (`smoothing.OneEuroFilter`): little jitter
                where the hand rests, little lag where it moves. It starts anew after a frame
                without a hand.
            least_score: `Hand.score` with which a hand appears; it stays until its score is below a
                third of that. 0: each frame with a candidate shows one. The default is for the
                weights of the package.

        Returns:
            An iterator of `Hand`, or None for a frame that shows no hand.

        Raises:
            ValueError: As a call, and if the frame rate is not positive.
        """
        # Of frames of unknown size.
        (intrinsics,) = camera.check_intrinsics(intrinsics, batch=1, height=1, width=1)
        smooth = OneEuroFilter(frame_rate) if smoothing else None
        hands = self._follow(iter(frames), intrinsics, round(frame_rate), least_score)
        return _smoothed(hands, intrinsics, smooth)

    def _follow(self, frames, intrinsics, search_every, least_score):
        hand, side = None, hand_side.HandSide(bool(self.is_left))
        staying_score = presence.STAYING_SHARE * least_score
        for number, frame in enumerate(frames):
            frame = np.asarray(frame)[np.newaxis]
            is_due = number % max(search_every, 1) == 0
            limit = least_score if hand is None else staying_score
            hand = self._find_again(frame, intrinsics, None if is_due else hand, side.is_left)
            if self.is_left is None and hand is not None and (is_due or not side.is_decided):
                hand = self._compare_sides(hand, frame, intrinsics, side, limit)
            if hand is not None and hand.score < limit:
                hand = None
            if hand is None:
                side.forget()
            yield hand

    def _find_again(self, frame, intrinsics, before, is_left):
        """Returns the hand near that of the frame before, or any if that is None or lost."""
        hand = None
        if before is not None:
            center_mm = before.spheres_mm.mean(axis=0, keepdims=True)
            (hand,) = self._estimate(frame, intrinsics, center_mm, is_left)
        if hand is None or _doubt_of(hand) > hand_center.LARGE_DOUBT:
            (hand,) = self._estimate(frame, intrinsics, None, is_left)
        return hand

    def _compare_sides(self, hand, frame, intrinsics, side, least_score):
        """Takes the frame for the other hand too, and returns that of the side decided then."""
        center_mm = hand.center_mm[np.newaxis]
        (other,) = self._estimate(frame, intrinsics, center_mm, not hand.is_left)
        if other is None:
            return hand
        if max(hand.score, other.score) >= least_score:
            right, left = (other, hand) if hand.is_left else (hand, other)
            side.add(_doubt_of(right), _doubt_of(left))
        return hand if hand.is_left == side.is_left else other


def _smoothed(hands, intrinsics, smooth):
    """Yields hands, smoothed in time by a filter, or as they are where it is None."""
    for hand in hands:
        if hand is not None and smooth is not None:
            hand = hand.moved_to(smooth(hand.spheres_mm), intrinsics)
        elif smooth is not None:
            smooth.reset()
        yield hand


def _doubt_of(hand):
    return frame_model.doubt_of(hand.confidence)


def _less_doubtful(right, left):
    """Returns the hand that is less in doubt of two, each of which may be None."""
    if right is None or left is None:
        return right or left
    return min(right, left, key=_doubt_of)


def _rows(intrinsics, count):
    """Returns intrinsics as one row for each frame, float32 [B, 4]."""
    return np.broadcast_to(np.asarray(intrinsics, np.float32), (count, 4))


def _frames_with_hands(hands, frames, intrinsics):
    """Returns frames, intrinsics, centers and spheres of the frames that show a hand."""
    rows = hands.found
    intrinsics = _rows(intrinsics, len(frames))[rows]
    return frames[rows], intrinsics, hands.center_mm[rows], hands.spheres_mm[rows]


def _hand_of_frame(hands, index, depth_mm, is_left):
    if not hands.found[index]:
        return None
    return Hand(
        hands.center_mm[index],
        hands.spheres_mm[index],
        hands.spheres_px[index],
        hands.confidence[index],
        # A camera may write its next frame into the same memory.
        depth_mm.copy(),
        is_left,
        float(presence.score_of(hands.spheres_mm[index], hands.confidence[index])),
    )
