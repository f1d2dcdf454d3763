"""The codec in other hands: models by lambda or goal, command lines, Pillow."""
