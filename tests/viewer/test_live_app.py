"""The page of a stream on a real server, without a browser."""

import numpy as np
import pytest

from tests.test_predict import INTRINSICS, ball_image
from tfhand import hands
from tfhand.viewer import live_app, server

# Set up as for the other pages.
pytestmark = pytest.mark.filterwarnings("ignore:.control_layout. is deprecated")
CENTER_MM = np.array([11.9, 0.0, 690.0], np.float32)


@pytest.fixture
def app(needs, monkeypatch):
    needs("viser")
    with server.open_server("127.0.0.1", 0) as opened:
        # Somebody looks.
        monkeypatch.setattr(opened, "get_clients", lambda: {0: None})
        # Drawn by the test alone.
        monkeypatch.setattr(live_app.controls.Redraw, "run", lambda self: None)
        yield live_app.LiveApp(opened, INTRINSICS)


def make_hand(center_mm):
    spheres_mm = np.tile(center_mm, (41, 1)) + np.arange(41, dtype=np.float32)[:, None] - 20.0
    return hands.Hand(center_mm, spheres_mm, spheres_mm[:, :2], np.ones(41), ball_image())


def draw(app, depth_mm, hand, text=""):
    app.show(depth_mm, hand, text)
    app._draw()


def test_points_spheres_and_text(app):
    depth_mm, hand = ball_image().astype(np.uint16), make_hand(CENTER_MM)
    # A wall behind the hand is left out.
    depth_mm[:, :20] = 1200
    draw(app, depth_mm, hand, "30.0 frames/s")
    ball, skeleton = app._hand_nodes
    np.testing.assert_array_equal(ball._handle.batched_positions, hand.spheres_mm)
    assert ball._handle.visible and skeleton._handle.visible
    points = app._cloud._handle.points
    # Every second row and column of the ball's readings.
    assert len(points) == np.count_nonzero(depth_mm[::2, 20::2])
    assert np.abs(points - [11.9, 0.0, 690.0]).max() < 60.0
    assert app._text.content == "30.0 frames/s"
    np.testing.assert_allclose(app._root.position, -hand.spheres_mm.mean(axis=0), rtol=1e-5)


def test_without_a_hand_the_scene_is_shown(app):
    draw(app, ball_image(), make_hand(CENTER_MM))
    position = np.array(app._root.position)
    depth_mm = np.full((120, 160), 1200, np.uint16)
    depth_mm[:60] = 2000
    draw(app, depth_mm, None)
    assert not any(node._handle.visible for node in app._hand_nodes)
    assert len(app._cloud._handle.points) == 15 * 40
    np.testing.assert_array_equal(app._root.position, position)


def test_the_middle_follows_the_hand_slowly(app):
    draw(app, ball_image(), make_hand(CENTER_MM))
    for _ in range(2):
        draw(app, ball_image(), make_hand(CENTER_MM + np.float32([100.0, 0.0, 0.0])))
    moved = -np.array(app._root.position) - make_hand(CENTER_MM).spheres_mm.mean(axis=0)
    np.testing.assert_allclose(moved, [19.0, 0.0, 0.0], atol=1e-2)


def test_nothing_is_drawn_while_nobody_looks(app, monkeypatch):
    monkeypatch.setattr(app._server, "get_clients", dict)
    draw(app, ball_image(), make_hand(CENTER_MM), "text")
    assert app._text.content == "Waiting for the camera."
