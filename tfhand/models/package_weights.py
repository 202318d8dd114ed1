"""The weights that come with the package: an initialized network and the prior that goes with it.

They lie in `tfhand/models/assets` in the form of a run's finished stages `init` and `prior`, so
training starts from them as from another run. docs/model_card.md says what they are.
"""

import dataclasses
import pathlib

from tfhand import files
from tfhand.models import pose_network, weights

__all__ = ["FOLDER", "NAME", "load_pose_network"]

# Stands for these weights in the place of a path.
NAME = "shipped"
FOLDER = pathlib.Path(__file__).parent / "assets"


def load_pose_network():
    """Returns the network, ready for inference, see `pose_network.build_inference_network`.

    Raises:
        FileNotFoundError: If this installation lacks the files.
        ValueError: If they are damaged.
    """
    settings = FOLDER / "init" / "settings.json"
    if not settings.is_file():
        raise FileNotFoundError(f"Expected the weights of the package in {FOLDER}, found none.")
    names = {field.name for field in dataclasses.fields(pose_network.PoseNetworkConfig)}
    fields = {k: value for k, value in files.read_json(settings).items() if k in names}
    fields["heatmap_size"] = fields["image_size"] // 4
    network = pose_network.build_pose_network(pose_network.PoseNetworkConfig(**fields))
    weights.load_weights(network, FOLDER / "init" / "pose.weights.h5")
    return pose_network.build_inference_network(network)
