"""What runs the experiments of the paper, from the checkout, and writes their tables."""
