"""The data of this machine's node: Parquet files, a folder a tag."""
