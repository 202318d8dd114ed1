"""All commands of the package as one program.

`tfhand train --help` is `python -m tfhand.train --help`, and so on.
"""

import runpy
import sys

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    # name: (module, what it does)
    "predict": ("tfhand.predict", "estimates the hand in depth images"),
    "live": ("tfhand.live", "shows the hand before a depth camera"),
    "view": ("tfhand.view", "shows hands in the browser"),
    "train": ("tfhand.train", "trains on a recording, and scores the result"),
    "evaluate": ("tfhand.evaluate", "scores a network or published predictions"),
    "export": ("tfhand.export", "writes files for TensorFlow Serving and other runtimes"),
    "record": ("data_prep.record", "records depth cameras in NYU's layout"),
    "nyu": ("data_prep.nyu", "converts a recording in NYU's layout to records"),
    "synthetic": ("data_prep.synthetic", "renders the embedded recording, as records"),
    "inspect": ("data_prep.inspect", "checks and draws records"),
}


def main():
    """Runs the command that the first argument names, and exits the process with its status."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("--help", "-h"):
        width = max(map(len, COMMANDS))
        rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
        print(f"tfhand COMMAND [--help] [flags]\n\n{rows}")
        return
    if arguments[0] not in COMMANDS:
        sys.exit(f"tfhand: Expected one of {', '.join(COMMANDS)}, received {arguments[0]!r}.")
    module, _ = COMMANDS[arguments[0]]
    sys.argv[1:] = arguments[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
