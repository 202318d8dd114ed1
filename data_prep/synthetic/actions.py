"""What hands do in the embedded recording: joint angles that follow from an action.

The synthetic stage of training draws single poses (`hand.pose_sampling`): a state for each finger,
with noise. Here angles follow from what a hand does, and from the habits of one person: fingers
wrap around an object, tap, close one after another, count, glide through the exercises of hand
therapy, spread, or meet the thumb. NumPy only; angles in degrees until the end.
"""

import numpy as np

from tfhand.hand import skeleton, template

__all__ = ["ACTIONS", "draw_action", "draw_habits"]

_FINGERS = skeleton.FINGERS[:4]
_LENGTHS_MM = np.array(
    [
        [template.BONES[template.BONE_INDEX[f"{f}_{i}"]].length_mm for i in (1, 2, 3)]
        for f in _FINGERS
    ]
)
# From a joint to the skin, and the part of the palm that lies on an object.
_FLESH_MM, _PALM_MM = 12.0, 45.0
# Hand therapy's tendon gliding: flexion of knuckle, middle and end joint, degrees.
_GLIDES = ((0, 0, 0), (0, 90, 60), (88, 100, 65), (85, 0, 0), (88, 100, 5))
# The thumb's five angles, degrees: away, beside the palm, over curled fingers, across the palm.
_THUMB_AWAY, _THUMB_BESIDE = (-15.0, 8.0, 0.0, 2.0, -4.0), (2.0, -24.0, -8.0, 8.0, 8.0)
_THUMB_OVER, _THUMB_ACROSS = (28.0, 0.0, 19.0, 38.0, 40.0), (36.0, -16.0, 8.0, 28.0, 20.0)
# The thumb that meets the tip of the index finger, and of the pinky.
_THUMB_MEETS = np.array([(18.0, -18.0, 12.0, 16.0, 12.0), (38.0, -30.0, -10.0, 32.0, 10.0)])


