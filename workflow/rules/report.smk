# Tables and figures.


rule aggregate:
    input:
        code=code("aggregate"),
        summaries=rules.evaluate.input,
    output:
        rd=f"{EXPERIMENT}/rd.csv",
        bd_rate=f"{EXPERIMENT}/bd_rate.csv",
        text=f"{EXPERIMENT}/summary.txt",
    log:
        f"{LOGS}/aggregate.log",
    conda:
        "../../envs/tables.yaml"
    params:
        out=subpath(output.rd, parent=True),
    shell:
        "python {input.code[0]} {input.summaries} --out {params.out} > {log} 2>&1"


rule plot:
    input:
        code=code("plot"),
        rd=rules.aggregate.output.rd,
    output:
        multiext(f"{EXPERIMENT}/rd_curve", ".png", ".svg"),
    log:
        f"{LOGS}/plot.log",
    conda:
        "../../envs/tables.yaml"
    params:
        flags=experiment.flags({"max_bpp": config["plot"]["max_bpp"]}),
        out=subpath(output[0], parent=True),
    shell:
        "python {input.code[0]} --rd {input.rd} --out {params.out} {params.flags} > {log} 2>&1"
