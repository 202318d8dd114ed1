"""Makes the initialized network and the prior of a run those that come with the package.

    python -m tfhand.pack --workdir=W [--output_dir=DIR]

Weights are rounded to half precision, which halves the files; the files hold what is used.
"""

import pathlib
import shutil

import h5py
import numpy as np
from absl import flags

from tfhand import commands, files
from tfhand.models import package_weights, pose_prior, weights
from tfhand.runs import pretrained, provenance, resolved_flags
from tfhand.training import pretraining

__all__ = ["define_flags", "main"]

_COPIED = {
    "init": ("settings.json", "done.json"),
    "prior": ("settings.json", "done.json", "reconstruction.json"),
}


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_string(
        "workdir", None, "Run with the stages prior and init.", required=True,
        flag_values=flag_values,
    )  # fmt: skip
    flags.DEFINE_string(
        "output_dir", str(package_weights.FOLDER), "Where they go.", flag_values=flag_values
    )


def main(flag_values):
    """Runs the command."""
    source, target = pathlib.Path(flag_values.workdir), pathlib.Path(flag_values.output_dir)
    for stage in _COPIED:
        if not (source / stage / "done.json").is_file():
            raise FileNotFoundError(f"Expected a finished stage {stage} in {source}, found none.")
    provenance_entry = _read_provenance(source / provenance.NAME)
    network_options = pretraining.read_network_options(source)
    network = pretraining.load_network(source, network_options)
    prior = pose_prior.load_prior(source / "prior")
    for model in (network, prior):
        model.set_weights([_round(values) for values in model.get_weights()])
    with files.folder_beside(target) as partial:
        (partial / "init").mkdir(parents=True, exist_ok=True)
        weights.save_weights(network, partial / "init" / "pose.weights.h5")
        pose_prior.save_prior(prior, partial / "prior")
        for path in partial.glob("*/*.weights.h5"):
            _compress(path)
        for stage, names in _COPIED.items():
            for name in names:
                files.write_json(partial / stage / name, files.read_json(source / stage / name))
        files.write_json(partial / "made_from.json", provenance_entry)
        if target.exists():
            shutil.rmtree(target)
        partial.replace(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.1f} MB")


def _read_provenance(path):
    """Returns the provenance of the last launch with --init_from=none.

    The folders of its machine are left out, and flags of absl, which may name some.
    """
    launches = files.read_json(path)
    names = {"commit", "versions", "seed", "flags"}
    trainings = [
        launch
        for launch in (launches if isinstance(launches, list) else [])
        if isinstance(launch, dict) and names <= set(launch)
        if isinstance(launch["flags"], dict) and launch["flags"].get("init_from") == pretrained.NONE
    ]
    if not trainings:
        raise ValueError(
            f"Expected in {path} a start with --init_from={pretrained.NONE}, found none."
        )
    entry = {name: trainings[-1][name] for name in ("commit", "versions", "seed", "flags")}
    absl_flags = [flag.name for flag in flags.FLAGS.flags_by_module_dict().get("absl.logging", ())]
    for name in (*resolved_flags.PATHS, *absl_flags):
        entry["flags"].pop(name, None)
    return entry


def _round(values):
    """Rounds float32 to half precision."""
    return values.astype(np.float16).astype(values.dtype)


def _compress(path):
    """Writes an HDF5 file again with compressed arrays, attributes included."""
    with files.replacing(path) as partial, h5py.File(path) as old, h5py.File(partial, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name, item):
            if isinstance(item, h5py.Group):
                item_copy = new.require_group(name)
            elif item.shape == ():
                item_copy = new.create_dataset(name, data=item[()])
            else:
                item_copy = new.create_dataset(name, data=item[:], compression=9, shuffle=True)
            item_copy.attrs.update(item.attrs)

        old.visititems(copy)


if __name__ == "__main__":
    commands.run(main, define_flags)
