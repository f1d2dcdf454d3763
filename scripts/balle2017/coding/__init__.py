"""The codec: compressed files from pictures, and pictures from compressed files."""
