"""From archives to pixels: reading, decoding, storing and dividing pictures."""

from balle2017.faces import lookup

__getattr__ = lookup(
    __name__,
    {
        "extract_tar": "balle2017.data.stage",
        "extract_zip": "balle2017.data.stage",
        "load_image_paths": "balle2017.data.stage",
        "preprocess_image": "balle2017.data.stage",
        "create_train_val_datasets": "balle2017.data.stage",
    },
)