def _ramp(rng, time, low=0.15, high=0.85):
    """Returns a smooth way from 0 to 1 between two shares of the time, [n]."""
    start, end = np.sort(rng.uniform(low, high, 2))
    t = np.clip((time - start) / max(end - start, 0.4), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _mix(a, b, share):
    """Returns a + (b - a) share, [n, ...]."""
    share = share.reshape(-1, *[1] * np.ndim(a))
    return np.asarray(a, float) * (1.0 - share) + np.asarray(b, float) * share


def _hand(flex, thumb, abduct=0.0):
    """Returns angles [n, 21] from flexions [n, 4, 3], the thumb's [n, 5] and abduction [n, 4]."""
    n = len(flex)
    abduct = np.broadcast_to(abduct, (n, 4))
    fingers = np.stack([flex[..., 0], abduct, flex[..., 1], flex[..., 2]], axis=-1)
    return np.concatenate([fingers.reshape(n, 16), np.broadcast_to(thumb, (n, 5))], axis=1)


def wrapping_deg(radius_mm):
    """Returns flexions [n, 4, 3] of fingers around objects of radii [n]: joints lie on a circle.

    Two bones of lengths a and b are chords of the circle; with its radius R, they meet at an angle
    of asin(a / 2R) + asin(b / 2R).
    """
    reach = np.asarray(radius_mm)[:, None, None] + _FLESH_MM
    bones = np.concatenate([np.full((4, 1), _PALM_MM), _LENGTHS_MM], axis=1)
    half = np.degrees(np.arcsin(bones / 2.0 / reach))
    return half[..., :-1] + half[..., 1:]


def _grasp(rng, time):
    radius = np.exp(rng.uniform(np.log(14.0), np.log(70.0)))
    around = wrapping_deg(np.full(len(time), radius))
    # A cone is held more tightly on one side, and not every finger takes part.
    around = around * (1.0 + rng.uniform(-0.25, 0.25) * np.linspace(-1, 1, 4))[None, :, None]
    takes_part = (rng.random(4) < 0.85)[:, None]
    closed = np.where(takes_part, around, rng.uniform(0.0, 25.0))
    share = _ramp(rng, time)
    thumb = _mix(_THUMB_AWAY, _THUMB_OVER if radius < 22.0 else _THUMB_MEETS[0], share)
    flex = _mix(np.full((4, 3), rng.uniform(0.0, 20.0)), closed[0], share)
    return _hand(
        flex, thumb, (1.0 - share)[:, None] * rng.uniform(0, 10) * np.array([1, 0, -1, -1.6])
    )


def _tap(rng, time):
    base = np.array([rng.uniform(-5, 50), rng.uniform(5, 60), rng.uniform(0, 30)])
    swing = rng.uniform(15.0, 40.0, 4) * np.sin(
        2 * np.pi * (rng.uniform(0.4, 1.4, 4) * time[:, None] + rng.random(4))
    )
    flex = base + swing[..., None] * np.array([1.0, 0.4, 0.1])
    sway = 8.0 * np.sin(2 * np.pi * (time * rng.uniform(0.5, 1.5) + rng.random()))
    thumb = np.array(_THUMB_BESIDE) + sway[:, None] * np.array([0.6, 1.0, 0.0, 0.5, 0.8])
    return _hand(flex, thumb, rng.normal(0.0, 4.0, 4))


def _roll(rng, time):
    order = np.arange(4) if rng.random() < 0.5 else np.arange(4)[::-1]
    delay = 0.2 * order[None, :, None] * rng.uniform(0.3, 1.0)
    # Knuckles follow the joints behind them, or lead.
    lag = np.array([rng.uniform(-0.25, 0.25), 0.0, 0.05])
    t = np.clip((time[:, None, None] - 0.1 - delay - lag) / 0.4, 0.0, 1.0)
    flex = t * t * (3 - 2 * t) * np.array([84.0, 98.0, 60.0])
    return _hand(flex, _mix(_THUMB_AWAY, _THUMB_OVER, flex[..., 0].min(axis=1) / 84.0))


def _count(rng, time):
    order = rng.permutation(4) if rng.random() < 0.3 else np.arange(4)
    raised = np.floor(rng.uniform(1, 4.999))
    t = np.clip((time[:, None] * 1.2 - 0.15 * order) / 0.5, 0.0, 1.0) * (order < raised)
    curled = np.array([84.0, 98.0, 60.0]) * rng.uniform(0.75, 1.0)
    flex = (1.0 - (t * t * (3 - 2 * t)))[..., None] * curled
    with_thumb = rng.random() < 0.4
    thumb = _mix(_THUMB_OVER, _THUMB_AWAY if with_thumb else _THUMB_ACROSS, _ramp(rng, time))
    return _hand(flex, thumb, rng.uniform(0.0, 1.0) * np.array([9.0, 2.0, -6.0, -12.0]))


def _glide(rng, time):
    first, second = rng.choice(len(_GLIDES), 2, replace=False)
    flex = _mix(np.tile(_GLIDES[first], (4, 1)), np.tile(_GLIDES[second], (4, 1)), _ramp(rng, time))
    thumb = _THUMB_BESIDE if rng.random() < 0.6 else _THUMB_AWAY
    return _hand(flex, thumb)


def _spread(rng, time):
    share = 0.5 - 0.5 * np.cos(2 * np.pi * (rng.uniform(0.5, 1.2) * time + rng.random()))
    knuckle = rng.uniform(-25.0, 45.0) * _ramp(rng, time)
    flex = knuckle[:, None, None] * np.array([1.0, 0.0, 0.0]) + rng.uniform(-6.0, 14.0, (4, 3))
    thumb = _mix(_THUMB_BESIDE, _THUMB_AWAY, share)
    return _hand(flex, thumb, share[:, None] * np.array([14.0, 3.0, -9.0, -18.0]))


def _meet(rng, time):
    finger = rng.integers(4)
    share = _ramp(rng, time)
    others = rng.choice([5.0, 25.0, 60.0]) * np.array([1.0, 1.1, 0.6])
    meeting = np.array([52.0, 52.0, 26.0]) + rng.normal(0.0, 10.0) * np.array([1.0, -1.0, -0.7])
    target = np.where(np.arange(4)[:, None] == finger, meeting, others)
    flex = _mix(np.full((4, 3), 12.0), target, share)
    return _hand(flex, _mix(_THUMB_AWAY, _mix(*_THUMB_MEETS, np.array([finger / 3.0]))[0], share))


ACTIONS = {
    "grasp": _grasp,
    "tap": _tap,
    "roll": _roll,
    "count": _count,
    "glide": _glide,
    "spread": _spread,
    "meet": _meet,
}


def draw_habits(rng):
    """Draws how one person moves: offsets of all angles, and how far end joints follow.

    Args:
        rng: `np.random.Generator`.

    Returns:
        (degrees float [21], factor on the flexion of end joints).
    """
    return rng.normal(0.0, 5.0, 21), rng.uniform(0.5, 1.2)


def draw_action(rng, habits, frames):
    """Draws one action of a person.

    Args:
        rng: `np.random.Generator`.
        habits: Of `draw_habits`.
        frames: Frames n that it takes.

    Returns:
        float32 [n, 23], radians, within `template.ANGLE_RANGES_RAD`, in the order of
        `template.ANGLE_NAMES`.
    """
    offsets, end_factor = habits
    time = np.linspace(0.0, 1.0, frames)
    if rng.random() < 0.5:
        time = time[::-1]
    degrees = ACTIONS[rng.choice(list(ACTIONS))](rng, time)
    degrees[:, 3:16:4] *= end_factor
    # What no purpose explains: every joint wanders slowly.
    phases = rng.random(21) + rng.uniform(0.2, 0.8, 21) * time[:, None]
    degrees += offsets + 6.0 * np.sin(2 * np.pi * phases)
    bend = rng.normal(0.0, 18.0) + 12.0 * np.sin(2 * np.pi * (time + rng.random()))
    wrist = np.stack([bend, np.full(frames, rng.normal(0.0, 9.0))], axis=1)
    angles = np.radians(np.concatenate([degrees, wrist], axis=1))
    return np.clip(angles, *template.ANGLE_RANGES_RAD.T).astype(np.float32)
