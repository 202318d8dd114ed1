"""Nodes of the 3D scene that are made once and moved afterwards.

Throughout, `server` is a `viser.ViserServer` and `name` the node's name in its scene.
"""

import numpy as np

from tfhand.viewer import shapes

__all__ = ["Cameras", "Cloud", "Lines", "Names", "Skin", "Spheres"]

_PYRAMID_MM = 60.0


class _Node:
    """Keeps apart whether a node is switched on and whether it has anything to show."""

    def __init__(self, handle):
        self._handle, self._is_on, self._has_content = handle, True, False
        handle.visible = False

    def switch(self, is_on):
        """Shows or hides the node."""
        self._is_on = is_on
        self._handle.visible = self._is_on and self._has_content

    def _set_content(self, has_content):
        self._has_content = bool(has_content)
        self._handle.visible = self._is_on and self._has_content


class _Translucent(_Node):
    """A node with an opacity."""

    def fade(self, opacity):
        """Sets the opacity, in (0, 1]."""
        self._handle.opacity = opacity


class _Group:
    """Several nodes below a frame that shows or hides them all."""

    def __init__(self, server, name):
        self._parent = server.scene.add_frame(name, show_axes=False, visible=False)

    def switch(self, is_on):
        """Shows or hides the nodes."""
        self._parent.visible = is_on


class Cloud(_Node):
    """Colored points.

    Args:
        radius_mm: Radius of a point.
    """

    def __init__(self, server, name, radius_mm):
        handle = server.scene.add_point_cloud(
            name,
            np.zeros((1, 3), np.float32),
            np.zeros((1, 3), np.uint8),
            point_size=radius_mm,
            point_shape="circle",
            precision="float32",
        )
        super().__init__(handle)

    def resize(self, radius_mm):
        """Sets the radius of the points."""
        self._handle.point_size = radius_mm

    def move(self, points_mm, colors):
        """Shows other points, float32 [N, 3], in their colors, uint8 [N, 3]."""
        if len(points_mm):
            self._handle.colors = colors
            self._handle.points = np.asarray(points_mm, np.float32)
        self._set_content(len(points_mm))


class Lines(_Node):
    """A skeleton.

    Args:
        colors: uint8 [41, 3], RGB, of the points that the lines join.
    """

    def __init__(self, server, name, colors):
        nothing = np.zeros((1, 2, 3), np.float32)
        handle = server.scene.add_line_segments(
            name, nothing, nothing.astype(np.uint8), thickness=4.0, thickness_units="screen"
        )
        self._colors = colors
        super().__init__(handle)

    def move(self, points_mm):
        """Shows the bones of other points, float32 [41, 3] with NaN for unknown ones, or None."""
        if points_mm is None:
            self._set_content(False)
            return
        segments, colors = shapes.bones(points_mm, self._colors)
        if len(segments):
            self._handle.points, self._handle.colors = segments, colors
        self._set_content(len(segments))


class Spheres(_Translucent):
    """Balls with their own radii and colors.

    Args:
        colors: uint8 [n, 3], RGB.
        radii_mm: float32 [n].
        opacity: In (0, 1].
    """

    def __init__(self, server, name, colors, radii_mm, opacity=None):
        # Only the extra `viewer` has it, which brings viser.
        from trimesh import creation

        ball = creation.icosphere(subdivisions=2)
        no_rotation = np.tile(np.array([1.0, 0.0, 0.0, 0.0], np.float32), (len(radii_mm), 1))
        handle = server.scene.add_batched_meshes_simple(
            name,
            ball.vertices.astype(np.float32),
            ball.faces.astype(np.int32),
            no_rotation,
            np.zeros((len(radii_mm), 3), np.float32),
            batched_scales=np.asarray(radii_mm, np.float32),
            batched_colors=colors,
            opacity=opacity,
            lod="off",
            cast_shadow=False,
            receive_shadow=False,
        )
        super().__init__(handle)

    def move(self, centers_mm, radii_mm=None):
        """Shows the balls elsewhere.

        Args:
            centers_mm: float32 [n, 3], NaN for unknown ones; None: all are unknown.
            radii_mm: float32 [n]; None: as they are.
        """
        if centers_mm is not None:
            is_known = np.isfinite(centers_mm).all(axis=-1, keepdims=True)
            # A ball whose center is unknown hides within the first one that has a center.
            first = centers_mm[np.argmax(is_known)]
            centers_mm = np.where(is_known, centers_mm, first).astype(np.float32)
            self._handle.batched_positions = centers_mm
        if radii_mm is not None:
            self._handle.batched_scales = np.asarray(radii_mm, np.float32)
        self._set_content(centers_mm is not None)


class Names(_Group):
    """The fingers' names at their tips."""

    def __init__(self, server, name):
        super().__init__(server, name)
        self._labels = {
            finger: server.scene.add_label(
                f"{name}/{finger}", finger.lower(), anchor="bottom-center"
            )
            for finger in shapes.fingertips(np.zeros((41, 3)))
        }

    def move(self, points_mm):
        """Moves the names to the tips of other points, float32 [41, 3], or None."""
        for finger, label in self._labels.items():
            tip = np.full(3, np.nan) if points_mm is None else shapes.fingertips(points_mm)[finger]
            label.visible = bool(np.isfinite(tip).all())
            if label.visible:
                label.position = tip


class Cameras(_Group):
    """The cameras of a `scene.HandScene` as pyramids, which do not move."""

    def __init__(self, server, name, hand_scene):
        super().__init__(server, name)
        for view, (transform, intrinsics) in enumerate(
            zip(hand_scene.ref_from_view, hand_scene.intrinsics, strict=True)
        ):
            field_of_view, aspect = shapes.field_of_view(intrinsics)
            server.scene.add_camera_frustum(
                f"{name}/{view + 1}",
                field_of_view,
                aspect,
                scale=_PYRAMID_MM,
                thickness=2.0,
                thickness_units="screen",
                color=tuple(shapes.view_color(view).tolist()),
                wxyz=shapes.quaternion(transform[:3, :3]),
                position=transform[:3, 3],
            )


class Skin(_Translucent):
    """The skin as a translucent mesh.

    Args:
        skin: `surface.Skin` with faces.
        opacity: In (0, 1].
    """

    def __init__(self, server, name, skin, opacity):
        handle = server.scene.add_mesh_simple(
            name,
            skin.points_mm,
            skin.faces,
            color=(224, 190, 170),
            opacity=opacity,
            cast_shadow=False,
            receive_shadow=False,
        )
        super().__init__(handle)

    def move(self, points_mm):
        """Moves the vertices, float32 [M, 3]."""
        self._handle.vertices = points_mm
        self._set_content(True)
