"""The terms of equation 4, each a pure function of explicit tensors, and supervision."""
