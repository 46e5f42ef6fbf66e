process VIRNUCPRO_PREDICT {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${ workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container ?
        'https://depot.galaxyproject.org/singularity/virnucpro:0.1.0--pyhdfd78af_0':
        'quay.io/biocontainers/virnucpro:0.1.0--pyhdfd78af_0' }"

    input:
    tuple val(meta), path(reads)
    path model

    output:
    tuple val(meta), path("${prefix}/records.tsv")        , emit: records
    tuple val(meta), path("${prefix}/viral*.fasta")       , emit: fasta
    tuple val(meta), path("${prefix}/viral*.fastq")       , emit: fastq, optional: true
    tuple val(meta), path("${prefix}/report.html")        , emit: report
    tuple val(meta), path("${prefix}/run.json")           , emit: run
    tuple val(meta), path("${prefix}/virnucpro_mqc.json") , emit: multiqc
    tuple val("${task.process}"), val('virnucpro'), eval("virnucpro --version"), topic: versions, emit: versions_virnucpro

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def paired = reads instanceof List && meta.single_end == false ? '--paired' : ''
    def chosen = model ? "--model ${model}" : ''
    // Nextflow escapes only some of the characters that have a meaning for the shell, and none of a sample's name.
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    def unsafe = [reads, model].flatten().findAll { name -> !("${name}" ==~ /(?:[\w.+=,@%:\/-]|\\[^\n])+/) }
    if (unsafe) {
        error("Rename the input, the shell would read its name as a command or pattern: ${unsafe.join(', ')}")
    }
    """
    virnucpro predict \\
        $args \\
        $paired \\
        $chosen \\
        --threads $task.cpus \\
        --resume \\
        --output $prefix \\
        -- \\
        $reads
    """

    stub:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    if (!(prefix ==~ /\w[\w.+=-]*/)) {
        error("The name of a sample has letters, digits and _ . + = - alone, got: ${prefix}")
    }
    """
    echo $args
    mkdir $prefix
    touch $prefix/records.tsv $prefix/viral.fasta $prefix/report.html $prefix/run.json $prefix/virnucpro_mqc.json
    """
}
