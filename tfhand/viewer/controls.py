"""Controls of a page: they ask for a drawing, or show and hide nodes."""

import threading

__all__ = ["Redraw", "add_switch"]


class Redraw:
    """Runs a drawing function in the thread that calls `run`, after each `request`.

    Moves of a slider come faster than a hand is drawn: requests that come in the meantime make
    one drawing, of the newest state.

    Args:
        draw: Called without arguments.
    """

    def __init__(self, draw):
        self._draw = draw
        self._requested = threading.Event()
        self._requested.set()

    def request(self, *_):
        """Asks for a drawing; a callback of any control."""
        self._requested.set()

    def run(self):
        """Draws until interrupted (KeyboardInterrupt)."""
        while True:
            self._requested.wait()
            self._requested.clear()
            self._draw()


def add_switch(gui, label, nodes, is_on=True):
    """Adds a checkbox that shows and hides nodes.

    Args:
        gui: That of a `viser.ViserServer`.
        label: Text beside the box.
        nodes: Of `tfhand.viewer.nodes`.
        is_on: True for a box that is checked at first.

    Returns:
        The handle of the checkbox.
    """
    box = gui.add_checkbox(label, is_on)

    def switch(_):
        for node in nodes:
            node.switch(box.value)

    switch(None)
    box.on_update(switch)
    return box
