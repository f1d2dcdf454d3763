# What all rules share: the checked config, paths, and the inputs that stand for
# code and for large files. The only file with functions.
import contextlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import yaml
from snakemake.cli import get_argument_parser, get_profile_dir
from snakemake.io import apply_wildcards, glob_wildcards
from snakemake.utils import validate

ROOT = Path(workflow.basedir)

# With the package of another clone, Snakemake would plan with other code than the jobs run.
PACKAGE = ROOT / "scripts" / "balle2017"
installed = importlib.util.find_spec("balle2017")
if installed is None or not PACKAGE.samefile(Path(installed.origin).parent):
    found = (
        f"balle2017 in {Path(installed.origin).parent}" if installed else "no balle2017"
    )
    sys.exit(
        f"error: {sys.executable} finds {found}, but this workflow needs {PACKAGE}; "
        f"use 'uv run snakemake', or pip install --no-deps --editable {ROOT}"
    )

from balle2017 import names
from balle2017.closure import import_closure
from balle2017.data import kodak
from balle2017.data.images import list_test_images
from balle2017.errors import InputError
from balle2017.files import is_url
from balle2017.pipeline import (
    curves,
    experiment,
    external,
    models,
    records,
    sources,
    typed,
)
from balle2017.pipeline.failures import Job, failed_jobs
from balle2017.pipeline.sources import BUILTIN, DATASETS, KODAK
from balle2017.training import claims

SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
KODAK_HASHES = ROOT / "workflow" / "resources" / "kodak.sha256"


