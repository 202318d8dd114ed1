"""The embedded recording: `python -m data_prep.synthetic`.

embedded.py   flags, and the records of both splits
sequences.py  one sequence a person, rendered batch by batch
motion.py     cameras, and a hand that goes from gesture to gesture
rendering.py  a person's hand before three cameras, the sensor's faults, the crops
"""
