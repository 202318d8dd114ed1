"""Sources of scenes: a folder of records, or depth images of one camera."""

import numpy as np

from data_prep import records
from tfhand import inference
from tfhand.geometry import crop, depth_image
from tfhand.viewer import scene

__all__ = ["Frames", "Recording"]

# Readings of a camera image as far from the hand are shown: a forearm's length.
_REACH_MM = 260.0


class Recording:
    """Samples of a split with the estimates of a network.

    Args:
        data_dir: Folder of records.
        split: Its split.
        model: Path of a `pose.keras`; None: no estimates.
        max_samples: Samples at most, evenly spaced over the split.

    Raises:
        FileNotFoundError: If a folder or file is not there.
        ValueError: If the split is empty, or the network takes other crops.
    """

    # Crops show a point every few mm, camera images one a millimeter.
    point_radius_mm = 1.0

    def __init__(self, data_dir, split, model=None, max_samples=500):
        """Reads the samples and loads the network."""
        self._cube_mm = records.read_info(data_dir).spec.cube_mm
        dataset = records.load_dataset(data_dir, split)
        length = int(dataset.cardinality())
        if length < 1:
            raise ValueError(f"Expected samples in split {split!r} of {data_dir}, found none.")
        self._network = None if model is None else inference.load_network(model, self._cube_mm)
        size = dataset.element_spec["depth_mm"].shape[-1]
        if self._network is not None and self._network.input_shape[1] != size:
            side = self._network.input_shape[1]
            raise ValueError(
                f"Expected records of {side} x {side} pixels as the network takes, found {size} x "
                f"{size}."
            )
        every = -(-length // max_samples)
        self._samples = list(dataset.shard(every, 0).as_numpy_iterator())
        self._split = split
        self.has_labels = any(sample["joint_mask"].any() for sample in self._samples)

    def __len__(self):
        """Returns the number of samples."""
        return len(self._samples)

    def scene(self, index):
        """Returns a sample as a `scene.HandScene`."""
        sample = self._samples[index]
        center_mm, ref_from_view = sample["center_mm"], sample["ref_from_view"]
        estimates_mm = {}
        if self._network is not None:
            depth = crop.normalize(sample["depth_mm"], self._cube_mm)
            spheres_mm = self._network(depth, training=False)["spheres_mm"]
            estimates_mm = scene.estimates_of_views(spheres_mm, center_mm, ref_from_view)
        return scene.HandScene(
            title=f"{self._split}, subject {sample['subject'].decode()}, frame {sample['frame']}",
            clouds_mm=scene.clouds_of_crops(
                sample["depth_mm"], center_mm, ref_from_view, self._cube_mm
            ),
            ref_from_view=ref_from_view,
            intrinsics=sample["intrinsics"],
            crops_mm=sample["depth_mm"],
            center_mm=center_mm,
            cube_mm=self._cube_mm,
            estimates_mm=estimates_mm,
            labels_mm=scene.labels_of_views(
                sample["joints_mm"], sample["joint_mask"], ref_from_view
            ),
        )


class Frames:
    """Depth images of one camera with the estimates of a network.

    Args:
        paths: Depth images, `pathlib.Path`.
        model: Path of a `pose.keras`.
        intrinsics: (fx, fy, cx, cy) of the camera in px.
        scale: Factor from stored values to mm.
        left_hand: True for images of left hands.

    Raises:
        FileNotFoundError: If the network is not there.
        ValueError: If it is no pose network.
    """

    point_radius_mm = 0.5
    has_labels = False

    def __init__(self, paths, model, intrinsics, scale=1.0, left_hand=False):
        """Loads the network."""
        self._paths = list(paths)
        self._network = inference.load_network(model)
        self._spec = inference.crop_spec_of(self._network)
        self._intrinsics = np.array(intrinsics, np.float32)
        self._scale, self._left_hand = scale, left_hand

    def __len__(self):
        """Returns the number of images."""
        return len(self._paths)

    def scene(self, index):
        """Returns an image as a `scene.HandScene`; its common frame is the camera's.

        Raises:
            ValueError: If the file holds no depth image, or no hand is found in it.
        """
        path = self._paths[index]
        depth_mm = depth_image.read_depth(path, self._scale)
        hands = inference.estimate_hands(
            self._network, depth_mm[None], self._intrinsics, left_hand=self._left_hand
        )
        if not hands.found[0]:
            raise ValueError(f"Expected a hand in {path}, found none.")
        cloud_mm = scene.points_of_frame(depth_mm, self._intrinsics, hands.center_mm[0], _REACH_MM)
        crops_mm = crop.crop_depth(
            depth_mm[None], self._intrinsics[None], hands.center_mm, self._spec
        )
        return scene.HandScene(
            title=path.name,
            clouds_mm=[cloud_mm],
            ref_from_view=np.eye(4, dtype=np.float32)[None],
            intrinsics=self._intrinsics[None],
            crops_mm=crops_mm.numpy(),
            center_mm=hands.center_mm,
            cube_mm=self._spec.cube_mm,
            estimates_mm={"camera 1": hands.spheres_mm[0]},
        )
