"""The recording that a run makes itself where no records are given."""

from data_prep.synthetic import embedded

__all__ = ["make_recording"]

_STAGE = "recording"


def make_recording(workdir, num_samples, spec):
    """Makes the embedded recording, or finds it.

    Args:
        workdir: `workdir.Workdir`; the recording is its stage "recording".
        num_samples: Samples of both splits together.
        spec: `crop.CropSpec`.

    Returns:
        `pathlib.Path` of the records.

    Raises:
        ValueError: If it is there with other settings, or should have been made by the chief.
    """
    settings = {
        "samples": num_samples,
        "image_size": spec.image_size,
        "cube_mm": spec.cube_mm,
        "recipe": embedded.RECIPE,
    }
    folder = workdir.stage(_STAGE)
    if workdir.must_make(_STAGE, settings):
        with workdir.making(_STAGE, settings):
            options = embedded.RecordingOptions(num_samples, spec)
            embedded.write(str(folder), options, overwrite=True)
    return folder
