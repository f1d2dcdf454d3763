"""The codec: compressed files from images, and images from compressed files."""
