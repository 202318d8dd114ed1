"""The page that shows scenes: points of every camera, estimate, labels, pictures and errors."""

import math

import numpy as np

from tfhand.hand import spheres
from tfhand.viewer import controls, nodes, pictures, scene, shapes

__all__ = ["SceneApp", "describe", "first_scene"]

_OPACITY = 0.5
_LABEL_RADIUS_MM = 3.5


def describe(hand_scene):
    """Describes a scene, title and errors, as Markdown."""
    lines = [f"**{hand_scene.title}**"]
    if hand_scene.labels_mm is not None:
        for name, spheres_mm in hand_scene.estimates_mm.items():
            error_mm = scene.mean_error_mm(spheres_mm, hand_scene.labels_mm)
            if math.isfinite(error_mm):
                lines.append(f"{name}: mean error {error_mm:.1f} mm")
    if hand_scene.labels_mm is None and hand_scene.estimates_mm:
        lines.append("no labels")
    return "  \n".join(lines)


def first_scene(source):
    """Returns (index, scene) of the first that can be shown; the error of the last if none can."""
    for index in range(len(source)):
        try:
            return index, source.scene(index)
        except (OSError, ValueError):
            if index == len(source) - 1:
                raise
    raise ValueError("Expected something to show, found nothing.")


class SceneApp:
    """Builds the page and keeps it up to date.

    Args:
        server: `viser.ViserServer`.
        source: `sources.Recording` or `sources.Frames`.
    """

    def __init__(self, server, source):
        self._server, self._source = server, source
        self._redraw = controls.Redraw(self._draw)
        index, first = first_scene(source)
        self._add_controls(index, first)
        self._add_nodes(first)
        self._add_switches(first)

    def run(self):
        """Redraws until interrupted."""
        self._redraw.run()

    def _add_controls(self, index, first):
        gui = self._server.gui
        self._text = gui.add_markdown(describe(first))
        last = len(self._source) - 1
        self._sample = gui.add_slider("Sample", 0, max(last, 1), 1, index, visible=last > 0)
        self._sample.on_update(self._redraw.request)
        names = tuple(first.estimates_mm) or ("none",)
        self._estimate = gui.add_dropdown("Estimate", names, visible=len(names) > 1)
        self._estimate.on_update(self._redraw.request)
        self._picture = gui.add_image(pictures.draw_scene(first), label="Depth crops")

    def _add_nodes(self, first):
        server, radii_mm = self._server, spheres.load().radii_mm
        # All of it hangs on one frame that puts the middle of the hand at the origin.
        self._root = server.scene.add_frame("/hand", show_axes=False)
        self._clouds = [
            nodes.Cloud(server, f"/hand/points_{view + 1}", self._source.point_radius_mm)
            for view in range(len(first.clouds_mm))
        ]
        self._spheres = nodes.Spheres(
            server, "/hand/spheres", shapes.SPHERE_COLORS, radii_mm, _OPACITY
        )
        self._skeleton = nodes.Lines(server, "/hand/skeleton", shapes.SPHERE_COLORS)
        label_radii = np.full(len(radii_mm), _LABEL_RADIUS_MM, np.float32)
        label_colors = np.tile(np.array(pictures.LABEL_COLOR, np.uint8), (len(radii_mm), 1))
        self._label_balls = nodes.Spheres(server, "/hand/labels", label_colors, label_radii)
        self._label_lines = nodes.Lines(server, "/hand/label_bones", label_colors)
        self._names = nodes.Names(server, "/hand/names")
        self._cameras = nodes.Cameras(server, "/hand/cameras", first)

    def _add_switches(self, first):
        gui = self._server.gui
        with gui.add_folder("Show"):
            for view, cloud in enumerate(self._clouds):
                controls.add_switch(gui, f"Points {view + 1}", [cloud])
            if first.estimates_mm:
                controls.add_switch(gui, "Spheres", [self._spheres])
                controls.add_switch(gui, "Skeleton", [self._skeleton])
            if self._source.has_labels:
                self._labels_on = controls.add_switch(
                    gui, "Labels", [self._label_balls, self._label_lines]
                )
                self._labels_on.on_update(self._redraw.request)
            else:
                self._labels_on = None
            controls.add_switch(gui, "Finger names", [self._names], is_on=False)
            controls.add_switch(gui, "Cameras", [self._cameras], is_on=False)
            size = gui.add_slider("Point radius, mm", 0.25, 3.0, 0.25, self._source.point_radius_mm)
            opacity = gui.add_slider("Opacity of spheres", 0.1, 1.0, 0.1, _OPACITY)
        size.on_update(lambda _: [cloud.resize(size.value) for cloud in self._clouds])
        opacity.on_update(lambda _: self._spheres.fade(opacity.value))

    def _draw(self):
        try:
            hand_scene = self._source.scene(int(self._sample.value))
        except (OSError, ValueError) as error:
            # One bad image of a folder: the others can be shown, and the one before is not.
            self._text.content = f"**Not shown:** {error}"
            self._root.visible = self._picture.visible = False
            return
        spheres_mm = hand_scene.estimates_mm.get(self._estimate.value)
        shows_labels = self._labels_on is None or self._labels_on.value
        picture = pictures.draw_scene(hand_scene, spheres_mm, shows_labels)
        with self._server.atomic():
            self._root.position = -scene.focus_mm(hand_scene)
            self._root.visible = self._picture.visible = True
            for view, cloud in enumerate(self._clouds):
                cloud.move(hand_scene.clouds_mm[view], scene.cloud_colors(hand_scene, view))
            for node in (self._spheres, self._skeleton):
                node.move(spheres_mm)
            for node in (self._label_balls, self._label_lines):
                node.move(hand_scene.labels_mm)
            self._names.move(hand_scene.labels_mm if spheres_mm is None else spheres_mm)
            self._picture.image = picture
            self._text.content = describe(hand_scene)
