"""The method: train step, objectives, stages, options, callbacks, replicas."""
