"""The page that poses the hand with sliders and shows it as a depth camera would see it."""

import itertools

import numpy as np

from tfhand.hand import template
from tfhand.viewer import controls, nodes, pictures, posing, shapes

__all__ = ["PosingApp"]

_VIEW_SLIDERS = (("Azimuth", 180), ("Elevation", 80), ("Turn", 180))
_SKIN_OPACITY = 0.3
_DISTANCE_MM = 440.0
_FRAME_COLOR = (190, 190, 190)


class PosingApp:
    """Builds the page and keeps it up to date.

    Args:
        server: `viser.ViserServer`.
        spec: `crop.CropSpec` of the depth map.
    """

    def __init__(self, server, spec):
        self._server, self._spec = server, spec
        self._redraw = controls.Redraw(self._draw)
        # The place of the camera of the depth map.
        server.initial_camera.position = (0.0, 0.0, -_DISTANCE_MM)
        # A new seed for each press of a button.
        self._seeds = itertools.count(1)
        hand = posing.pose_hand(posing.PoseState.rest(), spec)
        self._add_overview(hand)
        self._angles = self._add_angles()
        self._shape = self._add_shape()
        self._add_nodes(hand)
        self._add_switches()

    def run(self):
        """Redraws until interrupted."""
        self._redraw.run()

    def _add_overview(self, hand):
        gui = self._server.gui
        gui.add_button("Random pose").on_click(lambda _: self._pose_at_random())
        gui.add_button("Random shape").on_click(lambda _: self._shape_at_random())
        gui.add_button("Rest pose").on_click(lambda _: self._rest())
        self._picture = gui.add_image(self._picture_of(hand), label="Depth map")
        self._text = gui.add_markdown(posing.describe(hand, self._spec))
        with gui.add_folder("Viewpoint, degrees"):
            self._view = [
                self._add_slider(name, -limit, limit, 1.0) for name, limit in _VIEW_SLIDERS
            ]

    def _add_slider(self, label, low, high, step, hint=None):
        slider = self._server.gui.add_slider(label, low, high, step, 0.0, hint=hint)
        slider.on_update(self._redraw.request)
        return slider

    def _add_angles(self):
        """Adds a folder for each finger, and returns the sliders by the angle's name."""
        sliders = {}
        for part, names in posing.angle_groups().items():
            with self._server.gui.add_folder(f"{part}, degrees"):
                for name in names:
                    low, high = template.ANGLES[name]
                    label = name.removeprefix(f"{part}_")
                    sliders[name] = self._add_slider(label, low, high, 0.5, hint=name)
        return sliders

    def _add_shape(self):
        """Adds the shape parameters, and returns the sliders by their names."""
        with self._server.gui.add_folder("Shape, percent", expand_by_default=False):
            return {
                name: self._add_slider(name, *posing.shape_range_percent(name), 0.5)
                for name in template.SHAPE_NAMES
            }

    def _add_nodes(self, hand):
        server = self._server
        self._skin = nodes.Skin(server, "/skin", posing.coarse_skin(), _SKIN_OPACITY)
        self._spheres = nodes.Spheres(server, "/spheres", shapes.SPHERE_COLORS, hand.radii_mm)
        self._skeleton = nodes.Lines(server, "/skeleton", shapes.SPHERE_COLORS)
        self._names = nodes.Names(server, "/names")

    def _add_switches(self):
        gui = self._server.gui
        with gui.add_folder("Show"):
            for label, node, is_on in (
                ("Skin", self._skin, True),
                ("Spheres", self._spheres, True),
                ("Skeleton", self._skeleton, True),
                ("Finger names", self._names, False),
            ):
                controls.add_switch(gui, label, [node], is_on)
            opacity = gui.add_slider("Opacity of skin", 0.1, 1.0, 0.05, _SKIN_OPACITY)
        opacity.on_update(lambda _: self._skin.fade(opacity.value))

    def _pose_at_random(self):
        angles = np.degrees(posing.random_angles_rad(next(self._seeds)))
        for slider, value in zip(self._angles.values(), angles, strict=True):
            slider.value = float(value)

    def _shape_at_random(self):
        percent = 100.0 * np.expm1(posing.random_shape(next(self._seeds)))
        for slider, value in zip(self._shape.values(), percent, strict=True):
            slider.value = float(value)

    def _rest(self):
        for slider in (*self._angles.values(), *self._shape.values(), *self._view):
            slider.value = 0.0

    def _state(self):
        return posing.PoseState(
            np.radians([slider.value for slider in self._angles.values()]).astype(np.float32),
            np.float32([posing.log_factor(slider.value) for slider in self._shape.values()]),
            tuple(slider.value for slider in self._view),
        )

    def _picture_of(self, hand):
        return pictures.draw_crop(hand.depth_mm, self._spec.cube_mm, color=_FRAME_COLOR)

    def _draw(self):
        hand = posing.pose_hand(self._state(), self._spec)
        with self._server.atomic():
            self._skin.move(hand.skin_mm)
            self._spheres.move(hand.spheres_mm, hand.radii_mm)
            self._skeleton.move(hand.spheres_mm)
            self._names.move(hand.spheres_mm)
            self._picture.image = self._picture_of(hand)
            self._text.content = posing.describe(hand, self._spec)
