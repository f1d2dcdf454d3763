"""From archives to pixels: reading, decoding, storing and dividing pictures."""

from balle2017.faces import lookup

__getattr__ = lookup(
    __name__,
    {
        "ExtractSettings": "balle2017.data.extraction",
        "PictureFolder": "balle2017.data.images",
        "extract_archives": "balle2017.data.extraction",
        "split_images": "balle2017.data.split",
        "extract_tar": "balle2017.data.extraction",
        "extract_zip": "balle2017.data.extraction",
        "load_image_paths": "balle2017.data.images",
        "preprocess_image": "balle2017.data.images",
        "create_train_val_datasets": "balle2017.training.input",
    },
)
