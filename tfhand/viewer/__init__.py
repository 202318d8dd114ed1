"""A viewer in the browser: recordings, camera frames, and a hand to pose (extra `viewer`)."""
