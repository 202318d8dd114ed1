"""Recordings in, TFRecord shards out: the schema, converters and inspection of data sets."""
