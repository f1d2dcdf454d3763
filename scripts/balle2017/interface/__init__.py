"""The codec for other programs: models chosen by lambda, size or quality; commands; Pillow."""
