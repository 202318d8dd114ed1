"""Errors of networks on a labeled recording, with and without what other joints' places add.

    python -m experiments.offsets --data_dir=RECORDS --models=shipped,W/pose.keras

Two hand models do not place a joint alike: labels of one are off from the other's by some mm that
turn with the hand, and no depth map tells them. The last columns leave out the median offset of
each joint in the hand's frame. First camera, centers that it finds by itself, 14 evaluation joints.
Labels measure, nothing more.
"""

import numpy as np
from absl import flags

from data_prep import records
from experiments import pretrained_samples
from tfhand import commands, inference
from tfhand.evaluation import predictions
from tfhand.geometry import rigid
from tfhand.hand import skeleton, spheres

__all__ = ["error_without_offsets_mm"]


def define_flags(flag_values):
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("data_dir", None, "Records.", required=True, **define)
    flags.DEFINE_string("split", "test", "Split of the records.", **define)
    flags.DEFINE_list("models", ["shipped"], "Files pose.keras, or shipped.", **define)
    flags.DEFINE_string("output", None, "JSON file for the results.", **define)


def main(flag_values):
    """Runs the command."""
    cube_mm = records.read_info(flag_values.data_dir).spec.cube_mm
    dataset = records.load_dataset(flag_values.data_dir, flag_values.split)
    alone = records.at_own_centers(dataset)
    rows = []
    for path in flag_values.models:
        network = inference.load_network(path, cube_mm)
        predicted = predictions.predict_dataset(network, alone, cube_mm=cube_mm)
        spheres_mm = predicted.spheres_mm[:, 0]
        labels_mm = predicted.labels_mm[:, 0, skeleton.EVALUATION_JOINTS]
        error_mm = predicted.errors_mm(view=0).mean(axis=1)
        without_mm = error_without_offsets_mm(spheres_mm, labels_mm, _camera_from_hand(spheres_mm))
        rows.append(
            {
                "model": path,
                "mean": float(error_mm.mean()),
                "median": float(np.median(error_mm)),
                "without offsets": float(without_mm.mean()),
                "median without": float(np.median(without_mm)),
            }
        )
    pretrained_samples.write_rows(rows, flag_values.output)


def _camera_from_hand(spheres_mm):
    """Returns the rotation [n, 3, 3] of the palms of spheres [n, 41, 3], NumPy."""
    palm_mm = spheres.load().centers_mm[skeleton.PALM_SPHERES]
    palm_mm = np.tile(palm_mm, (len(spheres_mm), 1, 1)).astype(np.float32)
    return rigid.kabsch(palm_mm, spheres_mm[:, skeleton.PALM_SPHERES])[:, :3, :3].numpy()


def error_without_offsets_mm(spheres_mm, labels_mm, frame_from_hand):
    """Returns mean errors once each joint's median offset in the hand's frame is taken away.

    Args:
        spheres_mm: [n, 41, 3], estimates, any frame.
        labels_mm: [n, 14, 3], labels of the evaluation joints, same frame.
        frame_from_hand: [n, 3, 3], rotations of the estimates.

    Returns:
        [n], mm.
    """
    offset = labels_mm - spheres_mm[:, skeleton.EVALUATION_SPHERES]
    # offset[n,j] = frame_from_hand[n]^T offset[n,j]
    offset = np.einsum("nrc,njr->njc", frame_from_hand, offset)
    return np.linalg.norm(offset - np.median(offset, axis=0), axis=-1).mean(axis=1)


if __name__ == "__main__":
    commands.run(main, define_flags)
