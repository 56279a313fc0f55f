"""One reader for each kind of dependency file."""
