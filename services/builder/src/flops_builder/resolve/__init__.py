"""From requirements to a lock for one platform and one Python, with uv."""
