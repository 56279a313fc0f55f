"""The `process` engine: one machine without containers. Layers are unpacked once and run with the host's Python."""

from flops_manager.adapters.process_engine.engine import ProcessEngine as ProcessEngine
