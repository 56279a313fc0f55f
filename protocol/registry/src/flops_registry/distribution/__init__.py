"""A registry over HTTP (OCI distribution-spec 1.1): addresses, authentication, uploads, downloads, referrers."""