def checked_config():
    """Check the config, then let Snakemake fill in the schema's defaults."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    texts = typed.keep_texts(config, typed_config(), schema)
    config.update(experiment.convert_strings(texts, schema))
    experiment.check_config(config, schema)
    validate(config, str(SCHEMA))


def recorded(paths, name=None):
    """Return the record of files and folders; see `sources.record_sources`."""
    try:
        return RECORDER.record(paths, name=name)
    except InputError as error:
        sys.exit(f"error: {error}")


def code(script, *others):
    """Return a script, and the record of all code that it runs: the inputs of its rule.

    Args:
        script: name of the script.
        others: further files of the workflow that it reads, for the record.
    """
    path = ROOT / "scripts" / f"{script}.py"
    files = [path, *import_closure(path, PACKAGE), *(ROOT / other for other in others)]
    files = [file.relative_to(ROOT) for file in files]
    return [str(files[0]), recorded(files, f"code/{script}")]


def model_of(wildcards):
    """Return the name that the wildcards of `MODEL` make up."""
    return names.ModelName(wildcards.lambda_rd, wildcards.filters, wildcards.seed)


def train_flags(wildcards):
    """Return the flags of scripts/train.py for one model, without the one it starts from."""
    return models.train_flags(config, model_of(wildcards))


def starting_model(wildcards):
    """Return the config.json of the model that training starts from, and its record, if any."""
    return start_of(model_of(wildcards))


def start_of(name):
    """Return the inputs of `starting_model` for the model of a name."""
    start = models.starting_model(config, name, Path(MODELS_FOLDER))
    if start is None:
        return []
    # A model of the experiment is what another job writes.
    own = start.is_relative_to(MODELS_FOLDER)
    return [str(start), *([] if own else [recorded([start.parent])])]


def init_flag(wildcards, input):
    """Return the flag that names the model of `starting_model`."""
    start = Path(input.init_from[0]).parent if input.init_from else None
    return experiment.flags({"init_from": start})


def codec_qualities(wildcards):
    """Return the qualities at which a codec is measured."""
    return CODECS[wildcards.codec]


def external_flags(wildcards):
    """Return the flags that describe an external codec."""
    part = config["evaluation"]["external"][wildcards.codec]
    return external.evaluation_flags(EXTERNAL[wildcards.codec], part["qualities"])


def external_files(wildcards):
    """Return the record of the files that the commands of an external codec name."""
    return external_record(wildcards.codec)


def external_record(codec):
    """Return what `external_files` returns for a codec."""
    # Named after the codec, because another machine may find the program in another place.
    return recorded(external.files_of(EXTERNAL[codec]), f"external/{codec}")


def whole_config(wildcards):
    """Return the config as JSON; braces that a function returns are not wildcards."""
    return json.dumps(config, sort_keys=True)


def one_of(values):
    """Return a pattern for a wildcard that matches these values only."""
    return "|".join(values) or "(?!)"


def show_summary():
    """Print the results, if this run made them."""
    files = ["summary.txt", "published.txt"] if PUBLISHED else ["summary.txt"]
    texts = [path for name in files if (path := Path(EXPERIMENT, name)).is_file()]
    if not any(path.stat().st_mtime > STARTED for path in texts):
        return
    text = "".join(path.read_text(encoding="utf-8") for path in texts)
    print(text + f"Report: {EXPERIMENT}/report.html, figure: {EXPERIMENT}/rd_curve.png")


def show_advice():
    """Print a note for each setting that may be a mistake."""
    pictures = []
    # Those that are not there yet, or cannot be used, are a matter of the jobs.
    with contextlib.suppress(InputError):
        if Path(TEST.folder).is_dir():
            pictures = list_test_images(Path(TEST.folder), sources.OUTPUT_FOLDERS)
    lines = experiment.advice(config, pictures)
    if lines:
        print("\n".join(lines), file=sys.stderr)


def show_failures():
    """Print which jobs failed and why, and that the results of the others are kept."""
    lines = failed_jobs(started_jobs(), STARTED)
    if lines:
        print("\n".join(lines))
        print("Finished results are kept; run the same command again to continue.")


# The parts of Snakemake used from here on are not documented, so a new version may change them:
# - workflow.config_settings, workflow.configfiles: where the config came from. Jobs of a cluster
#   get the same files and words.
# - snakemake.cli.get_argument_parser: what its command line means, abbreviations included;
#   get_profile_dir: where a profile is.
# - workflow.is_main_process: whether this is the process that somebody started, not a job.
# - workflow.rules, with log, output, message and wildcard_names: all rules, and what their jobs write.
# - .snakemake/metadata and .snakemake/incomplete: what it remembers (balle2017.pipeline.records).
# - workflow.global_resources, workflow.register_resource: limits on what jobs share.


def typed_config():
    """Return the config as the text that was typed, see `typed.read_typed`."""
    profile = None
    if STARTED_BY_HAND:
        flag = typed.repeated_flag(get_argument_parser(), sys.argv[1:])
        if flag is not None:
            raise InputError(
                f"{flag} is given twice, and Snakemake ignores the first; put all after one {flag}"
            )
        found = typed.profile_files(
            get_argument_parser(), sys.argv[1:], get_profile_dir, ROOT
        )
        profiles = {file: typed.read_profile(file) for file in found}
        typed.check_places(get_argument_parser(), sys.argv[1:], profiles)
        texts = [entries.get("--config") for entries in profiles.values()]
        profile = next((text for text in texts if isinstance(text, dict)), None)
    settings = workflow.config_settings
    files = [*workflow.configfiles, *settings.configfiles]
    return typed.read_typed(files, settings.config_args or [], profile)


def started_jobs():
    """Yield the job of each log that there is."""
    for stage in workflow.rules:
        for log in stage.log:
            found = glob_wildcards(log)
            # Without wildcards there is one job.
            for values in zip(*found) if found._fields else [()]:
                named = dict(zip(found._fields, values))
                results = [Path(apply_wildcards(path, named)) for path in stage.output]
                yield Job(stage.name, Path(apply_wildcards(log, named)), results)


def check_results():
    """End where results are there of which Snakemake does not know how they were made."""
    if not STARTED_BY_HAND:
        return
    given, _ = get_argument_parser().parse_known_args(sys.argv[1:])
    makes_all = given.forceall or given.delete_all_output
    if makes_all or given.unlock or given.cleanup_metadata:
        return
    known = [{}, *({"codec": name} for name in [*CODECS, *EXTERNAL])]
    for model in MODELS:
        known.append({"model": model} | names.ModelName.parse(model)._asdict())
    outputs = {
        apply_wildcards(path, values)
        for stage in workflow.rules
        for values in known
        if stage.wildcard_names <= values.keys()
        for path in stage.output
    }
    try:
        records.check_results(outputs, Path(".snakemake"))
    except InputError as error:
        sys.exit(f"error: {error}")


def limit_gpus(count):
    """Train at most one model per GPU at a time, unless another limit is set."""
    if count and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", count)


def leave_out_messages():
    """Drop the messages on a cluster, so that the log shows a job's memory, time and inputs."""
    if not MAIN_PROCESS:
        for stage in workflow.rules:
            stage.message = None


