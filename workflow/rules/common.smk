# What all rules share: the checked config, paths, and the inputs that stand for
# code and for large files. The only file with functions.
import json
import sys
import time
from pathlib import Path

import yaml
from snakemake.io import apply_wildcards, glob_wildcards
from snakemake.utils import validate

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT / "scripts"))

from balle2017 import names  # noqa: E402
from balle2017.pipeline import experiment  # noqa: E402
from balle2017.training import claims  # noqa: E402
from balle2017.data import kodak  # noqa: E402
from balle2017.pipeline.experiment import advice  # noqa: E402
from balle2017.errors import InputError  # noqa: E402
from balle2017.files import file_name, is_url  # noqa: E402
from balle2017.pipeline.failures import Job, failed_jobs  # noqa: E402
from balle2017.model.find import nearest_model  # noqa: E402
from balle2017.data.images import list_test_images  # noqa: E402
from balle2017.closure import import_closure  # noqa: E402

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
KODAK_HASHES = ROOT / "workflow" / "resources" / "kodak.sha256"

# Made once for all experiments.
BUILTIN, DATASETS, KODAK, TESTSETS = (f"results/{name}" for name in experiment.RESERVED)
RECORDS = Path("work/sources")


def checked_config():
    """Check the config, then let Snakemake fill in the schema's defaults."""
    if sum(sys.argv.count(flag) for flag in ("--config", "-C")) > 1:
        raise InputError(
            "--config is given twice, and Snakemake forgets the first; put all settings behind one"
        )
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    config.update(experiment.convert_strings(config, schema))
    experiment.check_config(config, schema)
    validate(config, str(SCHEMA))


def test_archive():
    """Return the archive that holds the test images, or None where they lie in a folder."""
    choice = config["test_images"]
    named = choice not in ("builtin", "kodak")
    return choice if named and Path(choice).is_file() else None


def test_set():
    """Return the test set's name, folder, and the record that stands for its files.

    The folder is where the images of an archive will be unpacked.
    """
    choice = config["test_images"]
    if config["kodak"] is not None and choice != "kodak":
        raise InputError(
            f"config: kodak is given, and test_images is {choice}; set test_images to kodak"
        )
    if choice == "builtin":
        return choice, f"{BUILTIN}/test", f"{BUILTIN}/test.sha256"
    if choice == "kodak" and config["kodak"] is None:
        return choice, KODAK, f"{KODAK}.sha256"
    folder = Path(config["kodak"] if choice == "kodak" else choice)
    if TEST_ARCHIVE is not None:
        name = file_name(folder.name.split(".")[0])
        record = experiment.record_sources([folder], RECORDS)
        return name, f"{TESTSETS}/{name}", str(record)
    if choice == "kodak":
        kodak.check_folder(folder, kodak.read_hashes(KODAK_HASHES))
        name = choice
    else:
        name = file_name(folder.resolve().name)
        try:
            list_test_images(folder, experiment.OUTPUT_FOLDERS)
        except InputError as error:
            raise InputError(
                f"config: test_images: {error}; give a folder, an archive, kodak or builtin"
            ) from None
    record = experiment.record_sources([folder], RECORDS)
    return name, str(folder), str(record)


def train_sources():
    """Return the training archives and the record that stands for them."""
    if config["train_archive"] == "builtin":
        return [f"{BUILTIN}/train.tar"], f"{BUILTIN}/train.sha256"
    sources, hashes = config["train_archive"], config["train_archive_sha256"]
    sources = [sources] if isinstance(sources, str) else sources
    hashes = [hashes] if isinstance(hashes, str) else hashes or []
    experiment.check_sources(sources, hashes)
    urls = {url: digest for url, digest in zip(sources, hashes) if is_url(url)}
    local = [Path(source) for source in sources if not is_url(source)]
    return sources, str(experiment.record_sources(local, RECORDS, urls))


def code(script):
    """Return a script and the package modules it imports: the inputs of its rule."""
    path = ROOT / "scripts" / f"{script}.py"
    return [str(file.relative_to(ROOT)) for file in [path, *import_closure(path)]]


def is_fine_tuned(lambda_rd):
    """Tell whether a model starts from that of the base lambda."""
    fine_tuning = config["fine_tuning"]
    return fine_tuning is not None and lambda_rd != fine_tuning["base_lambda"]


def latents(wildcards):
    """Return the config's number of latents for one model, which may be None."""
    choice = config["model"]["num_latents"]
    return names.value_for(choice, float(wildcards.lambda_rd), "model.num_latents")


def train_flags(wildcards):
    """Return the flags of scripts/train.py for one model, without the one it starts from."""
    lambda_rd = float(wildcards.lambda_rd)
    settings = config["training"] | config["model"]
    if is_fine_tuned(lambda_rd):
        settings |= {
            k: v for k, v in config["fine_tuning"].items() if k != "base_lambda"
        }
    return experiment.flags(
        settings
        | {
            "lambda_rd": lambda_rd,
            "num_filters": int(wildcards.filters),
            "num_latents": latents(wildcards),
            "seed": int(wildcards.seed),
            "init_from": None,
        }
    )


