"""What the builder needs of the world outside."""
