"""What cannot be assembled is made with a container engine: a repository's own Dockerfile, Debian packages, wheels for
another platform. Our own layers come on top as ever."""
