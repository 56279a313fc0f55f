"""Base images, made of Debian's packages without any registry."""
