"""Conversion of splits in parts, on threads of one machine or the workers of `data_prep.beam`.

split_plan.py        what is converted to what
shard_parts.py       a part of a shard: converted, encoded, described
split_conversion.py  all parts on threads, then published
"""
