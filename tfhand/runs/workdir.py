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
    """Working folder of a run.

    Args:
        path: Folder; made if needed, by the chief.
        is_chief: Whether this process makes stages; another only takes part in their training.
    """

    def __init__(self, path, is_chief=True):
        self.path = pathlib.Path(path)
        self.is_chief = is_chief
        if is_chief:
            self.path.mkdir(parents=True, exist_ok=True)

    def stage(self, name):
        """Returns the folder of a stage."""
        return self.path / name

    def is_started(self, name):
        """Returns whether a stage is there, finished or not."""
        return (self.stage(name) / _SETTINGS).exists()

    def is_finished(self, name):
        """Returns whether a stage is there, finished, whatever its settings."""
        return (self.stage(name) / _DONE).exists()

    def is_done(self, name, settings):
        """Returns whether a stage is there, finished.

        Raises:
            ValueError: If it is there, finished or not, but was made with other settings.
        """
        stored = self._read_settings(name)
        if stored is None:
            return False
        self.check(name, {**dict.fromkeys(stored), **settings})
        is_finished = self.is_finished(name)
        if is_finished and self.is_chief:
            # A run may have been killed before it removed them.
            shutil.rmtree(self.stage(name) / "backup", ignore_errors=True)
        return is_finished

    def check(self, name, settings):
        """Checks some of the settings that a stage was started with, if it is there.

        Raises:
            ValueError: If they are others.
        """
        stored = self._read_settings(name)
        if stored is None:
            return
        expected = json.loads(json.dumps(settings))
        different = sorted(k for k in expected if stored.get(k) != expected[k])
        if different:
            changes = ", ".join(f"{k}={stored.get(k)} (now {expected[k]})" for k in different)
            raise ValueError(
                f"{self.stage(name)} was made with {changes}: give the same settings, use another "
                f"--workdir, or delete it if it is of no use any more."
            )

    def _read_settings(self, name):
        """Returns the settings that a stage was started with; None if it was not."""
        if not self.is_started(name):
            return None
        path = self.stage(name) / _SETTINGS
        stored = files.read_json(path)
        if not isinstance(stored, dict):
            raise ValueError(f"Expected settings in {path}, found {type(stored).__name__}.")
        return stored

    def must_make(self, name, settings):
        """Returns whether this process has to make a stage that the chief makes alone.

        Raises:
            ValueError: As `is_done`; or if the chief should have made it and it is not there.
        """
        if self.is_done(name, settings):
            return False
        if not self.is_chief:
            raise ValueError(
                f"Expected in {self.stage(name)} what the chief has made, found nothing finished: "
                f"--workdir has to be on a file system that all workers share."
            )
        return True

    @contextlib.contextmanager
    def making(self, name, settings):
        """Context in which a stage is made; marks it as done at the end."""
        folder = self.stage(name)
        if not self.is_chief:
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
