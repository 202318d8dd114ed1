"""Training stages: data pipelines, train steps and callbacks."""
