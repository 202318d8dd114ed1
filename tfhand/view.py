"""Shows hands in a browser: a recording, a camera frame, or a hand to pose.

    python -m tfhand.view --data_dir=OUT --split=test --model=W/pose.keras
    python -m tfhand.view --depth=FRAME.png [--model=W/pose.keras] [--intrinsics=fx,fy,cx,cy]
    python -m tfhand.view

The URL is printed; Ctrl-C ends it. Needs the extra `viewer` and nothing from the network.
"""

from absl import flags

from tfhand import commands
from tfhand.geometry import camera, crop, depth_image
from tfhand.models import package_weights
from tfhand.viewer import server, sources
from tfhand.viewer.posing_app import PosingApp
from tfhand.viewer.scene_app import SceneApp

__all__ = ["define_flags", "main"]


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define = {"flag_values": flag_values}
    flags.DEFINE_string("data_dir", None, "Folder of records to show.", **define)
    flags.DEFINE_string("split", "test", "Split of --data_dir.", **define)
    text = "Samples of --data_dir to show, evenly spaced."
    flags.DEFINE_integer("max_samples", 500, text, lower_bound=1, **define)
    flags.DEFINE_string("depth", None, "Depth image to show, or a folder of them.", **define)
    text = "Trained network, pose.keras, or shipped, which --depth takes if none is named."
    flags.DEFINE_string("model", None, text, **define)
    text = "fx,fy,cx,cy of the camera of --depth in px."
    flags.DEFINE_list("intrinsics", list(map(str, camera.NYU_INTRINSICS)), text, **define)
    units = tuple(depth_image.UNITS_MM)
    flags.DEFINE_enum("depth_unit", "mm", units, "Unit of stored values of --depth.", **define)
    text = "Factor from stored values of --depth to that unit."
    flags.DEFINE_float("depth_scale", 1.0, text, **define)
    flags.DEFINE_enum("hand", "right", ("right", "left"), "The hand in --depth.", **define)
    flags.DEFINE_string("host", "127.0.0.1", "Address to listen on.", **define)
    bounds = {"lower_bound": 0, "upper_bound": 65535}
    flags.DEFINE_integer("port", 8080, "Port; 0: any that is free.", **bounds, **define)


def main(flag_values: flags.FlagValues) -> None:
    """Serves the page until interrupted."""
    source = _open_source(flag_values)
    with server.open_server(flag_values.host, flag_values.port) as opened:
        page = PosingApp(opened, crop.CropSpec()) if source is None else SceneApp(opened, source)
        print(f"{server.url_of(flag_values.host, opened.get_port())} (Ctrl-C ends)", flush=True)
        try:
            page.run()
        except KeyboardInterrupt:
            print()


def _open_source(flag_values):
    """Opens the recording or the frames that the options name; None without any, to pose a hand."""
    if flag_values.data_dir and flag_values.depth:
        raise ValueError("Expected --data_dir or --depth, received both.")
    if flag_values.data_dir:
        return sources.Recording(
            flag_values.data_dir, flag_values.split, flag_values.model, flag_values.max_samples
        )
    if flag_values.depth:
        model = flag_values.model or package_weights.NAME
        intrinsics = camera.parse_intrinsics(flag_values.intrinsics)
        images = depth_image.find_images(flag_values.depth)
        scale = flag_values.depth_scale * depth_image.UNITS_MM[flag_values.depth_unit]
        if not 0.0 < scale < float("inf"):
            raise ValueError(
                f"Expected a positive --depth_scale, received {flag_values.depth_scale}."
            )
        return sources.Frames(images, model, intrinsics, scale, flag_values.hand == "left")
    if flag_values.model:
        raise ValueError("Expected --data_dir or --depth beside --model, received neither.")
    return None


if __name__ == "__main__":
    commands.run(main, define_flags)
