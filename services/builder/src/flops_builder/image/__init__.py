"""From folders to an image: layers, the documents above them, and the registry that they go to."""
