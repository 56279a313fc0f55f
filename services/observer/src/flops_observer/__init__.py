"""The observer: tells people how their projects stand."""
