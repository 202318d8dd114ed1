"""Data preparation on a cluster: the same records by Apache Beam (extra `beam`), see docs/beam.md.

nyu.py         command: `data_prep.nyu` as a pipeline
frames.py      its frames
synthetic.py   command: `data_prep.synthetic` as a pipeline
sequences.py   its batches
shards.py      from encoded frames to a published split
options.py     Beam's own options
"""