MAIN_PROCESS = workflow.is_main_process
STARTED_BY_HAND = MAIN_PROCESS and "snakemake" in sys.argv[0]
# End of the undocumented parts.


if Path.cwd().resolve() != ROOT.resolve():
    sys.exit(
        f"error: run the workflow in its own folder, without --directory: cd {ROOT}"
    )

try:
    checked_config()
    EXTERNAL = external.external_codecs(config, MAIN_PROCESS)
    EXPERIMENT = f"results/{config['experiment']}"
    MODELS_FOLDER = f"{EXPERIMENT}/models"
    RECORDER = sources.Recorder(
        Path("work/sources"), MAIN_PROCESS, Path("work/sources/lock")
    )
    if RECORDER.locked:
        print(
            "note: another Snakemake runs in this folder; changes of code and images that are made"
            " meanwhile are seen by the next call after it",
            file=sys.stderr,
        )
    TEST = sources.test_set(config, RECORDER, kodak.read_hashes(KODAK_HASHES))
    SOURCES, SOURCE_RECORD = sources.train_sources(config, RECORDER)
    TRAINING_TEST_RECORD = sources.training_test_record(config, RECORDER) or []
    TRAINING_TEST = config["training"]["test_dir"] or []
    CURVES = curves.curve_files(config, "workflow/resources/published_kodak.csv")
    FAMILIES = models.check_models(config, Path(MODELS_FOLDER))
except InputError as error:
    sys.exit(f"error: {error}")

STARTED = time.time()
GPUS = [] if config["training"]["device"] == "cpu" else claims.find_gpus()
limit_gpus(len(GPUS))
LOGS = f"logs/{config['experiment']}"
EXTRACTION = {key: value for key, value in config["data"].items() if key != "val_split"}
DATASET = f"{DATASETS}/{sources.dataset_name(SOURCES, EXTRACTION)}"
MODELS = [model for family in FAMILIES for model in family]
# A model from the middle of the curve shows the most.
SHOWN_MODEL = FAMILIES[0][len(FAMILIES[0]) // 2]
CODECS = config["evaluation"]["codecs"]
REFINED = ["refined/", "refined/adaptive/"] if config["evaluation"]["refine"] else []

# Now, and not when Snakemake asks for the inputs of jobs: by then it has looked which files are
# in the folder of the records, and would miss new ones.
for model in MODELS:
    start_of(names.ModelName.parse(model))
for codec in EXTERNAL:
    external_record(codec)

# Results on the test set, and of the model shown in the comparisons and the report.
RESULTS = f"{EXPERIMENT}/{TEST.name}"
SHOWN = f"{RESULTS}/{SHOWN_MODEL}"

# Published curves, if there are any for the test set.
PUBLISHED = f"{EXPERIMENT}/published.csv" if CURVES else []

# The model's wildcards, and its folder.
MODEL = "{lambda_rd}-f{filters}-s{seed}"
MODEL_FOLDER = f"{MODELS_FOLDER}/{MODEL}"


wildcard_constraints:
    lambda_rd=names.LAMBDA_PATTERN,
    filters=names.WHOLE_PATTERN,
    seed=names.WHOLE_PATTERN,
    model=names.MODEL_PATTERN,
