# From image archive to rate-distortion curve. See README.md.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


# On a cluster these run where Snakemake runs; the others are submitted. (Rules that exist only
# with some settings have localrule: True.)
localrules:
    all,
    builtin_photographs,
    download_kodak,
    extract,
    split_images,
    split,
    train,
    evaluate,
    aggregate,
    export_curves,
    plot,
    plot_training,
    compare_images,
    report,


rule all:
    default_target: True
    input:
        rules.aggregate.output,
        rules.plot.output,
        rules.plot_training.output,
        rules.compare_images.output,
        rules.report.output,
        rules.export_curves.output,
        rules.compare_published.output if PUBLISHED else [],


leave_out_messages()
check_results()


onstart:
    show_advice()


onsuccess:
    show_summary()


onerror:
    show_failures()