def starting_model(wildcards):
    """Return the config.json of the model that training starts from, if there is one.

    It holds the hash of the weights, so that another model trains again.
    """
    lambda_rd, filters = float(wildcards.lambda_rd), int(wildcards.filters)
    if is_fine_tuned(lambda_rd):
        base = names.model_name(
            config["fine_tuning"]["base_lambda"], filters, int(wildcards.seed)
        )
        return f"{EXPERIMENT}/models/{base}/model/config.json"
    folder = config["training"]["init_from"]
    if folder is None:
        return []
    try:
        start = nearest_model(folder, lambda_rd, filters, latents(wildcards))
    except InputError as error:
        raise InputError(f"config: training.init_from: {error}") from None
    return str(start / "config.json")


def check_models():
    """Check that all models have the channels and the start that the config names."""
    experiment.check_fine_tuning(config)
    for family in FAMILIES:
        for name in family:
            wildcards = names.ModelName.parse(name)
            train_flags(wildcards)
            starting_model(wildcards)


def init_flag(wildcards, input):
    """Return the flag that names the model of `starting_model`."""
    return experiment.flags(
        {"init_from": Path(input.init_from).parent if input.init_from else None}
    )


def codec_qualities(wildcards):
    """Return the qualities at which a codec is measured."""
    return CODECS[wildcards.codec]


def show_summary():
    """Print the results, if this run made them."""
    summary, published = (
        Path(EXPERIMENT) / name for name in ("summary.txt", "published.txt")
    )
    if not summary.is_file() or summary.stat().st_mtime <= STARTED:
        return
    text = summary.read_text(encoding="utf-8")
    if PUBLISHED and published.is_file():
        text += published.read_text(encoding="utf-8")
    print(text + f"Report: {EXPERIMENT}/report.html, figure: {EXPERIMENT}/rd_curve.png")


def show_advice():
    """Print what in the config may not be meant."""
    there = Path(TEST_FOLDER).is_dir()
    lines = advice(
        config,
        list_test_images(TEST_FOLDER, experiment.OUTPUT_FOLDERS) if there else [],
    )
    if lines:
        print("\n".join(lines), file=sys.stderr)


def show_failures():
    """Print which jobs failed, why, and that the others are not lost."""
    jobs = []
    for stage in workflow.rules:
        for log in stage.log:
            found = glob_wildcards(log)
            # Without wildcards there is one job.
            for values in zip(*found) if found._fields else [()]:
                named = dict(zip(found._fields, values))
                results = [Path(apply_wildcards(path, named)) for path in stage.output]
                jobs.append(Job(stage.name, Path(apply_wildcards(log, named)), results))
    lines = failed_jobs(jobs, STARTED)
    if lines:
        print("\n".join(lines))
        print("What is finished stays; the same command goes on from there.")


try:
    checked_config()
    EXPERIMENT = f"results/{config['experiment']}"
    TEST_ARCHIVE = test_archive()
    TESTSET, TEST_FOLDER, TEST_RECORD = test_set()
    SOURCES, SOURCE_RECORD = train_sources()
    FAMILIES = names.model_families(config)
    check_models()
except InputError as error:
    sys.exit(f"error: {error}")

STARTED = time.time()
GPUS = [] if config["training"]["device"] == "cpu" else claims.find_gpus()
if GPUS and "gpu" not in workflow.global_resources:
    # As many training jobs at a time as there are GPUs.
    workflow.register_resource("gpu", len(GPUS))
LOGS = f"logs/{config['experiment']}"
EXTRACTION = {key: value for key, value in config["data"].items() if key != "val_split"}
DATASET = f"{DATASETS}/{experiment.dataset_name(SOURCES, EXTRACTION)}"
MODELS = [model for family in FAMILIES for model in family]
# In the middle of the curve most can be seen.
SHOWN_MODEL = FAMILIES[0][len(FAMILIES[0]) // 2]
CODECS = config["evaluation"]["codecs"]

# Curves of others, where there are some for the test set. A folder that is only called kodak
# may hold anything.
PUBLISHED = (
    "workflow/resources/published_kodak.csv" if config["test_images"] == "kodak" else []
)

# The model's wildcards, and its folder.
MODEL = "{lambda_rd}-f{filters}-s{seed}"
MODEL_FOLDER = f"{EXPERIMENT}/models/{MODEL}"


wildcard_constraints:
    lambda_rd=names.LAMBDA_PATTERN,
    filters=names.WHOLE_PATTERN,
    seed=names.WHOLE_PATTERN,
    model=names.MODEL_PATTERN,
    codec="[a-z0-9_]+",
