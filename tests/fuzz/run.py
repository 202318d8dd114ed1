"""Reads thousands of damaged inputs of every format; see CONTRIBUTING.md.

    python -m tests.fuzz.run [--seed=1] [--scale=1.0] [--formats=png,npy]

Prints a table, and fails if any input is neither refused with one clear error nor read to a sane
result.
"""

import time

from absl import flags
from tqdm import tqdm

from tests.fuzz import formats, pool
from tfhand import commands


def define_flags(flag_values):
    """Defines the flags of this command."""
    flags.DEFINE_integer("seed", 1, "Seed of the damage.", flag_values=flag_values)
    flags.DEFINE_float("scale", 1.0, "Factor on the inputs a format.", 0.0, flag_values=flag_values)
    flags.DEFINE_list("formats", list(formats.FORMATS), "Formats to read.", flag_values=flag_values)


def main(options):
    """Runs the command; returns the exit status."""
    unknown = sorted(set(options.formats) - set(formats.FORMATS))
    if unknown:
        raise ValueError(f"Expected --formats among {', '.join(formats.FORMATS)}, found {unknown}.")
    start, tallies = time.time(), {}
    with pool.Worker() as worker:
        for name in options.formats:
            case = formats.FORMATS[name]
            indices = [*range(max(1, round(options.scale * case.count))), *case.bombs]
            tallies[name] = pool.run_format(worker, name, options.seed, tqdm(indices, desc=name))
    print(f"{'format':<16}{'inputs':>8}{'refused':>9}{'accepted':>10}{'violations':>12}")
    for name, tally in tallies.items():
        counts = f"{tally.inputs:>8}{tally.refused:>9}{tally.accepted:>10}"
        print(f"{name:<16}{counts}{len(tally.violations):>12}")
    total = sum(tally.inputs for tally in tallies.values())
    print(f"{'all':<16}{total:>8} in {time.time() - start:.0f} s, seed {options.seed}")
    found = [(name, *v) for name, tally in tallies.items() for v in tally.violations]
    for name, index, detail in found:
        print(f"violation: {name} {index}: {' '.join(detail.split())[:300]}")
    return 1 if found else 0


if __name__ == "__main__":
    commands.run(main, define_flags)
