"""Lets Pillow open and save .b17 files, once it is imported.

    import balle2017.pillow
    from PIL import Image

    Image.open("photo.b17").convert("L").show()
    Image.open("photo.png").save("photo.b17", lambda_rd=0.025)

`Image.open` reads the header alone; the pixels are decoded when they are needed first, by the
model of the package that made the file, or by one of those that `add_models` was told of.

`save` takes pictures of the modes RGB and L, and one of these:
    lambda_rd: of the model (where nothing is given: 0.013 among those of the package).
    bpp, psnr, max_bytes: a goal, see `balle2017.Family.compress`.
and
    model: folder of a model, of the run that trained it, or of several to choose from, in place
        of the models that come with the package.
    refine: True searches for better latents, see `balle2017.Family.compress`.
A colour profile in `image.info` is converted to sRGB, which is what a .b17 file holds.

Errors are Pillow's: UnidentifiedImageError where the file does not begin as a .b17 file,
OSError where it is damaged, its model is not there, or a picture cannot be saved, ValueError
for options that make no sense.
"""

import importlib

from balle2017.faces import lookup

__getattr__ = lookup(__name__, {"add_models": "balle2017.interface.plugin"})

importlib.import_module("balle2017.interface.plugin")
