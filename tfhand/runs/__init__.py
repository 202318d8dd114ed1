"""The working folder of a run: stages, checkpoints, start weights, provenance, report."""
