"""The embedded recording: `python -m data_prep.synthetic`.

embedded.py   flags, and the records of both splits
sequences.py  who moves how, and for how long
motion.py     gestures one after the other
rendering.py    three cameras, their sensor's faults, the crops
"""
