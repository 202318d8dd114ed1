"""The pose network, the pose prior and their export."""
