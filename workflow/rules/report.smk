# Tables and figures.


rule aggregate:
    input:
        code=code("aggregate"),
        summaries=rules.evaluate.input,
        # Read beside the summaries.
        per_image=[
            str(path).replace("summary.json", "per_image.csv")
            for path in rules.evaluate.input
        ],
    output:
        rd=f"{EXPERIMENT}/rd.csv",
        bd_rate=f"{EXPERIMENT}/bd_rate.csv",
        per_image=f"{EXPERIMENT}/per_image.csv",
        bd_rate_per_image=f"{EXPERIMENT}/bd_rate_per_image.csv",
        text=f"{EXPERIMENT}/summary.txt",
    log:
        f"{LOGS}/aggregate.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.rd, parent=True),
    shell:
        "python {input.code[0]} {input.summaries} --out {params.out} > {log} 2>&1"


if PUBLISHED:

    rule compare_published:
        input:
            code=code("compare_published"),
            rd=rules.aggregate.output.rd,
            published=PUBLISHED,
        output:
            calibration=f"{EXPERIMENT}/calibration.csv",
            bd_rate=f"{EXPERIMENT}/bd_rate_published.csv",
            text=f"{EXPERIMENT}/published.txt",
        log:
            f"{LOGS}/compare_published.log",
        conda:
            "../../envs/tables.yaml"
        params:
            out=subpath(output.text, parent=True),
        shell:
            "python {input.code[0]} --rd {input.rd} --published {input.published}"
            " --out {params.out} > {log} 2>&1"


rule plot:
    input:
        code=code("plot"),
        rd=rules.aggregate.output.rd,
        images=rules.aggregate.output.per_image,
        published=PUBLISHED,
    output:
        multiext(f"{EXPERIMENT}/rd_curve", ".png", ".svg"),
        multiext(f"{EXPERIMENT}/rd_per_image", ".png", ".svg"),
    log:
        f"{LOGS}/plot.log",
    conda:
        "../../envs/tables.yaml"
    params:
        flags=experiment.flags(
            {"max_bpp": config["plot"]["max_bpp"], "published": PUBLISHED or None}
        ),
        out=subpath(output[0], parent=True),
    shell:
        "python {input.code[0]} --rd {input.rd} --images {input.images} --out {params.out}"
        " {params.flags} > {log} 2>&1"


rule plot_training:
    input:
        code=code("plot_training"),
        histories=expand(f"{EXPERIMENT}/models/{{model}}/history.csv", model=MODELS),
    output:
        multiext(f"{EXPERIMENT}/training_curves", ".png", ".svg"),
    log:
        f"{LOGS}/plot_training.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output[0], parent=True),
    shell:
        "python {input.code[0]} {input.histories} --out {params.out} > {log} 2>&1"


rule compare_images:
    input:
        code=code("compare_images"),
        images=ancient(TEST_FOLDER),
        test_record=TEST_RECORD,
        bd=rules.aggregate.output.bd_rate_per_image,
        # The model in the middle shows most.
        summary=f"{EXPERIMENT}/{TESTSET}/{MODELS[len(MODELS) // 2]}/summary.json",
        reconstructions=f"{EXPERIMENT}/{TESTSET}/{MODELS[len(MODELS) // 2]}/reconstructions",
    output:
        directory(f"{EXPERIMENT}/comparisons"),
    log:
        f"{LOGS}/compare_images.log",
    conda:
        "../../envs/tables.yaml"
    params:
        evaluation=subpath(input.summary, parent=True),
    shell:
        "python {input.code[0]} --images {input.images:q} --evaluation {params.evaluation}"
        " --bd {input.bd} --out {output} > {log} 2>&1"
