"""The folder of a run: its stages, each kept and not done again if it is there.

A stage keeps the settings it was started with in `settings.json`, and `done.json` once it is
finished. One that was started with other settings is never taken silently.
"""

import contextlib
import json
import pathlib
import shutil
import time

from tfhand import files

__all__ = ["Workdir"]

_SETTINGS, _DONE = "settings.json", "done.json"


class Workdir:
    """Where a run keeps its stages.

    Args:
        path: Folder, made if needed.
        writes: Whether this process makes stages; another only takes part in their training.
    """

    def __init__(self, path, writes=True):
        self.path = pathlib.Path(path)
        self.writes = writes
        self.path.mkdir(parents=True, exist_ok=True)

    def stage(self, name):
        """Returns the folder of a stage."""
        return self.path / name

    def is_done(self, name, settings):
        """Whether a stage is there, finished.

        Raises:
            ValueError: If it is there, finished or not, but was made with other settings.
        """
        started = self.stage(name) / _SETTINGS
        if not started.exists():
            return False
        found = files.read_json(started)
        if not isinstance(found, dict):
            raise ValueError(f"Expected settings in {started}, found {type(found).__name__}.")
        expected = json.loads(json.dumps(settings))
        different = sorted(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        if different:
            changes = ", ".join(f"{k}={found.get(k)} (now {expected.get(k)})" for k in different)
            raise ValueError(
                f"{self.stage(name)} was made with {changes}: give the same settings, use another "
                f"--workdir, or delete it if it is of no use any more."
            )
        done = (self.stage(name) / _DONE).exists()
        if done and self.writes:
            # A run may have been killed before it removed them.
            shutil.rmtree(self.stage(name) / "backup", ignore_errors=True)
        return done

    @contextlib.contextmanager
    def working(self, name, settings):
        """Context in which a stage is made; marks it as done at the end."""
        folder = self.stage(name)
        if not self.writes:
            yield folder
            return
        folder.mkdir(parents=True, exist_ok=True)
        files.write_json(folder / _SETTINGS, settings)
        start = time.time()
        yield folder
        seconds = round(time.time() - start, 1)
        files.write_json(folder / _DONE, {"seconds": seconds})
        # Checkpoints are of no use any more, but were until the stage was done.
        shutil.rmtree(folder / "backup", ignore_errors=True)
        print(f"Stage {name} took {seconds:.0f} s.", flush=True)
