"""The page that shows a camera's stream: points, estimated spheres, skeleton, speed."""

import threading

import numpy as np

from tfhand.hand import spheres
from tfhand.viewer import controls, nodes, scene, shapes

__all__ = ["LiveApp", "NoPage"]

_POINT_RADIUS_MM, _OPACITY = 1.5, 0.5
# Readings as far from the hand are shown; where there is none, as far from the camera.
_REACH_MM, _SCENE_MM = 260.0, 1500.0
# Every n-th row and column is shown: points are what a page costs.
_EVERY, _EVERY_WITHOUT_HAND = 2, 4
_NO_HAND_YET_MM = np.array([0.0, 0.0, 600.0])
# Of the way to the hand that the middle of the picture goes each time.
_FOLLOW = 0.1


class NoPage:
    """Takes the calls of a `LiveApp` and shows nothing."""

    def show(self, depth_mm, hand, text):
        """Does nothing."""


class LiveApp:
    """Draws the newest frame in a thread of its own, while somebody looks.

    Args:
        server: `viser.ViserServer`.
        intrinsics: fx, fy, cx, cy of the camera in px.
    """

    def __init__(self, server, intrinsics):
        self._server, self._intrinsics = server, np.asarray(intrinsics, np.float32)
        self._newest, self._focus_mm = None, None
        self._text = server.gui.add_markdown("Waiting for the camera.")
        self._root = server.scene.add_frame("/hand", show_axes=False)
        self._cloud = nodes.Cloud(server, "/hand/points", _POINT_RADIUS_MM)
        self._hand_nodes = (
            nodes.Spheres(
                server, "/hand/spheres", shapes.SPHERE_COLORS, spheres.load().radii_mm, _OPACITY
            ),
            nodes.Lines(server, "/hand/skeleton", shapes.SPHERE_COLORS),
        )
        labels = ("Spheres", "Skeleton")
        controls.add_switch(server.gui, "Points", [self._cloud])
        for label, node in zip(labels, self._hand_nodes, strict=True):
            controls.add_switch(server.gui, label, [node])
        self._redraw = controls.Redraw(self._draw)
        threading.Thread(target=self._redraw.run, daemon=True).start()

    def show(self, depth_mm, hand, text):
        """Shows a frame [H, W] in mm, its `hands.Hand` or None, and a line of text."""
        self._newest = depth_mm, hand, text
        self._redraw.request()

    def _draw(self):
        if self._newest is None or not self._server.get_clients():
            return
        depth_mm, hand, text = self._newest
        spheres_mm = None if hand is None else hand.spheres_mm
        middle_mm = _NO_HAND_YET_MM if hand is None else spheres_mm.mean(axis=0)
        if self._focus_mm is None:
            self._focus_mm = middle_mm
        elif hand is not None:
            self._focus_mm = self._focus_mm + _FOLLOW * (middle_mm - self._focus_mm)
        cloud_mm, colors = self._points(depth_mm, spheres_mm)
        with self._server.atomic():
            self._root.position = -self._focus_mm
            self._cloud.move(cloud_mm, colors)
            for node in self._hand_nodes:
                node.move(spheres_mm)
            self._text.content = text or "Starting."

    def _points(self, depth_mm, spheres_mm):
        """Returns the points that are shown, float32 [N, 3], and their colors, uint8 [N, 3]."""
        center_mm, reach_mm, every = np.zeros(3), _SCENE_MM, _EVERY_WITHOUT_HAND
        if spheres_mm is not None:
            center_mm, reach_mm, every = spheres_mm.mean(axis=0), _REACH_MM, _EVERY
        cloud_mm = scene.points_of_frame(
            depth_mm[::every, ::every].astype(np.float32),
            self._intrinsics / every,
            center_mm,
            reach_mm,
        )
        shade = 1.0 - np.clip((cloud_mm[:, 2:] - self._focus_mm[2]) / 600.0 + 0.5, 0.0, 0.8)
        return cloud_mm, (shade * shapes.view_color(0)).astype(np.uint8)
